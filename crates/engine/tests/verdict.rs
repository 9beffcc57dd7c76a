//! Verdicts that a drill tells: decided about at once, whatever requests find, and never against a service's last place.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, cluster, region, service, zone};
use std::time::Duration;
use tidegate_engine::{Decision, Event, Location, ShiftTarget};
use tidegate_model::{Locality, Phase, PoolStatus, Time};

/// The services `s0` and `s1`, with two endpoints in each of the zones a and b.
fn fleet() -> World {
    let mut world = World::new();
    for name in ["s0", "s1"] {
        world.add_up(name, &["a", "b"], 2);
    }
    world.until(100.0).forget_history();
    world
}

/// A drill says that a place is dead, for one service or for all.
fn told(location: Location, of: Option<&str>) -> Event {
    let target = ShiftTarget { location, service: of.map(service) };
    Event::Verdict { name: "d1".to_owned(), target, why: "drill d1 says that it is dead".into() }
}

fn stands(world: &World, name: &str) -> (String, String) {
    (world.pool(name, "a"), world.shares(name, "a"))
}

fn pair(pool: &str, shares: &str) -> (String, String) {
    (pool.to_owned(), shares.to_owned())
}

#[test]
fn it_counts_at_once_whatever_succeeds_there_and_what_it_drained_comes_back_by_hold_down_and_ramp() {
    let mut world = fleet();
    let pools = [(service("s0"), zone("a"))].into();
    world.handle(Event::Succeeded { pools, at: Time::from_millis(100_000) });
    let zone_a = Location::Zone(Locality { region: region("us-east"), zone: zone("a") });
    world.handle(told(zone_a, Some("s0")));
    assert_eq!(stands(&world, "s0"), pair("Out 2/2 0 %", "zone b 10000"));
    assert_eq!(stands(&world, "s1"), pair("Serving 2/2 100 %", "zone a 10000"), "nothing was said of it");
    let named =
        |it: &Decision| matches!(it, Decision::Pool { note: Some(note), .. } if note.contains("drill d1"));
    assert!(world.decisions.iter().any(named), "the pool's record names the drill");
    world.handle(Event::VerdictEnded("d1".to_owned()));
    assert_eq!(stands(&world, "s0"), pair("Holding 2/2 0 %", "zone b 10000"));
    world.until(200.0);
    assert_eq!(stands(&world, "s0"), pair("Serving 2/2 100 %", "zone a 10000"));
}

#[test]
fn it_spares_the_last_healthy_place_of_a_service() {
    let mut world = fleet();
    let elsewhere = PoolStatus {
        service: service("s0"),
        locality: Locality { region: region("us-west"), zone: zone("x") },
        expected: 2,
        present: 2,
        healthy: 2,
        admit: fixture::percent(100.0),
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    };
    world.handle(Event::RemotePools { cluster: cluster("west"), pools: vec![elsewhere] });
    world.handle(told(Location::Cluster(cluster("east")), None));
    assert_eq!(stands(&world, "s0"), pair("Out 2/2 0 %", "cluster west 10000"));
    assert_eq!(stands(&world, "s1"), pair("Serving 2/2 100 %", "zone a 10000"), "it has no other place");
}
