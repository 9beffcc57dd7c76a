//! What is for the whole fleet of an API's objects, for a hub: each as a document of YAML that says the same as long as the object
//! does, whatever its version is. Nothing is told before all first lists are complete.

use super::{
    Board, KubeOptions,
    kinds::{ALL, Kinds, OURS, Watched},
    shelf::{Onward, Shelf, Told},
    state::Verdict,
    subjects::{self, Subject},
    watch_all,
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_api::{Problem, SourceFile, plain_objects};
use tokio::sync::{Notify, mpsc, watch};

/// As much as is taken in at once at most.
const MOST_TOLD: usize = 256;
/// The annotation of a gateway that is for the whole fleet, or says that it is not.
const SCOPE: &str = "tidegate.dev/scope";

/// An object for the whole fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetObject {
    /// What it is; its path is that of a file: `kubernetes/FailoverPolicy/shop/web`.
    pub subject: Subject,
    /// A document of YAML: `apiVersion`, `kind`, of `metadata` what its author wrote and when it was made, `spec`.
    pub text: String,
}

/// All that there is.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// The objects, by path.
    pub objects: Vec<Arc<FleetObject>>,
    /// What is wrong with reading some of it.
    pub problems: Vec<Problem>,
}

/// Why there is nothing new to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Not all first lists are complete.
    #[error("the API at {url} has not told all {kinds} yet{why}")]
    Awaited {
        /// Where it is.
        url: String,
        /// Which are missing.
        kinds: String,
        /// What is wrong, if anything is.
        why: String,
    },
    /// It does not know our kinds: that is no policy without objects.
    #[error("the API at {url} does not serve {kinds}\n  hint: kubectl apply --server-side -k deploy/crds")]
    Absent {
        /// Where it is.
        url: String,
        /// Which.
        kinds: String,
    },
    /// It does not answer, and all that it told before was read.
    #[error("{0}")]
    Away(String),
}

/// Follows an API. The following ends with it.
#[derive(Debug)]
pub struct Follower {
    url: String,
    held: Arc<Mutex<Held>>,
    board: Board,
    complete: watch::Receiver<bool>,
    _following: watch::Sender<()>,
}

#[derive(Debug)]
struct Held {
    shelf: Shelf,
    objects: Objects,
    /// Our kinds that the API did not serve when it was asked last.
    absent: BTreeSet<&'static str>,
    /// Whether it was read since something changed.
    read: bool,
}

/// By their path on the shelf.
#[derive(Debug, Default)]
struct Objects(BTreeMap<Box<str>, Arc<FleetObject>>);

impl Follower {
    /// Begins to follow; `changed` is told when there may be something new to read.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start(options: &KubeOptions, changed: Arc<Notify>) -> Self {
        let (taken, board) = watch_all(options, Kinds::Fleet);
        let held = Arc::new(Mutex::new(Held::default()));
        let (following, ended) = watch::channel(());
        let (completes, complete) = watch::channel(false);
        tokio::spawn(follow(taken, Arc::clone(&held), completes, changed, ended));
        Self { url: options.url.clone(), held, board, complete, _following: following }
    }

    /// Until all first lists are complete.
    pub async fn listed(&self) {
        // Whoever follows lives as long as this.
        let _ = self.complete.clone().wait_for(|complete| *complete).await;
    }

    /// What there is now.
    ///
    /// # Errors
    /// If not all was told once, the API does not serve our kinds, or is away and nothing is new since it was read last.
    pub fn read(&self) -> Result<Followed, Unread> {
        lock(&self.held).read(&self.url)
    }

    /// How long ago the API was heard; `None` if it was not since the start.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.board.view().age
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(
    mut taken: mpsc::Receiver<Told>,
    held: Arc<Mutex<Held>>,
    complete: watch::Sender<bool>,
    changed: Arc<Notify>,
    mut ended: watch::Receiver<()>,
) {
    loop {
        let mut told = Vec::new();
        let count = tokio::select! {
            count = taken.recv_many(&mut told, MOST_TOLD) => count,
            // Nobody sends: it fails when nobody follows any more.
            _ = ended.changed() => 0,
        };
        if count == 0 {
            return;
        }
        let mut held = lock(&held);
        told.into_iter().for_each(|told| held.take(told));
        let (is_complete, news) = (held.shelf.is_complete(), !held.read);
        drop(held);
        complete.send_if_modified(|known| is_complete && !std::mem::replace(known, is_complete));
        if is_complete && news {
            changed.notify_one();
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        let shelf = Shelf::of(Kinds::Fleet);
        Self { shelf, objects: Objects::default(), absent: BTreeSet::new(), read: false }
    }
}

impl Held {
    fn take(&mut self, told: Told) {
        match &told {
            Told::Verdict(kind, Verdict::NoneServed) if kind.group == OURS => {
                self.absent.insert(kind.kind);
            }
            Told::Verdict(kind, Verdict::Complete) => {
                self.absent.remove(kind.kind);
            }
            _ => {}
        }
        // An outage is told by whoever reads again, with its age.
        self.read &= matches!(told, Told::Failing(..));
        self.shelf.take(told, &mut self.objects);
    }

    fn read(&mut self, url: &str) -> Result<Followed, Unread> {
        let url = || url.to_owned();
        let problems = self.shelf.problems();
        let awaited: Vec<&str> = self.shelf.awaited().collect();
        if !awaited.is_empty() {
            let why = problems.first().map(|it| format!(": {}", it.message)).unwrap_or_default();
            return Err(Unread::Awaited { url: url(), kinds: awaited.join(", "), why });
        }
        if !self.absent.is_empty() {
            let kinds: Vec<&str> = self.absent.iter().copied().collect();
            return Err(Unread::Absent { url: url(), kinds: kinds.join(", ") });
        }
        // Of the API as a whole, and not of one kind.
        let away = problems.iter().find(|problem| problem.file == "kubernetes");
        if let Some(problem) = away.filter(|_| self.read) {
            return Err(Unread::Away(problem.message.clone()));
        }
        self.read = true;
        Ok(Followed { objects: self.objects.0.values().cloned().collect(), problems })
    }
}

impl Onward for Objects {
    fn set(&mut self, path: &str, _version: &str, text: &str) {
        match fleet_object(path, text) {
            Some(object) => self.0.insert(path.into(), Arc::new(object)),
            None => self.0.remove(path),
        };
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }
}

/// What is held of an object, as JSON, as it is handed on; `None` if it is the business of its cluster alone.
fn fleet_object(path: &str, text: &str) -> Option<FleetObject> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let kind = value.get("kind").and_then(Value::as_str)?;
    let watched: &Watched = ALL.iter().find(|it| it.kind == kind)?;
    let scope = value.pointer("/metadata/annotations").and_then(|it| it.get(SCOPE)).and_then(Value::as_str);
    if kind == "Gateway" && matches!(scope, None | Some("Cluster")) {
        return None;
    }
    // `kubernetes: FailoverPolicy shop/web`, of which only a file's name is to be made.
    let path = path.replacen(": ", "/", 1).replacen(' ', "/", 1);
    let subject = subjects::read(watched, &path, text)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, it| {
            !["uid", "generation"].contains(&name.as_str()) && !it.as_object().is_some_and(Map::is_empty)
        });
    }
    Some(FleetObject { subject, text: yaml(&value) })
}

/// A document of YAML that says exactly this. JSON is YAML too: it is taken for what would not be read back as it was.
fn yaml(value: &Value) -> String {
    let is_same = |text: &String| {
        let file = SourceFile { path: String::new(), text: text.clone() };
        matches!(&plain_objects(&file)[..], [read] if read == value)
    };
    let text = serde_saphyr::to_string(value).ok().filter(is_same);
    text.unwrap_or_else(|| format!("{value:#}\n"))
}

#[cfg(test)]
mod tests;
