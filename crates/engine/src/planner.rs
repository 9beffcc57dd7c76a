//! The planner: from the pools of a service as one source sees them to a plan.
//!
//! A pure function. It is the part of DESIGN section 4 that needs no declared capacity: nothing is shed
//! while anything healthy is allowed. Where capacity is declared, `declared` asks the waterfall instead, and takes
//! from here the order of the tiers and the making of the plan.

mod answer;
mod reasons;
mod weights;

use crate::{
    order::{from_matches, sort_by_distance, tier_names},
    plan::{Hold, Plan, Rule, Source, Target},
    policy::{Origin, Policy, Tier, WhenExhausted},
};
pub(crate) use answer::{Answer, Rewritten};
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::{ClusterName, Fraction, Phase, Region, ServiceName, Share, Zone};
use weights::Weighing;

/// A plan names at most so many standby tiers: Envoy walks them in order, and a source that has lost this many has no use for more.
pub(crate) const MAX_STANDBY: usize = 8;

/// Amounts of traffic inside the planner: parts of 10^12, so that splitting and summing lose less than a share's last digit.
pub(crate) const WHOLE: u64 = 1_000_000_000_000;

/// Weights and admitted parts inside the planner: millionths of an endpoint.
pub(crate) const ENDPOINT: u64 = Fraction::ONE.ppm() as u64;

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
    /// What acts on it besides its health, if anything: for its reason alone, nothing is decided by it.
    pub hold: Option<Hold>,
}

/// One pool of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidatePool {
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are there, whether or not any of them was ever healthy; zero if nobody knows.
    pub present: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given, reachability included.
    pub admit: Fraction,
}

/// What the passes need of a candidate, as numbers: taken once, so that "and if it were gone?" costs next to nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    expected: u64,
    /// Endpoints that are worth a try when nothing is healthy anywhere: those that should be there, or those that are,
    /// whichever is more. So what was never healthy is tried as well as what was.
    to_try: u64,
    /// Healthy endpoints that the source can reach.
    healthy: u64,
    /// Healthy endpoints by their owner's last word, in reach or not.
    last_word: u64,
    /// `sum(admit * expected)` of what the source can reach, in parts of [`ENDPOINT`].
    admitted: u64,
    /// `sum(min(admit * expected, healthy))`, in the same parts: the weight inside a tier.
    weight: u64,
    phase: Phase,
    reachable: bool,
}

impl Figures {
    pub(crate) fn of(candidate: &Candidate) -> Self {
        let Candidate { phase, reachable, .. } = *candidate;
        let mut sum = Self {
            expected: 0,
            to_try: 0,
            healthy: 0,
            last_word: 0,
            admitted: 0,
            weight: 0,
            phase,
            reachable,
        };
        for pool in candidate.pools.values() {
            sum.expected += u64::from(pool.expected);
            sum.to_try += u64::from(pool.expected.max(pool.present));
            sum.last_word += u64::from(pool.healthy);
            if reachable {
                let admitted = u64::from(pool.admit.ppm()) * u64::from(pool.expected);
                sum.healthy += u64::from(pool.healthy);
                sum.admitted = sum.admitted.saturating_add(admitted);
                sum.weight = sum.weight.saturating_add(admitted.min(u64::from(pool.healthy) * ENDPOINT));
            }
        }
        // Nothing is expected of it, so it is Empty, whatever is healthy there: it is the last resort at most.
        if sum.expected == 0 {
            sum.healthy = 0;
        }
        sum
    }

    fn is_serving(&self) -> bool {
        self.weight > 0 && self.admitted >= self.whole()
    }

    /// All that is expected, in parts of [`ENDPOINT`].
    fn whole(&self) -> u64 {
        self.expected.saturating_mul(ENDPOINT)
    }

    /// `sum(admit * expected) / sum(expected)`.
    fn admit(&self) -> Fraction {
        let ppm = self.admitted.checked_div(self.expected).and_then(|ppm| u32::try_from(ppm).ok());
        ppm.and_then(|ppm| Fraction::from_ppm(ppm).ok()).unwrap_or(Fraction::ONE)
    }

    fn lose(&mut self) {
        *self = Self { healthy: 0, last_word: 0, admitted: 0, weight: 0, phase: Phase::Out, ..*self };
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
    let figures: Vec<Figures> = question.candidates.iter().map(Figures::of).collect();
    let tiers = Tiers::of(question);
    Answer::of(&tiers, question.policy, &figures).plan(question, &tiers, &figures, previous)
}

/// The candidates, by index, in the order in which this source turns to them; inside a tier by target, so that the
/// order in which they were given decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiers {
    /// One tier after another, then the candidates that residency forbids, then those that no tier names.
    order: Vec<usize>,
    /// Where each tier ends in `order`. Each candidate is in one tier only; tiers without candidates are left out.
    ends: Vec<usize>,
    /// How many candidates residency forbids.
    forbidden: usize,
    /// All candidates in the order of their targets.
    by_target: Vec<usize>,
    /// Where the order was written.
    origin: Origin,
    /// The weights, where the order has any.
    pub(crate) weighing: Option<Box<Weighing>>,
}

/// What became of the traffic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Per candidate, parts of [`WHOLE`].
    pub(crate) amounts: Vec<u64>,
    /// Per candidate, the rule that gave or refused it something.
    pub(crate) rules: Vec<Option<Rule>>,
    pub(crate) last_resort: bool,
    /// What nobody takes; with the amounts it sums to [`WHOLE`].
    pub(crate) shed: u64,
}

impl Tiers {
    pub(crate) fn of(question: &Question<'_>) -> Self {
        let Question { source, policy, candidates, .. } = question;
        let rule = policy.failover.iter().find(|rule| from_matches(&rule.value.from, source));
        let (order, origin) = match rule {
            Some(rule) => (rule.value.to.as_slice(), rule.origin.clone()),
            None => (Tier::DEFAULT.as_slice(), Origin::Default),
        };
        let forbids = |index: &mut usize| {
            let Candidate { region, cluster, .. } = &candidates[*index];
            policy.residency.as_ref().is_some_and(|only| !only.value.allows(region, cluster))
        };
        let mut by_target: Vec<usize> = (0..candidates.len()).collect();
        by_target.sort_by(|a, b| candidates[*a].target.cmp(&candidates[*b].target));
        let mut left = by_target.clone();
        let forbidden: Vec<usize> = left.extract_if(.., forbids).collect();
        let (mut named, mut ends) =
            (Vec::with_capacity(candidates.len()), Vec::with_capacity(candidates.len()));
        let mut weighing: Option<Box<Weighing>> = None;
        for tier in order {
            let start = named.len();
            named.extend(left.extract_if(.., |index| tier_names(tier, source, &candidates[*index])));
            match tier {
                Tier::Any | Tier::AnyExcept(_) => {
                    sort_by_distance(&mut named[start..], question);
                    let regions =
                        named[start..].chunk_by(|a, b| candidates[*a].region == candidates[*b].region);
                    ends.extend(regions.scan(start, |end, region| {
                        *end += region.len();
                        Some(*end)
                    }));
                }
                Tier::Weighted(_, weights) => {
                    let members = named.split_off(start);
                    let parts = weighing.get_or_insert_default().take(weights, &members, candidates);
                    for part in parts.into_iter().filter(|part| !part.is_empty()) {
                        named.extend(part);
                        ends.push(named.len());
                    }
                }
                Tier::SameZone | Tier::SameRegion | Tier::Only(_) if named.len() > start => {
                    ends.push(named.len());
                }
                Tier::SameZone | Tier::SameRegion | Tier::Only(_) => {}
            }
        }
        named.extend(&forbidden);
        named.extend(left);
        Self { order: named, ends, forbidden: forbidden.len(), by_target, origin, weighing }
    }

    /// Tier by tier.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[usize]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.order[start..*end])
    }

    /// All that are in a tier.
    fn named(&self) -> &[usize] {
        &self.order[..self.ends.last().copied().unwrap_or(0)]
    }

    /// Runs the passes over the candidates as they are, or as they would be with some of them gone.
    pub(crate) fn spend(&self, policy: &Policy, figures: &[Figures]) -> Outcome {
        let mut outcome = Outcome::default();
        self.spend_into(policy, figures, &mut outcome);
        outcome
    }

    /// The same in the place of what came of it before.
    fn spend_into(&self, policy: &Policy, figures: &[Figures], outcome: &mut Outcome) {
        let Outcome { amounts, rules, last_resort, shed } = outcome;
        amounts.clear();
        amounts.resize(figures.len(), 0);
        rules.clear();
        rules.resize(figures.len(), None);
        (*last_resort, *shed) = (false, 0);
        let left = match &self.weighing {
            Some(weighing) => self.spend_by_weight(weighing, figures, outcome),
            None => self.spend_by_endpoints(figures, outcome),
        };
        if left > 0 {
            self.exhausted(policy, figures, left, outcome);
        }
    }

    /// The passes where no tier has weights; what is left.
    fn spend_by_endpoints(&self, figures: &[Figures], outcome: &mut Outcome) -> u64 {
        let left = self.within_admit(figures, outcome);
        if left == 0 {
            return 0;
        }
        let left = self.beyond_admit(figures, left, outcome);
        self.shifted(figures, left, outcome)
    }

    /// The same passes where tiers have weights.
    fn spend_by_weight(&self, weighing: &Weighing, figures: &[Figures], outcome: &mut Outcome) -> u64 {
        let weighed = weighing.weigh(figures);
        let left = self.within_admit(&weighing.without_reserves(&weighed), outcome);
        let left = weighing.relieve(&weighed, left, outcome);
        let left = self.beyond_admit(&weighed, left, outcome);
        self.shifted(&weighed, left, outcome)
    }

    /// Pass 1: each tier keeps what its pools admit of what reaches it.
    fn within_admit(&self, figures: &[Figures], outcome: &mut Outcome) -> u64 {
        let home = self.iter().position(|tier| tier.iter().any(|index| figures[*index].expected > 0));
        let Some(home) = home else { return WHOLE };
        let serving = |index: &usize| figures[*index].is_serving();
        let serving_abroad = self.named()[self.ends[home]..].iter().any(serving);
        let mut left = WHOLE;
        for (position, tier) in self.iter().enumerate().skip(home) {
            if left == 0 {
                break;
            }
            let foreign = position > home;
            let takes = |index: &usize| !foreign || !serving_abroad || serving(index);
            for index in tier.iter().filter(|index| !takes(index) && figures[**index].weight > 0) {
                outcome.rules[*index] = Some(Rule::NoForeignTraffic);
            }
            let members = tier.iter().copied().filter(takes);
            let sum = |of: fn(&Figures) -> u64| -> u128 {
                members.clone().map(|index| u128::from(of(&figures[index]))).sum()
            };
            let (admitted, whole) = (sum(|it| it.admitted), sum(Figures::whole));
            let rule = if foreign { Rule::Overflow } else { Rule::Preferred };
            left -=
                outcome.divide(part_of(left, admitted, whole), members, |index| figures[index].weight, rule);
        }
        left
    }

    /// Pass 2: nothing is left that would take it within its admit, so healthy pools serve beyond it. Pools that
    /// come back are whole and merely waiting, so they are asked first, then those that are reduced, then the rest.
    fn beyond_admit(&self, figures: &[Figures], left: u64, outcome: &mut Outcome) -> u64 {
        let kinds: [fn(&Figures) -> bool; 3] =
            [|it| matches!(it.phase, Phase::Holding | Phase::Ramping), |it| it.admitted > 0, |_| true];
        for kind in kinds.into_iter().take_while(|_| left > 0) {
            for tier in self.iter() {
                let asked = |it: &Figures| it.phase != Phase::Shifted && kind(it);
                let members = tier.iter().copied().filter(|index| asked(&figures[*index]));
                let given = outcome.divide(left, members, |index| figures[index].healthy, Rule::BeyondAdmit);
                if given > 0 {
                    return left - given;
                }
            }
        }
        left
    }

    /// Pass 3: places that were emptied on purpose are still better than none.
    fn shifted(&self, figures: &[Figures], left: u64, outcome: &mut Outcome) -> u64 {
        let shifted = |index: &usize| figures[*index].phase == Phase::Shifted;
        let given = self.iter().map(|tier| {
            let members = tier.iter().copied().filter(shifted);
            outcome.divide(left, members, |index| figures[index].healthy, Rule::BeyondAdmit)
        });
        left - given.into_iter().find(|given| *given > 0).unwrap_or(0)
    }

    /// Pass 4: nothing that is allowed is healthy, so all endpoints of the pools in reach are tried, also of those that never
    /// passed a check: a new service, or a place that nobody ever saw well, is better than a refusal. If nothing is even in reach, what is out of reach and was healthy
    /// when it was last heard is tried: that verdict is ours and may be wrong, and refusing everything would make an
    /// outage of a mistake.
    fn exhausted(&self, policy: &Policy, figures: &[Figures], left: u64, outcome: &mut Outcome) {
        let kinds: [fn(&Figures) -> bool; 2] = [|it| it.reachable, |it| !it.reachable && it.last_word > 0];
        let spread = policy.when_exhausted.value == WhenExhausted::Spread;
        let to_try = |index: usize| figures[index].to_try;
        outcome.last_resort = spread
            && kinds.into_iter().any(|kind| {
                let members = self.named().iter().copied().filter(|index| kind(&figures[*index]));
                outcome.divide(left, members, to_try, Rule::LastResort) > 0
            });
        outcome.shed = if outcome.last_resort { 0 } else { left };
    }

    /// The amounts in 1/10000 by the largest remainder; ties go to the first in the order of the tiers.
    pub(crate) fn parts(&self, outcome: &Outcome) -> Vec<u32> {
        let mut parts = vec![0; outcome.amounts.len()];
        self.split(outcome, &mut parts, &mut Vec::new());
        parts
    }

    /// The same into `parts`, with a list to use that holds nothing of value.
    fn split(&self, outcome: &Outcome, parts: &mut [u32], remainders: &mut Vec<(u64, usize)>) {
        parts.fill(0);
        remainders.clear();
        let whole = u64::from(Share::ALL.parts());
        // What is shed is rounded down, so that the rest never lacks a target to go to.
        let shed = u32::try_from(outcome.shed * whole / WHOLE).unwrap_or(Share::ALL.parts());
        let mut missing = Share::ALL.parts().saturating_sub(shed);
        for index in self.named().iter().copied().filter(|index| outcome.amounts[*index] > 0) {
            let scaled = outcome.amounts[index] * whole;
            // An amount is at most WHOLE, so this is at most 10000.
            parts[index] = u32::try_from(scaled / WHOLE).unwrap_or(Share::ALL.parts());
            missing = missing.saturating_sub(parts[index]);
            remainders.push((scaled % WHOLE, index));
        }
        if missing > 0 {
            remainders.sort_by(|(a, _), (b, _)| b.cmp(a));
            for (_, index) in remainders.iter().zip(0..missing).map(|(it, _)| it) {
                parts[*index] += 1;
            }
        }
    }
}

impl Outcome {
    /// Divides `amount` over `members` by weight; the first takes what rounding left. Returns what was given: all of
    /// it, or nothing if nobody has weight.
    fn divide(
        &mut self,
        amount: u64,
        members: impl Iterator<Item = usize> + Clone,
        weigh: impl Fn(usize) -> u64,
        rule: Rule,
    ) -> u64 {
        let mut members = members.filter(|index| weigh(*index) > 0);
        let total: u128 = members.clone().map(|index| u128::from(weigh(index))).sum();
        let Some(first) = members.next() else { return 0 };
        let mut rest = amount;
        for index in members {
            let part = part_of(amount, u128::from(weigh(index)), total);
            rest -= part;
            self.give(index, part, rule);
        }
        self.give(first, rest, rule);
        amount
    }

    fn give(&mut self, index: usize, part: u64, rule: Rule) {
        if part > 0 {
            // What brought the first part explains the target; only serving beyond admit is worth saying above it.
            if self.amounts[index] == 0 || rule == Rule::BeyondAdmit {
                self.rules[index] = Some(rule);
            }
            self.amounts[index] += part;
        }
    }
}

/// `amount * part / whole`, rounded down and at most `amount`; nothing of nothing.
pub(crate) fn part_of(amount: u64, part: u128, whole: u128) -> u64 {
    if whole == 0 {
        0
    } else if part >= whole {
        amount
    } else {
        u64::try_from(u128::from(amount) * part / whole).unwrap_or(amount)
    }
}
