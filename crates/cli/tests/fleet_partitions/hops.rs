//! What passed through Envoys: who served, and where the east-west gateways sent what came to them.

use super::{
    fleet::{CLUSTERS, Fleet, SERVICES},
    support::wait_until,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::Time;

/// Requests that were due after a moment and have ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// By the cluster that served.
    pub(crate) served: BTreeMap<String, usize>,
    /// By outcome.
    pub(crate) failed: BTreeMap<String, usize>,
    pub(crate) longest: Duration,
}

impl Ended {
    /// Of those that entered in a cluster for a service.
    pub(crate) fn since(fleet: &Fleet, cluster: &str, service: &str, from: Time) -> Self {
        let samples = fleet.requests(cluster);
        let wanted = samples.services.iter().position(|it| it.name() == service).unwrap();
        let mut own = Self::default();
        for it in samples.requests.iter().filter(|it| usize::from(it.service) == wanted && it.due() >= from) {
            own.longest = own.longest.max(it.latency());
            if it.outcome.is_success() {
                let by = samples.served_by(it).map_or("nobody", |it| it.cluster.as_str());
                *own.served.entry(by.to_owned()).or_default() += 1;
            } else {
                *own.failed.entry(it.outcome.to_string()).or_default() += 1;
            }
        }
        own
    }

    pub(crate) fn servers(&self) -> Vec<&str> {
        self.served.keys().map(String::as_str).collect()
    }
}

/// How much the east-west gateways of a cluster had to do for a service: requests that were tried at an endpoint, and answers,
/// their own refusals included.
pub(crate) fn work(fleet: &Fleet, cluster: &str, service: &str) -> u64 {
    let counters = ["upstream_rq_total", "upstream_rq_completed"];
    let gateways = fleet.east_wests_of(cluster).iter();
    gateways.flat_map(|it| counters.map(|name| counter(fleet, cluster, it, service, name))).sum()
}

fn counter(fleet: &Fleet, cluster: &str, gateway: &str, service: &str, name: &str) -> u64 {
    let wanted = format!("cluster.shop/{service}.{name}");
    let stats = fleet.ask_envoy(cluster, gateway, &format!("/stats?format=json&filter={name}"));
    let mut stats = stats["stats"].as_array().unwrap().iter();
    stats.find(|it| it["name"] == wanted).map_or(0, |it| it["value"].as_u64().unwrap())
}

/// Where an east-west gateway may send requests of a service, and how many it has sent there.
fn hosts(fleet: &Fleet, cluster: &str, gateway: &str, service: &str) -> BTreeMap<String, u64> {
    let clusters = fleet.ask_envoy(cluster, gateway, "/clusters?format=json");
    let mut clusters = clusters["cluster_statuses"].as_array().unwrap().iter();
    let own = clusters.find(|it| it["name"] == format!("shop/{service}")).unwrap();
    own["host_statuses"].as_array().into_iter().flatten().map(sent).collect()
}

fn sent(host: &Value) -> (String, u64) {
    let at = &host["address"]["socket_address"];
    let mut stats = host["stats"].as_array().unwrap().iter();
    // A counter of zero has no value.
    let total = stats.find(|it| it["name"] == "rq_total").and_then(|it| it["value"].as_str());
    (
        format!("{}:{}", at["address"].as_str().unwrap(), at["port_value"]),
        total.map_or(0, |it| it.parse().unwrap()),
    )
}

/// The east-west gateways know no place but the endpoints of their own cluster, and all that they ever tried is accounted
/// for by these: nothing made a second hop, not even for a moment.
pub(crate) fn assert_none_is_second(fleet: &Fleet) {
    for cluster in CLUSTERS {
        for (service, _) in SERVICES.iter().filter(|(_, places)| places.contains(&cluster)) {
            for gateway in fleet.east_wests_of(cluster) {
                let what = format!("{gateway} of {cluster} to account for all that it sent to {service}");
                let hosts = wait_until(&what, || {
                    let hosts = hosts(fleet, cluster, gateway, service);
                    // Requests go on meanwhile: until one reading fits in with the other.
                    let all = counter(fleet, cluster, gateway, service, "upstream_rq_total");
                    (hosts.values().sum::<u64>() == all).then_some(hosts)
                });
                let known: BTreeSet<String> = hosts.into_keys().collect();
                assert_eq!(known, fleet.addresses(cluster, service), "{gateway} of {cluster}, {service}");
            }
        }
    }
}
