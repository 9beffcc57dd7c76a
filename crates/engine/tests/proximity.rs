//! Who the nearest region is: what manifests declare, or the round trips that were measured, which only a lasting
//! difference in calm weather may change.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, cluster};
use proptest::prelude::*;
use std::time::Duration;
use tidegate_engine::{Event, Proximity, Written};
use tidegate_model::Phase;

/// The service `web` lives in `west` (60 ms declared) and `eu-1` (90 ms) alone, so that the nearest of them serves.
fn world(by: Proximity) -> World {
    let mut world = World::new();
    world.policy.proximity = Written::default_value(by);
    world.add("web", &[], 0);
    world.remote("west", "web", 10, 100.0, Phase::Serving);
    world.remote("eu-1", "web", 10, 100.0, Phase::Serving);
    world
}

fn serves(world: &World) -> String {
    world.shares("web", "a")
}

/// Round trips once a second, from `from` to `until` seconds after the origin.
fn measure(world: &mut World, (from, until): (u32, u32), west: impl Fn(u32) -> u64, eu: impl Fn(u32) -> u64) {
    for second in from..until {
        world.until(f64::from(second));
        for (of, ms) in [("west", west(second)), ("eu-1", eu(second))] {
            world.handle(Event::RoundTrip { cluster: cluster(of), rtt: Duration::from_millis(ms) });
        }
    }
}

const WEST: &str = "cluster west 10000";
const EU: &str = "cluster eu-1 10000";

#[test]
fn by_default_the_declared_distance_decides_whatever_is_measured() {
    let mut world = world(Proximity::default());
    measure(&mut world, (0, 300), |_| 200, |_| 10);
    assert_eq!(serves(&world), WEST);
}

#[test]
fn a_lasting_difference_changes_the_order_after_a_minute() {
    let mut world = world(Proximity::Measured);
    assert_eq!(serves(&world), WEST, "until it is measured, what is declared holds");
    measure(&mut world, (0, 60), |_| 60, |_| 20);
    assert_eq!(serves(&world), WEST);
    measure(&mut world, (60, 62), |_| 60, |_| 20);
    assert_eq!(serves(&world), EU);
}

#[test]
fn what_was_never_declared_is_last_until_it_was_measured_for_a_minute() {
    let mut world = world(Proximity::Measured);
    let clusters = world.engine.fleet().clusters.clone();
    world.handle(Event::Topology { clusters, distances: Default::default() });
    assert_eq!(serves(&world), EU, "neither is known, so the name decides: eu before us-west");
    measure(&mut world, (0, 62), |_| 60, |_| 90);
    assert_eq!(serves(&world), WEST);
}

/// Found by drawing millions of events: two such distances were compared by multiplying them.
#[test]
fn a_declared_distance_beyond_all_measure_is_no_more_than_wrong() {
    let mut world = world(Proximity::Measured);
    let clusters = world.engine.fleet().clusters.clone();
    let distances = clusters.values().map(|region| (region.clone(), Duration::MAX)).collect();
    world.handle(Event::Topology { clusters, distances });
    measure(&mut world, (0, 62), |_| 60, |_| 20);
    assert_eq!(serves(&world), EU);
}

#[test]
fn a_small_difference_never_changes_it() {
    // 60 against 55: less than 20 %. And 4 ms are less than 5, however near.
    let mut world = world(Proximity::Measured);
    measure(&mut world, (0, 600), |_| 70, |_| 80);
    assert_eq!(serves(&world), WEST);
    let mut near = self::world(Proximity::Measured);
    let clusters = near.engine.fleet().clusters.clone();
    let distances =
        [("us-west", 3), ("eu", 4)].map(|(to, ms)| (fixture::region(to), Duration::from_millis(ms)));
    near.handle(Event::Topology { clusters, distances: distances.into() });
    measure(&mut near, (0, 600), |_| 7, |_| 1);
    assert_eq!(serves(&near), WEST);
}

#[test]
fn a_burst_of_slow_round_trips_changes_nothing() {
    let mut world = world(Proximity::Measured);
    measure(&mut world, (0, 600), |second| if second % 90 < 40 { 300 } else { 60 }, |_| 90);
    assert_eq!(serves(&world), WEST);
}

#[test]
fn nothing_is_reordered_while_a_pool_is_not_serving() {
    let mut world = world(Proximity::Measured);
    world.remote("west", "web", 8, 80.0, Phase::Reduced);
    let before = serves(&world);
    assert!(
        before.contains("eu-1"),
        "a reduced place abroad takes nothing while a whole one remains: {before}"
    );
    measure(&mut world, (0, 200), |_| 60, |_| 20);
    world.remote("west", "web", 10, 50.0, Phase::Ramping);
    let order = |world: &World| -> Vec<String> {
        world.plan("web", "a").reasons.iter().map(|it| it.target.to_string()).collect()
    };
    assert_eq!(order(&world), ["cluster west", "cluster eu-1"]);
    world.remote("west", "web", 10, 100.0, Phase::Serving);
    assert_eq!(order(&world), ["cluster eu-1", "cluster west"], "once all is well it counts");
}

#[test]
fn a_cluster_out_of_reach_stops_the_clock() {
    let mut world = world(Proximity::Measured);
    measure(&mut world, (0, 50), |_| 60, |_| 20);
    world.unreachable("eu-1");
    world.reachable("eu-1", true);
    measure(&mut world, (50, 70), |_| 60, |_| 20);
    assert_eq!(serves(&world), WEST, "the minute begins anew");
    measure(&mut world, (70, 112), |_| 60, |_| 20);
    assert_eq!(serves(&world), EU);
}

#[test]
fn silence_is_no_steady_difference() {
    let mut world = world(Proximity::Measured);
    measure(&mut world, (0, 5), |_| 60, |_| 20);
    measure(&mut world, (100, 150), |_| 60, |_| 20);
    assert_eq!(serves(&world), WEST);
    measure(&mut world, (150, 162), |_| 60, |_| 20);
    assert_eq!(serves(&world), EU);
}

#[test]
fn a_restart_does_not_forget_the_order() {
    let mut world = world(Proximity::Measured);
    measure(&mut world, (0, 62), |_| 60, |_| 20);
    assert_eq!(serves(&world), EU);
    let mut world = world.restarted();
    world.add("web", &[], 0);
    world.remote("west", "web", 10, 100.0, Phase::Serving);
    world.remote("eu-1", "web", 10, 100.0, Phase::Serving);
    assert_eq!(serves(&world), EU);
}

proptest! {
    /// Jitter that stays within the tolerance of what is in force changes no plan, ever.
    #[test]
    fn jitter_never_changes_the_order(west in 52u64..68, eu in 76u64..106, jitter in proptest::collection::vec(0u64..4, 1..30)) {
        let mut world = world(Proximity::Measured);
        let noise = |second: u32| jitter[second as usize % jitter.len()];
        measure(&mut world, (0, 300), |second| west + noise(second), |second| eu - noise(second));
        prop_assert_eq!(serves(&world), WEST);
    }
}
