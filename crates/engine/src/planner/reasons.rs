//! Why each target has the share it has.

use super::{Figures, Question, Tiers};
use crate::{
    plan::{Hold, Plan, Reason, Rule, Target},
    policy::{FailbackMode, Origin, Policy},
};
use std::sync::Arc;
use tidegate_model::{Fraction, Phase, Region, Share};

/// Writes the reasons of a plan whose shares are settled. What stands there already of the same target is written over:
/// from one event to the next the names stay and the numbers change.
pub(super) fn write(
    plan: &mut Plan,
    tiers: &Tiers,
    question: &Question<'_>,
    figures: &[Figures],
    rules: &[Option<Rule>],
) {
    let mut reasons = std::mem::take(&mut plan.reasons);
    reasons.truncate(figures.len());
    reasons.reserve_exact(figures.len() - reasons.len());
    let mut at = 0;
    let mut put = |index: usize, tier: Option<u32>, rule: Rule| {
        let (candidate, it) = (&question.candidates[index], &figures[index]);
        let same = |reason: &Reason| reason.target == candidate.target && reason.region == candidate.region;
        if !reasons.get(at).is_some_and(same) {
            reasons.truncate(at);
            reasons.push(Reason::unknown(candidate.target.clone(), candidate.region.clone()));
        }
        let reason = &mut reasons[at];
        at += 1;
        reason.tier = tier;
        reason.share = plan.shares.get(&candidate.target).copied().unwrap_or_default();
        reason.expected = u32::try_from(it.expected).unwrap_or(u32::MAX);
        reason.healthy = u32::try_from(it.last_word).unwrap_or(u32::MAX);
        reason.admit = it.admit();
        reason.phase = candidate.phase;
        reason.rule = awaiting(Hold::told(candidate.hold.as_ref(), rule), candidate.phase, question.policy);
        reason.budget = None;
        let note = candidate.hold.as_ref().map(|hold| &hold.note);
        if reason.note.as_ref() != note {
            reason.note = note.map(Arc::clone);
        }
        let origin = origin_of(rule, candidate.phase, tiers, question.policy);
        if reason.origin != *origin {
            reason.origin = origin.clone();
        }
    };
    for (members, tier) in tiers.iter().zip(1..) {
        for index in members {
            put(*index, Some(tier), rules[*index].unwrap_or_else(|| given_nothing(&figures[*index])));
        }
    }
    let (forbidden, unnamed) = tiers.order[tiers.named().len()..].split_at(tiers.forbidden);
    forbidden.iter().for_each(|index| put(*index, None, Rule::Residency));
    unnamed.iter().for_each(|index| put(*index, None, Rule::NotInOrder));
    plan.reasons = reasons;
}

/// A pool that is healthy again waits for the clock, or for a person.
fn awaiting(rule: Rule, phase: Phase, policy: &Policy) -> Rule {
    match (rule, phase, policy.failback.mode.value) {
        (Rule::NotAdmitted, Phase::Holding, FailbackMode::Manual) => Rule::AwaitsRelease,
        _ => rule,
    }
}

impl Reason {
    /// Of a target of which nothing is written yet.
    const fn unknown(target: Target, region: Region) -> Self {
        Self {
            target,
            region,
            tier: None,
            share: Share::NONE,
            expected: 0,
            healthy: 0,
            admit: Fraction::ZERO,
            phase: Phase::Empty,
            rule: Rule::Empty,
            origin: Origin::Default,
            budget: None,
            note: None,
        }
    }
}

/// Nobody wrote it.
static DEFAULT: Origin = Origin::Default;

fn origin_of<'a>(rule: Rule, phase: Phase, tiers: &'a Tiers, policy: &'a Policy) -> &'a Origin {
    match (rule, phase) {
        (Rule::Residency, _) => policy.residency.as_ref().map_or(&DEFAULT, |written| &written.origin),
        (Rule::BudgetSpent | Rule::WithinBudget | Rule::BeyondBudget | Rule::MovedOn | Rule::MadeRoom, _) => {
            policy.capacity.as_ref().map_or(&DEFAULT, |it| &it.per_endpoint.origin)
        }
        (Rule::LastResort, _) => &policy.when_exhausted.origin,
        (Rule::NotAdmitted, Phase::Holding) if policy.failback.mode.value == FailbackMode::Manual => {
            &policy.failback.mode.origin
        }
        (Rule::NotAdmitted, Phase::Holding) => &policy.failback.hold_down.origin,
        (Rule::NotAdmitted, _) => &policy.minimum_healthy.origin,
        _ => &tiers.origin,
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
