//! Requests through a real Envoy while the endpoints behind it are replaced: what fails of them, and how long a change takes to get there.

use crate::{Api, LIMIT, churn, free, get, named, until};
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Services with endpoints that live.
pub(crate) const SERVICES: usize = 50;
/// Of each slice. A service has a slice that stays, and one that goes from these to those and back.
const ENDPOINTS: usize = 100;
/// Who asks, each on a connection of its own, and how often.
const CLIENTS: usize = 8;
const EVERY: Duration = Duration::from_millis(10);
/// How often the way of a change to the gateway is measured.
const PROBES: usize = 200;

/// Endpoints that name themselves: three sets of addresses of this machine, at one port.
async fn endpoints() -> u16 {
    let mut port = 0;
    for index in 0..3 * ENDPOINTS {
        let listener = TcpListener::bind((address(index), port)).await.unwrap();
        port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    }
    port
}

fn address(index: usize) -> Ipv4Addr {
    let [block, host] = [1 + index / 250, 1 + index % 250].map(|it| u8::try_from(it).unwrap());
    Ipv4Addr::new(127, 0, block, host)
}

async fn serve(mut stream: TcpStream) {
    let body = stream.local_addr().unwrap().ip().to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut bytes = [0; 4096];
    // The requests are small: each comes in one piece.
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn slice(name: &str, service: &str, port: u16, addresses: impl Iterator<Item = Ipv4Addr>) -> Value {
    let endpoints: Vec<Value> =
        addresses.map(|it| json!({"addresses": [it], "zone": "a", "conditions": {"ready": true}})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// The addresses of a set.
fn set(number: usize) -> impl Iterator<Item = Ipv4Addr> {
    (number * ENDPOINTS..(number + 1) * ENDPOINTS).map(address)
}

/// An Envoy and who runs it.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        // Told to end, it ends its Envoy in order.
        let id = self.0.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.0.wait();
    }
}

/// What lies behind the gateway, written to the API.
pub(crate) struct Stage {
    pub(crate) edge: SocketAddr,
    port: u16,
    _gateway: Gateway,
}

impl Stage {
    /// Writes services, a route to each, and starts a gateway.
    pub(crate) async fn start(api: &Api, tidegate: &Path, envoy: &Path, agent: SocketAddr) -> Self {
        let (edge, port) = (free(), endpoints().await);
        let services: Vec<String> =
            (0..SERVICES).map(|n| format!("live-{n}")).chain(["live-probe".to_owned()]).collect();
        let gateways = "gateway.networking.k8s.io/v1";
        let spec = json!({
            "gatewayClassName": "tidegate-edge",
            "addresses": [{"type": "IPAddress", "value": edge.ip()}],
            "listeners": [{"name": "http", "port": edge.port(), "protocol": "HTTP"}],
        });
        api.create("gateways", &named(gateways, "Gateway", Some("shop"), "edge", &spec)).await;
        for name in &services {
            let ports = json!({"ports": [{"name": "http", "port": 80}]});
            api.create("services", &named("v1", "Service", Some("shop"), name, &ports)).await;
            for number in 0..2 {
                // Of the one that is probed there is one endpoint.
                let count = if name == "live-probe" { 1 - number } else { ENDPOINTS };
                let object = slice(&format!("{name}-{number}"), name, port, set(number).take(count));
                api.create("endpointslices", &object).await;
            }
            let matches = json!([{"path": {"type": "PathPrefix", "value": format!("/{name}")}}]);
            let rules = json!([{"matches": matches, "backendRefs": [{"name": name, "port": 80}]}]);
            let spec = json!({"parentRefs": [{"name": "edge"}], "rules": rules});
            api.create("httproutes", &named(gateways, "HTTPRoute", Some("shop"), name, &spec)).await;
        }
        let mut command = Command::new(tidegate);
        command.args(["envoy", "run", "--gateway", "shop/edge", "--zone", "a", "--concurrency", "1"]);
        command
            .args(["--agent", &agent.to_string(), "--admin", &free().to_string()])
            .arg("--envoy")
            .arg(envoy);
        let gateway = Gateway(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        for name in &services {
            until("the gateway to serve", || get(edge, &format!("/{name}")));
        }
        Self { edge, port, _gateway: gateway }
    }

    /// Replaces slices as fast as `churn` does, under load; prints what became of it, and gives how many.
    pub(crate) async fn measure(&self, api: &Api, admin: SocketAddr, changes: usize) -> usize {
        let before = last_decision(admin);
        let stop = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 3]> = Arc::default();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| tokio::spawn(ask(self.edge, number, Arc::clone(&stop), Arc::clone(&counts))))
            .collect();
        let (port, probes) = (self.port, Arc::new(AtomicBool::new(false)));
        let probed = tokio::spawn(probe(api.clone(), self.edge, port, Arc::clone(&probes)));
        let change = |number: usize| {
            let (service, round) = (number % SERVICES, number / SERVICES);
            let name = format!("live-{service}");
            let moved = set(if round.is_multiple_of(2) { 2 } else { 0 });
            let (api, slice) = (api.clone(), slice(&format!("{name}-0"), &name, port, moved));
            async move { api.change(slice).await }
        };
        let (made, rate) = churn(changes, change).await;
        probes.store(true, Ordering::SeqCst);
        let mut delays = probed.await.unwrap();
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        delays.sort_unstable();
        let at = |part: usize| {
            delays
                .get((delays.len() * part / 100).min(delays.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let [asked, failed, longest] = [0, 1, 2].map(|at| counts[at].load(Ordering::SeqCst));
        println!(
            "changes under load              {rate:8.0} /s: all endpoints of a slice of 100, a service of 200"
        );
        println!(
            "  requests                      {asked:8}: {failed} failed, the longest took {} ms",
            longest / 1000
        );
        println!("  plans that changed            {:8}", plans_since(admin, before));
        println!(
            "  from write to gateway         {:8.1} ms in the median, {:.1} ms p99, of {} writes",
            at(50).as_secs_f64() * 1e3,
            at(99).as_secs_f64() * 1e3,
            delays.len()
        );
        made
    }
}

/// Asks one service after the other until it is to stop.
async fn ask(edge: SocketAddr, client: usize, stop: Arc<AtomicBool>, counts: Arc<[AtomicU64; 3]>) {
    let mut stream = None;
    let mut number = client;
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep(EVERY).await;
        number = (number + CLIENTS + 1) % SERVICES;
        let begun = Instant::now();
        let answer =
            timeout(LIMIT, request(&mut stream, edge, &format!("/live-{number}"))).await.ok().flatten();
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
        if answer.is_none() {
            stream = None;
        }
        counts[0].fetch_add(1, Ordering::SeqCst);
        counts[1].fetch_add(u64::from(answer.is_none()), Ordering::SeqCst);
        counts[2].fetch_max(took, Ordering::SeqCst);
    }
}

/// Moves an endpoint and waits until a request finds it, again and again until it is to stop, or often enough.
async fn probe(api: Api, edge: SocketAddr, port: u16, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut delays = Vec::new();
    let mut stream = None;
    while delays.len() < PROBES && !stop.load(Ordering::SeqCst) {
        let wanted = address(1 + delays.len() % 2);
        api.change(slice("live-probe-0", "live-probe", port, std::iter::once(wanted))).await;
        let written = Instant::now();
        let wanted = wanted.to_string();
        while request(&mut stream, edge, "/live-probe").await.as_deref() != Some(&wanted) {
            assert!(written.elapsed() < LIMIT, "the gateway does not find {wanted}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        delays.push(written.elapsed());
    }
    delays
}

/// The body of an answer 200, over a connection that is kept.
async fn request(stream: &mut Option<TcpStream>, edge: SocketAddr, path: &str) -> Option<String> {
    if stream.is_none() {
        *stream = TcpStream::connect(edge).await.ok();
    }
    let open = stream.as_mut()?;
    open.write_all(format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n").as_bytes()).await.ok()?;
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let count = open.read(&mut bytes).await.ok().filter(|count| *count > 0)?;
        text.push_str(std::str::from_utf8(&bytes[..count]).ok()?);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        if body.len() >= length.parse().ok()? {
            return head.starts_with("HTTP/1.1 200").then(|| body.to_owned());
        }
    }
}

fn decisions(admin: SocketAddr) -> Vec<Value> {
    let text = get(admin, "/api/v1/decisions?limit=10000").unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn last_decision(admin: SocketAddr) -> u64 {
    decisions(admin).iter().filter_map(|it| it["seq"].as_u64()).max().unwrap_or_default()
}

fn plans_since(admin: SocketAddr, before: u64) -> usize {
    let is_later = |it: &&Value| it["seq"].as_u64().is_some_and(|seq| seq > before);
    decisions(admin).iter().filter(is_later).filter(|it| it["kind"] == "planChanged").count()
}
