//! Tells the objects of the API that policy comes from what became of them in each cluster: the shell around `tidegate_status`.
//! Nothing waits for it; of several hubs on one API one does it.

use super::settled::{News, Settled, Wanted};
use crate::{
    office::{Judged, Office, Published},
    store::StoreError,
    view::{ClusterView, ObjectInCluster, ObjectState},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_discovery::kube::{FleetObject, KubeOptions};
use tidegate_model::{ClusterName, Time};
use tidegate_status::{
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

/// Begins to stand for the lease, and tells while it leads, until `stop`.
pub(super) fn tell(
    options: &KubeOptions,
    office: Arc<Office>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let client = options.client.clone();
    let candidate = Candidate {
        namespace: client.default_namespace().to_owned(),
        name: LEASE.to_owned(),
        identity: std::env::var("POD_NAME").unwrap_or_else(|_| "hub".to_owned()),
        pace: Pace::default(),
    };
    let leadership = stand(client.clone(), candidate, stop.clone());
    let writer = Writer::start(client, MANAGER, leadership);
    async move {
        stop.run_until_cancelled(run(writer, office)).await;
    }
}

async fn run(writer: Writer, office: Arc<Office>) {
    let origin = Instant::now();
    let mut settled = Settled::default();
    let mut failing = false;
    loop {
        let began = Instant::now();
        let seen = Arc::clone(&office);
        match tokio::task::spawn_blocking(move || look(&seen)).await {
            Ok(Ok(wanted)) => {
                failing = false;
                hand_in(&writer, settled.take(Time::from_origin(origin.elapsed()), wanted));
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
    news.gone.iter().for_each(|object| writer.forget(object));
}

/// What all objects are to be told now.
fn look(office: &Office) -> Result<Vec<Wanted>, StoreError> {
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
    Ok(wanted(&judged, &views, &versions, stands))
}

/// The name of an object and since when it is what it is, if it is handed out as it is written: neither with a mistake, nor rolled
/// back.
fn handed(policy: &Published, object: &FleetObject) -> Option<(String, u64)> {
    let subject = &object.subject;
    let key = match &subject.namespace {
        Some(namespace) => format!("{} {namespace}/{}", subject.kind, subject.name),
        None => format!("{} {}", subject.kind, subject.name),
    };
    let out = policy.objects.get(&key).filter(|it| it.source == subject.path && it.text == object.text);
    let since = policy.since.get(&key).copied().unwrap_or(0);
    out.is_some().then_some((key, since))
}

/// What objects are to be told of what is known. `stands` says how an object is in the clusters that it was handed to.
fn wanted(
    judged: &Judged,
    views: &[ClusterView],
    versions: &BTreeMap<u64, Option<String>>,
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
        if object.kind == "FleetCluster" {
            let view = views.iter().find(|it| it.cluster.as_str() == object.name);
            let generation = generations.get(&object).copied().flatten();
            settled &= cluster_status(&mut status, view, versions, generation);
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
        for (kind, so, (reason, message)) in conditions {
            let so = if so { "True" } else { "False" };
            let mut condition = json!({"type": kind, "status": so, "reason": reason, "message": message});
            if let Some(generation) = generation {
                condition["observedGeneration"] = generation.into();
            }
            list.push(condition);
        }
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
