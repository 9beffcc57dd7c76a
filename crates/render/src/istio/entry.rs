//! `ServiceEntry`: the service of the fleet, with this cluster's own service and the gateways of the others as its endpoints.

use super::{fleet_host, local_host, object};
use crate::subject::Subject;
use serde_json::{Map, Value, json};

/// The label that sorts endpoints into tiers.
pub(super) fn rank(rank: usize) -> String {
    format!("tidegate.dev/rank-{rank}")
}

/// `None` where no other cluster serves it, or it has no port to ask for.
pub(super) fn render(subject: &Subject<'_>) -> Option<Value> {
    subject.order.others(subject.cluster).next()?;
    let protocol = match (subject.takes_requests(), subject.is_http2()) {
        (false, _) => "TCP",
        (true, true) => "HTTP2",
        (true, false) => "HTTP",
    };
    let ports: Vec<Value> = subject
        .ports
        .iter()
        .map(|port| json!({"name": port.name, "number": port.number, "protocol": protocol}))
        .collect();
    if ports.is_empty() {
        return None;
    }
    let mut endpoints = Vec::new();
    for (at, tier) in subject.order.tiers.iter().enumerate() {
        // With one cluster in a tier there is nothing to weigh.
        let weighs = tier.len() > 1;
        for (cluster, share) in tier {
            let hosts: Vec<(String, Option<u16>)> = match cluster == subject.cluster {
                true => vec![(local_host(subject), None)],
                false => {
                    subject.gateways(cluster).into_iter().map(|(host, _, port)| (host, Some(port))).collect()
                }
            };
            let count = u32::try_from(hosts.len()).unwrap_or(1).max(1);
            for (host, port) in hosts {
                let numbers: Map<String, Value> = subject
                    .ports
                    .iter()
                    .map(|it| (it.name.clone(), port.map_or_else(|| it.number.into(), Value::from)))
                    .collect();
                let mut endpoint =
                    json!({"address": host, "ports": numbers, "labels": labels(subject, cluster, at)});
                if let Some(region) = subject.region(cluster) {
                    endpoint["locality"] = region.as_str().into();
                }
                if weighs {
                    endpoint["weight"] = (share / count).max(1).into();
                }
                endpoints.push(endpoint);
            }
        }
    }
    let spec = json!({
        "hosts": [fleet_host(subject)],
        "location": "MESH_INTERNAL",
        // Names and addresses: names are looked up by the proxies.
        "resolution": "DNS",
        "ports": ports,
        "endpoints": endpoints,
    });
    Some(object("ServiceEntry", subject, &format!("{}-fleet", subject.name.name()), &spec))
}

fn labels(subject: &Subject<'_>, cluster: &tidegate_model::ClusterName, tier: usize) -> Map<String, Value> {
    let ranks = subject.order.tiers.len() - 1 - tier;
    let ranks = (1..=ranks).map(|it| (rank(it), "yes".into()));
    ranks.chain([("topology.istio.io/cluster".to_owned(), cluster.as_str().into())]).collect()
}
