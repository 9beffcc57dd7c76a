//! What should be there: losses, removals, rollouts, and what a workload's known replicas add to it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, address, zone};
use tidegate_engine::EndpointFacts;
use tidegate_model::Phase;

/// Ten endpoints in each of the zones a and b, and ten in the cluster west.
fn shop() -> World {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving);
    world.until(10.0).forget_history();
    world
}

/// The same, and the workload is known to want so many.
fn wanting(replicas: u32) -> World {
    let mut world = shop();
    want(&mut world, replicas);
    world
}

fn want(world: &mut World, replicas: u32) {
    world.replicas.insert("web".to_owned(), replicas);
    world.discover("web", |_| {});
}

/// The node of endpoints of zone a is not Ready any more.
fn node_lost(world: &mut World, which: impl IntoIterator<Item = u8>) {
    world.discover("web", |endpoints| {
        for n in which {
            let facts = &mut endpoints.get_mut(&address("a", n)).unwrap().1;
            *facts = EndpointFacts { node_ready: false, ..*facts };
        }
    });
}

#[test]
fn a_dead_node_whose_pods_go_terminating_by_eviction_is_still_lost() {
    let mut world = shop();
    node_lost(&mut world, 1..=5);
    world.terminate("web", "a", 1..=5);
    assert_eq!(world.pool("web", "a"), "Serving 5/10 100 %", "the delay of a partial loss");
    world.vanish("web", "a", 1..=5).until(13.0);
    assert_eq!(world.pool("web", "a"), "Reduced 5/10 71.43 %");
}

#[test]
fn a_node_that_is_lost_with_all_its_pods_is_a_failure() {
    let mut world = shop();
    world.vanish("web", "a", 1..=10);
    assert_eq!(world.pool("web", "a"), "Out 0/10 0 %");
    assert_eq!(world.shares("web", "a"), "zone b 10000");
}

#[test]
fn what_vanishes_after_a_day_of_quiet_is_lost_too() {
    let mut world = shop();
    world.until(86_400.0);
    world.vanish("web", "a", 1..=9).until(86_402.0);
    assert_eq!(world.pool("web", "a"), "Out 1/10 0 %");
}

#[test]
fn nine_of_ten_reclaimed_at_once_are_lost() {
    let mut gone = shop();
    gone.vanish("web", "a", 1..=9).until(12.0);
    assert_eq!(gone.pool("web", "a"), "Out 1/10 0 %", "they vanished");
    let mut evicted = shop();
    node_lost(&mut evicted, 1..=9);
    evicted.terminate("web", "a", 1..=9).until(12.0);
    assert_eq!(evicted.pool("web", "a"), "Out 1/10 0 %", "their nodes went first");
    let mut known = wanting(20);
    known.terminate("web", "a", 1..=9).until(12.0);
    assert_eq!(known.pool("web", "a"), "Out 1/10 0 %", "they went politely, but nobody wants fewer");
    assert_eq!(known.pool("web", "b"), "Serving 10/10 100 %");
}

#[test]
fn a_rolling_update_at_max_surge_and_max_unavailable_is_no_failure() {
    for known in [false, true] {
        let mut world = if known { wanting(20) } else { shop() };
        for batch in 0..5_u8 {
            let (old, new) = (batch * 2 + 1..=batch * 2 + 2, 101 + batch * 2..=102 + batch * 2);
            let new: Vec<u8> = new.collect();
            // Two of the old go before two new are healthy (maxUnavailable), and two more new come (maxSurge).
            world.terminate("web", "a", old.clone());
            world.discover("web", |endpoints| {
                let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
                endpoints.extend(new.iter().map(|n| (address("a", *n), (zone("a"), facts))));
            });
            let now = world.now.since_origin().as_secs_f64();
            world.until(now + 5.0);
            for n in new {
                world.check("web", "a", n, true);
            }
            world.vanish("web", "a", old).until(now + 10.0);
            assert!(world.pool("web", "a").starts_with("Serving"), "{}", world.pool("web", "a"));
        }
        assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
        assert!(world.history("web", "a").is_empty(), "known: {known}");
    }
}

#[test]
fn pods_that_crash_in_a_loop_are_missing_and_hold_their_pool_down_longer_each_time() {
    let mut world = shop();
    let mut holds = Vec::new();
    for _ in 0..3 {
        let now = world.now.since_origin().as_secs_f64();
        world.check_all("web", "a", false).until(now + 1.0).check_all("web", "a", true);
        holds.push(world.hold_remaining("web", "a").as_secs());
        // They live until the ramp has begun.
        let hold = world.hold_remaining("web", "a").as_secs_f64();
        world.until(now + 2.0 + hold);
    }
    assert_eq!(holds, [30, 60, 120]);
    let mut new = shop();
    new.add("web", &["a"], 12).until(20.0);
    for _ in 0..5 {
        new.check("web", "a", 11, false);
    }
    assert_eq!(new.pool("web", "a"), "Serving 10/10 100 %", "what never was healthy is not missed");
}

#[test]
fn a_scale_in_that_is_known_is_no_failure_however_it_goes() {
    let mut world = wanting(20);
    want(&mut world, 8);
    assert_eq!(world.pool("web", "a"), "Serving 10/4 100 %");
    world.vanish("web", "a", 1..=6).vanish("web", "b", 1..=6).until(1000.0);
    assert_eq!(world.pool("web", "a"), "Serving 4/4 100 %");
    assert!(world.history("web", "a").is_empty());
}

#[test]
fn a_scale_out_that_is_known_is_no_failure_while_its_pods_start() {
    let mut world = wanting(20);
    want(&mut world, 60);
    world.add("web", &["a", "b"], 30).until(60.0);
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
    world.check_all("web", "a", true).check_all("web", "b", true);
    assert_eq!(world.pool("web", "a"), "Serving 30/30 100 %");
}

#[test]
fn known_replicas_do_not_fade_with_the_mark() {
    let mut world = wanting(20);
    world.vanish("web", "a", 1..=2).until(3000.0);
    assert_eq!(world.pool("web", "a"), "Serving 8/10 100 %");
    let mut after = world.restarted();
    after.discover("web", |endpoints| {
        let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
        endpoints.extend((3..=10).map(|n| (address("a", n), (zone("a"), facts))));
        endpoints.extend((1..=10).map(|n| (address("b", n), (zone("b"), facts))));
    });
    assert_eq!(after.pool("web", "a"), "Serving 8/10 100 %");
}

#[test]
fn a_drained_zone_that_is_scaled_from_twenty_to_two_does_not_come_back_whole() {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 20).until(10.0).check_all("web", "a", false).until(20.0);
    world.terminate("web", "a", 3..=20).vanish("web", "a", 3..=20).until(1000.0);
    world.check("web", "a", 1, true).check("web", "a", 2, true).until(2000.0);
    assert_eq!(world.pool("web", "a"), "Out 2/20 0 %");
}

#[test]
fn a_zone_that_is_given_up_after_a_fault_is_forgotten_after_the_retention_time() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).vanish("web", "a", 1..=10).until(619.0);
    assert_eq!(world.pool("web", "a"), "Out 0/10 0 %");
    world.until(621.0);
    assert_eq!(world.pool("web", "a"), "Empty 0/0 0 %");
    assert_eq!(world.engine.next_deadline(), None);
    world.until(3000.0).add_up("web", &["a"], 3);
    assert_eq!(world.pool("web", "a"), "Holding 3/3 0 %", "a zone that is rebuilt comes back by the ramp");
    world.settle();
    assert_eq!(world.pool("web", "a"), "Serving 3/3 100 %");
}
