//! The targets, and when each is due. No clock and no I/O: time and randomness are arguments.
//!
//! A target is in exactly one place: in the queue, waiting for its time, or being checked. A
//! target that is given anew with another address or configuration gets another ticket, so that
//! the result of a check that was under way for the old one finds nobody and is dropped.
//!
//! Verdicts wait here until the receiver takes them. At most the newest one of each target waits,
//! so a slow receiver delays verdicts but makes nothing grow.

use crate::{
    Failure, NextCheck, Target, Tracker, Verdict,
    pacing::{first_delay, next_delay, second_delay},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Instant,
};
use tidegate_model::ProbeVerdict;

/// One life of a target in the schedule.
pub(crate) type Ticket = u64;

/// All targets, the queue of their next checks, and the verdicts that nobody took yet.
pub(crate) struct Schedule<K> {
    tickets: BTreeMap<K, Ticket>,
    entries: BTreeMap<Ticket, Entry<K>>,
    queue: BTreeSet<(Instant, Ticket)>,
    /// Tickets with an untold verdict, the oldest first; each at most once.
    untold: VecDeque<Ticket>,
    last_ticket: Ticket,
}

struct Entry<K> {
    key: K,
    target: Arc<Target>,
    tracker: Tracker,
    /// When it is due; `None` while it is being checked.
    due: Option<Instant>,
    /// When its last check started.
    started: Instant,
    /// Whether its checks were spread over the interval already.
    spread: bool,
    untold: Option<(ProbeVerdict, bool)>,
}

impl<K: Ord + Clone> Schedule<K> {
    pub(crate) const fn new() -> Self {
        Self {
            tickets: BTreeMap::new(),
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            untold: VecDeque::new(),
            last_ticket: 0,
        }
    }

    /// Makes `targets` the whole set. What is unchanged keeps its state and its place in the queue.
    pub(crate) fn reconcile(&mut self, targets: BTreeMap<K, Target>, now: Instant) {
        let gone: Vec<Ticket> =
            self.tickets.iter().filter(|(key, _)| !targets.contains_key(key)).map(|(_, t)| *t).collect();
        for ticket in gone {
            if let Some(entry) = self.remove(ticket) {
                self.tickets.remove(&entry.key);
            }
        }
        let mut fresh = Vec::new();
        for (key, target) in targets {
            let old = self.tickets.get(&key).copied();
            match old.and_then(|ticket| self.entries.get(&ticket)) {
                Some(entry) if entry.target.address == target.address => {
                    if entry.target.config != target.config {
                        let tracker = entry.tracker.reconfigured(&target.config);
                        fresh.push((key, target, tracker));
                    }
                }
                _ => {
                    let tracker = Tracker::new(&target.config, target.known);
                    fresh.push((key, target, tracker));
                }
            }
        }
        let added = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for (index, (key, target, tracker)) in (0..added).zip(fresh) {
            let due = now + first_delay(index, added, target.config.interval);
            self.insert(key, target, tracker, due, now);
        }
        let entries = &self.entries;
        self.untold.retain(|ticket| entries.contains_key(ticket));
    }

    fn insert(&mut self, key: K, target: Target, tracker: Tracker, due: Instant, now: Instant) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let old = self.tickets.insert(key.clone(), ticket).and_then(|old| self.remove(old));
        // A verdict about the same address is worth telling still.
        let untold = old.filter(|old| old.target.address == target.address).and_then(|old| old.untold);
        if untold.is_some() {
            self.untold.push_back(ticket);
        }
        self.queue.insert((due, ticket));
        let target = Arc::new(target);
        let entry = Entry { key, target, tracker, due: Some(due), started: now, spread: false, untold };
        self.entries.insert(ticket, entry);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Entry<K>> {
        let entry = self.entries.remove(&ticket)?;
        if let Some(due) = entry.due {
            self.queue.remove(&(due, ticket));
        }
        Some(entry)
    }

    /// When the next target is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Takes a target that is due: the caller checks it and says what it found with [`Self::finish`].
    pub(crate) fn start_due(&mut self, now: Instant) -> Option<(Ticket, Arc<Target>)> {
        let &(due, ticket) = self.queue.first().filter(|(due, _)| *due <= now)?;
        self.queue.remove(&(due, ticket));
        let entry = self.entries.get_mut(&ticket)?;
        entry.due = None;
        entry.started = now;
        Some((ticket, Arc::clone(&entry.target)))
    }

    /// Takes the result of a check, unless its target is gone, and puts the target back into the queue.
    pub(crate) fn finish(&mut self, ticket: Ticket, result: Result<(), Failure>, now: Instant, random: u32) {
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let step = entry.tracker.on_result(result);
        let due = match step.next {
            NextCheck::Now => now,
            NextCheck::After(interval) => {
                let spread = std::mem::replace(&mut entry.spread, true);
                let delay =
                    if spread { next_delay(interval, random) } else { second_delay(interval, random) };
                now.max(entry.started + delay)
            }
        };
        entry.due = Some(due);
        self.queue.insert((due, ticket));
        if let Some(verdict) = step.verdict_changed {
            match &mut entry.untold {
                Some((untold, _)) => *untold = verdict,
                none => {
                    *none = Some((verdict, step.first));
                    self.untold.push_back(ticket);
                }
            }
        }
    }

    /// Whether a verdict waits to be told.
    pub(crate) fn has_verdict(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Takes the verdict that has waited longest.
    pub(crate) fn next_verdict(&mut self) -> Option<Verdict<K>> {
        let ticket = self.untold.pop_front()?;
        let entry = self.entries.get_mut(&ticket)?;
        let (verdict, first) = entry.untold.take()?;
        Some(Verdict { key: entry.key.clone(), verdict, first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckConfig, CheckKind};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    /// A random number that makes every jitter its middle: half an interval, then whole ones.
    const MIDDLE: u32 = u32::MAX / 2;

    fn target(port: u16) -> Target {
        Target {
            address: ([127, 0, 0, 1], port).into(),
            config: CheckConfig::new(CheckKind::Tcp),
            known: None,
        }
    }

    fn set<const N: usize>(targets: [(&'static str, Target); N]) -> BTreeMap<&'static str, Target> {
        targets.into_iter().collect()
    }

    /// Checks everything that is due at `now` with one result, and gives the ports.
    fn check_due(
        schedule: &mut Schedule<&'static str>,
        now: Instant,
        result: &Result<(), Failure>,
    ) -> Vec<u16> {
        let mut ports = Vec::new();
        while let Some((ticket, target)) = schedule.start_due(now) {
            ports.push(target.address.port());
            schedule.finish(ticket, result.clone(), now, MIDDLE);
        }
        ports
    }

    fn verdicts(schedule: &mut Schedule<&'static str>) -> Vec<(&'static str, bool, bool)> {
        std::iter::from_fn(|| schedule.next_verdict()).map(|v| (v.key, v.verdict.is_up(), v.first)).collect()
    }

    fn at(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_target_is_checked_at_once_then_within_the_interval_then_every_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1))]), start);
        assert_eq!(check_due(&mut schedule, start, &Ok(())), [1]);
        let second = schedule.next_due().unwrap();
        assert!(second > at(start, 0.499) && second < at(start, 0.501), "{:?}", second - start);
        assert_eq!(check_due(&mut schedule, second, &Ok(())), [1]);
        let third = schedule.next_due().unwrap() - second;
        assert!(third > SECOND.mul_f64(0.999) && third < SECOND.mul_f64(1.001), "{third:?}");
        assert_eq!(verdicts(&mut schedule), [("a", true, true)]);
    }

    #[test]
    fn the_recheck_after_a_failure_comes_at_once() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1))]), start);
        assert_eq!(check_due(&mut schedule, start, &Err(Failure::Refused)), [1, 1]);
        assert_eq!(verdicts(&mut schedule), [("a", false, true)]);
    }

    #[test]
    fn an_unchanged_target_keeps_its_state_and_its_place() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1))]), start);
        check_due(&mut schedule, start, &Ok(()));
        verdicts(&mut schedule);
        let due = schedule.next_due();
        let known_now = Target { known: Some(true), ..target(1) };
        schedule.reconcile(set([("a", known_now)]), at(start, 0.1));
        assert_eq!(schedule.next_due(), due);
        check_due(&mut schedule, at(start, 2.0), &Ok(()));
        assert_eq!(verdicts(&mut schedule), []);
    }

    #[test]
    fn a_new_configuration_starts_at_once_from_the_last_verdict() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1))]), start);
        let (old, _) = schedule.start_due(start).unwrap();
        schedule.finish(old, Ok(()), start, MIDDLE);
        let mut changed = target(1);
        changed.config.healthy_threshold = 5;
        schedule.reconcile(set([("a", changed)]), at(start, 0.1));
        assert_eq!(verdicts(&mut schedule), [("a", true, true)], "told though the ticket changed");
        assert_eq!(schedule.next_due(), Some(at(start, 0.1)));
        check_due(&mut schedule, at(start, 0.1), &Err(Failure::Refused));
        assert_eq!(verdicts(&mut schedule), [("a", false, false)]);
    }

    #[test]
    fn another_address_is_another_target() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1))]), start);
        check_due(&mut schedule, start, &Ok(()));
        schedule.reconcile(set([("a", target(2))]), start);
        assert_eq!(verdicts(&mut schedule), [], "what was found at the old address is not told");
        assert_eq!(check_due(&mut schedule, start, &Ok(())), [2]);
        assert_eq!(verdicts(&mut schedule), [("a", true, true)]);
    }

    #[test]
    fn a_result_for_a_target_that_is_gone_is_dropped() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1)), ("b", target(2))]), start);
        let (ticket, _) = schedule.start_due(start).unwrap();
        schedule.reconcile(set([]), start);
        schedule.finish(ticket, Ok(()), start, MIDDLE);
        assert_eq!(schedule.next_due(), None);
        assert!(!schedule.has_verdict());
    }

    #[test]
    fn a_slow_receiver_gets_the_newest_verdict_of_each_target() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1)), ("b", target(2))]), start);
        check_due(&mut schedule, at(start, 1.0), &Ok(()));
        check_due(&mut schedule, at(start, 3.0), &Err(Failure::Refused));
        assert_eq!(verdicts(&mut schedule), [("a", false, true), ("b", false, true)]);
    }

    #[test]
    fn a_late_check_is_not_caught_up_with() {
        let start = Instant::now();
        let mut schedule = Schedule::new();
        schedule.reconcile(set([("a", target(1))]), start);
        check_due(&mut schedule, start, &Ok(()));
        assert_eq!(check_due(&mut schedule, at(start, 60.0), &Ok(())), [1]);
    }
}
