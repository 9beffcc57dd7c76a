//! What a Kubernetes cluster does to its pods all day: rolling updates, drained nodes, evictions by the dozen, scaling to zero.
//! Everything is told by a real API alone; requests through a real Envoy lose nothing, and plans stay quiet where nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};
use support::{
    command::{Running, tidegate},
    hub::{ANY, Agent},
    kube::{GATEWAYS, OURS, apply, define, kubectl},
    pair::{Gateway, free, get, load},
    wait_until,
};
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options};

/// What a pod takes to end after it was told to: its `preStop`, in which it still serves.
const GRACE: Duration = Duration::from_millis(800);

/// A pod: a process that answers, until it ends.
struct Pod {
    address: SocketAddr,
    node: &'static str,
    terminating: bool,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pod {
    fn start(node: &'static str) -> Self {
        let listener = TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                // A client that is gone is no matter.
                let _ = stream.read(&mut [0; 4096]);
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Self { address, node, terminating: false, ended, thread: Some(thread) }
    }

    /// Its process is gone: who connects is refused.
    fn end(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // So that it notices.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// The cluster, as its controllers write it.
struct Cluster {
    api: ApiServer,
    pods: BTreeMap<u32, Pod>,
    next: u32,
}

/// Zones of the nodes.
const NODES: [(&str, &str); 4] = [("node-1", "a"), ("node-2", "a"), ("node-3", "b"), ("node-4", "b")];

impl Cluster {
    fn add(&mut self, node: &'static str) -> u32 {
        self.next += 1;
        self.pods.insert(self.next, Pod::start(node));
        self.next
    }

    /// What the controller of slices does: writes how the pods are. Pods on loopback have ports of their own, so each has a slice.
    fn write(&self) {
        let mut text = String::new();
        for number in 1..=self.next {
            let pod = self.pods.get(&number);
            let endpoint = pod.map(|pod| {
                format!(
                    "{{addresses: [127.0.0.1], nodeName: {}, conditions: {{ready: {}, serving: true, terminating: {}}}}}",
                    pod.node, !pod.terminating, pod.terminating
                )
            });
            text += &format!(
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: web-{number}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
                 addressType: IPv4\nports: [{{name: http, port: {}, protocol: TCP}}]\nendpoints: [{}]\n",
                pod.map_or(80, |pod| pod.address.port()),
                endpoint.unwrap_or_default()
            );
        }
        apply(&self.api, &text);
    }

    /// Pods are told to end, serve on for their grace, and are gone.
    fn delete(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.pods.get_mut(number).unwrap().terminating = true;
        }
        self.write();
        sleep(GRACE);
        for number in numbers {
            self.pods.get_mut(number).unwrap().end();
            self.pods.remove(number);
        }
        self.write();
    }

    fn on(&self, node: &str) -> Vec<u32> {
        self.pods.iter().filter(|(_, pod)| pod.node == node).map(|(number, _)| *number).collect()
    }
}

fn healthy(agent: &Agent, zone: &str) -> Option<u64> {
    let ran = support::command::run(["status", "-o", "json", "--admin", &agent.admin.to_string()]);
    let status: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
    let pools = status["pools"].as_array()?;
    pools.iter().find(|pool| pool["zone"] == zone)?["healthy"].as_u64()
}

fn until_healthy(agent: &Agent, zone: &str, count: u64) {
    wait_until(&format!("{count} healthy in zone {zone}"), || (healthy(agent, zone)? == count).then_some(()));
}

/// The plans that changed so far, as their lines say.
fn moves(agent: &Agent) -> Vec<String> {
    let text = get(agent.admin, "/api/v1/decisions?limit=10000").unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let records: serde_json::Value = serde_json::from_str(body).unwrap();
    let records = records.as_array().cloned().unwrap_or_default();
    let plans = records.iter().filter(|it| it["kind"] == "planChanged");
    plans.map(|it| it["reason"].to_string()).collect()
}

fn world(edge: SocketAddr) -> String {
    let nodes = NODES.map(|(name, zone)| {
        format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}\n")
    });
    nodes.concat()
        + &format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n\
             apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {{name: home}}\nspec: {{region: here}}\n---\n\
             apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {{name: all, namespace: shop}}\n\
             spec:\n  targetRefs: [{{group: tidegate.dev, kind: Fleet, name: default}}]\n  failback: {{holdDown: 1s}}\n  \
             healthCheck: {{active: {{type: TCP, interval: 500ms}}}}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  \
             gatewayClassName: tidegate-edge\n  addresses: [{{type: IPAddress, value: {}}}]\n  \
             listeners: [{{name: http, port: {}, protocol: HTTP}}]\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\nspec:\n  \
             parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]\n",
            edge.ip(),
            edge.port()
        )
}

/// A cluster with three pods on each node, its agent and a gateway that serves.
struct Stage {
    cluster: Cluster,
    agent: Agent,
    edge: SocketAddr,
    // Ends before the folder is gone.
    _gateway: Gateway,
    _folder: TempDir,
}

impl Stage {
    fn start(api: ApiServer, envoy: &Path) -> Self {
        let edge = free();
        let mut cluster = Cluster { api, pods: BTreeMap::new(), next: 0 };
        let kinds = [
            (OURS, "FleetCluster", "fleetclusters", "Cluster"),
            (OURS, "FailoverPolicy", "failoverpolicies", "Namespaced"),
            (GATEWAYS, "Gateway", "gateways", "Namespaced"),
            (GATEWAYS, "HTTPRoute", "httproutes", "Namespaced"),
        ];
        define(&cluster.api, &kinds);
        apply(&cluster.api, &world(edge));
        for (node, _) in NODES {
            for _ in 0..3 {
                cluster.add(node);
            }
        }
        cluster.write();
        let folder = TempDir::new().unwrap();
        let listen = free().to_string();
        let mut command = tidegate();
        command.args([
            "agent",
            "--cluster",
            "home",
            "--listen",
            &listen,
            "--admin",
            ANY,
            "--kubernetes",
            "--kubeconfig",
        ]);
        command.arg(cluster.api.kubeconfig()).arg("--state-dir").arg(folder.path().join("state"));
        let agent = Agent::start(&mut command);
        let mut command = tidegate();
        command.args(["envoy", "run", "--gateway", "shop/edge", "--zone", "a", "--concurrency", "1"]);
        command.args(["--agent", &listen, "--admin", &free().to_string()]).arg("--envoy").arg(envoy);
        let gateway = Gateway(Running::start(&mut command));
        wait_until("an answer", || get(edge, "/").filter(|it| it.starts_with("HTTP/1.1 200")));
        until_healthy(&agent, "a", 6);
        until_healthy(&agent, "b", 6);
        Self { cluster, agent, edge, _gateway: gateway, _folder: folder }
    }
}

#[test]
fn updates_drains_evictions_and_scaling_to_zero_lose_no_request_and_move_nothing_that_need_not() {
    let test = "updates_drains_evictions_and_scaling_to_zero_lose_no_request_and_move_nothing_that_need_not";
    let Some(envoy) = support::envoy(test) else { return };
    let Some(api) = ApiServer::start_or_skip(&Options::default()) else { return };
    let Stage { mut cluster, agent, edge, _gateway, _folder } = Stage::start(api, &envoy);
    let before = moves(&agent);
    let (stop, counts) = load(edge);

    // A rolling update of all twelve, one more at a time.
    for old in cluster.pods.keys().copied().collect::<Vec<_>>() {
        let node = cluster.pods[&old].node;
        let zone = NODES.iter().find(|it| it.0 == node).unwrap().1;
        cluster.add(node);
        cluster.write();
        until_healthy(&agent, zone, 7);
        cluster.delete(&[old]);
        until_healthy(&agent, zone, 6);
    }
    // A node is drained: its pods come up on the other one of the zone, one after the other.
    for old in cluster.on("node-1") {
        cluster.add("node-2");
        cluster.write();
        until_healthy(&agent, "a", 7);
        cluster.delete(&[old]);
        until_healthy(&agent, "a", 6);
    }
    assert_eq!(moves(&agent), before, "traffic moved, although nothing was lost");

    // A third of a zone is evicted at once, before others are there: the zone goes on by what is left of it.
    let evicted: Vec<u32> = cluster.on("node-2").into_iter().take(2).collect();
    cluster.delete(&evicted);
    until_healthy(&agent, "a", 4);
    for _ in &evicted {
        cluster.add("node-2");
    }
    cluster.write();
    until_healthy(&agent, "a", 6);

    // A zone is scaled to zero, and back: requests go to the other one, and return.
    let all = cluster.on("node-2");
    cluster.delete(&all);
    wait_until("no pod in zone a", || (healthy(&agent, "a").unwrap_or(0) == 0).then_some(()));
    for _ in 0..6 {
        cluster.add("node-1");
    }
    cluster.write();
    until_healthy(&agent, "a", 6);

    stop.store(true, Ordering::SeqCst);
    let [asked, failed, longest] = [&counts.0, &counts.1, &counts.2].map(|it| it.load(Ordering::SeqCst));
    let moved = moves(&agent).len() - before.len();
    eprintln!(
        "MEASURED {failed} of {asked} requests failed, the longest took {longest} ms; plans changed {moved} times"
    );
    assert_eq!(failed, 0, "of {asked}");
}

/// What a slice says of one pod that serves.
fn slice_of(name: &str, pod: &Pod, touched: usize) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}, annotations: {{touched: '{touched}'}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: {}, protocol: TCP}}]\n\
         endpoints: [{{addresses: [127.0.0.1], nodeName: {}, conditions: {{ready: true}}}}]\n",
        pod.address.port(),
        pod.node
    )
}

#[test]
fn a_burst_of_slice_changes_ends_in_the_last_state_moves_no_plan_and_fails_no_request() {
    let test = "a_burst_of_slice_changes_ends_in_the_last_state_moves_no_plan_and_fails_no_request";
    let Some(envoy) = support::envoy(test) else { return };
    let Some(api) = ApiServer::start_or_skip(&Options::default()) else { return };
    let Stage { mut cluster, agent, edge, _gateway, _folder } = Stage::start(api, &envoy);
    // One more in each zone, at one of two addresses, both of which serve all the time.
    let spare: Vec<[u32; 2]> = ["node-1", "node-3"].map(|node| [cluster.add(node), cluster.add(node)]).into();
    let before = moves(&agent);
    let (stop, counts) = load(edge);
    let mut text = String::new();
    for round in 0..60 {
        for (zone, pods) in spare.iter().enumerate() {
            text += &slice_of(&format!("spare-{zone}"), &cluster.pods[&pods[round % 2]], 0);
            // What says nothing new, between.
            text += &slice_of(
                &format!("web-{}", 1 + zone),
                &cluster.pods[&(1 + u32::try_from(zone).unwrap())],
                round,
            );
        }
    }
    apply(&cluster.api, &text);
    // The last word is that there is none.
    kubectl(&cluster.api, &["-n", "shop", "delete", "endpointslice", "spare-0", "spare-1"], "");
    until_healthy(&agent, "a", 6);
    until_healthy(&agent, "b", 6);
    stop.store(true, Ordering::SeqCst);
    let [asked, failed, longest] = [&counts.0, &counts.1, &counts.2].map(|it| it.load(Ordering::SeqCst));
    eprintln!("MEASURED {failed} of {asked} requests failed, the longest took {longest} ms");
    assert_eq!(failed, 0, "of {asked}");
    assert_eq!(moves(&agent), before, "traffic moved, although nothing was lost");
}
