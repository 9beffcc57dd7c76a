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
            (Rule::Preferred, _) => "nearest place in the order",
            (Rule::Overflow, _) => "takes what nearer places could not keep",
            (Rule::NotNeeded, _) => "stands by, nearer places keep everything",
            (Rule::NoForeignTraffic, _) => {
                "not whole, so it takes no traffic of others while a Serving pool remains"
            }
            (Rule::BeyondAdmit, Phase::Holding | Phase::Ramping) => {
                "healthy and nothing better is left, so it serves before its hold-down ends"
            }
            (Rule::BeyondAdmit, _) => "nothing better is left, so it serves beyond its admit",
            (Rule::LastResort, _) => "nothing allowed is healthy, so it is tried all the same",
            (Rule::NotAdmitted, Phase::Holding) => "healthy again, its hold-down runs",
            (Rule::NotAdmitted, _) => "not healthy enough to serve",
            (Rule::Empty, _) => "no endpoint there was ever healthy",
            (Rule::Unreachable, _) => "out of reach for this cluster, which is not to say that it is down",
            (Rule::Residency, _) => "forbidden by residency",
            (Rule::NotInOrder, _) => "no tier of the order names it",
        })?;
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
            parts.push(format!("shed {}", self.shed));
        }
        f.write_str(&parts.join(", "))?;
        if self.last_resort {
            f.write_str(" (last resort: nothing allowed is healthy)")?;
        }
        Ok(())
    }
}
