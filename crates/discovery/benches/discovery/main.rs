//! `cargo xtask bench discovery`: an agent that reads 100,000 endpoints from a Kubernetes API: how long until it has decided
//! about all of them, how much memory it holds, what changes cost it, and what they cost requests: as many as the API server
//! takes, and a thousand a second from a stand-in for a faster one. `--storm` measures the last alone.

#![allow(clippy::print_stdout, reason = "it prints its results")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

mod api;
mod traffic;

use api::Api;
use serde_json::{Value, json};
use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidegate_apiserver::{ApiServer, Options, StandIn};
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
/// The changes of which the stand-in makes as many as that a second.
const STORM: usize = 10_000;
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

/// The world: services, and what there has to be besides.
async fn fill(api: &Api) {
    api.create("namespaces", &named("v1", "Namespace", None, "shop", &json!({}))).await;
    let ours = "tidegate.dev/v1alpha1";
    let cluster = named(ours, "FleetCluster", None, "home", &json!({"region": "here"}));
    api.create("fleetclusters", &cluster).await;
    let policy = json!({
        "targetRefs": [{"kind": "Fleet", "name": "default"}],
        "healthCheck": {"active": {"type": "None"}},
    });
    api.create("failoverpolicies", &named(ours, "FailoverPolicy", Some("shop"), "all", &policy)).await;
    let mut under_way = JoinSet::new();
    for service in 0..SERVICES {
        let api = api.clone();
        under_way.spawn(async move {
            let ports = json!({"ports": [{"name": "http", "port": 80}]});
            let object = named("v1", "Service", Some("shop"), &format!("web-{service}"), &ports);
            api.create("services", &object).await;
            for number in 0..SLICES {
                api.create("endpointslices", &slice(service, number, 0)).await;
            }
        });
        if under_way.len() >= TOGETHER {
            under_way.join_next().await;
        }
    }
    under_way.join_all().await;
}

fn named(api_version: &str, kind: &str, namespace: Option<&str>, name: &str, spec: &Value) -> Value {
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
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

/// Makes so many changes at a steady rate; gives how many were made, and how many a second.
async fn churn<F: Future<Output = ()> + Send + 'static>(
    changes: usize,
    change: impl Fn(usize) -> F,
) -> (usize, f64) {
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    let mut made = 0;
    for number in 0..changes {
        if begun.elapsed() >= LONGEST {
            break;
        }
        made += 1;
        let due = begun
            + Duration::from_secs(1) * u32::try_from(number).unwrap() / u32::try_from(PER_SECOND).unwrap();
        tokio::time::sleep_until(due.into()).await;
        under_way.spawn(change(number));
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
    if !words.iter().any(|word| word == "--storm")
        && let Some(server) = ApiServer::start_or_skip(&Options::default())
    {
        let api = Api::of(&server).await;
        measure(&api, &server.kubeconfig(), &tidegate, &envoy).await;
    }
    let server = Arc::new(StandIn::start(&api::KINDS).unwrap());
    println!("a stand-in for a faster API server");
    storm(&server, &tidegate, &envoy).await;
}

/// Figures with a real API server.
async fn measure(api: &Api, kubeconfig: &Path, tidegate: &Path, envoy: &Path) {
    fill(api).await;
    let state = TempDir::new().unwrap();
    let listen = free();
    let (agent, admin, begun) = start(tidegate, kubeconfig, state.path(), listen);
    until("the agent to be ready", || get(admin, "/readyz"));
    let ready = begun.elapsed();
    let endpoints = SERVICES * SLICES * ENDPOINTS;
    println!("{endpoints} endpoints in {} slices of {SERVICES} services", SERVICES * SLICES);
    println!("ready after                     {:8.2} s     (goal 10 s)", ready.as_secs_f64());
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("memory 5 s later                {:8.0} MB    (goal 300 MB)", agent.memory_mb("VmRSS:"));
    println!("memory at most                  {:8.0} MB", agent.memory_mb("VmHWM:"));

    let name = |number: usize| format!("web-{}-0", number % SERVICES);
    let quiet = |number: usize| {
        let (api, name) = (api.clone(), name(number));
        async move {
            api.patch(&name, &json!({"metadata": {"annotations": {"touched": number.to_string()}}})).await;
        }
    };
    let (before, cpu) = (generation(admin), agent.cpu_s());
    let (made, rate) = churn(CHANGES, quiet).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let became = generation(admin) - before;
    println!("changes that say nothing new    {rate:8.0} /s: {became} became changes of manifests");
    tell_cpu(&agent, cpu, made);

    let changed = |number: usize| slice(number % SERVICES, 0, 1 + number / SERVICES);
    let loud = |number: usize| {
        let (api, slice) = (api.clone(), changed(number));
        async move { api.change(slice).await }
    };
    let (before, cpu) = (generation(admin), agent.cpu_s());
    let (made, rate) = churn(CHANGES, loud).await;
    let last = changed(made - 1);
    let wanted = last["endpoints"][0]["addresses"][0].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let became = generation(admin) - before;
    println!("changes of all endpoints        {rate:8.0} /s: {became} became changes of manifests");
    tell_cpu(&agent, cpu, made);
    println!("memory after that               {:8.0} MB", agent.memory_mb("VmRSS:"));
    until("what was written last to be on disk", || {
        let text = fs::read_to_string(state.path().join("kubernetes.objects")).ok()?;
        text.contains(&format!("\"{wanted}\"")).then_some(())
    });
    println!("what was written last is what is held");
    let stage = traffic::Stage::start(api, tidegate, envoy, listen).await;
    let cpu = agent.cpu_s();
    let made = stage.measure(api, admin, CHANGES).await;
    tell_cpu(&agent, cpu, made);
    println!("memory after that               {:8.0} MB", agent.memory_mb("VmRSS:"));
}

/// Figures of a thousand changes a second, under load, beside as many endpoints.
async fn storm(server: &Arc<StandIn>, tidegate: &Path, envoy: &Path) {
    let api = Api::StandIn(Arc::clone(server));
    fill(&api).await;
    let state = TempDir::new().unwrap();
    let listen = free();
    let (agent, admin, _) = start(tidegate, &server.kubeconfig(), state.path(), listen);
    until("the agent to be ready", || get(admin, "/readyz"));
    let stage = traffic::Stage::start(&api, tidegate, envoy, listen).await;
    let (before, cpu) = (generation(admin), agent.cpu_s());
    let made = stage.measure(&api, admin, STORM).await;
    println!("  changes of manifests          {:8}", generation(admin) - before);
    tell_cpu(&agent, cpu, made);
    println!("memory after that               {:8.0} MB", agent.memory_mb("VmRSS:"));
}

/// What the agent used since it had used `before`.
fn tell_cpu(agent: &Agent, before: f64, made: usize) {
    let used = agent.cpu_s() - before;
    println!("  processor                     {:8.2} ms of each of {made}", used * 1e3 / made as f64);
}

fn start(
    tidegate: &Path,
    kubeconfig: &Path,
    state: &Path,
    listen: SocketAddr,
) -> (Agent, SocketAddr, Instant) {
    let admin = free();
    let mut command = Command::new(tidegate);
    command.args(["agent", "--cluster", "home", "--listen", &listen.to_string()]);
    command.args(["--admin", &admin.to_string(), "--kubernetes", "--kubeconfig"]).arg(kubeconfig);
    command.arg("--state-dir").arg(state).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    (Agent(command.spawn().unwrap()), admin, begun)
}
