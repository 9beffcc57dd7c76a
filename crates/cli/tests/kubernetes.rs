//! An agent that reads its cluster from a real Kubernetes API, with a real Envoy: what is written to the API, and nothing
//! else, moves the traffic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use support::{
    command::{Running, finish, tidegate},
    hub::Agent,
    kube::{GATEWAYS, OURS, apply, define},
    pair::{Gateway, free, get},
    wait_until,
};
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options};

/// An endpoint that answers with its name.
fn endpoint(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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

fn node(name: &str, zone: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{topology.kubernetes.io/region: here, \
         topology.kubernetes.io/zone: {zone}}}}}\n"
    )
}

/// A slice that leaves it to the node where its endpoint is.
fn slice(name: &str, node: &str, endpoint: Option<SocketAddr>) -> String {
    let endpoints = endpoint
        .map(|it| format!("{{addresses: [{}], nodeName: {node}, conditions: {{ready: true}}}}", it.ip()));
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {}, protocol: TCP}}]\nendpoints: [{}]\n",
        endpoint.map_or(80, |it| it.port()),
        endpoints.unwrap_or_default(),
    )
}

fn world(edge: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: home}}\nspec: {{region: here}}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: all, namespace: shop}}\n\
         spec:\n  targetRefs: [{{group: tidegate.dev, kind: Fleet, name: default}}]\n  \
         failback: {{holdDown: 1s}}\n  healthCheck: {{active: {{type: TCP, interval: 500ms}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
         gatewayClassName: tidegate-edge\n  addresses: [{{type: IPAddress, value: {}}}]\n  \
         listeners: [{{name: http, port: {}, protocol: HTTP}}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
         parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]\n",
        edge.ip(),
        edge.port()
    )
}

fn agent(server: &ApiServer, state: &Path, listen: &str) -> Agent {
    let mut command = tidegate();
    command.args([
        "agent",
        "--cluster",
        "home",
        "--listen",
        listen,
        "--admin",
        "127.0.0.1:0",
        "--kubernetes",
    ]);
    command.arg("--kubeconfig").arg(server.kubeconfig()).arg("--state-dir").arg(state);
    let mut agent = Agent::start(&mut command);
    agent.running.until_said("that it is ready", |text| text.contains("ready: gateways").then_some(()));
    agent
}

fn status(agent: &Agent) -> serde_json::Value {
    let mut command = tidegate();
    let ran = finish(command.args(["status", "-o", "json", "--admin", &agent.admin.to_string()]));
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

/// Requests without a pause, and what was answered last; those that failed are kept.
struct Clients {
    stop: Arc<AtomicBool>,
    last: Arc<Mutex<String>>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Clients {
    fn start(edge: SocketAddr) -> Self {
        let it = Self { stop: Arc::default(), last: Arc::default(), failed: Arc::default() };
        let (stop, last, failed) = (Arc::clone(&it.stop), Arc::clone(&it.last), Arc::clone(&it.failed));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let answer = get(edge, "/").unwrap_or_default();
                match answer.starts_with("HTTP/1.1 200") {
                    true => *last.lock().unwrap() = answer.rsplit("\r\n").next().unwrap().to_owned(),
                    false => failed.lock().unwrap().push(answer),
                }
            }
        });
        it
    }

    fn until_from(&self, name: &str) {
        wait_until(&format!("an answer from {name}"), || (*self.last.lock().unwrap() == name).then_some(()));
    }

    fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

#[test]
fn traffic_follows_what_is_written_to_the_api_and_outlives_it() {
    let test = "traffic_follows_what_is_written_to_the_api_and_outlives_it";
    let Some(envoy) = support::envoy(test) else { return };
    let Some(mut server) = ApiServer::start_or_skip(&Options::default()) else { return };
    let (edge, here, there) = (free(), endpoint("from a"), endpoint("from b"));
    let kinds = [
        (OURS, "FleetCluster", "fleetclusters", "Cluster"),
        (OURS, "FailoverPolicy", "failoverpolicies", "Namespaced"),
        (GATEWAYS, "Gateway", "gateways", "Namespaced"),
        (GATEWAYS, "HTTPRoute", "httproutes", "Namespaced"),
    ];
    define(&server, &kinds);
    apply(&server, &(world(edge) + &node("node-a", "a") + &node("node-b", "b")));
    apply(&server, &(slice("web-a", "node-a", Some(here)) + &slice("web-b", "node-b", Some(there))));

    let folder = TempDir::new().unwrap();
    let (state, listen) = (folder.path().join("state"), free().to_string());
    let mut running = agent(&server, &state, &listen);
    let mut command = tidegate();
    command.args(["envoy", "run", "--gateway", "shop/edge", "--zone", "a", "--concurrency", "1"]);
    command.args(["--agent", &listen, "--admin", &free().to_string()]).arg("--envoy").arg(&envoy);
    let _gateway = Gateway(Running::start(&mut command));
    wait_until("an answer", || get(edge, "/").filter(|it| it.starts_with("HTTP/1.1 200")));
    let clients = Clients::start(edge);
    clients.until_from("from a");

    // A zone is lost: its slices say so.
    apply(&server, &slice("web-a", "node-a", None));
    clients.until_from("from b");
    apply(&server, &slice("web-a", "node-a", Some(here)));
    clients.until_from("from a");
    // A node turns out to stand elsewhere.
    apply(&server, &node("node-b", "c"));
    wait_until("a pool in zone c", || {
        let status = status(&running);
        status["pools"]
            .as_array()?
            .iter()
            .any(|pool| pool["zone"] == "c" && pool["healthy"] == 1)
            .then_some(())
    });

    // The API goes, then the agent: what it knew is on disk.
    server.kill();
    wait_until("the API's age", || (status(&running)["kubernetes"]["ageMs"].as_u64()? > 1000).then_some(()));
    running.running.signal(rustix::process::Signal::TERM);
    running.running.ended();
    let again = agent(&server, &state, &listen);
    let text = get(again.admin, "/metrics").unwrap();
    assert!(text.contains("tidegate_kubernetes_watch_follows{kind=\"EndpointSlice\"} 0"), "{text}");
    clients.until_from("from a");
    // And back: what was written last is in force again.
    server.restart().unwrap();
    apply(&server, &slice("web-a", "node-a", None));
    clients.until_from("from b");
    assert_eq!(clients.failed(), [""; 0], "requests failed");
}
