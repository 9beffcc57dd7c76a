//! When to read the manifests again: on events of the file system, after they have settled, and every few seconds by
//! comparing what the files look like, because events get lost (network file systems, full queues, bind mounts).

use crate::{
    events::{Events, Told},
    reader::Reader,
    updates::{Sender, Snapshot, Updates, channel},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tidegate_api::SourceFile;
use tidegate_model::ClusterName;
use tokio::{
    sync::watch,
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

/// Files that do not lie in the folder, but are handed to it: what a hub hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Tells one from the next.
    pub number: u64,
    /// The files. Of two objects with one name the first by path is taken, so their paths say who wins.
    pub files: Arc<Vec<SourceFile>>,
}

/// Files and folders of manifests.
#[derive(Debug)]
pub struct Folder;

impl Folder {
    /// Loads the manifests below `paths` and watches them until `shutdown`, or until nobody follows any more.
    ///
    /// The first snapshot is there when this returns. Updates come when the configuration or its problems change; those that
    /// come faster than they are taken become one.
    ///
    /// # Errors
    /// If no path is given, or one of them does not exist. What goes wrong later is among the problems of an update.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn watch(
        paths: Vec<PathBuf>,
        cluster: ClusterName,
        shutdown: CancellationToken,
    ) -> Result<(Snapshot, Updates), Error> {
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
        mut given: Option<watch::Receiver<Given>>,
        cluster: ClusterName,
        shutdown: CancellationToken,
    ) -> Result<(Snapshot, Updates), Error> {
        for path in &paths {
            if let Err(source) = std::fs::metadata(path) {
                return Err(Error::Path { path: path.clone(), source });
            }
        }
        let events = Arc::new(Events::default());
        let mut reader = Reader::new(paths, cluster, &events, POLL);
        if let Some(given) = &mut given {
            reader.take(given.borrow_and_update().clone());
        }
        reader.load(&Told::everything());
        let (config, problems) = (Arc::new(reader.loader.config().clone()), reader.problems());
        let first = Snapshot { config, problems, generation: 1, given: reader.given() };
        let (sender, updates) = channel(&first);
        tokio::spawn(follow(reader, events, given, sender, shutdown));
        Ok((first, updates))
    }
}

/// Waits for changes and loads them.
async fn follow(
    mut reader: Reader,
    events: Arc<Events>,
    mut given: Option<watch::Receiver<Given>>,
    mut sender: Sender,
    shutdown: CancellationToken,
) {
    let mut next_poll = Instant::now() + POLL;
    loop {
        let (by_event, handed) = tokio::select! {
            () = shutdown.cancelled() => return,
            () = sender.gone.cancelled() => return,
            () = events.filled.notified() => (true, None),
            handed = handed(&mut given) => (true, Some(handed)),
            () = sleep_until(next_poll) => (false, None),
        };
        if by_event && handed.is_none() {
            settle(&events).await;
        }
        let told = by_event.then(|| events.take());
        // On a thread for blocking work: a file system that hangs must not hold up the agent.
        let work = tokio::task::spawn_blocking(move || {
            if let Some(handed) = handed {
                reader.take(handed);
            }
            let told = told.or_else(|| reader.looks_different().then(Told::everything));
            let loaded = told.map(|told| reader.load(&told));
            (reader, loaded)
        });
        let loaded;
        (reader, loaded) = match work.await {
            Ok(done) => done,
            Err(error) => {
                // The runtime is shutting down, or the loader panicked: what was told last stays.
                tracing::error!(%error, "manifests are no longer followed");
                return;
            }
        };
        if let Some((change, problems)) = loaded {
            sender.send(change, problems, reader.given());
        }
        if !by_event {
            next_poll = Instant::now() + POLL;
        }
    }
}

/// The files that are handed next; it waits for ever where none are.
async fn handed(given: &mut Option<watch::Receiver<Given>>) -> Given {
    if let Some(given) = given
        && given.changed().await.is_ok()
    {
        return given.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Waits until a burst of events is over.
async fn settle(events: &Events) {
    let limit = Instant::now() + PATIENCE;
    loop {
        let quiet = (Instant::now() + QUIET).min(limit);
        if timeout_at(quiet, events.filled.notified()).await.is_err() {
            return;
        }
        if Instant::now() >= limit {
            return;
        }
    }
}
