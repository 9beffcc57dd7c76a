//! Why each target has the share it has.

use super::{Figures, Outcome, Question, Tiers};
use crate::{
    plan::{Hold, Plan, Reason, Rule},
    policy::{FailbackMode, Origin, Policy},
};
use std::sync::Arc;
use tidegate_model::Phase;

pub(super) fn reasons(
    tiers: &Tiers,
    question: &Question<'_>,
    figures: &[Figures],
    outcome: &Outcome,
    plan: &Plan,
) -> Vec<Reason> {
    let reason = |index: usize, tier: Option<usize>, rule: Rule| {
        let (candidate, it) = (&question.candidates[index], &figures[index]);
        Reason {
            target: candidate.target.clone(),
            region: candidate.region.clone(),
            tier: tier.and_then(|tier| u32::try_from(tier + 1).ok()),
            share: plan.shares.get(&candidate.target).copied().unwrap_or_default(),
            expected: u32::try_from(it.expected).unwrap_or(u32::MAX),
            healthy: candidate.pools.values().map(|pool| pool.healthy).fold(0, u32::saturating_add),
            admit: it.admit(),
            phase: candidate.phase,
            rule: awaiting(Hold::told(candidate.hold.as_ref(), rule), candidate.phase, question.policy),
            note: candidate.hold.as_ref().map(|hold| Arc::clone(&hold.note)),
            origin: origin_of(rule, candidate.phase, tiers, question.policy),
            budget: None,
        }
    };
    let mut reasons = Vec::with_capacity(figures.len());
    for (tier, members) in tiers.tiers.iter().enumerate() {
        let rule = |index: usize| outcome.rules[index].unwrap_or_else(|| given_nothing(&figures[index]));
        reasons.extend(members.iter().map(|index| reason(*index, Some(tier), rule(*index))));
    }
    reasons.extend(tiers.forbidden.iter().map(|index| reason(*index, None, Rule::Residency)));
    reasons.extend(tiers.unnamed.iter().map(|index| reason(*index, None, Rule::NotInOrder)));
    reasons
}

/// A pool that is healthy again waits for the clock, or for a person.
fn awaiting(rule: Rule, phase: Phase, policy: &Policy) -> Rule {
    match (rule, phase, policy.failback.mode.value) {
        (Rule::NotAdmitted, Phase::Holding, FailbackMode::Manual) => Rule::AwaitsRelease,
        _ => rule,
    }
}

fn origin_of(rule: Rule, phase: Phase, tiers: &Tiers, policy: &Policy) -> Origin {
    match (rule, phase) {
        (Rule::Residency, _) => {
            policy.residency.as_ref().map(|written| written.origin.clone()).unwrap_or_default()
        }
        (Rule::BudgetSpent | Rule::WithinBudget | Rule::BeyondBudget | Rule::MovedOn | Rule::MadeRoom, _) => {
            policy.capacity.as_ref().map(|it| it.per_endpoint.origin.clone()).unwrap_or_default()
        }
        (Rule::LastResort, _) => policy.when_exhausted.origin.clone(),
        (Rule::NotAdmitted, Phase::Holding) if policy.failback.mode.value == FailbackMode::Manual => {
            policy.failback.mode.origin.clone()
        }
        (Rule::NotAdmitted, Phase::Holding) => policy.failback.hold_down.origin.clone(),
        (Rule::NotAdmitted, _) => policy.minimum_healthy.origin.clone(),
        _ => tiers.origin.clone(),
    }
}

/// What is said of a candidate that no pass reached.
fn given_nothing(it: &Figures) -> Rule {
    if it.expected == 0 {
        Rule::Empty
    } else if !it.reachable {
        Rule::Unreachable
    } else if it.phase == Phase::Shifted && it.healthy > 0 {
        Rule::Shifted
    } else if it.admitted == 0 {
        Rule::NotAdmitted
    } else {
        Rule::NotNeeded
    }
}
