//! What each object's status says, from what is wrong with it and how far it got, without I/O. The shapes are those of the Gateway
//! API (`Gateway`, routes, and policy attachment by GEP-713) and of `deploy/crds`.

mod backend_tls;
mod judged;
mod routing;

use crate::writer::Object;
use judged::Judged;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tidegate_api::Problem;

/// An object of a Kubernetes API that has a status.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Which.
    pub object: Object,
    /// Its `metadata.uid`.
    pub uid: Option<String>,
    /// Its `metadata.generation`: of the content that was decided about.
    pub generation: Option<i64>,
    /// How problems name its source: [`Problem::file`].
    pub path: String,
    /// Its `spec`.
    pub spec: Value,
}

/// How far an object is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is in force, and every gateway has it.
    Programmed,
    /// It is in force; gateways are being told.
    Accepted,
    /// It is not in force, and why.
    Rejected(String),
    /// Nothing was heard of the cluster since.
    Unknown,
}

/// What one cluster makes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InCluster {
    /// The cluster.
    pub cluster: String,
    /// How far it is there.
    pub state: State,
}

/// Who speaks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Speaker<'a> {
    /// `tidegate.dev/agent` or `tidegate.dev/hub`.
    pub controller: &'a str,
    /// Now, as Kubernetes writes times.
    pub now: &'a str,
}

/// The statuses of all `subjects`. `clusters` says how far an object is in each cluster, the own one if no other is known of.
#[must_use]
pub fn statuses(
    subjects: &[Subject],
    problems: &[Problem],
    speaker: Speaker<'_>,
    clusters: impl Fn(&Subject) -> Vec<InCluster>,
) -> Vec<(Object, Value)> {
    let mut by_path = BTreeMap::<&str, Vec<&Problem>>::new();
    for problem in problems {
        by_path.entry(&problem.file).or_default().push(problem);
    }
    let gateways = routing::Gateways::of(subjects);
    let of = |subject: &Subject| {
        let judged = Judged::of(subject, by_path.get(&*subject.path).map_or(&[], Vec::as_slice));
        let clusters = clusters(subject);
        match &*subject.object.kind {
            "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute" => {
                routing::route(subject, &judged, speaker, &gateways)
            }
            "Gateway" => routing::gateway(subject, &judged, &clusters, &gateways),
            "GatewayClass" => routing::class(subject, &judged),
            "BackendTLSPolicy" => Some(backend_tls::policy(subject, &judged, speaker, &gateways, subjects)),
            "FailoverPolicy" => Some(policy(subject, &judged, speaker, &clusters)),
            "FailoverProfile" | "TrafficShift" => Some(spread(&judged, speaker, &clusters)),
            "GatewayTemplate" | "Drill" | "DrillSchedule" | "FleetCluster" => {
                Some(json!({"conditions": [judged.accepted(), judged.resolved()]}))
            }
            _ => None,
        }
    };
    subjects.iter().filter_map(|subject| Some((subject.object.clone(), of(subject)?))).collect()
}

/// Of what goes to all clusters.
fn spread(judged: &Judged<'_>, speaker: Speaker<'_>, clusters: &[InCluster]) -> Value {
    let programmed = judged.programmed(clusters);
    json!({
        "conditions": [judged.accepted(), judged.resolved(), programmed],
        "clusters": in_clusters(judged, speaker, clusters),
    })
}

/// Of a policy, which has an ancestor for each target.
fn policy(subject: &Subject, judged: &Judged<'_>, speaker: Speaker<'_>, clusters: &[InCluster]) -> Value {
    let targets = subject.spec.get("targetRefs").and_then(Value::as_array);
    let ancestor = |target: &Value| {
        let mut reference = Map::new();
        for name in ["group", "kind", "name"] {
            if let Some(value) =
                target.get(name).filter(|value| value.as_str().is_some_and(|it| !it.is_empty()))
            {
                reference.insert(name.to_owned(), value.clone());
            }
        }
        let core = target.get("kind").and_then(Value::as_str) == Some("Service");
        if let Some(namespace) = subject.object.namespace.as_ref().filter(|_| core) {
            reference.insert("namespace".to_owned(), namespace.clone().into());
        }
        let conditions = [judged.accepted(), judged.resolved()];
        json!({"ancestorRef": reference, "controllerName": speaker.controller, "conditions": conditions})
    };
    let ancestors: Vec<Value> = targets.into_iter().flatten().map(ancestor).collect();
    let mut status = spread(judged, speaker, clusters);
    status["ancestors"] = ancestors.into();
    status
}

fn in_clusters(judged: &Judged<'_>, speaker: Speaker<'_>, clusters: &[InCluster]) -> Vec<Value> {
    let mut sorted: Vec<&InCluster> = clusters.iter().collect();
    sorted.sort_by(|one, other| one.cluster.cmp(&other.cluster));
    let of = |it: &InCluster| {
        let mut told = json!({
            "cluster": it.cluster,
            "state": match it.state {
                State::Programmed => "Programmed",
                State::Accepted => "Accepted",
                State::Rejected(_) => "Rejected",
                State::Unknown => "Unknown",
            },
            "reportedAt": speaker.now,
        });
        if let Some(generation) = judged.generation() {
            told["observedGeneration"] = generation.into();
        }
        if let State::Rejected(why) = &it.state {
            told["message"] = judged::short(why).into();
        }
        told
    };
    sorted.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests;
