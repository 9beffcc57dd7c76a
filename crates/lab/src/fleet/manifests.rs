//! The manifests of a lab's clusters, as a user would write them. Pure: addresses in, YAML out.

use super::spec::{ClusterSpec, FleetSpec, PolicySpec, hostname};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate_model::{ClusterName, Region, ServiceName, Zone};

/// The namespace of the gateways and of the policy.
pub const INFRA: &str = "infra";
/// The name of each cluster's edge gateway.
pub const EDGE: &str = "edge";
/// The name of each cluster's east-west gateway.
pub const EAST_WEST: &str = "eastwest";

/// What one cluster's manifests are made from.
#[derive(Debug)]
pub struct ClusterView<'a> {
    /// The fleet.
    pub fleet: &'a FleetSpec,
    /// The cluster.
    pub own: &'a ClusterSpec,
    /// Where its edge listens, if it has one.
    pub edge: Option<SocketAddr>,
    /// Where its east-west gateway listens, if it has one.
    pub east_west: Option<SocketAddr>,
    /// How it reaches the east-west gateways of clusters, its own included.
    pub reach: &'a Reach,
    /// Its endpoints.
    pub endpoints: &'a [EndpointView],
}

/// The address or name of each cluster's east-west gateway, and its port.
pub type Reach = BTreeMap<ClusterName, (String, u16)>;

/// An endpoint, as manifests name it.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Its name, unique in the cluster.
    pub name: String,
    /// The service.
    pub service: ServiceName,
    /// The zone.
    pub zone: Zone,
    /// Where it listens.
    pub address: SocketAddr,
}

impl ClusterView<'_> {
    /// The files of the cluster's folder, by name. What a hub hands out is not among them if there is one.
    pub fn files(&self) -> Result<BTreeMap<&'static str, String>, serde_saphyr::SerializeError> {
        let has_edge = self.edge.is_some();
        let routes: Vec<_> = self.fleet.services.iter().filter(|_| has_edge).map(route).collect();
        let mut files = vec![
            ("services.yaml", self.fleet.services.iter().map(service).collect()),
            ("endpoints.yaml", self.endpoints.iter().map(endpoint_slice).collect()),
            ("gateways.yaml", self.gateways()),
            ("routes.yaml", routes),
        ];
        if !self.fleet.hub {
            files.extend(of_the_fleet(self.fleet, self.reach));
        }
        texts(files)
    }

    fn gateways(&self) -> Vec<Value> {
        let edge = self.edge.map(|address| gateway(EDGE, "tidegate-edge", address));
        let east_west = self.east_west.map(|address| gateway(EAST_WEST, "tidegate-eastwest", address));
        [edge, east_west].into_iter().flatten().collect()
    }
}

/// The files of a hub's folder, by name.
pub fn hub_files(
    fleet: &FleetSpec,
    reach: &Reach,
) -> Result<BTreeMap<&'static str, String>, serde_saphyr::SerializeError> {
    texts(of_the_fleet(fleet, reach))
}

fn texts(
    files: impl IntoIterator<Item = (&'static str, Vec<Value>)>,
) -> Result<BTreeMap<&'static str, String>, serde_saphyr::SerializeError> {
    let files = files.into_iter().filter(|(_, objects)| !objects.is_empty());
    files.map(|(name, objects)| Ok((name, serde_saphyr::to_string_multiple(&objects)?))).collect()
}

/// What is the same in all clusters.
fn of_the_fleet(fleet: &FleetSpec, reach: &Reach) -> [(&'static str, Vec<Value>); 2] {
    let clusters = fleet.clusters.iter().map(|cluster| fleet_cluster(fleet, reach, cluster));
    [("clusters.yaml", clusters.collect()), ("policy.yaml", vec![policy(&fleet.policy)])]
}

fn fleet_cluster(fleet: &FleetSpec, reach: &Reach, cluster: &ClusterSpec) -> Value {
    let gateways: Vec<_> = reach
        .get(&cluster.name)
        .map(|(address, port)| json!({"address": address, "port": port}))
        .into_iter()
        .collect();
    let mut proximity: BTreeMap<&Region, Duration> = BTreeMap::new();
    for other in &fleet.clusters {
        if let Some(rtt) = fleet.rtt(&cluster.region, &other.region) {
            proximity.insert(&other.region, rtt);
        }
    }
    let proximity: Vec<_> =
        proximity.iter().map(|(region, rtt)| json!({"region": region, "rtt": duration(*rtt)})).collect();
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "FleetCluster",
        "metadata": {"name": cluster.name},
        "spec": {"region": cluster.region, "eastWestGateways": gateways, "proximity": proximity},
    })
}

fn policy(policy: &PolicySpec) -> Value {
    let mut object = json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "FailoverPolicy",
        "metadata": {"name": "fleet", "namespace": INFRA},
        "spec": {
            "targetRefs": [{"group": "tidegate.dev", "kind": "Fleet", "name": "default"}],
            "healthCheck": {"active": {
                "type": "HTTP",
                "path": crate::toy::HEALTH_PATH,
                "interval": duration(policy.check_interval),
                "timeout": duration(policy.check_timeout),
            }},
            "failback": {
                "holdDown": duration(policy.hold_down),
                "ramp": {"steps": policy.ramp_steps, "interval": duration(policy.ramp_interval)},
            },
        },
    });
    for (field, value) in &policy.more {
        object["spec"][field] = value.clone();
    }
    object
}

fn gateway(name: &str, class: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": INFRA},
        "spec": {
            "gatewayClassName": class,
            "addresses": [{"type": "IPAddress", "value": address.ip()}],
            "listeners": [{
                "name": "http",
                "port": address.port(),
                "protocol": "HTTP",
                "allowedRoutes": {"namespaces": {"from": "All"}},
            }],
        },
    })
}

fn service(service: &ServiceName) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name(), "namespace": service.namespace()},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
    })
}

/// One slice per endpoint: ports belong to slices, and each endpoint has its own.
fn endpoint_slice(endpoint: &EndpointView) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": endpoint.name,
            "namespace": endpoint.service.namespace(),
            "labels": {"kubernetes.io/service-name": endpoint.service.name()},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": endpoint.address.port(), "protocol": "TCP"}],
        "endpoints": [{
            "addresses": [endpoint.address.ip()],
            "conditions": {"ready": true},
            "zone": endpoint.zone,
        }],
    })
}

fn route(service: &ServiceName) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": service.name(), "namespace": service.namespace()},
        "spec": {
            "parentRefs": [{"name": EDGE, "namespace": INFRA}],
            "hostnames": [hostname(service)],
            "rules": [{"backendRefs": [{"name": service.name(), "port": 80}]}],
        },
    })
}

/// As the manifests write it: `3s`, `500ms`.
fn duration(duration: Duration) -> String {
    match (duration.as_millis(), duration.subsec_millis()) {
        (_, 0) => format!("{}s", duration.as_secs()),
        (ms, _) => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::spec::known, *};

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn files(cluster: &str) -> BTreeMap<&'static str, String> {
        files_of(&FleetSpec::demo(), cluster)
    }

    fn files_of(fleet: &FleetSpec, cluster: &str) -> BTreeMap<&'static str, String> {
        let own = fleet.cluster(cluster).unwrap();
        let reach = BTreeMap::from([
            ("us-east".parse().unwrap(), ("127.40.0.9".to_owned(), 4001)),
            ("us-west".parse().unwrap(), ("127.40.0.8".to_owned(), 4002)),
        ]);
        let endpoints = [EndpointView {
            name: "web-us-east-1a-0".to_owned(),
            service: "shop/web".parse().unwrap(),
            zone: "us-east-1a".parse().unwrap(),
            address: address("127.40.0.2:4000"),
        }];
        ClusterView {
            fleet,
            own,
            edge: own.edge.then(|| address("127.40.0.7:4003")),
            east_west: own.workloads.then(|| address("127.40.0.9:4001")),
            reach: &reach,
            endpoints: if own.workloads { &endpoints } else { &[] },
        }
        .files()
        .unwrap()
    }

    fn objects(yaml: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(yaml).unwrap()
    }

    #[test]
    fn the_policy_reads_as_a_user_would_write_it() {
        let expected = "\
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata:
  name: fleet
  namespace: infra
spec:
  failback:
    holdDown: 3s
    ramp:
      interval: 1s
      steps:
      - 10
      - 50
      - 100
  healthCheck:
    active:
      interval: 500ms
      path: /healthz
      timeout: 300ms
      type: HTTP
  targetRefs:
  - group: tidegate.dev
    kind: Fleet
    name: default
";
        assert_eq!(files("us-east")["policy.yaml"], expected);
    }

    #[test]
    fn every_cluster_knows_all_clusters_and_how_far_they_are() {
        let clusters = objects(&files("us-east")["clusters.yaml"]);
        let names: Vec<_> = clusters.iter().map(|cluster| &cluster["metadata"]["name"]).collect();
        assert_eq!(names, ["us-east", "us-west", "eu-west"]);
        let eu = &clusters[2]["spec"];
        assert_eq!(eu["eastWestGateways"], json!([]));
        let proximity = json!([{"region": "us-east", "rtt": "70ms"}, {"region": "us-west", "rtt": "120ms"}]);
        assert_eq!(eu["proximity"], proximity);
        let west = &clusters[1]["spec"]["eastWestGateways"];
        assert_eq!(*west, json!([{"address": "127.40.0.8", "port": 4002}]));
    }

    #[test]
    fn a_cluster_without_workloads_has_services_and_an_edge_but_no_endpoints() {
        let files = files("eu-west");
        assert!(!files.contains_key("endpoints.yaml"));
        assert_eq!(objects(&files["services.yaml"]).len(), 3);
        let gateways = objects(&files["gateways.yaml"]);
        assert_eq!(gateways.len(), 1);
        assert_eq!(gateways[0]["spec"]["gatewayClassName"], "tidegate-edge");
        assert_eq!(gateways[0]["spec"]["addresses"][0]["value"], "127.40.0.7");
    }

    #[test]
    fn an_endpoint_has_a_slice_with_its_own_port_and_zone() {
        let slices = objects(&files("us-east")["endpoints.yaml"]);
        assert_eq!(slices[0]["metadata"]["labels"]["kubernetes.io/service-name"], "web");
        assert_eq!(slices[0]["ports"][0]["port"], 4000);
        assert_eq!(slices[0]["endpoints"][0]["addresses"], json!(["127.40.0.2"]));
        assert_eq!(slices[0]["endpoints"][0]["zone"], "us-east-1a");
    }

    /// What an agent makes of them: no problem, and all that the fleet has.
    #[test]
    fn an_agent_reads_the_manifests_without_a_problem() {
        for cluster in ["us-east", "us-west", "eu-west"] {
            let files: Vec<_> = files(cluster)
                .into_iter()
                .map(|(path, text)| tidegate_api::SourceFile { path: path.to_owned(), text })
                .collect();
            let loaded = tidegate_api::Loader::new(cluster.parse().unwrap()).load(&files);
            assert_eq!(loaded.problems, []);
            let config = loaded.config;
            let workloads = cluster != "eu-west";
            assert_eq!(config.clusters.len(), 3);
            assert_eq!(config.services.len(), 3);
            assert_eq!(config.gateways.len(), if workloads { 2 } else { 1 });
            let edge = &config.gateways[&"infra/edge".parse().unwrap()];
            assert_eq!(edge.routes.len(), 3);
            assert_eq!(edge.listeners[0].address, address("127.40.0.7:4003"));
            let web = &config.services[&"shop/web".parse().unwrap()];
            assert_eq!(web.endpoints.len(), usize::from(workloads));
            assert_eq!(web.policy.active_check.as_ref().unwrap().interval, Duration::from_millis(500));
        }
    }

    #[test]
    fn with_a_hub_the_fleet_is_in_its_folder_and_a_cluster_without_an_edge_has_no_routes() {
        let fleet = FleetSpec::tiers();
        let names = |cluster: &str| files_of(&fleet, cluster).into_keys().collect::<Vec<_>>();
        assert_eq!(names("us-east-1"), ["endpoints.yaml", "gateways.yaml", "services.yaml"]);
        assert_eq!(names("us-central-1"), ["gateways.yaml", "routes.yaml", "services.yaml"]);
        let reach = BTreeMap::from([(known("us-east-1"), ("east-1.lab".to_owned(), 4001))]);
        let files = hub_files(&fleet, &reach).unwrap();
        assert_eq!(files.keys().copied().collect::<Vec<_>>(), ["clusters.yaml", "policy.yaml"]);
        let clusters = objects(&files["clusters.yaml"]);
        assert_eq!(clusters[1]["spec"]["eastWestGateways"], json!([{"address": "east-1.lab", "port": 4001}]));
        let near = json!([{"region": "us-east", "rtt": "30ms"}, {"region": "us-west", "rtt": "40ms"}]);
        assert_eq!(clusters[0]["spec"]["proximity"], near, "each region once");
    }

    #[test]
    fn routes_name_the_edge_and_the_service() {
        let routes = objects(&files("us-east")["routes.yaml"]);
        assert_eq!(routes[0]["spec"]["hostnames"], json!(["web.shop.example"]));
        assert_eq!(routes[0]["spec"]["parentRefs"], json!([{"name": "edge", "namespace": "infra"}]));
        assert_eq!(routes[0]["spec"]["rules"][0]["backendRefs"], json!([{"name": "web", "port": 80}]));
    }
}
