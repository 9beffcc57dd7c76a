//! What the file system tells of changes, until somebody asks.

use notify::{RecommendedWatcher, Watcher};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// More paths than this are no change of some files: all are looked at then.
const MAX_PATHS: usize = 4096;

/// Paths that something happened to.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// As the file system names them: absolute.
    pub(crate) paths: BTreeSet<PathBuf>,
    /// Whether it may be any others too.
    pub(crate) everything: bool,
}

impl Told {
    /// Nothing is known of what happened.
    pub(crate) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }
}

/// Where the file system tells, and the reader asks.
#[derive(Debug, Default)]
pub(crate) struct Events {
    told: Mutex<Told>,
    pub(crate) filled: Notify,
}

impl Events {
    /// Takes what was told since the last time.
    pub(crate) fn take(&self) -> Told {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, paths: Vec<PathBuf>, rescan: bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.paths.extend(paths);
        // An event without a path may be of any.
        if rescan || told.paths.is_empty() || told.paths.len() > MAX_PATHS {
            *told = Told::everything();
        }
        drop(told);
        self.filled.notify_one();
    }
}

/// A watcher that tells of changes at or below `roots`; `None` where the system has none to give, and files are compared
/// every `poll`.
pub(crate) fn watcher(roots: &[PathBuf], events: Arc<Events>, poll: Duration) -> Option<RecommendedWatcher> {
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| std::path::absolute(root).ok()).collect();
    let on_event = move |event: notify::Result<notify::Event>| {
        // The folder that holds a root tells of its other entries, which are not ours.
        let ours = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root));
        match event {
            Err(_) => events.tell(Vec::new(), true),
            Ok(event) if event.need_rescan() => events.tell(Vec::new(), true),
            // Reading is an event too, and our own would never end.
            Ok(event) if event.kind.is_access() => {}
            Ok(event) => {
                let paths: Vec<PathBuf> = event.paths.into_iter().filter(ours).collect();
                if !paths.is_empty() {
                    events.tell(paths, false);
                }
            }
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(|error| {
            let seconds = poll.as_secs();
            tracing::warn!(%error, "no file system events; manifests are compared every {seconds} s");
        })
        .ok()
}

/// Watches `wanted` and nothing else, without what lies deeper. Gives what is watched now.
pub(crate) fn watch_only(
    watcher: &mut RecommendedWatcher,
    watched: &BTreeSet<PathBuf>,
    wanted: BTreeSet<PathBuf>,
) -> BTreeSet<PathBuf> {
    for gone in watched.difference(&wanted) {
        // An error means that the system has forgotten it already, as it does when the folder is removed.
        let _ = watcher.unwatch(gone);
    }
    let mut now = BTreeSet::new();
    for folder in wanted {
        // Those that are watched too: a folder that was replaced has the same path, but is another one.
        match watcher.watch(&folder, notify::RecursiveMode::NonRecursive) {
            Ok(()) => {
                now.insert(folder);
            }
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "compared only, not watched");
            }
        }
    }
    now
}
