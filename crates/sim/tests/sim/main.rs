//! Whole simulations: what agents do to a fleet that breaks, and that it is the same every time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod determinism;
mod faults;
mod incidents;
mod mistakes;
mod weighted;

use std::path::{Path, PathBuf};
use tidegate_sim::{Fleet, Report, Scenario, simulate};

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Plays a scenario for the manifests of examples/two-regions. `text` is what follows `manifests`.
fn play(text: &str) -> Report {
    let path = root().join("examples/incidents/in-a-test.yaml");
    let scenario = Scenario::parse(&format!("manifests: ../two-regions\n{text}"), &path).unwrap();
    simulate(&scenario, &Fleet::load(&scenario.manifests).unwrap())
}

/// Requests for the web service in every zone.
const DEMAND: &str = "demand:
- {service: shop/web, source: us-east/us-east-1a, curve: [{at: 0s, rps: 100}]}
- {service: shop/web, source: us-east/us-east-1b, curve: [{at: 0s, rps: 100}]}
- {service: shop/web, source: us-west/us-west-1a, curve: [{at: 0s, rps: 100}]}
- {service: shop/web, source: us-west/us-west-1b, curve: [{at: 0s, rps: 100}]}
";

/// When the first decision of this kind was taken by this cluster from a time on, and its text; times in milliseconds.
fn first(report: &Report, cluster: &str, from_ms: u64, text: &str) -> Option<(u64, String)> {
    let mut found = report.decisions.iter().filter(|it| it.cluster.as_str() == cluster);
    let found = found.find(|it| it.at_micros >= from_ms * 1000 && it.record.line().contains(text))?;
    Some((found.at_micros / 1000, found.record.line()))
}

#[test]
fn a_lost_zone_moves_away_once_and_back_once_and_nothing_fails() {
    let report =
        play(&format!("duration: 2m\n{DEMAND}faults: [{{at: 20s, for: 30s, lose: zone/us-east-1a}}]\n"));
    let moved: Vec<_> = report.moves.iter().filter(|it| it.service == "shop/web" && it.away > 0).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!((moved[0].source.as_str(), moved[0].away, moved[0].back), ("us-east/us-east-1a", 1, 1));
    assert!(report.measures.failed < 1.0, "{:?}", report.measures);
    assert_eq!(report.faults[0].measures.rto_ms, Some(0));
}

#[test]
fn a_lost_region_is_unreachable_for_the_others_within_a_second() {
    let report = play(&format!("duration: 1m\n{DEMAND}faults: [{{at: 20s, lose: region/us-east}}]\n"));
    let (at, line) = first(&report, "us-west", 20_000, "Unreachable").unwrap();
    assert!(at <= 21_000, "{at}: {line}");
    assert!(first(&report, "us-east", 20_000, "").is_none(), "a lost agent decides nothing");
}

#[test]
fn a_partition_cuts_one_direction_only() {
    let report = play(&format!(
        "duration: 1m\n{DEMAND}faults: [{{at: 20s, for: 10s, partition: {{from: us-east, to: us-west}}}}]\n"
    ));
    assert!(first(&report, "us-east", 20_000, "peer us-west Unreachable").is_some());
    assert_eq!(first(&report, "us-west", 3_000, "Unreachable"), None);
    assert!(first(&report, "us-east", 30_000, "peer us-west Reachable").is_some());
    assert!(report.measures.failed < 1e-6, "local traffic needs no peer: {:?}", report.measures);
}

#[test]
fn gateways_serve_on_while_their_agent_restarts() {
    let report =
        play(&format!("duration: 1m\n{DEMAND}faults: [{{at: 20s, for: 20s, restartAgent: us-east}}]\n"));
    assert!(report.measures.failed < 1e-6, "{:?}", report.measures);
    assert!(first(&report, "us-west", 20_000, "peer us-east AgentDown").is_some());
    assert!(first(&report, "us-west", 20_000, "Unreachable").is_none());
    let moves = report.moves.iter().map(|it| it.away + it.back).max();
    assert_eq!(moves.unwrap_or(0), 0, "a restart moves nothing");
}

#[test]
fn a_hold_down_outlives_a_restart_of_its_agent() {
    let report = play(&format!(
        "duration: 2m\n{DEMAND}faults:\n- {{at: 20s, for: 10s, lose: zone/us-east-1a}}\n- {{at: 40s, for: 1s, restartAgent: us-east}}\n"
    ));
    let (ramping, _) = first(&report, "us-east", 41_000, "Holding to Ramping").unwrap();
    assert!(ramping >= 61_000, "the restart cost time, it saved none: {ramping}");
}

#[test]
fn slow_telemetry_delays_the_verdict_by_as_much() {
    let at = |delay: &str| {
        let report =
            play(&format!("duration: 1m\n{DEMAND}faults:\n- {{at: 20s, lose: zone/us-east-1a}}\n{delay}"));
        first(&report, "us-east", 20_000, "us-east-1a: Serving to Out").unwrap().0
    };
    let slow = at("- {at: 15s, slowTelemetry: us-east, delay: 2s}\n");
    assert_eq!(slow, at("") + 2_000);
}

#[test]
fn what_endpoints_cannot_answer_fails() {
    let report = play(&format!(
        "duration: 30s\n{DEMAND}capacity: [{{service: shop/web, perEndpoint: 40}}]\nfaults: []\n"
    ));
    let sample = report.samples.last().unwrap();
    assert!((sample.failed_rps - 80.0).abs() < 0.01, "4 pools of 80 rps are asked for 400: {sample:?}");
    assert!(report.measures.peak_utilisation.is_some_and(|(_, peak)| (peak - 1.25).abs() < 1e-6));
}
