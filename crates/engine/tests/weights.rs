//! Weights together with failover: how the members of a tier divide what reaches it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{Board, cases, cluster, clusters, region, regions, zone, zones};
use proptest::prelude::*;
use tidegate_engine::{Places, Rule, Tier, Weights};

fn by_cluster(weights: &[(&str, u32)]) -> Tier {
    let names: Vec<&str> = weights.iter().map(|(name, _)| *name).collect();
    let weights = weights.iter().map(|(name, weight)| (cluster(name), *weight)).collect();
    Tier::Weighted(clusters(&names), Weights::Clusters(weights))
}

/// Clusters `b` and `c` in other regions, weighed 90 to 10, and then anything.
fn ninety_ten(b: &str, c: &str) -> Board {
    let lines = [
        "zone a 0/10",
        &format!("cluster b us-west {b}"),
        &format!("cluster c eu {c}"),
        "cluster d asia 10/10",
    ];
    Board::new(&lines).order(&[by_cluster(&[("b", 90), ("c", 10)]), Tier::Any])
}

#[test]
fn with_all_whole_the_shares_are_the_weights_whatever_the_members_have() {
    for (b, c) in [("10/10", "10/10"), ("1/1", "1000/1000"), ("3/3+7/7", "2/2")] {
        assert_eq!(ninety_ten(b, c).shares(), "cluster b 9000, cluster c 1000", "{b} {c}");
    }
    let thirds = Board::new(&["cluster x us-west 1/1", "cluster y us-west 5/5", "cluster z eu 7/7"]);
    let thirds = thirds.order(&[by_cluster(&[("x", 1), ("y", 1), ("z", 1)])]);
    assert_eq!(thirds.shares(), "cluster x 3334, cluster y 3333, cluster z 3333");
}

#[test]
fn a_member_that_loses_health_keeps_what_it_admits_and_the_rest_goes_on() {
    // Half of 90 % stays; nobody in the tier gets more than its weight while the next tier takes it.
    assert_eq!(ninety_ten("5/10@50%", "10/10").shares(), "cluster b 4500, cluster c 1000, cluster d 4500");
    assert_eq!(ninety_ten("0/10", "10/10").shares(), "cluster c 1000, cluster d 9000");
    // Above the threshold the tier keeps everything, and divides by what is healthy: 81 to 10.
    assert_eq!(ninety_ten("9/10@100%", "10/10").shares(), "cluster b 8901, cluster c 1099");
    assert_eq!(ninety_ten("0/10", "0/10").shares(), "cluster d 10000");
}

#[test]
fn where_no_next_tier_takes_it_the_members_hand_it_on_inside() {
    let last = |b: &str, c: &str| {
        let lines = [format!("cluster b us-west {b}"), format!("cluster c eu {c}")];
        Board::new(&[&lines[0], &lines[1]]).order(&[by_cluster(&[("b", 90), ("c", 10)])]).shares()
    };
    assert_eq!(last("0/10", "10/10"), "cluster c 10000");
    // Beyond admit by weight and health: 45 to 10 of what is left.
    assert_eq!(last("5/10@50%", "10/10"), "cluster b 8182, cluster c 1818");
}

#[test]
fn a_member_abroad_that_is_not_whole_hands_its_weight_to_the_others_of_its_tier() {
    let lines = ["zone a 0/10", "cluster b us-west 5/10@50%", "cluster c eu 10/10", "cluster d eu 10/10"];
    let board = Board::new(&lines).order(&[Tier::SameZone, by_cluster(&[("b", 60), ("c", 30), ("d", 10)])]);
    assert_eq!(board.shares(), "cluster c 7500, cluster d 2500");
    assert_eq!(board.rule("cluster b"), Rule::NoForeignTraffic);
}

#[test]
fn a_region_divides_its_weight_over_its_targets_as_ever() {
    let lines =
        ["zone a 10/10", "zone b 30/30", "cluster west us-west 10/10", "cluster east-2 us-east 40/40"];
    let weights = Weights::Regions([(region("us-east"), 80), (region("us-west"), 20)].into());
    let tier = Tier::Weighted(regions(&["us-east", "us-west"]), weights);
    let board = Board::new(&lines).order(&[tier]);
    assert_eq!(board.shares(), "zone a 1000, zone b 3000, cluster east-2 4000, cluster west 2000");
}

#[test]
fn zones_are_weighed_and_another_cluster_is_the_sum_of_its_zones() {
    let weights = |list: &[(&str, u32)]| {
        let names: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
        let weights = list.iter().map(|(name, weight)| (zone(name), *weight)).collect();
        Tier::Weighted(zones(&names), Weights::Zones(weights))
    };
    let lines = ["zone a 10/10", "zone b 10/10", "cluster west us-west 10/10+30/30"];
    let board = Board::new(&lines).order(&[weights(&[("a", 70), ("b", 30)])]);
    assert_eq!(board.shares(), "zone a 7000, zone b 3000");
    let board = Board::new(&lines).order(&[weights(&[("a", 50), ("west-1", 20), ("west-2", 30)])]);
    assert_eq!(board.shares(), "zone a 5000, cluster west 5000");
}

#[test]
fn a_member_of_weight_zero_stands_by_until_the_others_admit_nothing() {
    let board = |b: &str, c: &str, d: &str| {
        let lines =
            [format!("cluster b us-west {b}"), format!("cluster c eu {c}"), format!("cluster d asia {d}")];
        Board::new(&[&lines[0], &lines[1], &lines[2]])
            .order(&[by_cluster(&[("b", 100), ("c", 0)]), Tier::Any])
    };
    assert_eq!(board("10/10", "10/10", "10/10").shares(), "cluster b 10000");
    assert_eq!(board("5/10@50%", "10/10", "10/10").shares(), "cluster b 5000, cluster d 5000");
    assert_eq!(board("0/10", "10/10", "10/10").shares(), "cluster c 10000");
    assert_eq!(board("10/10", "10/10", "10/10").standby(), ["cluster c 10000", "cluster d 10000"]);
    // Before anything serves beyond its admit.
    assert_eq!(board("5/10@50%", "10/10", "0/10").shares(), "cluster b 5000, cluster c 5000");
    // What nothing is expected of has no weight.
    assert_eq!(board("0/0", "10/10", "10/10").shares(), "cluster c 10000");
}

#[test]
fn standby_tiers_divide_by_weight_too() {
    let lines = ["zone a 10/10", "cluster b us-west 10/10", "cluster c eu 10/10", "cluster d asia 10/10"];
    let board = Board::new(&lines).order(&[Tier::SameZone, by_cluster(&[("b", 90), ("c", 10)]), Tier::Any]);
    assert_eq!(board.standby(), ["cluster b 9000, cluster c 1000", "cluster d 10000"]);
}

#[test]
fn nothing_healthy_is_tried_by_endpoints() {
    let lines = ["cluster b us-west 0/30", "cluster c eu 0/10"];
    let board = Board::new(&lines).order(&[by_cluster(&[("b", 1), ("c", 1)])]);
    assert_eq!(board.shares(), "cluster b 7500, cluster c 2500");
}

#[test]
fn reasons_name_the_weights() {
    let said: Vec<String> =
        ninety_ten("10/10", "10/10").plan().reasons.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|it| it.contains("weight 90 of 100 in its tier")), "{said:#?}");
    assert!(said.iter().any(|it| it.starts_with("cluster d") && !it.contains("weight")), "{said:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(10_000), failure_persistence: None, ..ProptestConfig::default() })]
    /// To a ten-thousandth, which is what rounding leaves open.
    #[test]
    fn whole_members_get_exactly_their_weights(
        members in proptest::collection::vec((1..=1_000_000u32, proptest::collection::vec(1..2000u32, 1..4)), 1..8)
    ) {
        let line = |(at, (_, pools)): (usize, &(u32, Vec<u32>))| {
            let pools: Vec<String> = pools.iter().map(|count| format!("{count}/{count}")).collect();
            format!("cluster m{at} r{} {}", at % 3, pools.join("+"))
        };
        let lines: Vec<String> = members.iter().enumerate().map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let names: Vec<String> = (0..members.len()).map(|at| format!("m{at}")).collect();
        let weights: Vec<(&str, u32)> =
            names.iter().map(String::as_str).zip(members.iter().map(|(weight, _)| *weight)).collect();
        let plan = Board::new(&lines).order(&[by_cluster(&weights), Tier::Any]).plan();
        let sum: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        for (name, weight) in weights {
            let target = format!("cluster {name}").parse().unwrap();
            let share = plan.shares.get(&target).map_or(0, |share| share.parts());
            let exact = f64::from(weight) * 10_000.0 / sum as f64;
            prop_assert!((f64::from(share) - exact).abs() < 1.0, "{name}: {share}, not {exact}: {plan:#?}");
        }
    }

    /// Weights that say what the endpoints say anyway change nothing but the note in the reasons.
    #[test]
    fn weights_like_the_endpoints_give_the_plan_without_weights(
        members in proptest::collection::vec((1..50u32, 0..=50u32, 0..=100u32, any::<bool>()), 1..7),
    ) {
        let line = |(at, (expected, healthy, admit, abroad)): (usize, &(u32, u32, u32, bool))| {
            let healthy = healthy.min(expected);
            let region = if *abroad { "eu" } else { "us-east" };
            format!("cluster m{at} {region} {healthy}/{expected}@{admit}%")
        };
        let lines: Vec<String> = members.iter().enumerate().map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let names: Vec<String> = (0..members.len()).map(|at| format!("m{at}")).collect();
        let weights: Vec<(&str, u32)> =
            names.iter().map(String::as_str).zip(members.iter().map(|member| member.0)).take(4).collect();
        let named: Vec<&str> = weights.iter().map(|(name, _)| *name).collect();
        let with = Board::new(&lines).order(&[by_cluster(&weights), Tier::Any]).plan();
        let without = Board::new(&lines).order(&[Tier::Only(clusters(&named)), Tier::Any]).plan();
        prop_assert_eq!(with.shares.len(), without.shares.len());
        for (target, share) in &without.shares {
            let other = with.shares.get(target).copied().unwrap_or_default();
            prop_assert!(share.distance(other) <= 1, "{target}: {share} {other}");
        }
    }
}

#[test]
fn a_tier_that_is_narrowed_further_divides_over_what_is_left() {
    let weights = Weights::Regions([(region("us-west"), 80), (region("eu"), 20)].into());
    let places = Places { clusters: [cluster("b"), cluster("c")].into(), ..regions(&["us-west", "eu"]) };
    let lines = ["cluster b us-west 10/10", "cluster b2 us-west 10/10", "cluster c eu 10/10"];
    let board = Board::new(&lines).order(&[Tier::Weighted(places, weights)]);
    assert_eq!(board.shares(), "cluster b 8000, cluster c 2000");
}
