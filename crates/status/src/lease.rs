//! Who writes: the election over a `Lease`, without I/O.
//!
//! A lease is held for [`Pace::duration`] after it was last *seen to change*, by each one's own monotonic clock: the times that
//! stand in it are never compared with a clock, so clocks that are wrong change nothing. Its holder counts from when it *asked* for
//! its last renewal, and takes itself for the leader for [`Pace::renew_within`] only. What it asked for is written after it asked, and
//! seen after it was written; therefore with D the duration, R the renewal's deadline and W the longest that a write may take
//! ([`Pace::write_within`]), the last write of a leader ends before `asked + R + W < asked + D`, and nobody takes the lease before
//! `asked + D`. A leader that was paused in between two of its own steps looks at the clock before each write; what it had
//! already sent is fenced by the `resourceVersion` that goes with it (see [`crate::writer`]).
//!
//! The defaults are those of Kubernetes' own controllers (client-go's leader election: 15 s, 10 s, 2 s).

use std::time::Duration;
use tidegate_model::Time;

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// D: others take a lease that did not change for so long.
    pub duration: Duration,
    /// R: who could not renew it for so long leads no more.
    pub renew_within: Duration,
    /// How often the lease is looked at, and renewed.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Pace {
    /// W: the longest that anything which only the leader may write may take. One tenth of the duration is left over for clocks
    /// that do not run at the same speed.
    #[must_use]
    pub fn write_within(&self) -> Duration {
        self.duration.saturating_sub(self.renew_within).saturating_sub(self.duration / 10)
    }
}

/// A lease, as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// How long others have to see it unchanged, as its holder wrote it.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Its `resourceVersion`: another one means that it was renewed or changed hands.
    pub version: String,
}

/// What to do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: create it.
    Create,
    /// Write our name into it, with this many transitions, on condition that it has not changed.
    Take(i32),
    /// Renew it, on condition that it has not changed.
    Renew(i32),
    /// Somebody else holds it.
    Leave,
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    pace: Pace,
    /// The lease, and when it was first seen as it is.
    seen: Option<(Record, Time)>,
    until: Option<Time>,
}

impl Election {
    /// A candidate. `identity` must belong to this process alone, and not to one that ran before it.
    #[must_use]
    pub const fn new(identity: String, pace: Pace) -> Self {
        Self { identity, pace, seen: None, until: None }
    }

    /// Who stands for election.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What to do, now that the server has this.
    pub fn look(&mut self, now: Time, record: Option<Record>) -> Step {
        let Some(record) = record else {
            self.seen = None;
            return Step::Create;
        };
        let since = match &self.seen {
            Some((before, since)) if *before == record => *since,
            _ => now,
        };
        let (ours, free) = (record.holder == self.identity, record.holder.is_empty());
        let lapsed = now.since(since) >= record.duration.max(self.pace.duration);
        let transitions = record.transitions;
        if !ours {
            // Whatever we believed: somebody else is in it.
            self.until = None;
        }
        self.seen = Some((record, since));
        match (ours, free || lapsed) {
            (true, _) => Step::Renew(transitions),
            (false, true) => Step::Take(transitions.saturating_add(1)),
            (false, false) => Step::Leave,
        }
    }

    /// The server took what was asked for at `asked`, and has this now.
    pub fn written(&mut self, asked: Time, now: Time, record: Record) {
        self.until = (record.holder == self.identity).then(|| asked + self.pace.renew_within);
        self.seen = Some((record, now));
    }

    /// Until when this one leads, if it does.
    #[must_use]
    pub fn leads_until(&self, now: Time) -> Option<Time> {
        self.until.filter(|until| now < *until)
    }

    /// Leads no more, by its own wish.
    pub fn resign(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: u32, transitions: i32) -> Record {
        let duration = Pace::default().duration;
        Record { holder: holder.into(), duration, transitions, version: version.to_string() }
    }

    fn candidate(name: &str) -> Election {
        Election::new(name.into(), Pace::default())
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_lease_that_nobody_has_is_created_and_one_given_back_is_taken() {
        let mut one = candidate("one");
        assert_eq!(one.look(at(0), None), Step::Create);
        one.written(at(0), at(1), record("one", 1, 0));
        assert_eq!(one.leads_until(at(1)), Some(at(10)));
        let mut two = candidate("two");
        assert_eq!(two.look(at(1), Some(record("one", 1, 0))), Step::Leave);
        assert_eq!(two.look(at(2), Some(record("", 2, 0))), Step::Take(1));
    }

    #[test]
    fn a_lease_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let mut two = candidate("two");
        assert_eq!(two.look(at(100), Some(record("one", 1, 3))), Step::Leave);
        assert_eq!(two.look(at(114), Some(record("one", 1, 3))), Step::Leave);
        assert_eq!(two.look(at(114), Some(record("one", 2, 3))), Step::Leave);
        assert_eq!(two.look(at(128), Some(record("one", 2, 3))), Step::Leave);
        assert_eq!(two.look(at(129), Some(record("one", 2, 3))), Step::Take(4));
    }

    #[test]
    fn a_longer_duration_that_the_holder_wrote_is_waited_for() {
        let mut two = candidate("two");
        let long = Record { duration: Duration::from_secs(60), ..record("one", 1, 0) };
        assert_eq!(two.look(at(0), Some(long.clone())), Step::Leave);
        assert_eq!(two.look(at(59), Some(long.clone())), Step::Leave);
        assert_eq!(two.look(at(60), Some(long)), Step::Take(1));
    }

    #[test]
    fn who_cannot_renew_stops_leading_before_anybody_else_may_begin() {
        let mut one = candidate("one");
        one.written(at(0), at(0), record("one", 1, 0));
        assert_eq!(one.leads_until(at(9)), Some(at(10)));
        assert_eq!(one.leads_until(at(10)), None);
        let pace = Pace::default();
        assert!(pace.renew_within + pace.write_within() < pace.duration);
    }

    #[test]
    fn one_that_finds_another_in_the_lease_leads_no_more_at_once() {
        let mut one = candidate("one");
        one.written(at(0), at(0), record("one", 1, 0));
        assert_eq!(one.look(at(2), Some(record("two", 2, 1))), Step::Leave);
        assert_eq!(one.leads_until(at(2)), None);
    }

    #[test]
    fn the_time_of_a_renewal_counts_from_when_it_was_asked_for() {
        let mut one = candidate("one");
        one.look(at(0), None);
        one.written(at(0), at(9), record("one", 1, 0));
        assert_eq!(one.leads_until(at(9)), Some(at(10)));
        assert_eq!(one.look(at(9), Some(record("one", 1, 0))), Step::Renew(0));
    }
}
