//! What the planner decides, as tables of candidates and shares.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{Board, clusters, region, regions, source, text, zones};
use std::collections::BTreeMap;
use tidegate_engine::{Rule, Tier, WhenExhausted, Written};
use tidegate_model::{Phase, Share};

/// A row: what it shows, the candidates, the shares.
type Row<'a> = (&'a str, &'a [&'a str], &'a str);

fn check(rows: &[Row<'_>]) {
    for (what, lines, shares) in rows {
        assert_eq!(Board::new(lines).shares(), *shares, "{what}");
    }
}

fn near_and_far(lines: &[&str]) -> Board {
    Board::new(lines).distance("us-west", 60).distance("eu", 90)
}

fn residency(names: &[&str]) -> Option<Written<tidegate_engine::Residency>> {
    Some(Written::default_value(names.iter().map(|name| region(name)).collect()))
}

#[test]
fn the_local_zone_keeps_everything_while_it_is_whole() {
    check(&[
        ("one of each", &["zone a 10/10", "zone b 10/10", "cluster west us-west 10/10"], "zone a 10000"),
        ("above the threshold", &["zone a 7/10", "zone b 10/10"], "zone a 10000"),
        ("however small", &["zone a 1/1", "zone b 1000/1000"], "zone a 10000"),
        ("the delay of a partial loss still runs", &["zone a 1/10@100%", "zone b 10/10"], "zone a 10000"),
    ]);
}

#[test]
fn what_is_lost_goes_to_the_same_region_and_then_to_the_nearest_other() {
    let board = |lines: &[&str]| near_and_far(lines).shares();
    let west = "cluster west us-west 10/10";
    let eu = "cluster eu-1 eu 10/10";
    assert_eq!(board(&["zone a 0/10", "zone b 10/10", "zone c 10/10", west]), "zone b 5000, zone c 5000");
    assert_eq!(
        board(&["zone a 0/10", "zone b 10/10", "cluster east-2 us-east 30/30", west]),
        "zone b 2500, cluster east-2 7500"
    );
    assert_eq!(board(&["zone a 0/10", "zone b 0/10", west, eu]), "cluster west 10000");
    assert_eq!(board(&["zone a 0/10", "cluster west us-west 0/10", eu]), "cluster eu-1 10000");
}

#[test]
fn other_regions_are_asked_by_distance_then_unknown_ones_by_name() {
    let lines = [
        "zone a 0/10",
        "cluster k1 known-far 1/1",
        "cluster k2 known-near 1/1",
        "cluster u1 unknown-b 1/1",
        "cluster u2 unknown-a 1/1",
    ];
    let board = Board::new(&lines).distance("known-far", 90).distance("known-near", 10);
    assert_eq!(board.shares(), "cluster k2 10000");
    assert_eq!(board.standby(), ["cluster k1 10000", "cluster u2 10000", "cluster u1 10000"]);
}

#[test]
fn clusters_of_one_region_share_a_tier() {
    let lines = ["zone a 0/10", "cluster w1 us-west 10/10", "cluster w2 us-west 30/30"];
    assert_eq!(Board::new(&lines).shares(), "cluster w1 2500, cluster w2 7500");
}

#[test]
fn a_source_in_a_zone_without_endpoints_is_served_by_its_region() {
    let lines = ["zone b 10/10", "zone c 10/10", "cluster west us-west 10/10"];
    assert_eq!(Board::new(&lines).shares(), "zone b 5000, zone c 5000");
}

#[test]
fn the_first_rule_whose_from_matches_gives_the_order() {
    let lines = ["zone a 10/10", "zone b 10/10", "cluster west us-west 10/10", "cluster eu-1 eu 10/10"];
    let to_west = [Tier::Only(regions(&["us-west"]))];
    let to_eu = [Tier::Only(clusters(&["eu-1"])), Tier::Any];
    let ordered =
        Board::new(&lines).order_from(zones(&["b"]), &to_west).order_from(regions(&["us-east"]), &to_eu);
    assert_eq!(ordered.shares(), "cluster eu-1 10000", "from its region");
    assert_eq!(ordered.clone().seen_from(source("b")).shares(), "cluster west 10000", "from its zone");
    let elsewhere = Board::new(&lines).order_from(clusters(&["other"]), &to_west);
    assert_eq!(elsewhere.shares(), "zone a 10000", "no rule matches: the default order");
}

#[test]
fn only_and_any_except_name_places() {
    let lines = ["zone a 10/10", "zone b 10/10", "cluster west us-west 10/10+10/10", "cluster eu-1 eu 10/10"];
    let board = |to: &[Tier]| near_and_far(&lines).order(to).shares();
    assert_eq!(board(&[Tier::Only(zones(&["b"]))]), "zone b 10000");
    assert_eq!(board(&[Tier::Only(clusters(&["east"]))]), "zone a 5000, zone b 5000");
    assert_eq!(board(&[Tier::Only(zones(&["west-2"]))]), "cluster west 10000", "a cluster is taken whole");
    assert_eq!(board(&[Tier::AnyExcept(regions(&["us-east"]))]), "cluster west 10000");
    assert_eq!(board(&[Tier::AnyExcept(regions(&["us-east", "us-west"]))]), "cluster eu-1 10000");
    assert_eq!(board(&[Tier::Any]), "zone a 5000, zone b 5000", "the own region is the nearest");
}

#[test]
fn an_order_that_ends_has_nothing_after_it() {
    let lines = ["zone a 0/10", "zone b 10/10", "cluster west us-west 10/10"];
    let board = Board::new(&lines).order(&[Tier::SameZone]);
    assert_eq!((board.shares(), board.plan().last_resort), ("zone a 10000".into(), true));
    assert_eq!(board.rule("zone b"), Rule::NotInOrder);
    let shedding = board.policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
    assert_eq!((shedding.shares(), shedding.plan().shed), (String::new(), Share::ALL));
    let none = Board::new(&lines).order(&[]);
    assert_eq!((none.shares(), none.plan().shed), (String::new(), Share::ALL));
}

#[test]
fn residency_removes_places_before_anything_and_nothing_overrides_it() {
    let lines = ["zone a 0/10", "zone b 0/10", "cluster west us-west 10/10", "cluster eu-1 eu 10/10"];
    let only = |names: &[&str]| near_and_far(&lines).policy(|policy| policy.residency = residency(names));
    assert_eq!(only(&["us-east", "eu"]).shares(), "cluster eu-1 10000");
    assert_eq!(only(&["us-east", "eu"]).rule("cluster west"), Rule::Residency);
    let named = only(&["us-east", "eu"]).order(&[Tier::Only(clusters(&["west"])), Tier::Any]);
    assert_eq!(named.shares(), "cluster eu-1 10000", "an order that names it does not bring it back");
    let home = only(&["us-east"]);
    assert_eq!((home.shares(), home.plan().last_resort), ("zone a 5000, zone b 5000".into(), true));
    assert_eq!(only(&["mars"]).plan().shed, Share::ALL, "nothing is allowed at all");
}

#[test]
fn a_tier_keeps_the_part_that_its_pools_admit_and_the_rest_goes_on() {
    check(&[
        ("half of the zone", &["zone a 5/10@50%", "zone b 10/10"], "zone a 5000, zone b 5000"),
        (
            "a tier by the sum of its pools",
            &["zone b 5/10@50%", "zone c 30/30", "cluster west us-west 10/10"],
            "zone b 1250, zone c 7500, cluster west 1250",
        ),
        (
            "weights inside a tier by what is healthy",
            &["zone b 5/10@100%", "zone c 10/10"],
            "zone b 3333, zone c 6667",
        ),
        ("ramping", &["zone a 10/10@10% Ramping", "zone b 10/10"], "zone a 1000, zone b 9000"),
    ]);
}

#[test]
fn another_cluster_is_the_sum_of_its_zones() {
    check(&[
        ("whole", &["zone a 0/10", "cluster west us-west 10/10+20/20"], "cluster west 10000"),
        (
            "a zone of it is lost, another cluster of the region is whole",
            &["zone a 0/10", "cluster w1 us-west 10/10+0/10", "cluster w2 us-west 20/20"],
            "cluster w2 10000",
        ),
        (
            "all clusters of the region are reduced",
            &["zone a 0/10", "cluster w1 us-west 10/10+0/10", "cluster w2 us-west 0/10+30/30"],
            "cluster w1 2500, cluster w2 7500",
        ),
    ]);
}

#[test]
fn a_reduced_pool_takes_no_traffic_of_others_while_a_serving_one_remains() {
    let lines = ["zone a 0/10", "zone b 5/10@71%", "cluster west us-west 10/10"];
    let board = Board::new(&lines);
    assert_eq!(board.shares(), "cluster west 10000");
    assert_eq!(board.rule("zone b"), Rule::NoForeignTraffic);
    assert_eq!(board.clone().seen_from(source("b")).shares(), "zone b 7100, cluster west 2900");
    let alone = Board::new(&["zone a 0/10", "zone b 5/10@71%"]);
    assert_eq!((alone.shares(), alone.rule("zone b")), ("zone b 10000".into(), Rule::BeyondAdmit));
}

#[test]
fn b_holding_when_a_dies_serves_at_once() {
    let holding = Board::new(&["zone a 0/10", "zone b 10/10@0% Holding"]);
    assert_eq!((holding.shares(), holding.rule("zone b")), ("zone b 10000".into(), Rule::BeyondAdmit));
    let ramping = Board::new(&["zone a 0/10", "zone b 10/10@10% Ramping"]);
    assert_eq!((ramping.shares(), ramping.plan().last_resort), ("zone b 10000".into(), false));
}

#[test]
fn beyond_admit_whole_pools_come_before_reduced_ones_and_those_before_pools_that_are_out() {
    check(&[
        (
            "holding, though farther, before reduced",
            &["zone a 0/10", "zone b 5/10@50%", "cluster west us-west 10/10@0% Holding"],
            "zone b 5000, cluster west 5000",
        ),
        ("reduced before out", &["zone a 2/10@0% Out", "zone b 5/10@50%"], "zone b 10000"),
        (
            "an out pool with a few healthy endpoints before panic",
            &["zone a 0/10", "zone b 1/10@0% Out"],
            "zone b 10000",
        ),
        ("the nearest of its kind", &["zone a 1/10@0% Out", "zone b 2/10@0% Out"], "zone a 10000"),
    ]);
    assert!(!Board::new(&["zone a 0/10", "zone b 1/10@0% Out"]).plan().last_resort);
}

#[test]
fn when_nothing_allowed_is_healthy_the_policy_says_spread_or_shed() {
    let lines = ["zone a 0/10", "zone b 0/30", "cluster west us-west 0/10 unreachable"];
    let spread = Board::new(&lines).plan();
    assert_eq!(text(&spread.shares), "zone a 2500, zone b 7500", "what is out of reach cannot be tried");
    assert!(spread.last_resort && spread.shed.is_none() && spread.standby.is_empty());
    let shed = Board::new(&lines).policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed).plan();
    assert!(shed.shares.is_empty() && !shed.last_resort && shed.standby.is_empty());
    assert_eq!(shed.shed, Share::ALL);
}

/// `0/0^3`: three endpoints are there, and none of them was ever healthy.
#[test]
fn what_was_never_healthy_is_tried_as_the_last_resort_only() {
    check(&[
        ("beside what is lost", &["zone a 0/10", "zone b 0/0^10"], "zone a 5000, zone b 5000"),
        (
            "beside what is gone",
            &["zone a 0/3", "cluster west us-west 0/0^1"],
            "zone a 7500, cluster west 2500",
        ),
        ("more than were ever healthy", &["zone a 0/2^6", "zone b 0/2"], "zone a 7500, zone b 2500"),
        (
            "a new service",
            &["zone a 0/0^1", "cluster west us-west 0/0^2+0/0^1"],
            "zone a 2500, cluster west 7500",
        ),
        (
            "anything healthy comes before it",
            &["zone a 0/0^9", "cluster west us-west 1/1"],
            "cluster west 10000",
        ),
        ("even what is out", &["zone a 0/0^9", "zone b 1/10@0% Out"], "zone b 10000"),
    ]);
    let lines = ["zone a 0/0^3", "cluster west us-west 0/0^3 unreachable"];
    let spread = Board::new(&lines).plan();
    assert_eq!(
        text(&spread.shares),
        "zone a 10000",
        "nobody ever saw the other one healthy, and now it is out of reach"
    );
    assert!(spread.last_resort && spread.shed.is_none() && spread.standby.is_empty());
    assert_eq!(Board::new(&lines).rule("zone a"), Rule::LastResort);
    let shed = Board::new(&lines).policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed).plan();
    assert_eq!((text(&shed.shares).as_str(), shed.shed), ("", Share::ALL));
    let only_west = Board::new(&["zone a 0/0^3", "cluster west us-west 0/3"])
        .policy(|policy| policy.residency = residency(&["us-west"]));
    assert_eq!(only_west.shares(), "cluster west 10000", "residency holds for the last resort too");
}

#[test]
fn when_nothing_at_all_is_in_reach_that_verdict_is_not_made_an_outage() {
    let lines = ["cluster east us-east 10/10 unreachable", "cluster west us-west 30/30 unreachable"];
    let spread = Board::new(&lines).plan();
    assert_eq!(text(&spread.shares), "cluster east 2500, cluster west 7500");
    assert!(spread.last_resort && spread.shed.is_none());
    let one_in_reach =
        Board::new(&["cluster east us-east 0/10", "cluster west us-west 30/30 unreachable"]).plan();
    assert_eq!(text(&one_in_reach.shares), "cluster east 10000");
}

#[test]
fn empty_pools_have_no_share_and_no_vote() {
    check(&[
        ("an empty zone", &["zone a 0/0", "zone b 10/10"], "zone b 10000"),
        ("beside a reduced one", &["zone b 0/0", "zone c 5/10@50%"], "zone c 10000"),
        ("nothing anywhere", &["zone a 0/0", "cluster west us-west 0/0"], ""),
        ("no candidate at all", &[], ""),
    ]);
    assert_eq!(Board::new(&["zone a 0/0"]).plan().shed, Share::ALL);
    assert_eq!(Board::new(&["zone a 0/0"]).rule("zone a"), Rule::Empty);
    let contradiction = Board::new(&["zone a 3/0", "cluster west us-west 1/1"]);
    assert_eq!(contradiction.shares(), "cluster west 10000", "healthy, but nobody expects it");
    assert_eq!(Board::new(&["zone a 3/0"]).plan().shed, Share::ALL);
}

#[test]
fn clusters_out_of_reach_get_nothing_and_do_not_stand_by() {
    let board =
        Board::new(&["zone a 0/10", "cluster w1 us-west 10/10 unreachable", "cluster w2 us-west 10/10"])
            .distance("us-west", 60);
    assert_eq!(board.shares(), "cluster w2 10000");
    assert_eq!(board.rule("cluster w1"), Rule::Unreachable);
    assert!(board.standby().is_empty());
    let home = Board::new(&["zone a 10/10", "cluster west us-west 10/10 unreachable"]);
    assert!(home.standby().is_empty());
    let in_region =
        Board::new(&["zone b 10/10", "cluster e2 us-east 10/10 unreachable", "cluster west us-west 10/10"]);
    assert_eq!(in_region.shares(), "zone b 5000, cluster west 5000", "its part of the home tier goes on");
}

#[test]
fn each_standby_tier_is_the_plan_of_losing_what_is_before_it() {
    let lines = [
        "zone a 10/10",
        "zone b 10/10",
        "zone c 30/30",
        "cluster west us-west 10/10",
        "cluster eu-1 eu 10/10",
    ];
    assert_eq!(
        near_and_far(&lines).standby(),
        ["zone b 2500, zone c 7500", "cluster west 10000", "cluster eu-1 10000"]
    );
    let partial = near_and_far(&["zone a 5/10@50%", "zone b 10/10", "cluster west us-west 10/10"]);
    assert_eq!(partial.shares(), "zone a 5000, zone b 5000");
    assert_eq!(partial.standby(), ["cluster west 10000"]);
}

#[test]
fn standby_names_reduced_and_holding_pools_but_none_that_is_out() {
    let board = Board::new(&[
        "zone a 10/10",
        "zone b 10/10@0% Holding",
        "zone c 2/10@0% Out",
        "cluster west us-west 5/10@50%",
    ]);
    assert_eq!(board.standby(), ["zone b 5000, cluster west 5000"]);
    assert!(Board::new(&["zone a 10/10", "zone b 0/10"]).standby().is_empty());
}

#[test]
fn a_pool_too_small_for_a_share_still_stands_by() {
    let board = Board::new(&["zone b 1000000/1000000", "zone c 1/1"]);
    assert_eq!(board.shares(), "zone b 10000");
    assert_eq!(board.standby(), ["zone c 10000"]);
}

#[test]
fn shares_sum_to_the_whole_by_the_largest_remainder() {
    check(&[
        (
            "a third each",
            &["zone b 1/1", "zone c 1/1", "zone d 1/1"],
            "zone b 3334, zone c 3333, zone d 3333",
        ),
        (
            "the largest remainder first",
            &["zone b 1/1", "zone c 2/2", "zone d 3/3"],
            "zone b 1667, zone c 3333, zone d 5000",
        ),
        (
            "seven",
            &[
                "zone b 1/1",
                "zone c 1/1",
                "zone d 1/1",
                "zone e 1/1",
                "zone f 1/1",
                "zone g 1/1",
                "zone h 1/1",
            ],
            "zone b 1429, zone c 1429, zone d 1429, zone e 1429, zone f 1428, zone g 1428, zone h 1428",
        ),
    ]);
}

#[test]
fn the_order_of_the_candidates_changes_nothing() {
    let lines = [
        "zone b 3/7@61%",
        "zone c 7/7",
        "zone d 7/7",
        "cluster e2 us-east 9/9",
        "cluster w1 us-west 5/11@33%",
        "cluster w2 us-west 11/11",
        "cluster u1 elsewhere 1/1",
    ];
    let expected = near_and_far(&lines).plan();
    for turn in 0..lines.len() {
        let mut turned = lines;
        turned.rotate_left(turn);
        assert_eq!(near_and_far(&turned).plan(), expected, "turned by {turn}");
        turned.reverse();
        assert_eq!(near_and_far(&turned).plan(), expected, "turned by {turn} and reversed");
    }
}

#[test]
fn a_move_within_the_dead_band_keeps_the_shares_in_force() {
    let even = Board::new(&["zone b 1000/1000", "zone c 1000/1000"]).plan();
    let after = |lines: &[&str]| text(&Board::new(lines).plan_after(Some(&even)).shares);
    assert_eq!(after(&["zone b 1040/1040", "zone c 1000/1000"]), "zone b 5000, zone c 5000", "98 of 10000");
    assert_eq!(after(&["zone b 1042/1042", "zone c 1000/1000"]), "zone b 5103, zone c 4897");
    assert_eq!(
        after(&["zone b 1000/1000", "zone c 1000/1000", "zone d 5/5"]),
        "zone b 4988, zone c 4987, zone d 25",
        "a target that enters is a change however small"
    );
    let three = Board::new(&["zone b 1000/1000", "zone c 1000/1000", "zone d 5/5"]).plan();
    let left = Board::new(&["zone b 1000/1000", "zone c 1000/1000", "zone d 0/5"]).plan_after(Some(&three));
    assert!(!left.shares.contains_key(&"zone d".parse().unwrap()), "so is one that leaves");
}

#[test]
fn the_dead_band_does_not_let_shares_drift() {
    let mut plan = Board::new(&["zone b 1000/1000", "zone c 1000/1000"]).plan();
    for extra in (10..400).step_by(10) {
        let line = format!("zone b {0}/{0}", 1000 + extra);
        let board = Board::new(&[&line, "zone c 1000/1000"]);
        plan = board.plan_after(Some(&plan));
        let exact = board.plan();
        for (target, share) in &plan.shares {
            assert!(share.distance(exact.shares[target]) <= 100, "{target} is off by more than the band");
        }
    }
}

#[test]
fn the_dead_band_never_hides_that_all_is_lost() {
    let whole = Board::new(&["zone a 10/10"]).plan();
    let lost = Board::new(&["zone a 0/10"]);
    let plan = lost.plan_after(Some(&whole));
    assert_eq!((text(&plan.shares), plan.last_resort), ("zone a 10000".into(), true));
    let shed = lost.policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
    assert_eq!(shed.plan_after(Some(&whole)).shed, Share::ALL);
    assert_eq!(text(&Board::new(&["zone a 10/10"]).plan_after(Some(&plan)).shares), "zone a 10000");
}

#[test]
fn huge_counts_neither_overflow_nor_panic() {
    let max = u32::MAX;
    let whole = format!("{max}/{max}");
    let lines =
        [format!("zone b {whole}"), format!("zone c {whole}"), format!("cluster e2 us-east {whole}+{whole}")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let plan = Board::new(&lines).plan();
    assert_eq!(text(&plan.shares), "zone b 2500, zone c 2500, cluster e2 5000");
    let lost = format!("zone b 1/{max}@100%");
    assert_eq!(Board::new(&[&lost, "zone c 1/1"]).shares(), "zone b 5000, zone c 5000");
}

#[test]
fn every_candidate_has_a_reason_in_the_order_of_the_tiers() {
    let board =
        near_and_far(&["cluster eu-1 eu 10/10", "zone b 10/10", "cluster west us-west 10/10", "zone a 0/10"])
            .policy(|policy| policy.residency = residency(&["us-east", "us-west"]));
    let told: BTreeMap<String, (Option<u32>, Rule, Phase)> = board
        .plan()
        .reasons
        .into_iter()
        .map(|reason| (reason.target.to_string(), (reason.tier, reason.rule, reason.phase)))
        .collect();
    assert_eq!(told["zone a"], (Some(1), Rule::NotAdmitted, Phase::Out));
    assert_eq!(told["zone b"], (Some(2), Rule::Overflow, Phase::Serving));
    assert_eq!(told["cluster west"], (Some(3), Rule::NotNeeded, Phase::Serving));
    assert_eq!(told["cluster eu-1"], (None, Rule::Residency, Phase::Serving));
    let order: Vec<Option<u32>> = board.plan().reasons.iter().map(|reason| reason.tier).collect();
    assert_eq!(order, [Some(1), Some(2), Some(3), None]);
}

#[test]
fn residency_may_allow_one_cluster_of_a_region_and_not_another() {
    let lines = [
        "zone a 0/10",
        "cluster east-2 us-east 10/10",
        "cluster east-3 us-east 10/10",
        "cluster west us-west 9/9",
    ];
    let board = near_and_far(&lines).policy(|policy| {
        let clusters = ["east-3", "west"].map(fixture::cluster);
        let only = tidegate_engine::Residency { regions: None, clusters: Some(clusters.into()) };
        policy.residency = Some(Written::default_value(only));
    });
    assert_eq!(board.shares(), "cluster east-3 10000");
    assert_eq!(board.rule("cluster east-2"), Rule::Residency);
    assert_eq!(board.rule("zone a"), Rule::Residency, "the own cluster is not allowed either");
}
