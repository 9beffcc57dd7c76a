//! The estate: one cluster of many services. Most of them are only there, checked and routed to; the watched ones
//! have one endpoint in each of two zones, and the first of them falls ill and recovers again and again.

use crate::toys::{HEALTH_PATH, address};
use serde_json::{Value, json};
use std::{fs, io, net::SocketAddr, path::Path};

pub(crate) const CLUSTER: &str = "bench";
pub(crate) const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];
/// Services per file, so that no file is near the limit of the loader.
const PER_FILE: usize = 250;
/// Networks of loopback: 127.64 and up for endpoints of the many, 127.40 for the watched.
const MANY_NET: u8 = 64;
const WATCHED_NET: u8 = 40;
/// Addresses that are taken from one network.
const PER_NET: usize = 60_000;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Services that are only there.
    pub(crate) many: usize,
    /// Endpoints of each.
    pub(crate) endpoints: usize,
    /// Services that are watched.
    pub(crate) watched: usize,
}

pub(crate) fn host(watched: usize) -> String {
    format!("w-{watched:04}.watch.example")
}

pub(crate) fn many_ip(service: usize, endpoint: usize, size: Size) -> std::net::Ipv4Addr {
    let number = service * size.endpoints + endpoint;
    let net = MANY_NET + u8::try_from(number / PER_NET).unwrap_or(u8::MAX - MANY_NET);
    address(net, number % PER_NET)
}

/// The endpoint in the first zone, which falls ill, and the one in the second, which takes over.
pub(crate) fn watched_ips(watched: usize) -> [std::net::Ipv4Addr; 2] {
    [address(WATCHED_NET, 2 * watched), address(WATCHED_NET, 2 * watched + 1)]
}

/// Writes the manifests into `folder`.
pub(crate) fn write(folder: &Path, size: Size, port: u16, edge: SocketAddr) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut fleet = vec![
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "FleetCluster", "metadata": {"name": CLUSTER},
            "spec": {"region": "here"},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": "infra"},
            "spec": {
                "gatewayClassName": "tidegate-edge",
                "addresses": [{"type": "IPAddress", "value": edge.ip()}],
                "listeners": [{"name": "http", "port": edge.port(), "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}}}],
            },
        }),
    ];
    // The many are checked once a minute: so many checks per second are the load that the agent is under.
    fleet.push(policy("many", json!({"interval": "60s"}), json!({})));
    fleet.push(policy(
        "watch",
        json!({"interval": "500ms"}),
        json!({"failback": {"holdDown": "0s", "ramp": {"steps": [100], "interval": "1s"}}}),
    ));
    put(folder, "fleet.yaml", &fleet)?;
    let numbers: Vec<usize> = (0..size.many).collect();
    for (part, services) in numbers.chunks(PER_FILE).enumerate() {
        let objects: Vec<Value> = services
            .iter()
            .flat_map(|service| {
                let places = (0..size.endpoints)
                    .map(|it| (many_ip(*service, it, size), ZONES[it % ZONES.len()]))
                    .collect::<Vec<_>>();
                let name = format!("s-{service:05}");
                service_objects("many", &name, &format!("{name}.many.example"), &places, port)
            })
            .collect();
        put(folder, &format!("many-{part:03}.yaml"), &objects)?;
    }
    let watched: Vec<Value> = (0..size.watched)
        .flat_map(|it| {
            let [first, second] = watched_ips(it);
            let places = [(first, ZONES[0]), (second, ZONES[1])];
            service_objects("watch", &format!("w-{it:04}"), &host(it), &places, port)
        })
        .collect();
    put(folder, "watched.yaml", &watched)
}

fn put(folder: &Path, name: &str, objects: &[Value]) -> io::Result<()> {
    let text = serde_saphyr::to_string_multiple(objects).map_err(io::Error::other)?;
    fs::write(folder.join(name), text)
}

fn policy(namespace: &str, timing: Value, more: Value) -> Value {
    let mut active = json!({"type": "HTTP", "path": HEALTH_PATH});
    merge(&mut active, timing);
    let mut spec = json!({
        "targetRefs": [{"kind": "Namespace", "name": namespace}],
        "healthCheck": {"active": active},
    });
    merge(&mut spec, more);
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "FailoverPolicy",
        "metadata": {"name": namespace, "namespace": namespace}, "spec": spec,
    })
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

fn service_objects(
    namespace: &str,
    name: &str,
    host: &str,
    places: &[(std::net::Ipv4Addr, &str)],
    port: u16,
) -> [Value; 3] {
    let endpoints: Vec<Value> = places
        .iter()
        .map(|(ip, zone)| json!({"addresses": [ip], "conditions": {"ready": true}, "zone": zone}))
        .collect();
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": endpoints,
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "parentRefs": [{"name": "edge", "namespace": "infra"}],
                "hostnames": [host],
                "rules": [{"backendRefs": [{"name": name, "port": 80}]}],
            },
        }),
    ]
}
