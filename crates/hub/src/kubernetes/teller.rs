//! Tells the objects of the API that policy comes from what became of them in each cluster: the shell around `tidegate_status`.
//! Nothing waits for it; of several hubs on one API one does it.

use super::{
    condition, drilled,
    settled::{News, Settled, Wanted},
};
use crate::{
    drills::Picture,
    happened::{self, Cluster, Halted, Looks, Sight},
    office::{Judged, Office, OfficeError, Published},
    view::{ClusterView, ObjectInCluster, ObjectState},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_discovery::kube::{FleetObject, KubeOptions};
use tidegate_model::{ClusterName, Time};
use tidegate_status::{
    events::{Events, Happened},
    leader::{Candidate, stand},
    lease::Pace,
    statuses::{InCluster, Speaker, State, Subject, statuses},
    writer::{Object, Writer, now_text},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Who writes, to the API server.
const MANAGER: &str = "tidegate-hub";
/// The same, in conditions.
const CONTROLLER: &str = "tidegate.dev/hub";
/// The `Lease` that hubs on one API share.
const LEASE: &str = "tidegate-hub";
/// How often it is looked how far all objects are.
const LOOK: Duration = Duration::from_secs(1);
/// A look at many objects in many clusters takes time: the pause is so many times as long at least.
const PAUSE: u32 = 9;
/// The kinds whose status says how they are in each cluster.
const SPREAD: [&str; 4] = ["FailoverPolicy", "FailoverProfile", "TrafficShift", "Gateway"];

/// A status names so many clusters at most, as deploy/crds has it; Programmed counts all.
const MOST_CLUSTERS: usize = 1_000;

/// What tells, for whoever counts.
#[derive(Clone, Debug)]
pub(crate) struct Telling {
    writer: Writer,
    events: Events,
}

impl Telling {
    /// The rows for `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        tidegate_status::metrics::text(self.writer.counted(), self.events.counted())
    }
}

/// Begins to stand for the lease. What comes back tells while it leads, until `stop`.
pub(super) fn tell(
    options: &KubeOptions,
    office: Arc<Office>,
    stop: CancellationToken,
) -> (Telling, impl Future<Output = ()> + use<>) {
    let client = options.client.clone();
    let identity = std::env::var("POD_NAME").unwrap_or_else(|_| "hub".to_owned());
    let candidate = Candidate {
        namespace: client.default_namespace().to_owned(),
        name: LEASE.to_owned(),
        identity: identity.clone(),
        pace: Pace::default(),
    };
    let leadership = stand(client.clone(), candidate, stop.clone());
    let writer = Writer::start(client.clone(), MANAGER, leadership.clone());
    let telling = Telling { writer, events: Events::start(client, CONTROLLER, &identity, leadership) };
    let run = run(telling.clone(), office);
    let until_stop = async move {
        stop.run_until_cancelled(run).await;
    };
    (telling, until_stop)
}

async fn run(Telling { writer, events }: Telling, office: Arc<Office>) {
    let origin = Instant::now();
    let (mut settled, mut looks) = (Settled::default(), Looks::default());
    let mut failing = false;
    loop {
        let began = Instant::now();
        let seen = Arc::clone(&office);
        match tokio::task::spawn_blocking(move || look(&seen)).await {
            Ok(Ok(seen)) => {
                failing = false;
                let now = Time::from_origin(origin.elapsed());
                hand_in(&writer, settled.take(now, seen.wanted));
                let happened = looks.take(now, seen.sight).into_iter();
                happened.filter_map(|news| about(&seen.judged, news)).for_each(|it| {
                    // What is too much is counted.
                    let _ = events.tell(it);
                });
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "the API's objects cannot be told what became of them");
                }
            }
            // The runtime is shutting down.
            Err(_) => return,
        }
        sleep(LOOK.max(began.elapsed() * PAUSE)).await;
    }
}

fn hand_in(writer: &Writer, news: News) {
    let now = now_text();
    for (object, mut status) in news.told {
        let reports = status.get_mut("clusters").and_then(Value::as_array_mut);
        for report in reports.into_iter().flatten() {
            report["reportedAt"] = now.as_str().into();
        }
        writer.want(object, status);
    }
    for object in news.gone {
        match &*object.kind {
            // It may be there and not for the whole fleet any more.
            "Gateway" => writer.withdraw(object, CONTROLLER),
            _ => writer.forget(&object),
        }
    }
}

/// The event of an object of the API; `None` if it has no such object.
fn about(judged: &Judged, news: happened::News) -> Option<Happened> {
    let is = |it: &&Arc<FleetObject>| key(it) == news.object;
    let object = subject(judged.objects.iter().find(is)?);
    let happened::News { warning, reason, action, note, .. } = news;
    Some(Happened { object: object.object, uid: object.uid, warning, reason, action, note })
}

/// As policies name an object.
fn key(FleetObject { subject, .. }: &FleetObject) -> String {
    match &subject.namespace {
        Some(namespace) => format!("{} {namespace}/{}", subject.kind, subject.name),
        None => format!("{} {}", subject.kind, subject.name),
    }
}

/// What one look shows.
struct Seen {
    judged: Arc<Judged>,
    wanted: Vec<Wanted>,
    sight: Sight,
}

/// What all objects are to be told now, and what there is to compare with the next look.
fn look(office: &Office) -> Result<Seen, OfficeError> {
    let (judged, policy) = office.judged();
    let views = office.cluster_views()?;
    let mut versions = BTreeMap::new();
    for view in &views {
        if let Entry::Vacant(vacant) = versions.entry(view.applied) {
            vacant.insert(office.version_of(&policy, view.applied)?);
        }
    }
    let named = |cluster: &ClusterName| policy.objects.contains_key(&format!("FleetCluster {cluster}"));
    let belongs = |it: &&ClusterView| !it.revoked && (it.certificate_ends.is_some() || named(&it.cluster));
    let clusters: Vec<&ClusterName> = views.iter().filter(belongs).map(|it| &it.cluster).collect();
    let now = Instant::now();
    let stands = |object: &FleetObject| match handed(&policy, object) {
        Some((key, since)) if SPREAD.contains(&object.subject.kind) => {
            // Taken for each object: agents that report wait for it.
            let fleet = office.fleet();
            clusters.iter().map(|cluster| in_cluster(fleet.object(cluster, &key, since, now))).collect()
        }
        _ => Vec::new(),
    };
    let has_drills = judged.objects.iter().any(|it| it.subject.kind.starts_with("Drill"));
    let drills = if has_drills { office.drill_picture()? } else { Picture::default() };
    let wanted = wanted(&judged, &views, &versions, &drills, stands);
    let sight = Sight {
        clusters: views.iter().map(|it| (it.cluster.to_string(), cluster(it))).collect(),
        halted: office.halted().map(|(target, halt)| Halted {
            target,
            changed: policy.since.iter().filter(|(_, at)| **at == target).map(|(it, _)| it.clone()).collect(),
            cluster: halt.cluster().map(ToString::to_string),
            why: halt.to_string(),
        }),
        shifts: wanted.iter().filter(|it| in_force(it)).map(|it| full_name(&it.object)).collect(),
        drills,
    };
    Ok(Seen { judged, wanted, sight })
}

fn cluster(view: &ClusterView) -> Cluster {
    let joined = view.certificate_ends.is_some() && !view.revoked;
    Cluster { joined, revoked: view.revoked, connected: view.connected }
}

/// Whether it is a shift that every cluster carries out.
fn in_force(wanted: &Wanted) -> bool {
    let conditions = wanted.status["conditions"].as_array().into_iter().flatten();
    let mut programmed = conditions.filter(|it| it["type"] == "Programmed");
    wanted.object.kind == "TrafficShift" && programmed.any(|it| it["status"] == "True")
}

/// `NAMESPACE/NAME`.
fn full_name(object: &Object) -> String {
    format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), object.name)
}

/// The name of an object and since when it is what it is, if it is handed out as it is written: neither with a mistake, nor rolled
/// back.
fn handed(policy: &Published, object: &FleetObject) -> Option<(String, u64)> {
    let (subject, key) = (&object.subject, key(object));
    let out = policy.objects.get(&key).filter(|it| it.source == subject.path && it.text == object.text);
    let since = policy.since.get(&key).copied().unwrap_or(0);
    out.is_some().then_some((key, since))
}

/// What objects are to be told of what is known. `stands` says how an object is in the clusters that it was handed to.
fn wanted(
    judged: &Judged,
    views: &[ClusterView],
    versions: &BTreeMap<u64, Option<String>>,
    drills: &Picture,
    stands: impl Fn(&FleetObject) -> Vec<InCluster>,
) -> Vec<Wanted> {
    let subjects: Vec<Subject> = judged.objects.iter().map(|it| subject(it)).collect();
    let states = judged.objects.iter().map(|it| stands(it));
    let states: BTreeMap<&Object, Vec<InCluster>> =
        subjects.iter().map(|it| &it.object).zip(states).collect();
    // The times are filled in when it is told: a look that sees the same is no news.
    let speaker = Speaker { controller: CONTROLLER, now: "" };
    let clusters = |subject: &Subject| states.get(&subject.object).cloned().unwrap_or_default();
    let told = statuses(&subjects, &judged.problems, speaker, clusters);
    let generations: BTreeMap<&Object, Option<i64>> =
        subjects.iter().map(|it| (&it.object, it.generation)).collect();
    let of = |(object, mut status): (Object, Value)| {
        let waits = |it: &InCluster| matches!(it.state, State::Accepted | State::Unknown);
        let mut settled = !states.get(&object).is_some_and(|states| states.iter().any(waits));
        let generation = generations.get(&object).copied().flatten();
        match &*object.kind {
            "FleetCluster" => {
                let view = views.iter().find(|it| it.cluster.as_str() == object.name);
                settled &= cluster_status(&mut status, view, versions, generation);
            }
            "Drill" => drilled::drill(&mut status, &full_name(&object), generation, drills),
            "DrillSchedule" => drilled::schedule(&mut status, &full_name(&object), generation, drills),
            _ => {}
        }
        if let Some(list) = status.get_mut("clusters").and_then(Value::as_array_mut) {
            list.truncate(MOST_CLUSTERS);
        }
        Wanted { object, status, settled }
    };
    told.into_iter().map(of).collect()
}

/// Adds what is known of a cluster to the status of its object. Whether it waits for nobody.
fn cluster_status(
    status: &mut Value,
    view: Option<&ClusterView>,
    versions: &BTreeMap<u64, Option<String>>,
    generation: Option<i64>,
) -> bool {
    let joined = view.is_some_and(|it| it.certificate_ends.is_some() && !it.revoked);
    let connected = view.is_some_and(|it| it.connected);
    let (because, why) = match (joined, view.is_some_and(|it| it.revoked)) {
        (true, _) => ("Joined", ""),
        (_, true) => ("Revoked", "its certificates were revoked (tidegate cluster join-token lets it back)"),
        _ => ("NotJoined", "no agent of it has joined (tidegate cluster join-token)"),
    };
    let away = if connected { ("Connected", "") } else { ("Away", "the hub hears no agent of it") };
    let conditions = [("Joined", joined, (because, why)), ("Connected", connected, away)];
    if let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        list.extend(conditions.map(|(kind, so, why)| condition(kind, so, why, generation)));
    }
    if let Some(version) = view.and_then(|view| versions.get(&view.applied)?.as_ref()) {
        status["policyVersion"] = version.as_str().into();
    }
    connected || !joined
}

fn in_cluster(stands: ObjectInCluster) -> InCluster {
    let everywhere = stands.gateways_applied == stands.gateways;
    let state = match stands.state {
        ObjectState::Applied if everywhere => State::Programmed,
        ObjectState::Applied => State::Accepted,
        ObjectState::Rejected(why) => State::Rejected(why),
        ObjectState::Pending | ObjectState::Unknown => State::Unknown,
    };
    InCluster { cluster: stands.cluster.to_string(), state }
}

fn subject(object: &FleetObject) -> Subject {
    let of = object.subject.clone();
    let object = Object {
        api_version: of.api_version,
        kind: of.kind.to_owned(),
        plural: of.plural.to_owned(),
        namespace: of.namespace,
        name: of.name,
    };
    Subject { object, uid: of.uid, generation: of.generation, path: of.path, spec: of.spec }
}

#[cfg(test)]
mod tests;
