//! The benchmark of failover, small: one fault on Tidegate, so that it cannot rot. `cargo xtask bench failover` runs all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;
use support::{TIDEGATE, envoy};
use tidegate_lab::contest::{
    Layout,
    contestant::{Contestant, Programs},
    course::{self, Schedule},
    fault::ZoneFault,
    report::{Entry, Machine, Report},
    subject::Subject,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_zone_is_measured_as_the_benchmark_does_and_costs_no_safe_request() {
    let test = "a_killed_zone_is_measured_as_the_benchmark_does_and_costs_no_safe_request";
    let Some(envoy) = envoy(test) else { return };
    let programs = Programs { tidegate: TIDEGATE.into(), envoy, traefik: None };
    let contestant = Contestant::Tidegate;
    let version = programs.version(contestant).unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));

    let subject = Subject::start(contestant, Layout::Zones, &programs).await.unwrap();
    let second = Duration::from_secs(1);
    let schedule = Schedule {
        before: 2 * second,
        fault: 3 * second,
        after: second,
        patience: second,
        ..Schedule::default()
    };
    let outcome = course::run(&subject, ZoneFault::Killed, &schedule).await.unwrap();
    subject.stop().await;

    let measures = &outcome.measures;
    assert_eq!((measures.failed, measures.overload), (0, 0), "{measures:#?}");
    assert!(measures.requests >= 600, "{measures:#?}");
    // The hold-down is longer than it was watched.
    assert_eq!((measures.moves.away, measures.moves.back), (1, 0), "{measures:#?}");
    assert_eq!(measures.time_to_failback, None);

    let report = Report {
        machine: Machine::default(),
        rate_rps: schedule.rate_rps,
        fault_seconds: schedule.fault.as_secs_f64(),
        contestants: vec![(contestant, version)],
        absent: Vec::new(),
        results: vec![Entry { layout: Layout::Zones, fault: ZoneFault::Killed, contestant, outcome }],
    };
    let page = std::fs::read_to_string(support::workspace().join("docs/benchmarks.md")).unwrap();
    let written = report.write_into(&page).unwrap();
    assert!(written.contains("| killed | Tidegate + Envoy |"), "{written}");
}
