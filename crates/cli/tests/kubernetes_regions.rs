//! Two regions, each a Kubernetes API of its own with its agent and real Envoys, and a hub that hands out the policy: services,
//! endpoints, gateways and routes come from the APIs alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::atomic::Ordering,
};
use support::{
    command::{Running, tidegate},
    hub::{ANY, Agent, Hub, Place},
    kube::{GATEWAYS, apply, define},
    pair::{Gateway, free, get, load_at},
    wait_until,
};
use tidegate_apiserver::{ApiServer, Options};

/// An endpoint that answers with its name.
fn endpoint(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // A client that is gone is no matter.
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
            let _ = write!(stream, "{head} {}\r\n\r\n{name}", name.len());
        }
    });
    address
}

/// A region: its API, its agent and its Envoys.
struct Site {
    api: ApiServer,
    agent: Option<Agent>,
    envoys: Vec<Gateway>,
    edge: SocketAddr,
    eastwest: SocketAddr,
}

fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n\
         ---\napiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: {{name: {name}, namespace: shop}}\n"
    )
}

/// The endpoints of a service in a zone; none, if the zone is lost.
fn slice(service: &str, zone: &str, endpoint: Option<SocketAddr>) -> String {
    let endpoints =
        endpoint.map(|it| format!("{{addresses: [{}], zone: {zone}, conditions: {{ready: true}}}}", it.ip()));
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {service}-{zone}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {}, protocol: TCP}}]\nendpoints: [{}]\n",
        endpoint.map_or(80, |it| it.port()),
        endpoints.unwrap_or_default(),
    )
}

fn gateway(name: &str, at: SocketAddr) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate-{name}\n  addresses: [{{type: IPAddress, value: {}}}]\n  \
         listeners: [{{name: http, port: {}, protocol: HTTP}}]\n",
        at.ip(),
        at.port()
    )
}

const ROUTES: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}}]
    backendRefs: [{name: api, port: 80}]
  - backendRefs: [{name: web, port: 80}]
";

fn cluster(name: &str, region: &str, eastwest: SocketAddr) -> String {
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: {name}}}\nspec:\n  region: {region}\n  \
         eastWestGateways: [{{address: {}, port: {}}}]\n",
        eastwest.ip(),
        eastwest.port()
    )
}

/// Everything local first, and `api` in the other region first.
const POLICY: &str = "---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: fleet, namespace: shop}
spec:
  targetRefs: [{group: tidegate.dev, kind: Fleet, name: default}]
  healthCheck: {active: {type: TCP, interval: 500ms}}
  failback: {holdDown: 1s}
---
apiVersion: tidegate.dev/v1alpha1
kind: FailoverPolicy
metadata: {name: api, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: api}]
  failover: [{to: [{type: Only, clusters: [eu-west]}, {type: Any}]}]
";

impl Site {
    fn new() -> Option<Self> {
        let api = ApiServer::start_or_skip(&Options::default())?;
        Some(Self { api, agent: None, envoys: Vec::new(), edge: free(), eastwest: free() })
    }

    fn fill(&self, more: &str) {
        let kinds = [
            (GATEWAYS, "Gateway", "gateways", "Namespaced"),
            (GATEWAYS, "HTTPRoute", "httproutes", "Namespaced"),
            (("multicluster.x-k8s.io", "v1alpha1"), "ServiceExport", "serviceexports", "Namespaced"),
        ];
        define(&self.api, &kinds);
        let gateways = gateway("edge", self.edge) + &gateway("eastwest", self.eastwest);
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned();
        apply(&self.api, &(namespace + &service("web") + &service("api") + &gateways + ROUTES + more));
    }

    fn start(&mut self, place: &Place, hub: &Hub, envoy: &Path, name: &str, zone: &str) {
        let socket = format!("unix:{}", place.at(&format!("{name}.sock")).display());
        let mut command = tidegate();
        command.args(["agent", "--listen", &socket, "--admin", ANY, "--kubernetes", "--kubeconfig"]);
        command.arg(self.api.kubeconfig()).arg("--state-dir").arg(place.at(name));
        command.args(["--hub", &hub.listen.to_string(), "--join", &hub.token(name)]);
        self.agent = Some(Agent::start(&mut command));
        for gateway in ["shop/edge", "shop/eastwest"] {
            let mut command = tidegate();
            command.args(["envoy", "run", "--gateway", gateway, "--zone", zone, "--concurrency", "1"]);
            command.args(["--agent", &socket, "--admin", &free().to_string()]).arg("--envoy").arg(envoy);
            self.envoys.push(Gateway(Running::start(&mut command)));
        }
    }
}

/// Waits until `path` is answered by this endpoint, by whom requests go on to be answered.
fn until_from(edge: SocketAddr, path: &str, name: &str) {
    wait_until(&format!("{path} from {name}"), || get(edge, path).filter(|it| it.ends_with(name)));
}

#[test]
fn two_regions_made_of_kubernetes_objects_lose_a_zone_and_a_region_without_a_failed_request() {
    let test = "two_regions_made_of_kubernetes_objects_lose_a_zone_and_a_region_without_a_failed_request";
    let Some(envoy) = support::envoy(test) else { return };
    let (Some(mut east), Some(mut west)) = (Site::new(), Site::new()) else { return };
    let (zone_a, zone_b, abroad) = (endpoint("east a"), endpoint("east b"), endpoint("west c"));
    let local = |zone: &str, at| slice("web", zone, at) + &slice("api", zone, at);
    east.fill(&(local("a", Some(zone_a)) + &local("b", Some(zone_b))));
    west.fill(&local("c", Some(abroad)));
    let place = Place::new();
    let clusters = cluster("us-east", "us", east.eastwest) + &cluster("eu-west", "eu", west.eastwest);
    place.write("fleet.yaml", &(clusters + POLICY));
    let hub = Hub::start(&place, ANY, &[]);
    east.start(&place, &hub, &envoy, "us-east", "a");
    west.start(&place, &hub, &envoy, "eu-west", "c");
    until_from(east.edge, "/", "east a");
    until_from(east.edge, "/api", "west c");
    let loads = ["/", "/api"].map(|path| (path, load_at(east.edge, path)));

    // A zone is lost: its slices say so. Then the region's workloads.
    apply(&east.api, &slice("web", "a", None));
    until_from(east.edge, "/", "east b");
    apply(&east.api, &slice("web", "b", None));
    until_from(east.edge, "/", "west c");
    apply(&east.api, &(slice("web", "a", Some(zone_a)) + &slice("web", "b", Some(zone_b))));
    until_from(east.edge, "/", "east a");

    // The other region's processes are gone at once.
    let agent = west.agent.take().unwrap();
    agent.running.signal(rustix::process::Signal::KILL);
    for envoy in &west.envoys {
        envoy.0.signal(rustix::process::Signal::KILL);
    }
    west.api.kill();
    until_from(east.edge, "/api", "east a");
    for (path, (stop, counts)) in loads {
        stop.store(true, Ordering::SeqCst);
        let [asked, failed, longest] = [&counts.0, &counts.1, &counts.2].map(|it| it.load(Ordering::SeqCst));
        eprintln!("MEASURED {path}: {failed} of {asked} requests failed; the longest took {longest} ms");
        assert_eq!(failed, 0, "of {asked} for {path}");
        assert!(asked > 100, "{asked}");
    }
}
