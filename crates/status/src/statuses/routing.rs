//! Of gateways and routes, as the Gateway API has them.

use super::{InCluster, Judged, Speaker, Subject};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The classes that are ours.
const CLASSES: [&str; 3] = ["tidegate-edge", "tidegate-internal", "tidegate-eastwest"];

/// The group of all of them.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// Our gateways, and how many routes name each listener.
pub(super) struct Gateways<'a> {
    ours: BTreeSet<(&'a str, &'a str)>,
    /// By gateway and `sectionName`; an empty one stands for all.
    attached: BTreeMap<(&'a str, &'a str, &'a str), i64>,
}

impl<'a> Gateways<'a> {
    pub(super) fn of(subjects: &'a [Subject]) -> Self {
        let is_ours = |it: &&Subject| {
            it.object.kind == "Gateway" && CLASSES.contains(&text(&it.spec, "gatewayClassName"))
        };
        let ours = subjects.iter().filter(is_ours).map(|it| (namespace(it), &*it.object.name)).collect();
        let mut attached = BTreeMap::new();
        for route in subjects.iter().filter(|it| it.object.kind.ends_with("Route")) {
            for parent in parents(route) {
                let (namespace, name) = gateway_of(route, parent);
                *attached.entry((namespace, name, text(parent, "sectionName"))).or_insert(0) += 1;
            }
        }
        Self { ours, attached }
    }

    pub(super) fn are_ours(&self, gateway: (&str, &str)) -> bool {
        self.ours.contains(&gateway)
    }

    fn attached(&self, gateway: &Subject, listener: &str) -> i64 {
        let count = |section| {
            self.attached.get(&(namespace(gateway), &*gateway.object.name, section)).copied().unwrap_or(0)
        };
        count(listener) + if listener.is_empty() { 0 } else { count("") }
    }
}

pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn namespace(subject: &Subject) -> &str {
    subject.object.namespace.as_deref().unwrap_or_default()
}

pub(super) fn parents(route: &Subject) -> impl Iterator<Item = &Value> {
    route.spec.get("parentRefs").and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn gateway_of<'a>(route: &'a Subject, parent: &'a Value) -> (&'a str, &'a str) {
    let of = text(parent, "namespace");
    (if of.is_empty() { namespace(route) } else { of }, text(parent, "name"))
}

/// Of a route: what each of our gateways makes of it. `None` if it names none of them.
pub(super) fn route(
    subject: &Subject,
    judged: &Judged<'_>,
    speaker: Speaker<'_>,
    gateways: &Gateways<'_>,
) -> Option<Value> {
    let ours = parents(subject).filter(|parent| gateways.ours.contains(&gateway_of(subject, parent)));
    let parents: Vec<Value> = ours
        .map(|parent| {
            let conditions = [judged.accepted(), judged.resolved()];
            json!({"parentRef": parent, "controllerName": speaker.controller, "conditions": conditions})
        })
        .collect();
    (!parents.is_empty()).then(|| json!({"parents": parents}))
}

/// Of a gateway; `None` if it is another's.
pub(super) fn gateway(
    subject: &Subject,
    judged: &Judged<'_>,
    clusters: &[InCluster],
    gateways: &Gateways<'_>,
) -> Option<Value> {
    if !gateways.ours.contains(&(namespace(subject), &*subject.object.name)) {
        return None;
    }
    let programmed = judged.programmed(clusters);
    let listeners = subject.spec.get("listeners").and_then(Value::as_array);
    let of = |listener: &Value| {
        let name = text(listener, "name");
        let kinds: &[&str] = match text(listener, "protocol") {
            "TLS" => &["TLSRoute"],
            "TCP" => &["TCPRoute"],
            _ => &["HTTPRoute", "GRPCRoute"],
        };
        let kinds: Vec<Value> = kinds.iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect();
        json!({
            "name": name,
            "supportedKinds": kinds,
            "attachedRoutes": gateways.attached(subject, name),
            "conditions": [judged.accepted(), judged.resolved(), programmed],
        })
    };
    let listeners: Vec<Value> = listeners.into_iter().flatten().map(of).collect();
    Some(json!({"conditions": [judged.accepted(), programmed], "listeners": listeners}))
}

/// Of a class; `None` if it is another's.
pub(super) fn class(subject: &Subject, judged: &Judged<'_>) -> Option<Value> {
    let ours = CLASSES.contains(&&*subject.object.name);
    ours.then(|| json!({"conditions": [judged.accepted()]}))
}
