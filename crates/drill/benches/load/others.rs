//! The same server asked by others, and their numbers beside ours: like with like.
//!
//! `wrk` and `hey` are *closed loops*: each connection sends its next request when the last one is answered, so the rate is
//! what the server makes of it, and latency counts from the sending. The generator is an open loop, whose latency counts from
//! when a request was due. Compared are therefore all three at the one point where these are the same: so many connections
//! ([`CONNECTIONS`]), all kept busy. The generator is told a rate far above what they can carry, with as many requests in flight
//! as there are connections; what finds all of them busy is never sent and not counted.
//!
//! `hey -q`, a closed loop with a rate, is told in the results and not compared: each of its workers has a ticker of its own, all
//! begun at once, so its requests come in bunches of as many as there are connections. Those of the generator come one by one.

use crate::{
    CORE, load, machine_load,
    server::{on_core, toy},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How long the toy takes to answer: a client's own time is small beside it, and a busy machine's, too.
const TOY_DELAY: Duration = Duration::from_millis(5);
/// Connections of each client; a toy on one core is far from its limit.
const CONNECTIONS: u32 = 16;
/// Due in closed loop: a connection that is free waits 25 us on average for its next request, 0.5 % of an answer's time.
const CLOSED_RPS: u32 = 20_000;
/// How long each client asks in each round.
const SECONDS: u32 = 5;
/// Rounds, each of all clients in turn; the median counts.
pub(crate) const ROUNDS: u32 = 5;
/// What is compared.
const MEASURES: [&str; 3] = ["rate", "p50_ms", "p99_ms"];

/// The generator, `wrk` and `hey` in turn against a toy: of each the median of the rounds, and all rounds.
pub(crate) fn compare(runtime: &tokio::runtime::Runtime, rounds: u32) -> Value {
    let server = toy(CORE + 1, TOY_DELAY);
    let before = machine_load();
    let mut found: [(&str, Vec<Value>); 3] = ["own", "wrk", "hey"].map(|name| (name, Vec::new()));
    let (mut own_paced, mut hey_paced) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let own = own(runtime, &server.url, CLOSED_RPS);
        // As a rate that the connections can carry: three quarters of what they do.
        let paced = (own["rate"].as_f64().unwrap_or_default() * 0.75) as u32;
        for ((_, found), result) in
            found.iter_mut().zip([Some(own), wrk(&server.url), hey(&server.url, None)])
        {
            found.extend(result);
        }
        own_paced.push(self::own(runtime, &server.url, paced.max(1)));
        hey_paced.extend(hey(&server.url, Some(paced)));
    }
    let mut told = json!({
        "connections": CONNECTIONS,
        "rounds": rounds,
        "machine_load": [before, machine_load()],
        "paced": { "own": medians(&own_paced), "hey": medians(&hey_paced) },
    });
    for (name, found) in found {
        told[name] = medians(&found);
    }
    told
}

/// The median of each measure, and the measures of each round; null if there are none.
fn medians(rounds: &[Value]) -> Value {
    if rounds.is_empty() {
        return Value::Null;
    }
    let mut told = json!({ "rounds": rounds });
    for name in MEASURES {
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| round[name].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        told[name] = values.get(values.len() / 2).copied().into();
    }
    told
}

fn own(runtime: &tokio::runtime::Runtime, url: &str, rate_rps: u32) -> Value {
    let began = Instant::now();
    let lasts = Duration::from_secs(SECONDS.into());
    let (run, _) = load(runtime, url, (rate_rps, CONNECTIONS as usize), lasts);
    let ms = |percent| run.tally.latency.value_at_percentile(percent) as f64 / 1e3;
    json!({
        "rate": run.tally.succeeded() as f64 / began.elapsed().as_secs_f64(),
        "p50_ms": ms(50.0),
        "p99_ms": ms(99.0),
    })
}

fn run(program: &str, args: &[String]) -> Option<String> {
    let path = Path::new("/usr/bin").join(program);
    if !path.exists() {
        println!("{program} is not installed");
        return None;
    }
    let output = on_core(CORE, &path).args(args).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The word behind a name at the beginning of a line.
fn word<'a>(text: &'a str, name: &str, index: usize) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(name))?.split_whitespace().nth(index)
}

fn millis(text: &str) -> Option<f64> {
    for (unit, scale) in [("us", 1e-3), ("ms", 1.0), ("s", 1e3)] {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse::<f64>().ok().map(|number| number * scale);
        }
    }
    None
}

fn wrk(url: &str) -> Option<Value> {
    let args = ["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), "--latency", url];
    let text = run("wrk", &args.map(str::to_owned))?;
    Some(json!({
        "rate": word(&text, "Requests/sec:", 0)?.parse::<f64>().ok()?,
        "p50_ms": millis(word(&text, "50%", 0)?)?,
        "p99_ms": millis(word(&text, "99%", 0)?)?,
    }))
}

/// In closed loop, or at a rate.
fn hey(url: &str, rate: Option<u32>) -> Option<Value> {
    let mut args = ["-z", &format!("{SECONDS}s"), "-c", &CONNECTIONS.to_string()].map(str::to_owned).to_vec();
    if let Some(rate) = rate {
        args.extend(["-q".to_owned(), format!("{:.3}", f64::from(rate) / f64::from(CONNECTIONS))]);
    }
    args.push(url.to_owned());
    let text = run("hey", &args)?;
    let percentile = |name| {
        let seconds = word(&text, name, 1)?.parse::<f64>().ok()?;
        Some(seconds * 1e3)
    };
    Some(json!({
        "rate": word(&text, "Requests/sec:", 0)?.parse::<f64>().ok()?,
        "p50_ms": percentile("50%")?,
        "p99_ms": percentile("99%")?,
    }))
}
