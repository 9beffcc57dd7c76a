//! Foresight: the planner run with places taken away, before a fault takes them away (N-1).
//!
//! Pure, like the planner that it asks: a [`FleetState`] says who has which pools, and the answer to "what if this
//! zone, cluster or region were gone now?" is a [`Contingency`]: the shares of every source before and after, what
//! each pool would carry, what nobody would serve, and which rule forbids what would help.
//!
//! Where capacity is declared and the demand of every source is known, plans are made by the waterfall, with the clients
//! where they are after the loss.
//!
//! What it does not do: nothing is simulated over time (that is `sim`), so hold-downs, ramps and dead bands play no
//! part; every plan is made afresh. A place that is lost keeps its endpoints *expected*, as the engine sees a fault: a
//! cluster that lost a zone is not whole, and takes no foreign traffic while a Serving place remains.

mod lint;
mod load;
mod location;
mod lost;
mod outcome;
mod outlook;
mod poured;
mod resilience;
mod seen;
mod why;

pub use lint::{Finding, Lint, lint};
pub use location::{Location, LocationError, UnknownLocation};
pub use outcome::{
    Contingency, Fate, Forbidden, LocationLoad, PoolLoad, ServiceOutcome, SourceOutcome, Stranded, Unit,
};
pub use outlook::{Outlook, outlook};
pub use resilience::{Resilience, Risks, away};
pub use why::{Place, Why};

use crate::{
    plan::{Plan, Source, Target},
    planner::{Candidate, CandidatePool, Question, plan},
    policy::Policy,
};
use lost::Lost;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, Region, ServiceName, Zone};

/// [`n_minus_2`] looks at so many pairs: all pairs of 140 places, and seconds of work for a fleet of 10,000 services.
pub const MAX_PAIRS: usize = 10_000;

/// The fleet, as far as it is known to whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetState {
    /// The clusters. Pools and sources of a cluster that is not among them are not looked at.
    pub clusters: BTreeMap<ClusterName, FleetMember>,
    /// The services.
    pub services: BTreeMap<ServiceName, FleetService>,
}

/// A cluster of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetMember {
    /// Where it lies.
    pub region: Region,
    /// Round-trip times from its region to others, as its agent knows them.
    pub distances: BTreeMap<Region, Duration>,
    /// The clusters that it cannot reach.
    pub unreachable: BTreeSet<ClusterName>,
}

/// A service wherever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetService {
    /// The policy by which its callers' clusters decide.
    pub policy: Arc<Policy>,
    /// Clusters that decide by another policy than that: every cluster decides by its own manifests.
    pub own_policies: BTreeMap<ClusterName, Arc<Policy>>,
    /// Its pools.
    pub pools: BTreeMap<(ClusterName, Zone), PoolFigures>,
    /// Where its requests enter, with their rate in thousandths of a request per second as far as it is known.
    pub demand: BTreeMap<Source, Option<u64>>,
}

/// A pool as it stands before anything is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolFigures {
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given.
    pub admit: Fraction,
    /// Where it stands.
    pub phase: Phase,
    /// What the pool can carry as a whole, in thousandths of a request per second, if it is declared.
    pub capacity: Option<u64>,
}

/// What becomes of the clients that came in where nothing is any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Clients {
    /// They come in at the nearest sources that are left: the other zones of their cluster, else the other clusters of
    /// their region, else the nearest region, each in proportion to what comes in there anyway. This is what load
    /// balancers and DNS do, and what the rest must hold.
    #[default]
    Move,
    /// They are gone with the place.
    Gone,
}

/// The plans of every service from every one of its sources.
pub type Plans = BTreeMap<ServiceName, BTreeMap<Source, Plan>>;

impl FleetService {
    /// The policy by which the agents of `cluster` decide.
    #[must_use]
    pub fn policy_of(&self, cluster: &ClusterName) -> &Policy {
        self.own_policies.get(cluster).unwrap_or(&self.policy)
    }
}

impl FleetState {
    /// Every zone, cluster and region that has a pool or a source, in this order.
    #[must_use]
    pub fn locations(&self) -> BTreeSet<Location> {
        let mut locations = BTreeSet::new();
        for (cluster, zone) in self.zones() {
            let Some(member) = self.clusters.get(&cluster) else { continue };
            locations.insert(Location::Zone(Locality { region: member.region.clone(), zone }));
            locations.insert(Location::Region(member.region.clone()));
            locations.insert(Location::Cluster(cluster));
        }
        locations
    }

    /// Every zone of a cluster that has a pool or a source.
    fn zones(&self) -> BTreeSet<(ClusterName, Zone)> {
        let services = || self.services.values();
        let pools = services().flat_map(|service| service.pools.keys().cloned());
        let sources = services().flat_map(|service| service.demand.keys());
        pools.chain(sources.map(|it| (it.cluster.clone(), it.locality.zone.clone()))).collect()
    }
}

/// What is asked of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// These places, lost all at once.
    Together(Vec<Location>),
    /// Each place in turn (N-1).
    Each,
    /// Each pair of places in turn (N-2).
    Pairs,
}

/// The answer: what is wrong with nothing lost, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foresight {
    /// Whether everything is served now, and would be by each of the losses.
    pub holds: bool,
    /// What is wrong with nothing lost.
    pub findings: Vec<Finding>,
    /// The losses, in the order of the places.
    pub contingencies: Vec<Contingency>,
}

impl Foresight {
    /// Whether something is served by nothing healthy already.
    #[must_use]
    pub fn is_down_now(&self) -> bool {
        self.findings.iter().any(|it| matches!(it.lint, Lint::DownNow { .. } | Lint::NoEndpoints))
    }
}

/// Answers.
#[must_use]
pub fn foresee(state: &FleetState, asked: &Asked, clients: Clients) -> Foresight {
    let contingencies = match asked {
        Asked::Together(lose) => vec![contingency(state, lose, clients)],
        Asked::Each => n_minus_1(state, clients),
        Asked::Pairs => n_minus_2(state, clients, MAX_PAIRS),
    };
    let mut foresight = Foresight { holds: false, findings: lint(state), contingencies };
    foresight.holds = !foresight.is_down_now() && foresight.contingencies.iter().all(Contingency::holds);
    foresight
}

/// The plans as things stand.
#[must_use]
pub fn plans(state: &FleetState) -> Plans {
    let nothing = Lost::new(state, &[]);
    let of = |service: &ServiceName| (service.clone(), plans_of(state, service, &nothing, Clients::Gone));
    state.services.keys().map(of).collect()
}

/// What would be if all of `lose` were gone at once.
#[must_use]
pub fn contingency(state: &FleetState, lose: &[Location], clients: Clients) -> Contingency {
    outcome::contingency(state, &plans(state), lose, clients)
}

/// What would be if each zone, cluster and region were gone, one at a time, in the order of [`FleetState::locations`].
#[must_use]
pub fn n_minus_1(state: &FleetState, clients: Clients) -> Vec<Contingency> {
    n_minus_1_each(state, clients).collect()
}

/// The same one after the other, for whoever keeps little of each.
fn n_minus_1_each(state: &FleetState, clients: Clients) -> impl Iterator<Item = Contingency> {
    let before = plans(state);
    let lose = move |location| outcome::contingency(state, &before, &[location], clients);
    state.locations().into_iter().map(lose)
}

/// What would be if each pair of places were gone, at most `limit` pairs and at most [`MAX_PAIRS`], in order. Left out
/// are pairs of which one place lies in the other, and places that cover no more than a larger kind does (the only
/// cluster of a region).
#[must_use]
pub fn n_minus_2(state: &FleetState, clients: Clients, limit: usize) -> Vec<Contingency> {
    let before = plans(state);
    let places = lost::distinct(state);
    let pairs = places
        .iter()
        .enumerate()
        .flat_map(|(position, first)| places[position + 1..].iter().map(move |second| (first, second)));
    pairs
        .filter(|((_, a), (_, b))| !a.is_subset(b) && !b.is_subset(a))
        .take(limit.min(MAX_PAIRS))
        .map(|((a, _), (b, _))| outcome::contingency(state, &before, &[a.clone(), b.clone()], clients))
        .collect()
}

/// The plans of one service with some places gone; sources that are gone have none.
fn plans_of(
    state: &FleetState,
    name: &ServiceName,
    lost: &Lost<'_>,
    clients: Clients,
) -> BTreeMap<Source, Plan> {
    let Some(service) = state.services.get(name) else { return BTreeMap::new() };
    if let Some(plans) = poured::plans(state, name, service, lost, clients) {
        return plans;
    }
    let mut plans = BTreeMap::new();
    let mut seen: Option<(&ClusterName, Vec<Candidate>)> = None;
    for source in service.demand.keys().filter(|source| !lost.has_source(source)) {
        let Some(member) = state.clusters.get(&source.cluster) else { continue };
        // Sources come sorted by cluster, and all sources of a cluster see the same candidates.
        if seen.as_ref().is_none_or(|(cluster, _)| **cluster != source.cluster) {
            seen = Some((&source.cluster, candidates(state, service, &source.cluster, member, lost)));
        }
        let Some((_, candidates)) = &seen else { continue };
        let policy = service.policy_of(&source.cluster);
        let question = Question { service: name, source, policy, candidates, distances: &member.distances };
        plans.insert(source.clone(), plan(&question, None));
    }
    plans
}

/// The targets as the cluster `own` sees them: its own zones, and each other cluster as a whole.
fn candidates(
    state: &FleetState,
    service: &FleetService,
    own: &ClusterName,
    member: &FleetMember,
    lost: &Lost<'_>,
) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for ((cluster, zone), figures) in &service.pools {
        let Some(region) = state.clusters.get(cluster).map(|member| &member.region) else { continue };
        let gone = lost.has(cluster, zone);
        let phase = match figures.phase {
            Phase::Empty => Phase::Empty,
            _ if gone => Phase::Out,
            phase => phase,
        };
        let pool = CandidatePool {
            expected: figures.expected,
            // What was never healthy is no place to count on.
            present: 0,
            healthy: if gone { 0 } else { figures.healthy },
            admit: if gone { Fraction::ZERO } else { figures.admit },
        };
        // Pools come sorted by cluster, so those of another cluster follow each other.
        match candidates.last_mut().filter(|last| last.cluster == *cluster && cluster != own) {
            Some(last) => {
                last.phase = common_phase(last.phase, phase);
                last.reachable |= !gone && !member.unreachable.contains(cluster);
                last.pools.insert(zone.clone(), pool);
            }
            None => candidates.push(Candidate {
                target: if cluster == own {
                    Target::Zone(zone.clone())
                } else {
                    Target::Cluster(cluster.clone())
                },
                cluster: cluster.clone(),
                region: region.clone(),
                pools: BTreeMap::from([(zone.clone(), pool)]),
                phase,
                // What is lost is not even a last resort.
                reachable: !gone && !member.unreachable.contains(cluster),
                hold: None,
            }),
        }
    }
    candidates
}

/// The phase of two pools of one cluster together, as another cluster sees it.
fn common_phase(a: Phase, b: Phase) -> Phase {
    match (a, b) {
        (a, b) if a == b => a,
        (Phase::Empty, other) | (other, Phase::Empty) => other,
        (Phase::Ramping, _) | (_, Phase::Ramping) => Phase::Ramping,
        (Phase::Serving | Phase::Reduced, _) | (_, Phase::Serving | Phase::Reduced) => Phase::Reduced,
        _ => Phase::Holding,
    }
}
