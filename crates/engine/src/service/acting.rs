//! The service's part in what acts on its pools besides their health: verdicts on places, shifts, known replicas.

use super::{SavedService, ServiceState};
use crate::{
    engine::Fleet,
    location::{Location, Standing, Standings},
    merge::Told,
    plan::Hold,
    pool::SavedPool,
    steer::{PoolPlace, Steering},
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, Locality, Phase, Region, Time, Zone};

impl SavedService {
    /// Takes somebody else's word on a pool, instead of what is known or merged with it.
    pub(crate) fn merge(&mut self, zone: &Zone, told: &Told, replace: bool) {
        match self.pools.get_mut(zone) {
            Some(pool) => pool.merge(told, replace),
            None => {
                self.pools.insert(zone.clone(), SavedPool::told(told));
            }
        }
    }
}

impl ServiceState {
    /// Takes over what is more careful in somebody else's word on a pool that is here.
    pub(crate) fn merge(&mut self, zone: &Zone, told: &Told, now: Time) {
        if let Some(pool) = self.pools.get_mut(zone) {
            pool.governor.merge(&told.governor, now);
            self.unsaved = true;
        }
    }

    /// The word of this agent on its pools.
    pub(crate) fn words(&self, now: Time) -> BTreeMap<Zone, Told> {
        self.pools.iter().map(|(zone, pool)| (zone.clone(), pool.save(now).word())).collect()
    }

    /// Takes up what acted on the pools before a restart.
    pub(crate) fn restore_steering(&mut self, saved: &SavedService, now: Time) {
        self.steering = Steering::restored(&saved.steering, now);
        self.replicas = saved.replicas.clone();
    }

    /// The names of the shifts that are refused for this service.
    pub(crate) fn refused_shifts(&self, fleet: &Fleet) -> Vec<String> {
        if self.steering.is_idle(&self.name, fleet) {
            return Vec::new();
        }
        let places = self.places(fleet);
        self.steering.refused(&self.name, fleet, &places).map(|shift| shift.name.clone()).collect()
    }

    /// A request was seen to succeed in an own zone.
    pub(crate) fn succeeded(&mut self, locality: Locality, at: Time) {
        if self.pools.contains_key(&locality.zone) {
            self.steering.succeeded(locality, at);
        }
    }

    /// The verdict on a place was wrong: what it drained is back as if nothing had been.
    pub(crate) fn withdraw(&mut self, location: &Location, own: &ClusterName) {
        for locality in self.steering.withdraw(location, own) {
            self.unsaved = true;
            if let Some(pool) = self.pools.get_mut(&locality.zone) {
                pool.governor.undo_fall();
            }
        }
    }

    /// Looks at the endpoints before anything is decided: which count, what their workload wants, what acts on them.
    pub(super) fn see(&mut self, fleet: &Fleet, now: Time) {
        for pool in self.pools.values_mut() {
            self.unsaved |= pool.see();
        }
        if self.wanted.is_some() {
            let present = self.pools.iter().map(|(zone, pool)| (zone.clone(), pool.present())).collect();
            let on_disk = self.replicas.clone();
            let expected = self.replicas.expected(self.wanted, &present).unwrap_or_default();
            self.unsaved |= self.replicas != on_disk;
            for (zone, pool) in self.pools.iter_mut() {
                pool.set_known(Some(expected.get(zone).copied().unwrap_or(0)));
            }
        } else {
            self.pools.values_mut().for_each(|pool| pool.set_known(None));
        }
        if !self.steering.is_idle(&self.name, fleet) {
            let drained: BTreeSet<Zone> = self.drained_zones(fleet);
            let places = self.places(fleet);
            let on_disk = self.steering.clone();
            self.steering.update(&self.name, fleet, &self.policy, &places, now);
            self.unsaved |= !self.steering.is_kept_like(&on_disk);
            for zone in self.drained_zones(fleet).difference(&drained) {
                if let Some(pool) = self.pools.get_mut(zone) {
                    pool.governor.forget_fall();
                }
            }
        }
    }

    fn drained_zones(&self, fleet: &Fleet) -> BTreeSet<Zone> {
        let locality = |zone: &Zone| Locality { region: fleet.region.clone(), zone: zone.clone() };
        self.pools.keys().filter(|zone| self.steering.drained(&locality(zone)).is_some()).cloned().collect()
    }

    /// All pools of the service as what acts on them sees them.
    fn places(&self, fleet: &Fleet) -> Vec<PoolPlace> {
        let allowed = |region: &Region, cluster: &ClusterName| {
            self.policy.residency.as_ref().is_none_or(|only| only.value.allows(region, cluster))
        };
        let lets = |phase: Phase| !matches!(phase, Phase::Out | Phase::Shifted | Phase::Empty);
        let own = self.pools.iter().map(|(zone, pool)| PoolPlace {
            cluster: fleet.own.clone(),
            locality: Locality { region: fleet.region.clone(), zone: zone.clone() },
            healthy: pool.healthy() > 0 && pool.expected() > 0,
            usable: allowed(&fleet.region, &fleet.own),
        });
        let told = self.remotes.iter().flat_map(|(cluster, remote)| {
            // Residency goes by where the fleet says that a cluster lies; who is no part of it serves nobody.
            let region = fleet.clusters.get(cluster);
            let may_serve = fleet.is_reachable(cluster) && region.is_some_and(|it| allowed(it, cluster));
            remote.pools.values().map(move |status| (cluster, status, may_serve))
        });
        let remote = told.map(|(cluster, status, may_serve)| PoolPlace {
            cluster: cluster.clone(),
            locality: status.locality.clone(),
            healthy: status.healthy > 0 && status.expected > 0,
            usable: may_serve && lets(status.phase),
        });
        own.chain(remote).collect()
    }

    pub(super) fn own_hold(&self, fleet: &Fleet, zone: &Zone) -> Option<Hold> {
        if self.steering.is_idle(&self.name, fleet) {
            return None;
        }
        let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
        self.hold(fleet, &fleet.own, &locality)
    }

    pub(super) fn hold(&self, fleet: &Fleet, cluster: &ClusterName, locality: &Locality) -> Option<Hold> {
        if self.steering.is_idle(&self.name, fleet) {
            return None;
        }
        self.steering.hold(&self.name, fleet, cluster, locality)
    }

    /// Writes where the service lives and whether anything of it is healthy there, over
    /// what was written before; what is out of reach says nothing.
    pub(crate) fn standings(&self, fleet: &Fleet, standings: &mut Standings) {
        standings.clear();
        let mut own = Standing { healthy: false, nodes: BTreeSet::new() };
        for (zone, pool) in self.pools.iter().filter(|(_, pool)| pool.expected() > 0) {
            let mut it = Standing { healthy: pool.healthy() > 0, nodes: BTreeSet::new() };
            if !it.healthy {
                it.nodes = pool.nodes().iter().copied().collect();
            }
            own.join(&it);
            let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
            standings.insert(Location::Zone(locality), it);
        }
        if !standings.is_empty() {
            standings.insert(Location::Cluster(fleet.own.clone()), own.clone());
            standings.insert(Location::Region(fleet.region.clone()), own);
        }
        for (cluster, remote) in self.remotes.iter().filter(|(cluster, _)| fleet.is_reachable(cluster)) {
            let Some(region) = fleet.clusters.get(cluster) else { continue };
            let mut expected = remote.pools.values().filter(|status| status.expected > 0).peekable();
            if expected.peek().is_none() {
                continue;
            }
            let it = Standing { healthy: expected.any(|status| status.healthy > 0), nodes: BTreeSet::new() };
            let region = Location::Region(region.clone());
            match standings.get_mut(&region) {
                Some(region) => region.join(&it),
                None => standings.insert(region, it.clone()),
            }
            standings.insert(Location::Cluster(cluster.clone()), it);
        }
    }
}
