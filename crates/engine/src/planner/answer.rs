//! What comes of turning to the candidates in one order, and the plans that are written from it.

use super::{Candidate, Figures, MAX_STANDBY, Outcome, Question, Tiers, reasons};
use crate::{
    plan::{Plan, Rule, Shares},
    policy::Policy,
};
use std::sync::Arc;
use tidegate_model::{Phase, Share};

/// The result of the passes in shares. It holds for every source that turns to the same candidates in the same order,
/// as sources do to those of other regions. Asked again with other numbers of the same candidates, it uses what it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Per candidate, in 1/10000.
    parts: Vec<u32>,
    /// Per candidate, the rule that gave or refused it something.
    pub(super) rules: Vec<Option<Rule>>,
    last_resort: bool,
    /// The standby tiers, one after another, each with the parts of all candidates.
    standby: Vec<u32>,
    /// The parts as plans name them, once a plan asked for it.
    shares: Option<Shares>,
    /// The same of standby tiers, with what they were made of: from service to service they are mostly the same.
    standing_by: Option<(Vec<u32>, Arc<[Shares]>)>,
    /// Per candidate, everything to it alone, which is the commonest of all.
    alone: Vec<Option<Shares>>,
    spent: Spent,
}

/// Where the passes write; what it holds means nothing from one question to the next.
#[derive(Clone, Debug, Default)]
struct Spent {
    outcome: Outcome,
    remainders: Vec<(u64, usize)>,
    figures: Vec<Figures>,
}

/// What changed in a plan that was written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// A share, or what is shed.
    pub(crate) shares: bool,
    /// A standby tier, or whether it is the last resort.
    pub(crate) rest: bool,
}

impl Answer {
    /// By the planner's own passes.
    pub(crate) fn of(tiers: &Tiers, policy: &Policy, figures: &[Figures]) -> Self {
        let mut answer = Self::default();
        answer.ask(tiers, policy, figures);
        answer
    }

    /// Runs the planner's own passes.
    pub(crate) fn ask(&mut self, tiers: &Tiers, policy: &Policy, figures: &[Figures]) {
        let Spent { outcome, remainders, .. } = &mut self.spent;
        tiers.spend_into(policy, figures, outcome);
        self.parts.resize(figures.len(), 0);
        tiers.split(outcome, &mut self.parts, remainders);
        self.rules.clone_from(&outcome.rules);
        self.last_resort = outcome.last_resort;
        self.standby.clear();
        if !outcome.last_resort && outcome.shed == 0 {
            stand_by(tiers, policy, figures, (&self.parts, &mut self.standby), &mut self.spent);
        }
        self.shares = None;
    }

    /// By somebody else's passes, with the parts of all candidates per standby tier, one after another.
    pub(crate) fn given(tiers: &Tiers, outcome: Outcome, standby: Vec<u32>) -> Self {
        let parts = tiers.parts(&outcome);
        let Outcome { rules, last_resort, .. } = outcome;
        Self { parts, rules, last_resort, standby, ..Self::default() }
    }

    /// A new plan, by what is in force, if anything is.
    pub(crate) fn plan(
        &mut self,
        question: &Question<'_>,
        tiers: &Tiers,
        figures: &[Figures],
        previous: Option<&Plan>,
    ) -> Plan {
        let (shares, shed) = self.shares(question, tiers, previous);
        let mut plan = Plan {
            service: question.service.clone(),
            source: question.source.clone(),
            shares,
            shed,
            standby: self.standby(question, tiers, previous),
            last_resort: self.last_resort,
            reasons: Vec::new(),
        };
        reasons::write(&mut plan, tiers, question, figures, &self.rules);
        tell_weights(&mut plan, tiers, question);
        plan
    }

    /// Writes the plan of the same service and source anew, where it lies.
    pub(crate) fn rewrite(
        &mut self,
        plan: &mut Plan,
        question: &Question<'_>,
        tiers: &Tiers,
        figures: &[Figures],
    ) -> Rewritten {
        let (shares, shed) = self.shares(question, tiers, Some(plan));
        let standby = self.standby(question, tiers, Some(plan));
        let rewritten = Rewritten {
            shares: plan.shares != shares || plan.shed != shed,
            rest: plan.standby != standby || plan.last_resort != self.last_resort,
        };
        (plan.shares, plan.shed, plan.standby, plan.last_resort) = (shares, shed, standby, self.last_resort);
        reasons::write(plan, tiers, question, figures, &self.rules);
        tell_weights(plan, tiers, question);
        rewritten
    }

    fn shed(&self) -> Share {
        let served: u32 = self.parts.iter().sum();
        Share::new(Share::ALL.parts().saturating_sub(served)).unwrap_or(Share::NONE)
    }

    /// What is in force, as far as it may be kept at all.
    fn kept<'a>(&self, previous: Option<&'a Plan>) -> Option<&'a Plan> {
        previous.filter(|it| it.last_resort == self.last_resort && it.shed.is_none() == self.shed().is_none())
    }

    /// Shares and what is shed, those in force while none would move by more than the dead band.
    fn shares(&mut self, question: &Question<'_>, tiers: &Tiers, previous: Option<&Plan>) -> (Shares, Share) {
        let (shed, dead_band) = (self.shed(), question.policy.dead_band);
        if let Some(previous) = self.kept(previous)
            && shed.distance(previous.shed) <= dead_band.parts()
            && tiers.is_close(&self.parts, &previous.shares, question.candidates, dead_band)
        {
            return (previous.shares.clone(), previous.shed);
        }
        let made = || tiers.shares(&self.parts, question.candidates, &mut self.alone);
        (self.shares.get_or_insert_with(made).clone(), shed)
    }

    /// The same for the standby tiers.
    fn standby(&mut self, question: &Question<'_>, tiers: &Tiers, previous: Option<&Plan>) -> Arc<[Shares]> {
        let Question { candidates, policy, .. } = question;
        let standing_by = self.standby.chunks_exact(candidates.len().max(1));
        if let Some(previous) = self.kept(previous)
            && previous.standby.len() == standing_by.len()
            && standing_by
                .clone()
                .zip(previous.standby.iter())
                .all(|(parts, old)| tiers.is_close(parts, old, candidates, policy.dead_band))
        {
            return Arc::clone(&previous.standby);
        }
        if let Some((_, made)) = self.standing_by.as_ref().filter(|(parts, _)| *parts == self.standby) {
            return Arc::clone(made);
        }
        let made: Arc<[Shares]> =
            standing_by.map(|parts| tiers.shares(parts, candidates, &mut self.alone)).collect();
        self.standing_by = Some((self.standby.clone(), Arc::clone(&made)));
        made
    }
}

impl Tiers {
    /// Those that are given anything, in the order of their targets.
    fn shares(&self, parts: &[u32], candidates: &[Candidate], alone: &mut Vec<Option<Shares>>) -> Shares {
        let share =
            |index: usize| (candidates[index].target.clone(), Share::new(parts[index]).unwrap_or(Share::ALL));
        let given = || self.by_target.iter().copied().filter(|index| parts[*index] > 0);
        match given().next() {
            Some(only) if parts[only] == Share::ALL.parts() => {
                alone.resize(candidates.len(), None);
                alone[only].get_or_insert_with(|| Shares::of_sorted(std::iter::once(share(only)))).clone()
            }
            _ => Shares::of_sorted(given().map(share)),
        }
    }

    /// Whether the same targets have shares that differ by at most the dead band.
    fn is_close(&self, parts: &[u32], old: &Shares, candidates: &[Candidate], dead_band: Share) -> bool {
        let mut old = old.iter();
        let given = self.by_target.iter().copied().filter(|index| parts[*index] > 0);
        let mut pairs = given.map(|index| (index, old.next()));
        let all = pairs.all(|(index, old)| {
            old.is_some_and(|(target, share)| {
                *target == candidates[index].target
                    && share.parts().abs_diff(parts[index]) <= dead_band.parts()
            })
        });
        all && old.next().is_none()
    }
}

/// Adds the weights to the reasons of those that have one.
fn tell_weights(plan: &mut Plan, tiers: &Tiers, question: &Question<'_>) {
    if let Some(weighing) = &tiers.weighing {
        weighing.tell(question.candidates, &mut plan.reasons);
    }
}

/// The plans of losing what serves, then what serves after that, and so on: each one a standby tier. Pools that are
/// out do not stand by: they are tried only when nothing is left at all, which is no plan.
fn stand_by(
    tiers: &Tiers,
    policy: &Policy,
    figures: &[Figures],
    (serving, standby): (&[u32], &mut Vec<u32>),
    Spent { outcome, remainders, figures: left }: &mut Spent,
) {
    let count = figures.len();
    left.clear();
    left.extend(figures);
    left.iter_mut().filter(|it| matches!(it.phase, Phase::Out | Phase::Shifted)).for_each(Figures::lose);
    for tier in 0..MAX_STANDBY {
        let used = if tier == 0 { serving } else { &standby[(tier - 1) * count..] };
        left.iter_mut().zip(used).filter(|(_, used)| **used > 0).for_each(|(it, _)| it.lose());
        if left.iter().all(|it| it.healthy == 0) {
            break;
        }
        tiers.spend_into(policy, left, outcome);
        if outcome.last_resort || outcome.shed > 0 {
            break;
        }
        standby.resize((tier + 1) * count, 0);
        tiers.split(outcome, &mut standby[tier * count..], remainders);
    }
}
