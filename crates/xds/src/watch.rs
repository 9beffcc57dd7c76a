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

/// Where the store leaves its marks for one stream.
pub(crate) struct Mailbox {
    scopes: Vec<Scope>,
    marks: Mutex<PerType<Marks>>,
    notify: Notify,
}

impl Mailbox {
    pub(crate) fn sees(&self, scope: &Scope) -> bool {
        self.scopes.contains(scope)
    }

    /// Says whether this is the first mark of its type since the stream last looked.
    pub(crate) fn mark(&self, kind: ResourceType, name: &Arc<str>) -> bool {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let first = marks[kind].is_empty();
        marks[kind].add(name);
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
        let mailbox = Mailbox { scopes, marks: Mutex::default(), notify: Notify::new() };
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
        mem::take(&mut *self.mailbox.marks.lock().unwrap_or_else(PoisonError::into_inner))
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
    fn beyond_the_limit_marks_become_look_at_everything() {
        let mut marks = Marks::default();
        for i in 0..=MAX_MARKS {
            marks.add(&format!("n{i}").into());
        }
        assert!(marks.all() && marks.names().is_empty());
    }
}
