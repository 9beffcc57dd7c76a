//! Plans where capacity is declared: the fleet as the waterfall sees it, and the plans of the own sources from it.
//!
//! Every cluster computes the whole fleet's waterfall from what all tell each other, and keeps the plans of its own
//! sources; as the inputs are the same everywhere, so are the results, and nobody has to agree with anybody. Policy
//! is taken to be the same in every cluster.
//!
//! Clusters that we cannot hear (or that tell no demand) are no sources here: what arrives from them at a cluster
//! that we do hear comes off that cluster's budgets first. Where that is more than there is room for, those who
//! arrive share the room in proportion to what arrives, so that two clusters that cannot hear each other neither
//! spend a third one twice nor chase each other out of it. What room they have nobody tells us, so we do not count on
//! others to move on to them for our sake.

mod told;

mod weighted;

use crate::{
    capacity::{Budget, Capacity, millionths},
    plan::{Plan, Source, Target},
    planner::{
        Answer, Candidate, CandidatePool, Figures, MAX_STANDBY, Outcome, Question, Tiers, WHOLE, part_of,
    },
    policy::{Policy, WhenExhausted},
    waterfall::{PoolBudget, Spending, Standing, Stream, spend},
};
use std::borrow::Borrow;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::{ClusterName, Fraction, Locality, Phase, Region, ServiceName, Zone};
use weighted::{Wait, arranged, leave_out, weigh};

/// What arrives per cluster that serves, from which other cluster, in thousandths.
pub type Arrivals = BTreeMap<ClusterName, BTreeMap<ClusterName, u64>>;

/// A pool anywhere in the fleet, as its owner tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPool {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Where it is.
    pub locality: Locality,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given, our own reach not counted.
    pub admit: Fraction,
    /// Where it stands.
    pub phase: Phase,
}

/// How a cluster sees the fleet: what the order of its sources' tiers depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetView {
    /// Round-trip times from its region to others.
    pub distances: BTreeMap<Region, Duration>,
    /// Clusters that it cannot reach.
    pub unreachable: BTreeSet<ClusterName>,
}

/// A source anywhere in the fleet.
#[derive(Clone, Copy, Debug)]
pub struct FleetSource<'a> {
    /// The source.
    pub source: &'a Source,
    /// What it asks for, in thousandths, in the unit of the declared capacity.
    pub demand: u64,
    /// Round-trip times from its region to others.
    pub distances: &'a BTreeMap<Region, Duration>,
    /// Clusters that its cluster cannot reach.
    pub unreachable: &'a BTreeSet<ClusterName>,
}

/// What plans with declared capacity are asked for.
#[derive(Clone, Copy, Debug)]
pub struct FleetQuestion<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The policy in force.
    pub policy: &'a Policy,
    /// What its endpoints take.
    pub capacity: &'a Capacity,
    /// The cluster whose sources' plans are wanted.
    pub own: &'a ClusterName,
    /// All targets as that cluster sees them, its reach counted.
    pub candidates: &'a [Candidate],
    /// All pools of the fleet, in any order.
    pub pools: &'a [FleetPool],
    /// All sources whose demand is known, and all of the own cluster's, in any order.
    pub sources: &'a [FleetSource<'a>],
    /// The part of their admit that our reach to other clusters allows; who is not named is fully in reach.
    pub reach: &'a BTreeMap<ClusterName, Fraction>,
    /// What arrives where.
    pub arrivals: &'a Arrivals,
}

/// Shares below a ten-thousandth of this cannot be told apart, so a source that asks for nothing plans as if it asked
/// for a hundredth of a request (per second): a gateway that gets its first request must know where to send it.
const LEAST_DEMAND: u64 = 10_000;

/// The plans of the own cluster's sources. `previous` are the plans in force (see [`crate::plan()`]).
#[must_use]
pub fn plan_fleet<P: Borrow<Plan>>(
    question: &FleetQuestion<'_>,
    previous: &BTreeMap<Source, P>,
) -> BTreeMap<Source, Plan> {
    let fleet = Poured::of(question);
    let own = fleet.sources.iter().enumerate().filter(|(_, it)| it.source.cluster == *question.own);
    own.map(|(at, it)| (it.source.clone(), fleet.plan(at, it, previous.get(it.source).map(P::borrow))))
        .collect()
}

/// The fleet, and what became of its demand.
struct Poured<'a> {
    question: &'a FleetQuestion<'a>,
    /// In the order of their names, as the pools are, so that the order in which they were given decides nothing.
    sources: Vec<&'a FleetSource<'a>>,
    budgets: Vec<PoolBudget>,
    streams: Vec<Stream>,
    /// Per stream, its tiers that stand by for others.
    waits: Vec<Vec<Wait>>,
    spending: Spending,
    /// Per own candidate, its pools.
    pools_of: Vec<Vec<usize>>,
}

impl<'a> Poured<'a> {
    fn of(question: &'a FleetQuestion<'a>) -> Self {
        let mut pools: Vec<&FleetPool> = question.pools.iter().collect();
        pools.sort_by(|a, b| place(a).cmp(&place(b)));
        pools.dedup_by(|a, b| place(a) == place(b));
        let mut sources: Vec<&FleetSource<'_>> = question.sources.iter().collect();
        sources.sort_by(|a, b| a.source.cmp(b.source));
        sources.dedup_by(|a, b| a.source == b.source);
        let budgets = budgets(question, &pools, &sources);
        let (streams, waits) = streams(question, &pools, &sources);
        let exhausted = question.policy.when_exhausted.value;
        let spending = spend(&arranged(&streams, &waits, &budgets), &budgets, exhausted);
        let pools_of = indices(question.candidates, question.own, &pools);
        Self { question, sources, budgets, streams, waits, spending, pools_of }
    }

    fn plan(&self, at: usize, source: &FleetSource<'_>, previous: Option<&Plan>) -> Plan {
        let FleetQuestion { service, policy, candidates, .. } = *self.question;
        let distances = source.distances;
        let question = Question { service, source: source.source, policy, candidates, distances };
        let tiers = Tiers::of(&question);
        let figures: Vec<Figures> = candidates.iter().map(Figures::of).collect();
        let outcome = if self.reaches_anything(at) {
            self.outcome(at, &self.spending)
        } else {
            tiers.spend(policy, &figures)
        };
        let standby = self.standby(at, &tiers, &outcome);
        let mut plan = Answer::given(&tiers, outcome, standby).plan(&question, &tiers, &figures, previous);
        let unit = self.question.capacity.per_endpoint.value;
        for reason in &mut plan.reasons {
            let candidate = candidates.iter().position(|it| it.target == reason.target);
            let Some(pools) = candidate.and_then(|it| self.pools_of.get(it)) else { continue };
            let sum = |of: &dyn Fn(usize) -> u64| pools.iter().map(|it| of(*it)).fold(0, u64::saturating_add);
            let budget = sum(&|pool| self.budgets[pool].within);
            let load = sum(&|pool| self.spending.loads[pool]);
            reason.budget = Some(Box::new(Budget::of(unit, budget, load)));
            reason.note = self.note(at, pools, reason.note.take());
        }
        plan
    }

    /// Whether the stream reaches any healthy endpoint.
    fn reaches_anything(&self, at: usize) -> bool {
        self.streams[at].tiers.iter().flatten().any(|pool| self.budgets[*pool].ceiling > 0)
    }

    /// What became of one own stream's demand, per candidate.
    fn outcome(&self, at: usize, spending: &Spending) -> Outcome {
        let demand = u128::from(self.streams[at].demand);
        let whole = |amount: u64| part_of(WHOLE, u128::from(amount), demand);
        let mut outcome = Outcome {
            amounts: Vec::with_capacity(self.pools_of.len()),
            rules: Vec::with_capacity(self.pools_of.len()),
            last_resort: false,
            shed: whole(spending.left[at]),
        };
        for pools in &self.pools_of {
            let amount = pools.iter().map(|pool| spending.amount(at, *pool).0).sum();
            outcome.amounts.push(whole(amount));
            outcome.rules.push(self.rule(at, pools, spending));
        }
        // Rounding lost a few parts of 10^12: they go where most goes.
        let rest = WHOLE.saturating_sub(outcome.amounts.iter().sum::<u64>() + outcome.shed);
        let most = outcome.amounts.iter().copied().max().unwrap_or(0);
        match outcome.amounts.iter_mut().find(|it| **it == most && most > 0) {
            Some(first) => *first += rest,
            None => outcome.shed += rest,
        }
        outcome
    }

    /// The plans of losing what serves, then what serves after that, and so on, each one poured anew for the whole
    /// fleet: everybody loses what this source uses. What no budget takes is spread, also where the policy sheds: a
    /// standby tier cannot shed a part. Pools that are out or were moved away from do not stand by. The parts of all
    /// candidates per tier, one after another.
    fn standby(&self, at: usize, tiers: &Tiers, outcome: &Outcome) -> Vec<u32> {
        let candidates = self.question.candidates;
        let mut standby = Vec::new();
        let mut used = tiers.parts(outcome);
        if outcome.last_resort || used.iter().all(|parts| *parts == 0) {
            return standby;
        }
        let (mut budgets, mut streams) = (self.budgets.clone(), self.streams.clone());
        let lost = |budgets: &mut [PoolBudget], used: &[u32]| {
            let pools = self.pools_of.iter().zip(used).filter(|(_, parts)| **parts > 0);
            for pool in pools.flat_map(|(pools, _)| pools) {
                budgets[*pool] = PoolBudget { within: 0, ceiling: 0, ..budgets[*pool] };
            }
        };
        let never = candidates.iter().zip(&self.pools_of);
        let never: BTreeSet<usize> = never
            .filter(|(it, _)| matches!(it.phase, Phase::Out | Phase::Shifted))
            .flat_map(|(_, pools)| pools.iter().copied())
            .collect();
        leave_out(&mut streams[at], &never);
        for _ in 0..MAX_STANDBY {
            lost(&mut budgets, &used);
            if !streams[at].tiers.iter().flatten().any(|pool| budgets[*pool].ceiling > 0) {
                break;
            }
            let spending = spend(&arranged(&streams, &self.waits, &budgets), &budgets, WhenExhausted::Spread);
            used = tiers.parts(&self.outcome(at, &spending));
            standby.extend(&used);
        }
        standby
    }
}

fn place(pool: &FleetPool) -> (&ClusterName, &Zone) {
    (&pool.cluster, &pool.locality.zone)
}

/// What each pool takes, and what those who are no streams take of it.
fn budgets(
    question: &FleetQuestion<'_>,
    pools: &[&FleetPool],
    sources: &[&FleetSource<'_>],
) -> Vec<PoolBudget> {
    let capacity = question.capacity;
    let silent: BTreeSet<&ClusterName> =
        question.candidates.iter().filter(|it| !it.reachable).map(|it| &it.cluster).collect();
    let budget = |pool: &&FleetPool| {
        // Nothing is expected of it, so it is Empty, whatever is healthy there.
        let healthy = if pool.expected == 0 { 0 } else { pool.healthy };
        let within = capacity.budget(healthy, pool.admit);
        let reach = question.reach.get(&pool.cluster).copied().unwrap_or(Fraction::ONE);
        let gate = if reach.is_one() { u64::MAX } else { capacity.budget(healthy, pool.admit.times(reach)) };
        PoolBudget {
            within,
            ceiling: capacity.ceiling(healthy),
            taken: 0,
            gate,
            standing: match pool.phase {
                Phase::Shifted => Standing::Shifted,
                Phase::Holding | Phase::Ramping => Standing::Returning,
                Phase::Serving | Phase::Reduced | Phase::Out | Phase::Empty => Standing::Settled,
            },
            heard: !silent.contains(&pool.cluster),
        }
    };
    let mut budgets: Vec<PoolBudget> = pools.iter().map(budget).collect();
    let heard: BTreeSet<&ClusterName> = sources.iter().map(|it| &it.source.cluster).collect();
    for (cluster, arrivals) in question.arrivals {
        let members = || (0..pools.len()).filter(|pool| pools[*pool].cluster == *cluster);
        let whole: u64 = members().map(|pool| budgets[pool].within).sum();
        let sum = |is_heard: bool| -> u64 {
            let from =
                arrivals.iter().filter(|(from, _)| *from != cluster && heard.contains(from) == is_heard);
            from.map(|(_, load)| millionths(*load)).fold(0, u64::saturating_add)
        };
        let (ours, theirs) = (sum(true), sum(false));
        let local = sources.iter().filter(|it| it.source.cluster == *cluster);
        let local = local.map(|it| millionths(it.demand)).fold(0, u64::saturating_add);
        let room = whole.saturating_sub(local);
        let fair = part_of(room, u128::from(theirs), u128::from(ours) + u128::from(theirs));
        let taken = theirs.min(fair);
        let parts: Vec<(usize, u64)> = members()
            .map(|pool| (pool, part_of(taken, u128::from(budgets[pool].within), u128::from(whole))))
            .collect();
        for (pool, part) in parts {
            budgets[pool].taken = part;
        }
    }
    budgets
}

/// Every source's way down the tiers, by the code that orders the tiers of a plan.
fn streams(
    question: &FleetQuestion<'_>,
    pools: &[&FleetPool],
    sources: &[&FleetSource<'_>],
) -> (Vec<Stream>, Vec<Vec<Wait>>) {
    let FleetQuestion { service, policy, own, .. } = *question;
    let mut streams = Vec::with_capacity(sources.len());
    let mut waits = Vec::with_capacity(sources.len());
    for of_cluster in sources.chunk_by(|a, b| a.source.cluster == b.source.cluster) {
        let Some(first) = of_cluster.first() else { continue };
        let cluster = &first.source.cluster;
        let seen;
        let candidates = if cluster == own {
            question.candidates
        } else {
            seen = seen_from(cluster, first.unreachable, pools);
            &seen
        };
        let indices = indices(candidates, cluster, pools);
        for it in of_cluster {
            let FleetSource { source, distances, .. } = **it;
            let order = Tiers::of(&Question { service, source, policy, candidates, distances });
            let reachable = |index: &usize| candidates[*index].reachable;
            let tier = |tier: &[usize]| -> Vec<usize> {
                let members = tier.iter().copied().filter(reachable);
                members.flat_map(|index| indices[index].iter().copied()).collect()
            };
            let tiers: Vec<Vec<usize>> = order.iter().map(tier).collect();
            let demand = millionths(it.demand).max(LEAST_DEMAND);
            let mut stream = Stream { demand, own: cluster == own, tiers, ..Stream::default() };
            if question.capacity.spread.value == crate::capacity::Spread::Spray {
                stream.tiers = vec![stream.tiers.concat()];
                waits.push(Vec::new());
            } else {
                waits.push(weigh(&mut stream, &order, candidates, &indices));
            }
            streams.push(stream);
        }
    }
    (streams, waits)
}

/// Per candidate of `cluster`, the indices of its pools.
fn indices(candidates: &[Candidate], cluster: &ClusterName, pools: &[&FleetPool]) -> Vec<Vec<usize>> {
    let of = |candidate: &Candidate| -> Vec<usize> {
        let start = pools.partition_point(|it| it.cluster < candidate.cluster);
        let members = pools[start..].iter().take_while(|it| it.cluster == candidate.cluster);
        let named = |it: &FleetPool| match &candidate.target {
            Target::Zone(zone) => *cluster == it.cluster && *zone == it.locality.zone,
            Target::Cluster(name) => *name == it.cluster,
        };
        members.enumerate().filter(|(_, it)| named(it)).map(|(at, _)| start + at).collect()
    };
    candidates.iter().map(of).collect()
}

/// The fleet's targets as another cluster sees them. Its reach is not known here beyond what it cannot reach at all.
fn seen_from(
    cluster: &ClusterName,
    unreachable: &BTreeSet<ClusterName>,
    pools: &[&FleetPool],
) -> Vec<Candidate> {
    let candidate = |target: Target, members: &[&FleetPool]| {
        let first = members.first()?;
        let pool = |it: &&FleetPool| {
            let FleetPool { expected, healthy, admit, .. } = **it;
            // Only the order of its tiers is asked for, not its last resort.
            (it.locality.zone.clone(), CandidatePool { expected, present: 0, healthy, admit })
        };
        Some(Candidate {
            target,
            cluster: first.cluster.clone(),
            region: first.locality.region.clone(),
            pools: members.iter().map(pool).collect(),
            phase: first.phase,
            reachable: first.cluster == *cluster || !unreachable.contains(&first.cluster),
            hold: None,
        })
    };
    let mut candidates = Vec::with_capacity(pools.len());
    for members in pools.chunk_by(|a, b| a.cluster == b.cluster) {
        if members.iter().any(|it| it.cluster == *cluster) {
            let zones =
                members.iter().map(|it| (Target::Zone(it.locality.zone.clone()), std::slice::from_ref(it)));
            candidates.extend(zones.filter_map(|(target, it)| candidate(target, it)));
        } else if let Some(first) = members.first() {
            candidates.extend(candidate(Target::Cluster(first.cluster.clone()), members));
        }
    }
    candidates
}
