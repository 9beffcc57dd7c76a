//! Of a `BackendTLSPolicy`: what it comes to at each gateway from which a route leads to its services, as the Gateway API has it.

use super::{
    Judged, Speaker, Subject,
    routing::{GROUP, Gateways, gateway_of, namespace, parents, text},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// As many ancestors as a status may have.
const MOST: usize = 16;

/// What it says; at the services themselves where no route leads to them.
pub(super) fn policy(
    subject: &Subject,
    judged: &Judged<'_>,
    speaker: Speaker<'_>,
    gateways: &Gateways<'_>,
    subjects: &[Subject],
) -> Value {
    let services: BTreeSet<&str> =
        list(&subject.spec, "targetRefs").map(|target| text(target, "name")).collect();
    let leads_there = |route: &&Subject| {
        let backends = list(&route.spec, "rules").flat_map(|rule| list(rule, "backendRefs"));
        route.object.kind.ends_with("Route")
            && backends.into_iter().any(|backend| {
                let of = text(backend, "namespace");
                let of = if of.is_empty() { namespace(route) } else { of };
                of == namespace(subject) && services.contains(text(backend, "name"))
            })
    };
    let routes = subjects.iter().filter(leads_there);
    let found = routes.flat_map(|route| parents(route).map(move |parent| gateway_of(route, parent)));
    let found: BTreeSet<(&str, &str)> = found.filter(|gateway| gateways.are_ours(*gateway)).collect();
    let gateways = found.iter().map(
        |(namespace, name)| json!({"group": GROUP, "kind": "Gateway", "namespace": namespace, "name": name}),
    );
    let services = services
        .iter()
        .map(|name| json!({"group": "", "kind": "Service", "namespace": namespace(subject), "name": name}));
    let references: Vec<Value> = if found.is_empty() { services.collect() } else { gateways.collect() };
    let named = list(&subject.spec["validation"], "caCertificateRefs").count();
    let conditions = [judged.accepted_with_authorities(named), judged.resolved()];
    let ancestors = references.into_iter().take(MOST).map(|reference| {
        json!({"ancestorRef": reference, "controllerName": speaker.controller, "conditions": conditions})
    });
    json!({"ancestors": ancestors.collect::<Vec<_>>()})
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}
