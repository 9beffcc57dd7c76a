//! What is to happen, by time; of two things at one time the one that was put in first.

use crate::world::{Answer, ClusterId, EndpointId};
use std::{cmp::Ordering, collections::BinaryHeap, sync::Arc};
use tidegate_agent::actions::Action;
use tidegate_model::{PoolStatus, ProbeVerdict, Time};

/// Something that happens. Small, since each endpoint has one waiting.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Whether the agent of a cluster runs may have changed.
    Turn(ClusterId),
    /// An agent wants to be woken.
    Wake(ClusterId, u32),
    /// A check is due.
    Check(ClusterId, u32, EndpointId),
    /// It is done.
    Checked(ClusterId, u32, EndpointId, Answer),
    /// Its verdict reaches the core.
    Told(ClusterId, u32, EndpointId, Box<ProbeVerdict>),
    /// An agent greets its peers.
    Beat(ClusterId, u32),
    /// A gateway of a peer answered.
    Echo(Box<Echo>),
    /// Pool status arrives.
    Status(Box<Status>),
    /// Requests flow.
    Step,
}

impl Happening {
    /// Whose agent acts then, if one does.
    pub(crate) const fn agent(&self) -> Option<ClusterId> {
        match self {
            Self::Wake(cluster, _)
            | Self::Check(cluster, ..)
            | Self::Checked(cluster, ..)
            | Self::Told(cluster, ..)
            | Self::Beat(cluster, _) => Some(*cluster),
            Self::Echo(echo) => Some(echo.to),
            Self::Status(status) => Some(status.to),
            Self::Turn(_) | Self::Step => None,
        }
    }
}

/// What a gateway of a peer answered: with the life of its agent and how often an admit fell in it, or in place of it.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) to: ClusterId,
    pub(crate) life: u32,
    pub(crate) peer: ClusterId,
    pub(crate) gateway: u16,
    pub(crate) agent: Option<(u32, u32)>,
}

/// The pools of a cluster, what was done about shifts, and the life and version of who tells them.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) to: ClusterId,
    pub(crate) from: ClusterId,
    pub(crate) told: (u32, u32),
    pub(crate) pools: Arc<Vec<PoolStatus>>,
    pub(crate) actions: Vec<Action>,
}

#[derive(Debug)]
struct Entry {
    at: Time,
    number: u64,
    happening: Happening,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BinaryHeap<Entry>,
    next: u64,
}

impl Queue {
    pub(crate) fn put(&mut self, at: Time, happening: Happening) {
        self.next += 1;
        self.entries.push(Entry { at, number: self.next, happening });
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, Happening)> {
        self.entries.pop().map(|entry| (entry.at, entry.happening))
    }
}

/// A heap gives its greatest first: the earliest is the greatest.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}
