//! One agent's stream: policy out, status in.

use crate::{
    fleet::short,
    lines::Stream,
    office::{Office, Published, Recalled},
    page,
    timeline::{MAX_REJECTED, What},
    view::RejectedView,
};
use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_link::{
    hub::proto::{self, FromAgent, FromHub, from_agent, from_hub},
    identity::Serial,
};
use tidegate_model::ClusterName;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

/// An agent says hello so soon.
const HELLO: Duration = Duration::from_secs(10);
/// An agent that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(30);

type Out = mpsc::Sender<Result<FromHub, Status>>;

pub(crate) struct Session {
    pub(crate) office: Arc<Office>,
    /// By its certificate.
    pub(crate) cluster: ClusterName,
    pub(crate) serial: Serial,
    pub(crate) stop: CancellationToken,
}

/// What the agent has been given.
enum Given {
    /// Nothing that a delta could start from.
    Nothing,
    /// Something of before, of which nothing else is known.
    Past(u64),
    /// This, as the history knows it.
    Policy(u64, Arc<BTreeMap<String, String>>),
    /// This, on this stream.
    Published(Arc<Published>),
    /// It holds a policy that this hub does not know, and is given nothing.
    HeldBack(u64),
}

impl Session {
    pub(crate) async fn run(self, mut inbound: Streaming<FromAgent>, out: Out) {
        let hello = match timeout(HELLO, inbound.message()).await {
            Ok(Ok(Some(FromAgent { what: Some(from_agent::What::Hello(hello)) }))) => hello,
            Ok(Ok(_)) => return self.refused(&out, "no_hello", "it does not begin with a hello").await,
            Ok(Err(_)) => return,
            Err(_) => return self.refused(&out, "no_hello", "it says nothing").await,
        };
        if hello.cluster != self.cluster.as_str() {
            let claimed: String = hello.cluster.chars().take(100).collect();
            let why = format!("it speaks for {claimed}, and its certificate is of {}", self.cluster);
            return self.refused(&out, "other_cluster", &why).await;
        }
        let boot = hello.boot_id;
        let lines = &self.office.lines;
        let (line, words) = lines.open(&self.cluster, boot, hello.drills);
        let ended = self.serve(&hello, (&line, words), &mut inbound, &out).await;
        lines.close(&self.cluster, boot, &line);
        self.office.fleet().disconnected(&self.cluster, boot);
        tracing::info!(cluster = %self.cluster, "the agent's stream has ended");
        if let Err(status) = ended {
            self.end(&out, status).await;
        }
    }

    /// Tells who and why, here and there.
    async fn refused(&self, out: &Out, word: &'static str, why: &str) {
        self.office.refuse(word, &format!("the agent of {}", self.cluster), why);
        self.end(out, Status::permission_denied(why)).await;
    }

    async fn end(&self, out: &Out, status: Status) {
        // Fails only if the agent is gone. A stalled one is not waited for.
        let _ = timeout(Duration::from_secs(1), out.send(Err(status))).await;
    }

    async fn serve(
        &self,
        hello: &proto::Hello,
        (line, mut words): (&Stream, mpsc::Receiver<proto::AgentWord>),
        inbound: &mut Streaming<FromAgent>,
        out: &Out,
    ) -> Result<(), Status> {
        let (mut policies, mut trusts) = (self.office.policy.subscribe(), self.office.trust.subscribe());
        // What was missed while away is told at once.
        policies.mark_changed();
        trusts.mark_changed();
        let mut given = self.recall(hello)?;
        self.register(hello, &given)?;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Err(Status::unavailable("the hub stops")),
                Ok(()) = trusts.changed() => {
                    let trust = Arc::clone(&trusts.borrow_and_update());
                    if trust.bundle.revoked().contains(&self.serial) {
                        self.office.refuse("revoked", &format!("the agent of {}", self.cluster), "its certificate was revoked");
                        return Err(Status::unauthenticated("the certificate was revoked"));
                    }
                    self.send(out, from_hub::What::Trust(trust.to_proto())).await?;
                }
                Ok(()) = policies.changed() => {
                    let published = Arc::clone(policies.borrow_and_update().to(&self.cluster));
                    if matches!(given, Given::HeldBack(_)) {
                        given = self.recall(hello)?;
                        self.told_apart(hello.boot_id, &given);
                    }
                    given = self.policy(given, published, !hello.parts, out).await?;
                }
                Some(word) = words.recv() => self.send(out, from_hub::What::AgentWord(word)).await?,
                message = inbound.message() => match message {
                    Ok(Some(FromAgent { what: Some(from_agent::What::AgentAnswer(answer)) })) => line.answered(answer),
                    Ok(Some(message)) => self.hear(hello.boot_id, message)?,
                    Ok(None) => return Ok(()),
                    // A broken connection, or more than is taken.
                    Err(status) => {
                        if status.code() == tonic::Code::OutOfRange {
                            self.office.refuse("too_large", &format!("the agent of {}", self.cluster), status.message());
                        }
                        return Err(status);
                    }
                },
            }
        }
    }

    fn recall(&self, hello: &proto::Hello) -> Result<Given, Status> {
        let recalled = self.office.recall(hello).map_err(|error| super::server::failed(&error))?;
        Ok(match recalled {
            Recalled::Same(newest) => Given::Published(newest),
            Recalled::Nothing => Given::Nothing,
            Recalled::Policy(sequence, prints) => Given::Policy(sequence, prints),
            Recalled::Past(sequence) => Given::Past(sequence),
            Recalled::Unknown(sequence) => Given::HeldBack(sequence),
        })
    }

    fn register(&self, hello: &proto::Hello, given: &Given) -> Result<(), Status> {
        let held = match given {
            Given::Policy(sequence, _) | Given::HeldBack(sequence) | Given::Past(sequence) => *sequence,
            Given::Published(held) => held.sequence(),
            Given::Nothing => 0,
        };
        let why = held_back(given);
        let registered =
            self.office.fleet().connected(&self.cluster, hello.boot_id, held, why.clone(), Instant::now());
        registered.map_err(|excess| self.excess(&excess.to_string()))?;
        tracing::info!(cluster = %self.cluster, held, "an agent is connected");
        if let Some(why) = why {
            tracing::error!(cluster = %self.cluster, "{why}");
        }
        Ok(())
    }

    fn told_apart(&self, boot: u64, given: &Given) {
        self.office.fleet().hold_back(&self.cluster, boot, held_back(given));
    }

    fn excess(&self, why: &str) -> Status {
        self.office.refuse("too_much", &format!("the agent of {}", self.cluster), why);
        Status::resource_exhausted(why.to_owned())
    }

    /// Leads the agent to a policy, from what it was given last.
    async fn policy(
        &self,
        given: Given,
        published: Arc<Published>,
        whole: bool,
        out: &Out,
    ) -> Result<Given, Status> {
        let held = match &given {
            Given::Nothing => None,
            Given::Past(sequence) if *sequence >= published.sequence() => return Ok(given),
            Given::Past(_) => None,
            Given::Policy(sequence, prints) => Some((*sequence, &**prints)),
            Given::Published(before) => Some((before.sequence(), &before.prints)),
            Given::HeldBack(unknown) => {
                // The agent sees by the lower sequence that this hub is behind, and says so too.
                if let Some((_, signed)) =
                    published.head.as_ref().filter(|(head, _)| head.sequence <= *unknown)
                {
                    let head = Some(signed.to_proto());
                    let notice = proto::Policy { head, ..proto::Policy::default() };
                    self.send(out, from_hub::What::Policy(notice)).await?;
                }
                return Ok(given);
            }
        };
        match held.map(|(sequence, _)| sequence.cmp(&published.sequence())) {
            Some(Ordering::Equal) => return Ok(Given::Published(published)),
            // Its wave is closed, and it had a policy of an open one before: nobody follows a lower sequence.
            Some(Ordering::Greater) => return Ok(given),
            _ => {}
        }
        if published.head.is_none() {
            return Ok(given);
        }
        // Made as it is taken: whoever reads slowly holds one part of it in memory, and not all.
        for part in published.parts(held, whole) {
            self.send(out, from_hub::What::Policy(part)).await?;
        }
        let (cluster, sequence) = (self.cluster.clone(), published.sequence());
        self.office.record(What::Handed { cluster, sequence });
        Ok(Given::Published(published))
    }

    async fn send(&self, out: &Out, what: from_hub::What) -> Result<(), Status> {
        match timeout(STALLED, out.send(Ok(FromHub { what: Some(what), unix_ms: page::now_ms() }))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Status::cancelled("the agent takes nothing")),
        }
    }

    fn hear(&self, boot: u64, message: FromAgent) -> Result<(), Status> {
        match message.what {
            Some(from_agent::What::Applied(applied)) => {
                self.office.fleet().applied(&self.cluster, boot, &applied, Instant::now());
                self.note(&applied);
                Ok(())
            }
            Some(from_agent::What::Status(status)) => {
                let taken =
                    self.office.fleet().status(&self.cluster, boot, &status, Instant::now(), page::now_ms());
                taken.map_err(|excess| self.excess(&excess.to_string()))
            }
            Some(from_agent::What::Hello(_)) => Err(Status::invalid_argument("a hello comes once")),
            // An answer goes to whoever asked; what is of a later version is passed over.
            Some(from_agent::What::AgentAnswer(_)) | None => Ok(()),
        }
    }

    /// What became of a policy is part of the audit.
    fn note(&self, applied: &proto::Applied) {
        let rejected: Vec<&str> = applied.rejected.iter().take(10).map(|it| it.object.as_str()).collect();
        let detail = match rejected.len() {
            0 => format!("policy {}", applied.sequence),
            _ => format!("policy {}, but for {}", applied.sequence, rejected.join(", ")),
        };
        for it in applied.rejected.iter().take(10) {
            tracing::warn!(cluster = %self.cluster, object = it.object, "rejected: {}", it.reason);
        }
        self.office.audit_later(&format!("agent of {}", self.cluster), "applied", detail);
        let view =
            |it: &proto::Rejected| RejectedView { object: short(&it.object), reason: short(&it.reason) };
        self.office.record(What::Applied {
            cluster: self.cluster.clone(),
            sequence: applied.sequence,
            rejected: applied.rejected.iter().take(MAX_REJECTED).map(view).collect(),
        });
    }
}

fn held_back(given: &Given) -> Option<String> {
    let Given::HeldBack(sequence) = given else { return None };
    Some(format!(
        "it holds policy {sequence}, which this hub does not know: the hub's state is older than what it once handed out; \
         nothing is handed to it until `tidegate rollout resume`"
    ))
}
