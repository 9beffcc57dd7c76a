//! Who observes this cluster: one seat for each open stream, for display and for the limits.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidegate_model::{ClusterName, PeerBoot};
use tonic::Status;

/// Streams that are served at a time: a hundred peers with two gateways each, and room for redials.
const MAX_STREAMS: usize = 1024;
/// Streams of one cluster, so that one that leaks them does not take the seats of the others.
const MAX_STREAMS_PER_CLUSTER: usize = 64;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", tag = "stream")]
pub enum StreamKind {
    /// Heartbeats.
    Heartbeat,
    /// Pool status.
    #[serde(rename_all = "camelCase")]
    Watch {
        /// The version that was sent last.
        sent_version: u64,
        /// The version that the observer has taken in.
        acked_version: u64,
    },
}

/// An open stream of an observer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observer {
    /// The observer's cluster, as it says.
    pub cluster: ClusterName,
    /// The life of its agent.
    pub boot: PeerBoot,
    /// What the stream is for, and how it stands.
    #[serde(flatten)]
    pub kind: StreamKind,
}

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Observer>,
}

/// All open streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Observers {
    seats: Arc<Mutex<Seats>>,
}

impl Observers {
    // Nothing that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn list(&self) -> Vec<Observer> {
        let mut list: Vec<_> = self.lock().taken.values().cloned().collect();
        list.sort_by(|a, b| (&a.cluster, a.kind).cmp(&(&b.cluster, b.kind)));
        list
    }

    /// A seat for a new stream, until it is dropped.
    pub(super) fn seat(&self, observer: Observer) -> Result<Seat, Status> {
        let mut seats = self.lock();
        let of_cluster = seats.taken.values().filter(|taken| taken.cluster == observer.cluster).count();
        if seats.taken.len() >= MAX_STREAMS || of_cluster >= MAX_STREAMS_PER_CLUSTER {
            return Err(Status::resource_exhausted(format!(
                "cluster {} has {of_cluster} open streams of {} in all; {MAX_STREAMS_PER_CLUSTER} and {MAX_STREAMS} are allowed",
                observer.cluster,
                seats.taken.len(),
            )));
        }
        let id = seats.next;
        seats.next += 1;
        seats.taken.insert(id, observer);
        drop(seats);
        Ok(Seat { observers: self.clone(), id })
    }
}

/// The place of one open stream in the list.
#[derive(Debug)]
pub(super) struct Seat {
    observers: Observers,
    id: u64,
}

impl Seat {
    pub(super) fn set(&self, kind: StreamKind) {
        if let Some(observer) = self.observers.lock().taken.get_mut(&self.id) {
            observer.kind = kind;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.observers.lock().taken.remove(&self.id);
    }
}
