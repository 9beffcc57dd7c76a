//! Which object is written next, without I/O: each once per change, none too often, and what fails waits longer each time. A server
//! that is too busy is left alone by all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_model::Time;

/// How often one object is written at most: a status that changes faster is told as it is then.
pub const BETWEEN: Duration = Duration::from_secs(1);

/// The first wait after a failure; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// The longest that nothing is written because the server is too busy, and the longest that it may ask for.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The most objects that are kept track of; what comes beyond is counted and left out.
pub const MAX_OBJECTS: usize = 50_000;

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, or was already.
    Done,
    /// Somebody else changed the object meanwhile: look at it again.
    Conflict,
    /// It could not be written.
    Failed,
    /// The server is too busy for this and for any other; how long it asks to be left alone.
    Busy(Option<Duration>),
    /// There is no such object.
    Gone,
}

#[derive(Debug)]
struct Entry<V> {
    wanted: V,
    /// Counts what was asked for, so that a change during a write is not lost.
    number: u64,
    written: Option<u64>,
    next: Time,
    failures: u32,
}

/// Objects by key, and what each is to be told.
#[derive(Debug)]
pub struct Queue<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    due: BTreeSet<(Time, K)>,
    left_out: u64,
    /// Counts what was asked for, of all: an object that was forgotten and comes back is not taken for what it was.
    numbers: u64,
    /// Nothing is due before.
    rests_until: Time,
    /// How often in a row the server was too busy.
    busy: u32,
}

impl<K: Ord + Clone, V: Clone + PartialEq> Default for Queue<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            left_out: 0,
            numbers: 0,
            rests_until: Time::ZERO,
            busy: 0,
        }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Queue<K, V> {
    /// Asks for an object to be told `wanted`. What is asked for already is not asked for twice.
    pub fn want(&mut self, now: Time, key: K, wanted: V) {
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.wanted == wanted {
                return;
            }
            self.numbers += 1;
            (entry.wanted, entry.number) = (wanted, self.numbers);
            self.due.remove(&(entry.next, key.clone()));
            // What was refused may be accepted as it is now.
            let earliest = if entry.failures > 0 { now + BETWEEN } else { entry.next };
            (entry.next, entry.failures) = (earliest.max(now), 0);
            self.due.insert((entry.next, key));
            return;
        }
        if self.entries.len() >= MAX_OBJECTS {
            self.left_out += 1;
            return;
        }
        self.numbers += 1;
        self.due.insert((now, key.clone()));
        let number = self.numbers;
        self.entries.insert(key, Entry { wanted, number, written: None, next: now, failures: 0 });
    }

    /// Forgets an object.
    pub fn forget(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.due.remove(&(entry.next, key.clone()));
        }
    }

    /// Asks for everything again: another one may have written meanwhile.
    pub fn again(&mut self, now: Time) {
        self.due.clear();
        for (key, entry) in &mut self.entries {
            (entry.written, entry.next, entry.failures) = (None, now, 0);
            self.due.insert((now, key.clone()));
        }
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.due.first().map(|(time, _)| (*time).max(self.rests_until))
    }

    /// The next one that is due, with what it is to be told, and the number to hand to [`Self::came`].
    pub fn take(&mut self, now: Time) -> Option<(K, V, u64)> {
        let (time, key) = self.due.first()?.clone();
        if time.max(self.rests_until) > now {
            return None;
        }
        self.due.pop_first();
        let entry = self.entries.get(&key)?;
        Some((key, entry.wanted.clone(), entry.number))
    }

    /// What came of what was taken.
    pub fn came(&mut self, now: Time, key: &K, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Busy(asked) => self.rest(now, asked),
            // It was not answered, or refused in another way: that says nothing of how busy it is.
            Outcome::Failed => {}
            Outcome::Done | Outcome::Conflict | Outcome::Gone => self.busy = 0,
        }
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.due.remove(&(entry.next, key.clone()));
        let wait = match outcome {
            // It is no fault of the object: it is due again when anything is.
            Outcome::Busy(_) => Duration::ZERO,
            Outcome::Gone if entry.number == number => {
                self.entries.remove(key);
                return;
            }
            // Something else was asked for meanwhile.
            Outcome::Gone | Outcome::Done => {
                (entry.written, entry.failures) = (Some(number), 0);
                BETWEEN
            }
            Outcome::Conflict | Outcome::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                FIRST_RETRY.saturating_mul(1 << (entry.failures - 1).min(16)).min(LAST_RETRY)
            }
        };
        entry.next = now + wait;
        if entry.written != Some(entry.number) {
            self.due.insert((entry.next, key.clone()));
        }
    }

    /// Leaves the server alone, the longer the more often it was too busy, and as long as it asks for.
    fn rest(&mut self, now: Time, asked: Option<Duration>) {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.busy.min(16));
        self.busy = self.busy.saturating_add(1);
        self.rests_until = now + doubled.max(asked.unwrap_or_default()).min(LONGEST_REST);
    }

    /// How many are waiting to be told.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// How many were left out because there are too many.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn an_object_is_written_once_for_each_change_and_not_more_often_than_each_second() {
        let mut queue = Queue::default();
        queue.want(at(0), "a", 1);
        queue.want(at(0), "a", 1);
        let (key, value, number) = queue.take(at(0)).expect("is due");
        assert_eq!((key, value), ("a", 1));
        queue.want(at(10), "a", 2);
        queue.want(at(20), "a", 3);
        queue.came(at(30), &"a", number, Outcome::Done);
        assert_eq!(queue.take(at(40)), None);
        assert_eq!(queue.next_at(), Some(at(1030)));
        let (_, value, number) = queue.take(at(1030)).expect("is due");
        assert_eq!(value, 3);
        queue.came(at(1040), &"a", number, Outcome::Done);
        assert_eq!(queue.next_at(), None);
    }

    #[test]
    fn a_status_that_goes_and_comes_back_within_a_second_is_written_once_at_most() {
        let mut queue = Queue::default();
        queue.want(at(0), "a", 1);
        let (_, _, number) = queue.take(at(0)).expect("is due");
        queue.came(at(1), &"a", number, Outcome::Done);
        for ms in 2..900 {
            queue.want(at(ms), "a", 1 + ms % 2);
        }
        assert_eq!(queue.take(at(900)), None);
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn what_fails_waits_longer_each_time_and_a_new_status_is_tried_after_a_second() {
        let mut queue = Queue::default();
        queue.want(at(0), "a", 1);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let (_, _, number) = queue.take(now).expect("is due");
            queue.came(now, &"a", number, Outcome::Failed);
            let next = queue.next_at().expect("is tried again");
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        let (_, _, number) = queue.take(now).expect("is due");
        queue.came(now, &"a", number, Outcome::Failed);
        queue.want(now, "a", 2);
        assert_eq!(queue.next_at(), Some(now + BETWEEN));
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_a_new_leader_looks_at_everything_again() {
        let mut queue = Queue::default();
        for key in ["a", "b"] {
            queue.want(at(0), key, 1);
            let (key, _, number) = queue.take(at(0)).expect("is due");
            queue.came(at(0), &key, number, if key == "a" { Outcome::Gone } else { Outcome::Done });
        }
        queue.again(at(5));
        assert_eq!(queue.take(at(5)).map(|(key, ..)| key), Some("b"));
        assert_eq!(queue.take(at(5)), None);
        queue.forget(&"b");
        assert_eq!((queue.next_at(), queue.waiting()), (None, 0));
        // Asked for again while it was written that it goes: that is not lost.
        queue.want(at(10), "c", 1);
        let (_, _, number) = queue.take(at(10)).expect("is due");
        queue.want(at(11), "c", 2);
        queue.came(at(12), &"c", number, Outcome::Gone);
        assert_eq!(queue.take(at(1012)).map(|(_, wanted, _)| wanted), Some(2));
    }

    #[test]
    fn a_server_that_is_too_busy_is_left_alone_by_all_and_as_long_as_it_asks() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|key| queue.want(at(0), key, 1));
        let mut now = at(0);
        let mut waits = Vec::new();
        for asked in [None, None, None, Some(20), Some(3_600), None, None] {
            let (key, _, number) = queue.take(now).expect("is due");
            queue.came(now, &key, number, Outcome::Busy(asked.map(Duration::from_secs)));
            assert_eq!(queue.take(now), None, "one is enough to know");
            // What is asked for meanwhile waits, too.
            queue.want(now, 0, 2);
            let next = queue.next_at().expect("is tried again");
            waits.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(waits, [1, 2, 4, 20, 60, 32, 60]);
        // It answers: all that wait are told, and the next time begins anew.
        for _ in 0..1_000 {
            let (key, _, number) = queue.take(now).expect("is due");
            queue.came(now, &key, number, Outcome::Done);
        }
        assert_eq!((queue.waiting(), queue.take(now)), (0, None));
        queue.want(now, 0, 3);
        now = queue.next_at().expect("is due");
        let (key, _, number) = queue.take(now).expect("is due");
        queue.came(now, &key, number, Outcome::Busy(None));
        assert_eq!(queue.next_at(), Some(now + FIRST_RETRY));
    }

    #[test]
    fn what_is_forgotten_and_asked_for_again_while_it_is_written_is_not_taken_for_written() {
        let mut queue = Queue::default();
        queue.want(at(0), "a", 1);
        let (key, _, number) = queue.take(at(0)).expect("is due");
        queue.forget(&key);
        queue.want(at(1), key, 2);
        queue.came(at(2), &key, number, Outcome::Done);
        assert_eq!(queue.take(at(1_002)).map(|(_, wanted, _)| wanted), Some(2));
    }

    #[test]
    fn there_is_a_limit_to_how_many_are_kept() {
        let mut queue = Queue::default();
        for key in 0..MAX_OBJECTS + 3 {
            queue.want(at(0), key, 1);
        }
        assert_eq!((queue.waiting(), queue.left_out()), (MAX_OBJECTS, 3));
    }
}
