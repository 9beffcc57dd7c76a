//! The manifests of all clusters together, as the engine looks at a fleet before a fault (what-if).

use crate::config::Config;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{FleetMember, FleetService, FleetState, PoolFigures, Source};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, Region, Zone};

impl Config {
    /// Round-trip times from the region of `own` to others: as it declares them, else as the other side does.
    #[must_use]
    pub fn distances_from(&self, own: &ClusterName) -> BTreeMap<Region, Duration> {
        let Some(here) = self.clusters.get(own) else { return BTreeMap::new() };
        let mut distances = here.proximity.clone();
        for (_, other) in self.clusters.iter().filter(|(name, _)| *name != own) {
            if let Some(distance) = other.proximity.get(&here.region) {
                distances.entry(other.region.clone()).or_insert(*distance);
            }
        }
        distances
    }

    /// The round trip from the region of `own` to the farthest one with a cluster that can be reached, as it is declared:
    /// zero if all are in the same region, `None` if one of them is not declared.
    #[must_use]
    pub fn farthest_from(&self, own: &ClusterName) -> Option<Duration> {
        let here = &self.clusters.get(own)?.region;
        let distances = self.distances_from(own);
        let others = self.clusters.iter().filter(|(name, it)| *name != own && it.is_open());
        let mut regions = others.map(|(_, it)| &it.region).filter(|region| *region != here);
        regions.try_fold(Duration::ZERO, |farthest, region| Some(farthest.max(*distances.get(region)?)))
    }
}

/// The fleet that these manifests describe, each loaded for the cluster of its name.
///
/// All endpoints that are ready and not being shut down count as expected and healthy. Requests enter in every zone of
/// a cluster that has an endpoint of any service, as in an agent; how many is not known from manifests. A cluster
/// without east-west gateways is out of reach for the others, and one that does not find itself in its own manifests
/// is left out, as its agent would not start.
#[must_use]
pub fn fleet_state(configs: &BTreeMap<ClusterName, Config>) -> FleetState {
    let mut state = FleetState::default();
    for (name, config) in configs {
        let Some(here) = config.clusters.get(name) else { continue };
        let closed = |(_, other): &(&ClusterName, &crate::FleetCluster)| !other.is_open();
        let others = config.clusters.iter().filter(|(other, _)| *other != name);
        let member = FleetMember {
            region: here.region.clone(),
            distances: config.distances_from(name),
            unreachable: others.filter(closed).map(|(other, _)| other.clone()).collect(),
        };
        state.clusters.insert(name.clone(), member);
        let endpoints = config.services.values().flat_map(|service| service.endpoints.values());
        let zones: BTreeSet<&Zone> = endpoints.map(|endpoint| &endpoint.zone).collect();
        for (service_name, service) in &config.services {
            let policy = &service.policy.engine;
            let first = || FleetService { policy: Arc::new(policy.clone()), ..FleetService::default() };
            let known = state.services.entry(service_name.clone()).or_insert_with(first);
            if *known.policy != *policy {
                known.own_policies.insert(name.clone(), Arc::new(policy.clone()));
            }
            for endpoint in service.endpoints.values() {
                let pool = known.pools.entry((name.clone(), endpoint.zone.clone())).or_insert(NONE);
                if endpoint.ready && !endpoint.terminating {
                    pool.expected += 1;
                    pool.healthy += 1;
                    pool.phase = Phase::Serving;
                    pool.capacity = policy.carries(pool.healthy);
                }
            }
            known.demand.extend(zones.iter().map(|zone| {
                let locality = Locality { region: here.region.clone(), zone: (*zone).clone() };
                (Source { cluster: name.clone(), locality }, None)
            }));
        }
    }
    state
}

/// A pool of which nothing is known yet.
const NONE: PoolFigures =
    PoolFigures { expected: 0, healthy: 0, admit: Fraction::ONE, phase: Phase::Empty, capacity: None };
