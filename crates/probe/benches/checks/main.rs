//! What an HTTP check costs: checks a second on one core, how late they start, and CPU time beside Envoy's own active
//! checks of the same targets.
//!
//! `cargo xtask bench probe` runs it. It starts itself twice more, each process on a core of its own (with `taskset`,
//! where there is one): as the server, which answers for every address of 127.0.0.0/8, and as the prober. Each check
//! opens a connection. The server's part of a loopback connection is mostly done by the kernel on the prober's core, so
//! what is measured is more than a check over a network would take.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark talks on its terminal")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]

mod cpu;
mod envoy;
mod prober;
mod server;
mod shown;

use serde_json::{Value, json};
use shown::Row;
use std::{env, fs, path::Path, process::ExitCode, time::Duration};

/// The checks a second that one core must make (DESIGN.md, section 9).
const GOAL_PER_SECOND: f64 = 20_000.0;

/// How long each measurement takes, after its warm-up.
const MEASURED: Duration = Duration::from_secs(10);

/// What is measured: so many targets, each checked once a second.
const AT_THE_GOAL: u32 = 20_000;
const BEYOND: u32 = 60_000;
/// As many as Envoy can check with one core, so that both do the same: a few, and about as many as it can.
const COMPARED: [u32; 2] = [3_000, 10_000];

/// The cores that are used, where they can be chosen.
const PROBER_CORE: u32 = 0;
const SERVER_CORE: u32 = 1;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    match args.first().map(String::as_str) {
        Some("server") => server::run(),
        Some("prober") => prober::run(&args[1..]),
        // `cargo test --all-targets` starts benchmarks too, without this word; then there is nothing to do.
        _ if args.iter().any(|arg| arg == "--bench") => {
            compare(after("--envoy").map(Path::new), after("--json").map(Path::new));
        }
        _ => {}
    }
    ExitCode::SUCCESS
}

fn compare(envoy: Option<&Path>, json: Option<&Path>) {
    let mut rows = Vec::new();
    let mut server = server::Server::start(SERVER_CORE);
    for targets in [AT_THE_GOAL, BEYOND].into_iter().chain(COMPARED) {
        eprintln!("tidegate, {targets} targets, once a second each ...");
        server.reset();
        let measured = prober::measure(PROBER_CORE, server.port(), targets, MEASURED);
        rows.push(Row { who: "tidegate", targets, measured, dispersion: server.dispersion() });
    }
    for (envoy, targets) in envoy.iter().flat_map(|envoy| COMPARED.map(|targets| (envoy, targets))) {
        eprintln!("envoy, {targets} targets, once a second each ...");
        let measured = envoy::measure(envoy, PROBER_CORE, &mut server, targets, MEASURED);
        rows.push(Row { who: "envoy", targets, measured, dispersion: server.dispersion() });
    }
    print!("\n{}", shown::table(&rows));
    let ours = rows.iter().find(|row| row.targets == BEYOND).map(|row| row.measured.per_cpu_second());
    if let Some(per_second) = ours {
        let ratio = per_second / GOAL_PER_SECOND;
        println!(
            "\n  goal: {GOAL_PER_SECOND:.0} checks/s on one core; {per_second:.0} per CPU second, ratio {ratio:.2}"
        );
    }
    for targets in COMPARED {
        let same = rows.iter().filter(|row| row.targets == targets);
        let cost: Vec<f64> = same.map(|row| row.measured.cpu_per_100_000()).collect();
        if let [ours, theirs] = cost[..] {
            println!("  {targets} targets: Envoy takes {:.2} times the CPU time of a check", theirs / ours);
        }
    }
    if let Some(path) = json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let ratio = ours.map(|per_second| per_second / GOAL_PER_SECOND);
        let all = json!({ "goalChecksPerSecond": GOAL_PER_SECOND, "ratioToGoal": ratio, "rows": rows });
        fs::write(path, format!("{all:#}\n")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
