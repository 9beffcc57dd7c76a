//! What each kind of fault does that no other test shows.

use crate::{DEMAND, first, play};
use std::fs;
use tidegate_sim::{Fleet, Report, Scenario, simulate};

#[test]
fn wrong_clocks_change_no_decision_where_nothing_ends_at_a_time_of_day() {
    let faults =
        "- {at: 20s, for: 30s, lose: zone/us-east-1a}\n- {at: 90s, for: 5s, restartAgent: us-east}\n";
    let skew =
        "- {at: 0s, clockSkew: us-east, ahead: 8760h}\n- {at: 0s, clockSkew: us-west, behind: 8760h}\n";
    let right = play(&format!("duration: 2m\n{DEMAND}faults:\n{faults}"));
    let wrong = play(&format!("duration: 2m\n{DEMAND}faults:\n{faults}{skew}"));
    assert!(right.decisions.iter().any(|it| it.record.kind == "planChanged" && it.at_micros > 20_000_000));
    assert_eq!(right.decisions, wrong.decisions);
    assert_eq!(right.samples, wrong.samples);
}

/// The fleet of examples/two-regions with a shift away from a zone until one minute after the scenario's start.
fn with_shift(faults: &str) -> Report {
    shifted("us-east", "duration: 2m", faults)
}

/// The same where the shift lies in this folder of the manifests, in a scenario that lasts as long as it says.
fn shifted(place: &str, duration: &str, faults: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("fleet");
    for part in ["fleet", "us-east", "us-west"] {
        let (from, to) = (crate::root().join("examples/two-regions").join(part), manifests.join(part));
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    let shift = "apiVersion: tidegate.dev/v1alpha1\nkind: TrafficShift\nmetadata: {name: s, namespace: shop}\n\
                 spec: {awayFrom: {zone: us-east-1a}, expiresAt: 2026-06-01T12:01:00Z, comment: works}\n";
    fs::write(manifests.join(place).join("shift.yaml"), shift).unwrap();
    let text = format!("manifests: fleet\n{duration}\nstartsAt: 2026-06-01T12:00:00Z\n{DEMAND}{faults}");
    let scenario = Scenario::parse(&text, &folder.path().join("scenario.yaml")).unwrap();
    simulate(&scenario, &Fleet::load(&scenario.manifests).unwrap())
}

#[test]
fn a_wrong_clock_moves_the_end_of_a_shift_by_as_much_as_it_is_wrong() {
    let end = |faults: &str| first(&with_shift(faults), "us-east", 3_000, "shift").map(|(at, _)| at);
    assert_eq!(end(""), Some(60_000));
    assert_eq!(end("faults: [{at: 0s, clockSkew: us-east, ahead: 20s}]\n"), Some(40_000));
    assert_eq!(end("faults: [{at: 0s, clockSkew: us-east, behind: 20s}]\n"), Some(80_000));
    // The agent reads the clock when it loads manifests: one that goes wrong later matters at the next load or start.
    assert_eq!(end("faults: [{at: 10s, clockSkew: us-east, ahead: 20s}]\n"), Some(60_000));
    let restarted =
        "faults:\n- {at: 10s, clockSkew: us-east, ahead: 20s}\n- {at: 15s, for: 1s, restartAgent: us-east}\n";
    assert_eq!(end(restarted), Some(40_000));
}

#[test]
fn a_clock_that_is_ten_minutes_wrong_ends_a_declared_shift_for_its_own_cluster_only() {
    let ends = |faults: &str| {
        let report = shifted("fleet", "duration: 12m", faults);
        let end = |cluster| first(&report, cluster, 3_000, "shift").map(|(at, _)| at);
        (end("us-east"), end("us-west"))
    };
    assert_eq!(ends(""), (Some(60_000), Some(60_000)));
    // Ahead, it was over before it began; behind, it lasts so much longer.
    assert_eq!(ends("faults: [{at: 0s, clockSkew: us-east, ahead: 10m}]\n"), (None, Some(60_000)));
    assert_eq!(ends("faults: [{at: 0s, clockSkew: us-west, ahead: 10m}]\n"), (Some(60_000), None));
    assert_eq!(ends("faults: [{at: 0s, clockSkew: us-east, behind: 10m}]\n"), (Some(660_000), Some(60_000)));
    let both =
        "faults:\n- {at: 0s, clockSkew: us-east, ahead: 10m}\n- {at: 0s, clockSkew: us-west, behind: 10m}\n";
    assert_eq!(ends(both), (None, Some(660_000)));
    // An agent that starts meanwhile, and hears of it before it reads it or after.
    let restarted = "faults:\n- {at: 0s, clockSkew: us-east, ahead: 10m}\n- {at: 15s, for: 1s, restartAgent: us-east}\n\
                     - {at: 25s, for: 1s, restartAgent: us-west}\n";
    assert_eq!(ends(restarted), (None, Some(60_000)));
}

/// When us-west heard that the web pool of us-east-1a is out, by its standby plans: it takes no part in them any more.
fn heard_out(drop: &str) -> Option<u64> {
    let lost = "- {at: 20s, for: 60s, lose: zone/us-east-1a}\n- {at: 20s, for: 60s, lose: zone/us-east-1b}\n";
    let west = "- {at: 40s, for: 40s, lose: zone/us-west-1a}\n- {at: 40s, for: 40s, lose: zone/us-west-1b}\n";
    let report = play(&format!("duration: 2m\n{DEMAND}faults:\n{lost}{west}{drop}"));
    first(&report, "us-west", 40_000, "shop/web").map(|(at, _)| at)
}

#[test]
fn lost_statuses_are_sent_again_and_the_same_ones_are_lost_in_every_run() {
    let play = |percent: u32, seed: u32| {
        play(&format!(
            "duration: 1m\nseed: {seed}\n{DEMAND}faults:\n- {{at: 0s, dropStatus: us-east, percent: {percent}}}\n- {{at: 20s, lose: zone/us-east-1a}}\n"
        ))
    };
    let (none, some) = (play(0, 1), play(70, 1));
    assert_eq!(some.decisions, play(70, 1).decisions, "the same seed loses the same statuses");
    let own = |report: &Report| {
        let own = report.decisions.iter().filter(|it| it.cluster.as_str() == "us-east");
        own.map(|it| (it.at_micros, it.record.line())).collect::<Vec<_>>()
    };
    // Who tells decides as before; what is lost is drawn apart from what jitters its checks.
    assert_eq!(own(&none), own(&some));
    assert!(
        heard_out("").is_some()
            && heard_out("") == heard_out("- {at: 0s, dropStatus: us-east, percent: 70}\n")
    );
}

#[test]
fn an_agent_whose_statuses_are_all_lost_is_waited_for_no_longer_than_the_limit() {
    let report =
        play(&format!("duration: 20s\n{DEMAND}faults: [{{at: 0s, dropStatus: us-east, percent: 100}}]\n"));
    let (at, line) = first(&report, "us-west", 0, "us-west-1a 100").unwrap();
    assert!((1_900..=2_100).contains(&at), "{at}: {line}");
    assert!(report.samples.last().unwrap().failed_rps < 1e-6);
}

#[test]
fn late_statuses_reach_peers_late() {
    let west_learns = |delay: &str| {
        let report = play(&format!(
            "duration: 1m\n{DEMAND}faults:\n- {{at: 20s, lose: zone/us-east-1a}}\n- {{at: 20s, lose: zone/us-east-1b}}\n\
             - {{at: 20s, lose: zone/us-west-1a}}\n- {{at: 20s, lose: zone/us-west-1b}}\n{delay}"
        ));
        // With its own zones gone and us-east's too, its plan says so once both are known.
        let mut plans = report.decisions.iter().filter(|it| it.cluster.as_str() == "us-west");
        plans.rfind(|it| it.record.kind == "planChanged").map(|it| it.at_micros / 1000)
    };
    let (soon, late) =
        (west_learns("").unwrap(), west_learns("- {at: 10s, slowTelemetry: us-east, delay: 4s}\n").unwrap());
    assert!(late >= soon + 3_000, "{soon} {late}");
}

#[test]
fn each_fault_is_measured_by_what_followed_it() {
    let report = play(&format!(
        "duration: 4m\n{DEMAND}faults:\n- {{at: 150s, for: 30s, restartAgent: us-east}}\n- {{at: 20s, for: 30s, lose: zone/us-east-1a}}\n"
    ));
    let [zone, restart] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert_eq!((zone.at_ms, zone.until_ms, zone.what.as_str()), (20_000, 50_000, "zone us-east-1a lost"));
    let it = &zone.measures;
    // Two checks of 500 ms that fail, and the wait for the first of them.
    assert!(it.detect_ms.is_some_and(|ms| (1_000..=2_100).contains(&ms)), "{it:?}");
    // Two good checks, 30 s of hold-down, two steps of the ramp of 10 s each.
    assert!(it.failback_ms.is_some_and(|ms| (50_000..=55_000).contains(&ms)), "{it:?}");
    assert_eq!((it.rto_ms, it.away, it.back), (Some(0), 1, 1));
    // Each of the three services of us-east, seen from the zone that was lost.
    assert_eq!(it.plans_moved, 3);
    assert!((it.offered - 400.0 * 130.0).abs() < 50.0, "from 20 s to the next fault: {}", it.offered);
    let it = &restart.measures;
    assert_eq!((it.away, it.back, it.plans_moved), (0, 0, 0), "a restart moves nothing");
    assert!((it.offered - 400.0 * 90.0).abs() < 50.0, "{}", it.offered);
    let whole = &report.measures;
    assert!((whole.failed - zone.measures.failed - restart.measures.failed).abs() < 1e-3);
}

#[test]
fn utilisation_is_told_for_pools_and_for_the_places_they_lie_in() {
    let report = play(&format!(
        "duration: 30s\n{DEMAND}capacity: [{{service: shop/web, perEndpoint: 100}}]\nfaults: [{{at: 10s, lose: zone/us-east-1a}}]\n"
    ));
    let used = |place: &str| report.utilisation[place].peak;
    // 100 of 200 in each zone; the zone that is left is asked for both, and the zone that is gone can answer nothing.
    assert!((used("shop/web@us-west/us-west-1a") - 0.5).abs() < 1e-6);
    assert!((used("shop/web@us-east/us-east-1b") - 1.0).abs() < 1e-6);
    assert!((used("zone us-east/us-east-1b") - 1.0).abs() < 1e-6);
    assert!((used("cluster us-east") - 1.0).abs() < 1e-6 && (used("region us-west") - 0.5).abs() < 1e-6);
    let last = report.samples.last().unwrap();
    assert!((last.locations["region us-east"].rps - 200.0).abs() < 0.01, "{last:?}");
    assert_eq!(last.locations["zone us-east/us-east-1b"].utilisation, Some(1.0));
}

#[test]
fn an_agent_that_stands_still_moves_nothing_and_for_a_moment_it_is_not_even_suspected() {
    let pause = |time: &str| {
        play(&format!("duration: 40s\n{DEMAND}faults: [{{at: 20s, for: {time}, pauseAgent: us-east}}]\n"))
    };
    let (short, long) = (pause("250ms"), pause("5s"));
    assert_eq!(first(&short, "us-west", 20_000, "Suspect"), None);
    assert!(first(&long, "us-west", 20_000, "peer us-east AgentDown").is_some());
    for report in [short, long] {
        assert!(report.moves.iter().all(|it| it.away + it.back == 0), "{:?}", report.moves);
    }
}

#[test]
fn gateways_that_stop_make_a_cluster_unreachable_and_a_later_line_does_not() {
    let play =
        |fault: &str| play(&format!("duration: 40s\n{DEMAND}faults: [{{at: 20s, for: 5s, {fault}}}]\n"));
    let stopped = play("stopGateway: us-east");
    assert!(first(&stopped, "us-west", 20_000, "peer us-east Unreachable").is_some());
    assert_eq!(first(&stopped, "us-east", 20_000, "Unreachable"), None, "its own way out is open");
    assert!(first(&play("stopGateway: us-east, number: 0"), "us-west", 20_000, "Unreachable").is_some());
    assert_eq!(
        first(&play("stopGateway: us-east, number: 1"), "us-west", 20_000, "peer"),
        None,
        "it has but one"
    );
    let late = play("lateLine: {between: us-west, and: us-east}, delay: 200ms");
    assert_eq!(first(&late, "us-west", 20_000, "Unreachable"), None);
}

#[test]
fn a_line_that_loses_packets_loses_the_same_ones_in_every_run() {
    let play = |percent: u32| {
        play(&format!(
            "duration: 2m\n{DEMAND}faults: [{{at: 20s, for: 60s, loss: {{between: us-west, and: us-east}}, percent: {percent}}}]\n"
        ))
    };
    assert_eq!(play(20).decisions, play(20).decisions);
    assert!(first(&play(20), "us-west", 20_000, "peer us-east Suspect").is_some());
    assert!(first(&play(100), "us-west", 20_000, "peer us-east Unreachable").is_some());
}
