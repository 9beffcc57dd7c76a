//! Traffic shifts: an operator or a drill moves traffic away from a place.
//!
//! This module keeps which shifts are in force and how much of a pool's load one leaves it; which pools a shift
//! covers, and where it is refused because the place is a service's last, is decided per service, in `steer`.
//!
//! - One shift per target. An operator's beats a drill's; a later one of the same rank replaces.
//! - Where several cover a pool (its zone and its region, say), the one that moves most away counts alone.
//! - A shift ends by a word or when its time is over. Time is counted by the monotonic clock of this process, and
//!   what remains is saved: time in which no agent ran is not counted. [`MAX_SHIFT`] is the limit; who wants more
//!   renews it.
//! - When it ends, traffic comes back along the policy's ramp, without hold-down: health was never in doubt.

use crate::{contingency::Location, policy::Policy};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};
use tidegate_model::{Fraction, ServiceName, Time};

/// The longest a shift may last: the limit of AWS' zonal shift, so that none is forgotten for ever.
pub const MAX_SHIFT: Duration = Duration::from_secs(72 * 3600);
/// More shifts than this at once are refused.
pub const MAX_SHIFTS: usize = 1000;

/// Who moves traffic away. The later in this order has the higher rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShiftedBy {
    /// A drill.
    Drill,
    /// A person, or a `TrafficShift` that one wrote.
    Operator,
}

/// What traffic is moved away from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShiftTarget {
    /// The place.
    pub location: Location,
    /// Only this service; `None` means all.
    pub service: Option<ServiceName>,
}

impl fmt::Display for ShiftTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => f.pad(&format!("{service} in {}", self.location.words())),
            None => f.pad(&self.location.words()),
        }
    }
}

/// A shift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// Its name, by which it is ended.
    pub name: String,
    /// What traffic is moved away from.
    pub target: ShiftTarget,
    /// How much of it, 1 to 100.
    pub percent: u32,
    /// How long it still lasts.
    pub remaining: Duration,
    /// Who moves it.
    pub by: ShiftedBy,
    /// Why, for people.
    pub comment: String,
    /// Whether to move it even from the last healthy place of a service.
    pub force: bool,
}

impl Shift {
    /// The part of its load that a pool is left.
    pub(crate) fn kept(&self) -> Fraction {
        Fraction::of(100_u32.saturating_sub(self.percent), 100)
    }

    /// For reasons: no time in it, so that it changes only when the shift does.
    pub(crate) fn note(&self) -> String {
        let by = match self.by {
            ShiftedBy::Operator => "an operator",
            ShiftedBy::Drill => "a drill",
        };
        let Self { name, target, percent, comment, .. } = self;
        format!("{by} moved {percent} % of the traffic away from {target} (shift {name}: {comment})")
    }
}

/// What became of a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShiftChange {
    /// It is in force now, perhaps in place of another.
    Started,
    /// Somebody ended it.
    Ended,
    /// Its time is over.
    Expired,
    /// It has a percentage outside 1..=100, or there are too many.
    Invalid,
    /// An operator's shift has the same target.
    Outranked,
}

/// A shift and what became of it, for the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShiftDecision {
    /// The shift.
    pub shift: Shift,
    /// What became of it.
    pub change: ShiftChange,
}

/// One sentence.
impl fmt::Display for ShiftDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shift { name, target, .. } = &self.shift;
        match self.change {
            ShiftChange::Started => {
                write!(f, "{}, for {} s", self.shift.note(), self.shift.remaining.as_secs())
            }
            ShiftChange::Ended => {
                write!(f, "shift {name} was ended: {target} gets its traffic back by the ramp")
            }
            ShiftChange::Expired => {
                write!(f, "the time of shift {name} is over: {target} gets its traffic back by the ramp")
            }
            ShiftChange::Invalid => {
                write!(
                    f,
                    "shift {name} is refused: it must move 1 to 100 %, and at most {MAX_SHIFTS} can be in force"
                )
            }
            ShiftChange::Outranked => {
                write!(f, "shift {name} is refused: an operator's shift away from {target} is in force")
            }
        }
    }
}

/// The shifts in force, with when each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shifts {
    by_target: BTreeMap<ShiftTarget, (Shift, Time)>,
}

impl Shifts {
    /// The shifts with what remains of them.
    pub(crate) fn at(&self, now: Time) -> impl Iterator<Item = Shift> {
        let left =
            move |(shift, until): &(Shift, Time)| Shift { remaining: until.since(now), ..shift.clone() };
        self.by_target.values().map(left)
    }

    pub(crate) fn start(&mut self, mut shift: Shift, now: Time) -> ShiftDecision {
        shift.remaining = shift.remaining.min(MAX_SHIFT);
        let before = self.by_target.get(&shift.target);
        let change = if !(1..=100).contains(&shift.percent)
            || self.by_target.len() >= MAX_SHIFTS && before.is_none()
        {
            ShiftChange::Invalid
        } else if before.is_some_and(|(before, _)| before.by > shift.by) {
            ShiftChange::Outranked
        } else {
            let until = now + shift.remaining;
            self.by_target.insert(shift.target.clone(), (shift.clone(), until));
            ShiftChange::Started
        };
        ShiftDecision { shift, change }
    }

    /// Ends the shifts of that name.
    pub(crate) fn end(&mut self, name: &str) -> Vec<ShiftDecision> {
        self.remove(ShiftChange::Ended, |shift, _| shift.name == name)
    }

    /// Ends those whose time is over.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<ShiftDecision> {
        self.remove(ShiftChange::Expired, |_, until| until <= now)
    }

    fn remove(&mut self, change: ShiftChange, ends: impl Fn(&Shift, Time) -> bool) -> Vec<ShiftDecision> {
        let ended = self.by_target.extract_if(.., |_, (shift, until)| ends(shift, *until));
        ended.map(|(_, (shift, _))| ShiftDecision { shift, change }).collect()
    }

    /// When the next one ends, and its name.
    pub(crate) fn deadline(&self) -> Option<(Time, &str)> {
        self.by_target.values().map(|(shift, until)| (*until, shift.name.as_str())).min()
    }

    /// Those that are about a service.
    pub(crate) fn about(&self, service: &ServiceName) -> impl Iterator<Item = &Shift> {
        let about = move |shift: &&Shift| shift.target.service.as_ref().is_none_or(|it| it == service);
        self.by_target.values().map(|(shift, _)| shift).filter(about)
    }

    pub(crate) fn has(&self, target: &ShiftTarget) -> bool {
        self.by_target.contains_key(target)
    }
}

/// How much of its load shifts leave a pool: falls at once, rises along the ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) kept: Fraction,
    /// When the next step of the ramp is due, while traffic comes back.
    until: Option<Time>,
}

/// The same on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedAway {
    kept: Fraction,
    remaining: Option<Duration>,
}

impl SavedAway {
    pub(crate) const fn runs(self) -> bool {
        self.remaining.is_some()
    }

    /// The same `by` later, if nothing but time happened.
    pub(crate) fn age(&mut self, by: Duration) {
        self.remaining = self.remaining.map(|left| left.saturating_sub(by));
    }
}

impl Away {
    pub(crate) const NOT: Self = Self { kept: Fraction::ONE, until: None };

    pub(crate) fn restored(saved: SavedAway, now: Time) -> Self {
        Self { kept: saved.kept, until: saved.remaining.map(|left| now + left) }
    }

    pub(crate) fn save(self, now: Time) -> SavedAway {
        SavedAway { kept: self.kept, remaining: self.until.map(|until| until.since(now)) }
    }

    pub(crate) fn deadline(self) -> Option<Time> {
        self.until
    }

    /// Whether traffic is coming back.
    pub(crate) fn is_returning(self) -> bool {
        self.until.is_some()
    }

    /// Goes towards `target`, the part that the shifts in force leave.
    pub(crate) fn observe(&mut self, target: Fraction, policy: &Policy, now: Time) {
        if target <= self.kept {
            *self = Self { kept: target, until: None };
        } else if self.until.is_none_or(|until| until <= now) {
            let steps = &policy.failback.ramp_steps.value;
            let next = steps.iter().copied().find(|step| *step > self.kept).unwrap_or(Fraction::ONE);
            self.kept = next.min(target);
            self.until = (self.kept < target).then(|| now + policy.failback.ramp_interval.value);
        }
    }
}
