//! What the watch of one kind does next. Pure: what happened goes in with the time, what to do comes out.
//!
//! ```text
//!             served                  all listed                   closed, cut
//!   Absent ───────────► Listing ───────────────────► Following ◄──────────────► Resuming
//!      ▲                 ▲  │                            │                         │
//!      │ not served      │  │ failed                     │ gone (410), away        │ the store went back
//!      │ for `settle`    │  ▼                            ▼                         ▼
//!      └──────────────  Resting (with growing pauses, then listed)            Doubting (`settle`, then listed)
//! ```
//!
//! The rules, and why:
//! - Nothing is dropped but what a *complete* list does not name: a list that breaks off is begun anew and drops nothing.
//! - A watch that ended or was cut is resumed where it stood. One whose server was out of reach meanwhile is not: its store
//!   may be another one now, and what has the same version there may be something else.
//! - Before a watch is resumed, or a kind listed again, the newest version of the store is asked for. If that is older than
//!   what is known, the store was put back: what is in it is what was true once. The last good state counts for `settle`
//!   then, in which controllers write what is true now; after that the store is believed.
//! - A kind that was served and is not any more may be a server that has only just begun to serve: it counts as gone after `settle`.

use std::time::Duration;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause after a failure; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long the last good state counts against a store that was put back, or a kind that is not served any more.
    pub settle: Duration,
    /// How often the API is asked which kinds it serves.
    pub discovery: Duration,
    /// A watch in which nothing is heard for so long is begun anew; servers send a bookmark about every minute.
    pub silence: Duration,
    /// How long a server is asked to keep a watch open.
    pub watch: Duration,
    /// The longest that one answer may take to begin.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(30),
            settle: Duration::from_secs(60),
            discovery: Duration::from_secs(30),
            silence: Duration::from_secs(150),
            watch: Duration::from_secs(300),
            answer: Duration::from_secs(15),
        }
    }
}

impl Pace {
    /// How long to wait after this, when `failures` were before it: the longer the more there were, half of it by chance, so that
    /// not all come back together; as long as the server asks for, if it does. `jitter` is drawn from 0..1.
    pub(crate) fn pause(&self, failures: u32, failure: Option<&Failure>, jitter: f64) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.min(16));
        let pause = doubled.min(self.longest_pause).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        let asked = if let Some(Failure::Busy(Some(asked))) = failure { *asked } else { Duration::ZERO };
        // Whoever asks for more than twice our longest is not believed.
        pause.max(asked.min(self.longest_pause * 2))
    }
}

/// Why a request or a watch came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The version is too old to go on from (410).
    Gone,
    /// There is no such resource (404).
    NotServed,
    /// The server has no streaming lists (400 or 422).
    NoStreaming,
    /// It cannot select objects as it is asked to (400).
    NoSelector,
    /// It has too much to do (429), and when to ask again.
    Busy(Option<Duration>),
    /// It answers, but not us, and what it said (401, 403).
    Refused { code: u16, message: String },
    /// It cannot be believed, or does not believe us (TLS).
    Distrusted(String),
    /// No answer, or none that can be used.
    Away(String),
}

/// Where the watch of a kind stands. See the picture above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The API does not serve the kind, as far as is known.
    Absent,
    /// All objects are asked for: streamed, or a page at a time after this token.
    Listing(List),
    /// Changes after this version are told.
    Following(Version),
    /// A watch ended; the store is asked how new it is.
    Resuming(Version),
    /// A failure is waited out, then all is listed.
    Resting { until: Duration },
    /// The store went back behind this version.
    Doubting { until: Duration },
}

/// How all objects are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// A watch that begins with all objects.
    Streamed,
    /// A page of objects, after this token.
    Paged(Option<String>),
}

/// A `resourceVersion`.
pub(crate) type Version = String;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Whether the API serves the kind.
    Served(bool),
    /// There are more pages.
    Page(String),
    /// All objects were told, as of this version.
    Listed(Version),
    /// Something changed, or did not until this version.
    Changed(Version),
    /// The store is as new as this.
    Newest(Version),
    /// A watch ended, in order or not.
    Closed,
    /// A request failed.
    Failed(Failure),
}

/// What the shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before the API serves the kind.
    AwaitServed,
    /// Nothing before this time.
    Wait(Duration),
    /// Ask how new the store is.
    AskNewest,
    /// Ask for all objects.
    List(List),
    /// Follow changes.
    Follow(Version),
}

/// What the objects that are held are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A list begins: whatever it does not name until it is complete will be gone.
    Begins,
    /// It is complete.
    Complete,
    /// There are none: the kind is not served.
    NoneServed,
}

/// The watch of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pace: Pace,
    state: State,
    /// Whether the server may have streaming lists.
    streams: bool,
    /// The newest version that was told, as long as it is to be believed.
    known: Option<Version>,
    /// Failures in a row.
    failures: u32,
    /// Since when the API does not serve it, if it did.
    missing_since: Option<Duration>,
    /// Whether nothing was heard in the watch that is open.
    silent: bool,
}

impl Watch {
    pub(crate) const fn new(pace: Pace) -> Self {
        let (state, streams, known) = (State::Absent, true, None);
        Self { pace, state, streams, known, failures: 0, missing_since: None, silent: false }
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// What to do.
    pub(crate) fn step(&self) -> Step {
        match &self.state {
            State::Absent => Step::AwaitServed,
            State::Listing(list) => Step::List(list.clone()),
            State::Following(version) => Step::Follow(version.clone()),
            State::Resuming(_) => Step::AskNewest,
            State::Resting { until } | State::Doubting { until } => Step::Wait(*until),
        }
    }

    /// The time of [`Step::Wait`] has come.
    pub(crate) fn rested(&mut self) -> Option<Verdict> {
        match (&self.state, &self.known) {
            // A list of a store that was put back is not to be believed either.
            (State::Resting { .. }, Some(known)) => {
                self.state = State::Resuming(known.clone());
                None
            }
            (State::Resting { .. } | State::Doubting { .. }, _) => {
                self.known = None;
                Some(self.list())
            }
            _ => None,
        }
    }

    /// Takes in what happened. `jitter` is drawn from 0..1.
    pub(crate) fn take(&mut self, event: Event, now: Duration, jitter: f64) -> Option<Verdict> {
        match event {
            Event::Served(true) => {
                self.missing_since = None;
                (self.state == State::Absent).then(|| self.list())
            }
            Event::Served(false) => self.not_served(now),
            Event::Page(token) => {
                self.state = State::Listing(List::Paged(Some(token)));
                self.failures = 0;
                None
            }
            Event::Listed(version) => {
                (self.failures, self.silent) = (0, false);
                self.known = Some(version.clone());
                self.state = State::Following(version);
                Some(Verdict::Complete)
            }
            Event::Changed(version) => {
                (self.failures, self.silent) = (0, false);
                if let State::Following(at) = &mut self.state {
                    at.clone_from(&version);
                    self.known = Some(version);
                }
                None
            }
            Event::Newest(newest) => self.newest(&newest, now),
            Event::Closed => {
                match &self.state {
                    // A server that ends each watch at once is not asked in a loop.
                    State::Following(_) if self.silent => self.rest(None, now, jitter),
                    State::Following(version) => self.state = State::Resuming(version.clone()),
                    // A list that breaks off says nothing of what it did not name.
                    State::Listing(_) => self.rest(None, now, jitter),
                    _ => {}
                }
                None
            }
            Event::Failed(failure) => self.failed(&failure, now, jitter),
        }
    }

    fn list(&mut self) -> Verdict {
        self.state = State::Listing(if self.streams { List::Streamed } else { List::Paged(None) });
        Verdict::Begins
    }

    fn newest(&mut self, newest: &str, now: Duration) -> Option<Verdict> {
        let State::Resuming(version) = &self.state else { return None };
        if is_older(newest, version) {
            self.state = State::Doubting { until: now + self.pace.settle };
            return None;
        }
        // After a failure the way back is a list.
        if self.failures > 0 {
            return Some(self.list());
        }
        self.state = State::Following(version.clone());
        self.silent = true;
        None
    }

    fn failed(&mut self, failure: &Failure, now: Duration, jitter: f64) -> Option<Verdict> {
        match failure {
            Failure::NoStreaming if self.state == State::Listing(List::Streamed) => {
                self.streams = false;
                return Some(self.list());
            }
            // A watch or list that is too old, or asked for in another way: from the beginning, at once the first time.
            Failure::Gone | Failure::NoSelector if self.failures == 0 => {
                self.failures += 1;
                return Some(self.list());
            }
            Failure::NotServed => {
                let none = self.not_served(now);
                if none.is_none() && self.state != State::Absent {
                    self.rest(None, now, jitter);
                }
                return none;
            }
            failure => self.rest(Some(failure), now, jitter),
        }
        None
    }

    fn not_served(&mut self, now: Duration) -> Option<Verdict> {
        if self.state == State::Absent {
            return Some(Verdict::NoneServed);
        }
        let since = *self.missing_since.get_or_insert(now);
        if self.known.is_some() && now < since + self.pace.settle {
            return None;
        }
        (self.state, self.known, self.missing_since) = (State::Absent, None, None);
        Some(Verdict::NoneServed)
    }

    fn rest(&mut self, failure: Option<&Failure>, now: Duration, jitter: f64) {
        let pause = self.pace.pause(self.failures, failure, jitter);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Resting { until: now + pause };
    }
}

/// Whether a version is older than another. They are numbers that grow with the store; what is none is not compared.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}

#[cfg(test)]
mod tests;
