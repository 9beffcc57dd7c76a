//! Weights of tiers (`planner::weights`) as the waterfall takes them: they divide what a source offers inside a tier, and
//! what a pool has room for still decides what it accepts. What it refuses is offered to the others of the tier, by
//! weight again, and then to the next tier. With `spread: Spray` there are no tiers and so no weights.

use crate::{
    planner::{Candidate, ENDPOINT, Tiers, part_of},
    waterfall::{OfferWeight, PoolBudget, Stream},
};
use std::{borrow::Cow, collections::BTreeSet};

/// A tier of a stream whose targets stand by, and the pools that they stand by for.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    tier: usize,
    others: Vec<usize>,
}

/// Gives a stream the weights of its order. `indices` are the pools of each candidate, in the order of its own pools.
pub(super) fn weigh(
    stream: &mut Stream,
    order: &Tiers,
    candidates: &[Candidate],
    indices: &[Vec<usize>],
) -> Vec<Wait> {
    let Some(weighing) = order.weighing.as_deref() else { return Vec::new() };
    let reachable = |index: &usize| candidates[*index].reachable;
    let pools_of = |tier: &[usize]| -> Vec<usize> {
        tier.iter().copied().filter(reachable).flat_map(|index| indices[index].iter().copied()).collect()
    };
    let weights_of = |index: usize| {
        let (parts, pools) = (weighing.parts(index).unwrap_or(0), &candidates[index].pools);
        let expected: u128 = pools.values().map(|pool| u128::from(pool.expected)).sum();
        pools.values().map(move |pool| {
            let healthy = u128::from(pool.healthy) * u128::from(ENDPOINT);
            let admitted = u128::from(pool.admit.ppm()) * u128::from(pool.expected);
            let part = |of: u128| part_of(parts, of, expected * u128::from(ENDPOINT));
            OfferWeight { within: part(admitted.min(healthy)), beyond: part(healthy) }
        })
    };
    let of_tier = |tier: &[usize]| -> Vec<OfferWeight> {
        let weighed = tier.iter().any(|index| weighing.parts(*index).is_some());
        let members = tier.iter().copied().filter(|index| weighed && reachable(index));
        members.flat_map(weights_of).collect()
    };
    stream.weights = order.iter().map(of_tier).collect();
    let wait = |(members, others): (&[usize], &[usize])| {
        let tier = order.iter().position(|tier| tier == members)?;
        Some(Wait { tier, others: pools_of(others) })
    };
    weighing.reserves().filter_map(wait).collect()
}

/// The streams with the tiers that stand by in their place: at the end of all tiers while those that they stand by for
/// admit anything.
pub(super) fn arranged<'s>(
    streams: &'s [Stream],
    waits: &[Vec<Wait>],
    budgets: &[PoolBudget],
) -> Cow<'s, [Stream]> {
    if waits.iter().all(Vec::is_empty) {
        return Cow::Borrowed(streams);
    }
    let arrange = |(stream, waits): (&Stream, &Vec<Wait>)| {
        let waits = waits.iter().filter(|wait| wait.others.iter().any(|pool| budgets[*pool].within > 0));
        let last: BTreeSet<usize> = waits.map(|wait| wait.tier).collect();
        let first = (0..stream.tiers.len()).filter(|tier| !last.contains(tier));
        let order: Vec<usize> = first.chain(last.iter().copied()).collect();
        Stream {
            tiers: order.iter().map(|tier| stream.tiers[*tier].clone()).collect(),
            weights: order
                .iter()
                .map(|tier| stream.weights.get(*tier).cloned().unwrap_or_default())
                .collect(),
            ..*stream
        }
    };
    Cow::Owned(streams.iter().zip(waits).map(arrange).collect())
}

/// Takes pools out of a stream's tiers.
pub(super) fn leave_out(stream: &mut Stream, never: &BTreeSet<usize>) {
    for (tier, pools) in stream.tiers.iter_mut().enumerate() {
        if let Some(weights) = stream.weights.get_mut(tier).filter(|it| it.len() == pools.len()) {
            let kept = pools.iter().zip(weights.iter()).filter(|(pool, _)| !never.contains(pool));
            *weights = kept.map(|(_, weight)| *weight).collect();
        }
        pools.retain(|pool| !never.contains(pool));
    }
}
