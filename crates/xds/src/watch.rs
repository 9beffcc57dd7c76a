//! How a stream learns that something it subscribes to has changed.
//!
//! Each stream has a mailbox with the *names* that changed since it last looked. Names
//! coalesce, and beyond a limit the mailbox only says "look at everything", so that a stream
//! which does not look costs a bounded amount of memory. Content is read from the store at
//! the moment of sending and is therefore always the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::ResourceType;
use crate::kind::PerType;
use crate::store::{Scope, Store};

/// Beyond so many changed names of a type, looking at everything is hardly dearer.
const MAX_MARKS: usize = 4096;

/// The names of one type that must be looked at again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    all: bool,
    names: BTreeSet<Arc<str>>,
}

impl Marks {
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    /// Whether everything must be looked at.
    pub(crate) fn all(&self) -> bool {
        self.all
    }

    pub(crate) fn add(&mut self, name: &Arc<str>) {
        if !self.all && !self.names.contains(name) {
            self.names.insert(Arc::clone(name));
            if self.names.len() > MAX_MARKS {
                self.add_all();
            }
        }
    }

    pub(crate) fn add_all(&mut self) {
        self.all = true;
        self.names.clear();
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.all {
            self.add_all();
        }
        for name in &other.names {
            self.add(name);
        }
    }

    pub(crate) fn into_names(self) -> BTreeSet<Arc<str>> {
        self.names
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.names.iter().cloned().collect()
    }
}

/// So many batches are told apart; of more, the oldest are left out.
const MAX_BATCHES: usize = 64;

/// The numbers of the batches of changes that something of one type came with, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batches(Vec<u64>);

impl Batches {
    /// Numbers only grow.
    pub(crate) fn add(&mut self, batch: u64) {
        if self.0.last().is_none_or(|last| *last < batch) {
            self.0.push(batch);
            if self.0.len() > MAX_BATCHES {
                self.0.remove(0);
            }
        }
    }

    pub(crate) fn extend(&mut self, others: Self) {
        others.0.into_iter().for_each(|batch| self.add(batch));
    }

    pub(crate) fn into_numbers(self) -> Vec<u64> {
        self.0
    }
}

/// Where the store leaves its marks for one stream.
pub(crate) struct Mailbox {
    scopes: Vec<Scope>,
    waiting: Mutex<Waiting>,
    notify: Notify,
}

#[derive(Default)]
struct Waiting {
    marks: PerType<Marks>,
    batches: PerType<Batches>,
}

impl Mailbox {
    pub(crate) fn sees(&self, scope: &Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// Says whether this is the first mark of its type since the stream last looked.
    pub(crate) fn mark(&self, kind: ResourceType, name: &Arc<str>, batch: u64) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.marks[kind].is_empty();
        waiting.marks[kind].add(name);
        waiting.batches[kind].add(batch);
        first
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }
}

/// A stream's end of its mailbox. Dropping it ends the interest.
pub(crate) struct Watcher {
    store: Store,
    id: u64,
    mailbox: Arc<Mailbox>,
    all: PerType<bool>,
    names: PerType<BTreeSet<Arc<str>>>,
}

impl Watcher {
    pub(crate) fn new(store: Store, id: u64, scopes: Vec<Scope>) -> Self {
        let mailbox = Mailbox { scopes, waiting: Mutex::default(), notify: Notify::new() };
        let mailbox = Arc::new(mailbox);
        Self { store, id, mailbox, all: PerType::default(), names: PerType::default() }
    }

    /// The scopes that are watched, in order of precedence.
    pub(crate) fn scopes(&self) -> &[Scope] {
        &self.mailbox.scopes
    }

    /// Changes what the watcher wants to hear of: all of a type or not, and names.
    pub(crate) fn interest(
        &mut self,
        kind: ResourceType,
        all: bool,
        added: Vec<Arc<str>>,
        removed: Vec<Arc<str>>,
    ) {
        if all == self.all[kind] && added.is_empty() && removed.is_empty() {
            return;
        }
        self.all[kind] = all;
        let mut inner = self.store.inner.write().unwrap_or_else(PoisonError::into_inner);
        let index = &mut inner.index[kind];
        if all {
            index.all.insert(self.id, Arc::clone(&self.mailbox));
        } else {
            index.all.remove(&self.id);
        }
        for name in removed {
            remove(&mut index.by_name, &name, self.id);
            self.names[kind].remove(&name);
        }
        for name in added {
            let waiting = index.by_name.entry(Arc::clone(&name)).or_insert_with(|| Vec::with_capacity(1));
            if let Err(at) = waiting.binary_search_by_key(&self.id, |(id, _)| *id) {
                waiting.insert(at, (self.id, Arc::clone(&self.mailbox)));
            }
            self.names[kind].insert(name);
        }
    }

    /// Takes the marks. To see whole batches only, hold a view of the store meanwhile.
    pub(crate) fn take(&self) -> PerType<Marks> {
        mem::take(&mut self.mailbox.waiting.lock().unwrap_or_else(PoisonError::into_inner).marks)
    }

    /// Takes the numbers of the batches that the marks came with; under the same view.
    pub(crate) fn take_batches(&self) -> PerType<Batches> {
        mem::take(&mut self.mailbox.waiting.lock().unwrap_or_else(PoisonError::into_inner).batches)
    }

    /// Resolves when there may be marks to take.
    pub(crate) async fn changed(&self) {
        self.mailbox.notify.notified().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut inner = self.store.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (kind, names) in self.names.iter() {
            let index = &mut inner.index[kind];
            index.all.remove(&self.id);
            for name in names {
                remove(&mut index.by_name, name, self.id);
            }
        }
    }
}

/// Who waits for which name, in the order of the streams. A tree for the one or two of most names would take ten times the
/// room.
pub(crate) type ByName = BTreeMap<Arc<str>, Vec<(u64, Arc<Mailbox>)>>;

fn remove(by_name: &mut ByName, name: &Arc<str>, id: u64) {
    if let Some(waiting) = by_name.get_mut(name) {
        if let Ok(at) = waiting.binary_search_by_key(&id, |(id, _)| *id) {
            waiting.remove(at);
        }
        if waiting.is_empty() {
            by_name.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_once_and_the_oldest_go_first() {
        let mut batches = Batches::default();
        for batch in [1, 1, 2, 5, 5] {
            batches.add(batch);
        }
        assert_eq!(batches.clone().into_numbers(), [1, 2, 5]);
        let mut more = Batches::default();
        (5..=5 + MAX_BATCHES as u64).for_each(|batch| more.add(batch));
        batches.extend(more);
        let numbers = batches.into_numbers();
        assert_eq!((numbers.len(), numbers[0]), (MAX_BATCHES, 6));
    }

    #[test]
    fn beyond_the_limit_marks_become_look_at_everything() {
        let mut marks = Marks::default();
        for i in 0..=MAX_MARKS {
            marks.add(&format!("n{i}").into());
        }
        assert!(marks.all() && marks.names().is_empty());
    }
}
