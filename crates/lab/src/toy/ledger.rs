//! The ledger of unsafe work: which request was done how often, and by whom.

use super::lock;
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Requests that a ledger can hold; later ones are only counted, and [`Ledger::overflow`] says so.
const MAX_ENTRIES: usize = 2_000_000;
/// Endpoints remembered per request; a request that is done more often is counted on.
const MAX_ENDPOINTS: usize = 8;

/// How often each unsafe request (anything but GET, HEAD, OPTIONS and TRACE) was received, over all
/// toys that share the ledger. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    requests: HashMap<Box<str>, Entry>,
    unnamed: u64,
    overflow: u64,
}

#[derive(Debug, Default)]
struct Entry {
    count: u32,
    endpoints: Vec<Arc<str>>,
}

/// An unsafe request that was received more than once: work that was done twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// Its id.
    pub id: String,
    /// How often it was received.
    pub count: u32,
    /// The endpoints that received it, the first eight of them.
    pub endpoints: Vec<String>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Books one receipt of the request `id` by `endpoint`; without an id it is only counted.
    pub(super) fn book(&self, id: Option<&str>, endpoint: &Arc<str>) {
        let mut entries = lock(&self.0);
        let Some(id) = id else {
            entries.unnamed += 1;
            return;
        };
        if entries.requests.len() >= MAX_ENTRIES && !entries.requests.contains_key(id) {
            entries.overflow += 1;
            return;
        }
        let entry = entries.requests.entry(id.into()).or_default();
        entry.count += 1;
        if entry.endpoints.len() < MAX_ENDPOINTS {
            entry.endpoints.push(Arc::clone(endpoint));
        }
    }

    /// How often the request `id` was received.
    #[must_use]
    pub fn count(&self, id: &str) -> u32 {
        lock(&self.0).requests.get(id).map_or(0, |entry| entry.count)
    }

    /// Different unsafe requests received.
    #[must_use]
    pub fn requests(&self) -> usize {
        lock(&self.0).requests.len()
    }

    /// The requests that were received more than once, by id.
    #[must_use]
    pub fn repeated(&self) -> Vec<Repeated> {
        let entries = lock(&self.0);
        let mut repeated: Vec<_> = entries
            .requests
            .iter()
            .filter(|(_, entry)| entry.count > 1)
            .map(|(id, entry)| Repeated {
                id: id.to_string(),
                count: entry.count,
                endpoints: entry.endpoints.iter().map(ToString::to_string).collect(),
            })
            .collect();
        repeated.sort_by(|a, b| a.id.cmp(&b.id));
        repeated
    }

    /// Unsafe requests without an id, which cannot be told apart.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        lock(&self.0).unnamed
    }

    /// Receipts that found the ledger full. Above zero, [`Ledger::repeated`] may miss some.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        lock(&self.0).overflow
    }
}
