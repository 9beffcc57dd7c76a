//! When to read the manifests again: on events of the file system, after they have settled, and every few seconds by
//! comparing what the files look like, because events get lost (network file systems, full queues, bind mounts).

use crate::scan::{self, Found};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidegate_api::{Config, Loaded, Loader, Problem, SourceFile};
use tidegate_model::ClusterName;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// A burst of writes is over when nothing happened for so long: editors and `git checkout` write within it.
const QUIET: Duration = Duration::from_millis(20);

/// A burst that goes on is loaded after so long all the same.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often files are compared when no event came.
const POLL: Duration = Duration::from_secs(5);

/// Why manifests cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No path was given.
    #[error("no manifests were given: name at least one file or folder")]
    NoPaths,
    /// A path does not exist or cannot be read.
    #[error("the manifests {path} cannot be read: {source}")]
    Path {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What the manifests said at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What is in force.
    pub config: Arc<Config>,
    /// What is wrong, in the files and with them.
    pub problems: Vec<Problem>,
    /// From 1; each later snapshot has a higher one.
    pub generation: u64,
    /// The number of the [`Given`] that is part of it; 0 if there is none.
    pub given: u64,
}

/// Files that do not lie in the folder, but are handed to it: what a hub hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Tells one from the next.
    pub number: u64,
    /// The files. Of two objects with one name the first by path is taken, so their paths say who wins.
    pub files: Arc<Vec<SourceFile>>,
}

impl Snapshot {
    /// All problems as text, one after the other, for a log or a terminal. Empty when there are none.
    #[must_use]
    pub fn problems_text(&self) -> String {
        self.problems.iter().map(|problem| format!("{problem}\n")).collect()
    }
}

/// Files and folders of manifests.
#[derive(Debug)]
pub struct Folder;

impl Folder {
    /// Loads the manifests below `paths` and watches them until `shutdown`.
    ///
    /// The first snapshot is there when this returns, and counts as a change, so that a loop that only waits for
    /// changes gets it too. Later ones may be skipped when they come faster than they are looked at; the last one never
    /// is. A snapshot follows only a change of the configuration or of its problems.
    ///
    /// # Errors
    /// If no path is given, or one of them does not exist. What goes wrong later is among the problems of a snapshot.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn watch(
        paths: Vec<PathBuf>,
        cluster: ClusterName,
        shutdown: CancellationToken,
    ) -> Result<watch::Receiver<Arc<Snapshot>>, Error> {
        if paths.is_empty() {
            return Err(Error::NoPaths);
        }
        Self::watch_beside(paths, None, cluster, shutdown)
    }

    /// As [`Folder::watch`], with files that are handed to it beside those of the folders, of which there may be none.
    ///
    /// # Errors
    /// If a path does not exist.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn watch_beside(
        paths: Vec<PathBuf>,
        given: Option<watch::Receiver<Given>>,
        cluster: ClusterName,
        shutdown: CancellationToken,
    ) -> Result<watch::Receiver<Arc<Snapshot>>, Error> {
        for path in &paths {
            if let Err(source) = std::fs::metadata(path) {
                return Err(Error::Path { path: path.clone(), source });
            }
        }
        let changed = Arc::new(Notify::new());
        let mut reader = Reader::new(paths, cluster, &changed);
        reader.take(given.as_ref());
        let loaded = reader.load();
        let first = Snapshot {
            config: Arc::new(loaded.config),
            problems: loaded.problems,
            generation: 1,
            given: reader.given.number,
        };
        let (sender, mut receiver) = watch::channel(Arc::new(first));
        receiver.mark_changed();
        tokio::spawn(follow(reader, changed, given, sender, shutdown));
        Ok(receiver)
    }
}

/// Waits for changes and loads them.
async fn follow(
    mut reader: Reader,
    changed: Arc<Notify>,
    mut given: Option<watch::Receiver<Given>>,
    sender: watch::Sender<Arc<Snapshot>>,
    shutdown: CancellationToken,
) {
    let mut next_poll = Instant::now() + POLL;
    loop {
        let (by_event, burst) = tokio::select! {
            () = shutdown.cancelled() => return,
            () = sender.closed() => return,
            () = changed.notified() => (true, true),
            () = handed(&mut given) => (true, false),
            () = sleep_until(next_poll) => (false, false),
        };
        if burst {
            settle(&changed).await;
        }
        reader.take(given.as_ref());
        // On a thread for blocking work: a file system that hangs must not hold up the agent.
        let work = tokio::task::spawn_blocking(move || {
            let loaded = (by_event || reader.looks_different()).then(|| reader.load());
            (reader, loaded)
        });
        let loaded;
        (reader, loaded) = match work.await {
            Ok(done) => done,
            Err(error) => {
                // The runtime is shutting down, or the loader panicked: the last snapshot stays.
                tracing::error!(%error, "manifests are no longer followed");
                return;
            }
        };
        if let Some(Loaded { config, problems }) = loaded {
            let given = reader.given.number;
            sender.send_if_modified(|last| {
                let same = *last.config == config && last.problems == problems && last.given == given;
                if !same {
                    let generation = last.generation + 1;
                    *last = Arc::new(Snapshot { config: Arc::new(config), problems, generation, given });
                }
                !same
            });
        }
        next_poll = Instant::now() + POLL;
    }
}

/// Waits until other files are handed; for ever where none are.
async fn handed(given: &mut Option<watch::Receiver<Given>>) {
    let over = match given {
        Some(given) => given.changed().await.is_err(),
        None => true,
    };
    if over {
        std::future::pending::<()>().await;
    }
}

/// Waits until a burst of events is over.
async fn settle(changed: &Notify) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let quiet = (Instant::now() + QUIET).min(limit);
        if timeout_at(quiet, changed.notified()).await.is_err() {
            return;
        }
        if Instant::now() >= limit {
            return;
        }
    }
}

/// Reads the manifests again and again.
struct Reader {
    roots: Vec<PathBuf>,
    loader: Loader,
    /// The files that were loaded: the loader knows what each held, for one that cannot be read for a while.
    last: BTreeSet<String>,
    /// The files that are handed to it.
    given: Given,
    found: Found,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Reader {
    fn new(roots: Vec<PathBuf>, cluster: ClusterName, changed: &Arc<Notify>) -> Self {
        Self {
            watcher: watcher(&roots, Arc::clone(changed)),
            roots,
            loader: Loader::new(cluster),
            last: BTreeSet::new(),
            given: Given::default(),
            found: Found::default(),
            watched: BTreeSet::new(),
        }
    }

    /// Whether files came, went or changed since the last load.
    fn looks_different(&self) -> bool {
        let now = scan::find(&self.roots);
        now.files != self.found.files
            || now.folders != self.found.folders
            || now.unlisted != self.found.unlisted
    }

    /// Uses the files that are handed now from the next load on.
    fn take(&mut self, given: Option<&watch::Receiver<Given>>) {
        if let Some(given) = given {
            self.given = given.borrow().clone();
        }
    }

    fn load(&mut self) -> Loaded {
        // Folders are watched before they are listed, so that what comes in between is an event. A new folder is
        // known only once it was listed, so it is listed again.
        let mut found = scan::find(&self.roots);
        if self.watch_folders(&found) {
            found = scan::find(&self.roots);
        }
        let mut problems = std::mem::take(&mut found.problems);
        let mut files = Vec::with_capacity(found.files.len());
        let mut as_before = Vec::new();
        for path in found.files.keys() {
            match scan::read(path) {
                Ok(file) => files.push(file),
                Err(problem) => {
                    as_before.extend(self.last.get(&problem.file).cloned());
                    problems.push(*problem);
                }
            }
        }
        files.extend(self.given.files.iter().cloned());
        // What lies in a place that cannot be looked into now is not known to be gone.
        let hidden = |name: &&String| {
            let path = Path::new(name);
            !found.files.contains_key(path) && found.unlisted.iter().any(|place| path.starts_with(place))
        };
        as_before.extend(self.last.iter().filter(hidden).cloned());
        let mut loaded = self.loader.load_changed(&files, &as_before);
        problems.append(&mut loaded.problems);
        self.last = files.into_iter().map(|file| file.path).chain(as_before).collect();
        self.found = found;
        Loaded { config: loaded.config, problems }
    }

    /// Watches the folders that are there now; whether any is new.
    fn watch_folders(&mut self, found: &Found) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        // Of a root its folder too: it may be replaced as a whole, and a watch would follow the old one.
        let parents =
            self.roots.iter().filter_map(|root| std::path::absolute(root).ok()?.parent().map(PathBuf::from));
        let folders = found.folders.iter().filter_map(|folder| std::path::absolute(folder).ok());
        let wanted: BTreeSet<PathBuf> = folders.chain(parents).collect();
        for gone in self.watched.difference(&wanted) {
            // An error means that the system has forgotten it already, as it does when the folder is removed.
            let _ = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            // Those that are watched too: a folder that was replaced has the same path, but is another one.
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(folder);
                }
                Err(error) => {
                    tracing::debug!(folder = %folder.display(), %error, "compared only, not watched");
                }
            }
        }
        let any_new = !watched.is_subset(&self.watched);
        self.watched = watched;
        any_new
    }
}

/// A watcher that tells of changes at or below `roots`; `None` where the system has none to give.
fn watcher(roots: &[PathBuf], changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| std::path::absolute(root).ok()).collect();
    let on_event = move |event: notify::Result<notify::Event>| {
        let matters = event.map_or(true, |event| {
            // Reading is an event too, and our own would never end. The folder that holds a root tells of its other
            // entries, which are not ours.
            let ours = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root));
            event.need_rescan() || (!event.kind.is_access() && event.paths.iter().any(ours))
        });
        if matters {
            changed.notify_one();
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(|error| {
            let seconds = POLL.as_secs();
            tracing::warn!(%error, "no file system events; manifests are compared every {seconds} s");
        })
        .ok()
}
