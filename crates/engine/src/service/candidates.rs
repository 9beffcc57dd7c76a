//! The service's pools as candidates of the planner.

use super::{Remote, ServiceState};
use crate::{
    engine::Fleet,
    plan::Target,
    planner::{Candidate, CandidatePool},
    policy::Proximity,
    steer,
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_model::{ClusterName, Locality, Phase, PoolStatus, Region, Zone};

impl ServiceState {
    /// Writes the candidates over those of the service that was asked before, which are mostly the same places: to
    /// compare a name costs a tenth of what it costs to make the candidate anew.
    pub(super) fn candidates(&self, fleet: &Fleet, board: &mut Vec<Candidate>) {
        let mut count = 0;
        // The other clusters first: services differ more in the zones where they live.
        for (cluster, remote) in &self.remotes {
            if let Some(region) = fleet.clusters.get(cluster) {
                let target = Target::Cluster(cluster.clone());
                let it = place(board, count, target, (cluster, region), remote.pools.keys());
                self.fill_remote(it, fleet, cluster, remote);
                count += 1;
            }
        }
        for (zone, pool) in &self.pools {
            let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
            let away = self.steering.away(&fleet.own, &locality);
            let target = Target::Zone(zone.clone());
            let it = place(board, count, target, (&fleet.own, &fleet.region), std::iter::once(zone));
            it.pools.values_mut().for_each(|it| {
                *it = CandidatePool {
                    expected: pool.expected(),
                    healthy: pool.healthy(),
                    admit: pool.governor.admit().times(away.kept),
                };
            });
            it.phase = steer::phase(pool.phase(), away);
            it.reachable = true;
            it.hold = self.hold(fleet, &fleet.own, &locality);
            count += 1;
        }
        board.truncate(count);
    }

    /// Measured distances count from the moment at which all is well, so that no order changes during a fault.
    pub(super) fn take_over_distances(&mut self, fleet: &Fleet, board: &[Candidate]) {
        if self.policy.proximity.value == Proximity::Declared {
            self.measured = None;
            return;
        }
        let news = self.measured.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &fleet.measured));
        let well = |it: &Candidate| it.reachable && matches!(it.phase, Phase::Serving | Phase::Empty);
        if news && (self.measured.is_none() || board.iter().all(well)) {
            self.measured = Some(Arc::clone(&fleet.measured));
        }
    }

    fn fill_remote(&self, it: &mut Candidate, fleet: &Fleet, cluster: &ClusterName, remote: &Remote) {
        let away = |status: &PoolStatus| self.steering.away(cluster, &status.locality);
        for (it, status) in it.pools.values_mut().zip(remote.pools.values()) {
            *it = CandidatePool {
                expected: status.expected,
                healthy: status.healthy,
                // The least of both: the owner may tell of the very shift that we know too.
                admit: status.admit.min(away(status).kept).times(remote.reach.admit()),
            };
        }
        it.phase = remote.phase(|status| steer::phase(status.phase, away(status)));
        it.reachable = fleet.is_reachable(cluster);
        it.hold = remote.pools.values().find_map(|it| self.hold(fleet, cluster, &it.locality));
    }
}

/// The candidate at `position`, made to be this target with pools in these zones; nothing else of it is right yet.
fn place<'a, 'z>(
    board: &'a mut Vec<Candidate>,
    position: usize,
    target: Target,
    (cluster, region): (&ClusterName, &Region),
    zones: impl Iterator<Item = &'z Zone> + Clone,
) -> &'a mut Candidate {
    let same = |it: &Candidate| {
        it.target == target
            && it.cluster == *cluster
            && it.region == *region
            && it.pools.keys().eq(zones.clone())
    };
    if !board.get(position).is_some_and(same) {
        board.truncate(position);
        let unknown = CandidatePool { expected: 0, healthy: 0, admit: Default::default() };
        board.push(Candidate {
            target,
            cluster: cluster.clone(),
            region: region.clone(),
            pools: zones.map(|zone| (zone.clone(), unknown)).collect::<BTreeMap<_, _>>(),
            phase: Phase::Empty,
            reachable: false,
            hold: None,
        });
    }
    &mut board[position]
}
