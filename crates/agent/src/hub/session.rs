//! One stream to the hub.

use super::{
    client::Client,
    held::{Held, NotFollowed, follow},
    keep,
    report::{Gateways, Report, Told, applied, is_told},
    shown::Keys,
};
use crate::{admin::Ask, shell::since_1970};
use std::time::{Duration, Instant};
use tidegate_link::{
    hub::{
        MAX_MESSAGE_BYTES, MAX_OBJECTS, PolicyError, Trust,
        proto::{self, FromAgent, fleet_client::FleetClient, from_agent, from_hub},
    },
    identity::PrivateKey,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// How often the loop is asked how it is.
const LOOK: Duration = Duration::from_secs(1);
/// How often after a policy came, until the gateways have it: somebody waits for that. That they have it is seen by two looks in a
/// row, because a stream learns of a change a moment after the store has it; much more often would call it too soon.
const LOOK_CLOSELY: Duration = Duration::from_millis(500);
/// How soon after a decision the hub hears of it: what belongs together is decided within a moment, and told at once.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// At least so long between two looks that decisions bring about: in a large cluster a look is work.
const LOOK_APART: Duration = Duration::from_millis(300);
/// How long so often. A gateway that takes longer is told of with the others' next look.
const CLOSELY_FOR: Duration = Duration::from_secs(10);
/// The most decisions that are told at a time; whoever missed more misses the oldest.
const MAX_DECISIONS: usize = 100;
/// A hub that heard nothing for so long is told that nothing changed, so that it knows how old its knowledge is.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// An answer of the loop or of the hub may take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// A renewal that failed is tried again after so long.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

type Out = mpsc::Sender<FromAgent>;

struct Session<'c> {
    client: &'c mut Client,
    channel: Channel,
    out: Out,
    told: Told,
    gateways: Gateways,
    /// A policy of which not all parts have come.
    parts: Option<proto::Policy>,
    said: Instant,
    /// When a policy came into force, while a gateway has not got it.
    awaited: Option<Instant>,
    /// The last decision that was told on this stream.
    decided: u64,
    renewal_tried: Option<Instant>,
}

/// Speaks with the hub until one side ends it.
pub(super) async fn run(client: &mut Client, channel: Channel) -> Result<(), String> {
    let (out, requests) = mpsc::channel(4);
    let hello = proto::Hello {
        cluster: client.member.cluster.to_string(),
        boot_id: client.boot.0,
        held: client.held.as_ref().map(|held| held.signed.to_proto()),
        resend: std::mem::take(&mut client.resend),
        parts: true,
        drills: true,
    };
    say(&out, from_agent::What::Hello(hello)).await?;
    let mut fleet = FleetClient::new(channel.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let opened = timeout(PATIENCE, fleet.sync(ReceiverStream::new(requests))).await;
    let opened = opened.map_err(|_| "it does not answer".to_owned())?.map_err(|status| told(&status))?;
    let mut inbound = opened.into_inner();
    tracing::info!(hub = client.address(), "connected to the hub");
    client.stands(true);
    let mut in_force = client.in_force.clone();
    in_force.mark_changed();
    let mut session = Session {
        client,
        channel,
        out,
        told: Told::default(),
        gateways: Gateways::default(),
        parts: None,
        said: Instant::now(),
        awaited: None,
        decided: 0,
        renewal_tried: None,
    };
    let mut decided = session.client.timeline.decided();
    let mut look = Box::pin(sleep(Duration::ZERO));
    let mut looked = tokio::time::Instant::now();
    loop {
        tokio::select! {
            message = inbound.message() => match message {
                Ok(Some(message)) => session.hear(message)?,
                Ok(None) => return Ok(()),
                Err(status) => return Err(told(&status)),
            },
            Ok(()) = in_force.changed() => {
                let now = in_force.borrow_and_update().clone();
                if now.sequence > 0 {
                    say(&session.out, from_agent::What::Applied(applied(&now))).await?;
                    session.awaited = Some(Instant::now());
                    look.as_mut().reset(tokio::time::Instant::now());
                }
            }
            Ok(()) = decided.changed() => {
                let soon = soon(looked, tokio::time::Instant::now());
                if soon < look.deadline() {
                    look.as_mut().reset(soon);
                }
            }
            () = &mut look => {
                looked = tokio::time::Instant::now();
                session.report().await?;
                session.renew().await;
                look.as_mut().reset(tokio::time::Instant::now() + pause(session.awaited.map(|since| since.elapsed())));
            }
        }
    }
}

/// Puts the parts of a policy together; it comes back with the last one.
fn gather(
    parts: &mut Option<proto::Policy>,
    part: proto::Policy,
) -> Result<Option<proto::Policy>, &'static str> {
    let policy = match parts.take() {
        None => part,
        Some(mut first) if first.head == part.head => {
            first.changed.extend(part.changed);
            first.removed.extend(part.removed);
            proto::Policy { more: part.more, ..first }
        }
        Some(_) => return Err("it began a policy and went on with another one"),
    };
    if policy.changed.len() > MAX_OBJECTS || policy.removed.len() > MAX_OBJECTS {
        return Err("its policy has too many parts");
    }
    if policy.more {
        *parts = Some(policy);
        return Ok(None);
    }
    Ok(Some(policy))
}

/// Until the next look, where gateways have been awaited for so long.
fn pause(awaited: Option<Duration>) -> Duration {
    if awaited.is_some_and(|it| it < CLOSELY_FOR) { LOOK_CLOSELY } else { LOOK }
}

/// When to look after a decision.
fn soon(looked: tokio::time::Instant, now: tokio::time::Instant) -> tokio::time::Instant {
    (now + LOOK_SOON).max(looked + LOOK_APART)
}

async fn say(out: &Out, what: from_agent::What) -> Result<(), String> {
    let message = FromAgent { what: Some(what) };
    match timeout(PATIENCE, out.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err("it takes nothing".to_owned()),
    }
}

fn told(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

impl Session<'_> {
    fn hear(&mut self, message: proto::FromHub) -> Result<(), String> {
        // Each stream begins with whom to believe, and a policy is read by the clock that it came with.
        if matches!(message.what, Some(from_hub::What::Policy(_) | from_hub::What::Trust(_))) {
            self.client.clock.hear(message.unix_ms, since_1970(), Instant::now());
        }
        match message.what {
            Some(from_hub::What::Policy(part)) => match gather(&mut self.parts, part)? {
                Some(policy) => self.policy(&policy),
                None => Ok(()),
            },
            Some(from_hub::What::Trust(trust)) => self.trust(&trust),
            Some(from_hub::What::AgentWord(word)) => {
                let (desk, out) = (self.client.desk.clone(), self.out.clone());
                // The desk limits how many there are; a stream that is gone needs no answer.
                tokio::spawn(async move {
                    let answer = from_agent::What::AgentAnswer(desk.answer(word).await);
                    let _ = say(&out, answer).await;
                });
                Ok(())
            }
            // Of a later version.
            None => Ok(()),
        }
    }

    fn policy(&mut self, policy: &proto::Policy) -> Result<(), String> {
        let client = &mut *self.client;
        match follow(client.held.as_ref(), policy, &client.member.trust) {
            Ok(None) => Ok(()),
            Ok(Some(held)) => {
                self.take(held);
                Ok(())
            }
            Err(why) => {
                client.identity.refusals().note(
                    why.word(),
                    &format!("the hub's policy is refused: {why}"),
                    Instant::now(),
                );
                match why {
                    // Others may come on this stream, and the hub hears how this cluster is.
                    NotFollowed::Older { .. } | NotFollowed::Fork(_) => Ok(()),
                    NotFollowed::Policy(PolicyError::Base { .. } | PolicyError::Digest(_)) => {
                        client.resend = true;
                        Err(why.to_string())
                    }
                    other => Err(other.to_string()),
                }
            }
        }
    }

    /// On disk first, then in force: what a restart finds is never older than what was acted by.
    fn take(&mut self, held: Held) {
        let client = &mut *self.client;
        if let Err(error) = keep::save(&client.folder, &held) {
            tracing::error!(%error, "the policy cannot be kept on disk; a restart would begin with an older one");
        }
        let (sequence, version) = (held.head.sequence, held.head.version.as_str());
        tracing::info!(sequence, version, objects = held.objects.len(), "policy of the hub");
        client.given.send_replace(held.given());
        client.held = Some(held);
    }

    fn trust(&mut self, trust: &proto::Trust) -> Result<(), String> {
        let client = &mut *self.client;
        let trust = Trust::from_proto(trust).map_err(|error| error.to_string())?;
        if trust == client.member.trust {
            return Ok(());
        }
        let own = client.member.trust.bundle.trust_domain();
        if trust.bundle.trust_domain() != own {
            return Err(format!("it speaks for another trust domain than {own}"));
        }
        client.member.trust = trust;
        self.use_member();
        tracing::info!("whom to believe has changed");
        Ok(())
    }

    fn use_member(&self) {
        let member = &self.client.member;
        match member.credentials() {
            Ok(credentials) => self.client.swap(credentials),
            Err(error) => tracing::error!(%error, "the identity stays as it was"),
        }
        if let Err(error) = member.save(&self.client.folder) {
            tracing::error!(%error, "the identity cannot be kept on disk");
        }
        if let Some(vault) = &self.client.vault {
            vault.changed();
        }
    }

    async fn report(&mut self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        // A loop that is busy or has not begun is asked again with the next look.
        if self.client.asks.try_send(Ask::Report(answer)).is_err() {
            return Ok(());
        }
        let Ok(Ok(report)) = timeout(LOOK, answered).await else { return Ok(()) };
        self.tell(&report).await
    }

    async fn tell(&mut self, report: &Report) -> Result<(), String> {
        let gateways = self.gateways.look(report);
        if self.gateways.have(self.client.in_force.borrow().sequence, report) {
            self.awaited = None;
        }
        let (decisions, last) = self.client.timeline.newest(self.decided, MAX_DECISIONS, is_told);
        self.decided = last;
        let news = self.told.news(report, gateways, &decisions);
        let due = self.said.elapsed() >= SIGN_OF_LIFE;
        if let Some(status) = news.or_else(|| due.then(proto::Status::default)) {
            self.said = Instant::now();
            say(&self.out, from_agent::What::Status(status)).await?;
        }
        Ok(())
    }

    /// New certificates at two thirds of the life of the old ones. This stream stays as it is.
    async fn renew(&mut self) {
        let (identity, member) = (&self.client.identity, &self.client.member);
        // Both were issued together, so they end together; that of the gateways may be revoked alone.
        let early = member.gateway.is_some()
            && identity.current().facts.renew_at() > identity.now()
            && !member.gateway_is_revoked();
        if early || self.renewal_tried.is_some_and(|at| at.elapsed() < RENEW_AGAIN) {
            return;
        }
        self.renewal_tried = Some(Instant::now());
        match self.new_certificate().await {
            Ok(()) => {
                self.renewal_tried = None;
                let ends = self.client.identity.current().facts.not_after.as_secs();
                tracing::info!(ends, "the certificates are renewed");
            }
            Err(why) => tracing::warn!("the certificate cannot be renewed: {why}; trying again"),
        }
    }

    async fn new_certificate(&mut self) -> Result<(), String> {
        let keys = Keys::generate().map_err(|error| error.to_string())?;
        let request = |key: &PrivateKey| key.request().map_err(|error| error.to_string());
        let request =
            proto::RenewRequest { request: request(&keys.agent)?, gateway_request: request(&keys.gateway)? };
        let mut fleet = FleetClient::new(self.channel.clone());
        let answer = timeout(PATIENCE, fleet.renew(request)).await;
        let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|status| told(&status))?;
        self.client.member =
            self.client.member.renewed(keys, &answer.into_inner()).map_err(|error| error.to_string())?;
        self.use_member();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_are_awaited_are_looked_at_more_often_for_a_while() {
        assert_eq!((pause(None), pause(Some(Duration::ZERO))), (LOOK, LOOK_CLOSELY));
        assert_eq!((pause(Some(CLOSELY_FOR - LOOK_CLOSELY)), pause(Some(CLOSELY_FOR))), (LOOK_CLOSELY, LOOK));
    }

    #[test]
    fn a_decision_is_told_in_a_moment_and_many_of_them_at_a_pace() {
        let now = tokio::time::Instant::now();
        assert_eq!(soon(now - LOOK, now), now + LOOK_SOON);
        assert_eq!(soon(now, now), now + LOOK_APART);
    }

    #[test]
    fn a_policy_in_parts_counts_with_the_last_one() {
        let part = |head: u8, key: &str, more| proto::Policy {
            head: Some(proto::SignedHead { head: vec![head], signature: Vec::new() }),
            changed: vec![proto::Object { key: key.to_owned(), ..Default::default() }],
            more,
            ..Default::default()
        };
        let mut parts = None;
        assert_eq!(gather(&mut parts, part(1, "a", true)), Ok(None));
        assert_eq!(gather(&mut parts, part(1, "b", true)), Ok(None));
        let whole = gather(&mut parts, part(1, "c", false)).unwrap().unwrap();
        let keys: Vec<_> = whole.changed.iter().map(|it| it.key.as_str()).collect();
        assert_eq!((keys, whole.more, parts), (vec!["a", "b", "c"], false, None));
        let mut parts = Some(part(1, "a", true));
        assert!(gather(&mut parts, part(2, "b", false)).is_err());
    }
}
