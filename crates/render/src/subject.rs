//! A service that is rendered, with all that is known of it.

use crate::{Input, order::Order};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tidegate_api::{Config, FleetCluster, Protocol, Service, ServicePolicy};
use tidegate_engine::{Origin, Plan, Source};
use tidegate_model::{ClusterName, Region, ServiceName};

/// A service of the cluster that is rendered for.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a ServiceName,
    pub(crate) service: &'a Service,
    pub(crate) cluster: &'a ClusterName,
    pub(crate) clusters: &'a BTreeMap<ClusterName, FleetCluster>,
    pub(crate) order: Order,
    /// Its ports, as its `Service` names them.
    pub(crate) ports: Vec<Port>,
    pub(crate) written: &'a [(&'static str, Origin)],
}

/// A port of a `Service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) number: u64,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(
        input: &Input<'a>,
        config: &'a Config,
        (name, service): (&'a ServiceName, &'a Service),
        plans: Option<&BTreeMap<Source, Plan>>,
        written: &'a [(&'static str, Origin)],
    ) -> Self {
        let order = plans.map(|plans| Order::new(input.cluster, plans)).unwrap_or_default();
        let ports = ports(input.objects, name);
        Self { name, service, cluster: input.cluster, clusters: &config.clusters, order, ports, written }
    }

    pub(crate) fn policy(&self) -> &ServicePolicy {
        &self.service.policy
    }

    /// The region of a cluster.
    pub(crate) fn region(&self, cluster: &ClusterName) -> Option<&Region> {
        self.clusters.get(cluster).map(|cluster| &cluster.region)
    }

    /// Where a cluster is reached: host (an address or a name, and whether it is a name) and port.
    pub(crate) fn gateways(&self, cluster: &ClusterName) -> Vec<(String, bool, u16)> {
        let Some(cluster) = self.clusters.get(cluster) else { return Vec::new() };
        let addresses = cluster.east_west_gateways.iter().map(|it| (it.ip().to_string(), false, it.port()));
        addresses.chain(cluster.named_gateways.iter().map(|it| (it.host.clone(), true, it.port))).collect()
    }

    /// Whether requests are passed on to it, and not bytes.
    pub(crate) fn takes_requests(&self) -> bool {
        !self.service.tunnelled
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.service.protocol == Protocol::Http2
    }
}

fn ports(objects: &[Value], name: &ServiceName) -> Vec<Port> {
    let is_it = |object: &&Value| {
        object["apiVersion"] == "v1"
            && object["kind"] == "Service"
            && object["metadata"]["name"] == name.name()
            && object["metadata"]["namespace"].as_str().unwrap_or("default") == name.namespace()
    };
    let ports = objects.iter().find(is_it).and_then(|object| object["spec"]["ports"].as_array());
    let port = |(at, port): (usize, &Value)| {
        let named = port["name"].as_str().map(ToOwned::to_owned);
        Some(Port { name: named.unwrap_or_else(|| format!("port-{at}")), number: port["port"].as_u64()? })
    };
    ports.into_iter().flatten().enumerate().filter_map(port).collect()
}

/// As protobuf's JSON has it, and every Kubernetes duration too: seconds with a fraction, `0.15s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let nanos = format!("{:09}", duration.subsec_nanos());
    match nanos.trim_end_matches('0') {
        "" => format!("{}s", duration.as_secs()),
        fraction => format!("{}.{fraction}s", duration.as_secs()),
    }
}

/// As the Gateway API has it (GEP-2257): whole units, milliseconds the smallest; at least one of them.
pub(crate) fn units(duration: Duration) -> String {
    let millis = duration.as_millis().max(1);
    match (millis / 1000, millis % 1000) {
        (0, millis) => format!("{millis}ms"),
        (seconds, millis) => {
            // Each number has at most five digits.
            let (hours, rest) = (seconds / 3600, seconds % 3600);
            let parts = [(hours, "h"), (rest / 60, "m"), (rest % 60, "s"), (millis, "ms")];
            parts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, unit)| format!("{count}{unit}"))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_each_target_reads_them() {
        let table = [
            (0, "0s", "1ms"),
            (150, "0.15s", "150ms"),
            (30_000, "30s", "30s"),
            (90_500, "90.5s", "1m30s500ms"),
        ];
        for (millis, proto, gateway) in table {
            let duration = Duration::from_millis(millis);
            assert_eq!((seconds(duration).as_str(), units(duration).as_str()), (proto, gateway));
        }
        assert_eq!(units(Duration::from_secs(30 * 24 * 3600)), "720h");
    }
}
