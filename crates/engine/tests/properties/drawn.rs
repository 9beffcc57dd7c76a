//! Random policies, fleets and events.

use crate::fixture::{cluster, percent, region, zone};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use std::time::Duration;
use tidegate_engine::{
    CandidatePool, Capacity, Failback, FailbackMode, Load, OrderRule, Places, Policy, Proximity, Residency,
    Spread, Tier, Weights, WhenExhausted, Written,
};
use tidegate_model::{Fraction, Phase, Share};

pub(crate) const SERVICES: [&str; 2] = ["web", "pay"];
pub(crate) const ZONES: [&str; 3] = ["a", "b", "c"];
pub(crate) const CLUSTERS: [(&str, &str); 4] =
    [("east-2", "us-east"), ("west-1", "us-west"), ("west-2", "us-west"), ("eu-1", "eu")];
pub(crate) const REGIONS: [&str; 3] = ["us-east", "us-west", "eu"];
pub(crate) const PHASES: [Phase; 6] =
    [Phase::Serving, Phase::Reduced, Phase::Out, Phase::Holding, Phase::Ramping, Phase::Shifted];

/// One thing that happens; places are positions in the lists above.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wait(u64),
    Back(u64),
    Check { service: usize, zone: usize, n: u8, up: bool },
    CheckZone { service: usize, zone: usize, up: bool },
    Endpoints { service: usize, endpoints: Vec<(usize, u8, u8)> },
    Remote { cluster: usize, pools: Vec<(usize, bool, CandidatePool, Phase)> },
    Unreachable(usize),
    Reachable(usize, bool),
    Topology(Vec<usize>),
    Sources(Vec<usize>),
    Removed(usize),
    Release { service: usize, zone: usize },
    ReleaseCluster { service: usize, cluster: usize },
    Policy { service: usize, policy: Box<Policy> },
    Demand { service: usize, zone: usize, load: Load },
    RemoteDemand { service: usize, cluster: usize, load: Load },
    Arrivals { service: usize, at: usize, from: usize, load: Load },
    Restart,
}

fn fraction() -> impl Strategy<Value = Fraction> {
    prop_oneof![Just(Fraction::ZERO), Just(Fraction::ONE), (0..=100u32).prop_map(|it| percent(f64::from(it)))]
}

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..=most).prop_map(Duration::from_secs)
}

fn places() -> impl Strategy<Value = Places> {
    let some = |names: Vec<&'static str>| subsequence(names, 0..=2);
    let clusters = CLUSTERS.map(|(name, _)| name).to_vec();
    (some(REGIONS.to_vec()), some(ZONES.to_vec()), some(clusters)).prop_map(|(regions, zones, clusters)| {
        Places {
            regions: regions.into_iter().map(region).collect(),
            zones: zones.into_iter().map(zone).collect(),
            clusters: clusters.into_iter().map(cluster).collect(),
        }
    })
}

/// The regions, zones or clusters of drawn places with weights, one of them above 0; those that are drawn beside narrow it.
fn weighted() -> impl Strategy<Value = Tier> {
    let weight = prop_oneof![Just(0u32), 1..5u32, Just(1_000_000u32)];
    let kind = prop_oneof![Just('r'), Just('z'), Just('c')];
    (places(), kind, vec(weight, 2), 1..9u32).prop_map(|(mut places, kind, weights, least)| {
        // The first is at least this.
        let weights =
            || weights.iter().enumerate().map(|(at, it)| if at == 0 { (*it).max(least) } else { *it });
        let weights = match kind {
            'r' => {
                places.regions.insert(region("us-east"));
                Weights::Regions(places.regions.iter().cloned().zip(weights()).collect())
            }
            'z' => {
                places.zones.insert(zone("a"));
                Weights::Zones(places.zones.iter().cloned().zip(weights()).collect())
            }
            _ => {
                places.clusters.insert(cluster("west-1"));
                Weights::Clusters(places.clusters.iter().cloned().zip(weights()).collect())
            }
        };
        // A third name has no weight, so it is not named.
        match &weights {
            Weights::Regions(weights) => places.regions.retain(|it| weights.contains_key(it)),
            Weights::Zones(weights) => places.zones.retain(|it| weights.contains_key(it)),
            Weights::Clusters(weights) => places.clusters.retain(|it| weights.contains_key(it)),
        }
        Tier::Weighted(places, weights)
    })
}

fn order() -> impl Strategy<Value = Written<OrderRule>> {
    let tier = prop_oneof![
        Just(Tier::SameZone),
        Just(Tier::SameRegion),
        Just(Tier::Any),
        places().prop_map(Tier::Only),
        places().prop_map(Tier::AnyExcept),
        weighted(),
    ];
    (places(), vec(tier, 0..4)).prop_map(|(from, to)| Written::default_value(OrderRule { from, to }))
}

fn failback() -> impl Strategy<Value = Failback> {
    let mode = prop_oneof![4 => Just(FailbackMode::Auto), 1 => Just(FailbackMode::Manual)];
    (mode, seconds(40), seconds(120), seconds(60), vec(fraction(), 0..4), seconds(15)).prop_map(
        |(mode, hold_down, max_hold_down, quiet, ramp_steps, ramp_interval)| Failback {
            mode: Written::default_value(mode),
            hold_down: Written::default_value(hold_down),
            max_hold_down: Written::default_value(max_hold_down),
            quiet,
            ramp_steps: Written::default_value(ramp_steps),
            ramp_interval: Written::default_value(ramp_interval),
            // A ramp that lacks headroom asks again for ever, and these runs are to settle; it has tests of its own.
            require_headroom: Written::default_value(false),
        },
    )
}

fn load() -> impl Strategy<Value = Load> {
    let amount = || prop_oneof![8 => 0..3_000_000_u64, 1 => Just(u64::MAX)];
    prop_oneof![
        5 => amount().prop_map(|rps| Load::Rate { rps }),
        1 => amount().prop_map(|requests| Load::Concurrency { requests }),
    ]
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let spread = prop_oneof![3 => Just(Spread::Waterfall), 1 => Just(Spread::Spray)];
    (load(), fraction(), spread).prop_map(|(load, target, spread)| Capacity {
        target_utilization: Written::default_value(target),
        spread: Written::default_value(spread),
        ..Capacity::per_endpoint(load)
    })
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let clusters = ["east", "east-2", "west-1", "eu-1"].map(cluster).to_vec();
    let clusters = proptest::option::weighted(0.3, subsequence(clusters, 0..=3));
    let residency = (proptest::option::weighted(0.7, subsequence(REGIONS.to_vec(), 0..=2)), clusters);
    let residency = proptest::option::weighted(
        0.3,
        residency.prop_map(|(regions, clusters)| Residency {
            regions: regions.map(|names| names.into_iter().map(region).collect()),
            clusters: clusters.map(|names| names.into_iter().collect()),
        }),
    );
    let exhausted = prop_oneof![Just(WhenExhausted::Spread), Just(WhenExhausted::Shed)];
    let retention = prop_oneof![Just(0), Just(1), Just(30), Just(600)].prop_map(Duration::from_secs);
    let fractions = (fraction(), fraction());
    let declared = (exhausted, proptest::option::weighted(0.5, capacity()));
    (vec(order(), 0..3), fractions, seconds(4), residency, failback(), declared, 0..300u32, retention)
        .prop_map(
            |(
                failover,
                (threshold, minimum),
                delay,
                residency,
                failback,
                (exhausted, capacity),
                dead_band,
                retention,
            )| Policy {
                failover,
                failover_threshold: Written::default_value(threshold),
                minimum_healthy: Written::default_value(minimum),
                partial_loss_delay: Written::default_value(delay),
                residency: residency.map(Written::default_value),
                capacity,
                failback,
                when_exhausted: Written::default_value(exhausted),
                proximity: Written::default_value(Proximity::Measured),
                dead_band: Share::new(dead_band).unwrap(),
                retention,
            },
        )
}

pub(crate) fn remote_pool() -> impl Strategy<Value = CandidatePool> {
    let count = || prop_oneof![8 => 0..12u32, 1 => Just(u32::MAX)];
    (count(), count(), fraction()).prop_map(|(expected, healthy, admit)| CandidatePool {
        expected,
        healthy,
        admit,
    })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let phase = || proptest::sample::select(PHASES.to_vec());
    let (in_service, in_zone, in_cluster) = (0..SERVICES.len(), 0..ZONES.len(), 0..CLUSTERS.len());
    let endpoints = vec((in_zone.clone(), 1..5u8, 0..8u8), 0..10);
    let pools = vec((in_service.clone(), any::<bool>(), remote_pool(), phase()), 0..4);
    prop_oneof![
        8 => (0..40_000u64).prop_map(Step::Wait),
        1 => (0..40_000u64).prop_map(Step::Back),
        6 => (in_service.clone(), in_zone.clone(), 1..5u8, any::<bool>())
            .prop_map(|(service, zone, n, up)| Step::Check { service, zone, n, up }),
        8 => (in_service.clone(), in_zone.clone(), any::<bool>())
            .prop_map(|(service, zone, up)| Step::CheckZone { service, zone, up }),
        4 => (in_service.clone(), endpoints)
            .prop_map(|(service, endpoints)| Step::Endpoints { service, endpoints }),
        5 => (in_cluster.clone(), pools).prop_map(|(cluster, pools)| Step::Remote { cluster, pools }),
        3 => in_cluster.clone().prop_map(Step::Unreachable),
        3 => (in_cluster.clone(), any::<bool>()).prop_map(|(cluster, quick)| Step::Reachable(cluster, quick)),
        1 => subsequence((0..CLUSTERS.len()).collect::<Vec<_>>(), 1..=4).prop_map(Step::Topology),
        1 => subsequence((0..ZONES.len()).collect::<Vec<_>>(), 0..=3).prop_map(Step::Sources),
        1 => in_service.clone().prop_map(Step::Removed),
        1 => (in_service.clone(), in_zone.clone()).prop_map(|(service, zone)| Step::Release { service, zone }),
        1 => (in_service.clone(), in_cluster.clone())
            .prop_map(|(service, cluster)| Step::ReleaseCluster { service, cluster }),
        4 => (in_service.clone(), in_zone.clone(), load())
            .prop_map(|(service, zone, load)| Step::Demand { service, zone, load }),
        1 => (in_service.clone(), in_cluster.clone(), load())
            .prop_map(|(service, cluster, load)| Step::RemoteDemand { service, cluster, load }),
        1 => (in_service.clone(), in_cluster.clone(), in_cluster.clone(), load())
            .prop_map(|(service, at, from, load)| Step::Arrivals { service, at, from, load }),
        1 => (in_service, policy())
            .prop_map(|(service, policy)| Step::Policy { service, policy: Box::new(policy) }),
        1 => Just(Step::Restart),
    ]
}
