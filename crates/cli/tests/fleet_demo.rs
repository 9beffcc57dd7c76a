//! `tidegate demo` as a user runs it: to its end, and interrupted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};
use support::{
    command::{Running, finish, tidegate},
    envoy, proc, wait_until,
};

/// Two demos at once would measure each other.
static TURN: Mutex<()> = Mutex::new(());

/// The demo, with a folder of the test's own for its temporary files.
fn demo(envoy: &Path, temporary: &Path) -> Command {
    let mut command = tidegate();
    command.arg("demo").arg("--envoy").arg(envoy).env("TMPDIR", temporary);
    command
}

#[test]
fn the_demo_survives_a_zone_and_a_region() {
    let Some(envoy) = envoy("the_demo_survives_a_zone_and_a_region") else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let report = temporary.path().join("report.json");
    let ran = finish(demo(&envoy, temporary.path()).arg("--json").arg(&report));
    let json: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();

    // Latencies are objectives, too, and a noisy machine may miss them: then the demo must say so.
    let passed = json["passed"].as_bool().unwrap();
    assert_eq!(ran.code, Some(i32::from(!passed)), "{ran:?}");
    let verdicts = |fault: &Value| fault["verdicts"].as_array().unwrap().clone();
    let faults = json["faults"].as_array().unwrap();
    let all_met = faults.iter().flat_map(verdicts).all(|verdict| verdict["passed"] == true);
    assert_eq!(passed, all_met);

    let names: Vec<&str> = faults.iter().map(|fault| fault["fault"].as_str().unwrap()).collect();
    assert_eq!(names, ["zone us-east-1a (refuses)", "region us-east (black hole)"]);
    for fault in faults {
        let measures = &fault["measures"];
        assert_eq!(measures["failed"], 0, "{measures:#}");
        assert_eq!(
            (&measures["moves"]["away"], &measures["moves"]["back"]),
            (&1.into(), &1.into()),
            "{measures:#}"
        );
        assert!(measures["requests"].as_u64().unwrap() > 1000, "{measures:#}");
        assert!(measures["timeToDetectMs"].is_number() && measures["timeToStableFailbackMs"].is_number());
    }
    assert_eq!(faults[1]["edges"], serde_json::json!(["eu-west", "us-west"]));

    let tables = ran.stdout.matches("failed requests").count();
    assert_eq!(tables, 2, "a table per fault:\n{}", ran.stdout);
    for row in ["time to detect", "RTO", "error rate during cut-over", "p99 during cut-over", "moves back"] {
        assert_eq!(ran.stdout.matches(row).count(), 2, "{row}:\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("steady: us-east-1a"), "it shows the fleet meanwhile:\n{}", ran.stdout);
    let left = proc::naming(temporary.path().to_str().unwrap());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_whole_fleet_goes_on_without_its_hub_and_follows_it_again() {
    let test = "the_whole_fleet_goes_on_without_its_hub_and_follows_it_again";
    let Some(envoy) = envoy(test) else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let report = temporary.path().join("report.json");
    let ran = finish(demo(&envoy, temporary.path()).arg("--fleet").arg("--json").arg(&report));
    let json: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    // As above: what a busy machine makes slow is told as missed.
    assert_eq!(ran.code, Some(i32::from(json["passed"] != true)), "{ran:?}");

    let faults = json["faults"].as_array().unwrap();
    let names: Vec<&str> = faults.iter().map(|fault| fault["fault"].as_str().unwrap()).collect();
    let expected = [
        "hub (killed)",
        "zone us-east-1a (refuses)",
        "link us-central-1 - us-east-1 (black hole)",
        "region us-east (black hole)",
    ];
    assert_eq!(names, expected);
    for (fault, moves) in faults.iter().zip([0, 1, 1, 1]) {
        let measures = &fault["measures"];
        assert_eq!((&measures["failed"], &measures["slow"]), (&0.into(), &0.into()), "{ran:?}");
        let seen = (&measures["moves"]["away"], &measures["moves"]["back"]);
        assert_eq!(seen, (&moves.into(), &moves.into()), "{}: {measures:#}", fault["fault"]);
        assert_eq!(fault["edges"], serde_json::json!(["us-central-1"]));
        assert!(measures["requests"].as_u64().unwrap() > 500, "{measures:#}");
        assert_eq!(fault["restoredAtMs"].is_number(), moves == 1);
    }
    // The hub stays away until the last fault is over, and then all follow it.
    assert!(json["rollout"]["hubBackAtMs"].as_f64() >= faults[3]["observedUntilMs"].as_f64());
    let verdicts = json["rollout"]["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 3);
    assert!(verdicts.iter().all(|verdict| verdict["measured"] != "never"), "{ran:?}");
    assert!(ran.stdout.contains(", without the hub: us-east-1a"), "{}", ran.stdout);
    let left = proc::naming(temporary.path().to_str().unwrap());
    assert!(left.is_empty(), "{left:?}");
}

/// Starts a demo, waits until its fleet serves, ends it by `signal`, and sees that no process of it is left.
fn leaves_no_process(test: &str, signal: Signal, code: Option<i32>, flags: &[&str], counts: (usize, usize)) {
    let Some(envoy) = envoy(test) else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let mut running = Running::start(demo(&envoy, temporary.path()).args(flags));
    running.until_said("that the fleet serves", |text| text.contains("the fleet serves").then_some(()));
    let family = proc::descendants(running.id());
    let (all, naming) = counts;
    assert_eq!(family.len(), all, "{:?}", proc::left_of(&family));
    let folder = temporary.path().to_str().unwrap();
    assert_eq!(proc::naming(folder).len(), naming, "{:?}", proc::naming(folder));

    running.signal(signal);
    assert_eq!(running.ended().code(), code, "{}", running.said());
    if code.is_some() {
        // It was asked to end, so it ended the others first, and took away what it had written.
        assert!(proc::left_of(&family).is_empty(), "{:?}", proc::left_of(&family));
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
    wait_until(&format!("the end of {:?}", proc::left_of(&family)), || {
        (proc::left_of(&family).is_empty() && proc::naming(folder).is_empty()).then_some(())
    });
}

/// All processes, and those that name the folder with the state: three agents, five runners of gateways and their Envoys.
const REGIONS: (usize, usize) = (3 + 5 + 5, 3);
/// A hub, four agents, four runners, which name the socket of their agent, and their Envoys.
const FLEET: (usize, usize) = (1 + 4 + 4 + 4, 1 + 4 + 4 + 4);

#[test]
fn ctrl_c_leaves_no_process() {
    leaves_no_process("ctrl_c_leaves_no_process", Signal::INT, Some(130), &[], REGIONS);
}

#[test]
fn a_demo_that_is_killed_leaves_no_process() {
    leaves_no_process("a_demo_that_is_killed_leaves_no_process", Signal::KILL, None, &[], REGIONS);
}

#[test]
fn a_fleet_with_a_hub_that_is_interrupted_leaves_no_process() {
    let test = "a_fleet_with_a_hub_that_is_interrupted_leaves_no_process";
    leaves_no_process(test, Signal::TERM, Some(130), &["--fleet"], FLEET);
}
