//! Three clusters, each with an engine of its own, that tell each other what agents tell each other.

use crate::{
    board::{distances, source},
    fixture::{cluster, service, zone},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{EndpointFacts, Engine, Event, FleetView, Load, Plan, Policy, Saved, Source, Target};
use tidegate_model::{ClusterName, PoolStatus, Time};

/// One zone each, of ten endpoints.
pub(crate) const PLACES: [&str; 3] = ["east/a", "west/b", "eu/c"];

pub(crate) struct Trio {
    pub(crate) now: Time,
    engines: BTreeMap<ClusterName, Engine>,
    /// Requests per second that enter at each source.
    pub(crate) offered: BTreeMap<Source, u64>,
    cut: BTreeSet<(ClusterName, ClusterName)>,
}

impl Trio {
    pub(crate) fn new(policy: &Policy, offered: [u64; 3]) -> Self {
        let sources = PLACES.map(source);
        let mut trio = Self {
            now: Time::ZERO,
            engines: BTreeMap::new(),
            offered: sources.iter().cloned().zip(offered).collect(),
            cut: BTreeSet::new(),
        };
        for (it, host) in sources.iter().zip(1..) {
            let region = it.locality.region.clone();
            let mut engine = Engine::new(it.cluster.clone(), region.clone(), Saved::default());
            let others = sources.iter().filter(|other| other.cluster != it.cluster);
            let clusters = others.map(|it| (it.cluster.clone(), it.locality.region.clone())).collect();
            engine.handle(Event::Topology { clusters, distances: distances(&region) }, trio.now);
            engine.handle(Event::Sources([it.clone()].into()), trio.now);
            let facts = EndpointFacts { ready: true, checked: true, ..EndpointFacts::default() };
            let address = |n: u8| SocketAddr::from(([10, 0, host, n], 8080));
            let endpoints = (1..=10).map(|n| (address(n), (it.locality.zone.clone(), facts))).collect();
            let policy = Arc::new(policy.clone());
            engine
                .handle(Event::Service { name: service("web"), policy, endpoints, replicas: None }, trio.now);
            trio.engines.insert(it.cluster.clone(), engine);
            trio.check(it.cluster.as_str(), 10, true);
        }
        trio.step(1);
        trio
    }

    /// The first `count` endpoints of a cluster go up or down.
    pub(crate) fn check(&mut self, of: &str, count: u8, up: bool) {
        let host = (1..).zip(PLACES).find(|(_, place)| place.starts_with(of)).unwrap().0;
        for n in 1..=count {
            let address = SocketAddr::from(([10, 0, host, n], 8080));
            let event = Event::Checked { service: service("web"), address, up, detail: String::new() };
            self.engines.get_mut(&cluster(of)).unwrap().handle(event, self.now);
        }
    }

    pub(crate) fn cut(&mut self, a: &str, b: &str) {
        for (from, to) in [(a, b), (b, a)] {
            self.cut.insert((cluster(from), cluster(to)));
            let engine = self.engines.get_mut(&cluster(from)).unwrap();
            engine.handle(Event::Unreachable(cluster(to)), self.now);
        }
    }

    /// Lets seconds pass; in each, demand and arrivals are measured and told.
    pub(crate) fn step(&mut self, seconds: usize) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            for engine in self.engines.values_mut() {
                engine.tick(self.now);
            }
            for (source, rps) in &self.offered {
                let rate = Load::Rate { rps: rps * 1000 };
                let event =
                    Event::Demand { source: source.clone(), rates: BTreeMap::from([(service("web"), rate)]) };
                self.engines.get_mut(&source.cluster).unwrap().handle(event, self.now);
            }
            let arrivals = self.arrivals();
            let told: Vec<_> =
                self.engines.iter().map(|(name, it)| self.word_of(name, it, &arrivals)).collect();
            for (from, events) in told {
                for (to, engine) in &mut self.engines {
                    if *to != from && !self.cut.contains(&(from.clone(), to.clone())) {
                        for event in &events {
                            engine.handle(event.clone(), self.now);
                        }
                    }
                }
            }
        }
    }

    fn word_of(
        &self,
        name: &ClusterName,
        engine: &Engine,
        arrivals: &BTreeMap<ClusterName, BTreeMap<ClusterName, Load>>,
    ) -> (ClusterName, [Event; 3]) {
        let pools: Vec<PoolStatus> = engine.statuses(self.now).collect();
        let fleet = engine.fleet();
        let unreachable = self.cut.iter().filter(|(from, _)| from == name).map(|(_, to)| to.clone());
        let view = FleetView { distances: fleet.distances.clone(), unreachable: unreachable.collect() };
        let demand = engine.demand().map(|(service, zones)| (service.clone(), zones)).collect();
        let from = arrivals.get(name).cloned().unwrap_or_default();
        let events = [
            Event::RemotePools { cluster: name.clone(), pools },
            Event::RemoteDemand { cluster: name.clone(), view, demand },
            Event::Arrivals { at: name.clone(), from: BTreeMap::from([(service("web"), from)]) },
        ];
        (name.clone(), events)
    }

    pub(crate) fn plan(&self, place: &str) -> &Plan {
        let at = source(place);
        self.engines[&at.cluster].plans(&service("web")).find(|plan| plan.source == at).unwrap()
    }

    /// The share of a source that goes to a place, in 1/10000.
    pub(crate) fn share(&self, from: &str, to: &str) -> u64 {
        let (own, other) = (source(from), source(to));
        let target = if own.cluster == other.cluster {
            Target::Zone(zone(other.locality.zone.as_str()))
        } else {
            Target::Cluster(other.cluster)
        };
        self.plan(from).shares.get(&target).map_or(0, |share| u64::from(share.parts()))
    }

    /// What a place is sent, in requests per second.
    pub(crate) fn load(&self, at: &str) -> u64 {
        let sent = PLACES.map(|from| self.offered[&source(from)] * self.share(from, at));
        sent.into_iter().sum::<u64>() / 10_000
    }

    fn arrivals(&self) -> BTreeMap<ClusterName, BTreeMap<ClusterName, Load>> {
        let mut arrivals: BTreeMap<ClusterName, BTreeMap<ClusterName, Load>> = BTreeMap::new();
        for (from, to) in PLACES.iter().flat_map(|from| PLACES.map(|to| (from, to))).filter(|(a, b)| *a != b)
        {
            let rps = self.offered[&source(from)] * self.share(from, to) / 10;
            let there = arrivals.entry(source(to).cluster).or_default();
            there.insert(source(from).cluster, Load::Rate { rps });
        }
        arrivals
    }

    /// All shares of all sources.
    pub(crate) fn shares(&self) -> Vec<u64> {
        let pairs = PLACES.iter().flat_map(|from| PLACES.map(|to| self.share(from, to)));
        pairs.chain(PLACES.map(|from| u64::from(self.plan(from).shed.parts()))).collect()
    }
}
