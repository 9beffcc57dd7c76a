//! Guards that a real Prometheus speaks for: an alarm, an error budget, and a Prometheus that is gone mend within a second, and let
//! nothing start. Needs prometheus (`cargo xtask setup`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

#[path = "drill/prometheus.rs"]
mod prometheus;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "drill/stage.rs"]
mod stage;
mod support;

use prometheus::Prometheus;
use serde_json::Value;
use stage::{Stage, wait_for};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const ALARM: &str = "prometheus: {url: URL, query: 'max(shop_alarm)', above: 5, interval: 200ms}";
/// 1 % may fail, and a quarter of that is to be left.
const BUDGET: &str = "errorBudget: {url: URL, objective: 99, window: 1d, remaining: 25, interval: 200ms, \
                      errors: 'sum(increase(shop_errors_total[$window]))', total: 'sum(increase(shop_requests_total[$window]))'}";

fn tidegate_drill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drill", "run"]);
    command
}

/// A Prometheus, or `None` after saying that the test was skipped. CI must have it.
fn prometheus(test: &str) -> Option<Prometheus> {
    if !Prometheus::is_there() {
        support::skipped(test, "no prometheus on PATH");
        return None;
    }
    Some(Prometheus::start())
}

/// A drill whose fault lasts a minute unless its guard stops it.
fn drill(stage: &Stage, prometheus: &Prometheus, guard: &str) -> Command {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: guarded, namespace: shop}}\nspec:\n  \
         target: {{url: \"{}\"}}\n  \
         fault: {{type: Exec, expiresAfter: 1m, exec: {{start: [sh, -c, \"{}\"], mend: [sh, -c, \"{}\"]}}}}\n  \
         steps: {{steady: 1s, fault: 60s, observe: 1s}}\n  guards: [{{{}}}]\n",
        stage.url(),
        stage.break_command(),
        stage.mend_command(),
        guard.replace("URL", &format!("\"{}\"", prometheus.url())),
    );
    let mut command = tidegate_drill();
    command.arg(stage.file("drill.yaml", &text)).args(["-o", "json"]);
    command
}

/// Fires while the fault is on: how long until it was mended, and why it ended.
fn fired(
    guard: &str,
    prometheus: &mut Prometheus,
    fire: impl FnOnce(&mut Prometheus) -> Instant,
) -> (Duration, String) {
    let stage = Stage::start();
    let run = drill(&stage, prometheus, guard).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the fault", || stage.is_broken());
    let since = fire(prometheus);
    wait_for("mending", || stage.is_mended());
    let took = since.elapsed();
    println!("mended {} ms after it fired", took.as_millis());
    let ran = run.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(
        (ran.status.code(), &report["ending"]["how"]),
        (Some(1), &Value::from("stopped")),
        "{report:#}"
    );
    assert_eq!(report["mended"], Value::Bool(true));
    (took, report["ending"]["why"].as_str().unwrap().to_owned())
}

/// Nothing starts, and why.
fn refused(guard: &str, prometheus: &Prometheus) -> String {
    let stage = Stage::start();
    let ran = drill(&stage, prometheus, guard).output().unwrap();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &report["ending"]["how"]), (Some(1), &Value::from("notStarted")));
    assert!(!stage.is_broken());
    report["ending"]["why"].as_str().unwrap().to_owned()
}

#[test]
fn an_alarm_of_a_real_prometheus_mends_within_a_second_and_then_lets_nothing_start() {
    let test = "an_alarm_of_a_real_prometheus_mends_within_a_second_and_then_lets_nothing_start";
    let Some(mut prometheus) = prometheus(test) else { return };
    let (took, why) = fired(ALARM, &mut prometheus, |it| it.alarm(6));
    assert!(why.contains("6, above 5"), "{why}");
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let why = refused(ALARM, &prometheus);
    assert!(why.contains("6, above 5"), "{why}");
}

#[test]
fn an_error_budget_that_is_spent_mends_and_then_lets_nothing_start() {
    let test = "an_error_budget_that_is_spent_mends_and_then_lets_nothing_start";
    let Some(mut prometheus) = prometheus(test) else { return };
    // All of them: whatever went well before, three quarters of the budget are gone with the next look.
    let (took, why) = fired(BUDGET, &mut prometheus, |it| it.fail(1000));
    assert!(why.contains("budget"), "{why}");
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let why = refused(BUDGET, &prometheus);
    assert!(why.contains("budget"), "{why}");
}

#[test]
fn a_prometheus_that_is_gone_protects_nobody_and_the_drill_stops() {
    let test = "a_prometheus_that_is_gone_protects_nobody_and_the_drill_stops";
    let Some(mut prometheus) = prometheus(test) else { return };
    let (took, why) = fired(ALARM, &mut prometheus, Prometheus::kill);
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let again = refused(ALARM, &prometheus);
    for why in [why, again] {
        assert!(why.contains(&prometheus.url()), "{why}");
    }
}
