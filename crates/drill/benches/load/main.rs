//! What one generator sends on time, and whether its numbers are those of others.
//!
//! `cargo xtask bench load [-- --seconds N --rate N]`. The generator has a core of its own, the server another:
//! 1. nginx (or the toy, where nginx is missing) at the rate for so long: how late requests start, memory each second;
//! 2. a toy that takes 5 ms, kept busy over the same number of connections by the generator, `wrk` and `hey` (where they
//!    are installed) in turn; see `others`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark shows what it found, and fails by panicking"
)]

mod others;
mod server;

use serde_json::json;
use std::{env, fs, time::Duration};
use tidegate_drill::{
    clock::Clock,
    generator::{Generator, Keep, Run, Spec, Target, unique_id},
};

/// What `tidegate` itself allocates by: how much memory goes back is part of what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The core of the generator; servers run on the next.
const CORE: usize = 0;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "serve") {
        let delay_ms = args.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        return server::serve(Duration::from_millis(delay_ms));
    }
    let number = |name: &str, default: u32| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let rate = number("--rate", 10_000);
    let seconds = number("--seconds", 30);
    let rounds = number("--rounds", others::ROUNDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let steady = steady(&runtime, rate, Duration::from_secs(seconds.into()));
    let compared = others::compare(&runtime, rounds);
    let results = json!({ "steady": steady, "compared": compared });
    println!("{}", serde_json::to_string_pretty(&results).unwrap());
    if let Some(path) = env::var_os("TIDEGATE_BENCH_RESULTS") {
        fs::write(path, results.to_string()).unwrap();
    }
}

/// One load after another, each for so long, with at most so many requests in flight.
fn load(
    runtime: &tokio::runtime::Runtime,
    url: &str,
    (rate_rps, in_flight_limit): (u32, usize),
    lasts: Duration,
) -> (Run, Vec<u64>) {
    let spec = Spec {
        targets: vec![Target::get(url)],
        sources: Vec::new(),
        rate_rps,
        in_flight_limit,
        timeout: Duration::from_secs(5),
        keep: Keep::Sums,
        pinned_to: Some(CORE),
        id: unique_id(),
    };
    runtime.block_on(async {
        let generator = Generator::start(spec, Clock::start()).unwrap();
        let mut memory = Vec::new();
        let until = tokio::time::Instant::now() + lasts;
        let mut tick = tokio::time::interval(Duration::from_secs(1).min(lasts / 10));
        tick.tick().await;
        while tokio::time::Instant::now() < until {
            tick.tick().await;
            memory.push(resident_kb());
        }
        (generator.stop().await, memory)
    })
}

fn steady(runtime: &tokio::runtime::Runtime, rate: u32, lasts: Duration) -> serde_json::Value {
    let server = server::nginx(CORE + 1).unwrap_or_else(|| server::toy(CORE + 1, Duration::ZERO));
    println!("{rate} requests/s against {} for {} s", server.name, lasts.as_secs());
    let load_before = machine_load();
    let (run, memory) = load(runtime, &server.url, (rate, 2000), lasts);
    // A run of minutes warms up for one, a short one for a tenth.
    let warm = memory.len().div_ceil(10).min(60);
    let settled = memory.get(warm..).unwrap_or_default();
    let late = |percent| run.tally.late.value_at_percentile(percent);
    let latency = |percent| run.tally.latency.value_at_percentile(percent);
    json!({
        "server": server.name,
        "rate": rate,
        "seconds": lasts.as_secs(),
        "due": run.tally.due,
        "succeeded": run.tally.succeeded(),
        "late_us": { "p50": late(50.0), "p99": late(99.0), "p999": late(99.9), "max": run.tally.late.max() },
        "latency_us": { "p50": latency(50.0), "p99": latency(99.0), "p999": latency(99.9) },
        "resident_kb_each_second": memory,
        "resident_kb": {
            "from_second": warm,
            "min": settled.iter().min(),
            "max": settled.iter().max(),
            "first": settled.first(),
            "last": settled.last(),
        },
        "machine_load": [load_before, machine_load()],
    })
}

/// The machine's load averages of 1, 5 and 15 minutes: what else ran decides how late requests are.
fn machine_load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn resident_kb() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
