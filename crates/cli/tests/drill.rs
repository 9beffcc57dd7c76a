//! `tidegate drill run` as a user meets it: against HAProxy with two backends of which one is killed, with guards that fire,
//! with runners that are killed, and with drills that are wrong. Needs nginx and haproxy (`cargo xtask setup`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

#[path = "drill/alarm.rs"]
mod alarm;
#[path = "drill/balanced.rs"]
mod balanced;
#[path = "drill/client.rs"]
mod client;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "drill/stage.rs"]
mod stage;

use alarm::Alarm;
use balanced::Balanced;
use client::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::{Stage, wait_for};
use std::{fs, time::Duration};

fn killed(child: &std::process::Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Close enough: 50 ms, or 5 %.
fn agree(what: &str, found_ms: f64, own_ms: f64) {
    println!("{what}: the report says {found_ms:.1} ms, an own client {own_ms:.1} ms");
    let apart = (found_ms - own_ms).abs();
    assert!(apart <= 50.0 || apart <= own_ms * 0.05, "{what}: {found_ms} ms and {own_ms} ms");
}

#[test]
fn a_drill_of_haproxy_measures_what_an_own_client_measures() {
    let balanced = Balanced::start();
    let client = Client::start(balanced.address, "test", Duration::from_millis(10));
    let page = balanced.path("report.html");
    let ran = tidegate_drill()
        .args(["--target", &balanced.url(), "--rate", "200"])
        .args(["--fault-exec", &balanced.break_command(), "--mend-exec", &balanced.mend_command()])
        .args(["--steady", "2s", "--fault", "6s", "--observe", "4s", "--expires-after", "20s"])
        .args(["--objective", "rto <= 5s", "--objective", "stableRecovery <= 3s"])
        .args(["--report", &page, "-o", "json"])
        .output()
        .unwrap();
    let own = client.stop();
    let said = String::from_utf8_lossy(&ran.stderr);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(ran.status.success(), "{said}\n{}", report["objectives"]);

    let (fault, mended) = (balanced.broken_at(), balanced.mended_at());
    let during = |it: &&client::Asked| it.sent >= fault && it.sent < mended;
    let failed: Vec<_> = own.iter().filter(during).filter(|it| !it.good).collect();
    let (first, last) = (failed.first().expect("a killed backend shows"), failed.last().unwrap());
    let costs = &report["costs"];
    let ms = |at: Duration| (at - fault).as_secs_f64() * 1e3;
    println!("{costs:#}");
    agree("first bad", costs["firstBadMs"].as_f64().unwrap(), ms(first.sent));
    agree("last bad", costs["lastBadMs"].as_f64().unwrap(), ms(last.sent));
    agree("RTO", costs["rtoMs"].as_f64().unwrap(), ms(last.sent));
    // Twice as many requests as the own client's.
    let (theirs, ours) = (costs["failed"].as_f64().unwrap(), failed.len() as f64 * 2.0);
    assert!((theirs - ours).abs() <= (ours * 0.05).max(10.0), "{theirs} failed of its own, {ours} of ours");
    let phase = |name: &str| report["moments"][name].as_f64().unwrap();
    agree("mended", phase("mendedMs") - phase("faultMs"), ms(mended));
    assert_eq!((&report["passed"], &report["mended"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!(said.contains("FAULT") && said.contains("all 2 objectives met"), "{said}");
    assert!(fs::read_to_string(page).unwrap().contains("<svg"));
    assert!(balanced.is_whole(), "what was broken is mended");
}

#[test]
fn an_objective_that_is_missed_fails_the_pipeline() {
    let stage = Stage::start();
    let ran = stage
        .drill(&stage.break_command(), &stage.mend_command())
        .args([
            "--fault",
            "1s",
            "--observe",
            "1s",
            "--objective",
            "failed <= 0",
            "--objective",
            "rto <= 10ms",
        ])
        .args(["-o", "junit"])
        .output()
        .unwrap();
    let junit = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{junit}");
    assert!(junit.contains("name=\"failed &lt;= 0\">\n      <failure"), "{junit}");
    assert!(junit.contains("name=\"is mended\"/>"), "{junit}");
    assert!(stage.is_mended());
}

#[test]
fn a_guard_that_fires_mends_within_a_second() {
    let stage = Stage::start();
    let run = stage
        .drill(&stage.break_command(), &stage.mend_command())
        .args(["--fault", "60s", "--expires-after", "60s", "--guard-url", &stage.guard_url(), "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the fault", || stage.is_broken());
    let alarmed = stage.alarm();
    wait_for("mending", || stage.is_mended());
    let took = alarmed.elapsed();
    println!("mended {} ms after the alarm", took.as_millis());
    let ran = run.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!((ran.status.code(), &report["ending"]["how"]), (Some(1), &Value::from("stopped")));
    assert!(report["ending"]["why"].as_str().unwrap().contains("failed 2 times in a row"), "{report}");
    assert_eq!(report["mended"], Value::Bool(true));
}

#[test]
fn a_query_of_prometheus_that_fires_mends_within_a_second_or_lets_nothing_start() {
    let (stage, alarm) = (Stage::start(), Alarm::start(0));
    let drill = |query: &str| {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: it}}\nspec:\n  target: {{url: \"{}\"}}\n  \
             fault: {{type: Exec, expiresAfter: 1m, exec: {{start: [sh, -c, \"{}\"], mend: [sh, -c, \"{}\"]}}}}\n  \
             steps: {{steady: 1s, fault: 60s, observe: 1s}}\n  \
             guards: [{{prometheus: {{url: \"{}\", query: \"{query}\", above: 5, interval: 200ms}}}}]\n",
            stage.url(),
            stage.break_command(),
            stage.mend_command(),
            alarm.url()
        );
        let mut command = tidegate_drill();
        command.arg(stage.file("guarded.yaml", &text)).args(["-o", "json"]);
        command
    };
    let run = drill("sum(errors)").stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_for("the fault", || stage.is_broken());
    let fired = alarm.set(6);
    wait_for("mending", || stage.is_mended());
    let took = fired.elapsed();
    println!("mended {} ms after the query fired", took.as_millis());
    let ran = run.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!((ran.status.code(), &report["mended"]), (Some(1), &Value::Bool(true)));
    let why = report["ending"]["why"].as_str().unwrap();
    assert!(why.contains("says of \"sum(errors)\": 6, above 5"), "{why}");
    // It fires already; and one that cannot be asked protects nobody.
    for (query, said) in [("sum(errors)", "6, above 5"), ("sum(", "parse error")] {
        let ran = drill(query).output().unwrap();
        let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
        assert_eq!((ran.status.code(), &report["ending"]["how"]), (Some(1), &Value::from("notStarted")));
        assert!(report["ending"]["why"].as_str().unwrap().contains(said), "{}", report["ending"]);
        assert!(!stage.is_broken());
    }
}

#[test]
fn a_runner_that_is_killed_leaves_no_fault_behind() {
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let stage = Stage::start();
        let mut run = stage
            .drill(&stage.break_command(), &stage.mend_command())
            .args(["--fault", "60s", "--expires-after", "60s"])
            .spawn()
            .unwrap();
        wait_for("the fault", || stage.is_broken());
        killed(&run, signal);
        wait_for("mending", || stage.is_mended());
        assert!(!run.wait().unwrap().success());
    }
}

#[test]
fn a_runner_that_is_killed_while_its_command_breaks_leaves_no_fault_behind() {
    let stage = Stage::start();
    // It breaks at once, and goes on breaking.
    let slowly = format!("{}; while sleep 0.05; do {}; done", stage.break_command(), stage.break_command());
    let mut run = stage
        .drill(&slowly, &stage.mend_command())
        .args(["--fault", "60s", "--expires-after", "60s"])
        .spawn()
        .unwrap();
    wait_for("the fault", || stage.is_broken());
    killed(&run, Signal::KILL);
    run.wait().unwrap();
    wait_for("mending", || stage.is_mended());
    std::thread::sleep(Duration::from_millis(300));
    assert!(stage.is_mended(), "the command that breaks outlived its mending");
}

#[test]
fn a_fault_expires_while_its_runner_hangs() {
    let stage = Stage::start();
    let mut run = stage
        .drill(&stage.break_command(), &stage.mend_command())
        .args(["--fault", "2s", "--expires-after", "2s"])
        .spawn()
        .unwrap();
    wait_for("the fault", || stage.is_broken());
    killed(&run, Signal::STOP);
    wait_for("mending", || stage.is_mended());
    killed(&run, Signal::CONT);
    run.wait().unwrap();
}

#[test]
fn mending_that_fails_is_tried_again_and_told() {
    let stage = Stage::start();
    let fails = |times: u32| {
        format!("echo x >> tries; test $(wc -l < tries) -gt {times} && {}", stage.mend_command())
    };
    let ran = stage
        .drill(&stage.break_command(), &fails(1))
        .args(["--fault", "1s", "--observe", "1s", "-o", "json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &report["mendError"]), (Some(0), &Value::Null), "the second try mends");

    let stage = Stage::start();
    let fails = "echo the switch is stuck; exit 4";
    let ran = stage
        .drill(&stage.break_command(), fails)
        .args(["--fault", "1s", "--observe", "1s", "-o", "md"])
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        said.contains("NOT MENDED") && said.contains("ended with code 4 and said \"the switch is stuck\""),
        "{said}"
    );
}

#[test]
fn what_is_not_well_before_the_fault_is_not_broken() {
    let stage = Stage::start();
    stage.alarm();
    let url = stage.guard_url();
    let ran = tidegate_drill()
        .args([
            "--target",
            &url,
            "--fault-exec",
            &stage.break_command(),
            "--mend-exec",
            &stage.mend_command(),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not started") && said.contains("does not answer well before any fault: 503"),
        "{said}"
    );
    assert!(!stage.is_broken() && !stage.is_mended());
}

#[test]
fn drills_that_are_wrong_are_told_and_nothing_is_started() {
    let stage = Stage::start();
    let drill = |more: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: it}}\nspec:\n  target: {{url: \"{}\"}}\n  \
             fault: {{type: Exec, expiresAfter: 1m, exec: {{start: [sh, -c, \"{}\"], mend: [\"true\"]}}}}\n{more}",
            stage.url(),
            stage.break_command()
        )
    };
    let past = "  window: {from: 2020-01-01T00:00:00Z, until: 2020-01-02T00:00:00Z}\n";
    for (text, said) in [
        (drill("").replace("expiresAfter: 1m, ", ""), "spec.fault.expiresAfter is missing"),
        (drill("").replace("target: {", "target: {hub: true, "), "spec.target names url, hub"),
        (drill("  objectives: [rto <= 5]\n"), "write rto <= 5s"),
        (drill(past), "the drill's window is in the past"),
        (drill("  objectives: [stableFailback <= 5s]\n"), "measured by agents"),
        (drill("  load: {rateRps: 50000}\n  steps: {observe: 1h}\n"), "at most 5000000 are kept"),
        (drill("").replace("kind: Drill", "kind: Dril"), "did you mean"),
        (drill("").replace(&format!("url: \"{}\"", stage.url()), "service: shop/web"), "target: {url:"),
        (String::new(), "there is no Drill in it"),
    ] {
        let file = stage.file("drill.yaml", &text);
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["drill", "run", &file])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{told}");
        // Reports wrap lines where the terminal ends.
        assert!(
            told.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "").contains(said),
            "{said}: {told}"
        );
    }
    assert!(!stage.is_broken());
    let ran = tidegate_drill().args(["--target", "http://localhost/"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "commands are missing");
}

#[test]
fn a_drill_runs_from_a_file() {
    let stage = Stage::start();
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Drill\nmetadata: {{name: flip, namespace: shop}}\nspec:\n  \
         target: {{url: \"{}\"}}\n  fault:\n    type: Exec\n    expiresAfter: 30s\n    exec: {{start: [sh, -c, \"{}\"], mend: [sh, -c, \"{}\"]}}\n  \
         steps: {{steady: 1s, fault: 1s, observe: 2s}}\n  load: {{rateRps: 100}}\n  \
         objectives: [stableRecovery <= 1s]\n",
        stage.url(),
        stage.break_command(),
        stage.mend_command()
    );
    let file = stage.file("drill.yaml", &text);
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["drill", "run", &file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(
        said.contains("Drill shop/flip: all 1 objectives met") && said.contains("not recovered"),
        "{said}"
    );
}

fn tidegate_drill() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["drill", "run"]);
    command
}
