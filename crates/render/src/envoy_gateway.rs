//! Envoy Gateway: the cluster's `HTTPRoute`s and `GRPCRoute`s with a `Backend` for each other cluster that serves, `fallback: true` where it
//! stands by; and a `BackendTrafficPolicy` for each route. A policy is for a route there and not for a service: a route whose
//! rules lead to services of different policies is cut into one for each rule.

mod fields;
mod policy;

use crate::{
    Input,
    backends::{Part, name_of},
    ledger::Ledger,
    routes::{self, Route, labels, replaced, routed},
    subject::Subject,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, ServiceName};

const API_VERSION: &str = "gateway.envoyproxy.io/v1alpha1";
const GROUP: &str = "gateway.envoyproxy.io";

pub(crate) fn render(input: &Input<'_>, subjects: &[Subject<'_>], ledger: &mut Ledger) -> Vec<Value> {
    let mut backends: BTreeMap<(String, String), Value> = BTreeMap::new();
    let routes = replaced(input, subjects, |subject, namespace, reference, part| {
        let Some(cluster) = &part.cluster else { return Some(reference.clone()) };
        let name = name_of(subject, namespace, cluster);
        let written = backend(subject, namespace, &name, part);
        backends.insert((namespace.to_owned(), name.clone()), written);
        Some(json!({"group": GROUP, "kind": "Backend", "name": name}))
    });
    for told in mixed(subjects).into_values() {
        ledger.assume(told);
    }
    if !backends.is_empty() {
        ledger.assume(
            "Envoy Gateway's extension API enables Backend, which is off by default (extensionApis.enableBackend)",
        );
        ledger.assume(
            "the addresses of FleetCluster.spec.eastWestGateways are those of gateways that route by host name, and let these \
             gateways in; TLS between clusters is not rendered",
        );
    }
    let routed: BTreeSet<ServiceName> = routed(&routes).into_iter().cloned().collect();
    let mut overruled: BTreeMap<&ServiceName, String> = BTreeMap::new();
    let mut names: BTreeSet<(String, String)> =
        routes.iter().map(|route| (route.namespace().to_owned(), route.name().to_owned())).collect();
    let mut objects: Vec<Value> = backends.into_values().collect();
    for route in &routes {
        objects.extend(of_route(route, &mut names, &mut overruled));
    }
    let leads = |route: &Route<'_, '_>, subject: &Subject<'_>| {
        route.subjects.iter().any(|rule| rule.first().is_some_and(|first| first.name == subject.name))
    };
    for subject in subjects {
        let mut page = ledger.page(subject.name, subject.written);
        if !routed.contains(subject.name) {
            page.all_lost("no HTTPRoute or GRPCRoute leads to it, and policies are for routes");
        }
        if let Some(why) = overruled.get(subject.name) {
            page.all_lost(why);
        }
        if routes.iter().any(|route| leads(route, subject)) {
            fields::account(subject, &mut page);
        }
        page.close();
    }
    objects
}

/// The clusters that are reached by names and by addresses, of which a `Backend` takes the addresses only.
fn mixed(subjects: &[Subject<'_>]) -> BTreeMap<ClusterName, String> {
    let mut mixed = BTreeMap::new();
    for subject in subjects {
        for cluster in subject.order.others(subject.cluster) {
            let gateways = subject.gateways(cluster);
            let names: Vec<&str> = gateways.iter().filter(|it| it.1).map(|it| it.0.as_str()).collect();
            if !names.is_empty() && names.len() < gateways.len() {
                let what = format!(
                    "cluster {cluster} is reached by its addresses only, as a Backend does not mix them with names: {} is left out",
                    names.join(", ")
                );
                mixed.insert(cluster.clone(), what);
            }
        }
    }
    mixed
}

/// A cluster that serves a service, reached by its east-west gateways.
fn backend(subject: &Subject<'_>, namespace: &str, name: &str, part: &Part) -> Value {
    let gateways = part.cluster.as_ref().map(|cluster| subject.gateways(cluster)).unwrap_or_default();
    // A Backend has names or addresses, never both.
    let has_address = gateways.iter().any(|(_, is_name, _)| !is_name);
    let endpoints: Vec<Value> = gateways
        .into_iter()
        .filter(|(_, is_name, _)| !(*is_name && has_address))
        .map(|(host, is_name, port)| match is_name {
            true => json!({"fqdn": {"hostname": host, "port": port}}),
            false => json!({"ip": {"address": host, "port": port}}),
        })
        .collect();
    let mut spec = json!({"endpoints": endpoints});
    if !part.first {
        spec["fallback"] = true.into();
    }
    if subject.is_http2() {
        spec["appProtocols"] = json!(["gateway.envoyproxy.io/h2c"]);
    }
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels()});
    json!({"apiVersion": API_VERSION, "kind": "Backend", "metadata": metadata, "spec": spec})
}

/// A route and its policy, or one of each for every rule.
fn of_route<'s>(
    route: &Route<'s, '_>,
    names: &mut BTreeSet<(String, String)>,
    overruled: &mut BTreeMap<&'s ServiceName, String>,
) -> Vec<Value> {
    let specs: Vec<Option<Value>> =
        route.subjects.iter().map(|rule| rule.first().map(|subject| policy::spec(subject))).collect();
    for rule in &route.subjects {
        let differs = |subject: &&&Subject<'_>| policy::spec(subject) != policy::spec(rule[0]);
        for subject in rule.iter().skip(1).filter(differs) {
            let why = format!(
                "where it shares a rule of a route with {}, that one's policy is rendered",
                rule[0].name
            );
            overruled.insert(subject.name, why);
        }
    }
    let different: BTreeSet<String> = specs.iter().flatten().map(ToString::to_string).collect();
    if different.len() < 2 {
        let spec = specs.into_iter().flatten().next();
        let policy = spec.map(|spec| attached(route, route.name(), spec));
        return std::iter::once(route.object.clone()).chain(policy).collect();
    }
    let mut objects = Vec::new();
    let rules = route.object["spec"]["rules"].as_array().cloned().unwrap_or_default();
    for (at, (rule, spec)) in rules.into_iter().zip(specs).enumerate() {
        let mut name = format!("{}-{}", route.name(), at + 1);
        while !names.insert((route.namespace().to_owned(), name.clone())) {
            name.push_str("-rule");
        }
        let mut one = route.object.clone();
        one["metadata"]["name"] = name.as_str().into();
        one["spec"]["rules"] = json!([rule]);
        objects.push(one);
        objects.extend(spec.map(|spec| attached(route, &name, spec)));
    }
    objects
}

/// A policy for a route, of the same name.
fn attached(route: &Route<'_, '_>, name: &str, mut spec: Value) -> Value {
    spec["targetRefs"] = json!([{"group": "gateway.networking.k8s.io", "kind": route.kind(), "name": name}]);
    let metadata = json!({"name": name, "namespace": route.namespace(), "labels": routes::labels()});
    json!({"apiVersion": API_VERSION, "kind": "BackendTrafficPolicy", "metadata": metadata, "spec": spec})
}
