//! The sentences that people read, as snapshots: the wording is part of the interface.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{Board, region, regions};
use insta::assert_snapshot;
use tidegate_engine::{FailbackMode, Origin, Plan, Tier, WhenExhausted, Written};

fn written(line: u32) -> Origin {
    Origin::file("FailoverPolicy shop/web", "fleet/web.yaml", line)
}

/// The plan, then its standby tiers, then its reasons, as `tidegate explain` has them.
fn sentences(plan: &Plan) -> String {
    let reasons = plan.reasons.iter().map(|reason| format!("  {reason}"));
    std::iter::once(plan.to_string()).chain(reasons).collect::<Vec<_>>().join("\n")
}

fn explained(lines: &[&str]) -> String {
    sentences(&Board::new(lines).plan())
}

#[test]
fn steady() {
    assert_snapshot!(explained(&["zone a 10/10", "zone b 10/10", "cluster west us-west 20/20+10/10"]));
}

#[test]
fn a_zone_is_out() {
    assert_snapshot!(explained(&[
        "zone a 0/10",
        "zone b 10/10",
        "zone c 10/10",
        "cluster west us-west 20/20"
    ]));
}

#[test]
fn a_zone_has_too_few_healthy_endpoints() {
    let board = Board::new(&["zone a 2/10@0% Out", "zone b 10/10"])
        .policy(|policy| policy.minimum_healthy.origin = written(12));
    assert_snapshot!(sentences(&board.plan()));
}

#[test]
fn a_zone_is_reduced() {
    assert_snapshot!(explained(&["zone a 5/10@71.4285%", "zone b 10/10", "zone c 6/10@85.7142%"]));
}

#[test]
fn holding() {
    let board = Board::new(&["zone a 10/10@0% Holding", "zone b 10/10"])
        .policy(|policy| policy.failback.hold_down.origin = written(17));
    assert_snapshot!(sentences(&board.plan()));
}

#[test]
fn waiting_for_an_operator() {
    let board = Board::new(&["zone a 10/10@0% Holding", "zone b 10/10"]).policy(|policy| {
        policy.failback.mode = Written { value: FailbackMode::Manual, origin: written(16) };
    });
    assert_snapshot!(sentences(&board.plan()));
}

#[test]
fn ramping() {
    assert_snapshot!(explained(&["zone a 10/10@10% Ramping", "zone b 10/10"]));
}

#[test]
fn beyond_admit() {
    assert_snapshot!("holding_beyond", explained(&["zone a 0/10", "zone b 10/10@0% Holding"]));
    assert_snapshot!("ramping_beyond", explained(&["zone a 0/10", "zone b 10/10@10% Ramping"]));
    assert_snapshot!("reduced_beyond", explained(&["zone a 0/10", "zone b 5/10@71.4285%"]));
    assert_snapshot!("out_beyond", explained(&["zone a 1/10@0% Out", "zone b 0/10"]));
}

#[test]
fn unreachable() {
    let lines = ["zone a 0/10", "cluster west us-west 10/10 unreachable", "cluster eu-1 eu 10/10"];
    assert_snapshot!(sentences(&Board::new(&lines).distance("us-west", 60).plan()));
}

#[test]
fn residency() {
    let lines = ["zone a 0/10", "zone b 10/10", "cluster eu-1 eu 10/10"];
    let only = Written { value: [region("us-east")].into(), origin: written(9) };
    assert_snapshot!(sentences(&Board::new(&lines).policy(|policy| policy.residency = Some(only)).plan()));
}

#[test]
fn an_order_that_was_written() {
    let mut board = Board::new(&["zone a 0/10", "cluster west us-west 10/10", "cluster eu-1 eu 10/10"])
        .order(&[Tier::SameZone, Tier::Only(regions(&["eu"]))]);
    board.policy.failover[0].origin = written(6);
    assert_snapshot!(sentences(&board.plan()));
}

#[test]
fn last_resort() {
    assert_snapshot!(explained(&["zone a 0/10", "zone b 0/30", "cluster west us-west 9/9 unreachable"]));
}

#[test]
fn shed() {
    let board = Board::new(&["zone a 0/10", "zone b 0/30"]).policy(|policy| {
        policy.when_exhausted = Written { value: WhenExhausted::Shed, origin: written(30) };
    });
    assert_snapshot!(sentences(&board.plan()));
}

#[test]
fn nothing_there() {
    assert_snapshot!(explained(&["zone a 0/0"]));
    assert_snapshot!("no_candidate", explained(&[]));
}
