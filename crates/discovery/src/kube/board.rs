//! How the API of a cluster stands, for whoever is asked: written by the watches, read by the agent.

use super::{
    kinds::{Kinds, Watched},
    named::Name,
    state::{Failure, State},
    subjects::{Judged, Subject},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidegate_api::Problem;
use tokio::{sync::watch, time::Instant};

/// What the problem of a missing right says.
pub(crate) const MAY_NOT_READ: &str = " may not read ";

/// How the API stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiView {
    /// Where it is.
    pub url: String,
    /// How long ago anything was heard of it; `None` if nothing was since the start.
    pub age: Option<Duration>,
    /// What is watched, by kind, and how each watch stands: `Following`, `Absent`, ...
    pub watches: BTreeMap<String, String>,
    /// What is wrong, by kind.
    pub failing: BTreeMap<String, String>,
}

/// How the API stands, at any time.
#[derive(Clone, Debug)]
pub struct Board {
    url: Arc<str>,
    inner: Arc<Mutex<Inner>>,
    judged: watch::Sender<Judged>,
    named: watch::Sender<BTreeSet<Name>>,
}

#[derive(Debug, Default)]
struct Inner {
    heard: Option<Instant>,
    watches: BTreeMap<&'static str, &'static str>,
    failing: BTreeMap<&'static str, String>,
}

impl Board {
    pub(crate) fn new(url: &str) -> Self {
        let (judged, named) = (watch::Sender::default(), watch::Sender::default());
        Self { url: url.into(), inner: Arc::default(), judged, named }
    }

    /// How it stands now.
    #[must_use]
    pub fn view(&self) -> ApiView {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |(kind, word): (&&str, &str)| ((*kind).to_owned(), word.to_owned());
        ApiView {
            url: self.url.to_string(),
            age: inner.heard.map(|heard| heard.elapsed()),
            watches: inner.watches.iter().map(|(kind, word)| text((kind, word))).collect(),
            failing: inner.failing.iter().map(|(kind, why)| text((kind, why))).collect(),
        }
    }

    /// The objects that have a status, and what is wrong; it changes with either.
    #[must_use]
    pub fn judged(&self) -> watch::Receiver<Judged> {
        self.judged.subscribe()
    }

    /// Tells what was decided about; `subjects` are those of before if nothing is given.
    pub(crate) fn judge(&self, subjects: Option<Vec<Subject>>, problems: Vec<Problem>) {
        self.judged.send_modify(|judged| {
            if let Some(subjects) = subjects {
                judged.subjects = Arc::new(subjects);
            }
            judged.problems = Arc::new(problems);
        });
    }

    /// The objects that others name; it changes with them.
    pub(super) fn named(&self) -> watch::Receiver<BTreeSet<Name>> {
        self.named.subscribe()
    }

    /// Tells which objects others name.
    pub(crate) fn want(&self, names: &BTreeSet<Name>) {
        self.named.send_if_modified(|known| {
            let news = known != names;
            if news {
                known.clone_from(names);
            }
            news
        });
    }

    /// Something was heard.
    pub(crate) fn heard(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).heard = Some(Instant::now());
    }

    /// How a watch stands; before the API said what it serves, it waits for that.
    pub(crate) fn stands(&self, kind: &'static str, state: &State, served_known: bool) {
        let word = match state {
            State::Absent if !served_known => "Waiting",
            State::Absent => "Absent",
            State::Listing(_) => "Listing",
            State::Following(_) => "Following",
            State::Resuming(_) => "Resuming",
            State::Resting { .. } => "Resting",
            State::Doubting { .. } => "Doubting",
        };
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).watches.insert(kind, word);
    }

    /// Notes what is wrong with a watch; the problem to tell if that is news.
    pub(crate) fn fails(&self, kind: &'static str, problem: Option<&Problem>) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let text = problem.map(|it| it.message.clone());
        let news = inner.failing.get(kind) != text.as_ref();
        match text {
            Some(text) => inner.failing.insert(kind, text),
            None => inner.failing.remove(kind),
        };
        news
    }
}

/// What is wrong, for people: which right is missing, whom not to believe, what to do. `None` for what is part of a watch's life.
pub(crate) fn problem(kinds: Kinds, url: &str, kind: Option<&Watched>, failure: &Failure) -> Option<Problem> {
    let reader = kinds.reader();
    let source = kind.map_or_else(|| "kubernetes".to_owned(), |kind| format!("kubernetes: {}", kind.kind));
    let of_api = |message: String, hint: &str| Some(Problem::of_file("kubernetes", message, hint));
    match (failure, kind) {
        (Failure::Refused { code: 403, message }, Some(kind)) => {
            let resource = kind.resource();
            let message = format!("the {reader}{MAY_NOT_READ}{resource}: {message}");
            let hint = format!(
                "its role needs get, list and watch on {resource}: docs/kubernetes.md has all rules; what was last read stays in force"
            );
            Some(Problem::of_file(&source, message, hint))
        }
        (Failure::Refused { message, .. }, _) => of_api(
            format!("the API at {url} does not accept the {reader}'s credentials: {message}"),
            "check the token or certificate of the kubeconfig or service account; what was last read stays in force",
        ),
        (Failure::Distrusted(why), _) => of_api(
            format!("the API at {url} cannot be spoken to by TLS: {why}"),
            "check certificate-authority-data and the server's name in the kubeconfig; what was last read stays in force",
        ),
        (Failure::Away(why), _) => of_api(
            format!("the API at {url} is away: {why}"),
            "what was last read stays in force; it is asked again all the time",
        ),
        (Failure::Busy(_), _) => of_api(
            format!("the API at {url} is too busy to answer"),
            "what was last read stays in force; it is asked again all the time",
        ),
        (Failure::Gone | Failure::NotServed | Failure::NoStreaming | Failure::NoSelector, _) => None,
    }
}
