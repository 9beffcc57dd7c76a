//! By which rule each target got what it got, and for whom traffic was moved on.

use super::Poured;
use crate::{
    plan::Rule,
    waterfall::{Move, Pass, Spending},
};
use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};
use tidegate_model::Share;

/// A note names at most so many sources; who reads it at night needs one to begin with.
const MAX_NAMED: usize = 3;

impl Poured<'_> {
    /// By which rule a candidate was given something or nothing by an own stream; `None` when the figures of the plain
    /// planner say it.
    pub(super) fn rule(&self, at: usize, pools: &[usize], spending: &Spending) -> Option<Rule> {
        let within = |pool: &usize| self.budgets[*pool].within;
        let spent = pools.iter().any(|pool| within(pool) > 0)
            && pools.iter().all(|pool| spending.loads[*pool] >= within(pool));
        let pass = pools.iter().filter_map(|pool| spending.amount(at, *pool).1).max();
        match (pass, self.moved_on(at, pools, spending)) {
            (Some(Pass::BeyondAdmit | Pass::Shifted), _) => Some(Rule::BeyondAdmit),
            (Some(Pass::BeyondBudget), _) => Some(Rule::BeyondBudget),
            (Some(Pass::WithinAdmit), Ordering::Greater) => Some(Rule::MovedOn),
            (_, Ordering::Less) => Some(Rule::MadeRoom),
            (_, _) if spent => Some(Rule::BudgetSpent),
            (Some(Pass::WithinAdmit), _) => Some(Rule::WithinBudget),
            (None, _) => None,
        }
    }

    /// Whether an own stream was moved on to a candidate or away from it, as far as a share can show it.
    fn moved_on(&self, at: usize, pools: &[usize], spending: &Spending) -> Ordering {
        let (mut to, mut from) = (0_u64, 0_u64);
        for it in moves(at, pools, spending) {
            let side = if pools.contains(&it.to) { &mut to } else { &mut from };
            *side = side.saturating_add(it.amount);
        }
        let least = self.streams[at].demand / u64::from(Share::ALL.parts());
        if to.abs_diff(from) < least { Ordering::Equal } else { to.cmp(&from) }
    }

    /// For whom an own stream was moved on to a candidate or away from it, after what is to be said anyway.
    pub(super) fn note(&self, at: usize, pools: &[usize], said: Option<Arc<str>>) -> Option<Arc<str>> {
        let moved = self.moved_on(at, pools, &self.spending);
        if moved == Ordering::Equal {
            return said;
        }
        let served: BTreeSet<usize> = moves(at, pools, &self.spending).map(|it| it.served).collect();
        let named: Vec<String> =
            served.iter().take(MAX_NAMED).map(|it| self.sources[*it].source.to_string()).collect();
        let more = match served.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let whose = format!("the requests of {}{more}, which find room nowhere else", named.join(", "));
        let note = match moved {
            Ordering::Greater => format!("moved on so that {whose}, are served"),
            _ => format!("it makes room for {whose}"),
        };
        Some(said.map_or_else(|| note.as_str().into(), |said| format!("{said}; {note}").into()))
    }
}

/// Where an own stream was moved on to a candidate or away from it; inside one nobody can tell.
fn moves<'a>(at: usize, pools: &'a [usize], spending: &'a Spending) -> impl Iterator<Item = &'a Move> {
    let crosses = |it: &&Move| pools.contains(&it.from) != pools.contains(&it.to);
    spending.moves.iter().filter(move |it| it.stream == at).filter(crosses)
}
