//! `cargo xtask bench discovery`: an agent that reads 100,000 endpoints from a Kubernetes API: how long until it has decided
//! about all of them, how much memory it holds, what a thousand changes a second cost it, and what they cost requests.

#![allow(clippy::print_stdout, reason = "it prints its results")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

mod traffic;

use http::Request;
use kube::Client;
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options};
use tidegate_discovery::kube::KubeAccess;
use tokio::task::JoinSet;

const SERVICES: usize = 500;
/// Of each service.
const SLICES: usize = 2;
/// Of each slice: as many as Kubernetes puts there.
const ENDPOINTS: usize = 100;
/// Requests that are under way at a time.
const TOGETHER: usize = 16;
/// Changes, and how many of them a second, where the API server is as fast; if not, as many as it takes in this time.
const CHANGES: usize = 5_000;
const PER_SECOND: usize = 1_000;
const LONGEST: Duration = Duration::from_secs(20);
const OURS: (&str, &str) = ("tidegate.dev", "v1alpha1");
const GATEWAYS: (&str, &str) = ("gateway.networking.k8s.io", "v1");
/// What takes longer has failed.
const LIMIT: Duration = Duration::from_secs(180);

/// An agent that ends with the benchmark.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    /// A line of its memory in `/proc`, in megabytes.
    fn memory_mb(&self, line: &str) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let found =
            text.lines().find_map(|it| it.strip_prefix(line)?.split_whitespace().next()?.parse().ok());
        found.unwrap_or(f64::NAN) / 1024.0
    }

    /// Seconds of processor that it used.
    fn cpu_s(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields: Vec<f64> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|it| it.parse().ok())
            .collect();
        // User and system time, in hundredths; the state before them is no number.
        (fields.get(10).unwrap_or(&f64::NAN) + fields.get(11).unwrap_or(&f64::NAN)) / 100.0
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.strip_prefix("HTTP/1.1 200")?.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

fn slice(service: usize, number: usize, shift: usize) -> Value {
    let endpoints: Vec<Value> = (0..ENDPOINTS)
        .map(|at| {
            let host = (service * SLICES + number) * ENDPOINTS + at + shift * 1_000_000;
            let address = format!("10.{}.{}.{}", host >> 16 & 255, host >> 8 & 255, host & 255);
            let zone = ["a", "b", "c"][at % 3];
            json!({
                "addresses": [address],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": format!("node-{}", host % 1000),
                "zone": zone,
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": format!("web-{service}-{host}"), "uid": format!("{host:032x}")},
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("web-{service}-{number}"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": format!("web-{service}"), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

async fn write(client: &Client, method: &str, address: &str, body: &Value) {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(address).header("content-type", kind);
    let request = request.body(serde_json::to_vec(body).unwrap()).unwrap();
    client.request_text(request).await.unwrap();
}

fn apply(server: &ApiServer, text: &str) {
    let mut child = server
        .kubectl()
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn definition((group, version): (&str, &str), kind: &str, plural: &str, scope: &str) -> String {
    format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: {plural}.{group}, annotations: {{api-approved.kubernetes.io: 'unapproved, for a benchmark'}}}}\n\
         spec:\n  group: {group}\n  scope: {scope}\n  names: {{kind: {kind}, plural: {plural}}}\n  versions:\n  \
         - {{name: {version}, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}\n"
    )
}

async fn fill(server: &ApiServer, client: &Client) {
    apply(
        server,
        &(definition(OURS, "FleetCluster", "fleetclusters", "Cluster")
            + &definition(OURS, "FailoverPolicy", "failoverpolicies", "Namespaced")
            + &definition(GATEWAYS, "Gateway", "gateways", "Namespaced")
            + &definition(GATEWAYS, "HTTPRoute", "httproutes", "Namespaced")),
    );
    server
        .kubectl()
        .args(["wait", "--for=condition=Established", "crd", "--all"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    apply(
        server,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster\nmetadata: {name: home}\nspec: {region: here}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {name: all, namespace: shop}\n\
         spec: {targetRefs: [{kind: Fleet, name: default}], healthCheck: {active: {type: None}}}\n",
    );
    let mut under_way = JoinSet::new();
    for service in 0..SERVICES {
        let client = client.clone();
        under_way.spawn(async move {
            let object = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("web-{service}"), "namespace": "shop"},
                "spec": {"ports": [{"name": "http", "port": 80}]},
            });
            write(&client, "POST", "/api/v1/namespaces/shop/services", &object).await;
            for number in 0..SLICES {
                let address = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
                write(&client, "POST", address, &slice(service, number, 0)).await;
            }
        });
        if under_way.len() >= TOGETHER {
            under_way.join_next().await;
        }
    }
    under_way.join_all().await;
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How often something changed, by the agent's count.
fn generation(admin: SocketAddr) -> u64 {
    let text = get(admin, "/api/v1/in-force").unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    value["manifestsGeneration"].as_u64().unwrap_or_default()
}

/// Changes slices at a steady rate, which one to what `change` says of its number; gives how many were made, and how many a second.
async fn churn(client: &Client, change: impl Fn(usize) -> (String, Value)) -> (usize, f64) {
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    let mut made = 0;
    for number in 0..CHANGES {
        if begun.elapsed() >= LONGEST {
            break;
        }
        made += 1;
        let due = begun
            + Duration::from_secs(1) * u32::try_from(number).unwrap() / u32::try_from(PER_SECOND).unwrap();
        tokio::time::sleep_until(due.into()).await;
        let (client, (name, body)) = (client.clone(), change(number));
        let address = format!("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/{name}");
        under_way.spawn(async move { write(&client, "PATCH", &address, &body).await });
        if under_way.len() >= TOGETHER {
            under_way.join_next().await;
        }
    }
    under_way.join_all().await;
    (made, made as f64 / begun.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = env::args().collect();
    let path = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).map(PathBuf::from);
    let (Some(tidegate), Some(envoy)) = (path("--tidegate"), path("--envoy")) else {
        println!("start it as `cargo xtask bench discovery`");
        return;
    };
    let Some(server) = ApiServer::start_or_skip(&Options::default()) else { return };
    let access = KubeAccess { kubeconfig: Some(server.kubeconfig()), context: None };
    let (client, _) = access.client().await.unwrap();
    fill(&server, &client).await;
    let state = TempDir::new().unwrap();
    let listen = free();
    let (agent, admin, begun) = start(&tidegate, &server, state.path(), listen);
    until("the agent to be ready", || get(admin, "/readyz"));
    let ready = begun.elapsed();
    let endpoints = SERVICES * SLICES * ENDPOINTS;
    println!("{endpoints} endpoints in {} slices of {SERVICES} services", SERVICES * SLICES);
    println!("ready after                     {:8.2} s     (goal 10 s)", ready.as_secs_f64());
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("memory 5 s later                {:8.0} MB    (goal 300 MB)", agent.memory_mb("VmRSS:"));
    println!("memory at most                  {:8.0} MB", agent.memory_mb("VmHWM:"));

    let named = |number: usize| format!("web-{}-0", number % SERVICES);
    let quiet = |number: usize| {
        (named(number), json!({"metadata": {"annotations": {"touched": number.to_string()}}}))
    };
    let (before, cpu) = (generation(admin), agent.cpu_s());
    let (made, rate) = churn(&client, quiet).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!(
        "changes that say nothing new    {rate:8.0} /s: {} became changes of manifests",
        generation(admin) - before
    );
    println!(
        "  processor                     {:8.2} ms of each of {made}",
        (agent.cpu_s() - cpu) * 1e3 / made as f64
    );

    let loud = |number: usize| {
        let body = slice(number % SERVICES, 0, 1 + number / SERVICES);
        (named(number), json!({"endpoints": body["endpoints"]}))
    };
    let (before, cpu) = (generation(admin), agent.cpu_s());
    let (made, rate) = churn(&client, loud).await;
    let number = made - 1;
    let last = slice(number % SERVICES, 0, 1 + number / SERVICES);
    let wanted = last["endpoints"][0]["addresses"][0].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "changes of all endpoints        {rate:8.0} /s: {} became changes of manifests",
        generation(admin) - before
    );
    println!(
        "  processor                     {:8.2} ms of each of {made}",
        (agent.cpu_s() - cpu) * 1e3 / made as f64
    );
    println!("memory after that               {:8.0} MB", agent.memory_mb("VmRSS:"));
    until("what was written last to be on disk", || {
        let text = fs::read_to_string(state.path().join("kubernetes.objects")).ok()?;
        text.contains(&format!("\"{wanted}\"")).then_some(())
    });
    println!("what was written last is what is held");
    let stage = traffic::Stage::start(&server, &client, &tidegate, &envoy, listen).await;
    let cpu = agent.cpu_s();
    let made = stage.measure(&client, admin).await;
    println!(
        "  processor                     {:8.2} ms of each of {made}",
        (agent.cpu_s() - cpu) * 1e3 / made as f64
    );
    println!("memory after that               {:8.0} MB", agent.memory_mb("VmRSS:"));
}

fn start(
    tidegate: &Path,
    server: &ApiServer,
    state: &Path,
    listen: SocketAddr,
) -> (Agent, SocketAddr, Instant) {
    let admin = free();
    let mut command = Command::new(tidegate);
    command.args([
        "agent",
        "--cluster",
        "home",
        "--listen",
        &listen.to_string(),
        "--admin",
        &admin.to_string(),
        "--kubernetes",
    ]);
    command.arg("--kubeconfig").arg(server.kubeconfig()).arg("--state-dir").arg(state);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    (Agent(command.spawn().unwrap()), admin, begun)
}
