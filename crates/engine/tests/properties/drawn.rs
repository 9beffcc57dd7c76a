//! Random policies, fleets and events.

use crate::fixture::{cluster, percent, region, service, zone};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::{
    Candidate, CandidatePool, Capacity, Failback, FailbackMode, Load, Location, OrderRule, Places, Policy,
    Proximity, Residency, Shift, ShiftTarget, ShiftedBy, Spread, Target, Tier, Weights, WhenExhausted,
    Written,
};
use tidegate_model::{Fraction, Locality, Phase, Share};

/// Most histories are about the first two; a verdict on a place takes more.
pub(crate) const SERVICES: [&str; 6] = ["web", "pay", "auth", "cart", "mail", "feed"];
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
    Check {
        service: usize,
        zone: usize,
        n: u8,
        up: bool,
    },
    CheckZone {
        service: usize,
        zone: usize,
        up: bool,
    },
    Endpoints {
        service: usize,
        endpoints: Vec<(usize, u8, u8)>,
    },
    /// The last is what remains of a hold-down, in seconds.
    Remote {
        cluster: usize,
        pools: Vec<(usize, bool, CandidatePool, Phase, u64)>,
    },
    Unreachable(usize),
    Reachable(usize, bool),
    Topology(Vec<usize>),
    Sources(Vec<usize>),
    Removed(usize),
    Release {
        service: usize,
        zone: usize,
    },
    ReleaseCluster {
        service: usize,
        cluster: usize,
    },
    Policy {
        service: usize,
        policy: Box<Policy>,
    },
    Demand {
        service: usize,
        zone: usize,
        load: Load,
    },
    RemoteDemand {
        service: usize,
        cluster: usize,
        load: Load,
    },
    Arrivals {
        service: usize,
        at: usize,
        from: usize,
        load: Load,
    },
    Restart,
    /// Every service finds the same in a zone.
    ZoneOfAll {
        zone: usize,
        up: bool,
    },
    Succeeded {
        service: usize,
        zone: usize,
    },
    Shift(Shift),
    ShiftEnded(usize),
    /// Another replica tells what it found in a zone; its word may be so many milliseconds old.
    Replica {
        name: usize,
        service: usize,
        zone: usize,
        up: bool,
        age_ms: u64,
    },
    /// A replica that has seen nothing but this zone of the service down and up again joins.
    Joins {
        service: usize,
        zone: usize,
        back: bool,
    },
}

pub(crate) const SHIFTS: [&str; 2] = ["drain", "drill"];

fn shift() -> impl Strategy<Value = Shift> {
    let locality =
        (0..ZONES.len()).prop_map(|at| Locality { region: region("us-east"), zone: zone(ZONES[at]) });
    let location = prop_oneof![
        4 => locality.prop_map(Location::Zone),
        1 => Just(Location::Cluster(cluster("east"))),
        2 => (0..CLUSTERS.len()).prop_map(|at| Location::Cluster(cluster(CLUSTERS[at].0))),
        1 => (0..REGIONS.len()).prop_map(|at| Location::Region(region(REGIONS[at]))),
    ];
    let service = proptest::option::weighted(0.3, (0..2_usize).prop_map(|at| service(SERVICES[at])));
    let percent = prop_oneof![3 => Just(100_u32), 2 => 0..=101_u32];
    let by = prop_oneof![Just(ShiftedBy::Drill), Just(ShiftedBy::Operator)];
    (0..SHIFTS.len(), location, service, percent, 0..90_u64, by, proptest::bool::weighted(0.2)).prop_map(
        |(name, location, service, percent, remaining, by, force)| Shift {
            name: SHIFTS[name].to_owned(),
            target: ShiftTarget { location, service },
            percent,
            remaining: Duration::from_secs(remaining),
            by,
            comment: String::new(),
            force,
        },
    )
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
    (count(), count(), count(), fraction()).prop_map(|(expected, present, healthy, admit)| CandidatePool {
        expected,
        present,
        healthy,
        admit,
    })
}

/// A step of a history of so many services.
pub(crate) fn step(services: usize) -> impl Strategy<Value = Step> {
    prop_oneof![6 => told(services), 1 => acting(services)]
}

/// What acts on pools besides their own health, and what replicas say.
pub(crate) fn acting(services: usize) -> impl Strategy<Value = Step> {
    let (in_service, in_zone) = (0..services, 0..ZONES.len());
    prop_oneof![
        3 => (in_zone.clone(), any::<bool>()).prop_map(|(zone, up)| Step::ZoneOfAll { zone, up }),
        1 => (in_service.clone(), in_zone.clone())
            .prop_map(|(service, zone)| Step::Succeeded { service, zone }),
        4 => shift().prop_map(Step::Shift),
        1 => (0..SHIFTS.len()).prop_map(Step::ShiftEnded),
        3 => (0..3_usize, in_service.clone(), in_zone.clone(), any::<bool>(), 0..4000_u64)
            .prop_map(|(name, service, zone, up, age_ms)| Step::Replica { name, service, zone, up, age_ms }),
        1 => (in_service, in_zone, any::<bool>())
            .prop_map(|(service, zone, back)| Step::Joins { service, zone, back }),
    ]
}

fn told(services: usize) -> impl Strategy<Value = Step> {
    let phase = || proptest::sample::select(PHASES.to_vec());
    let (in_service, in_zone, in_cluster) = (0..services, 0..ZONES.len(), 0..CLUSTERS.len());
    let endpoints = vec((in_zone.clone(), 1..5u8, 0..8u8), 0..10);
    let pools = vec((in_service.clone(), any::<bool>(), remote_pool(), phase(), 0..60_u64), 0..4);
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

/// Candidates of the planner.
pub(crate) fn board(
    zones: &[(CandidatePool, usize)],
    clusters: &[(Vec<CandidatePool>, usize, bool)],
) -> Vec<Candidate> {
    let local = zones.iter().zip(ZONES).map(|((pool, phase), name)| Candidate {
        target: Target::Zone(zone(name)),
        cluster: cluster("east"),
        region: region("us-east"),
        pools: BTreeMap::from([(zone(name), *pool)]),
        phase: PHASES[*phase],
        reachable: true,
        hold: None,
    });
    let remote =
        clusters.iter().zip(CLUSTERS).map(|((pools, phase, reachable), (name, its_region))| Candidate {
            target: Target::Cluster(cluster(name)),
            cluster: cluster(name),
            region: region(its_region),
            pools: pools.iter().zip(["x", "y"]).map(|(pool, name)| (zone(name), *pool)).collect(),
            phase: PHASES[*phase],
            reachable: *reachable,
            hold: None,
        });
    local.chain(remote).collect()
}
