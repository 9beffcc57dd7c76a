//! What an API server does on its worst days: a thousand changes a second, 429 to everything, 410 in the middle of a watch. A stand-in
//! does it over real HTTP, as the API server for tests neither is that fast nor does so when asked. An agent and an Envoy are real;
//! requests through it lose nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "a test says what it measured")]

mod support;

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};
use support::{
    command::{Running, tidegate},
    hub::{ANY, Agent},
    pair::{Counts, Gateway, free, get, load_at},
    wait_until,
};
use tempfile::TempDir;
use tidegate_apiserver::{Mood, Served, StandIn};

/// Services, each with a slice that stays and one that changes.
const SERVICES: usize = 20;
/// Of a slice that changes; all are others each time.
const ENDPOINTS: u8 = 10;
/// The two sets that a slice goes between, and the one that stays.
const SETS: u8 = 3;
const STAYS: u8 = 2;
/// Changes, and how many of them a second.
const CHANGES: usize = 10_000;
const PER_SECOND: u32 = 1_000;
/// What is asked under load.
const ASKED: [&str; 4] = ["/web-0", "/web-7", "/web-13", "/web-19"];

const KINDS: [Served; 7] = [
    Served { group: "", version: "v1", kind: "Service", plural: "services" },
    Served { group: "", version: "v1", kind: "Namespace", plural: "namespaces" },
    Served { group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice", plural: "endpointslices" },
    Served { group: "tidegate.dev", version: "v1alpha1", kind: "FleetCluster", plural: "fleetclusters" },
    Served { group: "tidegate.dev", version: "v1alpha1", kind: "FailoverPolicy", plural: "failoverpolicies" },
    Served { group: "gateway.networking.k8s.io", version: "v1", kind: "Gateway", plural: "gateways" },
    Served { group: "gateway.networking.k8s.io", version: "v1", kind: "HTTPRoute", plural: "httproutes" },
];

fn address(set: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + set * ENDPOINTS + number)
}

fn set(number: u8) -> impl Iterator<Item = Ipv4Addr> {
    (0..ENDPOINTS).map(move |it| address(number, it))
}

/// Endpoints at all addresses, on one port; they serve until the test ends.
fn endpoints() -> u16 {
    let mut port = 0;
    for address in (0..SETS).flat_map(set) {
        let listener = TcpListener::bind((address, port)).unwrap();
        port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                // The requests are small: they come in one piece. A client that is gone is no matter.
                let _ = stream.read(&mut [0; 4096]);
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        });
    }
    port
}

fn object(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    let namespaced = kind != "FleetCluster" && kind != "Namespace";
    let mut metadata = json!({"name": name, "generation": 1, "uid": format!("{kind}-{name}")});
    if namespaced {
        metadata["namespace"] = "shop".into();
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
}

fn slice(name: &str, service: &str, port: u16, of: u8) -> Value {
    let endpoints: Vec<Value> = set(of)
        .map(|it| json!({"addresses": [it], "zone": "a", "conditions": {"ready": true, "serving": true, "terminating": false}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// The world as it is at the start.
fn fill(api: &StandIn, edge: SocketAddr, port: u16) {
    let (ours, gateways) = ("tidegate.dev/v1alpha1", "gateway.networking.k8s.io/v1");
    api.set("namespaces", object("v1", "Namespace", "shop", &json!({})));
    api.set("fleetclusters", object(ours, "FleetCluster", "home", &json!({"region": "here"})));
    let policy = json!({
        "targetRefs": [{"group": "tidegate.dev", "kind": "Fleet", "name": "default"}],
        "healthCheck": {"active": {"type": "None"}},
    });
    api.set("failoverpolicies", object(ours, "FailoverPolicy", "all", &policy));
    let gateway = json!({
        "gatewayClassName": "tidegate-edge",
        "addresses": [{"type": "IPAddress", "value": edge.ip()}],
        "listeners": [{"name": "http", "port": edge.port(), "protocol": "HTTP"}],
    });
    api.set("gateways", object(gateways, "Gateway", "edge", &gateway));
    for number in 0..SERVICES {
        let name = format!("web-{number}");
        let ports = json!({"ports": [{"name": "http", "port": 80}]});
        api.set("services", object("v1", "Service", &name, &ports));
        let route = json!({
            "parentRefs": [{"name": "edge"}],
            "rules": [{
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{name}")}}],
                "backendRefs": [{"name": name, "port": 80}],
            }],
        });
        api.set("httproutes", object(gateways, "HTTPRoute", &name, &route));
        api.set("endpointslices", slice(&format!("{name}-stays"), &name, port, STAYS));
        api.set("endpointslices", slice(&format!("{name}-moves"), &name, port, 0));
    }
}

struct Stage {
    api: StandIn,
    agent: Agent,
    edge: SocketAddr,
    envoy_admin: SocketAddr,
    port: u16,
    // Ends before the folder is gone.
    _gateway: Gateway,
    _folder: TempDir,
}

/// Load on some of the services.
struct Load(Vec<(Arc<AtomicBool>, Arc<Counts>)>);

impl Load {
    fn start(edge: SocketAddr) -> Self {
        Self(ASKED.into_iter().map(|path| load_at(edge, path)).collect())
    }

    /// Ends it; nothing may have failed.
    fn end(self) {
        let mut sums = [0; 3];
        for (stop, counts) in self.0 {
            stop.store(true, Ordering::SeqCst);
            let [asked, failed, longest] =
                [&counts.0, &counts.1, &counts.2].map(|it| it.load(Ordering::SeqCst));
            sums = [sums[0] + asked, sums[1] + failed, sums[2].max(longest)];
        }
        let [asked, failed, longest] = sums;
        eprintln!("MEASURED {failed} of {asked} requests failed, the longest took {longest} ms");
        assert!(asked > 100 && failed == 0, "{failed} of {asked} requests failed");
    }
}

impl Stage {
    fn start(envoy: &Path) -> Self {
        let (edge, envoy_admin, port) = (free(), free(), endpoints());
        let api = StandIn::start(&KINDS).unwrap();
        fill(&api, edge, port);
        let folder = TempDir::new().unwrap();
        let listen = free().to_string();
        let mut command = tidegate();
        command.args(["agent", "--cluster", "home", "--listen", &listen, "--admin", ANY]);
        command.args(["--kubernetes", "--kubeconfig"]).arg(api.kubeconfig());
        command.arg("--state-dir").arg(folder.path().join("state"));
        let agent = Agent::start(&mut command);
        let mut command = tidegate();
        command.args(["envoy", "run", "--gateway", "shop/edge", "--zone", "a", "--concurrency", "1"]);
        command.args(["--agent", &listen, "--admin", &envoy_admin.to_string()]).arg("--envoy").arg(envoy);
        let gateway = Gateway(Running::start(&mut command));
        for number in 0..SERVICES {
            let is_served = |it: &String| it.starts_with("HTTP/1.1 200");
            wait_until("an answer", || get(edge, &format!("/web-{number}")).filter(is_served));
        }
        Self { api, agent, edge, envoy_admin, port, _gateway: gateway, _folder: folder }
    }

    /// Lets a service's slice that changes be this set.
    fn write(&self, service: usize, set: u8) {
        let name = format!("web-{service}");
        self.api.set("endpointslices", slice(&format!("{name}-moves"), &name, self.port, set));
    }

    /// The addresses that Envoy has of each service.
    fn at_envoy(&self) -> BTreeMap<String, BTreeSet<Ipv4Addr>> {
        let text = get(self.envoy_admin, "/clusters").unwrap_or_default();
        let mut known = BTreeMap::<String, BTreeSet<Ipv4Addr>>::new();
        for line in text.lines() {
            let mut words = line.split("::");
            let (Some(cluster), Some(host)) = (words.next(), words.next()) else { continue };
            let Some(service) = cluster.split('/').find(|it| it.starts_with("web-")) else { continue };
            if let Ok(SocketAddr::V4(host)) = host.parse() {
                known.entry(service.to_owned()).or_default().insert(*host.ip());
            }
        }
        known
    }

    /// Waits until Envoy has of each service what was written last.
    fn until_last(&self, last: impl Fn(usize) -> u8) {
        let wanted: BTreeMap<String, BTreeSet<Ipv4Addr>> = (0..SERVICES)
            .map(|it| (format!("web-{it}"), set(STAYS).chain(set(last(it))).collect()))
            .collect();
        wait_until("what was written last, at Envoy", || (self.at_envoy() == wanted).then_some(()));
    }

    fn json(&self, path: &str) -> Value {
        let text = get(self.agent.admin, path).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The plans that changed so far, as their lines say.
    fn moves(&self) -> Vec<String> {
        let records = self.json("/api/v1/decisions?limit=10000");
        let plans = records.as_array().unwrap().iter().filter(|it| it["kind"] == "planChanged");
        plans.map(|it| it["reason"].to_string()).collect()
    }

    /// What is wrong, as the agent's status says.
    fn problems(&self) -> String {
        self.json("/api/v1/status")["problems"].to_string()
    }
}

#[test]
fn a_thousand_slices_that_change_in_a_second_fail_no_request_move_no_plan_and_end_in_what_was_written_last() {
    let test = "a_thousand_slices_that_change_in_a_second_fail_no_request_move_no_plan_and_end_in_what_was_written_last";
    let Some(envoy) = support::envoy(test) else { return };
    let stage = Stage::start(&envoy);
    let before = stage.moves();
    let load = Load::start(stage.edge);
    let begun = Instant::now();
    let set_of = |number: usize| u8::from((number / SERVICES).is_multiple_of(2));
    for number in 0..CHANGES {
        let due = Duration::from_secs(1) * u32::try_from(number).unwrap() / PER_SECOND;
        sleep(due.saturating_sub(begun.elapsed()));
        stage.write(number % SERVICES, set_of(number));
    }
    let (rate, ended) = (CHANGES as f64 / begun.elapsed().as_secs_f64(), Instant::now());
    stage.until_last(|service| set_of(CHANGES - SERVICES + service));
    eprintln!(
        "MEASURED {rate:.0} slices changed a second; what was written last was there after {} ms",
        ended.elapsed().as_millis()
    );
    assert_eq!(stage.moves(), before, "traffic moved, although nothing was lost");
    load.end();
}

#[test]
fn versions_that_are_gone_in_a_watch_and_between_watches_drop_no_endpoint_and_fail_no_request() {
    let test = "versions_that_are_gone_in_a_watch_and_between_watches_drop_no_endpoint_and_fail_no_request";
    let Some(envoy) = support::envoy(test) else { return };
    let stage = Stage::start(&envoy);
    let before = stage.moves();
    let load = Load::start(stage.edge);
    for (round, in_the_middle) in [true, false, true, false].into_iter().enumerate() {
        let gone = stage.api.counted().gone;
        stage.api.forget(in_the_middle);
        wait_until("watches that are told", || (stage.api.counted().gone >= gone + 7).then_some(()));
        // It is followed again, and nothing of it went meanwhile.
        let set = u8::from(round % 2 == 0);
        (0..SERVICES).for_each(|service| stage.write(service, set));
        stage.until_last(|_| set);
    }
    assert_eq!(stage.moves(), before, "traffic moved, although nothing was lost");
    assert_eq!(stage.problems(), "[]");
    load.end();
}

#[test]
fn a_server_that_is_too_busy_is_asked_at_a_bounded_pace_told_of_once_and_followed_again() {
    let test = "a_server_that_is_too_busy_is_asked_at_a_bounded_pace_told_of_once_and_followed_again";
    let Some(envoy) = support::envoy(test) else { return };
    let stage = Stage::start(&envoy);
    let before = stage.moves();
    let load = Load::start(stage.edge);
    for (set, after) in [(1, None), (0, Some(1))] {
        let (refused, begun) = (stage.api.counted().refused, Instant::now());
        stage.api.set_mood(Mood::Busy(after));
        (0..SERVICES).for_each(|service| stage.write(service, set));
        let told = wait_until("that it is busy", || {
            Some(stage.problems()).filter(|it| it.contains("is too busy to answer"))
        });
        assert_eq!(told.matches("is too busy to answer").count(), 1, "{told}");
        let (refused, seconds) = (stage.api.counted().refused - refused, begun.elapsed().as_secs() + 1);
        eprintln!("MEASURED {refused} requests were refused in {seconds} s, Retry-After {after:?}");
        // Seven watches and whoever asks what is served, each six times in the first second at most and once a second then; and
        // the lease.
        assert!(refused <= 8 * (6 + seconds) + seconds, "{refused} in {seconds} s");
        stage.api.set_mood(Mood::Well);
        stage.until_last(|_| set);
        wait_until("that it is well", || (stage.problems() == "[]").then_some(()));
    }
    assert_eq!(stage.moves(), before, "traffic moved, although nothing was lost");
    load.end();
    let said = stage.agent.running.said();
    assert_eq!(said.matches("is too busy to answer").count(), 2, "once each time: {said}");
}
