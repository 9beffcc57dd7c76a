//! The service's pools as candidates of the planner, on boards that stay laid out from one service to the next.
//!
//! Most services of a fleet live in the same few sets of places under the same order of tiers. What follows from those
//! alone (the candidates' names, and who turns to whom first) is laid out once per set; a service writes its numbers
//! over those of the one before.

use super::{Remote, ServiceState};
use crate::{
    engine::Fleet,
    plan::Target,
    planner::{Answer, Candidate, CandidatePool, Figures, Question, Tiers},
    policy::{Policy, Proximity},
    proximity::Distances,
    steer,
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_model::{ClusterName, Fraction, Phase, PoolStatus, Region, Zone};

/// So many boards are kept; a fleet whose services live in more sets of places lays some of them out again.
const MAX_BOARDS: usize = 32;

/// The boards of an engine. Whoever changes the fleet's clusters, distances or sources clears them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boards {
    boards: Vec<Board>,
    /// The one to lay out anew next, once there are enough.
    oldest: usize,
}

/// The candidates of services that live in the same places and ask for them in the same order.
#[derive(Clone, Debug)]
pub(super) struct Board {
    policy: Arc<Policy>,
    /// The measured distances that its orders go by, if they do.
    measured: Option<Arc<Distances>>,
    /// The other clusters first, as the service names them; one that is not of the fleet is no candidate.
    clusters: Vec<(ClusterName, Vec<Zone>, Option<usize>)>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) figures: Vec<Figures>,
    orders: Vec<Order>,
    /// Per source of the fleet, the index of its order.
    order_of: Vec<usize>,
}

/// An order in which sources turn to the candidates, and what comes of it.
#[derive(Clone, Debug)]
struct Order {
    tiers: Tiers,
    answer: Answer,
    /// Whether it is the answer for the service in hand.
    asked: bool,
}

impl Boards {
    pub(crate) fn clear(&mut self) {
        self.boards.clear();
    }

    /// The board of a service, laid out for it; its numbers are still those of another service.
    pub(super) fn of(&mut self, service: &mut ServiceState, fleet: &Fleet) -> &mut Board {
        let fits = |board: &Board| board.fits(service);
        let at = if self.boards.get(service.board).is_some_and(fits) {
            service.board
        } else if let Some(at) = self.boards.iter().position(fits) {
            at
        } else {
            let board = Board::laid_out(service, fleet);
            if self.boards.len() < MAX_BOARDS {
                self.boards.push(board);
                self.boards.len() - 1
            } else {
                self.oldest = (self.oldest + 1) % MAX_BOARDS;
                self.boards[self.oldest] = board;
                self.oldest
            }
        };
        service.board = at;
        &mut self.boards[at]
    }
}

impl Board {
    /// Whether all that [`Tiers`] depend on is the same: the places, and what the policy says of their order.
    fn fits(&self, service: &ServiceState) -> bool {
        let policy = &service.policy;
        let same_order = Arc::ptr_eq(&self.policy, policy)
            || (self.policy.failover == policy.failover && self.policy.residency == policy.residency);
        let own = self.candidates.len().checked_sub(service.pools.len());
        let own = own.and_then(|start| self.candidates.get(start..)).unwrap_or_default();
        let is_zone = |(it, zone): (&Candidate, &Zone)| matches!(&it.target, Target::Zone(it) if it == zone);
        let is_remote =
            |((cluster, zones, _), (name, remote)): (&(ClusterName, Vec<Zone>, _), (_, &Remote))| {
                cluster == name && remote.pools.keys().eq(zones)
            };
        let same_distances = match (&self.measured, &service.measured) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        same_order
            && same_distances
            && self.clusters.len() == service.remotes.len()
            && own.len() == service.pools.len()
            && self.candidates.len() - own.len()
                == self.clusters.iter().filter(|(_, _, at)| at.is_some()).count()
            && own.iter().zip(service.pools.keys()).all(is_zone)
            && self.clusters.iter().zip(service.remotes.iter()).all(is_remote)
    }

    fn laid_out(service: &ServiceState, fleet: &Fleet) -> Self {
        let mut candidates = Vec::with_capacity(service.remotes.len() + service.pools.len());
        let mut clusters = Vec::with_capacity(service.remotes.len());
        for (cluster, remote) in service.remotes.iter() {
            let region = fleet.clusters.get(cluster);
            let at = region.map(|region| {
                let target = Target::Cluster(cluster.clone());
                candidates.push(unknown(target, cluster, region, remote.pools.keys()));
                candidates.len() - 1
            });
            clusters.push((cluster.clone(), remote.pools.keys().cloned().collect(), at));
        }
        for zone in service.pools.keys() {
            let target = Target::Zone(zone.clone());
            candidates.push(unknown(target, &fleet.own, &fleet.region, std::iter::once(zone)));
        }
        let policy = Arc::clone(&service.policy);
        let mut board = Self {
            policy,
            measured: service.measured.clone(),
            clusters,
            candidates,
            figures: Vec::new(),
            orders: Vec::new(),
            order_of: Vec::new(),
        };
        for source in &fleet.sources {
            let tiers = Tiers::of(&board.question(service, source, fleet));
            // What a weight comes to depends on the service's numbers, so it may turn out otherwise for another source.
            let known = board.orders.iter().position(|it| it.tiers == tiers && tiers.weighing.is_none());
            board.order_of.push(known.unwrap_or(board.orders.len()));
            if known.is_none() {
                board.orders.push(Order { tiers, answer: Answer::default(), asked: false });
            }
        }
        board
    }

    /// Writes the service's numbers; what was answered for another one is forgotten.
    pub(super) fn fill(&mut self, service: &ServiceState, fleet: &Fleet) {
        for ((_, _, at), (cluster, remote)) in self.clusters.iter().zip(service.remotes.iter()) {
            if let Some(at) = at {
                service.fill_remote(&mut self.candidates[*at], fleet, cluster, remote);
            }
        }
        let first = self.candidates.len() - service.pools.len();
        for (it, (zone, pool)) in self.candidates[first..].iter_mut().zip(service.pools.iter()) {
            let away = service.away(fleet, zone);
            let admit = pool.governor.admit().times(away.kept);
            let numbers = CandidatePool {
                expected: pool.expected(),
                present: pool.there(),
                healthy: pool.healthy(),
                admit,
            };
            it.pools.values_mut().for_each(|it| *it = numbers);
            it.phase = steer::phase(pool.governor.phase(numbers.expected), away);
            it.reachable = true;
            it.hold = service.own_hold(fleet, zone);
        }
        self.figures.clear();
        self.figures.extend(self.candidates.iter().map(Figures::of));
        self.weigh(service, fleet);
        self.orders.iter_mut().for_each(|order| order.asked = false);
    }

    /// Weights are divided over the endpoints that the service has.
    fn weigh(&mut self, service: &ServiceState, fleet: &Fleet) {
        if self.orders.iter().all(|order| order.tiers.weighing.is_none()) {
            return;
        }
        for (source, at) in fleet.sources.iter().zip(self.order_of.clone()) {
            if self.orders[at].tiers.weighing.is_some() {
                self.orders[at].tiers = Tiers::of(&self.question(service, source, fleet));
            }
        }
    }

    pub(super) fn question<'a>(
        &'a self,
        service: &'a ServiceState,
        source: &'a crate::plan::Source,
        fleet: &'a Fleet,
    ) -> Question<'a> {
        Question {
            service: &service.name,
            source,
            policy: &service.policy,
            candidates: &self.candidates,
            distances: service.measured.as_deref().unwrap_or(&fleet.distances),
        }
    }

    /// The order of the source at this position of the fleet's, and what comes of it for the service in hand.
    pub(super) fn answer(
        &mut self,
        source: usize,
        policy: &Policy,
    ) -> (&[Candidate], &[Figures], &Tiers, &mut Answer) {
        let Order { tiers, answer, asked } = &mut self.orders[self.order_of[source]];
        if !std::mem::replace(asked, true) {
            answer.ask(tiers, policy, &self.figures);
        }
        (&self.candidates, &self.figures, tiers, answer)
    }
}

impl ServiceState {
    /// Measured distances count from the moment at which all is well, so that no order changes during a fault. Whether
    /// others count now than before.
    pub(super) fn take_over_distances(&mut self, fleet: &Fleet, candidates: &[Candidate]) -> bool {
        if self.policy.proximity.value == Proximity::Declared {
            return self.measured.take().is_some();
        }
        let news = self.measured.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &fleet.measured));
        let well = |it: &Candidate| it.reachable && matches!(it.phase, Phase::Serving | Phase::Empty);
        if news && (self.measured.is_none() || candidates.iter().all(well)) {
            self.measured = Some(Arc::clone(&fleet.measured));
            return true;
        }
        false
    }

    fn fill_remote(&self, it: &mut Candidate, fleet: &Fleet, cluster: &ClusterName, remote: &Remote) {
        let away = |status: &PoolStatus| self.steering.away(cluster, &status.locality);
        for (it, status) in it.pools.values_mut().zip(remote.pools.values()) {
            *it = CandidatePool {
                expected: status.expected,
                present: status.present,
                healthy: status.healthy,
                // The least of both: the owner may tell of the very shift that we know too.
                admit: status.admit.min(away(status).kept).times(remote.reach.admit()),
            };
        }
        it.phase = remote.phase(|status| steer::phase(status.phase, away(status)));
        it.reachable = fleet.is_reachable(cluster);
        it.hold = if self.steering.is_idle(&self.name, fleet) {
            None
        } else {
            remote.pools.values().find_map(|it| self.hold(fleet, cluster, &it.locality))
        };
    }
}

/// A candidate with pools in these zones, of which nothing is known yet.
fn unknown<'z>(
    target: Target,
    cluster: &ClusterName,
    region: &Region,
    zones: impl Iterator<Item = &'z Zone>,
) -> Candidate {
    let unknown = CandidatePool { expected: 0, present: 0, healthy: 0, admit: Fraction::ZERO };
    Candidate {
        target,
        cluster: cluster.clone(),
        region: region.clone(),
        pools: zones.map(|zone| (zone.clone(), unknown)).collect::<BTreeMap<_, _>>(),
        phase: Phase::Empty,
        reachable: false,
        hold: None,
    }
}
