//! What if a place were lost: shares, loads, who is stranded and why.
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "the properties use the rest")]
#[path = "properties/drawn.rs"]
mod drawn;
mod fixture;

use drawn::policy;
use fixture::{cluster, percent, region, regions, service, text, zone};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{
    Clients, Contingency, Fate, FleetMember, FleetService, FleetState, Lint, Location, OrderRule, Origin,
    Places, Policy, PoolFigures, Rule, ServiceOutcome, Source, Target, Tier, Unit, WhenExhausted, Written,
    contingency, lint, n_minus_1, n_minus_2, plans,
};
use tidegate_model::{Fraction, Locality, Phase, Share};

/// The clusters that lines may name, with their regions: `us-west` is 60 ms and `eu` 90 ms from `us-east`.
const FLEET: [(&str, &str); 4] =
    [("east", "us-east"), ("east-2", "us-east"), ("eu-1", "eu"), ("west", "us-west")];

/// A fleet of these pools. Each line is `SERVICE CLUSTER ZONE HEALTHY/EXPECTED [PHASE] [capacity=RPS]`; requests for
/// a service enter in every zone of a cluster that has the service, at a rate that is not known.
fn fleet(lines: &[&str]) -> FleetState {
    let mut state = FleetState::default();
    let mut zones: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, in_cluster, in_zone, counts, marks @ ..] = words.as_slice() else { panic!("{line}") };
        zones.entry(in_cluster).or_default().insert(in_zone);
        let (healthy, expected) = counts.split_once('/').unwrap();
        let (healthy, expected): (u32, u32) = (healthy.parse().unwrap(), expected.parse().unwrap());
        let phase = match (marks.first(), healthy, expected) {
            (Some(&"Holding"), ..) => Phase::Holding,
            (_, _, 0) => Phase::Empty,
            (_, 0, _) => Phase::Out,
            _ => Phase::Serving,
        };
        let capacity = marks.iter().find_map(|mark| mark.strip_prefix("capacity="));
        let figures = PoolFigures {
            expected,
            healthy,
            admit: if phase == Phase::Serving { Fraction::ONE } else { Fraction::ZERO },
            phase,
            capacity: capacity.map(|rps| rps.parse::<u64>().unwrap() * 1000),
        };
        let known = state.services.entry(service(name)).or_default();
        known.pools.insert((cluster(in_cluster), zone(in_zone)), figures);
    }
    for (name, in_region) in FLEET.iter().filter(|(name, _)| zones.contains_key(name)) {
        let ms = |ms| Duration::from_millis(ms);
        let distances = match *in_region {
            "us-east" => vec![("us-west", ms(60)), ("eu", ms(90))],
            "us-west" => vec![("us-east", ms(60)), ("eu", ms(150))],
            _ => vec![("us-east", ms(90)), ("us-west", ms(150))],
        };
        let distances = distances.into_iter().map(|(to, rtt)| (region(to), rtt)).collect();
        let member = FleetMember { region: region(in_region), distances, unreachable: BTreeSet::new() };
        state.clusters.insert(cluster(name), member);
        for known in state.services.values_mut() {
            if known.pools.keys().any(|(of, _)| of.as_str() == *name) {
                known.demand.extend(zones[name].iter().map(|it| (source(name, it), None)));
            }
        }
    }
    state
}

fn source(in_cluster: &str, in_zone: &str) -> Source {
    let (_, in_region) = FLEET.iter().find(|(name, _)| *name == in_cluster).unwrap();
    Source {
        cluster: cluster(in_cluster),
        locality: Locality { region: region(in_region), zone: zone(in_zone) },
    }
}

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
    Origin::File { object: "FailoverPolicy shop/web".into(), file: "web.yaml".into(), line }
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

// ---- what holds for every fleet ----

fn figures() -> impl Strategy<Value = PoolFigures> {
    let phases = vec![Phase::Serving, Phase::Reduced, Phase::Out, Phase::Holding, Phase::Ramping];
    (0..6u32, 0..6u32, 0..=4u32, select(phases)).prop_map(|(expected, healthy, quarters, phase)| {
        let healthy = healthy.min(expected);
        // A total loss acts at once, so nothing is admitted where nothing is healthy.
        let quarters = if healthy == 0 && expected > 0 { 0 } else { quarters };
        PoolFigures {
            expected,
            healthy,
            admit: Fraction::from_ppm(quarters * 250_000).unwrap(),
            phase: if expected == 0 { Phase::Empty } else { phase },
            capacity: None,
        }
    })
}

fn any_fleet() -> impl Strategy<Value = FleetState> {
    let pool = (0..2usize, 0..FLEET.len(), 0..3usize, figures());
    (vec(pool, 1..12), [policy(), policy()], vec((0..FLEET.len(), 0..FLEET.len()), 0..2)).prop_map(
        |(pools, policies, cut)| {
            let names = ["pay", "web"];
            let zones = ["a", "b", "c"];
            let all: Vec<String> = pools
                .iter()
                .map(|(name, of, at, _)| format!("{} {} {} 1/1", names[*name], FLEET[*of].0, zones[*at]))
                .collect();
            let mut state = fleet(&all.iter().map(String::as_str).collect::<Vec<_>>());
            for (name, of, at, figures) in pools {
                let known = state.services.get_mut(&service(names[name])).unwrap();
                known.policy = Arc::new(policies[name].clone());
                known.pools.insert((cluster(FLEET[of].0), zone(zones[at])), figures);
            }
            for (from, to) in cut.into_iter().filter(|(from, to)| from != to) {
                if let Some(member) = state.clusters.get_mut(&cluster(FLEET[from].0)) {
                    member.unreachable.insert(cluster(FLEET[to].0));
                }
            }
            state
        },
    )
}

fn lies_in(location: &Location, of: &str, at: &str) -> bool {
    match location {
        Location::Zone(it) => it.zone.as_str() == at && FLEET.contains(&(of, it.region.as_str())),
        Location::Cluster(it) => it.as_str() == of,
        Location::Region(it) => FLEET.contains(&(of, it.as_str())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn losing_nothing_gives_the_plans_as_they_stand(state in any_fleet()) {
        let found = contingency(&state, &[], Clients::Move);
        prop_assert!(found.stranded.is_empty());
        let plans = plans(&state);
        for service in &found.services {
            for source in &service.sources {
                let plan = &plans[&service.service][&source.source];
                prop_assert_eq!(&source.before, &plan.shares);
                prop_assert_eq!(&source.after, &plan.shares);
                prop_assert_eq!(source.shed, plan.shed);
            }
            prop_assert!(service.pools.iter().all(|pool| pool.before == pool.after));
        }
    }

    #[test]
    fn nothing_is_given_to_what_is_lost_and_nothing_is_forgotten(state in any_fleet()) {
        let pairs = n_minus_2(&state, Clients::Move, 40);
        for found in n_minus_1(&state, Clients::Move).into_iter().chain(pairs) {
            for service in &found.services {
                for pool in service.pools.iter().filter(|pool| pool.lost) {
                    prop_assert_eq!(pool.after, 0);
                }
                for source in service.sources.iter().filter(|source| !source.lost) {
                    let sum: u32 = source.after.values().map(|share| share.parts()).sum();
                    prop_assert_eq!(sum + source.shed.parts(), Share::ALL.parts());
                    for target in source.after.keys() {
                        let pools = state.services[&service.service].pools.keys();
                        let mut behind = pools.filter(|(of, at)| match target {
                            Target::Zone(it) => *of == source.source.cluster && it == at,
                            Target::Cluster(it) => it == of,
                        });
                        let is_left = |(of, at): &(_, _)| !found.lost.iter().any(|it| lies_in(it, &as_text(of), &as_text(at)));
                        prop_assert!(behind.any(is_left), "{target} is lost: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn losing_what_serves_a_source_nothing_changes_nothing_for_it(state in any_fleet()) {
        for found in n_minus_1(&state, Clients::Move) {
            for service in &found.services {
                let served_there = |source: &Source, targets: &BTreeMap<Target, Share>| targets.keys().any(|target| {
                    let mut pools = state.services[&service.service].pools.keys();
                    pools.any(|(of, at)| found.lost.iter().any(|it| lies_in(it, of.as_str(), at.as_str())) && match target {
                        Target::Zone(it) => *of == source.cluster && it == at,
                        Target::Cluster(it) => it == of,
                    })
                });
                for it in service.sources.iter().filter(|it| !it.lost && !served_there(&it.source, &it.before)) {
                    prop_assert_eq!(&it.before, &it.after, "{} from {} by {:?}", service.service, it.source, found.lost);
                }
            }
        }
    }

    #[test]
    fn the_order_in_which_a_fleet_is_told_decides_nothing(state in any_fleet()) {
        let mut told = FleetState::default();
        for (name, member) in state.clusters.iter().rev() {
            told.clusters.insert(name.clone(), member.clone());
        }
        for (name, known) in state.services.iter().rev() {
            let demand = known.demand.iter().rev().map(|(source, rate)| (source.clone(), *rate)).collect();
            told.services.insert(name.clone(), FleetService { demand, ..known.clone() });
        }
        let lose: Vec<Location> = state.locations().into_iter().take(2).collect();
        let back: Vec<Location> = lose.iter().rev().cloned().collect();
        let json = |found: &Contingency| serde_json::to_string(found).unwrap();
        let (a, b) = (contingency(&state, &lose, Clients::Move), contingency(&told, &back, Clients::Move));
        prop_assert_eq!(json(&a), json(&b));
        let read: Contingency = serde_json::from_str(&json(&a)).unwrap();
        prop_assert_eq!(read, a);
    }
}

fn as_text(name: &impl ToString) -> String {
    name.to_string()
}
