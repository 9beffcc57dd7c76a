//! Objects from the API of a Kubernetes cluster, on their way to the loader.
//!
//! Each kind is watched by a task of its own ([`watch`]), which does what a pure machine says ([`state`]); of what comes only
//! what the loader reads is kept (`keep`, `object`), and what is held, and which lists are complete, is known in one place
//! (`shelf`). Which kinds there are is a table (`kinds`); which of them the API serves is asked at a bounded pace (`served`).
//! Where not all Secrets may be read, those that may are asked for one by one (`certificates`), as is what others have to name (`named`). What is held lies on disk too (`saved`). How the API stands, anybody may ask ([`Board`]). A hub follows what is for the whole
//! fleet by a [`Follower`].
//!
//! Nothing is written to the API here.

mod access;
mod board;
mod certificates;
mod follower;
mod keep;
pub(crate) mod kinds;
mod named;
mod object;
mod request;
pub(crate) mod saved;
mod served;
pub(crate) mod shelf;
mod state;
pub(crate) mod subjects;
mod watch;

pub use access::{AccessError, KubeAccess};
pub use board::{ApiView, Board};
pub use certificates::{MAX_PLACES, NoPlace, SecretPlace};
pub use follower::{FleetObject, Followed, Follower, Unread};
pub use state::Pace;
pub use subjects::{Judged, Subject};

use kinds::{ALL, Kinds};
use kube::Client;
use shelf::Told;
use std::{path::PathBuf, sync::Arc};
use tokio::{
    sync::{Notify, mpsc, watch as channel},
    time::Instant,
};

/// What watches told and was not taken in yet; they wait when it is full, and the API's answers with them.
const QUEUE: usize = 64;

/// What is followed of an API.
#[derive(Clone)]
pub struct KubeOptions {
    /// Who asks, from [`KubeAccess::client`].
    pub client: Client,
    /// Where the API is, for people.
    pub url: String,
    /// Where certificates are; of all Secrets that may be read, if nothing is said.
    pub certificates: Vec<SecretPlace>,
    /// The file in which what was read is kept; without one, an agent whose API is away cannot start.
    pub saved: Option<PathBuf>,
    /// How long to wait for what.
    pub pace: Pace,
}

impl std::fmt::Debug for KubeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeOptions")
            .field("url", &self.url)
            .field("saved", &self.saved)
            .finish_non_exhaustive()
    }
}

/// Begins to watch these kinds: what is told, and how the API stands. It ends when what is told is not taken any more.
pub(crate) fn watch_all(options: &KubeOptions, kinds: Kinds) -> (mpsc::Receiver<Told>, Board) {
    let (told, taken) = mpsc::channel(QUEUE);
    let (serves, served) = channel::channel(None);
    let board = Board::new(&options.url);
    let shared = watch::Shared {
        client: options.client.clone(),
        pace: options.pace,
        board: board.clone(),
        kinds,
        url: options.url.as_str().into(),
        told,
        served,
        look_again: Arc::new(Notify::new()),
        origin: Instant::now(),
    };
    let places = options.certificates.clone();
    let is_watched =
        |kind: &&kinds::Watched| kinds.has(kind) && (places.is_empty() || !certificates::is_kind(kind));
    for kind in ALL.iter().filter(is_watched) {
        tokio::spawn(watch::Watcher::new(kind, shared.clone()).run());
    }
    if !places.is_empty() && kinds == Kinds::Cluster {
        tokio::spawn(certificates::follow(shared.clone(), places));
    }
    if kinds == Kinds::Cluster {
        tokio::spawn(named::follow(shared.clone(), board.named()));
    }
    tokio::spawn(served::follow(shared, serves));
    (taken, board)
}
