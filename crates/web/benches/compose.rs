//! What a picture of a large fleet costs: 100 clusters with 10,000 services, each in three clusters and two zones of each.
//! `cargo bench --package tidegate-web --bench compose`.
#![allow(missing_docs, clippy::print_stdout, reason = "a benchmark talks on its terminal")]
#![allow(clippy::unwrap_used, reason = "names that are made here are names")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_model::{Phase, ServiceName};
use tidegate_web::{
    compose::{Around, ClusterTold, FlowTold, PlanTold, PoolTold, Summary, fleet},
    model::{Capacity, ClusterState, PolicyFacts, Scope},
};

const CLUSTERS: usize = 100;
const SERVICES: usize = 10_000;
const PLACES: usize = 3;
const ROUNDS: u32 = 20;

fn name(service: usize) -> ServiceName {
    format!("team-{}/service-{service}", service / 10).parse().unwrap()
}

/// The pools of a cluster; those of one in ten services have lost a zone.
fn pools(cluster: usize) -> (Vec<PoolTold>, Vec<PlanTold>) {
    let here = (0..SERVICES).filter(|it| (0..PLACES).any(|place| (it + place * 37) % CLUSTERS == cluster));
    let (mut pools, mut plans) = (Vec::new(), Vec::new());
    for service in here {
        for zone in ["a", "b"] {
            let is_out = service % 10 == 0 && zone == "a";
            pools.push(PoolTold {
                service: name(service),
                zone: zone.parse().unwrap(),
                phase: if is_out { Phase::Out } else { Phase::Serving },
                expected: 4,
                healthy: if is_out { 0 } else { 4 },
                capacity: Some(Capacity {
                    unit: "requests/s".into(),
                    declared: 400.0,
                    budget: 320.0,
                    load: Some(99.0),
                }),
            });
            if is_out {
                plans.push(PlanTold {
                    service: name(service),
                    zone: zone.parse().unwrap(),
                    shares: vec![("zone b".to_owned(), 1000)],
                    shed_permille: 0,
                    rule: "NotAdmitted".to_owned(),
                    why: "zone a gets nothing: 0 of 4 healthy".to_owned(),
                });
            }
        }
    }
    (pools, plans)
}

fn told(cluster: usize, summary: Arc<Summary>) -> ClusterTold {
    let flow = |zone: &str| FlowTold {
        zone: zone.parse().unwrap(),
        target: format!("zone {zone}"),
        rate: 1000.0,
        failed: 1.0,
    };
    ClusterTold {
        name: format!("cluster-{cluster:02}").parse().unwrap(),
        region: Some(format!("region-{}", cluster / 10).parse().unwrap()),
        state: ClusterState::Live,
        heard_at_ms: Some(1),
        applied: 1,
        held_back: None,
        rejected: Vec::new(),
        gateways: Vec::new(),
        peers: Vec::new(),
        flows: vec![flow("a"), flow("b")],
        shifts: Vec::new(),
        summary,
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() {
    let clusters: Vec<_> = (0..CLUSTERS).map(pools).collect();
    let (mut sums, mut pictures) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut summaries = Vec::new();
        for (pools, plans) in &clusters {
            let began = Instant::now();
            summaries.push(Arc::new(Summary::of(pools, plans, &BTreeMap::new(), &BTreeMap::new())));
            sums.push(began.elapsed());
        }
        let told: Vec<ClusterTold> =
            summaries.into_iter().enumerate().map(|(cluster, summary)| told(cluster, summary)).collect();
        let around = Around {
            scope: Scope::Fleet("bench".to_owned()),
            version: u64::from(round),
            at_ms: 0,
            risks: None,
            drills: Vec::new(),
            policy: PolicyFacts::default(),
        };
        let began = Instant::now();
        let picture = fleet(&told, around);
        pictures.push(began.elapsed());
        assert_eq!(picture.services.len(), SERVICES);
    }
    let many: usize = clusters.iter().map(|(pools, _)| pools.len()).sum();
    println!("{CLUSTERS} clusters, {SERVICES} services, {many} pools");
    println!("to sum up a cluster that changed: {:.2} ms", median(sums));
    println!("to make the picture: {:.2} ms", median(pictures));
}
