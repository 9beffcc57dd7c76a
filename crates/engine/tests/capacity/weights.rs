//! Weights where capacity is declared: they divide the offers, and room decides what of them is accepted.

use crate::{
    board::Board,
    fixture::{cluster, clusters},
};
use tidegate_engine::{OrderRule, Places, Spread, Tier, Weights, WhenExhausted, Written};
use tidegate_model::{Fraction, Phase};

/// Clients at `east`, which has no endpoint; `west` and `eu` are weighed, `asia` comes after them.
fn fleet(lines: &[&str], west: u32, eu: u32) -> Board {
    let weights = Weights::Clusters([(cluster("west"), west), (cluster("eu"), eu)].into());
    let to = vec![Tier::SameZone, Tier::Weighted(clusters(&["west", "eu"]), weights), Tier::Any];
    let rule = OrderRule { from: Places::default(), to };
    Board::new(lines).policy(|policy| policy.failover.push(Written::default_value(rule)))
}

const LINES: [&str; 4] = ["east/a 0/0 500", "west/x 10/10", "eu/y 10/10", "asia/z 10/10"];

#[test]
fn what_is_offered_divides_by_weight_whatever_room_there_is() {
    assert_eq!(fleet(&LINES, 90, 10).shares("east/a"), "cluster eu 1000, cluster west 9000");
    // Local traffic of a member takes room, not weight.
    let lines = ["east/a 0/0 500", "west/x 10/10 200", "eu/y 100/100", "asia/z 10/10"];
    assert_eq!(fleet(&lines, 90, 10).shares("east/a"), "cluster eu 1000, cluster west 9000");
}

#[test]
fn what_a_member_has_no_room_for_goes_to_the_others_of_its_tier_and_then_on() {
    // 1000 are offered 900 to 100; west takes 800, and eu the 100 that it refuses.
    let lines = ["east/a 0/0 1000", "west/x 10/10", "eu/y 10/10", "asia/z 10/10"];
    assert_eq!(fleet(&lines, 90, 10).shares("east/a"), "cluster eu 2000, cluster west 8000");
    let lines = ["east/a 0/0 2000", "west/x 10/10", "eu/y 10/10", "asia/z 10/10"];
    assert_eq!(
        fleet(&lines, 90, 10).shares("east/a"),
        "cluster asia 2000, cluster eu 4000, cluster west 4000"
    );
}

#[test]
fn a_member_that_climbs_its_ramp_is_offered_that_part_of_its_weight() {
    let lines = ["east/a 0/0 100", "west/x 10/10@10% Ramping", "eu/y 10/10", "asia/z 10/10"];
    // 9 to 10: a tenth of 90, and the whole of 10.
    assert_eq!(fleet(&lines, 90, 10).shares("east/a"), "cluster eu 5263, cluster west 4737");
}

#[test]
fn beyond_admit_weights_hold_as_well() {
    let lines = ["east/a 0/0 100", "west/x 10/10@0% Holding", "eu/y 10/10@0% Holding"];
    assert_eq!(fleet(&lines, 90, 10).shares("east/a"), "cluster eu 1000, cluster west 9000");
}

#[test]
fn weight_zero_stands_by_until_the_others_admit_nothing_and_before_anything_is_shed() {
    let mut board = fleet(&LINES, 1, 0);
    assert_eq!(board.shares("east/a"), "cluster west 10000");
    let standby: Vec<String> = board.plan("east/a").standby.iter().map(crate::fixture::text).collect();
    assert_eq!(standby, ["cluster eu 10000", "cluster asia 10000"]);
    board.pools[1].healthy = 0;
    board.pools[1].admit = Fraction::ZERO;
    board.pools[1].phase = Phase::Out;
    assert_eq!(board.shares("east/a"), "cluster eu 10000");
    let full = ["east/a 0/0 2000", "west/x 10/10", "eu/y 10/10", "asia/z 10/10"];
    let full = fleet(&full, 1, 0).policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
    assert_eq!(full.shares("east/a"), "cluster asia 4000, cluster eu 2000, cluster west 4000");
}

#[test]
fn standby_tiers_divide_by_weight() {
    let lines = ["east/a 10/10 500", "west/x 10/10", "eu/y 10/10", "asia/z 10/10"];
    let standby: Vec<String> =
        fleet(&lines, 90, 10).plan("east/a").standby.iter().map(crate::fixture::text).collect();
    assert_eq!(standby[0], "cluster eu 1000, cluster west 9000");
}

#[test]
fn spray_knows_no_tiers_and_so_no_weights() {
    let board = fleet(&LINES, 90, 10).capacity(|it| it.spread.value = Spread::Spray);
    assert_eq!(board.shares("east/a"), "cluster asia 3333, cluster eu 3334, cluster west 3333");
}
