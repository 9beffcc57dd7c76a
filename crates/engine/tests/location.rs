//! Verdicts on places: when services lose a zone or a cluster together, and when that says nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, address, cluster, region, runs, service, zone};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_engine::{
    Decision, Due, EndpointFacts, Event, Location, LocationDecision, LocationVerdict, NodeId, Rule, Written,
};
use tidegate_model::{Locality, Phase, PoolStatus, Time};

/// So many services, `s0` and on, with two endpoints in each zone, and whole in the cluster west.
fn fleet(services: usize, in_zones: &[&str]) -> World {
    let mut world = World::new();
    for name in names(services) {
        world.add_up(&name, in_zones, 2);
    }
    west(&mut world, &vec![2; services]);
    world.until(100.0).forget_history();
    world
}

fn names(services: usize) -> Vec<String> {
    (0..services).map(|n| format!("s{n}")).collect()
}

/// The cluster west tells of its pools: so many healthy of two, per service.
fn west(world: &mut World, healthy: &[u32]) {
    tells(world, "west", "us-west", healthy);
}

fn tells(world: &mut World, of: &str, in_region: &str, healthy: &[u32]) {
    let pools = names(healthy.len()).into_iter().zip(healthy).map(|(name, healthy)| PoolStatus {
        service: service(&name),
        locality: Locality { region: region(in_region), zone: zone("x") },
        expected: 2,
        present: 2,
        healthy: *healthy,
        admit: fixture::percent(if *healthy == 0 { 0.0 } else { 100.0 }),
        phase: if *healthy == 0 { Phase::Out } else { Phase::Serving },
        hold_remaining: Duration::ZERO,
    });
    let pools = pools.collect();
    world.handle(Event::RemotePools { cluster: cluster(of), pools });
}

fn lose(world: &mut World, in_zone: &str, which: impl IntoIterator<Item = usize>) {
    which.into_iter().for_each(|n| {
        world.check_all(&format!("s{n}"), in_zone, false);
    });
}

fn back(world: &mut World, in_zone: &str, which: impl IntoIterator<Item = usize>) {
    which.into_iter().for_each(|n| {
        world.check_all(&format!("s{n}"), in_zone, true);
    });
}

fn zone_a() -> Location {
    Location::Zone(Locality { region: region("us-east"), zone: zone("a") })
}

fn verdicts(world: &World) -> Vec<(Location, LocationVerdict)> {
    let verdict = |decision: &Decision| match decision {
        Decision::Location(LocationDecision { location, verdict, .. }) => Some((location.clone(), *verdict)),
        _ => None,
    };
    world.decisions.iter().filter_map(verdict).collect()
}

fn sentence(world: &World) -> String {
    let said = world.decisions.iter().find_map(|it| match it {
        Decision::Location(it) => Some(it.to_string()),
        _ => None,
    });
    said.unwrap()
}

#[test]
fn a_zone_that_its_services_lose_together_is_left_by_the_rest() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..6);
    assert_eq!(world.engine.next_deadline().unwrap().due, Due::Location(zone_a()));
    world.until(100.9);
    assert_eq!(world.shares("s9", "a"), "zone a 10000", "the evidence must stand for a second");
    world.until(101.0);
    assert_eq!(verdicts(&world), [(zone_a(), LocationVerdict::Out)]);
    assert_eq!(world.engine.locations_out().collect::<Vec<_>>(), [&zone_a()]);
    assert_eq!(world.pool("s9", "a"), "Out 2/2 0 %");
    assert_eq!(world.shares("s9", "a"), "zone b 10000");
    assert_eq!(
        sentence(&world),
        "zone us-east/a is declared out: 6 of 10 services lost it within 0.0 s on 2 nodes, its siblings lost 0 of \
         10; the rest leave it"
    );
    let reason = world.plan("s9", "a").reasons.iter().find(|it| it.target.to_string() == "zone a").unwrap();
    assert_eq!(reason.rule, Rule::LocationOut);
    assert!(reason.to_string().contains("zone us-east/a is declared out: 6 of 10"), "{reason}");
    let told = world.decisions.iter().any(|it| {
        matches!(it, Decision::Pool { pool, note: Some(note), .. }
            if pool.service == service("s9") && note.contains("declared out"))
    });
    assert!(told, "the pool's record names the verdict");
}

#[test]
fn a_fleet_with_two_services_makes_no_location_verdict() {
    for services in [2, 4] {
        let mut world = fleet(services, &["a", "b"]);
        lose(&mut world, "a", 0..services - 1);
        world.until(130.0);
        assert!(verdicts(&world).is_empty());
        assert_eq!(world.shares(&format!("s{}", services - 1), "a"), "zone a 10000");
    }
}

#[test]
fn five_services_of_which_three_are_lost_are_just_enough() {
    let mut world = fleet(5, &["a", "b"]);
    lose(&mut world, "a", 0..3);
    world.until(101.0);
    assert_eq!(verdicts(&world).len(), 1);
}

#[test]
fn fifty_nine_percent_are_too_few_and_sixty_are_enough() {
    let mut world = fleet(100, &["a", "b"]);
    lose(&mut world, "a", 0..59);
    world.until(105.0);
    assert!(verdicts(&world).is_empty());
    lose(&mut world, "a", 59..60);
    world.until(106.0);
    assert_eq!(verdicts(&world), [(zone_a(), LocationVerdict::Out)]);
}

#[test]
fn losses_count_together_within_ten_seconds_and_no_longer() {
    let losing = |seconds: f64| {
        let mut world = fleet(10, &["a", "b"]);
        lose(&mut world, "a", 0..5);
        world.until(100.0 + seconds);
        lose(&mut world, "a", 5..6);
        world.until(130.0);
        verdicts(&world).len()
    };
    assert_eq!(losing(10.0), 1);
    assert_eq!(losing(10.001), 0);
}

#[test]
fn services_that_were_dead_before_are_no_evidence() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..5);
    world.until(200.0);
    lose(&mut world, "a", 5..7);
    world.until(210.0);
    assert!(verdicts(&world).is_empty(), "two of the five that still lived there");
}

#[test]
fn one_node_is_not_a_place() {
    let on_nodes = |nodes: [&str; 2]| {
        let mut world = World::new();
        for name in names(10) {
            world.discover(&name, |endpoints| {
                for n in 1..=2_u8 {
                    let node = Some(NodeId::named(nodes[usize::from(n) - 1]));
                    let facts = EndpointFacts { checked: true, node, ..EndpointFacts::default() };
                    endpoints.insert(address("a", n), (zone("a"), facts));
                    endpoints.insert(address("b", n), (zone("b"), EndpointFacts { node: None, ..facts }));
                }
            });
            world.check_all(&name, "a", true).check_all(&name, "b", true);
        }
        lose(&mut world, "a", 0..6);
        world.until(5.0);
        verdicts(&world).len()
    };
    assert_eq!(on_nodes(["n1", "n1"]), 0);
    assert_eq!(on_nodes(["n1", "n2"]), 1);
}

#[test]
fn nodes_of_endpoints_that_vanished_count_too() {
    let mut world = fleet(10, &["a", "b"]);
    for name in names(6) {
        world.vanish(&name, "a", 1..=2);
    }
    world.until(101.0);
    assert_eq!(verdicts(&world), [(zone_a(), LocationVerdict::Out)]);
}

#[test]
fn siblings_may_lose_ten_percent_and_not_eleven() {
    let with = |lost: usize| {
        let mut world = fleet(100, &["a", "b"]);
        lose(&mut world, "b", 0..lost);
        lose(&mut world, "a", 20..90);
        world.until(101.5);
        verdicts(&world).len()
    };
    assert_eq!(with(10), 1);
    assert_eq!(with(11), 0);
}

#[test]
fn an_identity_provider_failing_everywhere_does_not_drain_the_first_region_that_notices() {
    let mut world = fleet(10, &["a"]);
    lose(&mut world, "a", 0..7);
    world.until(100.7);
    west(&mut world, &[0, 0, 0, 0, 0, 0, 0, 2, 2, 2]);
    world.until(130.0);
    assert!(verdicts(&world).is_empty());
    assert!(world.history("s9", "a").is_empty(), "who still works there stays");
}

#[test]
fn a_verdict_is_taken_back_as_if_it_had_not_been_when_the_siblings_follow() {
    let mut world = fleet(10, &["a"]);
    lose(&mut world, "a", 0..7);
    world.until(102.0);
    assert_eq!(world.shares("s9", "a"), "cluster west 10000");
    world.until(104.0);
    west(&mut world, &[0, 0, 0, 0, 0, 0, 0, 2, 2, 2]);
    let east = Location::Cluster(cluster("east"));
    let expected = [(east.clone(), LocationVerdict::Out), (east, LocationVerdict::Withdrawn)];
    assert_eq!(verdicts(&world), expected);
    assert_eq!(world.shares("s9", "a"), "zone a 10000", "at once");
    assert_eq!(world.pool("s0", "a"), "Out 0/2 0 %", "what is really lost stays out");
}

#[test]
fn what_happens_to_one_zone_is_not_told_of_the_cluster() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..10);
    world.until(105.0);
    assert_eq!(verdicts(&world), [(zone_a(), LocationVerdict::Out)]);
    for n in 0..5 {
        // Services that live in zone b alone still serve there.
        world.add_up(&format!("b{n}"), &["b"], 2);
    }
    assert_eq!(world.shares("b0", "a"), "zone b 10000");
}

#[test]
fn a_whole_cluster_that_is_lost_is_left_for_another() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..8);
    lose(&mut world, "b", 0..8);
    world.until(101.0);
    assert_eq!(verdicts(&world), [(Location::Cluster(cluster("east")), LocationVerdict::Out)]);
    assert_eq!(world.shares("s9", "a"), "cluster west 10000");
}

/// Two clusters in the east, which both lose eight of ten services at 100 s; west is whole.
fn region_lost() -> World {
    let mut world = World::new();
    let clusters =
        BTreeMap::from([(cluster("east-2"), region("us-east")), (cluster("west"), region("us-west"))]);
    world.handle(Event::Topology { clusters, distances: BTreeMap::new() });
    for name in names(10) {
        world.add_up(&name, &["a", "b"], 2);
    }
    tells(&mut world, "east-2", "us-east", &[2; 10]);
    west(&mut world, &[2; 10]);
    world.until(100.0).forget_history();
    lose(&mut world, "a", 0..8);
    lose(&mut world, "b", 0..8);
    world.until(100.5);
    assert_eq!(world.shares("s0", "a"), "cluster east-2 10000", "so far it may be the cluster alone");
    tells(&mut world, "east-2", "us-east", &[0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
    world
}

/// The other cluster of the east leaves the fleet: the region is this cluster now, and no place of its own.
fn east_2_leaves(world: &mut World) {
    let clusters = BTreeMap::from([(cluster("west"), region("us-west"))]);
    world.handle(Event::Topology { clusters, distances: BTreeMap::new() });
    tells(world, "east-2", "us-east", &[]);
}

#[test]
fn a_whole_region_that_is_lost_is_left_for_another() {
    let mut world = region_lost();
    world.until(101.5);
    let east = Location::Region(region("us-east"));
    assert_eq!(verdicts(&world), [(east, LocationVerdict::Out)], "not of its clusters, nor of their zones");
    assert_eq!(world.pool("s9", "a"), "Out 2/2 0 %");
    assert_eq!(world.shares("s9", "a"), "cluster east-2 10000", "a cluster's own agents drain its pools");
    tells(&mut world, "east-2", "us-east", &[0; 10]);
    assert_eq!(world.shares("s9", "a"), "cluster west 10000", "and they see the same");
}

#[test]
fn a_region_that_its_last_other_cluster_leaves_is_suspected_no_more() {
    let mut world = region_lost();
    let east = Location::Region(region("us-east"));
    assert_eq!(world.engine.next_deadline().unwrap().due, Due::Location(east.clone()));
    east_2_leaves(&mut world);
    world.settle();
    assert!(!verdicts(&world).iter().any(|(place, _)| *place == east));
}

#[test]
fn a_region_that_was_declared_out_recovers_also_when_its_last_other_cluster_left() {
    let mut world = region_lost();
    world.until(101.5);
    east_2_leaves(&mut world);
    for zone in ["a", "b"] {
        back(&mut world, zone, 0..8);
    }
    assert_eq!(world.engine.locations_out().count(), 0);
    world.settle();
    assert_eq!(world.pool("s9", "a"), "Serving 2/2 100 %");
}

#[test]
fn a_place_that_recovers_while_a_success_spares_a_service_leaves_nothing_to_wait_for() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..6);
    world.until(100.9);
    let (service, zone, at) = (service("s9"), zone("a"), world.now);
    world.handle(Event::Succeeded { pools: [(service, zone)].into(), at });
    world.until(101.1);
    back(&mut world, "a", 0..6);
    assert_eq!(verdicts(&world).len(), 2, "out and recovered");
    world.settle();
}

#[test]
fn all_telemetry_lost_at_once_drains_nothing() {
    let mut world = fleet(10, &["a", "b"]);
    west(&mut world, &[0; 10]);
    lose(&mut world, "a", 0..9);
    lose(&mut world, "b", 0..9);
    world.until(130.0);
    assert!(verdicts(&world).is_empty());
    assert_eq!(world.shares("s9", "a"), "zone a 10000");
}

#[test]
fn a_place_without_siblings_is_never_declared() {
    let mut world = World::new();
    for name in names(10) {
        world.add_up(&name, &["a"], 2);
    }
    lose(&mut world, "a", 0..9);
    world.until(130.0);
    assert!(verdicts(&world).is_empty());
}

#[test]
fn a_service_whose_requests_succeeded_there_within_the_last_second_stays() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..6);
    let succeeded = |name: &str, ms: u64| Event::Succeeded {
        pools: BTreeSet::from([(service(name), zone("a"))]),
        at: Time::from_millis(ms),
    };
    let doubted = |world: &World| world.engine.doubted().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(doubted(&world), ["zone/us-east/a"], "from the first moment on");
    world.until(100.5);
    world.handle(succeeded("s9", 100_500));
    world.until(101.2);
    assert_eq!(world.shares("s8", "a"), "zone b 10000");
    assert_eq!(world.shares("s9", "a"), "zone a 10000");
    world.handle(succeeded("s9", 101_200));
    world.until(102.1);
    assert_eq!(world.shares("s9", "a"), "zone a 10000", "it goes on succeeding");
    world.until(102.2);
    assert_eq!(world.shares("s9", "a"), "zone b 10000", "it did not for a second");
    world.handle(succeeded("s9", 102_200));
    world.handle(succeeded("nobody", 102_200));
    world.until(103.0);
    assert_eq!(world.shares("s9", "a"), "zone b 10000", "a late answer does not turn it around");
}

#[test]
fn the_last_healthy_place_of_a_service_is_not_drained() {
    let mut world = fleet(10, &["a", "b"]);
    world.policy.residency = Some(Written::default_value([region("us-east")].into()));
    world.discover("s9", |_| {}).discover("s8", |_| {});
    world.check_all("s9", "b", false).until(200.0);
    lose(&mut world, "a", 0..6);
    world.until(201.0);
    assert_eq!(verdicts(&world).len(), 1);
    assert_eq!(world.shares("s8", "a"), "zone b 10000");
    assert_eq!(world.pool("s9", "a"), "Serving 2/2 100 %", "west is forbidden to it, b is dead");
    world.check_all("s9", "b", true);
    assert_eq!(world.shares("s9", "a"), "zone b 10000", "now there is another one");
}

#[test]
fn what_only_the_verdict_drained_comes_back_once_by_hold_down_and_ramp() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..6);
    world.until(120.0);
    back(&mut world, "a", 0..1);
    assert_eq!(
        verdicts(&world).last(),
        Some(&(zone_a(), LocationVerdict::Recovered)),
        "5 of 10 are lost still"
    );
    assert_eq!(world.pool("s9", "a"), "Holding 2/2 0 %");
    world.until(125.0);
    back(&mut world, "a", 1..6);
    world.settle();
    assert_eq!(verdicts(&world).len(), 2);
    assert_eq!(runs(&world.history("s9", "a")), [1, 3], "once away, once back in three steps");
    assert_eq!(runs(&world.history("s0", "a")), [1, 3]);
    assert!(world.engine.locations_out().next().is_none());
}

#[test]
fn services_that_are_removed_are_no_evidence_any_more() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..6);
    world.until(110.0);
    for name in names(3) {
        world.handle(Event::ServiceRemoved(service(&name)));
    }
    assert_eq!(verdicts(&world).last(), Some(&(zone_a(), LocationVerdict::Recovered)));
}

#[test]
fn a_lost_peer_link_is_told_in_the_same_form() {
    let mut world = fleet(2, &["a"]);
    world.unreachable("west").until(101.0).reachable("west", true);
    let west = Location::Cluster(cluster("west"));
    let expected = [(west.clone(), LocationVerdict::Unreachable), (west, LocationVerdict::Recovered)];
    assert_eq!(verdicts(&world), expected);
    assert_eq!(
        sentence(&world),
        "cluster west is out of reach from here: every service leaves it; it may well be up"
    );
}

#[test]
fn a_verdict_outlives_a_restart_and_ends_when_its_place_recovers() {
    let mut world = fleet(10, &["a", "b"]);
    lose(&mut world, "a", 0..6);
    world.until(102.0);
    let before = (world.pool("s9", "a"), world.shares("s9", "a"));
    assert_eq!(before.1, "zone b 10000");
    let mut after = world.restarted();
    assert_eq!(after.engine.locations_out().count(), 1);
    assert_eq!(after.restarted().engine.locations_out().count(), 1, "again before anything is back");
    for name in names(10) {
        after.add(&name, &["a", "b"], 2);
    }
    after.until(20.0);
    assert_eq!((after.pool("s9", "a"), after.shares("s9", "a")), before);
    let note: String = after.plan("s9", "a").reasons.iter().map(ToString::to_string).collect();
    assert!(note.contains("zone us-east/a is declared out"), "{note}");
    assert!(verdicts(&after).is_empty(), "nothing is declared anew");
    for name in names(6) {
        after.check_all(&name, "a", true);
    }
    assert_eq!(after.engine.locations_out().count(), 0);
    assert_eq!(after.pool("s9", "a"), "Holding 2/2 0 %");
    after.until(120.0);
    assert_eq!(after.shares("s9", "a"), "zone a 10000");
}
