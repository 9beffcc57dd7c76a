//! An engine that lives through something, for the tests of what is kept of it.

use super::{AgentPart, SavedAgent};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tidegate_engine::{EndpointFacts, Engine, Event, Policy, Saved};
use tidegate_model::{ServiceName, Time, Zone};

pub(super) fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

pub(super) fn service(number: usize) -> ServiceName {
    format!("shop/s-{number}").parse().unwrap()
}

fn address(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 80).into()
}

/// An engine of so many services with two checked endpoints each, all up.
pub(super) fn engine(services: usize, saved: Saved, now: Time) -> Engine {
    let mut engine = Engine::new("east".parse().unwrap(), "us-east".parse().unwrap(), saved);
    for number in 0..services {
        let facts = EndpointFacts { checked: true, ..EndpointFacts::default() };
        let zone = |name: &str| name.parse::<Zone>().unwrap();
        let endpoints = BTreeMap::from([(address(1), (zone("a"), facts)), (address(2), (zone("b"), facts))]);
        let policy = Arc::new(Policy::default());
        engine.handle(Event::Service { name: service(number), policy, endpoints, replicas: None }, now);
    }
    engine
}

/// A check of the first or second endpoint of a service.
pub(super) fn check(engine: &mut Engine, number: usize, n: u8, up: bool, now: Time) {
    let (service, address, detail) = (service(number), address(n), String::new());
    engine.handle(Event::Checked { service, address, up, detail }, now);
    engine.tick(now);
}

/// All that changed.
pub(super) fn changed(engine: &mut Engine, now: Time) -> Vec<AgentPart> {
    engine.take_unsaved(usize::MAX, true, now).into_iter().map(AgentPart::Engine).collect()
}

/// The whole.
pub(super) fn whole(engine: &Engine, now: Time) -> SavedAgent {
    SavedAgent { engine: engine.save(now), ..SavedAgent::default() }
}
