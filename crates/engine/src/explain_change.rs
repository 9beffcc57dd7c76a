//! A change of a plan as one sentence: how much moved, from where to where, and because of what.
//!
//! The wording is part of the interface: it is snapshot-tested, and changes are told in the changelog.

use crate::{
    plan::{Plan, Reason, Rule, Shares, Target},
    policy::Origin,
};
use std::fmt;
use tidegate_model::{Phase, Share};

/// How `after` differs from `before`, which is a plan of the same service and source.
#[must_use]
pub fn explain_change(before: &Plan, after: &Plan) -> String {
    explain_moves(&before.shares, after)
}

/// The same, when only the shares before are known.
#[must_use]
pub fn explain_moves(before: &Shares, after: &Plan) -> String {
    let served = |shares: &Shares| shares.values().map(|share| share.parts()).sum::<u32>();
    let shed_before = Share::ALL.parts().saturating_sub(served(before));
    let mut lost: Vec<Moved<'_>> = Vec::new();
    let mut won: Vec<Moved<'_>> = Vec::new();
    let mut compare = |place: Option<&'_ Target>, old: u32, new: u32| {
        let by = Share::new(old.abs_diff(new)).unwrap_or(Share::ALL);
        let place = place.cloned();
        match old.cmp(&new) {
            std::cmp::Ordering::Greater => lost.push(Moved { place, by, reason: None }),
            std::cmp::Ordering::Less => won.push(Moved { place, by, reason: None }),
            std::cmp::Ordering::Equal => {}
        }
    };
    let targets = before.keys().chain(after.shares.keys().filter(|target| !before.contains_key(target)));
    let share = |shares: &Shares, target| shares.get(target).map_or(0, |it: &Share| it.parts());
    for target in targets {
        compare(Some(target), share(before, target), share(&after.shares, target));
    }
    compare(None, shed_before, after.shed.parts());
    for moved in lost.iter_mut().chain(&mut won) {
        let target = moved.place.as_ref();
        moved.reason = after.reasons.iter().find(|reason| Some(&reason.target) == target);
    }
    lost.sort_by(Moved::largest_first);
    won.sort_by(Moved::largest_first);
    if lost.is_empty() {
        return format!("{after}; no share moved");
    }
    let total: u32 = lost.iter().map(|moved| moved.by.parts()).sum();
    let total = Share::new(total).unwrap_or(Share::ALL);
    let because = cause(&lost, &won, after).map(|why| format!(", because {why}")).unwrap_or_default();
    format!(
        "{} from {}: {total} moved from {} to {}{because}",
        after.service,
        after.source,
        listed(&lost),
        listed(&won)
    )
}

/// What a place lost or won; no place is the gateway that answers by itself.
struct Moved<'a> {
    place: Option<Target>,
    by: Share,
    reason: Option<&'a Reason>,
}

impl Moved<'_> {
    fn largest_first(&self, other: &Self) -> std::cmp::Ordering {
        other.by.cmp(&self.by).then_with(|| self.place.cmp(&other.place))
    }
}

impl fmt::Display for Moved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(target) => target.fmt(f),
            None => f.pad("503 answers"),
        }
    }
}

fn listed(moved: &[Moved<'_>]) -> String {
    match moved {
        [one] => one.to_string(),
        many => many.iter().map(|it| format!("{it} ({})", it.by)).collect::<Vec<_>>().join(" and "),
    }
}

/// What set it off: what is wrong where the traffic left, else what is better where it went.
fn cause(lost: &[Moved<'_>], won: &[Moved<'_>], after: &Plan) -> Option<String> {
    if after.last_resort || after.shed == Share::ALL {
        let origin = after.reasons.iter().find(|it| it.rule == Rule::LastResort).map(|it| &it.origin);
        let written = origin.map(written).unwrap_or_default();
        return Some(format!("nothing that is allowed is healthy{written}"));
    }
    let fault = lost.iter().find_map(|moved| match (&moved.place, moved.reason) {
        (Some(_), Some(reason)) => fault(reason),
        (Some(target), None) => Some(format!("{target} is not there any more")),
        (None, _) => None,
    });
    fault.or_else(|| won.iter().find_map(|moved| moved.reason.map(gain)))
}

/// What is wrong with a place, if anything is.
fn fault(reason: &Reason) -> Option<String> {
    let Reason { target, phase, expected, healthy, admit, origin, .. } = reason;
    let stands = format!("{target} is {phase} ({healthy} of {expected} healthy");
    Some(match reason.rule {
        Rule::Residency => format!("residency forbids {target}{}", written(origin)),
        Rule::NotInOrder => format!("the order does not name {target}{}", written(origin)),
        Rule::Unreachable => format!("{target} is out of reach"),
        Rule::Empty => format!("no endpoint is expected in {target}"),
        Rule::NotAdmitted | Rule::AwaitsRelease => format!("{stands})"),
        Rule::NoForeignTraffic if !admit.is_one() => {
            format!("{stands}, admit {admit}) and another place is whole")
        }
        Rule::MadeRoom => format!("{target} is needed by others{}", noted(reason)),
        // It serves less of its own than before.
        Rule::Preferred if matches!(phase, Phase::Reduced) => format!("{stands}, admit {admit})"),
        _ => return None,
    })
}

/// Why a place gets more.
fn gain(reason: &Reason) -> String {
    let Reason { target, phase, expected, healthy, admit, .. } = reason;
    let counts = format!("{healthy} of {expected} healthy");
    match (reason.rule, phase) {
        (Rule::Preferred, Phase::Ramping) => {
            format!("{target} gets its load back step by step ({counts}, admit {admit})")
        }
        (Rule::Preferred, Phase::Reduced) => format!("{target} is better again ({counts}, admit {admit})"),
        (Rule::Preferred, _) => format!("{target} comes first in the order and is {phase} ({counts})"),
        (Rule::Overflow, _) => {
            format!("{target} is {phase} ({counts}) and takes what the places before it do not keep")
        }
        (Rule::MovedOn, _) => format!("{target} has room for what was moved on{}", noted(reason)),
        (Rule::BeyondAdmit, _) => format!("nothing better than {target} is left ({phase}, {counts})"),
        _ => format!("{target} is {phase} ({counts})"),
    }
}

fn noted(reason: &Reason) -> String {
    reason.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default()
}

fn written(origin: &Origin) -> String {
    match origin {
        Origin::Default => String::new(),
        origin => format!(" [{origin}]"),
    }
}
