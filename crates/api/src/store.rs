//! All objects that were read, by their keys: what each source says of them, and which version is in force.
//!
//! A source is a file, or one resource of an API server or a hub. It is taken in as a whole ([`Store::set`]), and
//! nothing is decided before [`Store::decide`]: what moves from one source to another is moved, not gone for a moment.
//! Only objects of which something new was said are decided anew; the outcome is the same as if all were, because a
//! decision reads nothing but what is said of that key, its version in force, and the state of that version's source.
//!
//! The rules of keeping are those that [`crate::Loader`] tells of.

mod choose;
mod shared;

use crate::{
    kinds::Kind,
    object::{self, Object, ObjectKey},
    problem::{Problem, Severity},
    yaml::Pos,
};
use choose::choose;
use shared::Shared;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

/// The most objects that are read, of all sources together.
pub const MAX_OBJECTS: usize = 100_000;

/// What tells one content of a source from the next without comparing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The length and hash of a file's text.
    Text(usize, u64),
    /// The `resourceVersion` of a resource.
    Resource(Box<str>),
}

/// What a source turned out to hold.
pub(crate) struct Content {
    pub(crate) version: Version,
    /// Whether there is nothing in it, not even a comment.
    pub(crate) blank: bool,
    pub(crate) readings: Result<Vec<object::Reading>, Problem>,
}

/// An object whose version in force is another one now.
pub(crate) struct Changed {
    pub(crate) key: ObjectKey,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) after: Option<Arc<Object>>,
}

/// The objects.
#[derive(Debug, Default)]
pub(crate) struct Store {
    sources: BTreeMap<Arc<str>, Source>,
    objects: BTreeMap<ObjectKey, Entry>,
    /// Objects in force that their source does not tell any more, by source.
    lost: BTreeMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// Objects in force in a version that no source tells any more.
    outdated: BTreeSet<ObjectKey>,
    /// How many objects all sources tell, and the first that is too many.
    count: usize,
    cut: Option<Cut>,
    shared: Shared,
    /// What is to be decided.
    dirty: BTreeSet<ObjectKey>,
    dirty_sources: BTreeSet<Arc<str>>,
    /// What is wrong, where anything is.
    of_objects: BTreeMap<ObjectKey, Box<[Problem]>>,
    of_sources: BTreeMap<Arc<str>, Box<[Problem]>>,
}

#[derive(Debug)]
struct Source {
    version: Version,
    blank: bool,
    /// Its objects in order, or why it cannot be read.
    heads: Result<Box<[Head]>, Box<Problem>>,
    /// What is wrong with those of which the name is not known, by their number.
    nameless: Box<[(u32, Box<[Problem]>)]>,
}

#[derive(Debug)]
struct Head {
    key: Option<ObjectKey>,
    at: Pos,
}

/// What is known of an object.
#[derive(Debug, Default)]
struct Entry {
    /// By source and number.
    readings: Box<[Reading]>,
    kept: Option<Kept>,
}

/// What a source says of an object.
#[derive(Debug)]
struct Reading {
    source: Arc<str>,
    /// Its number in the source.
    number: u32,
    at: Pos,
    object: Option<Arc<Object>>,
    bad: bool,
    issues: Box<[Problem]>,
}

/// An object that is in force.
#[derive(Clone, Debug)]
struct Kept {
    object: Arc<Object>,
    /// Whether all of it is, and not only the part without mistakes.
    whole: bool,
}

/// The first object that is too many.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    source: Arc<str>,
    number: u32,
    at: Pos,
}

impl Reading {
    /// Whether both say the same of the object; their numbers may differ, when other objects came before them.
    fn says_the_same(&self, other: &Self) -> bool {
        let Self { source, number: _, at, object, bad, issues } = self;
        *source == other.source
            && *at == other.at
            && *object == other.object
            && *bad == other.bad
            && *issues == other.issues
    }

    fn comes_before(&self, cut: Option<&Cut>) -> bool {
        cut.is_none_or(|cut| (&self.source, self.number) < (&cut.source, cut.number))
    }
}

impl Source {
    fn count(&self) -> usize {
        self.heads.as_ref().map_or(0, |heads| heads.len())
    }

    fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.heads.iter().flatten().filter_map(|head| head.key.as_ref())
    }
}

impl Store {
    /// The version of a source that was taken in last.
    pub(crate) fn version(&self, source: &str) -> Option<&Version> {
        self.sources.get(source).map(|source| &source.version)
    }

    /// The names of all sources.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources.keys()
    }

    /// Takes a source in as it is now.
    pub(crate) fn set(&mut self, path: &Arc<str>, content: Content) {
        let Content { version, blank, readings } = content;
        let (mut heads, mut nameless) = (Vec::new(), Vec::new());
        let mut told: BTreeMap<ObjectKey, Vec<Reading>> = BTreeMap::new();
        let failed = readings.as_ref().err().cloned();
        for (number, reading) in (0..).zip(readings.into_iter().flatten()) {
            let object::Reading { mut key, at, mut object, bad, issues, for_fleet: _ } = reading;
            if let Some(key) = &mut key {
                // It was just read, so nobody else has it.
                self.shared.share(key, object.as_mut().and_then(Arc::get_mut));
                let reading = Reading { source: Arc::clone(path), number, at, object, bad, issues };
                told.entry(key.clone()).or_default().push(reading);
            } else if !issues.is_empty() {
                nameless.push((number, issues));
            }
            heads.push(Head { key, at });
        }
        let heads = failed.map_or_else(|| Ok(heads.into()), |problem| Err(Box::new(problem)));
        let source = Source { version, blank, heads, nameless: nameless.into() };
        self.count += source.count();
        let old = self.sources.insert(Arc::clone(path), source);
        self.replace(path, old.as_ref(), told);
    }

    /// Forgets a source. What it told is gone, unless another one tells it.
    pub(crate) fn remove(&mut self, path: &str) {
        let Some((path, old)) = self.sources.remove_entry(path) else { return };
        self.replace(&path, Some(&old), BTreeMap::new());
    }

    /// Replaces what a source tells, and marks what is to be decided anew.
    fn replace(
        &mut self,
        path: &Arc<str>,
        old: Option<&Source>,
        mut told: BTreeMap<ObjectKey, Vec<Reading>>,
    ) {
        self.count -= old.map_or(0, Source::count);
        let mut keys: BTreeSet<ObjectKey> = told.keys().cloned().collect();
        keys.extend(old.into_iter().flat_map(Source::keys).cloned());
        for key in keys {
            let new = told.remove(&key).unwrap_or_default();
            if self.objects.entry(key.clone()).or_default().replace(path, new) {
                self.dirty.insert(key);
            }
        }
        // Whether they may be missing depends on what else is in their source.
        self.dirty.extend(self.lost.get(path).into_iter().flatten().cloned());
        self.dirty_sources.insert(Arc::clone(path));
    }

    /// The version in force of an object.
    fn kept(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)?.kept.as_ref().map(|kept| &kept.object)
    }

    /// All objects in force, as if they had just come.
    pub(crate) fn all(&self) -> Vec<Changed> {
        let kept = self.objects.iter().filter_map(|(key, entry)| Some((key, entry.kept.as_ref()?)));
        let new = |(key, kept): (&ObjectKey, &Kept)| Changed {
            key: key.clone(),
            before: None,
            after: Some(Arc::clone(&kept.object)),
        };
        kept.map(new).collect()
    }

    /// The objects of a kind that are in force, in the order of their names.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        self.from(kind, "").take_while(move |(key, _)| key.kind == kind).filter_map(|(_, kept)| kept)
    }

    /// The same, of one namespace.
    pub(crate) fn in_namespace<'s>(
        &'s self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = &'s Arc<Object>> + use<'s> {
        let wanted: Arc<str> = namespace.into();
        self.from(kind, namespace)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == wanted)
            .filter_map(|(_, kept)| kept)
    }

    fn from<'s>(
        &'s self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = (&'s ObjectKey, Option<&'s Arc<Object>>)> + use<'s> {
        let first = ObjectKey { kind, namespace: namespace.into(), name: "".into() };
        let range = self.objects.range((Bound::Included(first), Bound::Unbounded));
        range.map(|(key, entry)| (key, entry.kept.as_ref().map(|kept| &kept.object)))
    }

    /// Objects in force in a version that no source tells any more: their lines are those of an older text.
    pub(crate) fn outdated(&self) -> impl Iterator<Item = &ObjectKey> {
        self.outdated.iter()
    }

    /// What is wrong with sources and objects, each by itself.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.of_sources.values().chain(self.of_objects.values()).flatten()
    }

    /// Decides everything anew; it changes nothing but what was decided wrong.
    pub(crate) fn doubt(&mut self) {
        self.dirty.extend(self.objects.keys().cloned());
        self.dirty_sources.extend(self.sources.keys().cloned());
    }

    /// Decides which version of each object is in force. Tells those for which it is another one than before, and
    /// whether anything is wrong that was not, or the other way round.
    pub(crate) fn decide(&mut self) -> (Vec<Changed>, bool) {
        let cut = self.find_cut();
        if cut != self.cut {
            self.cut = cut;
            self.doubt();
        }
        let mut told = false;
        let mut changed = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            let before = self.kept(&key).cloned();
            told |= self.decide_one(&key);
            let after = self.kept(&key).cloned();
            let same = match (&before, &after) {
                (None, None) => true,
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                _ => false,
            };
            if !same {
                changed.push(Changed { key, before, after });
            }
        }
        for path in std::mem::take(&mut self.dirty_sources) {
            let problems = self.problems_of(&path);
            told |= put(&mut self.of_sources, path, problems);
        }
        self.shared.sweep();
        self.close_up(changed.len());
        (changed, told)
    }

    /// A tree that grows in the order of its keys has half-empty nodes; made of what is sorted, they are full. Done when most
    /// of it is new.
    fn close_up(&mut self, changed: usize) {
        if 2 * changed > self.objects.len() {
            self.objects = std::mem::take(&mut self.objects).into_iter().collect();
        }
    }

    fn decide_one(&mut self, key: &ObjectKey) -> bool {
        let Some(entry) = self.objects.get_mut(key) else { return false };
        let previous = entry.kept.take();
        if let Some(previous) = &previous {
            let source = &previous.object.file;
            if let Some(lost) = self.lost.get_mut(source) {
                lost.remove(key);
                self.dirty_sources.insert(Arc::clone(source));
                if lost.is_empty() {
                    self.lost.remove(source);
                }
            }
        }
        let (kept, problems) = if entry.readings.is_empty() {
            let stays = previous.filter(|it| {
                self.sources
                    .get(&it.object.file)
                    .is_some_and(|source| source.may_miss(&it.object.file, self.cut.as_ref()))
            });
            (stays, Vec::new())
        } else {
            choose(key, &entry.readings, previous.as_ref(), self.cut.as_ref())
        };
        entry.kept = kept;
        let mut told = false;
        if let Some(kept) = &entry.kept {
            let source = &kept.object.file;
            if !entry.readings.iter().any(|reading| reading.source == *source) {
                self.lost.entry(Arc::clone(source)).or_default().insert(key.clone());
                self.dirty_sources.insert(Arc::clone(source));
            }
            told |= match entry.tells(&kept.object) {
                true => self.outdated.remove(key),
                false => self.outdated.insert(key.clone()),
            };
        } else {
            told |= self.outdated.remove(key);
            if entry.readings.is_empty() {
                self.objects.remove(key);
            }
        }
        put(&mut self.of_objects, key.clone(), problems) || told
    }

    /// What is wrong with a source as a whole.
    fn problems_of(&self, path: &Arc<str>) -> Vec<Problem> {
        let Some(source) = self.sources.get(path) else { return Vec::new() };
        let mut problems = Vec::new();
        match &source.heads {
            Err(problem) => problems.push((**problem).clone()),
            Ok(_) => {
                let nameless = source.nameless.iter();
                let read = nameless.filter(|(number, _)| is_read(self.cut.as_ref(), path, *number));
                problems.extend(read.flat_map(|(_, issues)| issues).cloned());
            }
        }
        if let Some(cut) = self.cut.as_ref().filter(|cut| cut.source == *path) {
            problems.push(too_many(cut));
        }
        let untold = |key: &ObjectKey| self.objects.get(key).is_some_and(|it| it.readings.is_empty());
        if source.blank && self.lost.get(path).into_iter().flatten().any(untold) {
            problems.push(emptied(path));
        }
        problems
    }

    fn find_cut(&self) -> Option<Cut> {
        let mut left = MAX_OBJECTS;
        if self.count <= left {
            return None;
        }
        for (path, source) in &self.sources {
            let Ok(heads) = &source.heads else { continue };
            if let Some(head) = heads.get(left) {
                let number = u32::try_from(left).unwrap_or(u32::MAX);
                return Some(Cut { source: Arc::clone(path), number, at: head.at });
            }
            left -= heads.len();
        }
        None
    }
}

impl Entry {
    /// Replaces what a source tells of the object; whether that is news.
    fn replace(&mut self, path: &Arc<str>, mut new: Vec<Reading>) -> bool {
        let (old, mut all): (Vec<Reading>, Vec<Reading>) =
            std::mem::take(&mut self.readings).into_iter().partition(|it| it.source == *path);
        let same = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| old.says_the_same(new));
        // What is the same stays the same, so that nothing that was made from it is made anew.
        for new in &mut new {
            let same = old.iter().find(|old| old.bad == new.bad && old.object == new.object);
            if let Some(same) = same {
                new.object.clone_from(&same.object);
            }
        }
        all.append(&mut new);
        all.sort_by(|a, b| (&a.source, a.number).cmp(&(&b.source, b.number)));
        self.readings = all.into();
        !same
    }

    /// Whether some source tells this very version.
    fn tells(&self, object: &Arc<Object>) -> bool {
        self.readings.iter().filter_map(|it| it.object.as_ref()).any(|it| Arc::ptr_eq(it, object))
    }
}

impl Source {
    /// Whether it may hold objects that are not found in it: it cannot be read, was emptied, or has one without a name.
    fn may_miss(&self, path: &str, cut: Option<&Cut>) -> bool {
        let Ok(heads) = &self.heads else { return true };
        let nameless = |(number, head): (u32, &Head)| head.key.is_none() && is_read(cut, path, number);
        self.blank || (0..).zip(heads).any(nameless)
    }
}

fn is_read(cut: Option<&Cut>, path: &str, number: u32) -> bool {
    cut.is_none_or(|cut| (path, number) < (&*cut.source, cut.number))
}

/// Keeps what is wrong with something, if anything is; whether that is news.
fn put<K: Ord>(all: &mut BTreeMap<K, Box<[Problem]>>, key: K, problems: Vec<Problem>) -> bool {
    if problems.is_empty() {
        return all.remove(&key).is_some();
    }
    let before = all.get(&key);
    let news = before.is_none_or(|before| **before != *problems);
    if news {
        all.insert(key, problems.into());
    }
    news
}

fn emptied(path: &str) -> Problem {
    let hint = "if it is meant, remove the file, or write a comment into it";
    let message = "the file is empty now; the objects that it had stay in force";
    Problem { severity: Severity::Warning, ..Problem::of_file(path, message, hint) }
}

fn too_many(cut: &Cut) -> Problem {
    let message = format!("there are more than {MAX_OBJECTS} objects; those from here on are left out");
    let hint = "give the agent only the manifests of its own cluster";
    let mut problem = Problem::of_file(&cut.source, message, hint);
    (problem.line, problem.column) = (cut.at.line, cut.at.column);
    problem
}
