//! Which targets are siblings, and when they are judged. Pure: no clock, no I/O.

use crate::{Siblings, latency::LatencyRule, schedule::Ticket};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// The groups of siblings, each judged once in an interval of its checks.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<Arc<str>, Group>,
    queue: BTreeSet<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Group {
    rule: LatencyRule,
    every: Duration,
    due: Instant,
    members: BTreeSet<Ticket>,
}

impl Groups {
    /// Puts a target among its siblings, which are judged first an interval after the first of them came.
    pub(crate) fn join(&mut self, siblings: &Siblings, every: Duration, ticket: Ticket, now: Instant) {
        let queue = &mut self.queue;
        let group = self.groups.entry(Arc::clone(&siblings.group)).or_insert_with(|| {
            queue.insert((now + every, Arc::clone(&siblings.group)));
            Group { rule: siblings.rule, every, due: now + every, members: BTreeSet::new() }
        });
        group.rule = siblings.rule;
        group.every = every;
        group.members.insert(ticket);
    }

    /// Takes a target away from its siblings.
    pub(crate) fn leave(&mut self, siblings: &Siblings, ticket: Ticket) {
        let Some(group) = self.groups.get_mut(&siblings.group) else { return };
        group.members.remove(&ticket);
        if group.members.is_empty() {
            self.queue.remove(&(group.due, Arc::clone(&siblings.group)));
            self.groups.remove(&siblings.group);
        }
    }

    /// When the next group is to be judged.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// A group that is to be judged now: its rule and its members.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(LatencyRule, Vec<Ticket>)> {
        self.queue.first().filter(|(due, _)| *due <= now)?;
        let (_, name) = self.queue.pop_first()?;
        let group = self.groups.get_mut(&name)?;
        group.due = now + group.every;
        self.queue.insert((group.due, name));
        Some((group.rule, group.members.iter().copied().collect()))
    }
}
