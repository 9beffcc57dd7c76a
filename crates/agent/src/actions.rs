//! What operators did about traffic shifts, as every agent of the fleet comes to know it. Pure.
//!
//! An operator acts at any agent: starts a shift, renews or ends it. The *action* is spread over the peer links and to the
//! replicas, and passed on by whoever hears it. Of two actions about one target the newer wins, everywhere: a partition heals
//! to the same set.
//!
//! - **Newer** is by a hybrid logical clock (Kulkarni et al., 2014): the wall clock of the agent that was asked, but never behind
//!   an action that this agent had heard of. So who acts on what he sees wins, however wrong clocks are; of two that did
//!   not know of each other the later by their clocks, then the greater name.
//! - **Expiry** travels as the time that remains, and is counted by each agent's monotonic clock. Where a manifest names a time of
//!   day, that travels too, and each agent reads it by the clock it goes by: a wrong clock ends a shift, or lets it last, for its own
//!   cluster only. Agents of a hub go by the hub's clock.
//! - **An extension** is an action as well: the same shift with another end, which is no time of day.
//! - **A drill's** action counts only where no operator's is in force or newer.
//! - **What ended is remembered** for [`MAX_SHIFT`], as long as a shift may last: no agent that was cut off brings it back.

use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{MAX_SHIFT, MAX_SHIFTS, Shift, ShiftTarget, ShiftedBy};
use tidegate_model::Time;

/// Actions that are kept, those that are over among them; the oldest of these go first.
const MAX_ACTIONS: usize = 2 * MAX_SHIFTS;
/// A time of day that is read anew is news when it is so much nearer or further: it is declared in whole seconds.
const READ_ANEW: Duration = Duration::from_secs(1);
/// An action from further ahead of our clock than this is refused: whoever follows it could never be overruled by a clock that
/// is right.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);
/// The longest name and the longest comment of a shift, in bytes.
const MAX_TEXT: usize = 2048;

/// When somebody acted, by the hybrid clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// Milliseconds since 1970, or later where a later action was known. 0: nobody knows when, and any other is newer.
    pub time_ms: u64,
    /// The agent that was asked: its cluster, and its life.
    pub origin: Arc<str>,
}

/// What an operator or a drill did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// What traffic is moved away from.
    pub target: ShiftTarget,
    /// Who acted.
    pub by: ShiftedBy,
    /// When.
    pub stamp: Stamp,
    /// The shift that was started or renewed, with what remains of it; nothing: whatever was there was ended.
    pub shift: Option<Shift>,
    /// The last `TrafficShift` that a manifest declared for this target, as a number of its content: whoever reads it later has
    /// not been asked anew.
    #[serde(default)]
    pub declared: Option<u64>,
    /// The time of day at which its manifest says that the shift ends, in seconds since 1970. Whoever has a clock reads it by that,
    /// whatever remained of it to the one who told.
    #[serde(default)]
    pub ends_at: Option<u64>,
}

type Key = (ShiftTarget, ShiftedBy);

#[derive(Clone, Debug)]
struct Entry {
    action: Action,
    /// When the shift ends.
    until: Time,
    /// When it is forgotten.
    kept: Time,
}

/// All actions that are known.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    entries: BTreeMap<Key, Entry>,
    clock_ms: u64,
}

impl Action {
    /// The name under which links carry it: one for each target and rank.
    #[must_use]
    pub fn name(&self) -> String {
        let by = match self.by {
            ShiftedBy::Operator => "operator",
            ShiftedBy::Drill => "drill",
        };
        format!("{by} {}", self.target)
    }

    /// How long it matters to others: as long as its shift lasts; an end, as long as any shift may.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.shift.as_ref().map_or(MAX_SHIFT, |shift| shift.remaining)
    }

    /// For a link, which carries what remains beside it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Names and numbers only: nothing that JSON has no words for.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From a link.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8], remaining: Duration) -> Result<Self, String> {
        let mut action: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("a shift cannot be read: {error}"))?;
        if let Some(shift) = &mut action.shift {
            shift.remaining = remaining;
        }
        action.check().map(|()| action)
    }

    fn check(&self) -> Result<(), String> {
        if self.stamp.origin.len() > MAX_TEXT {
            return Err("a shift comes from an agent of a name that is too long".to_owned());
        }
        let Some(shift) = &self.shift else { return Ok(()) };
        if shift.target != self.target || shift.by != self.by {
            return Err(format!("shift {} is not about what its action is about", shift.name));
        }
        if !(1..=100).contains(&shift.percent) {
            return Err(format!("shift {} moves {} %, not 1 to 100", shift.name, shift.percent));
        }
        if shift.name.len() > MAX_TEXT || shift.comment.len() > MAX_TEXT {
            return Err(format!("name and comment of a shift have at most {MAX_TEXT} bytes"));
        }
        Ok(())
    }
}

impl Actions {
    /// The next stamp of the agent `origin`, whose wall clock says `unix_ms`.
    pub(crate) fn stamp(&mut self, unix_ms: u64, origin: &Arc<str>) -> Stamp {
        self.clock_ms = unix_ms.max(self.clock_ms + 1);
        Stamp { time_ms: self.clock_ms, origin: Arc::clone(origin) }
    }

    /// Takes in an action; whether it is newer than what is known of its target.
    ///
    /// # Errors
    /// If it is from a clock that is far ahead, or there are too many.
    pub(crate) fn take(
        &mut self,
        mut action: Action,
        unix_ms: Option<u64>,
        now: Time,
    ) -> Result<bool, String> {
        self.entries.retain(|_, entry| now < entry.kept);
        let ahead = u64::try_from(MAX_AHEAD.as_millis()).unwrap_or(u64::MAX);
        if unix_ms.is_some_and(|unix_ms| action.stamp.time_ms > unix_ms.saturating_add(ahead)) {
            let origin = &action.stamp.origin;
            return Err(format!(
                "a shift of {origin} is refused: its clock is more than a day ahead of ours"
            ));
        }
        let key = (action.target.clone(), action.by);
        let known = self.entries.get(&key);
        if known.is_some_and(|known| known.action.stamp >= action.stamp) {
            return Ok(false);
        }
        if known.is_none() && self.entries.len() >= MAX_ACTIONS && !self.make_room(now) {
            return Err(format!("a shift of {} is refused: too many are in force", action.stamp.origin));
        }
        self.clock_ms = self.clock_ms.max(action.stamp.time_ms);
        let declared = self.entries.get(&key).and_then(|known| known.action.declared);
        action.declared = action.declared.or(declared);
        let remaining = action.remaining().min(MAX_SHIFT);
        if let Some(shift) = &mut action.shift {
            shift.remaining = remaining;
        }
        self.entries.insert(key, Entry { action, until: now + remaining, kept: now + MAX_SHIFT });
        Ok(true)
    }

    fn make_room(&mut self, now: Time) -> bool {
        let over = self.entries.iter().filter(|(_, entry)| !entry.runs(now));
        let oldest = over.min_by_key(|(_, entry)| entry.action.stamp.clone()).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.entries.remove(&key).is_some())
    }

    /// The shifts that ought to be in force, with what remains of each.
    pub(crate) fn in_force(&self, now: Time) -> BTreeMap<ShiftTarget, Shift> {
        let counts = |(target, by): &Key, entry: &Entry| {
            let operator = (target.clone(), ShiftedBy::Operator);
            let above = self.entries.get(&operator).filter(|_| *by == ShiftedBy::Drill);
            above.is_none_or(|above| !above.runs(now) && above.action.stamp < entry.action.stamp)
        };
        let running = self.entries.iter().filter(|(key, entry)| entry.runs(now) && counts(key, entry));
        running.filter_map(|((target, _), entry)| Some((target.clone(), entry.shift(now)?))).collect()
    }

    /// What is known about a target by somebody of this rank.
    pub(crate) fn get(&self, target: &ShiftTarget, by: ShiftedBy) -> Option<&Action> {
        self.entries.get(&(target.clone(), by)).map(|entry| &entry.action)
    }

    /// The clock was told: what ends at a time of day ends by it. Gives what that moved; it is no action.
    pub(crate) fn read_clock(&mut self, clock: Duration, now: Time) -> BTreeSet<ShiftTarget> {
        let mut moved = BTreeSet::new();
        for ((target, _), entry) in &mut self.entries {
            let Some(ends_at) = entry.action.ends_at.filter(|_| entry.action.shift.is_some()) else {
                continue;
            };
            let until = (now + remaining(ends_at, clock)).min(entry.kept);
            let (nearer, further) = (entry.until.since(until), until.since(entry.until));
            if entry.until.max(until) > now && nearer.max(further) >= READ_ANEW {
                entry.until = until;
                moved.insert(target.clone());
            }
        }
        moved
    }

    /// All of them as they stand now: for the disk, and for links.
    pub(crate) fn all(&self, now: Time) -> impl Iterator<Item = Action> {
        self.entries.values().map(move |entry| Action { shift: entry.shift(now), ..entry.action.clone() })
    }
}

/// What remains until a time of day, in seconds since 1970, when the clock says `clock`.
pub(crate) fn remaining(ends_at: u64, clock: Duration) -> Duration {
    Duration::from_secs(ends_at).saturating_sub(clock).min(MAX_SHIFT)
}

impl Entry {
    fn runs(&self, now: Time) -> bool {
        self.action.shift.is_some() && now < self.until
    }

    /// One whose time is over stays as one that was ended; but a time of day may be read anew, by another clock.
    fn shift(&self, now: Time) -> Option<Shift> {
        let stays = now < self.until || self.action.ends_at.is_some();
        let shift = self.action.shift.as_ref().filter(|_| stays)?;
        Some(Shift { remaining: self.until.since(now), ..shift.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tidegate_engine::Location;

    fn target(zone: &str) -> ShiftTarget {
        let locality =
            tidegate_model::Locality { region: "east".parse().unwrap(), zone: zone.parse().unwrap() };
        ShiftTarget { location: Location::Zone(locality), service: None }
    }

    fn action(by: ShiftedBy, time_ms: u64, origin: &str, lasts: Option<u64>) -> Action {
        let target = target("a");
        let shift = lasts.map(|seconds| Shift {
            name: format!("zone-a-{time_ms}"),
            target: target.clone(),
            percent: 100,
            remaining: Duration::from_secs(seconds),
            by,
            comment: "x".to_owned(),
            force: false,
        });
        Action {
            target,
            by,
            stamp: Stamp { time_ms, origin: origin.into() },
            shift,
            declared: None,
            ends_at: None,
        }
    }

    const OPERATOR: ShiftedBy = ShiftedBy::Operator;
    const DRILL: ShiftedBy = ShiftedBy::Drill;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn names(actions: &Actions, now: Time) -> Vec<String> {
        actions.in_force(now).into_values().map(|shift| shift.name).collect()
    }

    #[test]
    fn who_acts_on_what_he_sees_wins_although_his_clock_is_behind() {
        let (mut east, mut west) = (Actions::default(), Actions::default());
        let first =
            Action { stamp: east.stamp(600_000, &"east".into()), ..action(OPERATOR, 0, "", Some(60)) };
        assert!(east.take(first.clone(), Some(600_000), at(0)).unwrap());
        assert!(west.take(first, Some(1000), at(0)).unwrap());
        // West's clock is ten minutes behind.
        let end = Action { stamp: west.stamp(2000, &"west".into()), ..action(OPERATOR, 0, "", None) };
        assert!(west.take(end.clone(), Some(2000), at(1)).unwrap());
        assert!(east.take(end.clone(), Some(601_000), at(1)).unwrap() && names(&east, at(1)).is_empty());
        assert!(!east.take(end, Some(601_000), at(2)).unwrap(), "it is news once");
    }

    #[test]
    fn time_is_counted_from_what_remained_when_it_was_heard() {
        let mut actions = Actions::default();
        let bytes = action(OPERATOR, 5, "east", Some(3600)).to_bytes();
        let heard = Action::from_bytes(&bytes, Duration::from_secs(10)).unwrap();
        actions.take(heard, None, at(100)).unwrap();
        assert_eq!(actions.in_force(at(104)).values().next().unwrap().remaining, Duration::from_secs(6));
        assert!(names(&actions, at(110)).is_empty());
        assert!(!actions.take(action(OPERATOR, 5, "east", Some(60)), None, at(111)).unwrap());
        let late = Duration::from_secs(999 * 3600);
        let long = Action::from_bytes(&action(OPERATOR, 6, "e", Some(1)).to_bytes(), late).unwrap();
        actions.take(long, None, at(111)).unwrap();
        assert_eq!(actions.in_force(at(111)).values().next().unwrap().remaining, MAX_SHIFT);
    }

    #[test]
    fn a_drill_never_stands_above_an_operator_and_does_not_come_back_after_one() {
        let mut actions = Actions::default();
        let mut take = |action: Action| assert!(actions.take(action, None, at(0)).unwrap());
        take(action(DRILL, 1, "e", Some(60)));
        take(action(OPERATOR, 2, "e", Some(30)));
        take(action(DRILL, 3, "e", Some(90)));
        assert_eq!(names(&actions, at(0)), ["zone-a-2"]);
        assert_eq!(names(&actions, at(31)), ["zone-a-3"], "one that was begun later stays");
        actions.take(action(OPERATOR, 4, "e", None), None, at(32)).unwrap();
        assert!(names(&actions, at(32)).is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let spoil = |change: fn(&mut Shift)| {
            let mut spoilt = action(OPERATOR, 1, "e", Some(1));
            change(spoilt.shift.as_mut().unwrap());
            Action::from_bytes(&spoilt.to_bytes(), Duration::ZERO).unwrap_err()
        };
        for (what, error) in [
            ("1 to 100", spoil(|shift| shift.percent = 0)),
            ("1 to 100", spoil(|shift| shift.percent = 101)),
            ("at most", spoil(|shift| shift.comment = "x".repeat(MAX_TEXT + 1))),
            ("not about", spoil(|shift| shift.by = DRILL)),
            ("cannot be read", Action::from_bytes(b"{}", Duration::ZERO).unwrap_err()),
        ] {
            assert!(error.contains(what), "{error}");
        }
        let mut actions = Actions::default();
        let ahead = action(OPERATOR, 48 * 3600 * 1000, "e", Some(1));
        assert!(actions.take(ahead.clone(), Some(1000), at(0)).unwrap_err().contains("ahead"));
        assert!(actions.take(ahead, None, at(0)).unwrap(), "who has no clock cannot say");
    }

    #[test]
    fn there_is_a_limit_and_what_is_over_makes_room() {
        let mut actions = Actions::default();
        let of = |n: usize, lasts| {
            let mut action = action(OPERATOR, 1 + n as u64, "e", lasts);
            action.target = target(&format!("z{n}"));
            if let Some(shift) = &mut action.shift {
                shift.target = action.target.clone();
            }
            action
        };
        for n in 0..MAX_ACTIONS {
            assert!(actions.take(of(n, (n > 0).then_some(60)), None, at(0)).unwrap());
        }
        assert!(actions.take(of(9999, Some(60)), None, at(0)).unwrap());
        assert!(actions.take(of(9998, Some(60)), None, at(0)).unwrap_err().contains("too many"));
        assert_eq!(actions.entries.len(), MAX_ACTIONS);
        let end = Action { stamp: Stamp { time_ms: 99_999, origin: "e".into() }, ..of(1, None) };
        assert!(actions.take(end, None, at(0)).unwrap(), "one that is there can be ended");
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_comes_to_the_same(
            drawn in prop::collection::vec((any::<bool>(), 0..6_u64, 0..3_u8, prop::option::of(1..100_u64)), 1..12),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            // No two actions have one stamp.
            let drawn: BTreeMap<(u64, u8), _> =
                drawn.into_iter().map(|(by, time, origin, lasts)| ((time, origin), (by, lasts))).collect();
            let all: Vec<Action> = drawn.into_iter().map(|((time, origin), (operator, lasts))| {
                action(if operator { OPERATOR } else { DRILL }, time, &origin.to_string(), lasts)
            }).collect();
            let (mut one, mut other) = (Actions::default(), Actions::default());
            for action in &all {
                one.take(action.clone(), None, at(0)).unwrap();
            }
            for index in order {
                other.take(index.get(&all).clone(), None, at(0)).unwrap();
            }
            for action in all.iter().rev() {
                other.take(action.clone(), None, at(0)).unwrap();
            }
            prop_assert_eq!(one.in_force(at(0)), other.in_force(at(0)));
        }
    }
}
