//! One service as this cluster's agent sees it: its own pools, the other clusters' pools, and the plans.

mod acting;
mod board;
mod demand;
mod told;

pub use demand::DemandView;
use demand::SavedDemand;

use crate::{
    demand::Demands,
    engine::{Decision, Fleet},
    governor::{Governor, Health, SavedGovernor},
    location::{ServiceId, Standings},
    merge::Observations,
    plan::{Plan, Source, Target},
    planner::{Question, Rewritten},
    policy::Policy,
    pool::{EndpointFacts, Pool, SavedPool},
    proximity::Distances,
    replicas::Replicas,
    small::SmallMap,
    steer::{self, SavedSteering, Steering},
};
use board::Board;
pub(crate) use board::Boards;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, PoolKey, PoolStatus, ServiceName, Time, Zone};

/// The state of one service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceState {
    name: ServiceName,
    policy: Arc<Policy>,
    pools: SmallMap<Zone, Pool>,
    remotes: SmallMap<ClusterName, Remote>,
    /// In the order of their sources. Shared with the decisions that tell of them: a lost region changes every plan at
    /// once.
    plans: Vec<Arc<Plan>>,
    /// The measured distances by which it finds the nearest region; `None` while the policy goes by declared ones.
    measured: Option<Arc<Distances>>,
    /// What is asked for; empty while no capacity is declared.
    demands: Demands,
    /// The pool statuses as last told, to tell what changed.
    told: SmallMap<Zone, Told>,
    /// What moves traffic away from pools that are healthy.
    steering: Steering,
    /// The workload's known replicas, and how they were spread.
    wanted: Option<u32>,
    replicas: Replicas,
    /// When it wants to be woken, as the engine was told last.
    pub(crate) due: Option<Time>,
    /// By what number it is known to the places, and how it stands there as they were told last.
    pub(crate) id: ServiceId,
    pub(crate) standings: Standings,
    /// The board that fitted last: where to look first.
    board: usize,
    /// Whether anything but time changed what is kept of it on disk.
    pub(crate) unsaved: bool,
}

/// The pools of one service in another cluster, as its agents told us; the engine keeps the same.
pub(crate) type RemoteZones = Arc<SmallMap<Zone, PoolStatus>>;

/// The pools of another cluster, as its agents told us, and how far we trust our way to it.
#[derive(Clone, Debug)]
struct Remote {
    pools: RemoteZones,
    reach: Governor,
}

/// What of a pool's status changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    expected: u32,
    present: u32,
    healthy: u32,
    admit: Fraction,
    phase: Phase,
    hold_remaining: Duration,
}

/// A service as it is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SavedService {
    pools: SmallMap<Zone, SavedPool>,
    remotes: SmallMap<ClusterName, SavedGovernor>,
    #[serde(default)]
    steering: SavedSteering,
    #[serde(default)]
    replicas: Replicas,
    /// What was asked for last, by zone.
    #[serde(default)]
    demand: BTreeMap<Zone, SavedDemand>,
}

impl SavedService {
    /// Whether time changes it.
    pub(crate) fn runs(&self) -> bool {
        self.pools.values().any(SavedPool::runs)
            || self.remotes.values().any(SavedGovernor::runs)
            || self.steering.runs()
            || !self.demand.is_empty()
    }

    /// The same `by` later, if nothing but time happened.
    pub(crate) fn age(&mut self, by: Duration) {
        self.pools.values_mut().for_each(|pool| pool.age(by));
        self.remotes.values_mut().for_each(|reach| reach.age(by));
        self.steering.age(by);
        self.demand.values_mut().for_each(|demand| demand.age(by));
    }
}

/// What an update of a service brought.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) plans_changed: bool,
    pub(crate) statuses_changed: bool,
}

impl ServiceState {
    pub(crate) fn new(name: ServiceName, id: ServiceId, policy: Arc<Policy>) -> Self {
        Self {
            name,
            policy,
            pools: SmallMap::default(),
            remotes: SmallMap::default(),
            plans: Vec::new(),
            measured: None,
            demands: Demands::default(),
            told: SmallMap::default(),
            steering: Steering::default(),
            wanted: None,
            replicas: Replicas::default(),
            due: None,
            id,
            standings: Standings::default(),
            board: 0,
            unsaved: false,
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
        self.plans.iter().map(Arc::as_ref)
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
                ejected: endpoint.ejected,
                passes: endpoint.passes(),
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
        self.pools.values_mut().for_each(|pool| pool.note_present(&self.policy, now));
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
        for (zone, pool) in self.pools.iter_mut() {
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

    /// Ejects an endpoint or lets it back; its zone if that is news.
    pub(crate) fn eject(&mut self, address: SocketAddr, ejected: bool) -> Option<Zone> {
        let (zone, pool) = self.pools.iter_mut().find(|(_, pool)| pool.endpoints().contains_key(&address))?;
        let news = pool.eject(address, ejected);
        self.unsaved |= news;
        news.then(|| zone.clone())
    }

    /// Takes in the verdict of an own check.
    pub(crate) fn set_own(&mut self, address: SocketAddr, up: bool) {
        self.pools.values_mut().for_each(|pool| pool.set_own(address, up));
    }

    /// Counts the votes on an endpoint; its zone and what it is now if that is news.
    pub(crate) fn vote(&mut self, address: SocketAddr, votes: &Observations) -> Option<(Zone, bool)> {
        let vote = |own, before| votes.decide(&self.name, &address, own, before);
        let found =
            self.pools.iter_mut().find_map(|(zone, pool)| Some((zone.clone(), pool.vote(address, vote)?)));
        self.unsaved |= found.is_some();
        found
    }

    pub(crate) fn set_remote(
        &mut self,
        cluster: &ClusterName,
        pools: RemoteZones,
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
        self.unsaved = true;
    }

    /// Whether it matters to this service that a cluster is in reach: pools of it lie there, or capacity is declared, which
    /// every source of the fleet spends.
    pub(crate) fn heeds(&self, cluster: &ClusterName) -> bool {
        self.remotes.get(cluster).is_some() || self.policy.capacity.is_some()
    }

    pub(crate) fn undo_unreachable(&mut self, cluster: &ClusterName) {
        if let Some(remote) = self.remotes.get_mut(cluster) {
            remote.reach.undo_fall();
            self.unsaved = true;
        }
    }

    /// An operator lets traffic back to a target that waits for a word.
    pub(crate) fn release(&mut self, target: &Target, now: Time) {
        match target {
            Target::Zone(zone) => self.pools.get_mut(zone).map(|pool| pool.governor.release(now)),
            Target::Cluster(cluster) => self.remotes.get_mut(cluster).map(|remote| remote.reach.release(now)),
        };
        self.unsaved = true;
    }

    /// Brings governors and plans up to `now`, and tells what was decided.
    pub(crate) fn update(
        &mut self,
        fleet: &Fleet,
        now: Time,
        boards: &mut Boards,
        decisions: &mut Vec<Decision>,
    ) -> Outcome {
        self.limit_ramps();
        self.see(fleet, now);
        let statuses_changed = self.update_pools(fleet, now, decisions);
        for (cluster, remote) in self.remotes.iter_mut() {
            let health = if fleet.is_reachable(cluster) { Health::WHOLE } else { Health::LOST };
            let on_disk = remote.reach.kept();
            remote.reach.observe(health, &self.policy, now);
            self.unsaved |= remote.reach.kept() != on_disk;
        }
        self.update_demands(fleet, now);
        let mut board = boards.of(self, fleet);
        board.fill(self, fleet);
        if self.take_over_distances(fleet, &board.candidates) {
            board = boards.of(self, fleet);
            board.fill(self, fleet);
        }
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
        for (zone, pool) in self.pools.iter_mut() {
            let acting =
                self.steering.acting(|| Locality { region: fleet.region.clone(), zone: zone.clone() }, fleet);
            self.unsaved |= pool.update(acting, &self.policy, now);
        }
        // A pool that nothing is expected of any more is forgotten with its last endpoint.
        let there = self.pools.len();
        self.pools.retain(|_, pool| !pool.is_over(now));
        if self.pools.len() < there {
            self.unsaved = true;
            self.steering.keep_only(&fleet.own, |zone| self.pools.contains_key(zone));
        }
        let mut changed = false;
        for (zone, pool) in self.pools.iter() {
            let told = self.told_of(zone, pool, fleet, now);
            let before = self.told.get(zone).copied();
            if before == Some(told) {
                continue;
            }
            changed = true;
            if before.is_none_or(|before| before.phase != told.phase || before.admit != told.admit) {
                let (service, cluster) = (self.name.clone(), fleet.own.clone());
                decisions.push(Decision::Pool {
                    pool: PoolKey { service, cluster, zone: zone.clone() },
                    before: before.map(|before| before.phase),
                    status: self.status(zone, told, fleet),
                    note: self.own_hold(fleet, zone).map(|hold| hold.note),
                });
            }
            self.told.insert(zone.clone(), told);
        }
        // All that is there has been told by now, so a zone too many is one that was forgotten.
        if self.told.len() > self.pools.len() {
            self.told.retain(|zone, _| self.pools.contains_key(zone));
            changed = true;
        }
        changed
    }

    /// Plans for every source; whether anything of a plan changed that gateways must be told.
    fn update_plans(&mut self, fleet: &Fleet, board: &mut Board, decisions: &mut Vec<Decision>) -> bool {
        let planned = self.plans.len();
        if !self.plans.iter().map(|plan| &plan.source).eq(&fleet.sources) {
            self.plans.retain(|plan| fleet.sources.contains(&plan.source));
        }
        let mut changed = self.plans.len() < planned;
        let mut declared = self.declared_plans(fleet, &board.candidates);
        for (at, source) in fleet.sources.iter().enumerate() {
            // All sources before this one have a plan, so that its own can only be here.
            let in_force = self.plans.get(at).is_some_and(|plan| plan.source == *source);
            let before = in_force.then(|| self.plans[at].shares.clone());
            let rewritten = match declared.remove(source) {
                Some(plan) => self.replace(at, in_force, plan),
                None => self.plan_again(at, in_force, source, fleet, board),
            };
            changed |= rewritten.shares || rewritten.rest;
            if rewritten.shares {
                decisions.push(Decision::Plan { before, after: Arc::clone(&self.plans[at]) });
            }
        }
        changed
    }

    /// Takes a plan in the place of the one in force, or as one more.
    fn replace(&mut self, at: usize, in_force: bool, plan: Plan) -> Rewritten {
        let plan = Arc::new(plan);
        if !in_force {
            self.plans.reserve_exact(1);
            self.plans.insert(at, plan);
            return Rewritten { shares: true, rest: true };
        }
        let before = std::mem::replace(&mut self.plans[at], plan);
        let after = &self.plans[at];
        Rewritten {
            shares: before.shares != after.shares || before.shed != after.shed,
            rest: before.standby != after.standby || before.last_resort != after.last_resort,
        }
    }

    /// Plans for one source from what is on the board.
    fn plan_again(
        &mut self,
        at: usize,
        in_force: bool,
        source: &Source,
        fleet: &Fleet,
        board: &mut Board,
    ) -> Rewritten {
        let (candidates, figures, tiers, answer) = board.answer(at, &self.policy);
        let (service, policy, distances) = (&self.name, &self.policy, &fleet.distances);
        let question = Question { service, source, policy, candidates, distances };
        if in_force {
            // Whoever was told of the plan has mostly let go of it by now; else he keeps what he has.
            let plan = Arc::make_mut(&mut self.plans[at]);
            return answer.rewrite(plan, &question, tiers, figures);
        }
        let plan = answer.plan(&question, tiers, figures, None);
        self.replace(at, false, plan)
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
    /// Whether it is out for what requests found there.
    pub ejected: bool,
    /// Whether it would count as healthy if it were not ejected.
    pub passes: bool,
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
