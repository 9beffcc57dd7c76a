//! The objects of an API that are held, and which of their lists are complete. Pure: what the watches tell goes in, what the
//! loader is to know comes out.
//!
//! Nothing is dropped before a complete list does not name it. A watch that tells what is known already changes nothing.

use super::{
    board,
    kinds::{ALL, Kinds, NAMED, Watched},
    named::{self, Name},
    object::Change,
    state::Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_api::{Loader, Problem};

/// The kinds that agents do without where they have no right to them: listeners without a certificate and policies without authorities
/// say so, everything else serves.
const OPTIONAL: [&str; 2] = ["Secret", "ConfigMap"];

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// What became of a list.
    Verdict(&'static Watched, Verdict),
    /// Objects that came, changed or went.
    Objects(&'static Watched, Vec<Change>),
    /// What is wrong with the watch of a kind now.
    Failing(&'static str, Option<Problem>),
}

/// Where what is held goes on to.
pub(crate) trait Onward {
    /// An object came or changed: its name, its version, and what is kept of it, as JSON.
    fn set(&mut self, path: &str, version: &str, text: &str);
    /// It is gone.
    fn remove(&mut self, path: &str);
}

impl Onward for Loader {
    fn set(&mut self, path: &str, version: &str, text: &str) {
        self.set_resource(path, version, &mut serde_json::Deserializer::from_str(text));
    }

    fn remove(&mut self, path: &str) {
        Self::remove(self, path);
    }
}

/// The objects.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// What is awaited.
    read: Kinds,
    kinds: BTreeMap<&'static str, Kind>,
    failing: BTreeMap<&'static str, Problem>,
    /// Whether what is held is not what was held when this was asked last.
    changed: bool,
    /// The same of objects that have a status.
    subjects_changed: bool,
    /// What is named by what is held.
    named: BTreeSet<Name>,
}

/// The objects of a kind.
#[derive(Debug, Default)]
struct Kind {
    held: BTreeMap<Box<str>, Held>,
    /// The number of the list that was begun last.
    list: u32,
    /// Whether any list was complete.
    complete: bool,
}

#[derive(Debug)]
struct Held {
    version: Box<str>,
    text: Box<str>,
    /// The list that named it last.
    list: u32,
}

impl Shelf {
    /// One for these kinds.
    pub(crate) fn of(read: Kinds) -> Self {
        Self { read, ..Self::default() }
    }

    /// Takes in what was told in one moment, in order. Of an object that changed several times only the last counts.
    pub(crate) fn take_all(&mut self, mut told: Vec<Told>, loader: &mut impl Onward) {
        let mut later = BTreeSet::new();
        for it in told.iter_mut().rev() {
            match it {
                // What a list names is counted while it is told.
                Told::Verdict(..) => later.clear(),
                Told::Objects(_, changes) => {
                    let mut at = changes.len();
                    while at > 0 {
                        at -= 1;
                        if !later.insert(changes[at].path.clone()) {
                            changes.remove(at);
                        }
                    }
                }
                Told::Failing(..) => {}
            }
        }
        told.into_iter().for_each(|told| self.take(told, loader));
    }

    /// Takes in what was told.
    pub(crate) fn take(&mut self, told: Told, loader: &mut impl Onward) {
        match told {
            Told::Verdict(watched, verdict) => self.verdict(watched, verdict, loader),
            Told::Objects(watched, changes) => {
                let kind = self.kinds.entry(watched.kind).or_default();
                let mut changed = false;
                for change in changes {
                    changed |= kind.change(change, loader);
                }
                self.changed |= changed;
                self.subjects_changed |= changed && watched.has_status();
                if changed {
                    self.name(watched, loader);
                }
            }
            Told::Failing(kind, problem) => {
                match problem {
                    Some(problem) => self.failing.insert(kind, problem),
                    None => self.failing.remove(kind),
                };
            }
        }
    }

    /// Finds again what is named, if that may have changed with objects of a kind, and drops what nobody names any more: be it
    /// that it lay on disk, or that it was asked for when it still was named.
    fn name(&mut self, watched: &'static Watched, loader: &mut impl Onward) {
        if watched.kind == named::NAMING {
            self.named = named::by(self.of_kind(watched).map(|(_, text)| text));
        } else if watched.kind != NAMED.kind {
            return;
        }
        // Before all are listed that name some, nobody knows what is not named.
        let listed = self.kinds.get(named::NAMING).is_some_and(|it| it.complete);
        let Some(held) = self.kinds.get_mut(NAMED.kind).filter(|_| listed) else { return };
        let named: BTreeSet<String> = self.named.iter().map(named::path).collect();
        for (path, _) in held.held.extract_if(.., |path, _| !named.contains(&**path)) {
            self.changed = true;
            loader.remove(&path);
        }
    }

    /// The objects that are named.
    pub(crate) const fn named(&self) -> &BTreeSet<Name> {
        &self.named
    }

    fn verdict(&mut self, watched: &'static Watched, verdict: Verdict, loader: &mut impl Onward) {
        let kind = self.kinds.entry(watched.kind).or_default();
        match verdict {
            Verdict::Begins => kind.list += 1,
            Verdict::NoneServed | Verdict::Complete => {
                kind.list += u32::from(verdict == Verdict::NoneServed);
                kind.complete = true;
                let list = kind.list;
                for (path, _) in kind.held.extract_if(.., |_, held| held.list < list) {
                    self.changed = true;
                    self.subjects_changed |= watched.has_status();
                    loader.remove(&path);
                }
                self.name(watched, loader);
            }
        }
    }

    /// Whether all that the API serves and the agent may read was listed once.
    pub(crate) fn is_complete(&self) -> bool {
        self.awaited().next().is_none()
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.values().all(|kind| kind.held.is_empty())
    }

    /// The kinds that were not listed yet.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &'static str> {
        let listed = |kind: &&str| self.kinds.get(kind).is_some_and(|it| it.complete);
        let read = ALL.iter().filter(|it| self.read.has(it)).map(|it| it.kind);
        let asked = (!self.named.is_empty()).then_some(NAMED.kind);
        read.chain(asked).filter(move |kind| !listed(kind) && !self.is_denied(kind))
    }

    /// Whether it is a kind to do without, and the agent may not read it.
    fn is_denied(&self, kind: &str) -> bool {
        let told = self.failing.get(kind).filter(|_| OPTIONAL.contains(&kind));
        told.is_some_and(|problem| problem.message.contains(board::MAY_NOT_READ))
    }

    /// What is wrong with watches, each thing once.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut told = BTreeSet::new();
        self.failing.values().filter(|problem| told.insert(problem.to_string())).cloned().collect()
    }

    /// What is held of a kind: path, and what is kept.
    pub(crate) fn of_kind(&self, watched: &Watched) -> impl Iterator<Item = (&str, &str)> {
        let held = self.kinds.get(watched.kind).into_iter().flat_map(|kind| &kind.held);
        held.map(|(path, it)| (&**path, &*it.text))
    }

    /// Whether objects that have a status changed since this was asked last.
    pub(crate) const fn take_subjects_changed(&mut self) -> bool {
        std::mem::replace(&mut self.subjects_changed, false)
    }

    /// Whether anything changed since this was asked last.
    pub(crate) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// All that is held: path, version, and what is kept.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let kinds = self.kinds.values();
        kinds.flat_map(|kind| kind.held.iter().map(|(path, it)| (&**path, &*it.version, &*it.text)))
    }

    /// Puts back what was held when it was saved: it counts until a complete list does not name it.
    pub(crate) fn put_back(&mut self, change: Change, loader: &mut impl Onward) -> bool {
        let mut words = change.path.split(' ');
        let named = (words.next(), words.next());
        let known = ALL.iter().chain([&NAMED]).find(|it| named == (Some("kubernetes:"), Some(it.kind)));
        let Some(watched) = known else { return false };
        self.kinds.entry(watched.kind).or_default().change(change, loader);
        // Nobody was told of it in this life, and the API may say nothing else of it.
        self.subjects_changed |= watched.has_status();
        self.name(watched, loader);
        true
    }
}

impl Kind {
    /// Takes in an object; whether that changes anything.
    fn change(&mut self, Change { path, version, text }: Change, loader: &mut impl Onward) -> bool {
        let Some(text) = text else {
            loader.remove(&path);
            return self.held.remove(&*path).is_some();
        };
        let list = self.list;
        if let Some(held) = self.held.get_mut(&*path).filter(|held| held.text == text) {
            // Only what nobody reads is another: the version that the loader knows stays.
            held.list = list;
            return false;
        }
        loader.set(&path, &version, &text);
        self.held.insert(path.into_boxed_str(), Held { version: version.into_boxed_str(), text, list });
        true
    }
}

#[cfg(test)]
mod tests;
