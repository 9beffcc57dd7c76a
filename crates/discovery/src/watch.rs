//! When to read the manifests again: on events of the file system, after they have settled, and every few seconds by
//! comparing what the files look like, because events get lost (network file systems, full queues, bind mounts). What the API
//! of a cluster tells is taken in together a few times in a hundred milliseconds at most.

use crate::{
    events::{Events, Told},
    kube::{self, Board, KubeOptions, shelf},
    reader::Reader,
    updates::{Sender, Snapshot, Updates, channel},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidegate_api::{ConfigChange, Loader, Problem, SourceFile};
use tidegate_model::ClusterName;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// A burst of writes is over when nothing happened for so long: editors and `git checkout` write within it.
const QUIET: Duration = Duration::from_millis(20);

/// A burst that goes on is loaded after so long all the same.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often files are compared when no event came.
const POLL: Duration = Duration::from_secs(5);

/// What the API tells within this time is one change: a thousand objects a second are at most two hundred changes.
const TOGETHER: Duration = Duration::from_millis(5);

/// As much of it is taken in at once at most.
const MOST_TOLD: usize = 256;

/// What the API told is kept on disk so often at most.
const SAVE: Duration = Duration::from_secs(30);

/// An agent that has something on disk waits so long for its API to tell all.
const START: Duration = Duration::from_secs(5);

/// An agent that has nothing says so often that it waits.
const SAY: Duration = Duration::from_secs(10);

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
    /// It was to stop before the API had told all.
    #[error("stopped before the cluster's API had told all that there is")]
    Stopped,
}

/// Files that do not lie in the folder, but are handed to it: what a hub hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Tells one from the next.
    pub number: u64,
    /// Its version, for people: a commit, or a digest of the content.
    pub version: String,
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
        let sources = Sources { paths, ..Sources::default() };
        let (events, reader) = sources.open(cluster)?;
        Ok(begin(Reading { reader, events, given: None, api: None, saved: None, board: None }, shutdown))
    }
}

/// All that an agent reads: one configuration comes of it.
#[derive(Debug, Default)]
pub struct Sources {
    /// Files and folders; there may be none.
    pub paths: Vec<PathBuf>,
    /// Files that are handed to it.
    pub given: Option<watch::Receiver<Given>>,
    /// The API of the cluster; with it, only services that are exported are fleet-wide ([`Loader::only_exported`]). Its objects belong to that cluster; of two objects with one name, the one from the API is taken
    /// after what was handed and before those of folders that sort behind `kubernetes:`.
    pub kube: Option<KubeOptions>,
}

impl Sources {
    /// Loads all sources and watches them until `shutdown`, or until nobody follows any more.
    ///
    /// The first snapshot is there when this returns. With an API that is when all first lists are complete; if they are not
    /// within five seconds and there is something on disk, that counts until they are.
    ///
    /// # Errors
    /// If a path does not exist, or at `shutdown`.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn watch(
        self,
        cluster: ClusterName,
        shutdown: CancellationToken,
    ) -> Result<(Snapshot, Updates, Option<Board>), Error> {
        let (events, mut reader) = self.open(cluster)?;
        let given = self.given;
        let Some(options) = self.kube else {
            let (first, updates) =
                begin(Reading { reader, events, given, api: None, saved: None, board: None }, shutdown);
            return Ok((first, updates, None));
        };
        let has_saved = options.saved.as_ref().is_some_and(|path| reader.take_saved(path));
        let (mut api, board) = kube::watch_all(&options, kube::kinds::Kinds::Cluster);
        let reader = tokio::select! {
            () = shutdown.cancelled() => return Err(Error::Stopped),
            reader = first_lists(reader, &mut api, &board, has_saved) => reader?,
        };
        let reading = Reading {
            reader,
            events,
            given,
            api: Some(api),
            saved: options.saved,
            board: Some(board.clone()),
        };
        let (first, updates) = begin(reading, shutdown);
        Ok((first, updates, Some(board)))
    }

    fn open(&self, cluster: ClusterName) -> Result<(Arc<Events>, Reader), Error> {
        for path in &self.paths {
            if let Err(source) = std::fs::metadata(path) {
                return Err(Error::Path { path: path.clone(), source });
            }
        }
        let events = Arc::new(Events::default());
        let loader = Loader::new(cluster);
        // Whoever lists a whole cluster did not mean all of it for the fleet.
        let loader = if self.kube.is_some() { loader.only_exported() } else { loader };
        let mut reader = Reader::new(self.paths.clone(), loader, &events, POLL);
        if let Some(given) = &self.given {
            reader.take(given.borrow().clone());
        }
        Ok((events, reader))
    }
}

/// Waits for all first lists of the API; with something on disk not for long.
async fn first_lists(
    mut reader: Reader,
    api: &mut mpsc::Receiver<shelf::Told>,
    board: &Board,
    has_saved: bool,
) -> Result<Reader, Error> {
    let patience = Instant::now() + START;
    let mut say = Instant::now() + SAY;
    while !reader.shelf.is_complete() {
        reader.tell_named(board);
        let mut told = Vec::new();
        tokio::select! {
            _ = api.recv_many(&mut told, MOST_TOLD) => {}
            () = sleep_until(patience), if has_saved => {
                let waiting: Vec<&str> = reader.shelf.awaited().collect();
                tracing::warn!(
                    "the cluster's API did not tell all within {} s ({}): what it told last counts until it does",
                    START.as_secs(), waiting.join(", ")
                );
                break;
            }
            () = sleep_until(say) => {
                say = Instant::now() + SAY;
                let waiting: Vec<&str> = reader.shelf.awaited().collect();
                let failing: Vec<String> = board.view().failing.into_values().collect();
                tracing::warn!("waiting for the cluster's API to tell all {}; {}", waiting.join(", "), failing.join("; "));
            }
        }
        for told in &told {
            if let shelf::Told::Failing(_, Some(problem)) = told {
                tracing::warn!("{problem}");
            }
        }
        // Ten thousand slices are a second of work.
        let work = tokio::task::spawn_blocking(move || {
            reader.take_told(told);
            reader
        });
        reader = work.await.map_err(|_| Error::Stopped)?;
    }
    Ok(reader)
}

/// A reader and what it reads from.
struct Reading {
    reader: Reader,
    events: Arc<Events>,
    given: Option<watch::Receiver<Given>>,
    api: Option<mpsc::Receiver<shelf::Told>>,
    /// Where what the API told is kept.
    saved: Option<PathBuf>,
    /// Where it is told what became of it.
    board: Option<Board>,
}

/// Loads all for the first time and goes on reading.
fn begin(mut reading: Reading, shutdown: CancellationToken) -> (Snapshot, Updates) {
    let reader = &mut reading.reader;
    reader.load(&Told::everything());
    let (config, problems) = (Arc::new(reader.loader.config().clone()), reader.problems());
    if let Some(board) = &reading.board {
        reader.tell_named(board);
        reader.tell_judged(board, true);
    }
    let first = Snapshot { config, problems, generation: 1, given: reader.given() };
    let (sender, updates) = channel(&first);
    if let Some(given) = &mut reading.given {
        // What came since it was taken is a change like any other.
        let seen = given.borrow().number == first.given;
        if seen { given.mark_unchanged() } else { given.mark_changed() }
    }
    tokio::spawn(follow(reading, sender, shutdown));
    (first, updates)
}

/// Why there is something to load.
enum Turn {
    /// Files are handed.
    Handed(Given),
    /// The file system told of some.
    Files,
    /// It did not, and they are compared.
    Poll,
    /// The API told of objects.
    Api(Vec<shelf::Told>),
    /// What it told is to be kept.
    Save,
}

/// Waits for changes and loads them.
async fn follow(reading: Reading, mut sender: Sender, shutdown: CancellationToken) {
    let Reading { mut reader, events, mut given, mut api, saved, board } = reading;
    let mut next_poll = Instant::now() + POLL;
    let mut next_save = Instant::now() + TOGETHER;
    loop {
        let mut turn = tokio::select! {
            () = shutdown.cancelled() => break,
            () = sender.gone.cancelled() => break,
            () = events.filled.notified() => Turn::Files,
            handed = handed(&mut given) => Turn::Handed(handed),
            told = told(&mut api) => Turn::Api(vec![told]),
            () = sleep_until(next_poll) => Turn::Poll,
            () = sleep_until(next_save), if saved.is_some() => Turn::Save,
        };
        match &mut turn {
            Turn::Files => settle(&events).await,
            Turn::Poll => next_poll = Instant::now() + POLL,
            Turn::Save => next_save = Instant::now() + SAVE,
            Turn::Api(told) => gather(&mut api, told).await,
            Turn::Handed(_) => {}
        }
        let (events, saved, board) = (Arc::clone(&events), saved.clone(), board.clone());
        // On a thread for blocking work: a file system that hangs must not hold up the agent.
        let work = tokio::task::spawn_blocking(move || {
            let loaded = load(&mut reader, turn, &events, saved.as_deref());
            if let Some(board) = board {
                reader.tell_named(&board);
                reader.tell_judged(&board, loaded.as_ref().is_some_and(|(_, problems)| problems.is_some()));
            }
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
    }
    if let Some(saved) = saved {
        // The runtime may be shutting down: then what was kept last counts.
        let _ = tokio::task::spawn_blocking(move || reader.save(&saved)).await;
    }
}

/// Takes in what there is. Gives what changed by that, if anything may have.
fn load(
    reader: &mut Reader,
    turn: Turn,
    events: &Events,
    saved: Option<&Path>,
) -> Option<(ConfigChange, Option<Vec<Problem>>)> {
    match turn {
        Turn::Save => {
            saved.inspect(|path| reader.save(path));
            None
        }
        Turn::Api(told) => {
            reader.take_told(told);
            Some(reader.decide())
        }
        Turn::Poll => reader.looks_different().then(|| reader.load(&Told::everything())),
        Turn::Files => Some(reader.load(&events.take())),
        Turn::Handed(given) => {
            reader.take(given);
            Some(reader.load(&events.take()))
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

/// What the API tells next; it waits for ever where there is none. Nothing is lost when the future is dropped.
async fn told(api: &mut Option<mpsc::Receiver<shelf::Told>>) -> shelf::Told {
    if let Some(api) = api
        && let Some(told) = api.recv().await
    {
        return told;
    }
    std::future::pending().await
}

/// What the API tells right after, too.
async fn gather(api: &mut Option<mpsc::Receiver<shelf::Told>>, told: &mut Vec<shelf::Told>) {
    let together = Instant::now() + TOGETHER;
    while told.len() < MOST_TOLD
        && let Some(api) = api
        && let Ok(Some(more)) = timeout_at(together, api.recv()).await
    {
        told.push(more);
    }
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
