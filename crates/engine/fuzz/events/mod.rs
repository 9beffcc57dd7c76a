//! Any bytes as a history of an engine, and what must hold for all of them.
//!
//! Three use it: the libFuzzer target beside it, the test that replays the corpus, and the test that draws bytes at
//! random. A history begins with nothing or with a whole fleet; then each step is an event, the passing of time, a
//! clock that jumps, or a restart from disk. Names that nobody told of, statuses that lie, policies that `api` would
//! refuse and amounts at the limits are part of it.

mod bytes;
mod hold;
mod policy;
mod told;

use crate::fixture::{cluster, region};
use bytes::Bytes;
use hold::Known;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tidegate_engine::{Effects, Engine, Event, Plan, Policy, Saved};
use tidegate_model::{ServiceName, Time, Zone};
use told::Endpoints;

/// A history is no longer than this, so that every one is over in some milliseconds.
const STEPS: usize = 96;
/// While time passes, deadlines are followed so often; then it jumps.
const WAKE_UPS: usize = 48;
/// Wake-ups in a row for which an engine may ask without time in between: each climbs a step of a ramp of no length.
const AT_ONCE: usize = 32;
/// Time that is so late stands still when something is added to it; nobody gets there.
const END: Duration = Duration::from_secs(u64::MAX / 4);

/// What a history brought: the same bytes bring the same.
#[derive(Debug, PartialEq)]
pub(crate) struct Transcript {
    effects: Vec<Effects>,
    plans: Vec<Plan>,
}

/// Runs a history twice. Panics where something does not hold.
pub(crate) fn hold(bytes: &[u8]) {
    let first = History::run(bytes);
    assert!(first == History::run(bytes), "the same bytes, the same effects and plans");
}

struct History<'a> {
    bytes: Bytes<'a>,
    engine: Engine,
    now: Time,
    /// What discovery said last of each service.
    services: Services,
    known: Known,
    effects: Vec<Effects>,
    /// Wake-ups since time passed last, or something was told.
    at_once: usize,
}

type Services = BTreeMap<ServiceName, (Arc<Policy>, Endpoints)>;

fn remember(services: &mut Services, event: &Event) {
    if let Event::Service { name, policy, endpoints, .. } = event {
        services.insert(name.clone(), (Arc::clone(policy), endpoints.clone()));
    }
}

fn begin(saved: Saved) -> Engine {
    Engine::new(cluster("east"), region("us-east"), saved)
}

impl History<'_> {
    fn run(bytes: &[u8]) -> Transcript {
        let mut history = History {
            bytes: Bytes(bytes),
            engine: begin(Saved::default()),
            now: Time::ZERO,
            services: BTreeMap::new(),
            known: Known::default(),
            effects: Vec::new(),
            at_once: 0,
        };
        if history.bytes.byte() < 192 {
            history.begin_whole();
        }
        for _ in 0..STEPS {
            if history.bytes.is_empty() {
                break;
            }
            history.step();
        }
        history.wait(Duration::from_secs(60));
        hold::saved(&history.engine, history.now);
        hold::explained(&history.engine, &history.effects);
        let services = history.engine.services();
        let plans = services.flat_map(|name| history.engine.plans(name)).cloned().collect();
        Transcript { effects: history.effects, plans }
    }

    /// Every history begins with the same fleet, so it is made once.
    fn begin_whole(&mut self) {
        static WHOLE: LazyLock<(Engine, Services)> = LazyLock::new(|| {
            let mut engine = begin(Saved::default());
            let mut services = Services::new();
            for event in told::whole_fleet() {
                remember(&mut services, &event);
                engine.handle(event, Time::ZERO);
            }
            (engine, services)
        });
        (self.engine, self.services) = WHOLE.clone();
        self.known = Known::of(&self.engine, self.now);
    }

    fn step(&mut self) {
        let now = self.now;
        let event = match self.bytes.byte() % 26 {
            0..=2 => {
                let time = self.bytes.duration();
                return self.wait(time);
            }
            3 => return self.tick(),
            4 => return self.now = self.bytes.time(now),
            5 => return self.restart(),
            6 | 7 => return self.check_zone(),
            8 => return self.check_zone_of_all(),
            9 => self.checked(),
            10 | 11 => self.endpoints(),
            12 => self.policy(),
            13 => self.removed(),
            14 => self.bytes.topology(),
            15 => self.bytes.sources(),
            16 | 17 => self.bytes.remote_pools(),
            18 => self.reach(),
            19 => self.bytes.demand(),
            20 => self.bytes.remote_demand(),
            21 => self.bytes.arrivals(),
            22 => self.bytes.shift(),
            23 => self.bytes.replica_observed(now),
            24 => match self.bytes.snapshot() {
                Some(event) => event,
                None => return,
            },
            _ => match self.bytes.below(3) {
                0 => self.bytes.shift_ended(),
                1 => self.bytes.release(),
                _ => self.bytes.succeeded(now),
            },
        };
        self.tell(event);
    }

    fn tell(&mut self, event: Event) {
        remember(&mut self.services, &event);
        self.at_once = 0;
        let effects = self.engine.handle(event, self.now);
        self.took(effects);
    }

    fn tick(&mut self) {
        let effects = self.engine.tick(self.now);
        self.took(effects);
    }

    fn took(&mut self, effects: Effects) {
        self.known = hold::told(&self.known, &effects, &self.engine, self.now);
        hold::engine(&self.engine, self.now);
        self.effects.push(effects);
    }

    /// Lets time pass, waking the engine when it asks for it.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..WAKE_UPS {
            let Some(deadline) = self.engine.next_deadline().filter(|it| it.at <= end) else { break };
            self.at_once = if deadline.at <= self.now { self.at_once + 1 } else { 0 };
            let is_late = self.now.since_origin() >= END;
            assert!(is_late || self.at_once <= AT_ONCE, "asks again and again for {deadline:?}");
            self.now = self.now.max(deadline.at);
            self.tick();
        }
        self.now = self.now.max(end);
    }

    /// The agent restarts: an engine from disk, to which all is told again, with a clock of its own now and then.
    fn restart(&mut self) {
        let json = serde_json::to_string(&self.engine.save(self.now)).expect("what is saved can be written");
        let fleet = self.engine.fleet();
        let (clusters, distances) = (fleet.clusters.clone(), fleet.distances.clone());
        let sources = fleet.sources.clone();
        self.engine = begin(serde_json::from_str(&json).expect("what was saved can be read"));
        self.known = Known::default();
        if self.bytes.flag() {
            self.now = Time::ZERO;
        }
        self.tell(Event::Topology { clusters, distances });
        self.tell(Event::Sources(sources));
        for (name, (policy, endpoints)) in self.services.clone() {
            self.tell(Event::Service { name, policy, endpoints, replicas: None });
        }
    }

    fn check(&mut self, service: &ServiceName, in_zone: &Zone, up: bool) {
        let Some((_, endpoints)) = self.services.get(service) else { return };
        let there = endpoints.iter().filter(|(_, (zone, _))| zone == in_zone);
        for address in there.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.tell(Event::Checked { service: service.clone(), address, up, detail: String::new() });
        }
    }

    fn check_zone(&mut self) {
        let (service, zone, up) = (self.bytes.service(), self.bytes.zone(), self.bytes.flag());
        self.check(&service, &zone, up);
    }

    fn check_zone_of_all(&mut self) {
        let (zone, up) = (self.bytes.zone(), self.bytes.flag());
        for service in self.services.keys().cloned().collect::<Vec<_>>() {
            self.check(&service, &zone, up);
        }
    }

    fn checked(&mut self) -> Event {
        let (service, zone) = (self.bytes.service(), self.bytes.zone());
        let address: SocketAddr = crate::fixture::address(zone.as_str(), self.bytes.byte() % 4);
        Event::Checked { service, address, up: self.bytes.flag(), detail: "timeout".to_owned() }
    }

    /// Discovery names other endpoints; the policy stays.
    fn endpoints(&mut self) -> Event {
        let name = self.bytes.service();
        let policy = self.services.get(&name).map_or_else(Arc::default, |(policy, _)| Arc::clone(policy));
        let endpoints = self.bytes.endpoints();
        Event::Service { name, policy, endpoints, replicas: self.bytes.maybe(Bytes::count) }
    }

    /// The policy changes; the endpoints stay.
    fn policy(&mut self) -> Event {
        let name = self.bytes.service();
        let endpoints = self.services.get(&name).map(|(_, it)| it.clone()).unwrap_or_default();
        let policy = Arc::new(self.bytes.policy());
        Event::Service { name, policy, endpoints, replicas: self.bytes.maybe(Bytes::count) }
    }

    fn removed(&mut self) -> Event {
        let service = self.bytes.service();
        self.services.remove(&service);
        Event::ServiceRemoved(service)
    }

    fn reach(&mut self) -> Event {
        let cluster = self.bytes.cluster();
        match self.bytes.below(4) {
            0 => Event::Unreachable(cluster),
            3 => Event::RoundTrip { cluster, rtt: self.bytes.duration() },
            quick => Event::Reachable { cluster, quick: quick == 1 },
        }
    }
}
