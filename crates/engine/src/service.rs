//! One service as this cluster's agent sees it: its own pools, the other clusters' pools, and the plans.

mod acting;
mod candidates;
mod demand;

pub use demand::DemandView;
use demand::SavedDemand;

use crate::{
    demand::Demands,
    engine::{Decision, Fleet},
    governor::{Governor, Health, SavedGovernor},
    merge::Observations,
    plan::{Plan, Source, Target},
    planner::{Candidate, Planning, Question},
    policy::Policy,
    pool::{Acting, EndpointFacts, Pool, SavedPool},
    proximity::Distances,
    replicas::Replicas,
    steer::{self, SavedSteering, Steering},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, PoolKey, PoolStatus, ServiceName, Time, Zone};

/// The state of one service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceState {
    name: ServiceName,
    policy: Arc<Policy>,
    pools: BTreeMap<Zone, Pool>,
    remotes: BTreeMap<ClusterName, Remote>,
    /// Shared with the decisions that tell of them: a lost region changes every plan at once.
    plans: BTreeMap<Source, Arc<Plan>>,
    /// The measured distances by which it finds the nearest region; `None` while the policy goes by declared ones.
    measured: Option<Arc<Distances>>,
    /// What is asked for; empty while no capacity is declared.
    demands: Demands,
    /// The pool statuses as last told, to tell what changed.
    told: BTreeMap<Zone, PoolStatus>,
    /// What moves traffic away from pools that are healthy.
    steering: Steering,
    /// The workload's known replicas, and how they were spread.
    wanted: Option<u32>,
    replicas: Replicas,
    /// When it wants to be woken, as the engine was told last.
    pub(crate) due: Option<Time>,
}

/// The pools of another cluster, as its agents told us, and how far we trust our way to it.
#[derive(Clone, Debug)]
struct Remote {
    pools: BTreeMap<Zone, PoolStatus>,
    reach: Governor,
}

/// A service as it is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SavedService {
    pools: BTreeMap<Zone, SavedPool>,
    remotes: BTreeMap<ClusterName, SavedGovernor>,
    #[serde(default)]
    steering: SavedSteering,
    #[serde(default)]
    replicas: Replicas,
    /// What was asked for last, by zone.
    #[serde(default)]
    demand: BTreeMap<Zone, SavedDemand>,
}

/// What an update of a service brought.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) plans_changed: bool,
    pub(crate) statuses_changed: bool,
}

impl ServiceState {
    pub(crate) fn new(name: ServiceName, policy: Arc<Policy>) -> Self {
        Self {
            name,
            policy,
            pools: BTreeMap::new(),
            remotes: BTreeMap::new(),
            plans: BTreeMap::new(),
            measured: None,
            demands: Demands::default(),
            told: BTreeMap::new(),
            steering: Steering::default(),
            wanted: None,
            replicas: Replicas::default(),
            due: None,
        }
    }

    pub(crate) fn save(&self, now: Time) -> SavedService {
        SavedService {
            pools: self.pools.iter().map(|(zone, pool)| (zone.clone(), pool.save(now))).collect(),
            remotes: self.remotes.iter().map(|(cluster, it)| (cluster.clone(), it.reach.save(now))).collect(),
            steering: self.steering.save(now),
            replicas: self.replicas.clone(),
            demand: self.save_demand(now),
        }
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values().map(Arc::as_ref)
    }

    /// Endpoints of the own cluster with their zone and whether they are healthy and being shut down.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = EndpointView> {
        self.pools.iter().flat_map(|(zone, pool)| {
            pool.endpoints().iter().map(|(address, endpoint)| EndpointView {
                address: *address,
                zone: zone.clone(),
                healthy: endpoint.is_healthy(),
                terminating: endpoint.facts.terminating,
                up: endpoint.up,
            })
        })
    }

    pub(crate) fn set_policy(&mut self, policy: Arc<Policy>, replicas: Option<u32>) {
        self.forget_other_units(&policy);
        self.policy = policy;
        self.wanted = replicas;
    }

    pub(crate) fn set_endpoints(
        &mut self,
        endpoints: &BTreeMap<SocketAddr, (Zone, EndpointFacts)>,
        saved: Option<&SavedService>,
        now: Time,
    ) {
        let mut by_zone: BTreeMap<&Zone, BTreeMap<SocketAddr, EndpointFacts>> = BTreeMap::new();
        for (address, (zone, facts)) in endpoints {
            by_zone.entry(zone).or_default().insert(*address, *facts);
        }
        // A zone that is known from before a restart and has no endpoint now is missing all of them.
        for zone in by_zone.keys().copied().chain(saved.iter().flat_map(|saved| saved.pools.keys())) {
            if !self.pools.contains_key(zone) {
                let saved = saved.and_then(|saved| saved.pools.get(zone));
                let pool = saved.map_or_else(Pool::new, |saved| Pool::restored(saved, now));
                self.pools.insert(zone.clone(), pool);
            }
        }
        self.correct_zones(endpoints);
        let none = BTreeMap::new();
        for (zone, pool) in &mut self.pools {
            let saved = saved.and_then(|saved| saved.pools.get(zone));
            pool.set_endpoints(by_zone.get(zone).unwrap_or(&none), saved);
        }
    }

    /// An endpoint whose zone was corrected is the same endpoint: what is known of it moves along.
    fn correct_zones(&mut self, endpoints: &BTreeMap<SocketAddr, (Zone, EndpointFacts)>) {
        for (address, (zone, _)) in endpoints {
            let known = |pool: &Pool| pool.endpoints().contains_key(address);
            if self.pools.get(zone).is_none_or(known) {
                continue;
            }
            let given = self.pools.values_mut().find_map(|pool| pool.give_away(*address));
            if let (Some(endpoint), Some(pool)) = (given, self.pools.get_mut(zone)) {
                pool.take_in(*address, endpoint);
            }
        }
    }

    /// Takes in the verdict of an own check.
    pub(crate) fn set_own(&mut self, address: SocketAddr, up: bool) {
        self.pools.values_mut().for_each(|pool| pool.set_own(address, up));
    }

    /// Counts the votes on an endpoint; its zone and what it is now if that is news.
    pub(crate) fn vote(&mut self, address: SocketAddr, votes: &Observations) -> Option<(Zone, bool)> {
        let vote = |own, before| votes.decide(&self.name, &address, own, before);
        self.pools.iter_mut().find_map(|(zone, pool)| Some((zone.clone(), pool.vote(address, vote)?)))
    }

    pub(crate) fn set_remote(
        &mut self,
        cluster: &ClusterName,
        pools: BTreeMap<Zone, PoolStatus>,
        saved: Option<&SavedService>,
        now: Time,
    ) {
        match self.remotes.get_mut(cluster) {
            Some(remote) => remote.pools = pools,
            None => {
                let reach = saved.and_then(|saved| saved.remotes.get(cluster));
                let reach = reach.map_or_else(Governor::new, |saved| Governor::restored(saved, now));
                self.remotes.insert(cluster.clone(), Remote { pools, reach });
            }
        }
        self.remotes.retain(|_, remote| !remote.pools.is_empty());
    }

    pub(crate) fn undo_unreachable(&mut self, cluster: &ClusterName) {
        if let Some(remote) = self.remotes.get_mut(cluster) {
            remote.reach.undo_fall();
        }
    }

    /// An operator lets traffic back to a target that waits for a word.
    pub(crate) fn release(&mut self, target: &Target, now: Time) {
        match target {
            Target::Zone(zone) => self.pools.get_mut(zone).map(|pool| pool.governor.release(now)),
            Target::Cluster(cluster) => self.remotes.get_mut(cluster).map(|remote| remote.reach.release(now)),
        };
    }

    /// Brings governors and plans up to `now`, and tells what was decided.
    /// `board` is where candidates are laid out; what it holds means nothing.
    pub(crate) fn update(
        &mut self,
        fleet: &Fleet,
        now: Time,
        board: &mut Vec<Candidate>,
        decisions: &mut Vec<Decision>,
    ) -> Outcome {
        self.limit_ramps();
        self.see(fleet, now);
        let statuses_changed = self.update_pools(fleet, now, decisions);
        for (cluster, remote) in &mut self.remotes {
            let health = if fleet.is_reachable(cluster) { Health::WHOLE } else { Health::LOST };
            remote.reach.observe(health, &self.policy, now);
        }
        self.update_demands(fleet, now);
        self.candidates(fleet, board);
        self.take_over_distances(fleet, board);
        let plans_changed = self.update_plans(fleet, board, decisions);
        Outcome { plans_changed, statuses_changed }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let pools = self.pools.values().filter_map(|pool| pool.deadline(&self.policy));
        let remotes = self.remotes.values().filter_map(|remote| remote.reach.deadline(&self.policy));
        pools.chain(remotes).chain(self.steering.deadline()).chain(self.demands.deadline()).min()
    }

    /// Brings the own pools up to `now`; whether what is told of them changed.
    fn update_pools(&mut self, fleet: &Fleet, now: Time, decisions: &mut Vec<Decision>) -> bool {
        for (zone, pool) in &mut self.pools {
            let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
            let drained = self.steering.drained(&locality).is_some();
            let shifted = !self.steering.away(&fleet.own, &locality).kept.is_one();
            pool.update(Acting { drained, shifted }, &self.policy, now);
        }
        // A pool that nothing is expected of any more is forgotten with its last endpoint.
        self.pools.retain(|_, pool| !pool.is_over(now));
        let statuses = self.pools.iter().map(|(zone, pool)| (zone, self.status(zone, pool, fleet, now)));
        let news: Vec<(Zone, PoolStatus)> = statuses
            .filter(|(zone, status)| self.told.get(*zone) != Some(status))
            .map(|(zone, status)| (zone.clone(), status))
            .collect();
        let mut changed = !news.is_empty();
        for (zone, status) in news {
            let before = self.told.get(&zone);
            if before.is_none_or(|before| before.phase != status.phase || before.admit != status.admit) {
                let (service, cluster) = (self.name.clone(), fleet.own.clone());
                decisions.push(Decision::Pool {
                    pool: PoolKey { service, cluster, zone: zone.clone() },
                    before: before.map(|before| before.phase),
                    status: status.clone(),
                    note: self.hold(fleet, &fleet.own, &status.locality).map(|hold| hold.note),
                });
            }
            self.told.insert(zone, status);
        }
        // All that is there has been told by now, so a zone too many is one that was forgotten.
        if self.told.len() > self.pools.len() {
            self.told.retain(|zone, _| self.pools.contains_key(zone));
            changed = true;
        }
        changed
    }

    fn status(&self, zone: &Zone, pool: &Pool, fleet: &Fleet, now: Time) -> PoolStatus {
        let locality = Locality { region: fleet.region.clone(), zone: zone.clone() };
        let away = self.steering.away(&fleet.own, &locality);
        PoolStatus {
            service: self.name.clone(),
            locality,
            expected: pool.expected(),
            healthy: pool.healthy(),
            admit: pool.governor.admit().times(away.kept),
            phase: steer::phase(pool.phase(), away),
            hold_remaining: pool.governor.hold_remaining(now),
        }
    }

    /// The pools of the own cluster as they are now, for the other clusters.
    pub(crate) fn statuses(&self, fleet: &Fleet, now: Time) -> impl Iterator<Item = PoolStatus> {
        self.pools.iter().map(move |(zone, pool)| self.status(zone, pool, fleet, now))
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

    /// Plans for every source; whether anything of a plan changed that gateways must be told.
    fn update_plans(
        &mut self,
        fleet: &Fleet,
        candidates: &[Candidate],
        decisions: &mut Vec<Decision>,
    ) -> bool {
        let planned = self.plans.len();
        self.plans.retain(|source, _| fleet.sources.contains(source));
        let mut changed = self.plans.len() < planned;
        let mut declared = self.declared_plans(fleet, candidates);
        let mut planning = Planning::of(candidates);
        for source in &fleet.sources {
            let question = Question {
                service: &self.name,
                source,
                policy: &self.policy,
                candidates,
                distances: self.measured.as_deref().unwrap_or(&fleet.distances),
            };
            let before = self.plans.get_mut(source);
            let in_force = before.as_deref().map(Arc::as_ref);
            let after = declared.remove(source).unwrap_or_else(|| planning.plan(&question, in_force));
            let after = Arc::new(after);
            let moved = before
                .as_ref()
                .is_none_or(|before| before.shares != after.shares || before.shed != after.shed);
            changed |= moved
                || before
                    .as_ref()
                    .is_some_and(|it| it.standby != after.standby || it.last_resort != after.last_resort);
            let in_force = Arc::clone(&after);
            let before = match before {
                Some(before) => Some(std::mem::replace(before, in_force)),
                None => self.plans.insert(source.clone(), in_force),
            };
            if moved {
                let before = before.map(|before| Arc::unwrap_or_clone(before).shares);
                decisions.push(Decision::Plan { before, after });
            }
        }
        changed
    }
}

impl Remote {
    /// The phase of the whole cluster as this one sees it: out if its owner says so, else by our reach, else by what
    /// its pools have in common.
    fn phase(&self, of: impl Fn(&PoolStatus) -> Phase) -> Phase {
        let expected = self.pools.values().any(|status| status.expected > 0);
        let reach = self.reach.phase(u32::from(expected));
        let phases: BTreeSet<Phase> =
            self.pools.values().map(of).filter(|phase| *phase != Phase::Empty).collect();
        match (phases.first(), phases.len()) {
            (Some(Phase::Out), 1) if expected => Phase::Out,
            _ if reach != Phase::Out && steer::is_emptied(&phases) => Phase::Shifted,
            _ if reach != Phase::Serving => reach,
            (Some(only), 1) => *only,
            _ if phases.contains(&Phase::Ramping) => Phase::Ramping,
            _ if phases.contains(&Phase::Serving) || phases.contains(&Phase::Reduced) => Phase::Reduced,
            _ => Phase::Holding,
        }
    }
}

/// An endpoint of the own cluster as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    /// Its address.
    pub address: SocketAddr,
    /// Its zone.
    pub zone: Zone,
    /// Whether it counts as healthy.
    pub healthy: bool,
    /// Whether it is being shut down.
    pub terminating: bool,
    /// What active checks found last; `None` before the first.
    pub up: Option<bool>,
}

/// A pool of another cluster as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemotePoolView {
    /// The cluster that owns it.
    pub cluster: ClusterName,
    /// Whether we reach that cluster now.
    pub reachable: bool,
    /// The part of its admit that our reach allows.
    pub reach: Fraction,
    /// What its owner says.
    pub status: PoolStatus,
}
