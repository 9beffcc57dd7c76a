//! The planner: from the pools of a service as one source sees them to a plan.
//!
//! A pure function. It is the part of DESIGN section 4 that needs no declared capacity: nothing is shed
//! while anything healthy is allowed.

use crate::{
    plan::{Plan, Reason, Rule, Source, Target},
    policy::{Origin, Places, Policy, Tier, WhenExhausted},
};
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::{ClusterName, Fraction, Phase, Region, ServiceName, Share, Zone};

/// A plan names at most so many standby tiers: Envoy walks them in order, and a source that has lost this many has no use for more.
const MAX_STANDBY: usize = 8;

/// Amounts of traffic inside the planner: parts of 10^12, so that splitting and summing lose less than a share's last digit.
const WHOLE: u128 = 1_000_000_000_000;

/// One target as a source sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The target.
    pub target: Target,
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// Its region.
    pub region: Region,
    /// Its pools: one for a zone, one per zone of another cluster.
    pub pools: BTreeMap<Zone, CandidatePool>,
    /// Where it stands.
    pub phase: Phase,
    /// Whether the source's cluster can reach it.
    pub reachable: bool,
}

/// One pool of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidatePool {
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given, reachability included.
    pub admit: Fraction,
}

impl Candidate {
    fn expected(&self) -> u32 {
        self.pools.values().map(|pool| pool.expected).fold(0, u32::saturating_add)
    }

    fn healthy(&self) -> u32 {
        if !self.reachable {
            return 0;
        }
        self.pools.values().map(|pool| pool.healthy).fold(0, u32::saturating_add)
    }

    /// `sum(admit * expected)`, in millionths of an endpoint.
    fn admitted(&self) -> u128 {
        self.pools.values().map(|pool| u128::from(pool.admit.ppm()) * u128::from(pool.expected)).sum()
    }

    /// `sum(min(admit * expected, healthy))`, in millionths of an endpoint: its weight inside a tier.
    fn weight(&self) -> u128 {
        let weigh = |pool: &CandidatePool| {
            let admitted = u128::from(pool.admit.ppm()) * u128::from(pool.expected);
            admitted.min(u128::from(pool.healthy) * u128::from(Fraction::ONE.ppm()))
        };
        if self.reachable { self.pools.values().map(weigh).sum() } else { 0 }
    }

    /// `sum(admit * expected) / sum(expected)`.
    fn admit(&self) -> Fraction {
        let whole = u128::from(self.expected()) * u128::from(Fraction::ONE.ppm());
        if whole == 0 {
            return Fraction::ONE;
        }
        let ppm = self.admitted() * u128::from(Fraction::ONE.ppm()) / whole;
        u32::try_from(ppm).ok().and_then(|ppm| Fraction::from_ppm(ppm).ok()).unwrap_or(Fraction::ONE)
    }

    fn gone(&self) -> Self {
        let lost = |pool: &CandidatePool| CandidatePool { healthy: 0, admit: Fraction::ZERO, ..*pool };
        let pools = self.pools.iter().map(|(zone, pool)| (zone.clone(), lost(pool))).collect();
        Self { pools, phase: Phase::Out, ..self.clone() }
    }
}

/// What a plan is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The source.
    pub source: &'a Source,
    /// The policy in force.
    pub policy: &'a Policy,
    /// All targets, in any order.
    pub candidates: &'a [Candidate],
    /// Round-trip times from the source's region to others; a region that is not named is farther than all that are.
    pub distances: &'a BTreeMap<Region, Duration>,
}

/// Plans. `previous` is the plan in force, whose shares are kept while no share would move by more than
/// the dead band and no target enters or leaves.
#[must_use]
pub fn plan(question: &Question<'_>, previous: Option<&Plan>) -> Plan {
    let tiers = Tiers::of(question);
    let outcome = tiers.spend(question.policy, question.candidates);
    let mut plan = Plan {
        service: question.service.clone(),
        source: question.source.clone(),
        standby: standby(&tiers, question, &outcome),
        shares: outcome.shares(question.candidates),
        shed: if outcome.shed { Share::ALL } else { Share::NONE },
        last_resort: outcome.last_resort,
        reasons: Vec::new(),
    };
    if let Some(previous) = previous {
        keep_within_dead_band(&mut plan, previous, question.policy.dead_band);
    }
    plan.reasons = reasons(&tiers, question, &outcome, &plan);
    plan
}

/// The candidates in the order in which this source turns to them.
struct Tiers {
    /// Indices of the candidates, per tier; each in one tier only, tiers without candidates left out.
    tiers: Vec<Vec<usize>>,
    /// Candidates that residency forbids.
    forbidden: Vec<usize>,
    /// Where the order was written.
    origin: Origin,
}

/// What became of the traffic.
struct Outcome {
    /// Per candidate, parts of [`WHOLE`].
    amounts: Vec<u128>,
    rules: Vec<Rule>,
    last_resort: bool,
    shed: bool,
}

impl Tiers {
    fn of(question: &Question<'_>) -> Self {
        let Question { source, policy, candidates, .. } = question;
        let rule = policy.failover.iter().find(|rule| from_matches(&rule.value.from, source));
        let (order, origin) = match rule {
            Some(rule) => (rule.value.to.as_slice(), rule.origin.clone()),
            None => (Tier::DEFAULT.as_slice(), Origin::Default),
        };
        let allowed = |candidate: &Candidate| {
            policy.residency.as_ref().is_none_or(|only| only.value.contains(&candidate.region))
        };
        let (mut left, forbidden): (Vec<usize>, Vec<usize>) =
            (0..candidates.len()).partition(|index| allowed(&candidates[*index]));
        let mut tiers = Vec::new();
        for tier in order {
            let (named, others) =
                left.into_iter().partition(|index| tier_names(tier, source, &candidates[*index]));
            left = others;
            match tier {
                Tier::Any | Tier::AnyExcept(_) => tiers.extend(by_distance(named, question)),
                Tier::SameZone | Tier::SameRegion | Tier::Only(_) => tiers.push(named),
            }
        }
        tiers.retain(|tier: &Vec<usize>| !tier.is_empty());
        Self { tiers, forbidden, origin }
    }

    fn tier_of(&self, candidate: usize) -> Option<usize> {
        self.tiers.iter().position(|tier| tier.contains(&candidate))
    }

    /// Runs the passes over `candidates` (those that the tiers were made of, or the same with some of them gone).
    fn spend(&self, policy: &Policy, candidates: &[Candidate]) -> Outcome {
        let mut outcome = Outcome {
            amounts: vec![0; candidates.len()],
            rules: candidates.iter().map(|candidate| first_rule(candidate)).collect(),
            last_resort: false,
            shed: false,
        };
        for index in 0..candidates.len() {
            if self.forbidden.contains(&index) {
                outcome.rules[index] = Rule::Residency;
            } else if self.tier_of(index).is_none() {
                outcome.rules[index] = Rule::NotInOrder;
            }
        }
        let left = self.within_admit(candidates, &mut outcome);
        let left = if left > 0 { self.beyond_admit(candidates, left, &mut outcome) } else { 0 };
        if left > 0 {
            self.exhausted(policy, candidates, left, &mut outcome);
        }
        outcome
    }

    /// Pass 1: each tier keeps what its pools admit of what reaches it.
    fn within_admit(&self, candidates: &[Candidate], outcome: &mut Outcome) -> u128 {
        let home =
            self.tiers.iter().position(|tier| tier.iter().any(|index| candidates[*index].expected() > 0));
        let Some(home) = home else { return WHOLE };
        let serving = |index: &usize| {
            let candidate = &candidates[*index];
            candidate.reachable
                && candidate.healthy() > 0
                && candidate.admit().is_one()
                && candidate.expected() > 0
        };
        let serving_abroad = self.tiers[home + 1..].iter().flatten().any(serving);
        let mut left = WHOLE;
        for (position, tier) in self.tiers.iter().enumerate().skip(home) {
            if left == 0 {
                break;
            }
            let foreign = position > home;
            let takes = |index: &&usize| !foreign || !serving_abroad || serving(index);
            for index in tier.iter().filter(|index| !takes(index) && candidates[**index].weight() > 0) {
                outcome.rules[*index] = Rule::NoForeignTraffic;
            }
            let members: Vec<usize> = tier.iter().filter(takes).copied().collect();
            let expected: u128 = members.iter().map(|index| u128::from(candidates[*index].expected())).sum();
            let whole = expected * u128::from(Fraction::ONE.ppm());
            let admitted: u128 = members.iter().map(|index| candidates[*index].admitted()).sum();
            if whole == 0 || members.iter().all(|index| candidates[*index].weight() == 0) {
                continue;
            }
            let kept = left * admitted.min(whole) / whole;
            let rule = if foreign { Rule::Overflow } else { Rule::Preferred };
            left -= outcome.divide(kept, &members, |index| candidates[index].weight(), rule);
        }
        left
    }

    /// Pass 2: nothing is left that would take it within its admit, so healthy pools serve beyond it. Pools that
    /// come back are whole and merely waiting, so they are asked first, then those that are reduced, then the rest.
    fn beyond_admit(&self, candidates: &[Candidate], left: u128, outcome: &mut Outcome) -> u128 {
        let kinds: [fn(&Candidate) -> bool; 3] = [
            |candidate| matches!(candidate.phase, Phase::Holding | Phase::Ramping),
            |candidate| !candidate.admit().is_zero(),
            |_| true,
        ];
        for kind in kinds {
            for tier in &self.tiers {
                let able = |index: &&usize| candidates[**index].healthy() > 0 && kind(&candidates[**index]);
                let members: Vec<usize> = tier.iter().filter(able).copied().collect();
                if !members.is_empty() {
                    let weigh = |index: usize| u128::from(candidates[index].healthy());
                    return left - outcome.divide(left, &members, weigh, Rule::BeyondAdmit);
                }
            }
        }
        left
    }

    /// Pass 4: nothing that is allowed is healthy.
    fn exhausted(&self, policy: &Policy, candidates: &[Candidate], left: u128, outcome: &mut Outcome) {
        let able = |index: &usize| candidates[*index].reachable && candidates[*index].expected() > 0;
        let members: Vec<usize> = self.tiers.iter().flatten().copied().filter(able).collect();
        if policy.when_exhausted.value == WhenExhausted::Shed || members.is_empty() {
            outcome.shed = true;
            return;
        }
        outcome.last_resort = true;
        outcome.divide(left, &members, |index| u128::from(candidates[index].expected()), Rule::LastResort);
    }
}

impl Outcome {
    /// Divides `amount` over `members` by weight; the last member takes what rounding left. Returns what was given.
    fn divide(&mut self, amount: u128, members: &[usize], weigh: impl Fn(usize) -> u128, rule: Rule) -> u128 {
        let total: u128 = members.iter().map(|index| weigh(*index)).sum();
        let Some(last) = members.iter().rev().find(|index| weigh(**index) > 0) else { return 0 };
        let mut given = 0;
        for index in members.iter().filter(|index| weigh(**index) > 0) {
            let part = if index == last { amount - given } else { amount * weigh(*index) / total };
            given += part;
            if part > 0 {
                self.amounts[*index] += part;
                // What brought the first part explains the target; only serving beyond admit is worth saying above it.
                if self.amounts[*index] == part || rule == Rule::BeyondAdmit {
                    self.rules[*index] = rule;
                }
            }
        }
        given
    }

    /// The amounts in 1/10000 by the largest remainder; ties go to the first target in order.
    fn shares(&self, candidates: &[Candidate]) -> BTreeMap<Target, Share> {
        let total: u128 = self.amounts.iter().sum();
        if total == 0 {
            return BTreeMap::new();
        }
        let whole = u128::from(Share::ALL.parts());
        let mut order: Vec<usize> = (0..candidates.len()).filter(|index| self.amounts[*index] > 0).collect();
        let mut parts: BTreeMap<usize, u128> =
            order.iter().map(|index| (*index, self.amounts[*index] * whole / total)).collect();
        let missing = whole - parts.values().sum::<u128>();
        let remainder = |index: usize| self.amounts[index] * whole % total;
        order.sort_by(|a, b| {
            remainder(*b).cmp(&remainder(*a)).then_with(|| candidates[*a].target.cmp(&candidates[*b].target))
        });
        for index in order.iter().take(usize::try_from(missing).unwrap_or(usize::MAX)) {
            *parts.entry(*index).or_default() += 1;
        }
        parts
            .into_iter()
            .filter_map(|(index, parts)| Some((index, Share::new(u32::try_from(parts).ok()?).ok()?)))
            .filter(|(_, share)| !share.is_none())
            .map(|(index, share)| (candidates[index].target.clone(), share))
            .collect()
    }
}

/// The plans of losing what serves, then what serves after that, and so on: each one a standby tier.
fn standby(tiers: &Tiers, question: &Question<'_>, outcome: &Outcome) -> Vec<BTreeMap<Target, Share>> {
    let mut standby = Vec::new();
    if outcome.last_resort || outcome.shed {
        return standby;
    }
    let mut candidates = question.candidates.to_vec();
    let mut used = outcome.amounts.clone();
    while standby.len() < MAX_STANDBY {
        for (candidate, _) in candidates.iter_mut().zip(&used).filter(|(_, amount)| **amount > 0) {
            *candidate = candidate.gone();
        }
        // Pools that are out are tried only when nothing is left at all, which is no plan to stand by with.
        for candidate in &mut candidates {
            if candidate.phase == Phase::Out {
                *candidate = candidate.gone();
            }
        }
        let next = tiers.spend(question.policy, &candidates);
        if next.last_resort || next.shed {
            break;
        }
        standby.push(next.shares(&candidates));
        used = next.amounts;
    }
    standby
}

fn keep_within_dead_band(plan: &mut Plan, previous: &Plan, dead_band: Share) {
    let close = |new: &BTreeMap<Target, Share>, old: &BTreeMap<Target, Share>| {
        new.len() == old.len()
            && new.iter().zip(old).all(|((target, share), (old_target, old_share))| {
                target == old_target && share.distance(*old_share) <= dead_band.parts()
            })
    };
    if plan.last_resort != previous.last_resort || plan.shed != previous.shed {
        return;
    }
    if close(&plan.shares, &previous.shares) {
        plan.shares.clone_from(&previous.shares);
    }
    if plan.standby.len() == previous.standby.len()
        && plan.standby.iter().zip(&previous.standby).all(|(new, old)| close(new, old))
    {
        plan.standby.clone_from(&previous.standby);
    }
}

fn reasons(tiers: &Tiers, question: &Question<'_>, outcome: &Outcome, plan: &Plan) -> Vec<Reason> {
    let order = tiers.tiers.iter().flatten().copied();
    let rest = (0..question.candidates.len()).filter(|index| tiers.tier_of(*index).is_none());
    order
        .chain(rest)
        .map(|index| {
            let candidate = &question.candidates[index];
            let rule = outcome.rules[index];
            Reason {
                target: candidate.target.clone(),
                region: candidate.region.clone(),
                tier: tiers.tier_of(index).and_then(|tier| u32::try_from(tier + 1).ok()),
                share: plan.shares.get(&candidate.target).copied().unwrap_or_default(),
                expected: candidate.expected(),
                healthy: candidate.pools.values().map(|pool| pool.healthy).fold(0, u32::saturating_add),
                admit: candidate.admit(),
                phase: candidate.phase,
                rule,
                origin: origin_of(rule, tiers, question.policy),
            }
        })
        .collect()
}

fn origin_of(rule: Rule, tiers: &Tiers, policy: &Policy) -> Origin {
    match rule {
        Rule::Residency => {
            policy.residency.as_ref().map(|written| written.origin.clone()).unwrap_or_default()
        }
        Rule::LastResort => policy.when_exhausted.origin.clone(),
        Rule::NotAdmitted => policy.failover_threshold.origin.clone(),
        _ => tiers.origin.clone(),
    }
}

/// What is said of a candidate that nothing was given to.
fn first_rule(candidate: &Candidate) -> Rule {
    if candidate.expected() == 0 {
        Rule::Empty
    } else if !candidate.reachable {
        Rule::Unreachable
    } else if candidate.admit().is_zero() {
        Rule::NotAdmitted
    } else {
        Rule::NotNeeded
    }
}

fn from_matches(from: &Places, source: &Source) -> bool {
    (from.regions.is_empty() || from.regions.contains(&source.locality.region))
        && (from.zones.is_empty() || from.zones.contains(&source.locality.zone))
        && (from.clusters.is_empty() || from.clusters.contains(&source.cluster))
}

/// Whether a place is among `places`. Another cluster is in a zone if it has a pool there: it is steered to as a whole.
fn places_name(places: &Places, candidate: &Candidate) -> bool {
    (places.regions.is_empty() || places.regions.contains(&candidate.region))
        && (places.clusters.is_empty() || places.clusters.contains(&candidate.cluster))
        && (places.zones.is_empty() || candidate.pools.keys().any(|zone| places.zones.contains(zone)))
}

fn tier_names(tier: &Tier, source: &Source, candidate: &Candidate) -> bool {
    match tier {
        Tier::SameZone => candidate.target == Target::Zone(source.locality.zone.clone()),
        Tier::SameRegion => candidate.region == source.locality.region,
        Tier::Only(places) => places_name(places, candidate),
        Tier::AnyExcept(places) => !places_name(places, candidate),
        Tier::Any => true,
    }
}

/// Splits into one tier per region, the nearest first; the source's own region is nearest, regions of unknown
/// distance come last, in the order of their names.
fn by_distance(named: Vec<usize>, question: &Question<'_>) -> Vec<Vec<usize>> {
    let mut regions: BTreeMap<(Duration, &Region), Vec<usize>> = BTreeMap::new();
    for index in named {
        let region = &question.candidates[index].region;
        let distance = if *region == question.source.locality.region {
            Duration::ZERO
        } else {
            question.distances.get(region).copied().unwrap_or(Duration::MAX)
        };
        regions.entry((distance, region)).or_default().push(index);
    }
    regions.into_values().collect()
}
