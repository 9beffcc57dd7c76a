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
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tidegate_model::ProbeVerdict;

/// One life of a target in the schedule.
pub(crate) type Ticket = u64;

/// All targets, the queue of their next checks, and the verdicts that nobody took yet.
pub(crate) struct Schedule<K> {
    tickets: BTreeMap<K, Ticket>,
    /// Boxed: tickets come in order, and leave a tree's nodes half empty.
    entries: BTreeMap<Ticket, Box<Entry<K>>>,
    queue: BTreeSet<(Instant, Ticket)>,
    hosts: Hosts,
    groups: Groups,
    /// Tickets that waited for room at their host and may try again; each is due.
    ready: VecDeque<Ticket>,
    /// Tickets with an untold verdict, the oldest first; each at most once.
    untold: VecDeque<Ticket>,
    /// How many entries are ejected.
    ejected: usize,
    last_ticket: Ticket,
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

struct Entry<K> {
    key: K,
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

impl<K: Ord + Clone> Schedule<K> {
    pub(crate) fn new() -> Self {
        Self {
            tickets: BTreeMap::new(),
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            hosts: Hosts::default(),
            groups: Groups::default(),
            ready: VecDeque::new(),
            untold: VecDeque::new(),
            ejected: 0,
            last_ticket: 0,
            last_how: None,
        }
    }

    /// How many targets there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Makes `targets` the whole set. What is unchanged keeps its state and its place in the queue.
    pub(crate) fn reconcile(&mut self, targets: BTreeMap<K, Target>, now: Instant) {
        let gone: Vec<K> = self.tickets.keys().filter(|key| !targets.contains_key(key)).cloned().collect();
        let gone = gone.into_iter().map(|key| (key, None));
        let changed = targets.into_iter().map(|(key, target)| (key, Some(target)));
        self.change(gone.chain(changed), now);
    }

    /// Takes in targets that are new or changed, and keys that are gone. What is unchanged keeps its state and its place in
    /// the queue.
    pub(crate) fn change(&mut self, changed: impl IntoIterator<Item = (K, Option<Target>)>, now: Instant) {
        let before = self.tickets.len();
        let mut any_gone = false;
        let mut fresh = Vec::new();
        let mut known = Vec::new();
        for (key, target) in changed {
            let ticket = self.tickets.get(&key).copied();
            let Some(target) = target else {
                if let Some(ticket) = ticket {
                    self.tickets.remove(&key);
                    self.remove(ticket);
                    any_gone = true;
                }
                continue;
            };
            let old = ticket.and_then(|ticket| Some((ticket, self.entries.get(&ticket)?)));
            match old.filter(|(_, old)| old.target.address == target.address) {
                None => {
                    let tracker = Tracker::new(&target.config, target.known);
                    let group = if target.known.is_some() { &mut known } else { &mut fresh };
                    group.push((key, target, tracker));
                }
                Some((_, old)) if *old.target.config() != target.config => {
                    let tracker = old.tracker.reconfigured(&target.config);
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
            self.untold.retain(|ticket| entries.contains_key(ticket));
            self.ready.retain(|ticket| entries.contains_key(ticket));
        }
        if self.tickets.len() > 2 * before {
            self.close_up();
        }
    }

    /// Trees that grow in the order of their keys have half-empty nodes; made from what is sorted, they are full.
    fn close_up(&mut self) {
        self.tickets = std::mem::take(&mut self.tickets).into_iter().collect();
        self.entries = std::mem::take(&mut self.entries).into_iter().collect();
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
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let old = self.tickets.insert(key.clone(), ticket).and_then(|old| self.remove(old));
        // What is known of the same address is worth keeping: a verdict nobody was told yet, and an ejection.
        let old = old.filter(|old| old.target.address == target.address);
        let standing = old.as_ref().map(|old| old.standing).unwrap_or_default();
        self.ejected += usize::from(standing.ejected);
        let untold = old.and_then(|old| old.untold);
        if untold.is_some() {
            self.untold.push_back(ticket);
        }
        self.queue.insert((due, ticket));
        let target = self.keep(target);
        if let Some(siblings) = &target.how.siblings {
            self.groups.join(siblings, target.config().interval, ticket, now);
        }
        let entry = Entry {
            key,
            target,
            tracker,
            latency: None,
            standing,
            due: Some(due),
            started: now,
            spread: false,
            untold,
        };
        self.entries.insert(ticket, Box::new(entry));
        self.readmit_the_lonely(ticket);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Entry<K>> {
        let entry = self.entries.remove(&ticket)?;
        if let Some(due) = entry.due {
            self.queue.remove(&(due, ticket));
        }
        if let Some(siblings) = &entry.target.how.siblings {
            self.groups.leave(siblings, ticket);
        }
        self.ejected -= usize::from(entry.standing.ejected);
        Some(*entry)
    }

    /// The same target with other siblings, or another rule for them: its checks go on as they were.
    fn regroup(&mut self, ticket: Ticket, target: Target, now: Instant) {
        let target = self.keep(target);
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
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
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
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
            let Some(entry) = self.entries.get_mut(&ticket) else { continue };
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
            if self.entries.contains_key(&next) {
                self.ready.push_back(next);
                break;
            }
        }
        let Some(entry) = self.entries.get_mut(&done.ticket) else { return };
        if entry.target.how.siblings.is_some()
            && let (Some(latency), Ok(()) | Err(Failure::Timeout(..))) = (done.latency, &done.result)
        {
            entry.latency.get_or_insert_default().record(latency);
        }
        let step = entry.tracker.on_result(done.result);
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
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
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
            let member = |entry: &Entry<K>| Member {
                latency: entry.latency.as_ref().and_then(|it| it.smoothed()),
                up: entry.tracker.up(),
                standing: entry.standing,
            };
            let tickets: Vec<Ticket> = tickets.into_iter().filter(|it| entries.contains_key(it)).collect();
            let mut members: Vec<Member> = tickets.iter().map(|it| member(&entries[it])).collect();
            let baseline = judge(&rule, &mut members);
            for (ticket, member) in tickets.into_iter().zip(members) {
                let Some(entry) = self.entries.get_mut(&ticket) else { continue };
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
        let entry = self.entries.get_mut(&ticket)?;
        let (verdict, first) = *entry.untold.take()?;
        Some(Verdict { key: entry.key.clone(), verdict, first })
    }
}

#[cfg(test)]
mod tests;
