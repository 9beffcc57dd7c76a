//! What is known of a cluster beyond its state: the plans of it that send anything elsewhere, and what it decided last. Pure.

use crate::fleet::{Excess, MAX_TEXT, short};
use crate::view::{DecisionView, PlanShareView, PlanSummaryView};
use std::collections::{BTreeMap, VecDeque};
use tidegate_link::hub::proto;

/// The most plans of one cluster.
const MAX_PLANS: usize = 10_000;
/// The most targets of one plan.
const MAX_SHARES: usize = 64;
/// The most decisions of one cluster; the oldest go first.
const KEPT: usize = 100;

/// The plans that one agent told of.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    told: BTreeMap<(String, String), PlanSummaryView>,
    /// How many more there are.
    more: u32,
}

impl Plans {
    /// Takes all of a status, or what changed.
    pub(crate) fn take(&mut self, status: &proto::Status) -> Result<(), Excess> {
        if status.full {
            *self = Self::default();
        }
        self.more = status.more_plans.unwrap_or(self.more);
        for name in &status.removed_plans {
            self.told.remove(&(name.service.clone(), name.zone.clone()));
        }
        for plan in &status.plans {
            let name = plan.name.as_ref().ok_or(Excess::Name)?;
            let is_long =
                plan.shares.iter().any(|it| it.target.len() > MAX_TEXT) || plan.rule.len() > MAX_TEXT;
            if name.service.len() > MAX_TEXT || name.zone.len() > MAX_TEXT || is_long {
                return Err(Excess::Text);
            }
            if plan.shares.len() > MAX_SHARES {
                return Err(Excess::Plans);
            }
            let share =
                |it: &proto::PlanShare| PlanShareView { target: it.target.clone(), permille: it.permille };
            let view = PlanSummaryView {
                service: name.service.clone(),
                zone: name.zone.clone(),
                shares: plan.shares.iter().map(share).collect(),
                shed_permille: plan.shed_permille,
                rule: plan.rule.clone(),
                why: short(&plan.why),
            };
            self.told.insert((name.service.clone(), name.zone.clone()), view);
        }
        if self.told.len() > MAX_PLANS { Err(Excess::Plans) } else { Ok(()) }
    }

    pub(crate) fn views(&self) -> (Vec<PlanSummaryView>, u32) {
        (self.told.values().cloned().collect(), self.more)
    }
}

/// What the agents of one cluster decided last. It outlives their streams.
#[derive(Debug, Default)]
pub(crate) struct Decisions(VecDeque<(u64, DecisionView)>);

impl Decisions {
    /// Takes what is new of the agent of this life. What came before, on another stream, is known by its number.
    pub(crate) fn take(&mut self, boot: u64, decisions: &[proto::Decision]) -> Result<(), Excess> {
        let of_boot = self.0.iter().filter(|(whose, _)| *whose == boot);
        let mut last = of_boot.map(|(_, it)| it.seq).max().unwrap_or(0);
        for it in decisions {
            if it.kind.len() > MAX_TEXT || it.service.len() > MAX_TEXT {
                return Err(Excess::Text);
            }
            if it.seq <= last {
                continue;
            }
            last = it.seq;
            let view = DecisionView {
                seq: it.seq,
                unix_micros: it.unix_micros,
                kind: it.kind.clone(),
                service: (!it.service.is_empty()).then(|| it.service.clone()),
                text: short(&it.text),
            };
            self.0.push_back((boot, view));
            if self.0.len() > KEPT {
                self.0.pop_front();
            }
        }
        Ok(())
    }

    /// The oldest first.
    pub(crate) fn views(&self) -> Vec<DecisionView> {
        self.0.iter().map(|(_, it)| it.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(service: &str) -> proto::Plan {
        let name = Some(proto::PoolName { service: service.to_owned(), zone: "z".to_owned() });
        proto::Plan { name, rule: "Overflow".to_owned(), ..Default::default() }
    }

    #[test]
    fn plans_follow_what_is_told_of_them_within_limits() {
        let mut plans = Plans::default();
        let full = proto::Status {
            full: true,
            plans: vec![plan("a/a"), plan("a/b")],
            more_plans: Some(7),
            ..Default::default()
        };
        plans.take(&full).unwrap();
        assert_eq!((plans.views().0.len(), plans.views().1), (2, 7));
        // What is not named stays.
        let gone = full.plans[0].name.clone().unwrap();
        plans.take(&proto::Status { removed_plans: vec![gone], ..Default::default() }).unwrap();
        assert_eq!((plans.views().0[0].service.as_str(), plans.views().1), ("a/b", 7));
        // Another stream begins anew.
        plans.take(&proto::Status { full: true, ..Default::default() }).unwrap();
        assert_eq!(plans.views(), (Vec::new(), 0));
        let many = (0..=MAX_PLANS).map(|n| plan(&n.to_string())).collect();
        assert_eq!(plans.take(&proto::Status { plans: many, ..Default::default() }), Err(Excess::Plans));
        let wide = proto::Plan { shares: vec![proto::PlanShare::default(); MAX_SHARES + 1], ..plan("a/a") };
        assert_eq!(
            plans.take(&proto::Status { plans: vec![wide], ..Default::default() }),
            Err(Excess::Plans)
        );
        let nobody = proto::Status { plans: vec![proto::Plan::default()], ..Default::default() };
        assert_eq!(plans.take(&nobody), Err(Excess::Name));
        let long = proto::Status { plans: vec![plan(&"x".repeat(MAX_TEXT + 1))], ..Default::default() };
        assert_eq!(plans.take(&long), Err(Excess::Text));
    }

    #[test]
    fn decisions_that_come_again_are_known_by_their_number_and_the_oldest_go() {
        let decision = |seq| proto::Decision { seq, text: "x".repeat(2 * MAX_TEXT), ..Default::default() };
        let (mut decisions, seqs) = (Decisions::default(), |it: &Decisions| -> Vec<u64> {
            it.views().iter().map(|it| it.seq).collect()
        });
        decisions.take(1, &[decision(1), decision(2)]).unwrap();
        // The stream was lost, and the next one begins with what may be known.
        decisions.take(1, &[decision(1), decision(2), decision(3)]).unwrap();
        assert_eq!(seqs(&decisions), [1, 2, 3]);
        // A replica, or the agent after a restart, counts on its own.
        decisions.take(2, &[decision(1)]).unwrap();
        assert_eq!(seqs(&decisions), [1, 2, 3, 1]);
        assert_eq!(decisions.views()[0].text.len(), MAX_TEXT);
        let many: Vec<_> = (4..).take(KEPT + 5).map(decision).collect();
        decisions.take(1, &many).unwrap();
        assert_eq!((seqs(&decisions).len(), seqs(&decisions)[0]), (KEPT, 9));
        let huge = proto::Decision { kind: "x".repeat(MAX_TEXT + 1), ..decision(1000) };
        assert_eq!(decisions.take(1, &[huge]), Err(Excess::Text));
    }
}
