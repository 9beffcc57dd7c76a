//! What discovery and peers tell: the fleet, services with their endpoints, the pools of other clusters.

use super::{Effects, Engine};
use crate::{
    policy::Policy,
    pool::EndpointFacts,
    service::{RemoteZones, ServiceState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, PoolStatus, Region, ServiceName, Time, Zone};

impl Engine {
    pub(super) fn set_topology(
        &mut self,
        clusters: BTreeMap<ClusterName, Region>,
        distances: BTreeMap<Region, Duration>,
        now: Time,
        effects: &mut Effects,
    ) {
        // A cluster that was taken out of the fleet is not a fault: its pools are simply no longer asked.
        let gone: Vec<ClusterName> =
            self.remote_pools.keys().filter(|cluster| !clusters.contains_key(*cluster)).cloned().collect();
        for cluster in gone {
            self.set_remote_pools(&cluster, Vec::new(), now, effects);
            self.remote_pools.remove(&cluster);
        }
        self.fleet.unreachable.retain(|cluster| clusters.contains_key(cluster));
        self.fleet.views.retain(|cluster, _| clusters.contains_key(cluster));
        self.fleet.clusters = clusters;
        self.fleet.distances = distances;
        self.boards.clear();
        self.update_all(now, effects);
    }

    pub(super) fn set_service(
        &mut self,
        name: &ServiceName,
        (policy, replicas): (Arc<Policy>, Option<u32>),
        endpoints: &BTreeMap<SocketAddr, (Zone, EndpointFacts)>,
        now: Time,
        effects: &mut Effects,
    ) {
        let saved = self.saved.remove(name);
        let (remote_pools, locations) = (&self.remote_pools, &mut self.locations);
        let state = self.services.entry(name.clone()).or_insert_with(|| {
            let mut state = ServiceState::new(name.clone(), locations.enroll(), Arc::clone(&policy));
            for (cluster, pools) in remote_pools {
                if let Some(pools) = pools.get(name) {
                    state.set_remote(cluster, RemoteZones::clone(pools), saved.as_ref(), now);
                }
            }
            if let Some(saved) = &saved {
                state.restore_steering(saved, now);
            }
            state
        });
        state.set_policy(policy, replicas);
        state.set_endpoints(endpoints, saved.as_ref(), now);
        // What replicas found is known before our own first check.
        if !self.observations.is_empty() {
            endpoints.keys().for_each(|address| drop(state.vote(*address, &self.observations)));
        }
        effects.changed.insert(name.clone());
        self.update(name, now, effects);
    }

    pub(super) fn set_remote_pools(
        &mut self,
        cluster: &ClusterName,
        pools: Vec<PoolStatus>,
        now: Time,
        effects: &mut Effects,
    ) {
        let services = &self.services;
        let known = |name: &ServiceName| services.get_key_value(name).map(|(name, _)| name.clone());
        let new = self.names.by_service(pools, known);
        let old = self.remote_pools.remove(cluster).unwrap_or_default();
        let names: BTreeSet<&ServiceName> =
            old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
        let zones = |name: &ServiceName| new.get(name).map(RemoteZones::clone).unwrap_or_default();
        let changed: Vec<_> = names.into_iter().map(|name| (name.clone(), zones(name))).collect();
        self.remote_pools.insert(cluster.clone(), new);
        for (name, zones) in changed {
            let saved = self.saved.get(&name);
            if let Some(state) = self.services.get_mut(&name) {
                state.set_remote(cluster, zones, saved, now);
                self.update(&name, now, effects);
            }
        }
    }
}
