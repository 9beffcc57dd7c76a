//! Faults and recoveries through the whole engine, in virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::{World, address, cluster, remote_pool, runs, service, text, zone};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_engine::{EndpointFacts, Event, FailbackMode, Plan, Policy, Saved, Target, Written};
use tidegate_model::{Phase, PoolStatus, Time};

/// A service with ten endpoints in each of the zones a and b, and ten in the cluster west.
fn shop() -> World {
    let mut world = World::new();
    world.add_up("web", &["a", "b"], 10).remote("west", "web", 10, 100.0, Phase::Serving);
    world.until(10.0).forget_history();
    world
}

#[test]
fn a_service_that_starts_from_zero_serves_from_its_first_healthy_endpoint() {
    let mut world = World::new();
    world.add("web", &["a", "b"], 3);
    assert_eq!(world.pool("web", "a"), "Empty 0/0 100 %");
    assert_eq!(world.shares("web", "a"), "zone a 5000, zone b 5000", "checks may be wrong, or late");
    assert!(world.plan("web", "a").last_resort);
    world.check("web", "b", 1, true);
    assert!(!world.plan("web", "a").last_resort);
    assert_eq!(world.shares("web", "a"), "zone b 10000");
    world.check("web", "a", 1, true);
    assert_eq!(world.shares("web", "a"), "zone a 10000");
    assert_eq!(world.pool("web", "a"), "Serving 1/1 100 %");
    world.check("web", "a", 2, true).check("web", "a", 3, true);
    assert_eq!(world.pool("web", "a"), "Serving 3/3 100 %");
    assert_eq!(world.shares("web", "b"), "zone b 10000");
}

#[test]
fn endpoints_that_were_never_healthy_are_the_last_resort_when_the_others_die() {
    let mut world = World::new();
    world.add("web", &["a", "b"], 3).check_all("web", "a", true);
    world.check_all("web", "b", false);
    world.handle(Event::RemotePools {
        cluster: cluster("west"),
        pools: vec![PoolStatus {
            expected: 0,
            present: 6,
            phase: Phase::Empty,
            ..remote_pool("west", "web", 0, 100.0, Phase::Empty)
        }],
    });
    assert_eq!(world.pool("web", "b"), "Empty 0/0 100 %", "it is given nothing while a place is healthy");
    assert_eq!(world.shares("web", "b"), "zone a 10000");
    world.check_all("web", "a", false);
    assert_eq!(world.shares("web", "b"), "zone a 2500, zone b 2500, cluster west 5000");
    assert!(world.plan("web", "b").last_resort && world.plan("web", "b").shed.is_none());
    world.check("web", "b", 2, true);
    assert_eq!(world.shares("web", "a"), "zone b 10000", "the first that answers has it all");
    // What is being shut down is no endpoint to try.
    world.check("web", "b", 2, false).terminate("web", "b", 1..=3);
    assert_eq!(world.shares("web", "a"), "zone a 3000, zone b 1000, cluster west 6000");
}

#[test]
fn what_is_there_is_told_whether_or_not_it_was_ever_healthy() {
    let mut world = World::new();
    let present = |world: &World| world.engine.statuses(world.now).next().unwrap().present;
    world.add("web", &["a"], 3);
    assert_eq!(present(&world), 3);
    world.check_all("web", "a", true).terminate("web", "a", 1..=1);
    assert_eq!(present(&world), 2);
    world.vanish("web", "a", 1..=2);
    assert_eq!((present(&world), world.pool("web", "a").as_str()), (1, "Serving 1/2 100 %"));
}

#[test]
fn new_endpoints_that_are_not_yet_healthy_are_no_failure() {
    let mut world = shop();
    world.add("web", &["a"], 30).until(60.0);
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
    world.check_all("web", "a", true);
    assert_eq!(world.pool("web", "a"), "Serving 30/30 100 %");
    assert!(world.history("web", "a").is_empty());
}

#[test]
fn endpoints_that_leave_on_purpose_are_no_failure() {
    let mut world = shop();
    world.terminate("web", "a", 1..=7);
    assert_eq!(world.pool("web", "a"), "Serving 3/3 100 %");
    world.until(40.0).vanish("web", "a", 1..=7).until(100.0);
    assert_eq!(world.pool("web", "a"), "Serving 3/3 100 %");
    assert!(world.history("web", "a").is_empty());
}

#[test]
fn an_endpoint_that_was_down_when_it_was_evicted_is_still_missing() {
    let mut world = shop();
    for n in 1..=5 {
        world.check("web", "a", n, false);
    }
    world.terminate("web", "a", 1..=5).vanish("web", "a", 1..=5).until(13.0);
    assert_eq!(world.pool("web", "a"), "Reduced 5/10 71.43 %");
}

#[test]
fn a_rolling_update_is_no_failure() {
    let mut world = shop();
    for n in 1..=10 {
        world.discover("web", |endpoints| {
            let facts = endpoints[&address("a", 10)].1;
            endpoints.insert(
                address("a", 100 + n),
                (zone("a"), EndpointFacts { terminating: false, ready: true, ..facts }),
            );
        });
        world.check("web", "a", 100 + n, true).terminate("web", "a", [n]);
        let now = world.now.since_origin().as_secs_f64();
        world.until(now + 5.0).vanish("web", "a", [n]);
        assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %", "after {n}");
    }
    assert!(world.history("web", "a").is_empty());
}

#[test]
fn endpoints_that_vanish_are_a_failure_until_they_are_replaced() {
    let mut world = shop();
    world.vanish("web", "a", 1..=5);
    assert_eq!(world.pool("web", "a"), "Serving 5/10 100 %");
    world.until(12.0);
    assert_eq!(world.pool("web", "a"), "Reduced 5/10 71.43 %");
    assert_eq!(world.shares("web", "a"), "zone a 7143, zone b 2857");
    world.add_up("web", &["a"], 10);
    assert_eq!(world.pool("web", "a"), "Holding 10/10 71.43 %");
    world.until(42.0);
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
}

#[test]
fn endpoints_that_vanish_and_are_replaced_within_the_delay_change_nothing() {
    let mut world = shop();
    world.vanish("web", "a", 1..=5).until(11.0).add_up("web", &["a"], 10).until(900.0);
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
    assert!(world.history("web", "a").is_empty());
}

#[test]
fn endpoints_that_stay_away_above_the_threshold_are_expected_until_the_retention_ends() {
    let mut world = shop();
    world.vanish("web", "a", 1..=2).until(600.0);
    assert_eq!(world.pool("web", "a"), "Serving 8/10 100 %");
    world.until(700.0);
    assert_eq!(world.pool("web", "a"), "Serving 8/8 100 %");
}

#[test]
fn a_drained_zone_that_is_scaled_in_does_not_come_back_whole() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).vanish("web", "a", 3..=10).until(2000.0);
    world.check("web", "a", 1, true).check("web", "a", 2, true).until(3000.0);
    assert_eq!(world.pool("web", "a"), "Out 2/10 0 %");
}

#[test]
fn a_zone_that_dies_by_and_by_and_comes_back_is_one_move_away_and_one_ramped_move_back() {
    let mut world = shop();
    for n in 1..=10 {
        world.until(10.0 + f64::from(n)).check("web", "a", n, false);
    }
    assert_eq!(world.shares("web", "a"), "zone b 10000");
    for n in 1..=10 {
        world.until(60.0 + f64::from(n)).check("web", "a", n, true);
    }
    world.settle();
    assert_eq!(world.shares("web", "a"), "zone a 10000");
    let history = world.history("web", "a");
    assert_eq!(runs(&history).len(), 2, "{:#?}", history.iter().map(text).collect::<Vec<_>>());
    assert_eq!(runs(&history)[1], 3, "back in the three steps of the ramp");
    assert!(world.history("web", "b").is_empty(), "who has a whole zone of its own does not move");
}

#[test]
fn a_region_out_of_reach_is_left_at_once_and_taken_back_after_hold_down_and_ramp() {
    let mut world = World::new();
    world.remote("west", "web", 10, 100.0, Phase::Serving).remote("eu-1", "web", 10, 100.0, Phase::Serving);
    world.add("web", &[], 0).until(10.0).forget_history();
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
    world.unreachable("west");
    assert_eq!(world.shares("web", "a"), "cluster eu-1 10000");
    assert!(world.plan("web", "a").standby.is_empty());
    world.until(20.0).reachable("west", false);
    let shares_at = |world: &mut World, seconds: f64| world.until(seconds).shares("web", "a");
    assert_eq!(shares_at(&mut world, 49.9), "cluster eu-1 10000");
    assert_eq!(shares_at(&mut world, 50.0), "cluster eu-1 9000, cluster west 1000");
    assert_eq!(shares_at(&mut world, 60.0), "cluster eu-1 5000, cluster west 5000");
    assert_eq!(shares_at(&mut world, 70.0), "cluster west 10000");
    assert_eq!(runs(&world.history("web", "a")), [1, 3]);
}

#[test]
fn a_quick_return_is_no_fault() {
    let mut world = World::new();
    world.remote("west", "web", 10, 100.0, Phase::Serving).remote("eu-1", "web", 10, 100.0, Phase::Serving);
    world.add("web", &[], 0).unreachable("west").until(3.0).reachable("west", true);
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
    world.unreachable("west").until(60.0).reachable("west", false).until(89.9);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 10000");
    world.until(90.0);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 9000, cluster west 1000", "no relapse was counted");
}

#[test]
fn a_quick_return_in_the_hold_down_of_a_real_fault_does_not_end_it() {
    let mut world = World::new();
    world.remote("west", "web", 10, 100.0, Phase::Serving).remote("eu-1", "web", 10, 100.0, Phase::Serving);
    world.add("web", &[], 0).unreachable("west").until(60.0).reachable("west", false);
    world.until(70.0).unreachable("west").until(72.0).reachable("west", true);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 10000");
    world.until(89.9);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 10000");
    world.until(90.0);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 9000, cluster west 1000", "as if it had not blinked");
    world.until(95.0).unreachable("west").until(96.0).reachable("west", true);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 9000, cluster west 1000", "nor does one in the ramp");
}

#[test]
fn partial_then_total_loss_is_one_fault() {
    let mut world = shop();
    for n in 1..=5 {
        world.check("web", "a", n, false);
    }
    world.until(20.0).check_all("web", "a", false);
    assert_eq!(world.pool("web", "a"), "Out 0/10 0 %");
    world.until(60.0).check_all("web", "a", true);
    assert_eq!(world.hold_remaining("web", "a"), Duration::from_secs(30), "not doubled");
    world.settle();
    assert_eq!(runs(&world.history("web", "a")).len(), 2);
}

#[test]
fn a_restart_in_mid_hold_down_keeps_what_remains_of_it() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true).until(30.0);
    assert_eq!(world.hold_remaining("web", "a"), Duration::from_secs(20));
    let mut after = world.restarted();
    after.add("web", &["a", "b"], 10);
    assert_eq!(after.pool("web", "a"), "Holding 10/10 0 %");
    assert_eq!(after.hold_remaining("web", "a"), Duration::from_secs(20));
    assert_eq!(after.shares("web", "a"), "zone b 10000");
    assert_eq!(after.until(20.0).shares("web", "a"), "zone a 1000, zone b 9000");
}

#[test]
fn a_save_before_all_services_are_back_loses_nothing() {
    let mut world = shop();
    world.add_up("pay", &["a", "b"], 4);
    world
        .check_all("pay", "a", false)
        .unreachable("west")
        .until(20.0)
        .check_all("pay", "a", true)
        .until(25.0);
    let saved = world.engine.save(world.now);
    let mut halfway = world.restarted();
    halfway.add("web", &["a", "b"], 10);
    let mut after = halfway.restarted();
    assert_eq!(world.restarted().engine.save(Time::ZERO), saved, "nothing is back");
    after.add("pay", &["a", "b"], 4);
    assert_eq!(after.hold_remaining("pay", "a"), Duration::from_secs(25));
    assert!(after.engine.remote_pools().next().is_none_or(|view| !view.reachable));
    assert!(after.engine.knows_pools_of(&cluster("west")));
}

#[test]
fn a_restart_while_a_whole_zone_is_missing_still_expects_it() {
    let mut world = shop();
    world.vanish("web", "a", 1..=10).until(20.0);
    assert_eq!(world.pool("web", "a"), "Out 0/10 0 %");
    let mut after = world.restarted();
    after.add("web", &["b"], 10);
    assert_eq!(after.pool("web", "a"), "Out 0/10 0 %");
    after.add_up("web", &["a"], 10);
    assert_eq!(after.pool("web", "a"), "Holding 10/10 0 %");
}

#[test]
fn a_restart_in_mid_rollout_does_not_expect_what_is_leaving() {
    let before = shop();
    let mut during = shop();
    during.terminate("web", "a", 1..=5);
    for (when, world) in [("while nobody watched", before), ("before", during)] {
        let mut after = world.restarted();
        after.discover("web", |endpoints| {
            for n in 1..=10 {
                let facts = EndpointFacts {
                    ready: n > 5,
                    terminating: n <= 5,
                    checked: true,
                    ..EndpointFacts::default()
                };
                endpoints.insert(address("a", n), (zone("a"), facts));
            }
        });
        assert_eq!(after.until(60.0).pool("web", "a"), "Serving 5/5 100 %", "they went {when}");
    }
}

#[test]
fn a_restart_does_not_forget_relapses_nor_that_they_fade() {
    let mut world = shop();
    world.check_all("web", "a", false).check_all("web", "a", true).until(45.0).check_all("web", "a", false);
    world.check_all("web", "a", true);
    assert_eq!(world.hold_remaining("web", "a"), Duration::from_secs(60), "a relapse in the ramp");
    world.settle();
    let mut after = world.restarted();
    after.add("web", &["a", "b"], 10).until(1300.0).check_all("web", "a", false).check_all("web", "a", true);
    assert_eq!(after.hold_remaining("web", "a"), Duration::from_secs(30), "twenty quiet minutes");
    let mut soon = world.restarted();
    soon.add("web", &["a", "b"], 10).until(10.0).check_all("web", "a", false).check_all("web", "a", true);
    assert_eq!(soon.hold_remaining("web", "a"), Duration::from_secs(120), "soon after the return");
}

#[test]
fn what_nobody_knows_is_ignored() {
    let mut world = shop();
    let before = world.engine.save(world.now);
    let checked = |name: &str, n: u8| Event::Checked {
        service: service(name),
        address: address("a", n),
        up: false,
        detail: String::new(),
    };
    for event in [
        checked("web", 200),
        checked("nobody", 1),
        Event::ServiceRemoved(service("nobody")),
        Event::Reachable { cluster: cluster("nowhere"), quick: true },
        Event::Release { service: service("nobody"), target: Target::Zone(zone("a")) },
        Event::Release { service: service("web"), target: Target::Cluster(cluster("nowhere")) },
        Event::Release { service: service("web"), target: Target::Zone(zone("a")) },
    ] {
        let effects = world.handle(event.clone());
        assert!(effects.changed.is_empty() && effects.removed.is_empty(), "{event:?}: {effects:?}");
        assert!(
            effects.decisions.is_empty() && effects.statuses_changed.is_empty(),
            "{event:?}: {effects:?}"
        );
    }
    assert_eq!(world.engine.save(world.now), before);
}

#[test]
fn a_service_that_is_removed_and_added_starts_without_a_history() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0);
    let effects = world.handle(Event::ServiceRemoved(service("web")));
    assert!(effects.removed.contains(&service("web")) && effects.statuses_changed.contains(&service("web")));
    assert_eq!((world.engine.services().count(), world.engine.next_deadline()), (0, None));
    world.add_up("web", &["a", "b"], 10);
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
    assert_eq!(world.plan("web", "a").standby.len(), 2, "what other clusters told is still known");
}

#[test]
fn a_clock_that_steps_back_stands_still() {
    let mut world = shop();
    world.until(100.0).check_all("web", "a", false).check_all("web", "a", true);
    world.now = Time::ZERO;
    world.check("web", "b", 1, false).check("web", "b", 1, true);
    world.engine.tick(Time::ZERO);
    assert_eq!(world.engine.next_deadline().unwrap().at, Time::from_millis(130_000));
    assert_eq!(world.pool("web", "a"), "Holding 10/10 0 %");
}

#[test]
fn an_endpoint_whose_zone_is_corrected_is_the_same_endpoint() {
    let mut world = shop();
    world.discover("web", |endpoints| {
        for n in 1..=5 {
            endpoints.get_mut(&address("a", n)).unwrap().0 = zone("b");
        }
    });
    assert_eq!(world.pool("web", "a"), "Serving 5/5 100 %", "nothing is missing where it was");
    assert_eq!(world.pool("web", "b"), "Serving 15/15 100 %", "and it is not unchecked where it is");
    world.until(60.0);
    assert!(world.history("web", "a").is_empty());
}

#[test]
fn one_address_in_two_services_is_two_endpoints() {
    let mut world = shop();
    world.add_up("pay", &["a", "b"], 10);
    world.check_all("web", "a", false);
    assert_eq!(world.pool("web", "a"), "Out 0/10 0 %");
    assert_eq!(world.pool("pay", "a"), "Serving 10/10 100 %");
    assert_eq!(world.shares("pay", "a"), "zone a 10000");
}

#[test]
fn a_policy_that_changes_in_mid_fault_keeps_what_the_governor_knows() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true).until(30.0);
    world.policy.failover_threshold = Written::default_value(fixture::percent(90.0));
    world.discover("web", |_| {});
    assert_eq!(world.pool("web", "a"), "Holding 10/10 0 %");
    assert_eq!(world.hold_remaining("web", "a"), Duration::from_secs(20));
}

#[test]
fn a_change_of_the_failback_mode_holds_for_a_pool_that_is_waiting() {
    let mut world = shop();
    world.check_all("web", "a", false).until(20.0).check_all("web", "a", true).until(30.0);
    world.policy.failback.mode = Written::default_value(FailbackMode::Manual);
    world.discover("web", |_| {}).until(1000.0);
    assert_eq!(world.pool("web", "a"), "Holding 10/10 0 %", "it waits for an operator now");
    world.policy.failback.mode = Written::default_value(FailbackMode::Auto);
    world.discover("web", |_| {});
    assert_eq!(world.hold_remaining("web", "a"), Duration::from_secs(30));
    world.settle();
    assert_eq!(world.pool("web", "a"), "Serving 10/10 100 %");
}

#[test]
fn an_operator_lets_a_pool_and_a_cluster_back() {
    let mut world = World::new();
    world.policy.failback.mode = Written::default_value(FailbackMode::Manual);
    world.add_up("web", &["a"], 2).remote("west", "web", 10, 100.0, Phase::Serving);
    world.check_all("web", "a", false).unreachable("west");
    world.check_all("web", "a", true).reachable("west", false).until(1000.0);
    assert_eq!(world.pool("web", "a"), "Holding 2/2 0 %");
    for target in [Target::Zone(zone("a")), Target::Cluster(cluster("west"))] {
        world.handle(Event::Release { service: service("web"), target });
    }
    assert_eq!(world.pool("web", "a"), "Ramping 2/2 10 %");
    world.until(1020.0);
    assert_eq!(world.pool("web", "a"), "Serving 2/2 100 %");
    assert!(world.engine.remote_pools().all(|view| view.reach.is_one()));
}

#[test]
fn a_cluster_that_leaves_the_fleet_and_joins_it_again_is_not_out_of_reach_for_ever() {
    let mut world = World::new();
    let fleet = |names: &[&str]| Event::Topology {
        clusters: names.iter().map(|name| (cluster(name), fixture::region("us-west"))).collect(),
        distances: BTreeMap::new(),
    };
    world.add("web", &[], 0).unreachable("west");
    world.handle(fleet(&[]));
    world.handle(fleet(&["west"]));
    world.remote("west", "web", 10, 100.0, Phase::Serving);
    assert_eq!(world.shares("web", "a"), "cluster west 10000");
}

#[test]
fn an_owner_that_holds_its_pool_out_is_believed() {
    let mut world = World::new();
    world.remote("west", "web", 2, 0.0, Phase::Out).remote("eu-1", "web", 10, 100.0, Phase::Serving);
    world.add("web", &[], 0);
    assert_eq!(world.shares("web", "a"), "cluster eu-1 10000");
    assert!(world.plan("web", "a").standby.is_empty(), "a cluster that is out does not stand by");
    world.unreachable("west").reachable("west", false);
    assert!(world.plan("web", "a").standby.is_empty(), "nor while our way to it is held down");
}

#[test]
fn what_is_saved_and_what_is_planned_survive_json() {
    let mut world = shop();
    world.check_all("web", "a", false).unreachable("west").until(20.0).check_all("web", "a", true);
    let saved = world.engine.save(world.now);
    let json = serde_json::to_string(&saved).unwrap();
    assert_eq!(serde_json::from_str::<Saved>(&json).unwrap(), saved);
    for plan in world.engine.plans(&service("web")) {
        let json = serde_json::to_string(plan).unwrap();
        assert_eq!(&serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
    assert_eq!(serde_json::from_str::<Saved>("{}").unwrap(), Saved::default());
}

#[test]
fn the_same_events_give_the_same_plans_byte_for_byte() {
    let run = || {
        let mut world = shop();
        world.add_up("pay", &["b", "a"], 4).check_all("pay", "b", false).until(15.0);
        world.vanish("web", "a", [3, 5, 7, 9]).unreachable("west").until(30.0);
        world.check_all("pay", "b", true).reachable("west", false).until(200.0);
        serde_json::to_string(&world.decisions).unwrap()
    };
    assert_eq!(run(), run());
}

#[test]
fn what_changed_is_told_and_no_more() {
    let mut world = shop();
    world.add_up("pay", &["a", "b"], 4);
    let policy = Arc::new(Policy::default());
    assert_eq!(world.engine.policy(&service("pay")), Some(&policy));
    let effects = world.handle(Event::Unreachable(cluster("eu-1")));
    assert!(effects.changed.is_empty(), "nobody sends there: {:?}", effects.changed);
    let effects = world.handle(Event::Unreachable(cluster("west")));
    assert_eq!(effects.changed, [service("web")].into(), "it stood by for one of them");
}

/// Envoy's own table (docs, "Priority levels", overprovisioning factor 1.4): P0 healthy, and what P0 gets. Envoy rounds
/// down after multiplying by 140 %; we divide by 71.43 %, which is a little more than 1 / 1.4, so that 50 % gets
/// 69.997 %: compared to the nearest whole percent, all are the same.
#[test]
fn envoys_documented_priority_table_is_reproduced() {
    for (healthy, to_first) in [(100, 100), (72, 100), (71, 99), (50, 70), (25, 35), (0, 0)] {
        let mut world = World::new();
        world.policy.failover_threshold = Written::default_value(fixture::percent(71.43));
        world.policy.minimum_healthy = Written::default_value(fixture::percent(0.0));
        world.add_up("web", &["a", "b"], 100).until(10.0);
        for n in 1..=100 - healthy {
            world.check("web", "a", n, false);
        }
        world.until(20.0);
        let plan = world.plan("web", "a");
        let share = |zone_name: &str| plan.shares.get(&Target::Zone(zone(zone_name))).copied();
        let percent = |zone_name: &str| (share(zone_name).unwrap_or_default().parts() + 50) / 100;
        assert_eq!((percent("a"), percent("b")), (to_first, 100 - to_first), "{healthy} % healthy");
    }
}

/// Peers send what changed; whoever hears that, change by change, must stand where one does who hears everything anew.
#[test]
fn what_changed_of_other_clusters_comes_to_the_same_as_all_of_it() {
    let pool = |name: &str, healthy| remote_pool("west", name, healthy, 100.0, Phase::Serving);
    let zone_x = || pool("web", 1).locality.zone;
    let mut whole = shop();
    whole.add_up("cart", &["a", "b"], 10);
    let mut told = shop();
    told.add_up("cart", &["a", "b"], 10);
    let steps = [
        (vec![pool("cart", 10)], vec![], vec![pool("web", 10), pool("cart", 10)]),
        (vec![pool("web", 0)], vec![], vec![pool("web", 0), pool("cart", 10)]),
        (vec![pool("web", 4)], vec![("cart", "nowhere")], vec![pool("web", 4), pool("cart", 10)]),
        (vec![], vec![("web", "x"), ("nobody", "x")], vec![pool("cart", 10)]),
        (vec![pool("cart", 3)], vec![("cart", "x")], vec![pool("cart", 3)]),
        (vec![], vec![("cart", "x")], vec![]),
    ];
    for (changed, removed, pools) in steps {
        let zone_of = |name: &str| if name == "x" { zone_x() } else { zone(name) };
        let removed = removed.iter().map(|(name, at)| (service(name), zone_of(at))).collect();
        let by_change = told.handle(Event::RemotePoolsChanged { cluster: cluster("west"), changed, removed });
        let by_all = whole.handle(Event::RemotePools { cluster: cluster("west"), pools });
        assert_eq!(by_change, by_all);
        assert_eq!(told.engine.save(told.now), whole.engine.save(whole.now));
    }
}
