//! What is true at a moment: which endpoints answer, which ways are open, which agents live. The agents never look here;
//! they find out.
//!
//! Clusters and endpoints are numbers here: a fleet of a million endpoints is asked a million times a second.

use crate::{
    fleet::Fleet,
    scenario::{Fault, FaultKind, Place},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::Duration,
};
use tidegate_api::Config;
use tidegate_model::{ClusterName, Region, ServiceName, Time, Zone};

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As it should.
    Well,
    /// With 503.
    Unavailable,
    /// It refuses connections.
    Refused,
    /// Not at all.
    Nothing,
}

/// A cluster, by its place in the order of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterId(pub(crate) u32);

/// An endpoint of a service, by its number in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndpointId(pub(crate) u32);

impl ClusterId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl EndpointId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A cluster as it is.
#[derive(Debug)]
struct Ground {
    name: ClusterName,
    region: Option<Region>,
    /// How many east-west gateways it has.
    gateways: u16,
    /// Where the endpoints' addresses are.
    config: Arc<Config>,
    /// In order of names, with the numbers of their endpoints.
    services: Vec<(ServiceName, Range<u32>)>,
    zones: Vec<Zone>,
    /// In order of services and addresses.
    endpoints: Vec<Endpoint>,
}

/// Small, since there may be a million.
#[derive(Debug)]
struct Endpoint {
    /// The place of its zone in [`Ground::zones`].
    zone: u32,
    /// Its number in its pool, and how many there are.
    place: (u32, u32),
}

/// The truth.
#[derive(Debug)]
pub(crate) struct World {
    faults: Vec<Fault>,
    /// Which faults are in force from each moment on at which one begins or ends.
    epochs: Vec<(Time, Vec<usize>)>,
    grounds: Vec<Ground>,
    /// Round trips, by the numbers of both clusters.
    distances: Vec<Duration>,
}

/// A round trip between clusters that declare none: within one region, about 1 ms.
const NEAR: Duration = Duration::from_millis(1);

impl World {
    pub(crate) fn new(fleet: &Fleet, faults: Vec<Fault>) -> Self {
        let mut distances = Vec::with_capacity(fleet.configs.len() * fleet.configs.len());
        for (name, config) in &fleet.configs {
            distances.extend(fleet.configs.keys().map(|other| distance(config, name, other)));
        }
        let grounds =
            fleet.configs.iter().map(|(name, config)| Ground::new(name.clone(), Arc::clone(config)));
        Self { epochs: epochs(&faults), faults, grounds: grounds.collect(), distances }
    }

    /// The number of a cluster.
    pub(crate) fn id(&self, cluster: &ClusterName) -> Option<ClusterId> {
        let found = self.grounds.binary_search_by(|ground| ground.name.cmp(cluster));
        found.ok().and_then(|index| u32::try_from(index).ok()).map(ClusterId)
    }

    /// The name of a cluster.
    pub(crate) fn name(&self, cluster: ClusterId) -> &ClusterName {
        &self.grounds[cluster.index()].name
    }

    /// The region of a cluster, if the manifests name one.
    pub(crate) fn region(&self, cluster: ClusterId) -> Option<&Region> {
        self.grounds[cluster.index()].region.as_ref()
    }

    /// How many endpoints a cluster has.
    pub(crate) fn size(&self, cluster: ClusterId) -> usize {
        self.grounds[cluster.index()].endpoints.len()
    }

    /// The number of an endpoint.
    pub(crate) fn find(
        &self,
        cluster: ClusterId,
        service: &ServiceName,
        address: SocketAddr,
    ) -> Option<EndpointId> {
        let ground = &self.grounds[cluster.index()];
        let at = ground.services.binary_search_by(|(name, _)| name.cmp(service)).ok()?;
        let range = ground.services[at].1.clone();
        let index = ground.config.services.get(service)?.endpoints.keys().position(|it| *it == address)?;
        Some(EndpointId(range.start + u32::try_from(index).ok()?))
    }

    /// What an endpoint serves, and where it listens.
    pub(crate) fn key(&self, cluster: ClusterId, endpoint: EndpointId) -> Option<(ServiceName, SocketAddr)> {
        self.grounds[cluster.index()].key(endpoint).map(|(service, address)| (service.clone(), address))
    }

    /// How an endpoint answers now; the worst of all faults that meet it.
    pub(crate) fn answer(&self, cluster: ClusterId, endpoint: EndpointId, now: Time) -> Answer {
        let ground = &self.grounds[cluster.index()];
        let mut answer = Answer::Well;
        for fault in self.active(now) {
            match &fault.kind {
                FaultKind::Lose(place) if ground.is_in(endpoint, place) => return Answer::Nothing,
                FaultKind::BrownOut(place, percent) if ground.is_in(endpoint, place) => {
                    let (index, size) = ground.endpoints[endpoint.index()].place;
                    let failing = (f64::from(size) * percent / 100.0).ceil();
                    if f64::from(index) < failing && answer == Answer::Well {
                        answer = Answer::Unavailable;
                    }
                }
                FaultKind::Flap(place, period) if ground.is_in(endpoint, place) => {
                    let phase = now.since(fault.at).as_nanos() % period.as_nanos();
                    if phase * 2 < period.as_nanos() {
                        answer = Answer::Refused;
                    }
                }
                _ => {}
            }
        }
        answer
    }

    /// Whether a cluster as a whole is gone: its agent, its gateways, its clients.
    pub(crate) fn is_lost(&self, cluster: ClusterId, now: Time) -> bool {
        self.active(now).any(|fault| self.takes(fault, cluster))
    }

    /// Whether a fault takes a whole cluster.
    pub(crate) fn takes(&self, fault: &Fault, cluster: ClusterId) -> bool {
        let ground = &self.grounds[cluster.index()];
        match &fault.kind {
            FaultKind::Lose(Place::Cluster(lost)) => *lost == ground.name,
            FaultKind::Lose(Place::Region(lost)) => ground.region.as_ref() == Some(lost),
            _ => false,
        }
    }

    /// Whether the agent of a cluster runs.
    pub(crate) fn agent_runs(&self, cluster: ClusterId, now: Time) -> bool {
        let name = self.name(cluster);
        let restarted = |fault: &Fault| matches!(&fault.kind, FaultKind::RestartAgent(it) if it == name);
        !self.is_lost(cluster, now) && !self.active(now).any(restarted)
    }

    /// Whether connections from one cluster to the gateways of another are answered.
    pub(crate) fn is_open(&self, from: ClusterId, to: ClusterId, now: Time) -> bool {
        let (from, name) = (self.name(from), self.name(to));
        let cut = |fault: &Fault| matches!(&fault.kind, FaultKind::Partition { from: a, to: b } if a == from && b == name);
        let gateways = self.grounds[to.index()].gateways;
        let stopped = gateways > 0 && (0..gateways).all(|number| self.is_stopped(to, number, now));
        !stopped && !self.is_lost(to, now) && !self.active(now).any(cut)
    }

    /// Whether an east-west gateway of a cluster, by its number from 0, refuses connections.
    pub(crate) fn is_stopped(&self, cluster: ClusterId, gateway: u16, now: Time) -> bool {
        let name = self.name(cluster);
        self.active(now).any(|fault| {
            matches!(&fault.kind, FaultKind::StopGateway(it, number)
                if it == name && number.is_none_or(|number| number == gateway))
        })
    }

    /// Until when the agent of a cluster stands still, if it does.
    pub(crate) fn paused_until(&self, cluster: ClusterId, now: Time) -> Option<Time> {
        let name = self.name(cluster);
        let pauses =
            self.active(now).filter(|it| matches!(&it.kind, FaultKind::PauseAgent(it) if it == name));
        pauses.filter_map(|fault| fault.until).max()
    }

    /// The part of the packets between two clusters that is lost, each way.
    pub(crate) fn lost(&self, from: ClusterId, to: ClusterId, now: Time) -> f64 {
        let parts = self.on_line(from, to, now).filter_map(|kind| match kind {
            FaultKind::Loss { percent, .. } => Some(percent / 100.0),
            _ => None,
        });
        parts.fold(0.0, f64::max)
    }

    fn on_line(&self, from: ClusterId, to: ClusterId, now: Time) -> impl Iterator<Item = &FaultKind> {
        let (from, to) = (self.name(from), self.name(to));
        self.active(now).map(|fault| &fault.kind).filter(move |kind| match kind {
            FaultKind::Loss { between, and, .. } | FaultKind::LateLine { between, and, .. } => {
                [between, and] == [from, to] || [and, between] == [from, to]
            }
            _ => false,
        })
    }

    /// How late a cluster's news comes.
    pub(crate) fn delay(&self, cluster: ClusterId, now: Time) -> Duration {
        let name = self.name(cluster);
        let delays = self.active(now).filter_map(|fault| match &fault.kind {
            FaultKind::SlowTelemetry(it, delay) if it == name => Some(*delay),
            _ => None,
        });
        delays.max().unwrap_or_default()
    }

    /// The part of a cluster's pool statuses that is lost on the way, in percent.
    pub(crate) fn dropped(&self, cluster: ClusterId, now: Time) -> f64 {
        let name = self.name(cluster);
        let parts = self.active(now).filter_map(|fault| match &fault.kind {
            FaultKind::DropStatus(it, percent) if it == name => Some(*percent),
            _ => None,
        });
        parts.fold(0.0, f64::max)
    }

    /// What the clock of a cluster's agent shows when it is `right`; both are times since 1970.
    pub(crate) fn clock(&self, cluster: ClusterId, right: Duration, now: Time) -> Duration {
        let name = self.name(cluster);
        let skew = self.active(now).find_map(|fault| match &fault.kind {
            FaultKind::ClockSkew(it, skew) if it == name => Some(*skew),
            _ => None,
        });
        skew.map_or(right, |skew| skew.show(right))
    }

    /// The round trip between two clusters.
    pub(crate) fn round_trip(&self, from: ClusterId, to: ClusterId, now: Time) -> Duration {
        let way = self.distances.get(from.index() * self.grounds.len() + to.index()).copied().unwrap_or(NEAR);
        let late = self.on_line(from, to, now).filter_map(|kind| match kind {
            FaultKind::LateLine { by, .. } => Some(*by),
            _ => None,
        });
        way + late.max().unwrap_or_default()
    }

    /// The faults in force.
    fn active(&self, now: Time) -> impl Iterator<Item = &Fault> {
        let epoch = self.epochs.partition_point(|(at, _)| *at <= now).checked_sub(1);
        let active = epoch.and_then(|index| self.epochs.get(index)).map(|(_, active)| active);
        active.into_iter().flatten().filter_map(|index| self.faults.get(*index))
    }

    /// The faults.
    pub(crate) fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

fn distance(config: &Config, name: &ClusterName, other: &ClusterName) -> Duration {
    let declared = config.clusters.get(name).zip(config.clusters.get(other)).and_then(|(here, there)| {
        here.proximity.get(&there.region).or_else(|| there.proximity.get(&here.region))
    });
    declared.copied().unwrap_or(NEAR).max(NEAR)
}

fn epochs(faults: &[Fault]) -> Vec<(Time, Vec<usize>)> {
    let turns: BTreeSet<Time> =
        faults.iter().flat_map(|fault| [Some(fault.at), fault.until]).flatten().collect();
    let active = |at: Time| {
        let active = faults.iter().enumerate().filter(|(_, fault)| fault.is_active(at));
        active.map(|(index, _)| index).collect()
    };
    turns.into_iter().map(|at| (at, active(at))).collect()
}

impl Ground {
    fn new(name: ClusterName, config: Arc<Config>) -> Self {
        let region = config.clusters.get(&name).map(|it| it.region.clone());
        let gateways = config.clusters.get(&name).map_or(0, |it| it.east_west_gateways.len());
        let gateways = u16::try_from(gateways).unwrap_or(u16::MAX);
        let count = config.services.values().map(|it| it.endpoints.len()).sum();
        let (mut services, mut endpoints) =
            (Vec::with_capacity(config.services.len()), Vec::with_capacity(count));
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let mut zones: Vec<Zone> = Vec::new();
        for (service, it) in &config.services {
            let start = number(endpoints.len());
            let mut sizes: BTreeMap<&Zone, u32> = BTreeMap::new();
            for endpoint in it.endpoints.values() {
                *sizes.entry(&endpoint.zone).or_default() += 1;
            }
            let mut seen: BTreeMap<&Zone, u32> = BTreeMap::new();
            for endpoint in it.endpoints.values() {
                let index = seen.entry(&endpoint.zone).or_default();
                let size = sizes.get(&endpoint.zone).copied().unwrap_or(1);
                let zone = zones.iter().position(|zone| *zone == endpoint.zone).unwrap_or_else(|| {
                    zones.push(endpoint.zone.clone());
                    zones.len() - 1
                });
                endpoints.push(Endpoint { zone: number(zone), place: (*index, size) });
                *index += 1;
            }
            services.push((service.clone(), start..number(endpoints.len())));
        }
        Self { name, region, gateways, config, services, zones, endpoints }
    }

    fn key(&self, endpoint: EndpointId) -> Option<(&ServiceName, SocketAddr)> {
        let after = self.services.partition_point(|(_, range)| range.end <= endpoint.0);
        let (service, range) = self.services.get(after)?;
        let mut addresses = self.config.services.get(service)?.endpoints.keys();
        Some((service, *addresses.nth((endpoint.0 - range.start) as usize)?))
    }

    fn is_in(&self, endpoint: EndpointId, place: &Place) -> bool {
        match place {
            Place::Region(region) => self.region.as_ref() == Some(region),
            Place::Cluster(cluster) => self.name == *cluster,
            Place::Zone(zone) => self.zones[self.endpoints[endpoint.index()].zone as usize] == *zone,
            Place::Endpoint(address) => self.key(endpoint).is_some_and(|(_, it)| it == *address),
        }
    }
}
