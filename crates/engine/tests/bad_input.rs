//! Bad input, item by item: what the engine makes of it. Most of it is refused before it gets here:
//!
//! | item | refused by `api` or `model` | the engine, if it comes all the same |
//! |---|---|---|
//! | zero or negative weights | api `route-backends` | [`places_of_no_weight_get_nothing`] |
//! | capacity 0 | api `capacity` | [`a_capacity_of_nothing_is_the_least_there_is`] |
//! | a service without pools | | [`a_service_without_pools_sheds_everything`] |
//! | percentages outside 0..100 | api `percentages`, model `quantities_refuse_what_is_out_of_range` | [`a_shift_of_no_percentage_is_refused`] |
//! | cyclic or empty orders | api `tiers` | [`an_order_that_names_nobody_sheds_everything`], [`orders_that_point_at_each_other_are_one_step_each`] |
//! | unknown regions | api `places-unknown` | [`unknown_regions_are_nowhere`] |
//! | time going backwards | | [`time_that_goes_backwards_moves_nothing_and_undoes_nothing`] |
//! | events for what nobody knows | | [`events_for_what_nobody_knows_change_no_plan`] |
//! | statuses and snapshots that lie | | the rest |
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{Board, World, address, cluster, percent, region, regions, service, source, zone};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::{
    Capacity, Decision, Event, FleetView, Load, Location, OrderRule, Places, Rule, Shift, ShiftChange,
    ShiftTarget, ShiftedBy, Snapshot, Target, Tier, Verdicts, Written,
};
use tidegate_model::{Locality, Phase, PoolStatus, Share, Time};

/// A service with two endpoints in each of the zones a and b, and ten in the cluster west.
fn shop() -> World {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 2).remote("west", "web", 10, 100.0, Phase::Serving);
    world.until(10.0).forget_history();
    world
}

/// Tells the policy again.
fn retell(world: &mut World) {
    world.discover("web", |_| {});
}

/// Everything of one place, without force.
fn drain(location: Location) -> Shift {
    Shift {
        name: "drain".to_owned(),
        target: ShiftTarget { location, service: None },
        percent: 100,
        remaining: Duration::from_secs(600),
        by: ShiftedBy::Operator,
        comment: "bad input".to_owned(),
        force: false,
    }
}

fn zone_of(name: &str) -> Location {
    Location::Zone(Locality { region: region("us-east"), zone: zone(name) })
}

fn told_by(of: &str, in_region: &str, healthy: u32) -> Event {
    let pool = PoolStatus {
        service: service("web"),
        locality: Locality { region: region(in_region), zone: zone("x") },
        expected: 10,
        present: 10,
        healthy,
        admit: percent(100.0),
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    };
    Event::RemotePools { cluster: cluster(of), pools: vec![pool] }
}

#[test]
fn places_of_no_weight_get_nothing() {
    let board = Board::new(&["zone a 10/10@0%", "zone b 0/0", "cluster west us-west 10/10"]);
    assert_eq!(board.shares(), "cluster west 10000");
    let none = Board::new(&["zone a 0/0", "zone b 0/0", "cluster west us-west 0/0"]);
    assert_eq!((none.shares().as_str(), none.plan().shed), ("", Share::ALL));
    let healthy_of_none = Board::new(&["zone a 7/0", "zone b 1/1"]);
    assert_eq!(healthy_of_none.shares(), "zone b 10000", "nothing is expected of it, so it is empty");
}

#[test]
fn a_capacity_of_nothing_is_the_least_there_is() {
    let mut world = shop();
    world.policy.capacity = Some(Capacity::per_endpoint(Load::Rate { rps: 0 }));
    retell(&mut world);
    let rate = Load::Rate { rps: 100_000 };
    world.handle(Event::Demand { source: source("a"), rates: [(service("web"), rate)].into() });
    let plan = world.plan("web", "a");
    let shares: u32 = plan.shares.values().map(|share| share.parts()).sum();
    assert_eq!((shares, plan.shed), (10_000, Share::NONE), "nobody takes it, and Spread says to serve it");
}

#[test]
fn a_service_without_pools_sheds_everything() {
    let mut world = World::new();
    world.discover("web", |_| {});
    let plan = world.plan("web", "a");
    assert_eq!((plan.shares.len(), plan.shed, plan.reasons.len()), (0, Share::ALL, 0));
    assert!(plan.standby.is_empty() && !plan.last_resort);
    assert_eq!(world.engine.next_deadline(), None);
}

#[test]
fn a_shift_of_no_percentage_is_refused() {
    let mut world = shop();
    for wrong in [0, 101, u32::MAX] {
        let effects = world.handle(Event::Shift(Shift { percent: wrong, ..drain(zone_of("a")) }));
        let [Decision::Shift(decision)] = effects.decisions.as_slice() else { panic!("{effects:?}") };
        assert_eq!(decision.change, ShiftChange::Invalid);
        assert!(decision.to_string().contains("it must move 1 to 100 %"), "{decision}");
    }
    assert_eq!(world.shares("web", "a"), "zone a 10000");
}

#[test]
fn an_order_that_names_nobody_sheds_everything() {
    for order in [vec![], vec![Tier::Only(regions(&["atlantis"]))], vec![Tier::AnyExcept(Places::default())]]
    {
        let board = Board::new(&["zone a 10/10", "cluster west us-west 10/10"]).order(&order);
        assert_eq!((board.shares().as_str(), board.plan().shed), ("", Share::ALL), "{order:?}");
        assert_eq!(board.rule("zone a"), Rule::NotInOrder);
    }
    // Who is named again is in the tier that names it first.
    let again = [Tier::Any, Tier::SameZone, Tier::Any, Tier::SameRegion, Tier::SameZone];
    let board = Board::new(&["zone a 10/10", "zone b 10/10", "cluster west us-west 10/10"]).order(&again);
    assert_eq!((board.shares().as_str(), board.plan().standby.len()), ("zone a 5000, zone b 5000", 1));
}

#[test]
fn orders_that_point_at_each_other_are_one_step_each() {
    // The east sends to the west alone, and the west to the east: each plan names the other, and nobody forwards.
    let only = |from: &str, to: &str| {
        Written::default_value(OrderRule { from: regions(&[from]), to: vec![Tier::Only(regions(&[to]))] })
    };
    let mut world = World::new();
    world.policy.failover = vec![only("us-east", "us-west"), only("us-west", "us-east")];
    world.add_up("web", &["a"], 2).remote("west", "web", 10, 100.0, Phase::Serving);
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
    world.remote("west", "web", 0, 0.0, Phase::Out);
    assert!(world.plan("web", "a").last_resort, "{:?}", world.plan("web", "a"));
    assert_eq!(world.shares("web", "a"), "cluster west 10000", "the own zone is not in its order");
}

#[test]
fn unknown_regions_are_nowhere() {
    let mut world = shop();
    world.policy.residency = Some(Written::default_value([region("atlantis")].into()));
    retell(&mut world);
    let plan = world.plan("web", "a");
    assert_eq!((plan.shares.len(), plan.shed), (0, Share::ALL));
    assert!(plan.reasons.iter().all(|reason| reason.rule == Rule::Residency), "{plan:?}");
    // Distances of regions where nobody is, and none of those where somebody is.
    let clusters = BTreeMap::from([(cluster("west"), region("us-west")), (cluster("eu-1"), region("eu"))]);
    let distances = BTreeMap::from([(region("atlantis"), Duration::ZERO)]);
    world.policy.residency = None;
    retell(&mut world);
    world.handle(Event::Topology { clusters, distances });
    world.check_all("web", "a", false).check_all("web", "b", false);
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
}

#[test]
fn time_that_goes_backwards_moves_nothing_and_undoes_nothing() {
    let mut world = shop();
    world.until(100.0).check_all("web", "a", false).check_all("web", "a", true);
    let before = world.engine.save(world.now);
    let plans: Vec<_> = world.engine.plans(&service("web")).cloned().collect();
    for at in [Time::ZERO, Time::from_millis(99_999), Time::from_millis(1)] {
        assert_eq!(world.engine.tick(at), Default::default());
        let (verdicts, replica) = (Verdicts::new(), "r1".into());
        world.engine.handle(Event::ReplicaObserved { replica, verdicts, at }, at);
        let (service, zone) = (service("web"), zone("a"));
        world.engine.handle(
            Event::Succeeded { pools: [(service, zone)].into(), at: Time::from_millis(u64::MAX) },
            at,
        );
    }
    assert_eq!(world.engine.save(world.now), before);
    assert_eq!(world.engine.plans(&service("web")).cloned().collect::<Vec<_>>(), plans);
    world.until(1000.0);
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %", "it goes on from where it was");
}

#[test]
fn events_for_what_nobody_knows_change_no_plan() {
    let mut world = shop();
    let plans: Vec<_> = world.engine.plans(&service("web")).cloned().collect();
    let (ghost, nowhere) = (service("ghost"), cluster("nowhere"));
    let rate = Load::Rate { rps: u64::MAX };
    let unknown = |name: &str| Locality { region: region("atlantis"), zone: zone(name) };
    let events = [
        Event::ServiceRemoved(ghost.clone()),
        Event::Checked { service: ghost.clone(), address: address("a", 1), up: false, detail: String::new() },
        Event::Checked {
            service: service("web"),
            address: address("q", 1),
            up: false,
            detail: String::new(),
        },
        told_by("nowhere", "atlantis", 10),
        Event::Unreachable(nowhere.clone()),
        Event::Reachable { cluster: nowhere.clone(), quick: true },
        Event::Demand { source: source("a"), rates: [(ghost.clone(), rate)].into() },
        Event::Demand { source: source("q"), rates: [(service("web"), rate)].into() },
        Event::RemoteDemand {
            cluster: nowhere.clone(),
            view: FleetView::default(),
            demand: BTreeMap::from([(service("web"), BTreeMap::from([(zone("x"), rate)]))]),
        },
        Event::Arrivals {
            at: nowhere.clone(),
            from: BTreeMap::from([(service("web"), BTreeMap::from([(nowhere.clone(), rate)]))]),
        },
        Event::Release { service: service("web"), target: Target::Cluster(nowhere.clone()) },
        Event::Succeeded { pools: [(service("web"), zone("q"))].into(), at: world.now },
        Event::Shift(drain(Location::Zone(unknown("q")))),
        Event::Shift(drain(Location::Cluster(nowhere.clone()))),
        Event::Shift(drain(Location::Region(region("atlantis")))),
        Event::ShiftEnded("no such shift".to_owned()),
        Event::ReplicaObserved {
            replica: "r9".into(),
            verdicts: BTreeMap::from([(ghost, BTreeMap::from([(address("q", 1), false)]))]),
            at: world.now,
        },
        Event::Merge(Snapshot::default()),
    ];
    for event in events {
        let effects = world.handle(event.clone());
        assert!(effects.changed.is_empty() && effects.statuses_changed.is_empty(), "{event:?}: {effects:?}");
        assert_eq!(world.engine.plans(&service("web")).cloned().collect::<Vec<_>>(), plans, "{event:?}");
    }
}

#[test]
fn the_own_cluster_is_not_one_of_the_others() {
    let mut world = shop();
    let clusters =
        BTreeMap::from([(cluster("east"), region("us-west")), (cluster("west"), region("us-west"))]);
    world.handle(Event::Topology { clusters, distances: BTreeMap::new() });
    world.handle(told_by("east", "us-west", 10));
    assert!(!world.engine.fleet().clusters.contains_key(&cluster("east")));
    world.check_all("web", "a", false).check_all("web", "b", false);
    assert_eq!(world.shares("web", "a"), "cluster west 10000", "no way leads back to where it came from");
}

#[test]
fn what_is_no_part_of_the_fleet_is_no_other_place() {
    let mut world = World::new();
    world.add_up("web", &["a"], 2);
    world.handle(told_by("nowhere", "us-east", 10));
    world.handle(Event::Shift(drain(zone_of("a"))));
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %", "it is the last healthy place");
    assert_eq!(world.shares("web", "a"), "zone a 10000");
}

#[test]
fn a_cluster_that_lies_about_its_region_is_no_place_that_residency_allows() {
    let mut world = World::new();
    world.policy.residency = Some(Written::default_value([region("us-east")].into()));
    world.add_up("web", &["a"], 2);
    world.handle(told_by("west", "us-east", 10));
    world.handle(Event::Shift(drain(zone_of("a"))));
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %", "the west lies in us-west, whatever it says");
    assert_eq!(world.shares("web", "a"), "zone a 10000");
}

#[test]
fn a_snapshot_of_absurd_numbers_holds_its_pool_down_no_longer_than_the_policy_says() {
    let json = r#"{"by": "replica", "pools": {"shop/web": {"a": {"expected": 4294967295, "governor": {
        "admit": 0, "stage": "steady", "relapses": 4294967295, "quiet": {"secs": 18446744073709551615, "nanos": 0}}}}}}"#;
    let mut world = shop();
    world.handle(Event::Merge(serde_json::from_str(json).unwrap()));
    retell(&mut world);
    assert_eq!(world.pool("web", "a"), "Holding 2/2 0 %");
    assert!(world.hold_remaining("web", "a") <= Duration::from_secs(600));
    assert_eq!(world.shares("web", "a"), "zone b 10000");
}
