//! The watch of one kind: asks the API what [`state::Watch`] says, and tells what comes. A shell: it decides nothing.

use super::{
    access::chain,
    board::{self, Board},
    kinds::{Kinds, Watched},
    object::{self, Change, Head, Line},
    request::{self, Page, Status},
    served::Served,
    shelf::Told,
    state::{self, Event, Failure, List, Pace, State, Step, Verdict},
};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use std::sync::Arc;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

/// Objects of a page of a list.
const PAGE: usize = 500;
/// The longest object: etcd takes 1.5 MiB, and JSON may be longer than what is stored.
const MAX_OBJECT: usize = 8 << 20;
/// An outage is told when so many requests failed: one that failed may have met a server that was replaced.
const TOLD_AFTER: u32 = 3;

/// What all watches share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) pace: Pace,
    pub(super) board: Board,
    pub(super) kinds: Kinds,
    pub(super) url: Arc<str>,
    pub(super) told: mpsc::Sender<Told>,
    pub(super) served: watch::Receiver<Option<Served>>,
    /// Asks to look again what is served.
    pub(super) look_again: Arc<Notify>,
    pub(super) origin: Instant,
}

/// Nobody follows any more.
struct Ended;

/// A watch with what is known of it.
pub(super) struct Watcher {
    shared: Shared,
    kind: &'static Watched,
    watch: state::Watch,
    failures: u32,
    /// Whether the server can select; if not, what is of no use is left out here.
    selects: bool,
    /// What it is read from, once the API said so.
    version: Option<&'static str>,
}

impl Watcher {
    pub(super) fn new(kind: &'static Watched, shared: Shared) -> Self {
        let watch = state::Watch::new(shared.pace);
        Self { shared, kind, watch, failures: 0, selects: true, version: None }
    }

    /// Watches until nobody follows any more.
    pub(super) async fn run(mut self) {
        while self.step().await.is_ok() {}
    }

    async fn step(&mut self) -> Result<(), Ended> {
        self.show();
        self.version = self.serving().or(self.version);
        match self.watch.step() {
            Step::AwaitServed => self.await_served().await,
            Step::Wait(until) => {
                sleep_until(self.shared.origin + until).await;
                let verdict = self.watch.rested();
                self.tell(verdict).await
            }
            Step::AskNewest => {
                let newest =
                    request::newest(&self.shared.client, &self.asking("limit=1"), self.shared.pace.answer)
                        .await;
                self.take(newest.map_or_else(Event::Failed, Event::Newest)).await
            }
            Step::List(List::Paged(after)) => self.page(after).await,
            Step::List(List::Streamed) => {
                let query = "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
                self.stream(query, true).await
            }
            Step::Follow(version) => {
                let query = format!("watch=true&allowWatchBookmarks=true&resourceVersion={version}");
                self.stream(&query, false).await
            }
        }
    }

    fn show(&self) {
        let known = self.shared.served.borrow().is_some();
        self.shared.board.stands(self.kind.kind, self.watch.state(), known);
    }

    /// The version in which the API serves the kind now.
    fn serving(&self) -> Option<&'static str> {
        self.shared.served.borrow().as_ref().and_then(|served| served.version(self.kind))
    }

    async fn await_served(&mut self) -> Result<(), Ended> {
        loop {
            let known = {
                let served = self.shared.served.borrow_and_update();
                served.as_ref().map(|served| served.version(self.kind))
            };
            match known {
                Some(version @ Some(_)) => {
                    self.version = version;
                    return self.take(Event::Served(true)).await;
                }
                Some(None) => self.take(Event::Served(false)).await?,
                None => {}
            }
            let told = self.shared.told.clone();
            tokio::select! {
                changed = self.shared.served.changed() => changed.map_err(|_| Ended)?,
                () = told.closed() => return Err(Ended),
            }
        }
    }

    fn address(&self) -> String {
        self.kind.address(self.version.unwrap_or(self.kind.versions[0]))
    }

    fn asking(&self, query: &str) -> String {
        let selector =
            self.kind.selector.filter(|_| self.selects).map(|it| format!("&{it}")).unwrap_or_default();
        format!("{}?{query}{selector}", self.address())
    }

    fn api_version(&self) -> String {
        self.kind.api_version(self.version.unwrap_or(self.kind.versions[0]))
    }

    async fn page(&mut self, after: Option<String>) -> Result<(), Ended> {
        let after = after.map(|token| format!("&continue={token}")).unwrap_or_default();
        let address = self.asking(&format!("limit={PAGE}{after}"));
        let event = match request::get(&self.shared.client, &address, self.shared.pace.answer).await {
            Ok(bytes) => match self.read_page(&bytes) {
                Ok((changes, event)) => {
                    self.shared.board.heard();
                    self.objects(changes).await?;
                    event
                }
                Err(failure) => Event::Failed(failure),
            },
            Err(failure) => Event::Failed(failure),
        };
        self.take(event).await
    }

    fn read_page(&self, bytes: &[u8]) -> Result<(Vec<Change>, Event), Failure> {
        let page: Page<'_> = request::parse(bytes)?;
        let api_version = self.api_version();
        let read =
            |raw: &&serde_json::value::RawValue| object::read(self.kind, &api_version, raw.get(), false);
        let changes: Result<_, _> = page.items.iter().map(read).collect();
        let changes =
            changes.map_err(|error| Failure::Away(format!("its answer cannot be read: {error}")))?;
        let event = match page.metadata.more.filter(|more| !more.is_empty()) {
            Some(more) => Event::Page(more),
            None => Event::Listed(page.metadata.resource_version),
        };
        Ok((changes, event))
    }

    /// Follows a watch until it ends; with `listing`, it begins with all objects.
    async fn stream(&mut self, query: &str, listing: bool) -> Result<(), Ended> {
        let pace = self.shared.pace;
        let seconds = pace.watch.as_secs();
        let address =
            self.asking(&format!("{query}&timeoutSeconds={}", seconds + rand::random_range(0..=seconds / 4)));
        let body = match request::open(&self.shared.client, &address, pace.answer).await {
            Ok(body) => body,
            Err(failure) => return self.take(Event::Failed(failure)).await,
        };
        let mut lines = Lines { body, rest: Vec::new() };
        let mut listing = listing;
        loop {
            let told = self.shared.told.clone();
            let bytes = tokio::select! {
                bytes = timeout(pace.silence, lines.next()) => bytes,
                () = told.closed() => return Err(Ended),
            };
            let end = match bytes {
                Ok(Ok(Some(bytes))) => {
                    self.shared.board.heard();
                    let Heard { changes, events } = self.hear(&bytes, &mut listing);
                    self.objects(changes).await?;
                    let mut ended = None;
                    for event in events {
                        ended = matches!(event, Event::Failed(_) | Event::Closed).then_some(());
                        self.take(event).await?;
                    }
                    if ended.is_some() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(Ok(None)) => Event::Closed,
                Ok(Err(failure)) => {
                    tracing::debug!(kind = self.kind.kind, ?failure, "a watch was cut");
                    Event::Closed
                }
                Err(_) => {
                    tracing::debug!(kind = self.kind.kind, "a watch was silent for too long");
                    Event::Closed
                }
            };
            return self.take(end).await;
        }
    }

    /// Reads whole lines of a watch. What comes after a failure is not read.
    fn hear(&self, bytes: &[u8], listing: &mut bool) -> Heard {
        let api_version = self.api_version();
        let mut heard = Heard::default();
        let mut newest = None;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match self.line(line, &api_version, listing, &mut heard.changes) {
                Ok(Some(Event::Changed(version))) => newest = Some(version),
                Ok(Some(event)) => heard.events.push(event),
                Ok(None) => {}
                Err(failure) => {
                    heard.events.push(Event::Failed(failure));
                    break;
                }
            }
        }
        // Behind the end of a list, and before a failure.
        if let Some(version) = newest {
            let at = heard
                .events
                .iter()
                .position(|it| matches!(it, Event::Failed(_)))
                .unwrap_or(heard.events.len());
            heard.events.insert(at, Event::Changed(version));
        }
        heard
    }

    fn line(
        &self,
        line: &[u8],
        api_version: &str,
        listing: &mut bool,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Event>, Failure> {
        let Line { what, object } = request::parse(line)?;
        let odd = |error: serde_json::Error| Failure::Away(format!("its answer cannot be read: {error}"));
        match what {
            "ADDED" | "MODIFIED" | "DELETED" => {
                let change =
                    object::read(self.kind, api_version, object.get(), what == "DELETED").map_err(odd)?;
                let version = change.version.clone();
                changes.push(change);
                // The objects of a list come in any order of versions.
                Ok((!*listing).then_some(Event::Changed(version)))
            }
            "BOOKMARK" => {
                let Head { metadata } = serde_json::from_str(object.get()).map_err(odd)?;
                let version = metadata.resource_version.to_owned();
                if !*listing {
                    return Ok(Some(Event::Changed(version)));
                }
                *listing = !metadata.all_told();
                Ok((!*listing).then_some(Event::Listed(version)))
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(object.get()).map_err(odd)?;
                Err(status.failure())
            }
            other => Err(Failure::Away(format!("its answer cannot be read: an event of type {other:?}"))),
        }
    }

    async fn objects(&self, changes: Vec<Change>) -> Result<(), Ended> {
        if changes.is_empty() {
            return Ok(());
        }
        self.shared.told.send(Told::Objects(self.kind, changes)).await.map_err(|_| Ended)
    }

    async fn tell(&self, verdict: Option<Verdict>) -> Result<(), Ended> {
        let Some(verdict) = verdict else { return Ok(()) };
        self.shared.told.send(Told::Verdict(self.kind, verdict)).await.map_err(|_| Ended)
    }

    async fn take(&mut self, event: Event) -> Result<(), Ended> {
        let now = self.shared.origin.elapsed();
        match &event {
            Event::Failed(failure) => self.failed(failure).await?,
            Event::Changed(_) | Event::Listed(_) | Event::Page(_) | Event::Newest(_) => self.well().await?,
            Event::Served(_) | Event::Closed => {}
        }
        let verdict = self.watch.take(event, now, rand::random());
        if matches!(self.watch.state(), State::Doubting { .. }) {
            let seconds = self.shared.pace.settle.as_secs();
            let kind = self.kind.kind;
            tracing::warn!(
                "the API's store was put back to an older state: what is known of {kind} counts for {seconds} s more"
            );
        }
        self.show();
        self.tell(verdict).await
    }

    async fn failed(&mut self, failure: &Failure) -> Result<(), Ended> {
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(kind = self.kind.kind, ?failure, "a request failed");
        if *failure == Failure::NotServed {
            self.shared.look_again.notify_one();
        }
        self.selects &= *failure != Failure::NoSelector;
        let at_once = matches!(failure, Failure::Refused { .. } | Failure::Distrusted(_));
        let told = at_once || self.failures >= TOLD_AFTER;
        let problem = board::problem(self.shared.kinds, &self.shared.url, Some(self.kind), failure);
        let problem = problem.filter(|_| told);
        match problem {
            Some(problem) if self.shared.board.fails(self.kind.kind, Some(&problem)) => {
                let told = Told::Failing(self.kind.kind, Some(problem));
                self.shared.told.send(told).await.map_err(|_| Ended)
            }
            _ => Ok(()),
        }
    }

    async fn well(&mut self) -> Result<(), Ended> {
        self.failures = 0;
        self.shared.board.heard();
        if !self.shared.board.fails(self.kind.kind, None) {
            return Ok(());
        }
        self.shared.told.send(Told::Failing(self.kind.kind, None)).await.map_err(|_| Ended)
    }
}

/// What lines said.
#[derive(Default)]
struct Heard {
    changes: Vec<Change>,
    events: Vec<Event>,
}

/// The lines of an answer that does not end.
struct Lines {
    body: Body,
    /// What came of a line that has not ended yet.
    rest: Vec<u8>,
}

impl Lines {
    /// The next lines, all whole; `None` at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| Failure::Away(chain(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            let end = data.iter().rposition(|byte| *byte == b'\n');
            let Some(end) = end else {
                self.rest.extend_from_slice(&data);
                if self.rest.len() > MAX_OBJECT {
                    return Err(Failure::Away(format!("an object has more than {MAX_OBJECT} bytes")));
                }
                continue;
            };
            let mut whole = std::mem::take(&mut self.rest);
            whole.extend_from_slice(&data[..end]);
            self.rest.extend_from_slice(&data[end + 1..]);
            return Ok(Some(whole));
        }
    }
}
