//! The resources, and who waits for which.
//!
//! A batch of changes and the marks that it leaves with the streams it concerns are applied
//! under one lock, so that a stream which reads sees all of a batch or nothing of it. The
//! store keeps the newest content only; it has no history and sends nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use crate::ResourceType;
use crate::kind::PerType;
use crate::resource::Resource;
use crate::tails::Tails;
use crate::watch::{ByName, Mailbox, Watcher};

/// A named group of resources. A node sees the scopes that the resolver gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

impl Scope {
    /// A scope of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One change of the store.
#[derive(Clone)]
pub enum Change {
    /// Adds or replaces a resource. The same body again is no change.
    Set {
        /// Where it belongs
        scope: Scope,
        /// Its type
        kind: ResourceType,
        /// Its name, as clients subscribe to it
        name: String,
        /// The encoded message, without the `Any` around it
        body: Bytes,
    },
    /// Removes a resource, if it is there.
    Remove {
        /// Where it belongs
        scope: Scope,
        /// Its type
        kind: ResourceType,
        /// Its name
        name: String,
    },
}

impl fmt::Debug for Change {
    /// Without the message: a secret must not show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { scope, kind, name, body } => {
                write!(f, "set {kind} {name} of {} bytes in {scope}", body.len())
            }
            Self::Remove { scope, kind, name } => write!(f, "remove {kind} {name} in {scope}"),
        }
    }
}

type Resources = PerType<BTreeMap<Arc<str>, Arc<Resource>>>;

#[derive(Default)]
pub(crate) struct Inner {
    scopes: BTreeMap<Scope, Resources>,
    pub(crate) index: PerType<Index>,
    pub(crate) next_watcher: u64,
    /// How many batches were applied.
    batches: u64,
}

/// Who waits for the resources of one type.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) all: BTreeMap<u64, Arc<Mailbox>>,
    pub(crate) by_name: ByName,
}

/// Encoded resources by scope, type and name. Clones share the same content.
#[derive(Clone, Default)]
pub struct Store {
    pub(crate) inner: Arc<RwLock<Inner>>,
    tails: Arc<Mutex<PerType<Tails>>>,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a batch atomically with regard to readers and wakes the streams that
    /// subscribe to what changed. Returns how many of the changes changed something.
    pub fn apply(&self, changes: Vec<Change>) -> usize {
        let prepared: Vec<_> = changes.into_iter().map(|change| self.prepare(change)).collect();
        let mut woken = Vec::new();
        let mut changed = 0;
        {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            inner.batches += 1;
            for (scope, kind, name, resource) in prepared {
                if inner.put(&scope, kind, &name, resource) {
                    inner.mark(&scope, kind, &name, &mut woken);
                    changed += 1;
                }
            }
        }
        for mailbox in woken {
            mailbox.wake();
        }
        changed
    }

    /// The number of the batch that was applied last, from 1: what [`XdsEvent::Acked`](crate::XdsEvent::Acked) names.
    pub fn batch(&self) -> u64 {
        self.view(&[]).inner.batches
    }

    /// The version (16 hex digits) that clients are given for a resource, if it exists.
    pub fn version(&self, scope: &Scope, kind: ResourceType, name: &str) -> Option<String> {
        let view = self.view(std::slice::from_ref(scope));
        view.get(kind, name).map(|resource| resource.version.to_string())
    }

    /// How many resources of a type a scope has.
    pub fn len(&self, scope: &Scope, kind: ResourceType) -> usize {
        self.view(&[]).inner.scopes.get(scope).map_or(0, |resources| resources[kind].len())
    }

    /// What the given scopes hold, consistent for as long as the view lives; writers wait.
    pub(crate) fn view<'a>(&'a self, scopes: &'a [Scope]) -> View<'a> {
        View { inner: self.inner.read().unwrap_or_else(PoisonError::into_inner), scopes }
    }

    /// A handle that is told about changes in these scopes, of what it shows interest in.
    pub(crate) fn watch(&self, scopes: Vec<Scope>) -> Watcher {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.next_watcher += 1;
        Watcher::new(self.clone(), inner.next_watcher, scopes)
    }

    /// What a body shares with others. Endpoints are each service's own.
    fn tail(&self, kind: ResourceType, body: &[u8]) -> Option<Arc<[u8]>> {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        kind.is_top_level().then(|| tails[kind].of(body)).flatten()
    }

    /// Hashes and encodes outside the write lock; unchanged content is taken as it is.
    fn prepare(&self, change: Change) -> (Scope, ResourceType, Arc<str>, Option<Arc<Resource>>) {
        match change {
            Change::Remove { scope, kind, name } => (scope, kind, name.into(), None),
            Change::Set { scope, kind, name, body } => {
                let old = self.view(std::slice::from_ref(&scope)).get(kind, &name).cloned();
                let resource = match old {
                    Some(old) if old.says(&body) => old,
                    old => {
                        let name = old.map_or_else(|| name.into(), |old| Arc::clone(&old.name));
                        let tail = self.tail(kind, &body);
                        Arc::new(Resource::new(kind, name, &body, tail))
                    }
                };
                (scope, kind, Arc::clone(&resource.name), Some(resource))
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view(&[]);
        f.debug_struct("Store").field("scopes", &view.inner.scopes.len()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Says whether it changed anything.
    fn put(
        &mut self,
        scope: &Scope,
        kind: ResourceType,
        name: &Arc<str>,
        resource: Option<Arc<Resource>>,
    ) -> bool {
        let Some(resource) = resource else {
            let Some(resources) = self.scopes.get_mut(scope) else { return false };
            let removed = resources[kind].remove(name).is_some();
            if removed && resources.iter().all(|(_, names)| names.is_empty()) {
                self.scopes.remove(scope);
            }
            return removed;
        };
        if !self.scopes.contains_key(scope) {
            self.scopes.insert(scope.clone(), Resources::default());
        }
        let Some(resources) = self.scopes.get_mut(scope) else { return false };
        match resources[kind].get_mut(name) {
            Some(old) if old.version == resource.version => return false,
            Some(old) => *old = resource,
            None => {
                resources[kind].insert(Arc::clone(name), resource);
            }
        }
        true
    }

    fn mark(&self, scope: &Scope, kind: ResourceType, name: &Arc<str>, woken: &mut Vec<Arc<Mailbox>>) {
        let index = &self.index[kind];
        let by_name = index.by_name.get(name).into_iter().flatten().map(|(_, mailbox)| mailbox);
        for mailbox in index.all.values().chain(by_name) {
            if mailbox.sees(scope) && mailbox.mark(kind, name, self.batches) {
                woken.push(Arc::clone(mailbox));
            }
        }
    }
}

/// What a node sees, while no writer can change it.
pub(crate) struct View<'a> {
    inner: RwLockReadGuard<'a, Inner>,
    scopes: &'a [Scope],
}

impl View<'_> {
    /// The resource of this name in the first scope that has it.
    pub(crate) fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.scopes.iter().find_map(|scope| self.inner.scopes.get(scope)?[kind].get(name))
    }

    /// All names of a type; one that lies in two scopes comes twice.
    pub(crate) fn names(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        let scopes = self.scopes.iter().filter_map(|scope| self.inner.scopes.get(scope));
        scopes.flat_map(move |resources| resources[kind].keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(scope: &str, name: &str, body: &'static str) -> Change {
        Change::Set {
            scope: Scope::new(scope),
            kind: ResourceType::Endpoint,
            name: name.into(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn remove(scope: &str, name: &str) -> Change {
        Change::Remove { scope: Scope::new(scope), kind: ResourceType::Endpoint, name: name.into() }
    }

    #[test]
    fn the_same_body_again_is_no_change() {
        let store = Store::new();
        assert_eq!(store.apply(vec![set("s", "a", "1"), set("s", "b", "1")]), 2);
        assert_eq!(store.apply(vec![set("s", "a", "1"), set("s", "b", "2")]), 1);
        assert_eq!(store.apply(vec![remove("s", "c"), remove("t", "a")]), 0);
        // ... unless it was removed in between, within the batch.
        assert_eq!(store.apply(vec![remove("s", "a"), set("s", "a", "1")]), 2);
        assert_eq!(store.len(&Scope::new("s"), ResourceType::Endpoint), 2);
    }

    #[test]
    fn two_stores_with_the_same_content_give_the_same_version() {
        let stores = [Store::new(), Store::new()].map(|store| {
            store.apply(vec![set("s", "a", "1")]);
            store.version(&Scope::new("s"), ResourceType::Endpoint, "a")
        });
        assert!(stores[0].is_some());
        assert_eq!(stores[0], stores[1]);
    }

    #[test]
    fn the_first_scope_wins() {
        let store = Store::new();
        store.apply(vec![set("s", "a", "of s"), set("t", "a", "of t"), set("t", "b", "of t")]);
        let scopes = [Scope::new("t"), Scope::new("s")];
        let view = store.view(&scopes);
        assert!(view.get(ResourceType::Endpoint, "a").unwrap().says(b"of t"));
        assert_eq!(view.names(ResourceType::Endpoint).count(), 3);
        assert!(view.get(ResourceType::Cluster, "a").is_none());
    }

    #[test]
    fn a_watcher_hears_only_of_its_names_and_scopes() {
        let store = Store::new();
        let mut watcher = store.watch(vec![Scope::new("s")]);
        watcher.interest(ResourceType::Endpoint, false, vec!["a".into(), "b".into()], vec![]);
        store.apply(vec![set("s", "a", "1"), set("t", "b", "1"), set("s", "c", "1")]);
        let marks = watcher.take();
        assert_eq!(marks[ResourceType::Endpoint].names(), ["a".into()]);
        store.apply(vec![set("s", "c", "2"), set("s", "a", "1")]);
        assert!(watcher.take()[ResourceType::Endpoint].is_empty());
        watcher.interest(ResourceType::Endpoint, true, vec![], vec!["a".into(), "b".into()]);
        store.apply(vec![set("s", "a", "2"), set("s", "d", "1")]);
        assert_eq!(watcher.take()[ResourceType::Endpoint].names(), ["a".into(), "d".into()]);
        drop(watcher);
        let inner = store.inner.read().unwrap();
        let index = &inner.index[ResourceType::Endpoint];
        assert!(index.all.is_empty() && index.by_name.is_empty());
    }
}
