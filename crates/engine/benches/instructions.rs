//! How many instructions a decision takes, counted by Valgrind's callgrind: the same on a busy machine and a quiet one.
//!
//! Needs `valgrind` and `gungraun-runner` of the version of the crate `gungraun`; `cargo xtask bench` says what is
//! missing. The cases are those of `planner`, each run once.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark; gungraun's macros make undocumented items"
)]

mod cases;

use cases::{change_one_endpoint, distances, fleet, lose_west, source, twelve_pools, twenty_sources};
use gungraun::{library_benchmark, library_benchmark_group, main};
use std::{collections::BTreeMap, hint::black_box, time::Duration};
use tidegate_engine::{
    Candidate, Effects, Engine, Plan, Policy, PoolBudget, Question, Source, Spending, Stream, WhenExhausted,
    plan, spend,
};
use tidegate_model::{Region, ServiceName};

/// All that a question borrows, and the plan in force.
struct Asked {
    service: ServiceName,
    source: Source,
    policy: Policy,
    candidates: Vec<Candidate>,
    distances: BTreeMap<Region, Duration>,
    previous: Option<Plan>,
}

impl Asked {
    fn question(&self) -> Question<'_> {
        let Self { service, source, policy, candidates, distances, .. } = self;
        Question { service, source, policy, candidates, distances }
    }
}

fn twelve() -> Asked {
    let mut asked = Asked {
        service: ServiceName::new("shop", "web").unwrap(),
        source: source("a"),
        policy: Policy::default(),
        candidates: twelve_pools(),
        distances: distances(),
        previous: None,
    };
    asked.previous = Some(plan(&asked.question(), None));
    asked
}

#[library_benchmark]
#[bench::of_12_pools(setup = twelve)]
fn plan_one_service(asked: Asked) -> (Plan, Asked) {
    (plan(&black_box(asked.question()), asked.previous.as_ref()), asked)
}

// What was lost is given back with the engine, so that to drop either is not counted: criterion does not time it.
#[library_benchmark]
#[bench::of_10k_services_3_sources(args = (10_000), setup = fleet)]
fn region_lost(mut engine: Engine) -> (Effects, Engine) {
    (lose_west(black_box(&mut engine)), engine)
}

#[library_benchmark]
#[bench::of_10k_services(args = (10_000), setup = fleet)]
fn one_endpoint_changed(mut engine: Engine) -> (Effects, Engine) {
    (change_one_endpoint(black_box(&mut engine), false), engine)
}

#[library_benchmark]
#[bench::of_20_sources_60_pools(setup = twenty_sources)]
fn waterfall((streams, pools): (Vec<Stream>, Vec<PoolBudget>)) -> (Spending, Vec<Stream>) {
    (spend(black_box(&streams), black_box(&pools), WhenExhausted::Spread), streams)
}

library_benchmark_group!(
    name = decisions,
    benchmarks = [plan_one_service, region_lost, one_endpoint_changed, waterfall]
);

main!(library_benchmark_groups = decisions);
