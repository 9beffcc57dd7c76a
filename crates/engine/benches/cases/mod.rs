//! What is measured, by time in `planner` and by instructions in `instructions`: the same inputs for both.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{
    Candidate, CandidatePool, EndpointFacts, Engine, Event, Policy, PoolBudget, Saved, Source, Standing,
    Stream, Target,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, PoolStatus, Region, ServiceName, Time, Zone};

pub(crate) const ZONES: [&str; 3] = ["a", "b", "c"];
pub(crate) const CLUSTERS: [(&str, &str); 3] =
    [("west", "us-west"), ("eu", "eu-west"), ("asia", "asia-east")];

pub(crate) fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

pub(crate) fn region(name: &str) -> Region {
    name.parse().unwrap()
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

pub(crate) fn source(in_zone: &str) -> Source {
    let locality = Locality { region: region("us-east"), zone: zone(in_zone) };
    Source { cluster: cluster("east"), locality }
}

pub(crate) fn distances() -> BTreeMap<Region, Duration> {
    CLUSTERS.iter().zip([60, 90, 150]).map(|((_, at), ms)| (region(at), Duration::from_millis(ms))).collect()
}

pub(crate) fn whole(count: u32) -> CandidatePool {
    CandidatePool { expected: count, present: count, healthy: count, admit: Fraction::ONE }
}

/// Twelve pools: three zones of the own cluster, and three other clusters of three zones.
pub(crate) fn twelve_pools() -> Vec<Candidate> {
    let local = ZONES.iter().map(|name| Candidate {
        target: Target::Zone(zone(name)),
        cluster: cluster("east"),
        region: region("us-east"),
        pools: BTreeMap::from([(zone(name), whole(10))]),
        phase: Phase::Serving,
        reachable: true,
        hold: None,
    });
    let remote = CLUSTERS.iter().map(|(name, its_region)| Candidate {
        target: Target::Cluster(cluster(name)),
        cluster: cluster(name),
        region: region(its_region),
        pools: ZONES.iter().map(|name| (zone(name), whole(10))).collect(),
        phase: Phase::Serving,
        reachable: true,
        hold: None,
    });
    local.chain(remote).collect()
}

/// An engine with sources in three zones, whose own pools stand beside those of three clusters.
pub(crate) fn fleet(services: usize) -> Engine {
    let mut engine = Engine::new(cluster("east"), region("us-east"), Saved::default());
    let clusters = CLUSTERS.iter().map(|(name, at)| (cluster(name), region(at))).collect();
    engine.handle(Event::Topology { clusters, distances: distances() }, Time::ZERO);
    let sources: BTreeSet<Source> = ZONES.iter().map(|name| source(name)).collect();
    engine.handle(Event::Sources(sources), Time::ZERO);
    let names: Vec<ServiceName> =
        (0..services).map(|n| ServiceName::new("shop", &format!("svc-{n}")).unwrap()).collect();
    for (name, its_region) in CLUSTERS {
        let pools =
            names.iter().flat_map(|service| ZONES.map(|in_zone| status(service, its_region, in_zone)));
        engine.handle(Event::RemotePools { cluster: cluster(name), pools: pools.collect() }, Time::ZERO);
    }
    // Every second service lives in the region us-west alone as far as this cluster knows, so that losing it moves traffic.
    let policy = Arc::new(Policy::default());
    for (n, name) in names.into_iter().enumerate() {
        let facts = EndpointFacts::default();
        let own = if n % 2 == 0 { &ZONES[..] } else { &[] };
        let endpoints = own.iter().zip(1..).map(|(in_zone, host): (&&str, u8)| {
            (SocketAddr::from(([10, 0, 0, host], 8080)), (zone(in_zone), facts))
        });
        let policy = Arc::clone(&policy);
        let event = Event::Service { name, policy, endpoints: endpoints.collect(), replicas: None };
        engine.handle(event, Time::ZERO);
    }
    engine
}

pub(crate) fn status(service: &ServiceName, in_region: &str, in_zone: &str) -> PoolStatus {
    PoolStatus {
        service: service.clone(),
        locality: Locality { region: region(in_region), zone: zone(in_zone) },
        expected: 10,
        present: 10,
        healthy: 10,
        admit: Fraction::ONE,
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    }
}

/// The cluster of the region us-west goes out of reach.
pub(crate) fn lose_west(engine: &mut Engine) -> tidegate_engine::Effects {
    engine.handle(Event::Unreachable(cluster("west")), Time::from_millis(1000))
}

/// The only endpoint of `shop/svc-0` in the zone a changes.
pub(crate) fn change_one_endpoint(engine: &mut Engine, up: bool) -> tidegate_engine::Effects {
    let (service, address) =
        (ServiceName::new("shop", "svc-0").unwrap(), SocketAddr::from(([10, 0, 0, 1], 8080)));
    engine.handle(Event::Checked { service, address, up, detail: String::new() }, Time::from_millis(1000))
}

pub(crate) fn whole_budget(ceiling: u64) -> PoolBudget {
    let standing = Standing::Settled;
    PoolBudget { within: ceiling, ceiling, taken: 0, gate: u64::MAX, standing, heard: true }
}

/// Twenty sources over sixty pools (twenty clusters of three zones), a third of them out and the rest near their limit, so
/// that demand falls through several tiers.
pub(crate) fn twenty_sources() -> (Vec<Stream>, Vec<PoolBudget>) {
    let pools: Vec<PoolBudget> = (0..60_u64)
        .map(|n| {
            let ceiling = if n % 3 == 0 { 0 } else { 700_000_000 + n * 1_000_000 };
            whole_budget(ceiling)
        })
        .collect();
    let stream = |n: usize| {
        let home = n * 3;
        let abroad =
            (1..20).map(|far| (n + far) % 20 * 3).map(|first| (first..first + 3).collect::<Vec<_>>());
        let tiers = [vec![home], vec![home + 1, home + 2]].into_iter().chain(abroad.collect::<Vec<_>>());
        let busy = if n.is_multiple_of(2) { 1_300_000_000 } else { 1_700_000_000 };
        Stream { demand: busy, own: n == 0, tiers: tiers.collect(), ..Stream::default() }
    };
    ((0..20).map(stream).collect(), pools)
}
