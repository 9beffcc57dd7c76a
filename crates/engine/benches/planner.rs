//! How long a decision takes: one plan, and a whole region lost (goals in DESIGN, section 9).
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark; criterion_group makes undocumented items")]

mod cases;

use cases::{
    CLUSTERS, ZONES, change_one_endpoint, cluster, distances, fleet, lose_west, region, source, twelve_pools,
    twenty_sources, whole, whole_budget, zone,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::{collections::BTreeMap, hint::black_box, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_engine::{
    Candidate, CandidatePool, Capacity, EndpointFacts, Event, FleetView, Load, Policy, PoolBudget, Question,
    Standing, Stream, Target, WhenExhausted, plan, spend,
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

/// Twenty sources over sixty pools, every second of which reaches its own cluster and the next one only, and is left with
/// something unless others move on.
fn squeezed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("waterfall_20_sources_60_pools");
    let cluster = |n: usize| (n % 20 * 3..n % 20 * 3 + 3).collect::<Vec<_>>();
    let way = |n: usize, farthest: usize| {
        let near = [vec![n * 3], vec![n * 3 + 1, n * 3 + 2]];
        near.into_iter().chain((1..=farthest).map(|far| cluster(n + far))).collect::<Vec<_>>()
    };
    let full: Vec<PoolBudget> = (0..60).map(|n| whole_budget(700_000_000 + n * 1_000_000)).collect();
    let demand = |n: usize, choosy: u64, free: u64| match n {
        14.. => 800_000_000,
        n if n.is_multiple_of(2) => choosy,
        _ => free,
    };
    let streams = |choosy: u64, free: u64| -> Vec<Stream> {
        let stream = |n: usize| Stream {
            demand: demand(n, choosy, free),
            own: n == 0,
            tiers: way(n, if n.is_multiple_of(2) { 1 } else { 19 }),
            ..Stream::default()
        };
        (0..20).map(stream).collect()
    };
    let mut bench = |name: &str, streams: &[Stream], pools: &[PoolBudget]| {
        let spending = spend(streams, pools, WhenExhausted::Shed);
        assert!(!spending.moves.is_empty(), "{name}: somebody is moved on");
        group.bench_function(name, |bencher| {
            bencher.iter(|| spend(black_box(streams), black_box(pools), WhenExhausted::Spread));
        });
    };
    bench("moved_on", &streams(2_700_000_000, 1_900_000_000), &full);
    // A third comes back and a third was emptied on purpose, so that every pass leaves something over, the last one too.
    let mut coming_back = full.clone();
    for (n, pool) in coming_back.iter_mut().enumerate() {
        match n % 3 {
            1 => (pool.within, pool.standing) = (pool.ceiling / 2, Standing::Returning),
            2 => (pool.within, pool.standing) = (0, Standing::Shifted),
            _ => {}
        }
    }
    bench("moved_on_in_every_pass", &streams(4_300_000_000, 1_200_000_000), &coming_back);
    // Each reaches the next cluster only, and the room is twenty clusters on: the longest way.
    let mut chain: Vec<Stream> = (0..20)
        .map(|n| Stream { demand: 2_000_000_000, own: n == 0, tiers: way(n, 1), ..Stream::default() })
        .collect();
    chain[0].demand = 2_900_000_000;
    chain[19].tiers.pop();
    chain[19].demand = 1_000_000_000;
    bench("moved_on_along_a_chain", &chain, &full);
    group.finish();
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
    let (mut rps, mut now) = (600_000, now);
    criterion.bench_function("declared_12_sources_12_pools_3_plans", |bencher| {
        bencher.iter(|| {
            // Demand is smoothed over time, so it moves only as time passes.
            (rps, now) = (1_800_000 - rps, now + Duration::from_secs(1));
            let rate = Load::Rate { rps };
            engine.handle(
                Event::Demand { source: source("a"), rates: BTreeMap::from([(name.clone(), rate)]) },
                now,
            )
        });
    });
}

criterion_group!(benches, one_plan, region_lost, waterfall, squeezed, declared);
criterion_main!(benches);
