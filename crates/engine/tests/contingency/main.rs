//! What if a place were lost: shares, loads, who is stranded and why.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "the properties of the engine use the rest")]
#[path = "../properties/drawn.rs"]
mod drawn;
#[path = "../fixture/mod.rs"]
mod fixture;
mod fleet;
mod properties;
mod seen;

use fixture::{cluster, percent, region, regions, service, text, zone};
use fleet::{fleet, source};
use std::{collections::BTreeSet, sync::Arc};
use tidegate_engine::{
    Clients, Contingency, Fate, FleetService, FleetState, Lint, Location, OrderRule, Origin, Places, Policy,
    Rule, ServiceOutcome, Source, Tier, Unit, WhenExhausted, Written, contingency, lint, n_minus_1,
    n_minus_2,
};

/// Two zones in each of two regions.
const WEB: [&str; 4] = ["web east a 2/2", "web east b 2/2", "web west a 2/2", "web west b 2/2"];

fn web(state: &mut FleetState) -> &mut FleetService {
    state.services.get_mut(&service("web")).unwrap()
}

fn with_policy(lines: &[&str], change: impl FnOnce(&mut Policy)) -> FleetState {
    let mut state = fleet(lines);
    let mut policy = Policy::default();
    change(&mut policy);
    web(&mut state).policy = Arc::new(policy);
    state
}

fn at(line: u32) -> Origin {
    Origin::file("FailoverPolicy shop/web", "web.yaml", line)
}

fn lose(state: &FleetState, places: &[&str]) -> Contingency {
    let places: Vec<Location> = places.iter().map(|place| place.parse().unwrap()).collect();
    contingency(state, &places, Clients::Move)
}

fn outcome<'a>(found: &'a Contingency, name: &str) -> &'a ServiceOutcome {
    found.services.iter().find(|it| it.service == service(name)).unwrap()
}

/// The shares after, seen from one source.
fn after(found: &Contingency, name: &str, from: &Source) -> String {
    let found = outcome(found, name).sources.iter().find(|it| it.source == *from).unwrap();
    if found.lost { "lost".to_owned() } else { text(&found.after) }
}

/// `CLUSTER/ZONE BEFORE->AFTER` of the pools that are left.
fn loads(found: &Contingency, name: &str) -> Vec<String> {
    let pools = outcome(found, name).pools.iter().filter(|pool| !pool.lost);
    pools.map(|it| format!("{}/{} {}->{}", it.cluster, it.locality.zone, it.before, it.after)).collect()
}

/// `FROM: WHY` of the stranded.
fn stranded(found: &Contingency) -> Vec<String> {
    let from = |source: &Option<Source>| {
        source.as_ref().map_or_else(|| "everywhere".to_owned(), ToString::to_string)
    };
    found.stranded.iter().map(|it| format!("{}: {}", from(&it.source), it.why)).collect()
}

// ---- where traffic goes and what it weighs ----

#[test]
fn losing_nothing_changes_nothing() {
    let state = fleet(&WEB);
    let found = lose(&state, &[]);
    assert!(found.holds() && found.stranded.is_empty());
    assert_eq!(outcome(&found, "web").fate, Fate::Untouched);
    assert_eq!(
        loads(&found, "web"),
        ["east/a 2000->2000", "east/b 2000->2000", "west/a 2000->2000", "west/b 2000->2000"]
    );
}

#[test]
fn the_clients_of_a_lost_zone_come_in_at_the_other_zones_of_their_cluster() {
    let found = lose(&fleet(&WEB), &["zone/us-east/a"]);
    assert!(found.holds());
    assert_eq!(outcome(&found, "web").fate, Fate::FailsOver);
    assert_eq!(after(&found, "web", &source("east", "a")), "lost");
    assert_eq!(after(&found, "web", &source("east", "b")), "zone b 10000");
    assert_eq!(loads(&found, "web"), ["east/b 2000->4000", "west/a 2000->2000", "west/b 2000->2000"]);
    let (_, pool, factor) = found.worst_factor().unwrap();
    assert_eq!((pool.cluster.as_str(), pool.locality.zone.as_str(), factor), ("east", "b", 2_000_000));
}

#[test]
fn the_clients_of_a_lost_region_come_in_at_the_nearest_one() {
    let state = fleet(&["web east a 2/2", "web west a 3/3", "web west b 1/1", "web eu-1 a 2/2"]);
    let found = lose(&state, &["region/us-east"]);
    assert_eq!(loads(&found, "web"), ["eu-1/a 2000->2000", "west/a 3000->4500", "west/b 1000->1500"]);
    let to = &outcome(&found, "web").sources[0].moves_to;
    assert_eq!(*to, BTreeSet::from([source("west", "a"), source("west", "b")]));
    let gone = contingency(&state, &["region/us-east".parse().unwrap()], Clients::Gone);
    assert_eq!(loads(&gone, "web"), ["eu-1/a 2000->2000", "west/a 3000->3000", "west/b 1000->1000"]);
}

#[test]
fn a_source_that_is_left_turns_to_the_pools_that_are_left() {
    // The cluster has zone `b` by another service, so requests enter there too.
    let state = fleet(&["web east a 2/2", "pay east b 1/1", "web west a 2/2"]);
    let found = lose(&state, &["zone/us-east/a"]);
    assert_eq!(after(&found, "web", &source("east", "b")), "cluster west 10000");
    // Before, zone b asked as much as a pool of mean size carries.
    assert_eq!(loads(&found, "web"), ["west/a 2000->6000"]);
    assert_eq!(outcome(&found, "pay").fate, Fate::FailsOver);
}

#[test]
fn a_cluster_that_lost_a_zone_takes_no_foreign_traffic_while_another_is_whole() {
    let state =
        fleet(&["web east a 2/2", "web west a 2/2", "web west b 2/2", "web eu-1 a 2/2", "pay east z 1/1"]);
    let found = lose(&state, &["zone/us-east/a", "zone/us-west/a"]);
    assert_eq!(after(&found, "web", &source("east", "z")), "cluster eu-1 10000");
}

#[test]
fn an_east_west_gateway_spreads_over_the_zones_that_are_left() {
    let state = fleet(&["web east a 4/4", "web west a 3/3", "web west b 1/1", "pay east z 1/1"]);
    let found = lose(&state, &["zone/us-east/a"]);
    // Of 4000 + 2667 (the mean) from zone z: three quarters and one.
    let load = |name: &str| {
        outcome(&found, "web").pools.iter().find(|it| it.locality.zone == zone(name)).unwrap().after
    };
    assert_eq!(load("a"), 0);
    let west: Vec<u64> = outcome(&found, "web")
        .pools
        .iter()
        .filter(|it| it.cluster == cluster("west"))
        .map(|it| it.after)
        .collect();
    assert_eq!(west.iter().sum::<u64>(), 3000 + 1000 + 4000 + 2666);
    assert!(west[0] > 2 * west[1], "{west:?}");
}

// ---- rates and capacities ----

fn rates(state: &mut FleetState, rates: &[(Source, u64)]) {
    web(state).demand = rates.iter().map(|(source, rps)| (source.clone(), Some(rps * 1000))).collect();
}

#[test]
fn utilization_is_told_where_demand_and_capacity_are_known() {
    let mut state = fleet(&["web east a 2/2 capacity=100", "web east b 2/2 capacity=100"]);
    rates(&mut state, &[(source("east", "a"), 60), (source("east", "b"), 50)]);
    let found = lose(&state, &["zone/us-east/a"]);
    let left = &outcome(&found, "web").pools[1];
    assert_eq!((outcome(&found, "web").unit, left.before, left.after), (Unit::Rate, 50_000, 110_000));
    assert_eq!((left.utilization_before, left.utilization_after), (Some(500_000), Some(1_100_000)));
    assert!(!found.holds());
    assert_eq!(found.overloaded().count(), 1);
    let place = found.locations.iter().find(|it| it.location.to_string() == "zone/us-east/b").unwrap();
    assert_eq!(place.utilization, Some((500_000, 1_100_000)));
    assert!(found.locations.iter().all(|it| it.location.to_string() != "zone/us-east/a"));
}

#[test]
fn without_capacity_above_what_it_was_is_no_verdict() {
    let mut state = fleet(&WEB);
    rates(&mut state, &[(source("east", "a"), 60), (source("west", "a"), 50)]);
    let found = lose(&state, &["cluster/east"]);
    assert!(found.holds());
    assert!(found.worst_utilization().is_none());
}

#[test]
fn a_pool_without_capacity_that_gets_load_is_above_it() {
    let mut state = fleet(&["web east a 2/2 capacity=100", "web east b 2/2 capacity=0"]);
    rates(&mut state, &[(source("east", "a"), 60), (source("east", "b"), 0)]);
    assert!(!lose(&state, &["zone/us-east/a"]).holds());
    assert!(lose(&state, &[]).holds());
}

#[test]
fn what_is_shed_is_told_in_the_unit_of_the_demand() {
    let mut state = with_policy(&["web east a 2/2", "pay east z 1/1"], |policy| {
        policy.when_exhausted = Written::default_value(WhenExhausted::Shed);
    });
    rates(&mut state, &[(source("east", "a"), 60), (source("east", "z"), 50)]);
    let found = lose(&state, &["zone/us-east/a"]);
    assert_eq!(outcome(&found, "web").shed, 110_000);
}

// ---- who is stranded, and why ----

#[test]
fn a_service_in_one_zone() {
    let found = lose(&fleet(&["web east a 2/2", "pay east b 1/1"]), &["zone/us-east/a"]);
    assert_eq!(stranded(&found), ["east/b: all its endpoints are in zone a"]);
    assert_eq!(outcome(&found, "web").fate, Fate::Stranded);
    assert!(!found.holds());
}

#[test]
fn a_service_in_one_zone_of_which_every_caller_is_lost_too() {
    let found = lose(&fleet(&["web east a 2/2", "pay west b 1/1"]), &["zone/us-east/a"]);
    assert_eq!(stranded(&found), ["everywhere: all its endpoints are in zone a"]);
}

#[test]
fn a_service_in_one_cluster_of_a_region_and_in_one_region() {
    let lines = ["web east a 2/2", "web east b 2/2", "pay east-2 a 1/1"];
    assert_eq!(
        stranded(&lose(&fleet(&lines), &["cluster/east"])),
        ["everywhere: all its endpoints are in cluster east"]
    );
    let lines = ["web east a 2/2", "web east b 2/2", "pay west a 1/1"];
    assert_eq!(
        stranded(&lose(&fleet(&lines), &["region/us-east"])),
        ["everywhere: all its endpoints are in region us-east"]
    );
    let lines = ["web east a 2/2", "web east-2 b 2/2"];
    assert_eq!(
        stranded(&lose(&fleet(&lines), &["region/us-east"])),
        ["everywhere: all its endpoints are in region us-east"]
    );
}

#[test]
fn residency_forbids_the_only_move() {
    let state = with_policy(&WEB, |policy| {
        policy.residency = Some(Written { value: [region("us-east")].into(), origin: at(9) });
    });
    let found = lose(&state, &["region/us-east"]);
    let why = "residency forbids zone a (us-west), zone b (us-west) [FailoverPolicy shop/web at web.yaml:9]";
    assert_eq!(stranded(&found), [format!("west/a: {why}"), format!("west/b: {why}")]);
    assert_eq!(found.forbidden.len(), 4);
    assert_eq!((found.forbidden[0].rule, &found.forbidden[0].origin), (Rule::Residency, &at(9)));
    // The other region's loss is nothing to it but its callers'.
    assert!(lose(&state, &["region/us-west"]).holds());
}

#[test]
fn an_order_that_ends_before_it_comes_to_what_is_left() {
    let state = with_policy(&["web east a 2/2", "pay east z 1/1", "web west a 2/2"], |policy| {
        let rule = OrderRule { from: Places::default(), to: vec![Tier::SameZone, Tier::SameRegion] };
        policy.failover.push(Written { value: rule, origin: at(5) });
    });
    let found = lose(&state, &["zone/us-east/a"]);
    let why = "its order does not name cluster west (us-west) [FailoverPolicy shop/web at web.yaml:5]";
    assert_eq!(stranded(&found), [format!("east/z: {why}")]);
    assert_eq!((found.forbidden[0].rule, &found.forbidden[0].origin), (Rule::NotInOrder, &at(5)));
}

#[test]
fn what_is_left_is_out_or_empty() {
    let found = lose(&fleet(&["web east a 2/2", "web east b 0/2", "web west a 0/2"]), &["zone/us-east/a"]);
    assert_eq!(stranded(&found)[0], "east/b: nothing else is healthy: zone b is Out, cluster west is Out");
    let found = lose(&fleet(&["web east a 2/2", "web east b 0/2", "web west a 0/0"]), &["zone/us-east/a"]);
    assert_eq!(
        stranded(&found)[0],
        "east/b: nothing else is healthy: zone b is Out, cluster west has no endpoint"
    );
}

#[test]
fn what_is_left_is_out_of_reach() {
    let mut state = fleet(&["web east a 2/2", "pay east z 1/1", "web west a 2/2"]);
    state.clusters.get_mut(&cluster("east")).unwrap().unreachable.insert(cluster("west"));
    let found = lose(&state, &["zone/us-east/a"]);
    assert_eq!(stranded(&found), ["east/z: cluster west (us-west) is healthy but out of reach"]);
}

#[test]
fn whoever_asked_for_it_is_lost_and_what_is_left_is_well() {
    let mut state = fleet(&["web east a 2/2", "web west a 2/2", "web west b 0/2"]);
    web(&mut state).demand.retain(|source, _| source.cluster == cluster("east"));
    let found = lose(&state, &["cluster/east"]);
    let why = "everywhere: its callers are lost with it; cluster west (us-west) could serve them";
    assert_eq!(stranded(&found), [why]);
}

#[test]
fn every_place_that_has_it_is_lost() {
    let found = lose(&fleet(&WEB), &["region/us-east", "cluster/west"]);
    assert_eq!(stranded(&found), ["everywhere: every place that has it is lost"]);
}

#[test]
fn what_was_down_before_is_no_consequence_of_a_loss() {
    let state = fleet(&["web east a 0/2", "pay east a 1/1", "pay east b 1/1"]);
    let found = lose(&state, &["zone/us-east/b"]);
    assert_eq!((outcome(&found, "web").fate, found.holds()), (Fate::DownBefore, true));
    assert!(lint(&state).iter().any(|it| matches!(it.lint, Lint::DownNow { .. })));
}

#[test]
fn a_service_that_waits_for_its_hold_down_serves_when_nothing_better_is_left() {
    let found = lose(&fleet(&["web east a 2/2", "web east b 2/2 Holding"]), &["zone/us-east/a"]);
    assert!(found.holds());
    assert_eq!(after(&found, "web", &source("east", "b")), "zone b 10000");
}

#[test]
fn every_cluster_decides_by_its_own_policy() {
    let mut state = fleet(&["web east a 2/2", "pay east z 1/1", "web west a 2/2", "pay west z 1/1"]);
    let only_here = OrderRule { from: Places::default(), to: vec![Tier::SameRegion] };
    let policy = Policy { failover: vec![Written { value: only_here, origin: at(5) }], ..Policy::default() };
    web(&mut state).own_policies.insert(cluster("west"), Arc::new(policy));
    assert!(lose(&state, &["zone/us-east/a"]).holds());
    assert_eq!(stranded(&lose(&state, &["zone/us-west/a"])).len(), 1);
}

#[test]
fn a_place_is_found_by_its_name_and_a_zone_by_its_own_where_that_is_unique() {
    let state = fleet(&["web east a 2/2", "web east b 2/2", "web west a 2/2"]);
    let found = |name: &str| state.location(name).map(|it| it.to_string()).map_err(|error| error.to_string());
    assert_eq!(found("zone/b"), Ok("zone/us-east/b".to_owned()));
    assert_eq!(found("cluster/west"), Ok("cluster/west".to_owned()));
    assert_eq!(found("zone/a"), Err("the fleet has 2 \"zone/a\"".to_owned()));
    assert_eq!(found("zone"), Err("the fleet has no \"zone\"".to_owned()));
}

// ---- tables ----

#[test]
fn n_minus_1_looks_at_each_zone_cluster_and_region() {
    let found = n_minus_1(&fleet(&WEB), Clients::Move);
    let names: Vec<String> = found.iter().map(|it| it.lost[0].to_string()).collect();
    let zones = ["zone/us-east/a", "zone/us-east/b", "zone/us-west/a", "zone/us-west/b"];
    assert_eq!(names[..4], zones);
    assert_eq!(names[4..], ["cluster/east", "cluster/west", "region/us-east", "region/us-west"]);
    assert!(found.iter().all(Contingency::holds));
}

#[test]
fn n_minus_2_looks_at_pairs_that_say_something_new_and_has_a_limit() {
    let state = fleet(&WEB);
    let found = n_minus_2(&state, Clients::Move, usize::MAX);
    let names: Vec<String> = found.iter().map(|it| format!("{} {}", it.lost[0], it.lost[1])).collect();
    // Six pairs of zones, a zone and the other region, both regions; the only cluster of a region is that region.
    assert_eq!(names.len(), 6 + 4 + 1, "{names:?}");
    assert_eq!(found.iter().filter(|it| !it.holds()).count(), 1);
    assert_eq!(n_minus_2(&state, Clients::Move, 3).len(), 3);
}

#[test]
fn a_zone_is_lost_in_every_cluster_that_spans_it() {
    let found =
        lose(&fleet(&["web east a 2/2", "web east-2 a 2/2", "web east-2 b 2/2"]), &["zone/us-east/a"]);
    assert_eq!(loads(&found, "web"), ["east-2/b 2000->6000"]);
}

// ---- standing findings ----

fn findings(state: &FleetState) -> Vec<String> {
    lint(state).iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_fleet_has_no_findings() {
    assert_eq!(findings(&fleet(&WEB)), Vec::<String>::new());
}

#[test]
fn a_service_in_one_place_is_found() {
    let lines = ["web east a 2/2", "pay east a 1/1", "pay east b 1/1", "cart east a 0/0"];
    assert_eq!(
        findings(&fleet(&lines)),
        [
            "shop/cart: it has no endpoint anywhere",
            "shop/pay: all its endpoints are in region us-east",
            "shop/web: all its endpoints are in zone a",
        ]
    );
}

#[test]
fn policies_that_keep_a_service_in_one_region_are_found() {
    let state = with_policy(&WEB, |policy| {
        policy.residency = Some(Written { value: [region("us-east")].into(), origin: at(9) });
    });
    let residency = "shop/web: residency leaves it in us-east alone [FailoverPolicy shop/web at web.yaml:9]";
    assert_eq!(findings(&state), [residency]);
    let state = with_policy(&WEB, |policy| {
        let rule = OrderRule { from: regions(&["us-east"]), to: vec![Tier::SameRegion] };
        policy.failover.push(Written { value: rule, origin: at(5) });
    });
    let order = "shop/web: for callers in east the order comes to one region only [FailoverPolicy shop/web at web.yaml:5]";
    assert_eq!(findings(&state), [order]);
}

#[test]
fn a_threshold_below_the_minimum_is_found() {
    let state = with_policy(&WEB, |policy| policy.failover_threshold.value = percent(10.0));
    let text = "shop/web: failoverThreshold (10 %) is below minimumHealthy (25 %): a pool falls from whole to nothing [default]";
    assert_eq!(findings(&state), [text]);
}

#[test]
fn a_cluster_that_others_cannot_reach_is_found() {
    let mut state = fleet(&WEB);
    state.clusters.get_mut(&cluster("east")).unwrap().unreachable.insert(cluster("west"));
    assert_eq!(findings(&state), ["shop/web: cluster west has it, but east cannot reach that cluster"]);
}
