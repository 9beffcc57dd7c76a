//! How long a decision takes: one plan, and a whole region lost (goals in DESIGN, section 9).
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark; criterion_group makes undocumented items")]

mod cases;

use cases::{
    CLUSTERS, ZONES, change_one_endpoint, cluster, distances, fleet, lose_west, region, source, twelve_pools,
    twenty_sources, whole, zone,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::{collections::BTreeMap, hint::black_box, net::SocketAddr, sync::Arc};
use tidegate_engine::{
    Candidate, CandidatePool, Capacity, EndpointFacts, Event, FleetView, Load, Policy, Question, Target,
    WhenExhausted, plan, spend,
};
use tidegate_model::{Fraction, Phase, ServiceName, Time};

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

fn region_lost(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(10);
    group.bench_function("region_lost_10k_services_3_sources", |bencher| {
        // Built anew each time, not cloned: a clone would share plans with the original, and hide what it costs to drop them.
        bencher.iter_batched_ref(|| fleet(10_000), lose_west, BatchSize::PerIteration);
    });
    let mut engine = fleet(10_000);
    let mut up = false;
    group.bench_function("one_endpoint_changed_of_10k_services", |bencher| {
        bencher.iter(|| {
            up = !up;
            change_one_endpoint(&mut engine, up)
        });
    });
    group.finish();
}

fn waterfall(criterion: &mut Criterion) {
    let (streams, pools) = twenty_sources();
    criterion.bench_function("waterfall_20_sources_60_pools", |bencher| {
        bencher.iter(|| spend(black_box(&streams), black_box(&pools), WhenExhausted::Spread));
    });
}

/// The same through the engine: what one report of demand costs a service, plans, standby tiers and reasons included.
fn declared(criterion: &mut Criterion) {
    let mut engine = fleet(1);
    let policy =
        Policy { capacity: Some(Capacity::per_endpoint(Load::Rate { rps: 100_000 })), ..Policy::default() };
    let name = ServiceName::new("shop", "svc-0").unwrap();
    let facts = EndpointFacts { ready: true, terminating: false, checked: false, ..EndpointFacts::default() };
    let endpoints = ZONES.iter().zip(1..).flat_map(|(in_zone, net)| {
        (1..=10).map(move |host| (SocketAddr::from(([10, 0, net, host], 8080)), (zone(in_zone), facts)))
    });
    let endpoints = endpoints.collect();
    let now = Time::from_millis(1000);
    engine.handle(
        Event::Service { name: name.clone(), policy: Arc::new(policy), endpoints, replicas: None },
        now,
    );
    for (remote, _) in CLUSTERS {
        let zones = ZONES.iter().map(|it| (zone(it), Load::Rate { rps: 700_000 })).collect();
        let demand = BTreeMap::from([(name.clone(), zones)]);
        let view = FleetView::default();
        engine.handle(Event::RemoteDemand { cluster: cluster(remote), view, demand }, now);
    }
    let mut rps = 900_000;
    criterion.bench_function("declared_12_sources_12_pools_3_plans", |bencher| {
        bencher.iter(|| {
            rps = 1_800_000 - rps;
            let rate = Load::Rate { rps };
            engine.handle(Event::Demand { source: source("a"), service: name.clone(), rate }, now)
        });
    });
}

criterion_group!(benches, one_plan, region_lost, waterfall, declared);
criterion_main!(benches);
