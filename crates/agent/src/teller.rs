//! Tells the objects of the cluster's API what became of them, and what happened: the shell around `tidegate_status`. Nothing that
//! decides waits for it; of several replicas one does it.

mod happened;
mod settled;
mod shifts;

use crate::{
    admin::Ask,
    hub::{self, Report},
    shell::wall_clock,
    timeline::Timeline,
};
pub(crate) use happened::happened;
use happened::turned;
use kube::Client;
use serde_json::Value;
use settled::Settled;
pub(crate) use shifts::Declared;
use shifts::Shifts;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tidegate_discovery::kube::{Board, Judged, KubeOptions};
use tidegate_model::{ClusterName, Time};
use tidegate_status::{
    events::{Events, Happened},
    leader::{Candidate, Leadership, stand},
    lease::Pace,
    statuses::{InCluster, Speaker, State, Subject, statuses},
    writer::{Object, Writer, now_text, said_by},
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

/// What a life before this one told is looked for after so long: until then not all may be known that is still to be told.
const SWEEP_AFTER: Duration = Duration::from_secs(10);

/// What tells, for whoever counts.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    writer: Writer,
    events: Events,
    /// Whether this replica is the one that tells.
    pub(crate) leadership: Leadership,
}

impl Telling {
    /// The rows for `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        tidegate_status::metrics::text(self.writer.counted(), self.events.counted())
    }
}

/// Begins to tell, until `stop`.
pub(crate) fn start(
    options: &KubeOptions,
    board: &Board,
    cluster: ClusterName,
    asks: mpsc::Sender<Ask>,
    timeline: Arc<Timeline>,
    stop: CancellationToken,
) -> Telling {
    let client = options.client.clone();
    let identity = std::env::var("POD_NAME").unwrap_or_else(|_| cluster.to_string());
    let namespace = client.default_namespace().to_owned();
    let candidate =
        Candidate { namespace, name: LEASE.to_owned(), identity: identity.clone(), pace: Pace::default() };
    let leadership = stand(client.clone(), candidate, stop.clone());
    let writer = Writer::start(client.clone(), MANAGER, leadership.clone());
    let events = Events::start(client.clone(), CONTROLLER, &identity, leadership.clone());
    let telling = Telling { writer: writer.clone(), events: events.clone(), leadership: leadership.clone() };
    let teller = Teller {
        client,
        leadership,
        writer,
        events,
        judged: board.judged(),
        cluster,
        asks,
        seen: timeline.last(),
        timeline,
        origin: Instant::now(),
        settled: Settled::default(),
        shifts: Shifts::default(),
        told: BTreeSet::new(),
        swept: false,
    };
    tokio::spawn(async move { stop.run_until_cancelled(teller.run()).await });
    telling
}

struct Teller {
    client: Client,
    leadership: Leadership,
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
    shifts: Shifts,
    /// The objects whose status was handed in.
    told: BTreeSet<Object>,
    /// Whether what a life before this one told was looked for.
    swept: bool,
}

impl Teller {
    async fn run(mut self) {
        loop {
            let report = self.report().await;
            let have_all = report.as_ref().is_some_and(have_all);
            let now = Time::from_origin(self.origin.elapsed());
            let mut news = self.judged.has_changed().unwrap_or(false);
            let judged = self.judged.borrow_and_update().clone();
            news |= self.settled.take(now, &judged.subjects);
            news |= self.settled.look(now, have_all);
            if let Some(report) = &report {
                let since_1970 = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
                let look = self.shifts.look(since_1970.as_secs(), &report.declared);
                news |= look.news;
                look.turned
                    .iter()
                    .filter_map(|(name, turn)| turned(name, *turn))
                    .for_each(|it| self.event(it));
            }
            if news {
                self.tell(&judged);
            }
            if !self.swept && now.since_origin() >= SWEEP_AFTER && self.leadership.leads() {
                self.swept = self.sweep(&judged).await;
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
        let by_object: BTreeMap<&Object, &tidegate_discovery::kube::Subject> =
            subjects.iter().map(|it| &it.object).zip(judged.subjects.iter()).collect();
        let mut told = BTreeSet::new();
        for (object, mut status) in statuses(&subjects, &judged.problems, speaker, clusters) {
            let is_of_hub = of_hub.contains(&object);
            if object.kind == "TrafficShift" {
                let accepted = is_of_hub || is_accepted(&status);
                let phase = self.shifts.status(by_object[&object], accepted);
                // How far a shift is here, only this cluster knows.
                status = if is_of_hub { phase } else { with(status, phase) };
            } else if is_of_hub {
                continue;
            }
            told.insert(object.clone());
            // It is told in a moment, once.
            if !new.contains(&object) {
                self.writer.want(object, status);
            }
        }
        for object in self.told.difference(&told) {
            // What is there and is not ours any more, or the hub's: what was said of it goes.
            match by_object.contains_key(object) {
                true => self.writer.withdraw(object.clone(), CONTROLLER),
                false => self.writer.forget(object),
            }
        }
        self.told = told;
    }

    /// Withdraws what an agent of this cluster told in another life of objects that nothing is to be told of now. Whether all
    /// of it was found.
    async fn sweep(&self, judged: &Judged) -> bool {
        let subjects: BTreeSet<Object> = judged.subjects.iter().map(|it| subject(it).object).collect();
        let kinds: BTreeMap<&str, &Object> = subjects.iter().map(|it| (&*it.kind, it)).collect();
        for like in kinds.into_values() {
            match said_by(&self.client, (MANAGER, CONTROLLER), like).await {
                Ok(said) => {
                    let left = said.into_iter().filter(|it| !self.told.contains(it) && subjects.contains(it));
                    left.for_each(|it| self.writer.withdraw(it, CONTROLLER));
                }
                Err(error) => {
                    tracing::debug!(kind = like.kind, %error, "what was told before is not known yet");
                    return false;
                }
            }
        }
        true
    }

    fn tell_events(&mut self) {
        for record in self.timeline.after(self.seen, DECISIONS) {
            self.seen = record.seq;
            if let Some(happened) = happened(&record, &self.cluster) {
                self.event(happened);
            }
        }
    }

    fn event(&self, happened: Happened) {
        if !self.events.tell(happened) {
            tracing::debug!("too many events wait; one is left out");
        }
    }
}

/// Whether every gateway that is connected has accepted all that it was sent.
fn have_all(report: &Report) -> bool {
    let connected = report.gateways.iter().filter(|it| it.connected);
    let mut types = connected.flat_map(|it| &it.types);
    types.all(|it| !it.in_flight && it.sent == it.acked && it.refused.is_empty())
}

fn is_accepted(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.filter(|it| it["type"] == "Accepted").all(|it| it["status"] == "True")
}

/// The fields of both.
fn with(mut status: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut status, more) {
        fields.extend(more);
    }
    status
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
