//! The engine against a reference model of expected weight and governor: after every operation, and in every second
//! between them, phase, admit, healthy and expected of a pool are the same in both.
//!
//! A run is shorter than the retention window: when the high-water mark is forgotten has tests of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../fixture/mod.rs"]
mod fixture;
mod model;

use fixture::{address, cases, cluster, percent, region, service, source, zone};
use model::{Model, Rules};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_engine::{EndpointFacts, Engine, Event, Policy, Saved, Written};
use tidegate_model::{Time, Zone};

/// Longer than any run.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Addresses that endpoints come and go at; a run begins with the first four.
const ADDRESSES: u8 = 6;
/// What rounding to millionths may make of a part, twice.
const ROUNDING: f64 = 2e-6;

#[derive(Clone, Debug)]
enum Operation {
    Check {
        n: u8,
        up: bool,
    },
    CheckAll {
        up: bool,
    },
    Appears(u8),
    /// Some at once, as when a node is lost.
    Vanish(Vec<u8>),
    Terminates {
        n: u8,
        node_ready: bool,
    },
    Wait {
        seconds: u32,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let n = || 1..=ADDRESSES;
    prop_oneof![
        8 => (n(), any::<bool>()).prop_map(|(n, up)| Operation::Check { n, up }),
        3 => any::<bool>().prop_map(|up| Operation::CheckAll { up }),
        2 => n().prop_map(Operation::Appears),
        2 => subsequence((1..=ADDRESSES).collect::<Vec<_>>(), 1..=3).prop_map(Operation::Vanish),
        1 => (n(), any::<bool>()).prop_map(|(n, node_ready)| Operation::Terminates { n, node_ready }),
        8 => prop_oneof![0..5_u32, 0..60_u32].prop_map(|seconds| Operation::Wait { seconds }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let ramps = vec![vec![0.1, 0.5, 1.0], vec![0.5, 1.0], vec![1.0], vec![], vec![0.25, 0.5, 0.75]];
    let health = (select(vec![70_u32, 100, 50, 75]), select(vec![25_u32, 0, 30, 60]));
    let times = (0..4_u32, 1..30_u32, 1..60_u32, 10..60_u32, 1..10_u32);
    (health, times, select(ramps)).prop_map(|((threshold, minimum), times, ramp)| Rules {
        threshold: f64::from(threshold) / 100.0,
        minimum: f64::from(minimum) / 100.0,
        delay: times.0,
        hold_down: times.1,
        max_hold_down: times.2,
        quiet: times.3,
        interval: times.4,
        ramp,
    })
}

fn policy(rules: &Rules) -> Policy {
    let seconds = |count: u32| Duration::from_secs(u64::from(count));
    let part = |part: f64| percent(part * 100.0);
    let mut policy = Policy {
        failover_threshold: Written::default_value(part(rules.threshold)),
        minimum_healthy: Written::default_value(part(rules.minimum)),
        partial_loss_delay: Written::default_value(seconds(rules.delay)),
        retention: RETENTION,
        ..Policy::default()
    };
    let failback = &mut policy.failback;
    failback.hold_down.value = seconds(rules.hold_down);
    failback.max_hold_down.value = seconds(rules.max_hold_down);
    failback.quiet = seconds(rules.quiet);
    failback.ramp_steps.value = rules.ramp.iter().copied().map(part).collect();
    failback.ramp_interval.value = seconds(rules.interval);
    policy
}

/// Both, side by side.
struct Pair {
    model: Model,
    engine: Engine,
    policy: Arc<Policy>,
    endpoints: BTreeMap<SocketAddr, (Zone, EndpointFacts)>,
    now: Time,
}

impl Pair {
    fn new(rules: Rules) -> Self {
        let policy = Arc::new(policy(&rules));
        let mut engine = Engine::new(cluster("east"), region("us-east"), Saved::default());
        engine.handle(Event::Sources([source("a")].into()), Time::ZERO);
        let (endpoints, now) = (BTreeMap::new(), Time::ZERO);
        let mut pair = Self { model: Model::new(rules), engine, policy, endpoints, now };
        (1..=4).for_each(|n| pair.run(Operation::Appears(n)));
        (1..=4).for_each(|n| pair.run(Operation::Check { n, up: true }));
        pair
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Check { n, up } => self.check(n, up),
            Operation::CheckAll { up } => (1..=ADDRESSES).for_each(|n| self.check(n, up)),
            Operation::Appears(n) => {
                self.model.appears(n);
                let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
                self.endpoints.entry(address("a", n)).or_insert((zone("a"), facts));
                self.discover();
            }
            Operation::Vanish(which) => {
                self.model.vanish(&which);
                which.iter().for_each(|n| drop(self.endpoints.remove(&address("a", *n))));
                self.discover();
            }
            Operation::Terminates { n, node_ready } => {
                self.model.terminates(n, node_ready);
                if let Some((_, facts)) = self.endpoints.get_mut(&address("a", n)) {
                    (facts.terminating, facts.node_ready) = (true, node_ready);
                }
                self.discover();
            }
            Operation::Wait { seconds } => (0..seconds).for_each(|_| self.second()),
        }
        self.agree();
    }

    fn check(&mut self, n: u8, up: bool) {
        if self.model.names(n) {
            self.model.is_checked(n, up);
            let (service, address) = (service("web"), address("a", n));
            let event = Event::Checked { service, address, up, detail: String::new() };
            self.engine.handle(event, self.now);
            self.agree();
        }
    }

    fn discover(&mut self) {
        let (policy, endpoints) = (Arc::clone(&self.policy), self.endpoints.clone());
        let event = Event::Service { name: service("web"), policy, endpoints, replicas: None };
        self.engine.handle(event, self.now);
    }

    /// The engine is woken only when it asks to be.
    fn second(&mut self) {
        self.model.second_passes();
        self.now = self.now + Duration::from_secs(1);
        if self.engine.next_deadline().is_some_and(|it| it.at <= self.now) {
            self.engine.tick(self.now);
        }
        self.agree();
    }

    fn agree(&self) {
        let Model { admit, .. } = self.model;
        let by_model = (self.model.phase(), self.model.healthy(), self.model.expected());
        let status = self.engine.statuses(self.now).next();
        let Some(status) = status else {
            assert_eq!(by_model.2, 0, "the engine has forgotten the pool at {}", self.now);
            return;
        };
        let phase = status.phase.to_string();
        assert_eq!((phase.as_str(), status.healthy, status.expected), by_model, "at {}", self.now);
        let by_engine = f64::from(status.admit.ppm()) / 1e6;
        assert!((by_engine - admit).abs() <= ROUNDING, "{by_engine} and {admit} at {}", self.now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn governor_and_expected_weight_do_what_the_text_says(
        rules in rules(),
        operations in vec(operation(), 1..40),
    ) {
        let mut pair = Pair::new(rules);
        for operation in operations {
            pair.run(operation);
        }
    }
}
