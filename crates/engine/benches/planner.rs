//! How long a decision takes: one plan, and a whole region lost (goals in DESIGN, section 9).
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark; criterion_group makes undocumented items")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{
    Candidate, CandidatePool, EndpointFacts, Engine, Event, Policy, Question, Saved, Source, Target, plan,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, PoolStatus, Region, ServiceName, Time, Zone};

const ZONES: [&str; 3] = ["a", "b", "c"];
const CLUSTERS: [(&str, &str); 3] = [("west", "us-west"), ("eu", "eu-west"), ("asia", "asia-east")];

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

fn source(in_zone: &str) -> Source {
    let locality = Locality { region: region("us-east"), zone: zone(in_zone) };
    Source { cluster: cluster("east"), locality }
}

fn distances() -> BTreeMap<Region, Duration> {
    CLUSTERS.iter().zip([60, 90, 150]).map(|((_, at), ms)| (region(at), Duration::from_millis(ms))).collect()
}

fn whole(count: u32) -> CandidatePool {
    CandidatePool { expected: count, healthy: count, admit: Fraction::ONE }
}

/// Twelve pools: three zones of the own cluster, and three other clusters of three zones.
fn twelve_pools() -> Vec<Candidate> {
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

/// The same number of pools, each a target of its own: the most that a source chooses among.
fn twelve_targets() -> Vec<Candidate> {
    let mut candidates = twelve_pools();
    for (name, its_region) in CLUSTERS {
        for n in 2..=3 {
            let name = format!("{name}-{n}");
            candidates.push(Candidate {
                target: Target::Cluster(cluster(&name)),
                cluster: cluster(&name),
                region: region(its_region),
                pools: BTreeMap::from([(zone("a"), whole(10))]),
                phase: Phase::Serving,
                reachable: true,
                hold: None,
            });
        }
    }
    candidates
}

fn one_plan(criterion: &mut Criterion) {
    let (service, source) = (ServiceName::new("shop", "web").unwrap(), source("a"));
    let (policy, distances) = (Policy::default(), distances());
    let mut group = criterion.benchmark_group("plan_one_service");
    let mut bench = |name: &str, candidates: &[Candidate]| {
        let question = Question {
            service: &service,
            source: &source,
            policy: &policy,
            candidates,
            distances: &distances,
        };
        let previous = plan(&question, None);
        group.bench_function(name, |bencher| {
            bencher.iter(|| plan(black_box(&question), Some(black_box(&previous))));
        });
    };
    bench("12_pools", &twelve_pools());
    let mut lost = twelve_pools();
    lost[0].pools.insert(zone("a"), CandidatePool { healthy: 0, admit: Fraction::ZERO, ..whole(10) });
    lost[0].phase = Phase::Out;
    bench("12_pools_zone_lost", &lost);
    bench("12_targets", &twelve_targets());
    group.finish();
}

/// An engine with sources in three zones, whose own pools stand beside those of three clusters.
fn fleet(services: usize) -> Engine {
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

fn status(service: &ServiceName, in_region: &str, in_zone: &str) -> PoolStatus {
    PoolStatus {
        service: service.clone(),
        locality: Locality { region: region(in_region), zone: zone(in_zone) },
        expected: 10,
        healthy: 10,
        admit: Fraction::ONE,
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    }
}

fn region_lost(criterion: &mut Criterion) {
    let engine = fleet(10_000);
    let now = Time::from_millis(1000);
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(10);
    group.bench_function("region_lost_10k_services_3_sources", |bencher| {
        bencher.iter_batched_ref(
            || engine.clone(),
            |engine| engine.handle(Event::Unreachable(cluster("west")), now),
            BatchSize::PerIteration,
        );
    });
    let mut engine = engine;
    let one = ServiceName::new("shop", "svc-0").unwrap();
    let mut up = false;
    group.bench_function("one_endpoint_changed_of_10k_services", |bencher| {
        bencher.iter(|| {
            up = !up;
            let address = SocketAddr::from(([10, 0, 0, 1], 8080));
            engine.handle(Event::Checked { service: one.clone(), address, up, detail: String::new() }, now)
        });
    });
    group.finish();
}

criterion_group!(benches, one_plan, region_lost);
criterion_main!(benches);
