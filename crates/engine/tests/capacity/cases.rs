//! The cases that break naive designs.

use crate::{
    board::Board,
    fixture::{World, cluster, service, source},
};
use std::collections::BTreeMap;
use tidegate_engine::{Capacity, Event, FleetView, Load, Rule, WhenExhausted};
use tidegate_model::{Fraction, Phase, Time};

#[test]
fn b_holding_when_a_dies_serves_at_once() {
    let board = Board::new(&["east/a 0/10 500", "east/b 10/10@0% Holding 100"]);
    assert_eq!(board.shares("east/a"), "zone b 10000");
    let plan = board.plan("east/a");
    let b = plan.reasons.iter().find(|it| it.target == "zone b".parse().unwrap()).unwrap();
    assert_eq!(b.rule, Rule::BeyondAdmit);
    // A pool that is whole and settled is asked before one that waits, however near that is.
    let west = Board::new(&["east/a 0/10 500", "east/b 10/10@0% Holding 100", "west/x 10/10 100"]);
    assert_eq!(west.shares("east/a"), "cluster west 10000");
}

#[test]
fn b_half_healthy_does_not_take_a_s_whole_load_while_a_serving_pool_remains() {
    // B takes 0.714285 * 5 * 100 * 80 % = 285.7 requests/s, 100 of them its own.
    let board = Board::new(&["east/a 0/10 600", "east/b 5/10@71.4285% Reduced 100", "west/x 10/10 100"]);
    assert_eq!(board.shares("east/a"), "zone b 3095, cluster west 6905");
    assert_eq!(board.shares("east/b"), "zone b 10000");
}

#[test]
fn a_shifted_pool_serves_before_any_is_overloaded() {
    let board = Board::new(&["east/a 0/10 600", "east/b 10/10@0% Shifted", "west/x 10/10 500"]);
    assert_eq!(board.shares("east/a"), "zone b 5000, cluster west 5000");
}

#[test]
fn a_way_that_ramps_limits_our_own_sources_only() {
    let mut board = Board::new(&["east/a 0/10 500", "west/x 10/10 700", "eu/y 10/10 0"]);
    board.reach.insert(cluster("west"), Fraction::from_ppm(100_000).unwrap());
    // 10 % of 800 is the gate; west itself is served at home whatever our way to it.
    assert_eq!(board.shares("east/a"), "cluster eu 8400, cluster west 1600");
    board.reach.clear();
    assert_eq!(board.shares("east/a"), "cluster eu 8000, cluster west 2000");
}

#[test]
fn a_and_c_partitioned_from_each_other_do_not_spend_b_twice() {
    // Both lost their own endpoints; B takes 800, and 200 of that are its own.
    let lines = ["east/a 0/10 500", "west/b 10/10 200", "eu/c 0/10 500"];
    let fleet = || Board::new(&lines).cut("east", "eu");
    let shed = |board: Board| board.policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
    let share = |board: &Board, place: &str| {
        let plan = board.plan(place);
        plan.shares.get(&"cluster west".parse().unwrap()).map_or(0, |share| u64::from(share.parts()))
    };
    // They hear of each other by what arrives at B, and settle on half of the room each.
    let (mut a, mut c) = (0, 0);
    for round in 0..10 {
        let board = shed(fleet().arrive("west", "east", a).arrive("west", "eu", c));
        (a, c) = (share(&board, "east/a") * 500 / 10_000, share(&board, "eu/c") * 500 / 10_000);
        assert!(round < 2 || a + c <= 600, "round {round}: {a} + {c}");
    }
    assert_eq!((a, c), (300, 300));
    // Once one asks for less, the other gets it.
    let board = shed(fleet().arrive("west", "east", 300).arrive("west", "eu", 150));
    assert_eq!(share(&board, "east/a"), 9000);
}

/// East with two zones and the cluster west, 100 requests/s per endpoint.
fn declared() -> World {
    let mut world = World::new();
    world.policy.capacity = Some(Capacity::per_endpoint(Load::Rate { rps: 100_000 }));
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving);
    world
}

fn demand(world: &mut World, zone: &str, rps: u64) {
    let rate = Load::Rate { rps: rps * 1000 };
    world.handle(Event::Demand { source: source(zone), rates: BTreeMap::from([(service("web"), rate)]) });
}

fn arrivals(world: &mut World, from: &str, rps: u64) {
    let load = BTreeMap::from([(cluster(from), Load::Rate { rps: rps * 1000 })]);
    let from = BTreeMap::from([(service("web"), load)]);
    world.handle(Event::Arrivals { at: cluster("west"), from });
}

#[test]
fn without_known_demand_the_plan_is_the_plain_one() {
    let mut world = declared();
    assert_eq!(world.shares("web", "a"), "zone a 10000");
    let rate = Load::Concurrency { requests: 1_000_000_000 };
    world.handle(Event::Demand { source: source("a"), rates: BTreeMap::from([(service("web"), rate)]) });
    assert_eq!(world.shares("web", "a"), "zone a 10000", "another unit means nothing");
    assert!(world.plan("web", "a").reasons.iter().all(|it| it.budget.is_none()));
    demand(&mut world, "a", 1600);
    demand(&mut world, "b", 400);
    assert_eq!(world.shares("web", "a"), "zone a 5000, zone b 2500, cluster west 2500");
    assert_eq!(world.engine.demand().count(), 1);
}

#[test]
fn retries_do_not_inflate_demand() {
    let mut world = declared();
    demand(&mut world, "a", 1600);
    demand(&mut world, "b", 400);
    let before = world.shares("web", "a");
    // Tries at east-west gateways are arrivals. From a cluster that is heard (ourselves) they are no demand.
    world.until(5.0);
    for _ in 0..5 {
        arrivals(&mut world, "east", 5000);
        demand(&mut world, "a", 1600);
    }
    assert_eq!(world.shares("web", "a"), before);
    let asked: Vec<_> = world.engine.demand().map(|(_, zones)| zones).collect();
    assert_eq!(asked[0]["a"], Load::Rate { rps: 1_600_000 });
}

#[test]
fn what_arrives_from_a_cluster_that_is_not_heard_comes_off_the_budget_first() {
    let mut world = declared();
    demand(&mut world, "a", 1600);
    demand(&mut world, "b", 800);
    assert_eq!(world.shares("web", "a"), "zone a 5000, cluster west 5000");
    arrivals(&mut world, "eu-1", 400);
    assert_eq!(world.plan("web", "a").shares[&"cluster west".parse().unwrap()].parts(), 2500 + 833);
    // Now it tells what it asks for, so it is counted by that.
    let zones = BTreeMap::from([("z".parse().unwrap(), Load::Rate { rps: 0 })]);
    world.handle(Event::RemoteDemand {
        cluster: cluster("eu-1"),
        view: FleetView::default(),
        demand: BTreeMap::from([(service("web"), zones)]),
    });
    assert_eq!(world.shares("web", "a"), "zone a 5000, cluster west 5000");
}

#[test]
fn missing_demand_holds_for_a_minute_and_then_is_the_hours_peak() {
    let mut world = declared();
    demand(&mut world, "a", 1600);
    world.until(600.0);
    demand(&mut world, "a", 800);
    assert_eq!(world.shares("web", "a"), "zone a 10000");
    world.until(659.0);
    assert_eq!(world.shares("web", "a"), "zone a 10000");
    world.until(661.0);
    assert_eq!(world.shares("web", "a"), "zone a 5000, zone b 5000");
    assert_eq!(world.engine.next_deadline(), None, "and then nothing more is waited for");
}

#[test]
fn after_a_fault_demand_is_not_believed_to_rise_at_once() {
    let mut world = declared();
    demand(&mut world, "a", 800);
    world.until(10.0).check_all("web", "a", false);
    // Clients that lost their connections all come back at once.
    for second in 11..20 {
        world.until(f64::from(second));
        demand(&mut world, "a", 8000);
    }
    let asked = |world: &World| world.engine.demand().next().unwrap().1["a"].thousandths() / 1000;
    assert!(asked(&world) <= 1200, "{}", asked(&world));
    for second in 20..32 {
        world.until(f64::from(second));
        demand(&mut world, "a", 8000);
    }
    assert!(asked(&world) > 7900, "it lasts, so it is real: {}", asked(&world));
}

#[test]
fn a_ramp_waits_until_the_healthy_endpoints_can_take_the_next_step() {
    let settled = |require: bool| {
        let mut world = declared();
        world.policy.failback.require_headroom.value = require;
        world.discover("web", |_| {});
        demand(&mut world, "a", 800);
        demand(&mut world, "b", 100);
        world.until(10.0).check_all("web", "a", false);
        world.until(20.0);
        for n in 1..=7 {
            world.check("web", "a", n, true);
        }
        world.until(100.0);
        world
    };
    assert_eq!(settled(false).pool("web", "a"), "Serving 7/10 100 %");
    let mut waiting = settled(true);
    assert_eq!(waiting.pool("web", "a"), "Ramping 7/10 50 %", "7 endpoints take 560 of 800 requests/s");
    for n in 8..=10 {
        waiting.check("web", "a", n, true);
    }
    waiting.until(115.0);
    assert_eq!(waiting.pool("web", "a"), "Serving 10/10 100 %");
}

#[test]
fn zero_and_absurd_numbers_plan_all_the_same() {
    for rps in [0, 1, u64::MAX / 1000, u64::MAX] {
        for demand in [0, 1, u64::MAX] {
            let mut board = Board::new(&["east/a 10/10", "east/b 10/10", "west/x 4294967295/4294967295"]);
            board.policy.capacity = Some(Capacity::per_endpoint(Load::Rate { rps }));
            board.demand.values_mut().for_each(|it| *it = demand);
            let board = board.arrive("west", "eu", u64::MAX / 1000);
            let plan = board.plan("east/a");
            let sum: u32 = plan.shares.values().map(|it| it.parts()).sum();
            assert_eq!(sum + plan.shed.parts(), 10_000, "{rps} {demand}: {plan:?}");
        }
    }
}

/// A plan and its reasons, line by line.
pub(crate) fn sentences(board: &Board, place: &str) -> String {
    let plan = board.plan(place);
    let reasons = plan.reasons.iter().map(|reason| format!("  {reason}"));
    std::iter::once(plan.to_string()).chain(reasons).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_serves_last_and_why_is_said() {
    let board = Board::new(&["east/a 10/10 1000", "east/b 5/10@71.4285% Reduced 700", "west/x 10/10 800"]);
    let shedding = board.clone().policy(|policy| policy.when_exhausted.value = WhenExhausted::Shed);
    insta::assert_snapshot!("spread_beyond_budgets", sentences(&board, "east/a"));
    insta::assert_snapshot!("shed_when_budgets_are_spent", sentences(&shedding, "east/a"));
    let within = Board::new(&["east/a 10/10 1000", "east/b 10/10 400", "west/x 10/10 800"]);
    insta::assert_snapshot!("within_budgets", sentences(&within, "east/a"));
}

#[test]
fn demand_survives_a_restart_with_its_age() {
    let mut world = declared();
    demand(&mut world, "a", 1600);
    world.until(10.0);
    let mut after = world.restarted();
    after.now = Time::from_millis(5000);
    after.add("web", &["a", "b"], 10);
    after.now = Time::from_millis(7000);
    let views: Vec<_> = after.engine.demand_of(&service("web"), after.now).collect();
    assert_eq!((views[0].load, views[0].is_missing), (Load::Rate { rps: 1_600_000 }, false));
    assert_eq!(views[0].age.as_secs(), 12, "time that nobody watched is not known");
    assert_eq!(world.shares("web", "a"), "zone a 5000, zone b 5000");
    assert_eq!(after.shares("web", "a"), "zone a 5000, zone b 5000", "before anything is measured again");
}

#[test]
fn demand_that_moves_a_plan_is_written_at_once_and_the_rest_ten_seconds_later() {
    let mut world = declared();
    world.engine.take_unsaved(usize::MAX, true, world.now);
    demand(&mut world, "a", 1600);
    assert_eq!(world.shares("web", "a"), "zone a 5000, zone b 5000");
    assert_eq!(world.engine.take_unsaved(usize::MAX, false, world.now).len(), 1);
    demand(&mut world, "a", 1601);
    assert!(world.engine.take_unsaved(usize::MAX, false, world.now).is_empty());
    world.until(10.0);
    assert_eq!(world.engine.take_unsaved(usize::MAX, false, world.now).len(), 1);
}
