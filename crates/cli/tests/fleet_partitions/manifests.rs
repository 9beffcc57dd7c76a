//! What the fleet is told: its policy, and the manifests of each cluster.

use super::{
    fleet::{EAST_WEST_PORT, EDGE_PORT, REGIONS, SERVICES},
    net::address,
};
use serde_json::{Value, json};
use tidegate_lab::toy::Toy;

/// Short, so that a test sees its end; all else is as it is by default.
const FAILBACK: &str = "{holdDown: 2s, ramp: {steps: [50, 100], interval: 1s}}";

fn yaml(objects: &[Value]) -> String {
    objects.iter().map(|it| format!("---\n{it}\n")).collect()
}

/// Where the gateway of this number listens, of those with one role.
fn listens(cluster: &str, number: u8) -> String {
    address(cluster, 2 + number)
}

/// `east_wests` says how many such gateways a cluster has.
pub(crate) fn policy(east_wests: impl Fn(&str) -> u8) -> String {
    let clusters = REGIONS.map(|(cluster, region)| {
        let gateways = (0..east_wests(cluster))
            .map(|it| json!({"address": listens(cluster, it), "port": EAST_WEST_PORT}));
        json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "FleetCluster", "metadata": {"name": cluster},
            "spec": {"region": region,
                "eastWestGateways": gateways.collect::<Value>()}})
    });
    let policy = format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: fleet, namespace: infra}}\nspec:\n  \
         targetRefs: [{{group: tidegate.dev, kind: Fleet, name: default}}]\n  \
         healthCheck: {{active: {{type: HTTP, path: /healthz}}}}\n  failback: {FAILBACK}\n"
    );
    yaml(&clusters) + &policy
}

/// The objects of a cluster whose east-west gateways have these names.
pub(crate) fn manifests(cluster: &str, east_wests: &[&str], toys: &[Toy]) -> String {
    let gateway = |name: &str, role: &str, address: String, port: u16| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": name, "namespace": "infra"},
            "spec": {"gatewayClassName": format!("tidegate-{role}"),
                "addresses": [{"type": "IPAddress", "value": address}],
                "listeners": [{"name": "http", "port": port, "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}}}]}})
    };
    let mut objects = vec![gateway("edge", "edge", listens(cluster, 0), EDGE_PORT)];
    objects.extend(
        (0..)
            .zip(east_wests)
            .map(|(it, name)| gateway(name, "eastwest", listens(cluster, it), EAST_WEST_PORT)),
    );
    for (service, _) in SERVICES {
        objects.push(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": service, "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
        objects.push(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": service, "namespace": "shop"},
            "spec": {"parentRefs": [{"name": "edge", "namespace": "infra"}],
                "hostnames": [format!("{service}.shop.example")],
                "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}}));
    }
    for toy in toys {
        let spec = toy.spec();
        objects.push(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": spec.name, "namespace": "shop",
                "labels": {"kubernetes.io/service-name": spec.service.name()}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": toy.address().port()}],
            "endpoints": [{"addresses": [toy.address().ip()], "zone": spec.zone, "conditions": {"ready": true}}]}));
    }
    yaml(&objects)
}
