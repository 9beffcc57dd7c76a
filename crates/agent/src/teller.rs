//! Tells the objects of the cluster's API what became of them, and what happened: the shell around `tidegate_status`. Nothing that
//! decides waits for it; of several replicas one does it.

mod happened;
mod settled;

use crate::{
    admin::Ask,
    hub::{self, Report},
    timeline::Timeline,
};
use happened::happened;
use settled::Settled;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_discovery::kube::{Board, Judged, KubeOptions};
use tidegate_model::{ClusterName, Time};
use tidegate_status::{
    events::Events,
    leader::{Candidate, stand},
    lease::Pace,
    statuses::{InCluster, Speaker, State, Subject, statuses},
    writer::{Object, Writer, now_text},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Who writes, to the API server.
const MANAGER: &str = "tidegate-agent";
/// The same, in conditions and events.
const CONTROLLER: &str = "tidegate.dev/agent";
/// The `Lease` that the replicas of a cluster share, in the namespace of their pods.
const LEASE: &str = "tidegate-agent";
/// How often it is looked whether gateways have what is in force, and what happened.
const LOOK: Duration = Duration::from_millis(500);
/// So many decisions are looked at in one turn; the rest is looked at in the next.
const DECISIONS: usize = 500;

/// Begins to tell, until `stop`.
pub(crate) fn start(
    options: &KubeOptions,
    board: &Board,
    cluster: ClusterName,
    asks: mpsc::Sender<Ask>,
    timeline: Arc<Timeline>,
    stop: CancellationToken,
) {
    let client = options.client.clone();
    let identity = std::env::var("POD_NAME").unwrap_or_else(|_| cluster.to_string());
    let namespace = client.default_namespace().to_owned();
    let candidate =
        Candidate { namespace, name: LEASE.to_owned(), identity: identity.clone(), pace: Pace::default() };
    let leadership = stand(client.clone(), candidate, stop.clone());
    let teller = Teller {
        writer: Writer::start(client.clone(), MANAGER, leadership.clone()),
        events: Events::start(client, CONTROLLER, &identity, leadership),
        judged: board.judged(),
        cluster,
        asks,
        seen: timeline.last(),
        timeline,
        origin: Instant::now(),
        settled: Settled::default(),
        told: BTreeSet::new(),
    };
    tokio::spawn(async move { stop.run_until_cancelled(teller.run()).await });
}

struct Teller {
    writer: Writer,
    events: Events,
    judged: watch::Receiver<Judged>,
    cluster: ClusterName,
    asks: mpsc::Sender<Ask>,
    timeline: Arc<Timeline>,
    /// The newest decision that was looked at.
    seen: u64,
    origin: Instant,
    settled: Settled,
    /// The objects whose status was handed in.
    told: BTreeSet<Object>,
}

impl Teller {
    async fn run(mut self) {
        loop {
            let have_all = self.report().await.is_some_and(|report| have_all(&report));
            let now = Time::from_origin(self.origin.elapsed());
            let mut news = self.judged.has_changed().unwrap_or(false);
            let judged = self.judged.borrow_and_update().clone();
            news |= self.settled.take(now, &judged.subjects);
            news |= self.settled.look(now, have_all);
            if news {
                self.tell(&judged);
            }
            self.tell_events();
            sleep(LOOK).await;
        }
    }

    /// What the loop says of itself; `None` if it is busy, or was stopped.
    async fn report(&self) -> Option<Report> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask::Report(answer)).ok()?;
        answered.await.ok()
    }

    fn tell(&mut self, judged: &Judged) {
        let subjects: Vec<Subject> = judged.subjects.iter().map(subject).collect();
        let now = now_text();
        let speaker = Speaker { controller: CONTROLLER, now: &now };
        let clusters = |subject: &Subject| {
            let everywhere = self.settled.everywhere(&subject.path) == Some(true);
            let state = if everywhere { State::Programmed } else { State::Accepted };
            vec![InCluster { cluster: self.cluster.to_string(), state }]
        };
        let new = subjects.iter().filter(|it| self.settled.everywhere(&it.path).is_none());
        let new: BTreeSet<&Object> = new.map(|it| &it.object).collect();
        // The hub tells what became of what it hands out, in all clusters.
        let of_hub: BTreeSet<&str> =
            judged.problems.iter().filter(|it| hub::is_from_hub(it)).map(|it| &*it.file).collect();
        let of_hub: BTreeSet<&Object> =
            subjects.iter().filter(|it| of_hub.contains(&*it.path)).map(|it| &it.object).collect();
        let mut told = BTreeSet::new();
        for (object, status) in statuses(&subjects, &judged.problems, speaker, clusters) {
            if of_hub.contains(&object) {
                continue;
            }
            told.insert(object.clone());
            // It is told in a moment, once.
            if !new.contains(&object) {
                self.writer.want(object, status);
            }
        }
        for gone in self.told.difference(&told) {
            self.writer.forget(gone);
        }
        self.told = told;
    }

    fn tell_events(&mut self) {
        for record in self.timeline.after(self.seen, DECISIONS) {
            self.seen = record.seq;
            if let Some(happened) = happened(&record, &self.cluster)
                && !self.events.tell(happened)
            {
                tracing::debug!("too many events wait; one is left out");
            }
        }
    }
}

/// Whether every gateway that is connected has accepted all that it was sent.
fn have_all(report: &Report) -> bool {
    let connected = report.gateways.iter().filter(|it| it.connected);
    let mut types = connected.flat_map(|it| &it.types);
    types.all(|it| !it.in_flight && it.sent == it.acked && it.refused.is_empty())
}

fn subject(of: &tidegate_discovery::kube::Subject) -> Subject {
    let of = of.clone();
    let object = Object {
        api_version: of.api_version,
        kind: of.kind.to_owned(),
        plural: of.plural.to_owned(),
        namespace: of.namespace,
        name: of.name,
    };
    Subject { object, uid: of.uid, generation: of.generation, path: of.path, spec: of.spec }
}
