//! Weights inside a tier: how its named members divide what reaches it.
//!
//! A weight is a part of the tier's normal load. A member (a region, a zone or a cluster) of weight `W` counts as much as
//! `W / sum(W)` of the tier's endpoints, whatever it has; inside the member that divides over its targets by the
//! endpoints that should be there. So a target counts as `w = W / sum(W) * expected / sum(expected of its member)`, and the
//! rules of DESIGN section 4 apply to that instead of to its endpoints:
//!
//! - the tier keeps `min(1, sum(w * admit) / sum(w))` of what reaches it, and the rest goes on;
//! - inside it divides by `w * min(admit * expected, healthy) / expected`; beyond admit by `w * healthy / expected`.
//!
//! With all whole the shares are the weights. A member that loses a part of its health keeps what it admits and hands on
//! the rest as its endpoints would: to the next tier, or inside its tier where it takes no foreign traffic or no next tier
//! takes it. A member of which nothing is expected has no weight.
//!
//! A member of weight 0 stands by: it takes the place of the others once none of them admits anything, and what is left
//! over when all tiers are through, before anything serves beyond its admit. If it serves, it does so by its endpoints.
//!
//! The last resort, when nothing is healthy, divides by endpoints: then weights mean nothing.

use super::{Candidate, Figures, Outcome, part_of};
use crate::{
    plan::{Reason, Rule},
    policy::Weights,
};
use std::{collections::BTreeMap, sync::Arc};

/// All weights of a tier, in parts: so fine that a target of a million endpoints and the least weight still counts.
const PARTS: u128 = 1_000_000_000_000;

/// The weights of one source's tiers; a source that has none has no such thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weighing {
    weights: Vec<Weighed>,
    reserves: Vec<Reserve>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Weighed {
    index: usize,
    /// In [`PARTS`].
    parts: u64,
    /// As it was written: the weight of its member, and the sum of the tier.
    written: (u64, u64),
}

/// Targets of weight 0, and those that they stand by for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reserve {
    members: Vec<usize>,
    others: Vec<usize>,
}

impl Weighing {
    /// Takes in a tier; gives its targets back as the tiers that they make: those with a weight, then those that stand
    /// by. Either may be empty.
    pub(super) fn take(
        &mut self,
        weights: &Weights,
        named: &[usize],
        candidates: &[Candidate],
    ) -> [Vec<usize>; 2] {
        let pools = |index: usize| {
            let it = &candidates[index];
            it.pools.iter().filter_map(move |(zone, pool)| {
                let (member, weight) = weights.of(it, zone)?;
                Some((member, weight, u64::from(pool.expected)))
            })
        };
        // What each member has, so that its weight can be divided over it.
        let mut members: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (member, weight, expected) in named.iter().flat_map(|index| pools(*index)) {
            members.entry(member).or_insert((weight, 0)).1 += expected;
        }
        let all: u64 = members.values().filter(|(_, expected)| *expected > 0).map(|(weight, _)| weight).sum();
        let (mut first, mut reserve) = (Vec::new(), Vec::new());
        for &index in named {
            let (mut parts, mut told) = (0, BTreeMap::new());
            for (member, weight, expected) in pools(index) {
                let whole = u128::from(all) * u128::from(members[member].1);
                let part = PARTS * u128::from(weight) * u128::from(expected);
                parts += part.checked_div(whole).and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
                told.insert(member, weight);
            }
            let weight: u64 = told.values().sum();
            if weight == 0 { &mut reserve } else { &mut first }.push(index);
            self.weights.push(Weighed { index, parts, written: (weight, weights.sum()) });
        }
        if !reserve.is_empty() {
            self.reserves.push(Reserve { members: reserve.clone(), others: first.clone() });
        }
        [first, reserve]
    }

    /// The figures of all candidates, those of weighted tiers as if they had endpoints by their weight.
    pub(super) fn weigh(&self, figures: &[Figures]) -> Vec<Figures> {
        let mut weighed = figures.to_vec();
        for Weighed { index, parts, .. } in self.weights.iter().filter(|it| it.parts > 0) {
            let it = &mut weighed[*index];
            let expected = u128::from(it.expected.max(1));
            let scale = |amount: u64| {
                let scaled = u128::from(amount) * u128::from(*parts) / expected;
                // What has anything to give still has after rounding.
                u64::try_from(scaled).unwrap_or(u64::MAX).max(u64::from(amount > 0))
            };
            (it.healthy, it.admitted, it.weight) = (scale(it.healthy), scale(it.admitted), scale(it.weight));
            it.expected = *parts;
        }
        weighed
    }

    /// The figures for the first pass: those that stand by for others that admit anything are not asked.
    pub(super) fn without_reserves(&self, weighed: &[Figures]) -> Vec<Figures> {
        let mut asked = weighed.to_vec();
        for reserve in self.reserves.iter().filter(|it| it.waits(weighed)) {
            for index in &reserve.members {
                asked[*index] = Figures { expected: 0, healthy: 0, admitted: 0, weight: 0, ..asked[*index] };
            }
        }
        asked
    }

    /// What is left when the tiers are through goes to those that stood by, within their admit.
    pub(super) fn relieve(&self, weighed: &[Figures], mut left: u64, outcome: &mut Outcome) -> u64 {
        for reserve in self.reserves.iter().filter(|it| it.waits(weighed)) {
            let sum = |of: fn(&Figures) -> u64| -> u128 {
                reserve.members.iter().map(|index| u128::from(of(&weighed[*index]))).sum()
            };
            let kept = part_of(left, sum(|it| it.admitted), sum(Figures::whole));
            let members = reserve.members.iter().copied();
            left -= outcome.divide(kept, members, |index| weighed[index].weight, Rule::Overflow);
        }
        left
    }

    /// Which targets wait for which others to admit nothing.
    pub(crate) fn reserves(&self) -> impl Iterator<Item = (&[usize], &[usize])> {
        self.reserves.iter().map(|it| (it.members.as_slice(), it.others.as_slice()))
    }

    /// The part of its tier that a candidate is to have when all is whole; `None` if nobody gave it a weight above 0.
    pub(crate) fn parts(&self, index: usize) -> Option<u64> {
        self.weights.iter().find(|it| it.index == index).map(|it| it.parts).filter(|parts| *parts > 0)
    }

    /// Adds the weights to the reasons of those that have one.
    pub(super) fn tell(&self, candidates: &[Candidate], reasons: &mut [Reason]) {
        for Weighed { index, written: (weight, sum), .. } in &self.weights {
            let target = &candidates[*index].target;
            let Some(reason) = reasons.iter_mut().find(|it| it.target == *target) else { continue };
            let weight = format!("weight {weight} of {sum} in its tier");
            let note = match reason.note.take() {
                Some(note) => format!("{note}; {weight}"),
                None => weight,
            };
            reason.note = Some(Arc::from(note));
        }
    }
}

impl Reserve {
    fn waits(&self, figures: &[Figures]) -> bool {
        self.others.iter().any(|index| figures[*index].weight > 0)
    }
}

impl Weights {
    /// The member that a candidate's pool in a zone belongs to, and its weight.
    fn of<'w>(&'w self, candidate: &Candidate, zone: &tidegate_model::Zone) -> Option<(&'w str, u64)> {
        let (name, weight) = match self {
            Self::Regions(weights) => {
                weights.get_key_value(&candidate.region).map(|(name, it)| (name.as_str(), it))
            }
            Self::Zones(weights) => weights.get_key_value(zone).map(|(name, it)| (name.as_str(), it)),
            Self::Clusters(weights) => {
                weights.get_key_value(&candidate.cluster).map(|(name, it)| (name.as_str(), it))
            }
        }?;
        Some((name, u64::from(*weight)))
    }

    fn sum(&self) -> u64 {
        match self {
            Self::Regions(weights) => weights.values().copied().map(u64::from).sum(),
            Self::Zones(weights) => weights.values().copied().map(u64::from).sum(),
            Self::Clusters(weights) => weights.values().copied().map(u64::from).sum(),
        }
    }
}
