//! The targets, and when each is due. No clock and no I/O: time and randomness are arguments.
//!
//! A target is in exactly one place: in the queue, waiting for its time; waiting for room at its host; or being checked. A
//! target that is given anew with another address or configuration gets another ticket, so that
//! the result of a check that was under way for the old one finds nobody and is dropped.
//!
//! Verdicts wait here until the receiver takes them. At most the newest one of each target waits,
//! so a slow receiver delays verdicts but makes nothing grow.

use crate::{
    CheckConfig, Failure, NextCheck, Siblings, Target, Tracker, Verdict,
    hosts::Hosts,
    latency::{Latency, Member, Standing, judge},
    pacing::{KNOWN_GAP, START_GAP, first_delay, next_delay, second_delay},
    siblings::Groups,
    slots::Slots,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::Hash,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_model::ProbeVerdict;

/// One life of a target in the schedule.
pub(crate) type Ticket = u64;

/// All targets, the queue of their next checks, and the verdicts that nobody took yet.
pub(crate) struct Schedule<K> {
    entries: Slots<K, Entry>,
    queue: BTreeSet<(Instant, Ticket)>,
    hosts: Hosts,
    groups: Groups,
    /// Tickets that waited for room at their host and may try again; each is due.
    ready: VecDeque<Ticket>,
    /// Tickets with an untold verdict, the oldest first; each at most once.
    untold: VecDeque<Ticket>,
    /// How many entries are ejected.
    ejected: usize,
    /// How the target that came last is checked: mostly the next one's checks are the same.
    last_how: Option<Arc<How>>,
}

/// What a check needs to know of a target.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) address: SocketAddr,
    how: Arc<How>,
}

/// How targets are checked and compared, shared by those for which it is the same: there are a hundred thousand targets
/// and a handful of these.
#[derive(Debug, PartialEq)]
struct How {
    config: CheckConfig,
    siblings: Option<Siblings>,
}

impl Checked {
    pub(crate) fn config(&self) -> &CheckConfig {
        &self.how.config
    }
}

struct Entry {
    target: Checked,
    tracker: Tracker,
    /// Only of those that have siblings: nobody else's is asked for.
    latency: Option<Box<Latency>>,
    standing: Standing,
    /// When it is due; `None` while it is being checked.
    due: Option<Instant>,
    /// When its last check started.
    started: Instant,
    /// Whether its checks were spread over the interval already.
    spread: bool,
    /// Boxed: a verdict waits for a moment, and an entry stays.
    untold: Option<Box<(ProbeVerdict, bool)>>,
}

/// A check to be made.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) ticket: Ticket,
    pub(crate) target: Checked,
    /// How long it was due already.
    pub(crate) late: Duration,
}

/// A check that was made.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) ticket: Ticket,
    /// Whom it was made of.
    pub(crate) ip: IpAddr,
    pub(crate) result: Result<(), Failure>,
    /// How long it took, if that says something about the target.
    pub(crate) latency: Option<Duration>,
}

impl<K: Ord + Hash + Clone> Schedule<K> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Slots::default(),
            queue: BTreeSet::new(),
            hosts: Hosts::default(),
            groups: Groups::default(),
            ready: VecDeque::new(),
            untold: VecDeque::new(),
            ejected: 0,
            last_how: None,
        }
    }

    /// How many targets there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Makes `targets` the whole set. What is unchanged keeps its state and its place in the queue.
    pub(crate) fn reconcile(&mut self, targets: BTreeMap<K, Target>, now: Instant) {
        let gone = self.entries.tickets(|key| !targets.contains_key(key));
        let gone: Vec<_> = gone.into_iter().filter_map(|it| self.entries.key(it).cloned()).collect();
        let gone = gone.into_iter().map(|key| (key, None));
        let changed = targets.into_iter().map(|(key, target)| (key, Some(target)));
        self.change(gone.chain(changed), now);
    }

    /// Takes in targets that are new or changed, and keys that are gone. What is unchanged keeps its state and its place in
    /// the queue.
    pub(crate) fn change(&mut self, changed: impl IntoIterator<Item = (K, Option<Target>)>, now: Instant) {
        let mut any_gone = false;
        let mut fresh = Vec::new();
        let mut known = Vec::new();
        for (key, target) in changed {
            let ticket = self.entries.ticket(&key);
            let Some(target) = target else {
                if let Some(ticket) = ticket {
                    self.remove(ticket);
                    any_gone = true;
                }
                continue;
            };
            let old = ticket.and_then(|ticket| Some((ticket, self.entries.get(ticket)?)));
            match old.filter(|(_, old)| old.target.address == target.address) {
                None => {
                    let tracker = Tracker::new(target.known);
                    let group = if target.known.is_some() { &mut known } else { &mut fresh };
                    group.push((key, target, tracker));
                }
                Some((_, old)) if *old.target.config() != target.config => {
                    let tracker = old.tracker.reconfigured();
                    fresh.push((key, target, tracker));
                }
                Some((ticket, old)) if old.target.how.siblings != target.siblings => {
                    self.regroup(ticket, target, now);
                }
                Some(_) => {}
            }
        }
        any_gone |= !fresh.is_empty() || !known.is_empty();
        for (added, gap) in [(fresh, START_GAP), (known, KNOWN_GAP)] {
            let count = u32::try_from(added.len()).unwrap_or(u32::MAX);
            for (index, (key, target, tracker)) in (0..count).zip(added) {
                let due = now + first_delay(index, count, gap, target.config.interval);
                self.insert(key, target, tracker, due, now);
            }
        }
        if any_gone {
            let entries = &self.entries;
            self.untold.retain(|ticket| entries.contains(*ticket));
            self.ready.retain(|ticket| entries.contains(*ticket));
        }
    }

    /// A target as it is kept.
    fn keep(&mut self, target: Target) -> Checked {
        let Target { address, config, known: _, siblings } = target;
        let how = How { config, siblings };
        let same = self.last_how.take().filter(|last| **last == how);
        let how = same.unwrap_or_else(|| Arc::new(how));
        self.last_how = Some(Arc::clone(&how));
        Checked { address, how }
    }

    fn insert(&mut self, key: K, target: Target, tracker: Tracker, due: Instant, now: Instant) {
        let old = self.entries.ticket(&key).and_then(|old| self.remove(old));
        // What is known of the same address is worth keeping: a verdict nobody was told yet, and an ejection.
        let old = old.filter(|old| old.target.address == target.address);
        let standing = old.as_ref().map(|old| old.standing).unwrap_or_default();
        self.ejected += usize::from(standing.ejected);
        let untold = old.and_then(|old| old.untold);
        let target = self.keep(target);
        let entry = Entry {
            target: target.clone(),
            tracker,
            latency: None,
            standing,
            due: Some(due),
            started: now,
            spread: false,
            untold,
        };
        let waits = entry.untold.is_some();
        // Room for 2^32 targets is more than there are addresses to check.
        let Some(ticket) = self.entries.insert(key, entry) else { return };
        if waits {
            self.untold.push_back(ticket);
        }
        self.queue.insert((due, ticket));
        if let Some(siblings) = &target.how.siblings {
            self.groups.join(siblings, target.config().interval, ticket, now);
        }
        self.readmit_the_lonely(ticket);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Entry> {
        let (_, entry) = self.entries.remove(ticket)?;
        if let Some(due) = entry.due {
            self.queue.remove(&(due, ticket));
        }
        if let Some(siblings) = &entry.target.how.siblings {
            self.groups.leave(siblings, ticket);
        }
        self.ejected -= usize::from(entry.standing.ejected);
        Some(entry)
    }

    /// The same target with other siblings, or another rule for them: its checks go on as they were.
    fn regroup(&mut self, ticket: Ticket, target: Target, now: Instant) {
        let target = self.keep(target);
        let Some(entry) = self.entries.get_mut(ticket) else { return };
        if let Some(siblings) = &entry.target.how.siblings {
            self.groups.leave(siblings, ticket);
        }
        if let Some(siblings) = &target.how.siblings {
            self.groups.join(siblings, target.config().interval, ticket, now);
        } else {
            entry.latency = None;
        }
        entry.target = target;
        self.readmit_the_lonely(ticket);
    }

    /// A target that is compared with nobody any more is not ejected any more.
    fn readmit_the_lonely(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.get_mut(ticket) else { return };
        if entry.target.how.siblings.is_none() && std::mem::take(&mut entry.standing).ejected {
            self.ejected -= 1;
            self.tell(ticket, ProbeVerdict::Up, false);
        }
    }

    /// When something is to be done: a target to be checked, or siblings to be judged.
    pub(crate) fn next_due(&self, with_checks: bool) -> Option<Instant> {
        let checks = self.queue.first().map(|(due, _)| *due).filter(|_| with_checks);
        [checks, self.groups.next_due()].into_iter().flatten().min()
    }

    /// Takes a target that is due: the caller checks it and says what it found with [`Self::finish`].
    pub(crate) fn start_due(&mut self, now: Instant) -> Option<Due> {
        loop {
            let ticket = match self.ready.pop_front() {
                Some(ticket) => ticket,
                None => {
                    let &(due, ticket) = self.queue.first().filter(|(due, _)| *due <= now)?;
                    self.queue.remove(&(due, ticket));
                    ticket
                }
            };
            let Some(entry) = self.entries.get_mut(ticket) else { continue };
            if self.hosts.enter(entry.target.address.ip(), ticket) {
                let late = entry.due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
                entry.due = None;
                entry.started = now;
                return Some(Due { ticket, target: entry.target.clone(), late });
            }
        }
    }

    /// Takes the result of a check, unless its target is gone, and puts the target back into the queue.
    pub(crate) fn finish(&mut self, done: Done, now: Instant, random: u32) {
        self.hosts.leave(done.ip);
        while let Some(next) = self.hosts.next_waiting(done.ip) {
            if self.entries.contains(next) {
                self.ready.push_back(next);
                break;
            }
        }
        let Some(entry) = self.entries.get_mut(done.ticket) else { return };
        if entry.target.how.siblings.is_some()
            && let (Some(latency), Ok(()) | Err(Failure::Timeout(..))) = (done.latency, &done.result)
        {
            entry.latency.get_or_insert_default().record(latency);
        }
        let step = entry.tracker.on_result(entry.target.config(), done.result);
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
        self.queue.insert((due, done.ticket));
        if let Some(verdict) = step.verdict_changed {
            // Whatever it was before, it is judged anew.
            entry.latency = None;
            self.ejected -= usize::from(std::mem::take(&mut entry.standing).ejected);
            self.tell(done.ticket, verdict, step.first);
        }
    }

    fn tell(&mut self, ticket: Ticket, verdict: ProbeVerdict, first: bool) {
        let Some(entry) = self.entries.get_mut(ticket) else { return };
        match &mut entry.untold {
            Some(untold) => untold.0 = verdict,
            none => {
                *none = Some(Box::new((verdict, first)));
                self.untold.push_back(ticket);
            }
        }
    }

    /// Judges the siblings whose turn it is: who passes its checks but is an outlier is told as down, and back again.
    /// Without `trust` in what was measured lately they lose their turn.
    pub(crate) fn judge_due(&mut self, now: Instant, trust: bool) {
        while let Some((rule, tickets)) = self.groups.take_due(now) {
            if !trust {
                continue;
            }
            let entries = &self.entries;
            let member = |entry: &Entry| Member {
                latency: entry.latency.as_ref().and_then(|it| it.smoothed()),
                up: entry.tracker.up(),
                standing: entry.standing,
            };
            let there = tickets.into_iter().filter_map(|it| Some((it, member(entries.get(it)?))));
            let (tickets, mut members): (Vec<Ticket>, Vec<Member>) = there.unzip();
            let baseline = judge(&rule, &mut members);
            for (ticket, member) in tickets.into_iter().zip(members) {
                let Some(entry) = self.entries.get_mut(ticket) else { continue };
                let before = std::mem::replace(&mut entry.standing, member.standing);
                self.ejected += usize::from(member.standing.ejected);
                self.ejected -= usize::from(before.ejected);
                let up = entry.tracker.up() == Some(true);
                match (before.ejected, member.standing.ejected, baseline, member.latency) {
                    (false, true, Some(baseline), Some(latency)) => {
                        self.tell(ticket, ProbeVerdict::Down(baseline.reason(latency)), false);
                    }
                    (true, false, ..) if up => self.tell(ticket, ProbeVerdict::Up, false),
                    _ => {}
                }
            }
        }
    }

    /// How many targets are ejected as outliers among their siblings.
    pub(crate) const fn ejected(&self) -> usize {
        self.ejected
    }

    /// Whether a verdict waits to be told.
    pub(crate) fn has_verdict(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Takes the verdict that has waited longest.
    pub(crate) fn next_verdict(&mut self) -> Option<Verdict<K>> {
        let ticket = self.untold.pop_front()?;
        let (verdict, first) = *self.entries.get_mut(ticket)?.untold.take()?;
        Some(Verdict { key: self.entries.key(ticket)?.clone(), verdict, first })
    }
}

#[cfg(test)]
mod tests;
