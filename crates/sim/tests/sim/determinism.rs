//! One scenario, one report: in one process and in two.

use crate::{DEMAND, play};
use std::{env, fmt::Write, fs, process::Command};
use tidegate_sim::{Report, picture};

/// Where a child process writes its report; set by the test that starts it.
const CHILD: &str = "TIDEGATE_SIM_TEST_REPORT";

/// A thousand faults of every kind within ten minutes, drawn by a linear congruence (Numerical Recipes). Kinds take turns,
/// and none lasts until its next turn: two of one kind at one place would contradict each other.
fn thousand() -> String {
    let mut text = format!("duration: 10m\nseed: 7\n{DEMAND}faults:\n");
    let mut state = 12_345_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let zones = ["us-east-1a", "us-east-1b", "us-west-1a", "us-west-1b"];
    let clusters = ["us-east", "us-west"];
    for number in 0..1000 {
        let (at, length) = (2_000 + 595 * number, 200 + draw(4_000));
        let zone = zones[usize::try_from(draw(4)).unwrap()];
        let cluster = usize::try_from(draw(2)).unwrap();
        let (here, there) = (clusters[cluster], clusters[1 - cluster]);
        let what = match number % 9 {
            0 => format!("lose: zone/{zone}"),
            1 => format!("brownOut: zone/{zone}, percent: {}", draw(101)),
            2 => format!("flap: zone/{zone}, period: {}ms", 100 + draw(2_000)),
            3 => format!("partition: {{from: {here}, to: {there}}}"),
            4 => format!("slowTelemetry: {here}, delay: {}ms", draw(3_000)),
            5 => format!("restartAgent: {here}"),
            6 => format!("dropStatus: {here}, percent: {}", draw(101)),
            7 => format!("clockSkew: {here}, behind: {}s", draw(1_000)),
            _ => format!("lose: region/{here}"),
        };
        writeln!(text, "- {{at: {at}ms, for: {length}ms, {what}}}").unwrap();
    }
    text
}

fn bytes(report: &Report) -> String {
    serde_json::to_string(report).unwrap() + &picture(report)
}

#[test]
fn a_scenario_of_a_thousand_events_gives_the_same_bytes_in_two_runs_and_in_two_processes() {
    let report = play(&thousand());
    assert_eq!(report.faults.len(), 1000);
    assert!(report.decisions.len() > 1000, "only {} decisions", report.decisions.len());
    let own = bytes(&report);
    if let Some(path) = env::var_os(CHILD) {
        fs::write(path, own).unwrap();
        return;
    }
    assert!(own == bytes(&play(&thousand())), "two runs differ");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report");
    let name =
        "determinism::a_scenario_of_a_thousand_events_gives_the_same_bytes_in_two_runs_and_in_two_processes";
    let mut child = Command::new(env::current_exe().unwrap());
    let output = child.args(["--exact", name]).env(CHILD, &path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(own == fs::read_to_string(&path).unwrap(), "two processes differ");
}

#[test]
fn another_seed_is_another_run() {
    let with = |seed: u32| {
        play(&format!("duration: 40s\nseed: {seed}\n{DEMAND}faults: [{{at: 20s, lose: zone/us-east-1a}}]\n"))
    };
    assert_ne!(with(1).decisions, with(2).decisions);
}
