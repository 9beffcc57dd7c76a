//! The election run on a `Lease` of the Kubernetes API.

use crate::lease::{Election, Pace, Record, Step};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use std::{sync::Arc, time::Duration};
use tidegate_model::Time;
use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Whether this process is the one that writes.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    write_within: Duration,
    writing: Arc<RwLock<()>>,
}

/// Held while something is written that only the leader may write: a leader that resigns waits for it.
#[derive(Debug)]
pub struct Permit {
    /// When the write has to be over.
    pub until: Instant,
    _writing: OwnedRwLockReadGuard<()>,
}

impl Leadership {
    /// One that always leads: where there is nobody to share with.
    #[must_use]
    pub fn alone() -> Self {
        let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let (sender, until) = watch::channel(Some(far));
        drop(sender);
        Self { until, write_within: Pace::default().write_within(), writing: Arc::default() }
    }

    /// Whether it leads at this moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// May one thing be written now? To be asked before each write; `None` if this is not the leader.
    #[must_use]
    pub fn permit(&self) -> Option<Permit> {
        let _writing = Arc::clone(&self.writing).try_read_owned().ok()?;
        let now = Instant::now();
        self.leads().then(|| Permit { until: now + self.write_within, _writing })
    }

    /// Until it leads. Pends for ever once nobody runs the election any more.
    pub async fn leading(&mut self) {
        while !self.leads() {
            if self.until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Where the lease is, and who asks for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The namespace of the `Lease`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks: a random part is added, so that a process is not taken for the one before it.
    pub identity: String,
    /// How fast.
    pub pace: Pace,
}

/// Stands for election until `stop`, then gives the lease back.
#[must_use]
pub fn stand(client: Client, candidate: Candidate, stop: CancellationToken) -> Leadership {
    let (tell, until) = watch::channel(None);
    let write_within = candidate.pace.write_within();
    let writing = Arc::default();
    tokio::spawn(run(Shell::new(client, candidate, tell, Arc::clone(&writing)), stop));
    Leadership { until, write_within, writing }
}

struct Shell {
    leases: Api<Lease>,
    namespace: String,
    name: String,
    pace: Pace,
    election: Election,
    origin: Instant,
    held: Option<Lease>,
    tell: watch::Sender<Option<Instant>>,
    writing: Arc<RwLock<()>>,
}

async fn run(mut shell: Shell, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let began = Instant::now();
        match timeout(shell.pace.renew_within, shell.round()).await {
            Ok(Ok(())) => failing = false,
            other => {
                let why = match other {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                if !failing {
                    warn!(lease = %shell.name, namespace = %shell.namespace, %why, "the lease cannot be read or renewed");
                }
                failing = true;
            }
        }
        shell.publish();
        // One tenth more or less, so that candidates do not ask all at once.
        let jitter = rand::random_range(0.9..1.1);
        if timeout_at(began + shell.pace.retry.mul_f64(jitter), stop.cancelled()).await.is_ok() {
            break;
        }
    }
    if let Err(why) = shell.give_back().await {
        warn!(lease = %shell.name, %why, "the lease was not given back; it lapses by itself");
    }
}

impl Shell {
    fn new(
        client: Client,
        candidate: Candidate,
        tell: watch::Sender<Option<Instant>>,
        writing: Arc<RwLock<()>>,
    ) -> Self {
        let Candidate { namespace, name, identity, pace } = candidate;
        let identity = format!("{identity}_{:08x}", rand::random::<u32>());
        Self {
            leases: Api::namespaced(client, &namespace),
            namespace,
            name,
            pace,
            election: Election::new(identity, pace),
            origin: Instant::now(),
            held: None,
            tell,
            writing,
        }
    }

    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Looks at the lease, and does what is to be done about it.
    async fn round(&mut self) -> Result<(), kube::Error> {
        let found = self.leases.get_opt(&self.name).await?;
        let (now, record) = (self.now(), found.as_ref().map(recorded));
        let transitions = match self.election.look(now, record) {
            Step::Leave => return Ok(()),
            Step::Create => 0,
            Step::Take(transitions) | Step::Renew(transitions) => transitions,
        };
        let asked = self.now();
        let lease = self.lease(found.as_ref(), transitions);
        let written = match &found {
            None => self.leases.create(&PostParams::default(), &lease).await,
            Some(_) => self.leases.replace(&self.name, &PostParams::default(), &lease).await,
        };
        match written {
            Ok(lease) => {
                let now = self.now();
                self.election.written(asked, now, recorded(&lease));
                self.held = Some(lease);
                Ok(())
            }
            // Another was faster; what it wrote is seen in the next round.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The lease with our name in it. Its `resourceVersion` is that of what was found: if it changed since, the server refuses.
    fn lease(&self, found: Option<&Lease>, transitions: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = found.and_then(|lease| lease.spec.as_ref());
        let ours =
            before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(self.election.identity()));
        let acquired = before.filter(|_| ours).and_then(|spec| spec.acquire_time.clone());
        let name = Some(self.name.clone());
        Lease {
            metadata: found
                .map_or_else(|| ObjectMeta { name, ..ObjectMeta::default() }, |lease| lease.metadata.clone()),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.election.identity().to_owned()),
                lease_duration_seconds: Some(seconds(self.pace.duration)),
                acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Tells whether we lead, if that changed or was prolonged.
    fn publish(&self) {
        let until = self.election.leads_until(self.now()).map(|until| self.origin + until.since_origin());
        self.tell.send_if_modified(|told| {
            if told.is_some() != until.is_some() {
                let what = if until.is_some() {
                    "leads: it writes status and events"
                } else {
                    "does not lead any more"
                };
                info!(lease = %self.name, identity = self.election.identity(), "{what}");
            }
            std::mem::replace(told, until) != until
        });
    }

    /// So that the next one need not wait until it lapses.
    async fn give_back(&mut self) -> Result<(), String> {
        let led = self.election.leads_until(self.now()).is_some();
        self.election.resign();
        self.publish();
        let Some(mut lease) = self.held.take().filter(|_| led) else { return Ok(()) };
        let ended = timeout(self.pace.write_within(), self.writing.write()).await;
        let _writing = ended.map_err(|_| "something is still being written".to_owned())?;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        let replaced =
            timeout(self.pace.retry, self.leases.replace(&self.name, &PostParams::default(), &lease)).await;
        replaced.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        Ok(())
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX).max(1)
}

fn recorded(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(duration),
        transitions: spec.lease_transitions.unwrap_or(0),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}
