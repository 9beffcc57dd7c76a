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
        self.boards.clear();
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
            self.unsaved.fleet();
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
        let known = self.services.get(name).map(|state| state.save(now));
        let (remote_pools, locations) = (&self.remote_pools, &mut self.locations);
        let state = self.services.entry(name.clone()).or_insert_with(|| {
            let mut state = ServiceState::new(name.clone(), locations.enroll(name), Arc::clone(&policy));
            for (cluster, pools) in remote_pools {
                if let Some(pools) = pools.get(name) {
                    state.set_remote(cluster, RemoteZones::clone(pools), saved.as_ref(), now);
                }
            }
            if let Some(saved) = &saved {
                state.restore_steering(saved, now);
                state.restore_demand(saved, &self.fleet, now);
            }
            Box::new(state)
        });
        state.set_policy(policy, replicas);
        state.set_endpoints(endpoints, saved.as_ref(), now);
        // What replicas found is known before our own first check.
        if !self.observations.is_empty() {
            endpoints.keys().for_each(|address| drop(state.vote(*address, &self.observations)));
        }
        effects.changed.insert(name.clone());
        self.update(name, now, effects);
        self.mark_told(name, known.as_ref().or(saved.as_ref()), now);
    }

    pub(super) fn set_remote_pools(
        &mut self,
        cluster: &ClusterName,
        pools: Vec<PoolStatus>,
        now: Time,
        effects: &mut Effects,
    ) {
        if !self.remote_pools.contains_key(cluster) {
            self.unsaved.fleet();
        }
        let old = self.remote_pools.entry(cluster.clone()).or_default().keys();
        let named: BTreeSet<ServiceName> = old.chain(pools.iter().map(|it| &it.service)).cloned().collect();
        self.set_remote_services(cluster, named, pools, now, effects);
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
        if !self.remote_pools.contains_key(cluster) {
            self.unsaved.fleet();
        }
        let old = self.remote_pools.entry(cluster.clone()).or_default();
        let named = changed.iter().map(|it| &it.service).chain(removed.iter().map(|(name, _)| name));
        let named: BTreeSet<ServiceName> = named.cloned().collect();
        let gone: BTreeSet<(&ServiceName, &Zone)> = removed.iter().map(|(name, zone)| (name, zone)).collect();
        let stays = |it: &&PoolStatus| !gone.contains(&(&it.service, &it.locality.zone));
        let old = named.iter().filter_map(|name| old.get(name)).flat_map(|zones| zones.values());
        // What is told last of a pool holds.
        let mut pools: Vec<PoolStatus> = old.filter(stays).cloned().collect();
        pools.extend(changed);
        self.set_remote_services(cluster, named, pools, now, effects);
    }

    /// The pools of these services in another cluster are now exactly these.
    fn set_remote_services(
        &mut self,
        cluster: &ClusterName,
        services: BTreeSet<ServiceName>,
        pools: Vec<PoolStatus>,
        now: Time,
        effects: &mut Effects,
    ) {
        let own = &self.services;
        let known = |name: &ServiceName| own.get_key_value(name).map(|(name, _)| name.clone());
        let mut new = self.names.by_service(pools, known);
        for name in services {
            let of_cluster = self.remote_pools.entry(cluster.clone()).or_default();
            let zones = new.remove(&name).unwrap_or_default();
            if of_cluster.get(&name).map_or(zones.is_empty(), |old| *old == zones) {
                continue;
            }
            if zones.is_empty() {
                of_cluster.remove(&name);
            } else {
                of_cluster.insert(name.clone(), RemoteZones::clone(&zones));
            }
            self.unsaved.remote_pools(cluster, &name);
            let saved = self.saved.get(&name);
            if let Some(state) = self.services.get_mut(&name) {
                state.set_remote(cluster, zones, saved, now);
                self.update(&name, now, effects);
            }
        }
    }
}
