//! What is told of a service's pools: to peers, and to people.

use super::{Remote, RemotePoolView, ServiceState, Told};
use crate::{engine::Fleet, pool::Pool, shift::Away, steer};
use tidegate_model::{ClusterName, Locality, PoolStatus, Time, Zone};

impl ServiceState {
    /// What shifts leave an own pool.
    pub(super) fn away(&self, fleet: &Fleet, zone: &Zone) -> Away {
        if self.steering.moves_nothing() {
            return Away::NOT;
        }
        let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
        self.steering.away(&fleet.own, &locality)
    }

    pub(super) fn told_of(&self, zone: &Zone, pool: &Pool, fleet: &Fleet, now: Time) -> Told {
        let (away, expected) = (self.away(fleet, zone), pool.expected());
        Told {
            expected,
            present: pool.there(),
            healthy: pool.healthy(),
            admit: pool.governor.admit().times(away.kept),
            phase: steer::phase(pool.governor.phase(expected), away),
            hold_remaining: pool.governor.hold_remaining(now),
        }
    }

    pub(super) fn status(&self, zone: &Zone, told: Told, fleet: &Fleet) -> PoolStatus {
        let Told { expected, present, healthy, admit, phase, hold_remaining } = told;
        let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
        let service = self.name.clone();
        PoolStatus { service, locality, expected, present, healthy, admit, phase, hold_remaining }
    }

    /// The pools of the own cluster as they are now, for the other clusters.
    pub(crate) fn statuses(&self, fleet: &Fleet, now: Time) -> impl Iterator<Item = PoolStatus> {
        self.pools
            .iter()
            .map(move |(zone, pool)| self.status(zone, self.told_of(zone, pool, fleet, now), fleet))
    }

    /// The pools of other clusters as this cluster sees them: what their owners say, times our reach.
    pub(crate) fn remote_views(&self, fleet: &Fleet) -> Vec<RemotePoolView> {
        let view = |cluster: &ClusterName, remote: &Remote, status: &PoolStatus| RemotePoolView {
            cluster: cluster.clone(),
            reachable: fleet.is_reachable(cluster),
            reach: remote.reach.admit(),
            status: status.clone(),
        };
        self.remotes
            .iter()
            .flat_map(|(cluster, remote)| {
                remote.pools.values().map(move |status| view(cluster, remote, status))
            })
            .collect()
    }
}
