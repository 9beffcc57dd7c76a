//! One type on one stream: what the client subscribes to, what it holds, what it is owed.
//!
//! The bookkeeping that both protocol variants share. It does not read requests, and it does
//! not know the other types of the stream.
//!
//! For each name three versions are kept: the one *sent* last, the one *acknowledged* last,
//! and one that was *refused*. With at most one response of a type in flight, a refusal means
//! that the client holds what it had acknowledged. A resource is owed when its version is
//! neither sent nor refused, or when the client asks for it by name.
//!
//! A client may refuse a whole response for one bad resource in it. The names of a refused
//! response are therefore sent again in two halves, until each bad resource stands alone: so
//! it is known by name and holds back no other.

mod inspect;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use super::refusals::Refusals;
use crate::ResourceType;
use crate::resource::{Resource, SetVersion, Version};
use crate::status::Nack;
use crate::store::View;
use crate::watch::Marks;

/// A response of endpoints, routes or secrets is closed when it has reached so many bytes:
/// gRPC clients accept 4 MiB by default. Clusters and listeners go in one piece, because
/// Envoy starts with those of the first response.
const MAX_RESPONSE_BYTES: usize = 2 << 20;

/// What a name that a client subscribes to costs beside its own bytes: its entry here, its place in the watcher and
/// in the store's index, where a name that nobody else knows has a list of its own. Added up from the sizes of
/// these structures and rounded up by half, not measured.
const NAME_COST: usize = 400;

/// How the client learns that something does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// By name (delta)
    Told,
    /// By not being in a response, which is always complete (state of the world, top level)
    Implied,
    /// Not at all (state of the world, other types)
    Untold,
}

/// What is known of one name. `Version::ABSENT` stands for "the client knows of no such thing".
#[derive(Clone, Debug, Default)]
struct Entry {
    /// The client subscribes to this very name.
    named: bool,
    /// The client wants an answer, whatever it holds.
    asked: bool,
    sent: Option<Version>,
    acked: Option<Version>,
    /// When that was, in milliseconds since 1970
    acked_at_ms: u64,
    refused: Option<Version>,
    /// Names of one group are sent together, apart from others; 0 is the normal group.
    group: u32,
}

impl Entry {
    fn held(&self) -> bool {
        self.sent.is_some_and(Version::exists)
    }
}

#[derive(Debug)]
struct InFlight {
    nonce: u64,
    version: SetVersion,
    items: Vec<(Arc<str>, Taken)>,
}

/// What was put into a response under a name, and whether the client had asked for it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    version: Version,
    asked: bool,
}

/// What goes into a response.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) absent: Vec<Arc<str>>,
    /// Those of `resources` that the client does not hold like this
    pub(super) changed: Vec<Arc<Resource>>,
}

#[derive(Debug)]
pub(super) struct Track {
    absence: Absence,
    /// A request of this type was seen.
    pub(super) started: bool,
    /// State of the world: the client has named resources, so an empty list means none.
    pub(super) explicit: bool,
    wildcard: bool,
    named: usize,
    /// Length of all names that are subscribed to
    named_bytes: usize,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Names to look at again before the next response
    pub(super) stale: Marks,
    updates: BTreeSet<Arc<str>>,
    deletions: BTreeSet<Arc<str>>,
    /// A response is due even if there is nothing to put in it.
    pub(super) answer_owed: bool,
    in_flight: Option<InFlight>,
    /// Resources taken for a response that has no nonce yet
    taken: Vec<(Arc<str>, Taken)>,
    last_nonce: Option<u64>,
    version: SetVersion,
    acked: Option<SetVersion>,
    last_nack: Option<Nack>,
    refusals: Refusals,
    last_group: u32,
    /// `Implied` only: the last response, to repeat what is deleted while others refer to it
    complete: Vec<Arc<Resource>>,
}

impl Track {
    pub(super) fn new(absence: Absence) -> Self {
        Self {
            absence,
            started: false,
            explicit: false,
            wildcard: false,
            named: 0,
            named_bytes: 0,
            entries: BTreeMap::new(),
            stale: Marks::default(),
            updates: BTreeSet::new(),
            deletions: BTreeSet::new(),
            answer_owed: false,
            in_flight: None,
            taken: Vec::new(),
            last_nonce: None,
            version: SetVersion::default(),
            acked: None,
            last_nack: None,
            refusals: Refusals::default(),
            last_group: 0,
            complete: Vec::new(),
        }
    }

    pub(super) fn wildcard(&self) -> bool {
        self.wildcard
    }

    /// How many names the client subscribes to.
    pub(super) fn named(&self) -> usize {
        self.named
    }

    /// Memory in bytes for what the client subscribes to, and what it says it holds but that is not there.
    pub(super) fn bytes(&self) -> usize {
        let unknown: usize = self.deletions.iter().map(|name| name.len() + NAME_COST).sum();
        self.named * NAME_COST + self.named_bytes + unknown
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().filter(|(_, entry)| entry.named).map(|(name, _)| name)
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.named)
    }

    /// The nonce of the last response, acknowledged or not.
    pub(super) fn last_nonce(&self) -> Option<u64> {
        self.last_nonce
    }

    pub(super) fn version(&self) -> String {
        self.version.to_string()
    }

    // --- what the client says ---

    pub(super) fn set_wildcard(&mut self, wildcard: bool) {
        if wildcard != self.wildcard {
            self.wildcard = wildcard;
            self.stale.add_all();
            if !wildcard {
                // At once: by the next look the client may want them again, and has thrown them away.
                let unnamed = self.entries.iter().filter(|(_, entry)| !entry.named);
                let unnamed: Vec<_> = unnamed.map(|(name, _)| Arc::clone(name)).collect();
                for name in &unnamed {
                    self.forget(name);
                }
            }
        }
    }

    /// The client holds this from an earlier stream.
    pub(super) fn client_holds(&mut self, name: &str, version: Version) {
        let entry = Entry { sent: Some(version), acked: Some(version), ..Entry::default() };
        self.entries.insert(name.into(), entry);
        self.version.add(Some(version));
        self.stale.add_all();
    }

    /// Subscribes to a name; says the name if it is new.
    pub(super) fn subscribe(&mut self, name: &str, ask: bool) -> Option<Arc<str>> {
        let (name, mut entry) = match self.entries.get_key_value(name) {
            Some((name, entry)) => (Arc::clone(name), entry.clone()),
            None => (name.into(), Entry::default()),
        };
        let new = !mem::replace(&mut entry.named, true);
        entry.asked |= ask;
        if new {
            self.named += 1;
            self.named_bytes += name.len();
        }
        self.stale.add(&name);
        self.entries.insert(Arc::clone(&name), entry);
        new.then_some(name)
    }

    /// Ends the subscription to a name; says the name if there was one. A wildcard client that
    /// wants to know whether the wildcard still matches the name is answered.
    pub(super) fn unsubscribe(&mut self, name: &str, ask: bool) -> Option<Arc<str>> {
        let (key, _) = self.entries.get_key_value(name)?;
        let key = Arc::clone(key);
        let entry = self.entries.get_mut(name)?;
        let was_named = mem::replace(&mut entry.named, false);
        if was_named {
            self.named -= 1;
            self.named_bytes -= key.len();
            entry.asked = ask && self.wildcard;
        }
        self.stale.add(&key);
        if !self.wildcard {
            self.forget(&key);
        }
        was_named.then_some(key)
    }

    /// The client wants all that the wildcard matches once more.
    pub(super) fn ask_all_again(&mut self) {
        for entry in self.entries.values_mut() {
            entry.asked = true;
        }
        self.stale.add_all();
    }

    /// Asks on the client's behalf, if it subscribes to the name.
    pub(super) fn ask_again(&mut self, name: &str) {
        if let Some((key, _)) = self.entries.get_key_value(name) {
            let key = Arc::clone(key);
            self.stale.add(&key);
            if let Some(entry) = self.entries.get_mut(name) {
                entry.asked = true;
            }
        }
    }

    // --- what the client is owed ---

    /// Sorts out what changed since the last look.
    pub(super) fn refresh(&mut self, kind: ResourceType, view: &View<'_>) {
        let stale = mem::take(&mut self.stale);
        let mut names = BTreeSet::new();
        if stale.all() {
            names.extend(self.entries.keys().cloned());
            if self.wildcard {
                names.extend(view.names(kind).cloned());
            }
        } else {
            names = stale.into_names();
        }
        for name in names {
            let version = view.get(kind, &name).map_or(Version::ABSENT, |found| found.version);
            self.classify(name, version);
        }
    }

    fn classify(&mut self, name: Arc<str>, version: Version) {
        self.updates.remove(&name);
        self.deletions.remove(&name);
        let Some(entry) = self.entries.get_mut(&name) else {
            if self.wildcard && version.exists() {
                self.entries.insert(Arc::clone(&name), Entry::default());
                self.updates.insert(name);
            }
            return;
        };
        let owed = entry.asked || (entry.sent != Some(version) && entry.refused != Some(version));
        if !self.wildcard && !entry.named {
            self.forget(&name);
        } else if version.exists() {
            if owed {
                self.updates.insert(name);
            }
        } else if self.absence == Absence::Untold {
            self.version.subtract(entry.sent);
            *entry = Entry { named: entry.named, ..Entry::default() };
            self.refusals.remove(&name);
        } else if entry.held() {
            if owed {
                self.deletions.insert(name);
            }
        } else if owed && self.absence == Absence::Told && (entry.named || entry.asked) {
            self.updates.insert(name);
        } else if !entry.named {
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.refusals.remove(name);
        self.updates.remove(name);
        self.deletions.remove(name);
        if let Some(entry) = self.entries.remove(name) {
            self.version.subtract(entry.sent);
        }
    }

    pub(super) fn owes_updates(&self) -> bool {
        !self.updates.is_empty()
    }

    /// An update is owed, or a response not acknowledged.
    pub(super) fn busy(&self) -> bool {
        self.in_flight.is_some() || self.owes_updates()
    }

    /// The client does not hold what it should, or has not said so.
    pub(super) fn unsettled(&self) -> bool {
        self.busy() || !self.deletions.is_empty()
    }

    /// The next resources to send, deletions apart. With `only_asked`, only if and what the
    /// client asked for; with `keep_deleted`, a complete response repeats what is deleted.
    pub(super) fn take_updates(
        &mut self,
        kind: ResourceType,
        view: &View<'_>,
        only_asked: bool,
        keep_deleted: bool,
    ) -> Option<Batch> {
        if self.in_flight.is_some() || !(self.owes_updates() || self.answer_owed) {
            return None;
        }
        if self.absence == Absence::Implied {
            let asked = self.answer_owed || !only_asked;
            return asked.then(|| self.take_complete(kind, view, keep_deleted));
        }
        let all = !only_asked || self.answer_owed;
        let mut batch = Batch::default();
        let mut bytes = 0;
        let eligible: Vec<(u32, &Arc<str>)> = (self.updates.iter())
            .filter_map(|name| Some((name, self.entries.get(name)?)))
            .filter(|(_, entry)| all || entry.asked || (entry.named && entry.sent.is_none()))
            .map(|(name, entry)| (entry.group, name))
            .collect();
        let group = eligible.iter().map(|(group, _)| *group).min().unwrap_or(0);
        for (_, name) in eligible.iter().filter(|(of, _)| *of == group) {
            match view.get(kind, name) {
                Some(resource) => {
                    bytes += resource.delta_len();
                    batch.resources.push(Arc::clone(resource));
                }
                None => batch.absent.push(Arc::clone(name)),
            }
            if bytes >= MAX_RESPONSE_BYTES && !kind.is_top_level() {
                break;
            }
        }
        if batch.resources.is_empty() && batch.absent.is_empty() && !self.answer_owed {
            return None;
        }
        for resource in &batch.resources {
            self.take(&resource.name, resource.version);
        }
        for name in &batch.absent {
            self.take(name, Version::ABSENT);
        }
        self.answer_owed = false;
        batch.changed.clone_from(&batch.resources);
        Some(batch)
    }

    /// The next deletions to tell.
    pub(super) fn take_deletions(&mut self, kind: ResourceType, view: &View<'_>) -> Option<Batch> {
        if self.in_flight.is_some() || self.deletions.is_empty() {
            return None;
        }
        if self.absence == Absence::Implied {
            return Some(self.take_complete(kind, view, false));
        }
        let absent: Vec<_> = mem::take(&mut self.deletions).into_iter().collect();
        for name in &absent {
            self.take(name, Version::ABSENT);
        }
        Some(Batch { absent, ..Batch::default() })
    }

    /// All that the client should hold.
    fn take_complete(&mut self, kind: ResourceType, view: &View<'_>, keep: bool) -> Batch {
        let mut names: BTreeSet<Arc<str>> = self.names().cloned().collect();
        if self.wildcard {
            names.extend(view.names(kind).cloned());
        }
        let mut resources: Vec<_> = names.iter().filter_map(|name| view.get(kind, name)).cloned().collect();
        let changed = resources.iter().filter(|resource| self.updates.contains(&resource.name));
        let changed = changed.cloned().collect();
        if keep {
            let kept = self.complete.iter().filter(|old| self.deletions.contains(&old.name));
            resources.extend(kept.cloned());
        } else {
            for name in mem::take(&mut self.deletions) {
                self.take(&name, Version::ABSENT);
            }
        }
        for resource in &resources {
            self.take(&resource.name, resource.version);
        }
        self.answer_owed = false;
        self.complete.clone_from(&resources);
        Batch { resources, absent: Vec::new(), changed }
    }

    fn take(&mut self, name: &Arc<str>, version: Version) {
        self.updates.remove(name);
        let entry = self.entries.entry(Arc::clone(name)).or_default();
        self.version.subtract(entry.sent);
        self.version.add(Some(version));
        entry.sent = Some(version);
        let asked = mem::take(&mut entry.asked);
        self.taken.push((Arc::clone(name), Taken { version, asked }));
    }

    /// What was taken is sent under this nonce.
    pub(super) fn sent(&mut self, nonce: u64) {
        let items = mem::take(&mut self.taken);
        self.last_nonce = Some(nonce);
        self.in_flight = Some(InFlight { nonce, version: self.version, items });
    }
}
