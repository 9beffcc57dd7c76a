//! The same server asked by others, and their numbers beside ours.

use crate::{
    COMPARED, CORE, TOY_DELAY, load,
    server::{on_core, toy},
};
use serde_json::{Value, json};
use std::path::Path;

/// The generator, `wrk` and `hey`, one after the other, against a toy. Those two wait for an answer before they ask
/// again on a connection, so with as many connections as there are requests at a time they send at about our rate.
pub(crate) fn compare(runtime: &tokio::runtime::Runtime, rate: u32) -> Value {
    // A third of the rate: the toy is slower than nginx, and a server at its limit says nothing about its clients.
    let rate = rate / 3;
    let server = toy(CORE + 1, TOY_DELAY);
    let (run, _) = load(runtime, &server.url, rate, COMPARED);
    let seconds = u32::try_from(COMPARED.as_secs()).unwrap();
    let own_ms = |percent| run.tally.latency.value_at_percentile(percent) as f64 / 1e3;
    let own = json!({
        "rate": run.tally.succeeded() as f64 / f64::from(seconds), "p50_ms": own_ms(50.0), "p99_ms": own_ms(99.0),
    });
    let connections = (f64::from(rate) * (own_ms(50.0) / 1e3)).ceil() as u32;
    json!({
        "own": own,
        "wrk": wrk(&server.url, connections, seconds),
        "hey": hey(&server.url, connections, seconds, rate),
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

fn wrk(url: &str, connections: u32, seconds: u32) -> Option<Value> {
    let args = ["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", url];
    let text = run("wrk", &args.map(str::to_owned))?;
    Some(json!({
        "rate": word(&text, "Requests/sec:", 0)?.parse::<f64>().ok()?,
        "p50_ms": millis(word(&text, "50%", 0)?)?,
        "p99_ms": millis(word(&text, "99%", 0)?)?,
    }))
}

fn hey(url: &str, connections: u32, seconds: u32, rate: u32) -> Option<Value> {
    let per_connection = format!("{:.3}", f64::from(rate) / f64::from(connections));
    let args = ["-z", &format!("{seconds}s"), "-c", &connections.to_string(), "-q", &per_connection, url];
    let text = run("hey", &args.map(str::to_owned))?;
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
