//! What is true at a moment: which endpoints answer, which ways are open, which agents live. The agents never look here;
//! they find out.

use crate::{
    fleet::Fleet,
    scenario::{Fault, FaultKind, Place},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};
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

/// Where an endpoint is.
#[derive(Clone, Debug)]
struct Site {
    cluster: ClusterName,
    region: Region,
    zone: Zone,
    /// Its number in its pool, and how many there are.
    place: (usize, usize),
}

/// The truth.
#[derive(Debug)]
pub(crate) struct World {
    faults: Vec<Fault>,
    /// Which faults are in force from each moment on at which one begins or ends.
    epochs: Vec<(Time, Vec<usize>)>,
    regions: BTreeMap<ClusterName, Region>,
    distances: BTreeMap<(ClusterName, ClusterName), Duration>,
    endpoints: BTreeMap<(ClusterName, ServiceName, SocketAddr), Site>,
}

/// A round trip between clusters that declare none: within one region, about 1 ms.
const NEAR: Duration = Duration::from_millis(1);

impl World {
    pub(crate) fn new(fleet: &Fleet, faults: Vec<Fault>) -> Self {
        let mut world = Self {
            epochs: epochs(&faults),
            faults,
            regions: BTreeMap::new(),
            distances: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        };
        for (name, config) in &fleet.configs {
            let Some(cluster) = config.clusters.get(name) else { continue };
            world.regions.insert(name.clone(), cluster.region.clone());
            for (other, it) in &config.clusters {
                let declared =
                    cluster.proximity.get(&it.region).or_else(|| it.proximity.get(&cluster.region));
                let distance = declared.copied().unwrap_or(NEAR).max(NEAR);
                world.distances.insert((name.clone(), other.clone()), distance);
            }
            for (service, it) in &config.services {
                let mut sizes: BTreeMap<&Zone, usize> = BTreeMap::new();
                for endpoint in it.endpoints.values() {
                    *sizes.entry(&endpoint.zone).or_default() += 1;
                }
                let mut seen: BTreeMap<&Zone, usize> = BTreeMap::new();
                for (address, endpoint) in &it.endpoints {
                    let index = seen.entry(&endpoint.zone).or_default();
                    let size = sizes.get(&endpoint.zone).copied().unwrap_or(1);
                    let site = Site {
                        cluster: name.clone(),
                        region: cluster.region.clone(),
                        zone: endpoint.zone.clone(),
                        place: (*index, size),
                    };
                    *index += 1;
                    world.endpoints.insert((name.clone(), service.clone(), *address), site);
                }
            }
        }
        world
    }

    /// How an endpoint answers now; the worst of all faults that meet it.
    pub(crate) fn answer(
        &self,
        cluster: &ClusterName,
        service: &ServiceName,
        address: SocketAddr,
        now: Time,
    ) -> Answer {
        let Some(site) = self.endpoints.get(&(cluster.clone(), service.clone(), address)) else {
            return Answer::Nothing;
        };
        let mut answer = Answer::Well;
        for fault in self.active(now) {
            match &fault.kind {
                FaultKind::Lose(place) if site.is_in(place, address) => return Answer::Nothing,
                FaultKind::BrownOut(place, percent) if site.is_in(place, address) => {
                    let (index, size) = site.place;
                    #[expect(clippy::cast_precision_loss, reason = "a pool has far less than 2^52 endpoints")]
                    let failing = (size as f64 * percent / 100.0).ceil();
                    #[expect(clippy::cast_precision_loss, reason = "a pool has far less than 2^52 endpoints")]
                    if (index as f64) < failing && answer == Answer::Well {
                        answer = Answer::Unavailable;
                    }
                }
                FaultKind::Flap(place, period) if site.is_in(place, address) => {
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
    pub(crate) fn is_lost(&self, cluster: &ClusterName, now: Time) -> bool {
        self.active(now).any(|fault| self.takes(fault, cluster))
    }

    /// Whether a fault takes a whole cluster.
    pub(crate) fn takes(&self, fault: &Fault, cluster: &ClusterName) -> bool {
        match &fault.kind {
            FaultKind::Lose(Place::Cluster(lost)) => lost == cluster,
            FaultKind::Lose(Place::Region(lost)) => self.regions.get(cluster) == Some(lost),
            _ => false,
        }
    }

    /// Whether the agent of a cluster runs.
    pub(crate) fn agent_runs(&self, cluster: &ClusterName, now: Time) -> bool {
        let restarted = |fault: &Fault| matches!(&fault.kind, FaultKind::RestartAgent(it) if it == cluster);
        !self.is_lost(cluster, now) && !self.active(now).any(restarted)
    }

    /// Whether connections from one cluster to the gateways of another are answered.
    pub(crate) fn is_open(&self, from: &ClusterName, to: &ClusterName, now: Time) -> bool {
        let cut = |fault: &Fault| matches!(&fault.kind, FaultKind::Partition { from: a, to: b } if a == from && b == to);
        !self.is_lost(to, now) && !self.active(now).any(cut)
    }

    /// How late a cluster's news comes.
    pub(crate) fn delay(&self, cluster: &ClusterName, now: Time) -> Duration {
        self.active(now)
            .filter_map(|fault| match &fault.kind {
                FaultKind::SlowTelemetry(it, delay) if it == cluster => Some(*delay),
                _ => None,
            })
            .max()
            .unwrap_or_default()
    }

    /// The round trip between two clusters.
    pub(crate) fn round_trip(&self, from: &ClusterName, to: &ClusterName) -> Duration {
        self.distances.get(&(from.clone(), to.clone())).copied().unwrap_or(NEAR)
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

fn epochs(faults: &[Fault]) -> Vec<(Time, Vec<usize>)> {
    let turns: BTreeSet<Time> =
        faults.iter().flat_map(|fault| [Some(fault.at), fault.until]).flatten().collect();
    let active = |at: Time| {
        let active = faults.iter().enumerate().filter(|(_, fault)| fault.is_active(at));
        active.map(|(index, _)| index).collect()
    };
    turns.into_iter().map(|at| (at, active(at))).collect()
}

impl Site {
    fn is_in(&self, place: &Place, address: SocketAddr) -> bool {
        match place {
            Place::Region(region) => self.region == *region,
            Place::Cluster(cluster) => self.cluster == *cluster,
            Place::Zone(zone) => self.zone == *zone,
            Place::Endpoint(endpoint) => *endpoint == address,
        }
    }
}
