//! How fast 1,000 incremental streams have a change, over real gRPC on loopback, and what they cost the server.
//! Run it as `cargo xtask bench xds`, which shows the goals beside the results.
//!
//! The server is this process; the clients (`clients`) are another, so that memory and CPU time can be told apart.
//! Each stream has a connection of its own, as each Envoy has. Every stream subscribes to 10 services that all
//! have in common and to 10 that are its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints")]

mod clients;
mod process;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tidegate_xds::{Change, ResourceType, Scope, Store, XdsEvent, XdsServer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use process::{Clients, cpu_time, open_files, resident_bytes};

const STREAMS: usize = 1000;
/// Services that every stream knows, and as many that only it knows.
const SERVICES: usize = 10;
const ROUNDS: usize = 200;
/// 100,000 changes per minute.
const PACE: Duration = Duration::from_micros(600);
/// About the size of an assignment of ten endpoints.
const BODY_BYTES: usize = 600;

/// Times are in milliseconds.
#[derive(Serialize)]
struct Results {
    streams: usize,
    all_have_it_p50_ms: f64,
    all_have_it_p99_ms: f64,
    all_have_it_max_ms: f64,
    one_has_it_p50_ms: f64,
    one_has_it_p99_ms: f64,
    cpu_per_update_us: f64,
    memory_per_stream_kb: f64,
    spread: Sustained,
    common: Sustained,
}

/// Changes at a steady pace.
#[derive(Serialize)]
struct Sustained {
    seconds: u64,
    changes: u64,
    changes_per_minute: f64,
    /// Changes made and not yet with their client, second by second; without those that newer ones replaced.
    backlog_first_third_max: u64,
    backlog_last_third_max: u64,
    /// From the last change until every client has the newest.
    drained_ms: f64,
    latency_p99_ms: f64,
    memory_before_kb: u64,
    memory_after_kb: u64,
    /// Of one core.
    server_cpu_percent: f64,
}

fn main() {
    open_files(8192);
    let args: Vec<String> = std::env::args().collect();
    if let [_, role, address, ..] = args.as_slice()
        && role == "clients"
    {
        return clients::run(address.parse().unwrap(), STREAMS, SERVICES);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let results = runtime.block_on(measure());
    let json = serde_json::to_string(&results).unwrap();
    match std::env::var_os("TIDEGATE_BENCH_RESULTS") {
        Some(path) => std::fs::write(path, json).unwrap(),
        None => println!("{json}"),
    }
}

async fn measure() -> Results {
    let store = Store::new();
    for service in 0..SERVICES {
        set(&store, ResourceType::Cluster, &clients::common(service));
        set(&store, ResourceType::Endpoint, &clients::common(service));
    }
    for stream in 0..STREAMS {
        for service in 0..SERVICES {
            set(&store, ResourceType::Endpoint, &clients::own(stream, service));
        }
    }
    let stop = CancellationToken::new();
    let (sender, mut events) = mpsc::channel::<XdsEvent>(4096);
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let resolver = Arc::new(|_: &_| Ok(vec![Scope::new("s")]));
    let xds = XdsServer::new(store.clone(), resolver, sender, stop.clone());
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    let mut server = xds.transport();
    let (ads, lrs, _) = xds.into_services();
    let router = server.add_service(ads).add_service(lrs);
    tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));

    let before = resident_bytes();
    let mut clients = Clients::start(address).await;
    let memory_per_stream_kb = (resident_bytes() - before) as f64 / STREAMS as f64 / 1024.0;

    let (mut all, cpu) = (Vec::new(), cpu_time());
    for round in 0..ROUNDS {
        clients.order(&format!("expect {STREAMS}")).await;
        let start = Instant::now();
        set(&store, ResourceType::Endpoint, &clients::common(round % SERVICES));
        assert_eq!(clients.line().await, "all");
        all.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = cpu_time() - cpu;
    let each = clients.latencies().await;
    all.sort_by(f64::total_cmp);

    let spread = |n: u64| {
        let n = usize::try_from(n).unwrap() % (STREAMS * SERVICES);
        clients::own(n / SERVICES, n % SERVICES)
    };
    let spread = sustain(&store, &mut clients, spread, 1).await;
    let common = |n: u64| clients::common(usize::try_from(n).unwrap() % SERVICES);
    let common = sustain(&store, &mut clients, common, STREAMS).await;
    Results {
        streams: STREAMS,
        all_have_it_p50_ms: all[ROUNDS / 2],
        all_have_it_p99_ms: all[ROUNDS * 99 / 100],
        all_have_it_max_ms: all[ROUNDS - 1],
        one_has_it_p50_ms: each.p50_ms,
        one_has_it_p99_ms: each.p99_ms,
        cpu_per_update_us: cpu.as_secs_f64() * 1e6 / (ROUNDS * STREAMS) as f64,
        memory_per_stream_kb,
        spread,
        common,
    }
}

/// Makes changes at the pace of 100,000 a minute; each concerns `receivers` streams.
async fn sustain(
    store: &Store,
    clients: &mut Clients,
    name: impl Fn(u64) -> String,
    receivers: usize,
) -> Sustained {
    let seconds = std::env::var("TIDEGATE_BENCH_SECONDS").map_or(60, |text| text.parse().unwrap());
    clients.latencies().await;
    let (memory_before, cpu, start) = (resident_bytes(), cpu_time(), Instant::now());
    let mut backlog = Vec::new();
    let mut changes = 0;
    for second in 1..=seconds {
        while start.elapsed() < Duration::from_secs(second) {
            // What is due by now, in one go if the timer was late.
            while u128::from(changes) * PACE.as_nanos() < start.elapsed().as_nanos() {
                set(store, ResourceType::Endpoint, &name(changes));
                changes += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let came = clients.count().await;
        backlog.push(if receivers == 1 { changes.saturating_sub(came) } else { 0 });
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_time() - cpu);
    let last = Instant::now();
    // A last change of everything that was changed comes after all before it.
    let names = changes.min(if receivers == 1 { (STREAMS * SERVICES) as u64 } else { SERVICES as u64 });
    clients.order(&format!("newest {}", now_ns())).await;
    for n in 0..names {
        set(store, ResourceType::Endpoint, &name(n));
    }
    clients.say(&format!("await {}", names * receivers as u64)).await;
    assert_eq!(clients.line().await, "all");
    let drained_ms = last.elapsed().as_secs_f64() * 1e3;
    let latency = clients.latencies().await;
    let third = backlog.len() / 3;
    Sustained {
        seconds,
        changes,
        changes_per_minute: changes as f64 / elapsed.as_secs_f64() * 60.0,
        backlog_first_third_max: backlog[..third].iter().copied().max().unwrap_or(0),
        backlog_last_third_max: backlog[backlog.len() - third..].iter().copied().max().unwrap_or(0),
        drained_ms,
        latency_p99_ms: latency.p99_ms,
        memory_before_kb: memory_before / 1024,
        memory_after_kb: resident_bytes() / 1024,
        server_cpu_percent: cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
    }
}

/// Sets a resource to a body that begins with the time.
fn set(store: &Store, kind: ResourceType, name: &str) {
    let mut body = now_ns().to_be_bytes().to_vec();
    body.resize(BODY_BYTES, 7);
    let (scope, name, body) = (Scope::new("s"), name.to_owned(), body.into());
    store.apply(vec![Change::Set { scope, kind, name, body }]);
}

/// Nanoseconds since 1970: a clock that both processes read.
fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since_1970.as_nanos()).unwrap()
}
