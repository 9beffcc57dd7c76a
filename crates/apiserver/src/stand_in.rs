//! A stand-in for a faster API server, and for one that has bad days: it lists, watches and keeps objects in memory, over real HTTP.
//!
//! It proves nothing about Kubernetes: a test that asks what an API server does takes [`crate::ApiServer`]. It is for what that one
//! does not do when it is asked to: a thousand changes in a second, 429 for a while, 410 in the middle of a watch.
//!
//! Like the real ones: versions that grow with the store, lists in pages, watches with bookmarks, lists by watches
//! (`sendInitialEvents`), 410 for a version that was forgotten, 409 for one that is not the newest. Thin: nothing is checked,
//! selectors select nothing, and a patch replaces whole fields.

mod http;
mod store;

use crate::{Error, io_error};
use http::{Asked, Connection};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs, io,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use store::{Next, Store};
use tempfile::TempDir;

/// A watch in which nothing changes tells the version so often.
const BOOKMARK: Duration = Duration::from_secs(10);
/// A watch that does not say how long it is to be.
const WATCH_SECONDS: u64 = 300;

/// A kind of objects that it serves.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// Empty for the core group.
    pub group: &'static str,
    /// Its only version.
    pub version: &'static str,
    /// As `kind:` names it.
    pub kind: &'static str,
    /// As addresses name it.
    pub plural: &'static str,
}

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    #[default]
    Well,
    /// With 429, whatever it is asked; how many seconds to wait, if it says so.
    Busy(Option<u64>),
}

/// What it was asked and did since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests.
    pub asked: u64,
    /// Requests that were answered 429.
    pub refused: u64,
    /// Watches that were answered 410, or told so when they were open.
    pub gone: u64,
}

/// A server on a port of loopback. It ends with this.
#[derive(Debug)]
pub struct StandIn {
    shared: Arc<Shared>,
    port: u16,
    folder: TempDir,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Of each kind, by its name in addresses: a change of one wakes no watch of another.
    changed: BTreeMap<&'static str, Condvar>,
    kinds: Vec<Served>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    mood: Mood,
    counted: Counted,
    /// Grows when all watches are to end.
    cuts: u64,
    ended: bool,
}

impl StandIn {
    /// Starts one that serves these kinds.
    ///
    /// # Errors
    /// If there is no port, or no folder for the kubeconfig.
    pub fn start(kinds: &[Served]) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(io_error("a folder for the kubeconfig"))?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(io_error("a port"))?;
        let port = listener.local_addr().map_err(io_error("a port"))?.port();
        let changed = kinds.iter().map(|kind| (kind.plural, Condvar::new())).collect();
        let state = Mutex::default();
        let shared = Arc::new(Shared { state, changed, kinds: kinds.to_vec() });
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
             users: [{{name: test, user: {{}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
        );
        let server = Self { shared: Arc::clone(&shared), port, folder };
        fs::write(server.kubeconfig(), text).map_err(io_error("writing the kubeconfig"))?;
        thread::spawn(move || accept(&listener, &shared));
        Ok(server)
    }

    /// Where a client finds it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Makes an object be this, whether there was one or not.
    ///
    /// # Panics
    /// If it has no `metadata`.
    pub fn set(&self, plural: &str, object: Value) {
        self.shared.change_of(plural, |state| state.store.set(plural, object));
    }

    /// Takes an object away; its key is `NAMESPACE/NAME`, or `NAME` where there are no namespaces.
    pub fn remove(&self, plural: &str, key: &str) {
        self.shared.change_of(plural, |state| state.store.remove(plural, key));
    }

    /// An object as it is.
    #[must_use]
    pub fn get(&self, plural: &str, key: &str) -> Option<Value> {
        self.shared.state().store.get(plural, key)
    }

    /// Answers so from now on; open watches end.
    pub fn set_mood(&self, mood: Mood) {
        self.shared.change(|state| {
            state.mood = mood;
            state.cuts += 1;
        });
    }

    /// Ends all watches, in order.
    pub fn cut(&self) {
        self.shared.change(|state| state.cuts += 1);
    }

    /// Forgets all versions but the newest. Watches that are open are told so with `told`, by a line; else they end, and are told when
    /// they ask to go on.
    pub fn forget(&self, told: bool) {
        self.shared.change(|state| {
            state.store.forget();
            state.cuts += u64::from(!told);
        });
    }

    /// What it was asked and did.
    #[must_use]
    pub fn counted(&self) -> Counted {
        self.shared.state().counted
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.change(|state| state.ended = true);
        // So that it notices.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.state().ended {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        // Who goes away in the middle is no matter.
        thread::spawn(move || shared.serve(&mut Connection::of(stream)?));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.values().for_each(Condvar::notify_all);
    }

    /// Changes objects of a kind.
    fn change_of<R>(&self, plural: &str, change: impl FnOnce(&mut State) -> R) -> R {
        let changed = change(&mut self.state());
        self.changed.get(plural).into_iter().for_each(Condvar::notify_all);
        changed
    }

    fn serve(&self, connection: &mut Connection) -> io::Result<()> {
        while let Some(asked) = connection.next()? {
            let mood = {
                let mut state = self.state();
                state.counted.asked += 1;
                state.counted.refused += u64::from(state.mood != Mood::Well);
                state.mood
            };
            match mood {
                Mood::Busy(after) => connection.refuse(429, "too many requests", after)?,
                Mood::Well if asked.says("watch", "true") => self.watch(connection, &asked)?,
                Mood::Well => {
                    let (code, answer) = self.answer(&asked);
                    connection.answer(code, &answer)?;
                }
            }
        }
        Ok(())
    }

    /// The kind that a path names, and what comes behind it: `[namespace/]name[/status]`.
    fn of_path<'a>(&self, path: &'a str) -> Option<(&Served, String, &'a str)> {
        self.kinds.iter().find_map(|kind| {
            let below = path.strip_prefix(&place(kind))?.strip_prefix('/')?;
            let (namespace, below) = match below.strip_prefix("namespaces/").and_then(|it| it.split_once('/'))
            {
                // Namespaces themselves are objects, too.
                Some((namespace, below)) => (format!("{namespace}/"), below),
                None => (String::new(), below),
            };
            let below = below.strip_prefix(kind.plural)?;
            if !below.is_empty() && !below.starts_with('/') {
                return None;
            }
            let below = below.trim_start_matches('/');
            let (name, part) = below.split_once('/').unwrap_or((below, ""));
            Some((kind, format!("{namespace}{name}"), part))
        })
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        let Some((kind, key, part)) = self.of_path(&asked.path) else { return self.resources(&asked.path) };
        let body = || serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
        let of_all = key.is_empty() || key.ends_with('/');
        let answered = match (asked.method.as_str(), of_all) {
            ("GET", true) => {
                Ok(self.state().store.list(kind, asked.number("limit"), asked.value("continue")))
            }
            ("GET", false) => self.state().store.get(kind.plural, &key).ok_or(404),
            ("POST", true) => self.change_of(kind.plural, |it| it.store.create(kind.plural, body())),
            ("PUT" | "PATCH", false) => {
                self.change_of(kind.plural, |it| it.store.replace(kind.plural, &key, part, body()))
            }
            _ => Err(405),
        };
        answered
            .map_or_else(|code| (code, http::status(code, "refused by the stand-in", None)), |it| (200, it))
    }

    /// What is served of a group, as discovery asks.
    fn resources(&self, path: &str) -> (u16, Value) {
        let kinds = self.kinds.iter().filter(|kind| place(kind) == path);
        let resources: Vec<Value> = kinds
            .map(|kind| json!({"name": kind.plural, "kind": kind.kind, "verbs": ["list", "watch"]}))
            .collect();
        match resources.is_empty() {
            true => (404, http::status(404, "there is no such thing", None)),
            false => (200, json!({"kind": "APIResourceList", "resources": resources})),
        }
    }

    fn watch(&self, connection: &mut Connection, asked: &Asked) -> io::Result<()> {
        let Some((kind, ..)) = self.of_path(&asked.path) else {
            return connection.refuse(404, "there is no such thing", None);
        };
        let Some(changed) = self.changed.get(kind.plural) else { return connection.end() };
        let until =
            Instant::now() + Duration::from_secs(asked.number("timeoutSeconds").unwrap_or(WATCH_SECONDS));
        let (mut lines, mut at, cuts) = {
            let state = self.state();
            let (lines, at) = match asked.says("sendInitialEvents", "true") {
                true => state.store.all(kind),
                false => (String::new(), asked.number("resourceVersion").unwrap_or_default()),
            };
            (lines, at, state.cuts)
        };
        if self.is_forgotten(at) {
            return connection.refuse(410, "too old resource version", None);
        }
        connection.begin()?;
        loop {
            if !lines.is_empty() {
                connection.chunk(&lines)?;
            }
            let mut state = self.state();
            let quiet = Instant::now() + BOOKMARK;
            let next = loop {
                if state.cuts != cuts || state.ended || Instant::now() >= until {
                    break None;
                }
                match state.store.after(kind.plural, at) {
                    Next::Nothing if Instant::now() >= quiet => break Some(state.store.bookmark(kind)),
                    Next::Nothing => {}
                    Next::Lines(lines, at) => break Some((lines, at)),
                    Next::Forgotten => {
                        state.counted.gone += 1;
                        drop(state);
                        connection.chunk(&store::gone_line())?;
                        return connection.end();
                    }
                }
                let left = quiet.min(until).saturating_duration_since(Instant::now());
                state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            };
            drop(state);
            match next {
                Some(next) => (lines, at) = next,
                None => return connection.end(),
            }
        }
    }

    fn is_forgotten(&self, version: u64) -> bool {
        let mut state = self.state();
        let forgotten = state.store.is_forgotten(version);
        state.counted.gone += u64::from(forgotten);
        forgotten
    }
}

/// Where a group's objects are.
fn place(kind: &Served) -> String {
    let Served { group, version, .. } = kind;
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}
