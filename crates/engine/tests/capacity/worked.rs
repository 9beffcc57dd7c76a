//! docs/decision-waterfall.md: the numbers there were worked by hand; these tests hold the engine to them.

use crate::{board::Board, fixture::regions};
use tidegate_engine::{OrderRule, Places, Spread, Tier, WhenExhausted, Written};

/// Four pools of ten endpoints: each takes 10 * 100 * 80 % = 800 requests/s.
fn fleet(a: u64, b: u64, west: u64, eu: u64) -> Board {
    let line = |place: &str, demand: u64| format!("{place} 10/10 {demand}");
    let lines = [line("east/a", a), line("east/b", b), line("west/x", west), line("eu/y", eu)];
    Board::new(&lines.each_ref().map(String::as_str))
}

fn all(board: &Board) -> [String; 4] {
    ["east/a", "east/b", "west/x", "eu/y"].map(|place| board.shares(place))
}

#[test]
fn by_zone_a_zone_overflows_into_its_region() {
    let board = fleet(1000, 400, 300, 300);
    let expected = ["zone a 8000, zone b 2000", "zone b 10000", "zone x 10000", "zone y 10000"];
    assert_eq!(all(&board), expected);
    let b = board.plan("east/a").reasons.into_iter().find(|it| it.target == "zone b".parse().unwrap());
    assert_eq!(b.unwrap().budget.unwrap().to_string(), "600 of 800 requests/s (75 %)");
}

#[test]
fn by_region_what_a_region_cannot_take_goes_to_the_nearest() {
    let board = fleet(1000, 700, 300, 300);
    let expected =
        ["zone a 8000, zone b 1000, cluster west 1000", "zone b 10000", "zone x 10000", "zone y 10000"];
    assert_eq!(all(&board), expected);
}

#[test]
fn an_order_that_begins_with_the_region_fills_its_zones_evenly() {
    let order = |board: Board| {
        board.policy(|policy| {
            let to = vec![Tier::SameRegion, Tier::Any];
            policy.failover.push(Written::default_value(OrderRule { from: Places::default(), to }));
        })
    };
    let even = order(fleet(1000, 400, 300, 300));
    assert_eq!(even.shares("east/a"), "zone a 5000, zone b 5000");
    assert_eq!(even.shares("east/b"), "zone a 5000, zone b 5000");
    let full = order(fleet(1200, 600, 300, 300));
    assert_eq!(full.shares("east/a"), "zone a 4445, zone b 4444, cluster west 1111");
    assert_eq!(full.shares("east/b"), "zone a 4445, zone b 4444, cluster west 1111");
}

#[test]
fn a_pool_that_is_offered_too_much_is_shared_in_proportion_to_the_offers() {
    let board = fleet(1000, 1000, 500, 900);
    let shedding = board.clone().policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
    let expected = [
        "zone a 8000, cluster west 1200, shed 800",
        "zone b 8000, cluster west 1200, shed 800",
        "zone x 10000",
        "zone y 8889, cluster west 667, shed 444",
    ];
    assert_eq!(all(&shedding), expected);
    assert_eq!(board.shares("east/a"), "zone a 8200, zone b 200, cluster eu 200, cluster west 1400");
}

#[test]
fn spray_offers_to_all_regions_at_once() {
    let board = fleet(1000, 400, 300, 300).capacity(|it| it.spread.value = Spread::Spray);
    for (place, targets) in [
        ("east/a", "zone a 2500, zone b 2500, cluster eu 2500, cluster west 2500"),
        ("west/x", "zone x 2500, cluster east 5000, cluster eu 2500"),
    ] {
        assert_eq!(board.shares(place), targets);
    }
}

#[test]
fn a_zone_is_lost_and_the_rest_is_filled_no_further_than_its_budget() {
    let mut board = fleet(500, 600, 600, 100);
    board.pools[0].healthy = 0;
    board.pools[0].admit = tidegate_model::Fraction::ZERO;
    board.pools[0].phase = tidegate_model::Phase::Out;
    assert_eq!(board.shares("east/a"), "zone b 4000, cluster eu 2000, cluster west 4000");
    assert_eq!(board.shares("east/b"), "zone b 10000", "those who are near are not pushed out");
}

/// eu's order names eu and us-east only.
fn eu_stays_out_of_the_west(board: Board) -> Board {
    board.policy(|policy| {
        let to = vec![Tier::SameRegion, Tier::Only(regions(&["us-east"]))];
        policy.failover.push(Written::default_value(OrderRule { from: regions(&["eu"]), to }));
    })
}

#[test]
fn who_has_a_choice_moves_on_for_who_has_none_those_from_afar_first() {
    let board = eu_stays_out_of_the_west(fleet(600, 900, 300, 1000));
    let expected =
        ["zone a 10000", "zone b 8889, cluster west 1111", "zone x 10000", "zone y 8000, cluster east 2000"];
    assert_eq!(all(&board), expected);
    let loads = |place: &str| -> Vec<String> {
        board.plan(place).reasons.iter().map(|it| it.budget.as_ref().unwrap().to_string()).collect()
    };
    let [full, west] = ["800 of 800 requests/s (100 %)", "400 of 800 requests/s (50 %)"];
    assert_eq!(loads("east/b"), [full, full, west, full]);
}

#[test]
fn who_has_a_choice_leaves_his_own_zone_when_nobody_from_afar_is_left_there() {
    let board = eu_stays_out_of_the_west(fleet(600, 900, 300, 1100));
    let expected = [
        "zone a 8333, cluster west 1667",
        "zone b 8889, cluster west 1111",
        "zone x 10000",
        "zone y 7273, cluster east 2727",
    ];
    assert_eq!(all(&board), expected);
    insta::assert_snapshot!("moved_on", crate::cases::sentences(&board, "east/a"));
    insta::assert_snapshot!("moved_on_wholly", crate::cases::sentences(&board, "east/b"));
    let before = eu_stays_out_of_the_west(fleet(600, 900, 300, 900)).plan("east/a");
    insta::assert_snapshot!(
        "moved_on_since",
        tidegate_engine::explain_change(&before, &board.plan("east/a"))
    );
}
