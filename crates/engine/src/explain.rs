//! Decisions as sentences, for people who read them at three in the morning.
//!
//! The wording is part of the interface: it is snapshot-tested, and changes are told in the changelog.

use crate::plan::{Plan, Reason, Rule};
use std::fmt;
use tidegate_model::{Phase, Share};

/// One line: what the target gets, how it stands, and by which rule.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, share, expected, healthy, admit, phase, .. } = self;
        write!(
            f,
            "{target} ({}) gets {share}: {phase}, {healthy} of {expected} healthy, admit {admit}; ",
            self.region
        )?;
        f.write_str(match (self.rule, phase) {
            (Rule::Preferred, Phase::Reduced) => {
                "first in the order, keeps what its healthy endpoints can carry"
            }
            (Rule::Preferred, Phase::Holding) => "first in the order, gets the rest back after its hold-down",
            (Rule::Preferred, Phase::Ramping) => "first in the order, gets its load back step by step",
            (Rule::Preferred, _) => "first in the order",
            (Rule::Overflow, _) => "takes what the places before it in the order do not keep",
            (Rule::NotNeeded, _) => "stands by, the places before it in the order keep everything",
            (Rule::NoForeignTraffic, _) => {
                "not whole, so it takes no other place's traffic while a Serving one remains"
            }
            (Rule::BeyondAdmit, Phase::Holding) => {
                "healthy and nothing better is left, so it serves before its hold-down ends"
            }
            (Rule::BeyondAdmit, Phase::Ramping) => {
                "healthy and nothing better is left, so it serves more than its ramp allows yet"
            }
            (Rule::BeyondAdmit, Phase::Shifted) => {
                "nothing better is left, so it serves although its traffic was moved away"
            }
            (Rule::BeyondAdmit, Phase::Serving) => {
                "nothing better is left, so it serves more than its normal load"
            }
            (Rule::BeyondAdmit, _) => "nothing better is left, so it serves beyond its admit",
            (Rule::WithinBudget, _) => "serves within what its healthy endpoints take",
            (Rule::BudgetSpent, _) if share.is_none() => {
                "what its healthy endpoints take is given to those who are nearer"
            }
            (Rule::BudgetSpent, _) => "gets all that its healthy endpoints take, the rest goes on",
            (Rule::MovedOn, _) => "takes what was moved on from another place",
            (Rule::MadeRoom, _) if share.is_none() => "all that it took was moved on to another place",
            (Rule::MadeRoom, _) => "a part of what it took was moved on to another place",
            (Rule::BeyondBudget, _) => {
                "all that healthy endpoints take is spent, so it serves more than it is declared to"
            }
            (Rule::LastResort, _) => "nothing allowed is healthy, so it is tried all the same",
            (Rule::NotAdmitted, Phase::Holding) => "healthy again, held back until its hold-down ends",
            (Rule::AwaitsRelease, _) => {
                "healthy again, waits for an operator: `tidegate failback` lets its traffic back"
            }
            (Rule::NotAdmitted, _) if *healthy == 0 => "nothing there is healthy",
            (Rule::NotAdmitted, _) => "too little of it is healthy to serve",
            (Rule::Empty, _) => "no endpoint is expected there: none was healthy yet, or all were removed",
            (Rule::Unreachable, _) => {
                "out of reach from this cluster; it may well be up, its numbers are the last it told"
            }
            (Rule::Residency, _) => "residency forbids it",
            (Rule::NotInOrder, _) => "the order does not name it",
            (Rule::LocationOut, _) => "it leaves with its place",
            (Rule::Shifted, _) => "its traffic was moved away",
            (Rule::LastPlace, _) => "a shift is refused for it",
        })?;
        if let Some(budget) = &self.budget {
            write!(f, ", {budget}")?;
        }
        if let Some(note) = &self.note {
            write!(f, "; {note}")?;
        }
        write!(f, " [{}]", self.origin)
    }
}

/// One line: the shares, largest first.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}: ", self.service, self.source)?;
        let mut shares: Vec<_> = self.shares.iter().collect();
        shares.sort_by(|(a, share_a), (b, share_b)| share_b.cmp(share_a).then_with(|| a.cmp(b)));
        let mut parts: Vec<String> =
            shares.iter().map(|(target, share)| format!("{target} {share}")).collect();
        if self.shed > Share::NONE {
            // Where nothing is healthy, a part is never served.
            let spent = self.reasons.iter().any(|it| it.rule == Rule::BudgetSpent);
            let why = if spent || self.shed < Share::ALL {
                "all that is allowed is full"
            } else {
                "nothing allowed is healthy"
            };
            parts.push(format!("{} answered with 503 ({why})", self.shed));
        }
        f.write_str(&parts.join(", "))?;
        if self.last_resort {
            f.write_str(" (last resort: nothing allowed is healthy)")?;
        }
        Ok(())
    }
}
