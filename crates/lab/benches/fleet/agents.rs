//! Agents in this process: light ones, that speak the hub's protocol as the agent does (its messages, TLS,
//! certificates, signatures and waits are the same code), and keep of a policy only its head. What they tell, and what they answer,
//! is an [`Estate`]'s.

use anyhow::{Context as _, Result, bail};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tidegate_link::{
    hub::{
        JoinToken, MAX_MESSAGE_BYTES, Redial, SignedHead, Trust,
        proto::{
            self, AgentAnswer, AgentWord, FromAgent, enrolment_client::EnrolmentClient,
            fleet_client::FleetClient, from_agent, from_hub,
        },
    },
    identity::{
        CertificateDer, Clock, Credentials, Expect, Identity, PrivateKey, Refusals, SystemClock, connect,
        pinned_client,
    },
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// A stream that lasted so long was a good one, as the agent has it.
const GOOD: Duration = Duration::from_secs(10);

/// What there is in the clusters.
pub(crate) trait Estate: Send + Sync {
    /// All of one cluster.
    fn all(&self, cluster: usize) -> proto::Status;
    /// What changed in it since the last look, if anything did; `turn` counts the looks at which something had.
    fn news(&self, cluster: usize, turn: usize) -> Option<proto::Status>;
    /// What its agent answers; `None` if it is too old to be asked.
    fn answer(&self, cluster: usize, word: AgentWord) -> Option<AgentAnswer>;
    /// Whether agents are asked.
    fn answers(&self) -> bool;
}

/// What agents tell the benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said {
    /// It dials.
    Dials(Instant),
    /// The hub has answered on a new stream.
    Back(Instant),
    /// It has a policy, of this sequence.
    Has(u64, Instant),
}

/// What all of them share.
pub(crate) struct Common {
    pub(crate) address: String,
    pub(crate) said: mpsc::UnboundedSender<Said>,
    pub(crate) estate: Arc<dyn Estate>,
    pub(crate) connected: AtomicUsize,
    pub(crate) statuses: AtomicUsize,
}

pub(crate) struct Agent {
    number: usize,
    cluster: String,
    identity: Identity,
    trust: Trust,
    held: Option<(u64, proto::SignedHead)>,
}

/// The name of a cluster.
pub(crate) fn cluster(number: usize) -> String {
    format!("cluster-{number:04}")
}

impl Agent {
    /// Joins the fleet with a token, as `tidegate agent --join` does.
    pub(crate) async fn join(number: usize, address: &str, token: &JoinToken) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (config, _) = pinned_client(token.pin, &clock)?;
        let channel = connect(address, config).await?;
        let (key, gateway) = (PrivateKey::generate()?, PrivateKey::generate()?);
        let request = proto::JoinRequest {
            cluster: token.cluster.to_string(),
            secret: token.secret.to_bytes(),
            request: key.request()?,
            gateway_request: gateway.request()?,
        };
        let answer = EnrolmentClient::new(channel).join(request).await?.into_inner();
        let trust = Trust::from_proto(&answer.trust.unwrap_or_default())?;
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let credentials = Credentials::new(chain, &key, trust.bundle.clone())?;
        let identity = Identity::new(credentials, Refusals::default(), clock);
        Ok(Self { number, cluster: cluster(number), identity, trust, held: None })
    }

    /// Follows the hub until `stop`.
    pub(crate) async fn follow(mut self, common: Arc<Common>, stop: CancellationToken) {
        let mut redial = Redial::default();
        loop {
            let began = Instant::now();
            let _ = common.said.send(Said::Dials(began));
            let mut counted = false;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.once(&common, &mut counted) => {}
            }
            if counted {
                common.connected.fetch_sub(1, Ordering::Relaxed);
            }
            if began.elapsed() >= GOOD {
                redial = Redial::default();
            }
            tokio::time::sleep(redial.failed(1, rand::random())).await;
        }
    }

    /// One stream. `counted` says that it is among the connected.
    async fn once(&mut self, common: &Common, counted: &mut bool) -> Result<()> {
        let channel = connect(&common.address, self.identity.client(Expect::Hub)?).await?;
        let (out, requests) = mpsc::channel(4);
        let hello = proto::Hello {
            cluster: self.cluster.clone(),
            boot_id: u64::try_from(self.number)? + 1,
            held: self.held.as_ref().map(|(_, head)| head.clone()),
            resend: false,
            parts: true,
            drills: common.estate.answers(),
        };
        say(&out, from_agent::What::Hello(hello)).await?;
        let mut fleet = FleetClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let opened = timeout(GOOD, fleet.sync(ReceiverStream::new(requests))).await??;
        let mut inbound = opened.into_inner();
        // Like the agent: all there is at once, then what changed, looked at every second.
        say(&out, from_agent::What::Status(common.estate.all(self.number))).await?;
        let phase = Duration::from_secs(1).mul_f64(rand::random());
        let mut look = interval_at(tokio::time::Instant::now() + phase, Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut turn, mut silent) = (0, 0);
        loop {
            tokio::select! {
                message = inbound.message() => {
                    let message = message?.context("the hub ended the stream")?;
                    if !std::mem::replace(counted, true) {
                        common.connected.fetch_add(1, Ordering::Relaxed);
                        let _ = common.said.send(Said::Back(Instant::now()));
                    }
                    self.hear(message, common, &out).await?;
                }
                _ = look.tick() => {
                    silent += 1;
                    if let Some(news) = common.estate.news(self.number, turn + 1) {
                        turn += 1;
                        silent = 0;
                        say(&out, from_agent::What::Status(news)).await?;
                    } else if silent >= 5 {
                        silent = 0;
                        say(&out, from_agent::What::Status(proto::Status::default())).await?;
                    } else {
                        continue;
                    }
                    common.statuses.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn hear(
        &mut self,
        message: proto::FromHub,
        common: &Common,
        out: &mpsc::Sender<FromAgent>,
    ) -> Result<()> {
        let policy = match message.what {
            Some(from_hub::What::Policy(policy)) => policy,
            Some(from_hub::What::AgentWord(word)) => {
                let answer = common.estate.answer(self.number, word);
                let answer = answer.context("it was asked, and had said that it cannot be")?;
                return say(out, from_agent::What::AgentAnswer(answer)).await;
            }
            _ => return Ok(()),
        };
        if policy.more {
            return Ok(());
        }
        let arrived = Instant::now();
        let head = policy.head.unwrap_or_default();
        let opened =
            SignedHead::from_proto(&head).open(&self.trust.policy_keys, self.trust.bundle.trust_domain())?;
        let held = self.held.as_ref().map_or(0, |(sequence, _)| *sequence);
        if opened.sequence < held || (!policy.full && policy.base_sequence != held) {
            bail!("policy {} does not follow policy {held}", opened.sequence);
        }
        let _ = common.said.send(Said::Has(opened.sequence, arrived));
        self.held = Some((opened.sequence, head));
        let applied = proto::Applied { sequence: opened.sequence, rejected: Vec::new() };
        say(out, from_agent::What::Applied(applied)).await
    }
}

async fn say(out: &mpsc::Sender<FromAgent>, what: from_agent::What) -> Result<()> {
    Ok(timeout(GOOD, out.send(FromAgent { what: Some(what) })).await??)
}
