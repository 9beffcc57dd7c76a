//! The Gateway API alone: the cluster's routes, in which clusters that serve together divide by weight. It knows no health, no order and no
//! standby, so a cluster that stands by is not rendered. A cluster is a `Service` without a selector and an `EndpointSlice` of its
//! east-west gateways, which every implementation follows.

use crate::{
    Input,
    backends::name_of,
    ledger::{Fate, Ledger, Page},
    never,
    routes::{labels, replaced, routed},
    subject::{Port, Subject},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, ServiceName};

const NO_HEALTH: &str = "backends have no health: readiness alone decides, if the implementation follows it";

pub(crate) fn render(input: &Input<'_>, subjects: &[Subject<'_>], ledger: &mut Ledger) -> Vec<Value> {
    let mut places: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    let routes = replaced(input, subjects, |subject, namespace, reference, part| {
        let Some(cluster) = &part.cluster else { return part.first.then(|| reference.clone()) };
        let place = part.first.then(|| place(subject, namespace, cluster)).flatten()?;
        let name = name_of(subject, namespace, cluster);
        places.insert((namespace.to_owned(), name.clone()), place);
        let mut reference = reference.clone();
        reference["name"] = name.into();
        reference.as_object_mut()?.remove("namespace");
        Some(reference)
    });
    if !places.is_empty() {
        ledger.assume(
            "the addresses of FleetCluster.spec.eastWestGateways are those of gateways that route by host name, and let these \
             gateways in; TLS between clusters is not rendered",
        );
    }
    let routed: BTreeSet<ServiceName> = routed(&routes).into_iter().cloned().collect();
    for subject in subjects {
        let mut page = ledger.page(subject.name, subject.written);
        if routed.contains(subject.name) {
            account(subject, &mut page);
        } else {
            page.all_lost("no HTTPRoute or GRPCRoute leads to it, and routes are all there is");
        }
        page.close();
    }
    routes.into_iter().map(|route| route.object).chain(places.into_values().flatten()).collect()
}

/// A cluster as a `Service` and `EndpointSlice`s; `None` if it has no address, or the service no port.
fn place(subject: &Subject<'_>, namespace: &str, cluster: &ClusterName) -> Option<Vec<Value>> {
    let name = name_of(subject, namespace, cluster);
    let mut by_port: BTreeMap<(bool, u16), Vec<String>> = BTreeMap::new();
    for (host, is_name, port) in subject.gateways(cluster) {
        if !is_name {
            by_port.entry((host.contains(':'), port)).or_default().push(host);
        }
    }
    if by_port.is_empty() || subject.ports.is_empty() {
        return None;
    }
    let protocol = if subject.is_http2() { "kubernetes.io/h2c" } else { "http" };
    let port = |it: &Port, number: Value| json!({"name": it.name, "port": number, "appProtocol": protocol});
    let ports: Vec<Value> = subject.ports.iter().map(|it| port(it, it.number.into())).collect();
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels()});
    let mut objects =
        vec![json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}})];
    for (at, ((is_v6, number), hosts)) in by_port.into_iter().enumerate() {
        let mut labels = labels();
        labels["kubernetes.io/service-name"] = name.as_str().into();
        let endpoints: Vec<Value> = hosts.iter().map(|host| json!({"addresses": [host]})).collect();
        let ports: Vec<Value> = subject.ports.iter().map(|it| port(it, number.into())).collect();
        objects.push(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-{}", at + 1), "namespace": namespace, "labels": labels},
            "addressType": if is_v6 { "IPv6" } else { "IPv4" },
            "ports": ports,
            "endpoints": endpoints,
        }));
    }
    Some(objects)
}

fn account(subject: &Subject<'_>, page: &mut Page<'_>) {
    never::account(page, &["residency"]);
    let order = &subject.order;
    let together = order.tiers.first().map_or(0, BTreeMap::len);
    let standing_by: Vec<&str> =
        order.tiers.iter().skip(1).flat_map(BTreeMap::keys).map(ClusterName::as_str).collect();
    let why = match standing_by.as_slice() {
        [] => "there is no order: what serves together divides by weight, whatever its health".to_owned(),
        some => format!("there is no standby: {} never serves", some.join(", ")),
    };
    if page.has("failover") {
        page.lost("failover", why);
        if together > 1 {
            page.approximated(
                "failover",
                "weights of backendRefs, as they are now, whatever the health of a cluster",
            );
        }
    } else {
        page.by_default("failover", Fate::Lost(why));
    }
    let beside = order.tiers.first().into_iter().flat_map(BTreeMap::keys).filter(|it| *it != subject.cluster);
    for cluster in beside.filter(|cluster| place(subject, subject.name.namespace(), cluster).is_none()) {
        let why = format!(
            "cluster {cluster} gets no part: an EndpointSlice takes addresses, and a port of the Service"
        );
        page.lost("failover", why.clone());
        page.by_default("other clusters", Fate::Lost(why));
    }
    page.approximated("residency", "routes lead to allowed clusters only");
    for field in [
        "failoverThreshold",
        "whenExhausted",
        "healthCheck.active.type",
        "healthCheck.active.interval",
        "healthCheck.active.timeout",
        "healthCheck.active.unhealthyThreshold",
        "healthCheck.active.healthyThreshold",
        "healthCheck.passive.errors",
        "healthCheck.passive.errors.percentage",
        "healthCheck.passive.errors.minimumRequests",
        "healthCheck.passive.errors.window",
        "healthCheck.passive.errors.ejection",
        "healthCheck.passive.errors.maxEjectionPercent",
        "failback.holdDown",
    ] {
        page.lost(field, NO_HEALTH);
    }
    for field in ["retry.perTryTimeout", "retry.attempts", "retry.budget.minimum"] {
        page.lost(field, "retries are not in the standard channel; timeouts are those of the routes");
    }
    for field in [
        "circuitBreaker.maxConnections",
        "circuitBreaker.maxPendingRequests",
        "circuitBreaker.maxParallelRequests",
        "circuitBreaker.maxRequestsPerConnection",
        "slowStart.window",
        "drain.maxAge",
    ] {
        page.lost(field, "how a gateway treats connections is the implementation's own");
    }
    page.by_default("health checks, retries and limits", Fate::Lost(NO_HEALTH.to_owned()));
}
