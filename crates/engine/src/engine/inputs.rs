//! What discovery and peers tell: the fleet, services with their endpoints, the pools of other clusters.

use super::{Effects, Engine, RemotePools};
use crate::{policy::Policy, pool::EndpointFacts, service::ServiceState};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tidegate_model::{ClusterName, PoolStatus, Region, ServiceName, Time, Zone};

impl Engine {
    pub(super) fn set_topology(
        &mut self,
        mut clusters: BTreeMap<ClusterName, Region>,
        distances: BTreeMap<Region, Duration>,
        now: Time,
        effects: &mut Effects,
    ) {
        // The own cluster is no other one, whatever is told: a way to it would lead back to where it came from.
        clusters.remove(&self.fleet.own);
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
        self.round_trips.retain(&self.fleet.clusters);
        self.fleet.measured = self.round_trips.in_force(&distances);
        self.fleet.distances = distances;
        self.update_all(now, effects);
    }

    /// A cluster out of reach is a fault: what was about to change its region's distance begins anew.
    pub(super) fn interrupt_measuring(&mut self, cluster: &ClusterName) {
        if let Some(region) = self.fleet.clusters.get(cluster) {
            self.round_trips.interrupt(region);
        }
    }

    pub(super) fn measure_distance(
        &mut self,
        cluster: &ClusterName,
        rtt: Duration,
        now: Time,
        effects: &mut Effects,
    ) {
        let fleet = &self.fleet;
        let Some(region) = fleet.clusters.get(cluster).filter(|region| **region != fleet.region) else {
            return;
        };
        let members = fleet.clusters.iter().filter(|(_, its)| *its == region);
        let members = members.map(|(member, _)| (member, fleet.is_reachable(member)));
        if self.round_trips.measure((cluster, region), rtt, &fleet.distances, members, now) {
            self.fleet.measured = self.round_trips.in_force(&fleet.distances);
            self.update_all(now, effects);
        }
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
        let remote_pools = &self.remote_pools;
        let state = self.services.entry(name.clone()).or_insert_with(|| {
            let mut state = ServiceState::new(name.clone(), Arc::clone(&policy));
            for (cluster, pools) in remote_pools {
                if let Some(pools) = pools.get(name) {
                    state.set_remote(cluster, pools.clone(), saved.as_ref(), now);
                }
            }
            if let Some(saved) = &saved {
                state.restore_steering(saved, now);
                state.restore_demand(saved, &self.fleet, now);
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
        let mut new = by_service(pools);
        let old = self.remote_pools.entry(cluster.clone()).or_default();
        let gone = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect::<Vec<_>>();
        new.extend(gone.into_iter().map(|name| (name, BTreeMap::new())));
        for (name, pools) in new {
            self.set_remote_service(cluster, &name, pools, now, effects);
        }
    }

    /// As [`Engine::set_remote_pools`], but only services that are named are looked at.
    pub(super) fn change_remote_pools(
        &mut self,
        cluster: &ClusterName,
        changed: Vec<PoolStatus>,
        removed: &[(ServiceName, Zone)],
        now: Time,
        effects: &mut Effects,
    ) {
        let old = self.remote_pools.entry(cluster.clone()).or_default();
        let named = changed.iter().map(|it| &it.service).chain(removed.iter().map(|(name, _)| name));
        let mut new: RemotePools =
            named.map(|name| (name.clone(), old.get(name).cloned().unwrap_or_default())).collect();
        for (name, zone) in removed {
            new.entry(name.clone()).or_default().remove(zone);
        }
        for status in changed {
            let zone = status.locality.zone.clone();
            new.entry(status.service.clone()).or_default().insert(zone, status);
        }
        for (name, pools) in new {
            self.set_remote_service(cluster, &name, pools, now, effects);
        }
    }

    /// A service's pools in another cluster are now exactly these.
    fn set_remote_service(
        &mut self,
        cluster: &ClusterName,
        name: &ServiceName,
        pools: BTreeMap<Zone, PoolStatus>,
        now: Time,
        effects: &mut Effects,
    ) {
        let of_cluster = self.remote_pools.entry(cluster.clone()).or_default();
        if of_cluster.get(name).map_or(pools.is_empty(), |old| *old == pools) {
            return;
        }
        if pools.is_empty() {
            of_cluster.remove(name);
        } else {
            of_cluster.insert(name.clone(), pools.clone());
        }
        let saved = self.saved.get(name);
        if let Some(state) = self.services.get_mut(name) {
            state.set_remote(cluster, pools, saved, now);
            self.update(name, now, effects);
        }
    }
}

pub(super) fn by_service(pools: Vec<PoolStatus>) -> RemotePools {
    let mut by_service: RemotePools = BTreeMap::new();
    for status in pools {
        by_service.entry(status.service.clone()).or_default().insert(status.locality.zone.clone(), status);
    }
    by_service
}
