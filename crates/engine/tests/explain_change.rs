//! Changes of plans as sentences: the wording is part of the interface.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{Board, region};
use tidegate_engine::{Origin, Plan, WhenExhausted, Written, explain_change, explain_moves};

fn plan(lines: &[&str]) -> Plan {
    Board::new(lines).plan()
}

fn change(before: &[&str], after: &[&str]) -> String {
    explain_change(&plan(before), &plan(after))
}

#[test]
fn a_zone_is_lost_and_comes_back_step_by_step() {
    let whole = ["zone a 2/2", "zone b 2/2"];
    let out = ["zone a 0/2", "zone b 2/2"];
    let ramping = ["zone a 2/2@10% Ramping", "zone b 2/2"];
    assert_eq!(
        change(&whole, &out),
        "shop/web from east/a: 100 % moved from zone a to zone b, because zone a is Out (0 of 2 healthy)"
    );
    assert_eq!(
        change(&out, &ramping),
        "shop/web from east/a: 10 % moved from zone b to zone a, because zone a gets its load back step by step \
         (2 of 2 healthy, admit 10 %)"
    );
    assert_eq!(
        change(&ramping, &whole),
        "shop/web from east/a: 90 % moved from zone b to zone a, because zone a comes first in the order and is \
         Serving (2 of 2 healthy)"
    );
}

#[test]
fn a_zone_is_reduced() {
    assert_eq!(
        change(&["zone a 10/10", "zone b 10/10"], &["zone a 5/10@71.4285% Reduced", "zone b 10/10"]),
        "shop/web from east/a: 28.57 % moved from zone a to zone b, because zone a is Reduced (5 of 10 healthy, admit \
         71.43 %)"
    );
}

#[test]
fn a_region_falls_and_its_traffic_parts() {
    let before = ["zone a 0/2", "zone b 0/2", "cluster west us-west 2/2", "cluster west-2 us-west 6/6"];
    let after =
        ["zone a 0/2", "zone b 0/2", "cluster west us-west 2/2", "cluster west-2 us-west 6/6 unreachable"];
    assert_eq!(
        change(
            &["zone a 2/2", "zone b 0/2", "cluster west us-west 2/2", "cluster west-2 us-west 6/6"],
            &before
        ),
        "shop/web from east/a: 100 % moved from zone a to cluster west-2 (75 %) and cluster west (25 %), because zone \
         a is Out (0 of 2 healthy)"
    );
    assert_eq!(
        change(&before, &after),
        "shop/web from east/a: 75 % moved from cluster west-2 to cluster west, because cluster west-2 is out of reach"
    );
}

#[test]
fn nothing_better_than_a_waiting_pool_is_left() {
    assert_eq!(
        change(
            &["zone a 0/2", "zone b 2/2@0% Holding", "zone c 2/2"],
            &["zone a 0/2", "zone b 2/2@0% Holding"]
        ),
        "shop/web from east/a: 100 % moved from zone c to zone b, because zone c is not there any more"
    );
}

#[test]
fn a_policy_moves_traffic() {
    let lines = ["zone a 0/2", "cluster west us-west 2/2", "cluster eu-1 eu 2/2"];
    let before = Board::new(&lines).distance("us-west", 60).plan();
    let after = Board::new(&lines).policy(|policy| {
        let file = Origin::file("FailoverPolicy shop/web", "web.yaml", 9);
        policy.residency = Some(Written { value: [region("us-east"), region("eu")].into(), origin: file });
    });
    assert_eq!(
        explain_change(&before, &after.plan()),
        "shop/web from east/a: 100 % moved from cluster west to cluster eu-1, because residency forbids cluster west \
         [FailoverPolicy shop/web at web.yaml:9]"
    );
}

#[test]
fn nothing_is_left() {
    let shed = |lines: &[&str]| {
        let board = Board::new(lines).policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
        board.plan()
    };
    let (whole, gone) = (shed(&["zone a 2/2"]), shed(&["zone a 0/2"]));
    assert_eq!(
        explain_change(&whole, &gone),
        "shop/web from east/a: 100 % moved from zone a to 503 answers, because nothing that is allowed is healthy"
    );
    assert_eq!(
        explain_change(&gone, &whole),
        "shop/web from east/a: 100 % moved from 503 answers to zone a, because zone a comes first in the order and is \
         Serving (2 of 2 healthy)"
    );
    assert_eq!(
        change(&["zone a 2/2", "zone b 0/2"], &["zone a 0/2", "zone b 0/2"]),
        "shop/web from east/a: 50 % moved from zone a to zone b, because nothing that is allowed is healthy"
    );
}

#[test]
fn a_change_of_standby_alone_moves_nothing() {
    let before = plan(&["zone a 2/2", "zone b 2/2"]);
    let after = plan(&["zone a 2/2", "zone b 0/2"]);
    assert_eq!(explain_change(&before, &after), "shop/web from east/a: zone a 100 %; no share moved");
    assert_eq!(explain_moves(&before.shares, &after), explain_change(&before, &after));
}
