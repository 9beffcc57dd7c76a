//! What changed, from the thread that reads to whoever follows: changes that wait become one.

use std::{
    mem::take,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tidegate_api::{Config, ConfigChange, Problem};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the manifests said at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What is in force.
    pub config: Arc<Config>,
    /// What is wrong, in the files and with them.
    pub problems: Vec<Problem>,
    /// From 1; what follows has a higher one.
    pub generation: u64,
    /// The number of the [`crate::Given`] that is part of it; 0 if there is none.
    pub given: u64,
}

/// What changed since the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// What changed of what is in force.
    pub change: ConfigChange,
    /// All that is wrong, in the files and with them, if that changed.
    pub problems: Option<Vec<Problem>>,
    /// Higher than that of any before.
    pub generation: u64,
    /// The number of the [`crate::Given`] that is part of what is in force now; 0 if there is none.
    pub given: u64,
}

impl Snapshot {
    /// All problems as text, one after the other, for a log or a terminal. Empty when there are none.
    #[must_use]
    pub fn problems_text(&self) -> String {
        self.problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    /// Takes in what changed.
    pub fn apply(&mut self, update: Update) {
        Arc::make_mut(&mut self.config).apply(&update.change);
        self.problems = update.problems.unwrap_or_else(|| take(&mut self.problems));
        (self.generation, self.given) = (update.generation, update.given);
    }
}

/// What follows a first [`Snapshot`]. Updates that come faster than they are taken become one, so what waits never grows
/// beyond what there is.
#[derive(Debug)]
pub struct Updates {
    shared: Arc<Shared>,
    _gone: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Option<Update>>,
    filled: Notify,
    ended: AtomicBool,
}

/// The end that tells.
pub(crate) struct Sender {
    shared: Arc<Shared>,
    generation: u64,
    given: u64,
    /// Nobody follows any more.
    pub(crate) gone: CancellationToken,
}

/// The two ends, after this snapshot.
pub(crate) fn channel(first: &Snapshot) -> (Sender, Updates) {
    let Snapshot { generation, given, .. } = *first;
    let (shared, gone) = (Arc::new(Shared::default()), CancellationToken::new());
    let updates = Updates { shared: Arc::clone(&shared), _gone: gone.clone().drop_guard() };
    (Sender { shared, generation, given, gone }, updates)
}

impl Updates {
    /// What changed since the last time, as soon as anything did; `None` once nothing is followed any more. Nothing is lost
    /// when the future is dropped.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            // Asked before, so that the last update is not lost.
            let ended = self.shared.ended.load(Ordering::Acquire);
            if let Some(update) = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Some(update);
            }
            if ended {
                return None;
            }
            self.shared.filled.notified().await;
        }
    }
}

impl Sender {
    /// Tells what changed, if anything did.
    pub(crate) fn send(&mut self, change: ConfigChange, problems: Option<Vec<Problem>>, given: u64) {
        if change.is_empty() && problems.is_none() && given == self.given {
            return;
        }
        self.given = given;
        self.generation += 1;
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let update = waiting.get_or_insert_default();
        update.change.then(change);
        update.problems = problems.or_else(|| update.problems.take());
        (update.generation, update.given) = (self.generation, given);
        drop(waiting);
        self.shared.filled.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.filled.notify_one();
    }
}
