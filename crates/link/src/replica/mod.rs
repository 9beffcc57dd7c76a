//! The replica link: the replicas of one agent hear each other, without a lease and without an API server.
//!
//! Each replica dials the others ([`Replicas::start`]) and hears their words; it answers those that dial it
//! ([`Replicas::service`]) with its own. What is said is *facts* by name (told whole at first, then as they change),
//! *news* (told once to whoever listens just then), and a *welcome* for whoever begins to listen. What these are is decided by
//! the agent: this module transports bytes, and holds everything to a limit.
//!
//! A word comes every [`BEAT`] at least. A replica that is silent for [`SILENT`] is told as lost.

mod client;
mod facts;
mod finder;
mod server;

use crate::{
    identity::{Identity, TrustDomain},
    lasting::LastingWord,
    proto::{self, replica_server::ReplicaServer},
};
use facts::Facts;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidegate_model::{ClusterName, PeerBoot, Time};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// A speaker says at least that all still holds so often: three of these fit into the second after which its word is stale.
pub const BEAT: Duration = Duration::from_millis(250);
/// A replica that says nothing for so long is not heard any more (the engine's `FRESH`).
pub const SILENT: Duration = Duration::from_secs(1);

/// The largest word: room for ten thousand facts, and for the welcome of a hundred thousand pools.
const MAX_WORD_BYTES: usize = 16 << 20;
/// The longest name of a fact: two names of 253 characters and an address.
const MAX_NAME: usize = 640;
/// News that wait for a slow listener; the oldest go first.
const NEWS: usize = 256;
/// Questions for a welcome that wait for the agent.
const WELCOMES: usize = 8;
/// Replicas besides ourselves that are dialled; an agent has two or three.
pub const MAX_REPLICAS: usize = 15;

/// Who and where the replicas are.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The cluster of all of them.
    pub own: ClusterName,
    /// The life of this one.
    pub boot: PeerBoot,
    /// Addresses of the others.
    pub addresses: Vec<SocketAddr>,
    /// A name, as `HOST:PORT`, that leads to all of them, this one too: looked up every few seconds.
    pub name: Option<String>,
    /// Where the times of the events count from.
    pub origin: std::time::Instant,
    /// What is shown to the others, and whom to believe: the agents of the own cluster. Plain HTTP/2 without.
    pub identity: Option<Identity>,
}

impl ReplicaConfig {
    /// Whether there are to be any others.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.addresses.is_empty() && self.name.is_none()
    }
}

/// What another replica said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaWord {
    /// Whether what it said before is to be forgotten.
    pub full: bool,
    /// What is so now, by name; no value: no more.
    pub facts: Vec<(String, Option<Vec<u8>>)>,
    /// What happened.
    pub news: Vec<Vec<u8>>,
    /// For us who begin to listen.
    pub welcome: Option<Vec<u8>>,
    /// What operators did, with what remains of each.
    pub lasting: Vec<LastingWord>,
}

/// What is heard of the other replicas, in order for each.
#[derive(Debug)]
pub enum ReplicaEvent {
    /// One says something, or that all of it still holds.
    Word {
        /// The life that says so.
        replica: PeerBoot,
        /// What.
        word: ReplicaWord,
        /// When it came.
        at: Time,
    },
    /// One is not heard any more.
    Lost {
        /// The life that was heard.
        replica: PeerBoot,
        /// Why, for people.
        why: String,
    },
    /// At this address nobody else answers now.
    Absent(SocketAddr),
    /// Somebody begins to listen to us. What is answered is its welcome; no answer is none.
    Listener(oneshot::Sender<Vec<u8>>),
}

/// What is counted, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Other replicas that are heard now.
    pub heard: u64,
    /// Streams that were refused for what was said on them.
    pub refused: u64,
    /// News that a listener did not get, as it was too slow.
    pub lost_news: u64,
}

struct Shared {
    own: ClusterName,
    boot: PeerBoot,
    origin: Instant,
    facts: watch::Sender<Facts>,
    news: broadcast::Sender<Arc<[u8]>>,
    events: mpsc::Sender<ReplicaEvent>,
    /// Where the welcome is asked for.
    trust_domain: Option<TrustDomain>,
    refused: AtomicU64,
    lost_news: AtomicU64,
    /// The lives that are heard, each by one link, with what ends that link.
    heard: Mutex<BTreeMap<PeerBoot, CancellationToken>>,
    listeners: server::Seats,
    shutdown: CancellationToken,
}

impl Shared {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Somebody said what a replica does not say.
    fn refuse(&self, who: &str, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(who, why, "refused a replica");
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerBoot, CancellationToken>> {
        // Nothing that can panic runs under the lock.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One replica's end of the links to the others. Clones share everything.
#[derive(Clone)]
pub struct Replicas {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas").field("own", &self.shared.own).field("stats", &self.stats()).finish()
    }
}

impl Replicas {
    /// Starts to dial the others. Events go to `events`, which slows the others down while nobody reads. Must be called within a
    /// Tokio runtime.
    #[must_use]
    pub fn start(
        config: ReplicaConfig,
        events: mpsc::Sender<ReplicaEvent>,
        shutdown: CancellationToken,
    ) -> Self {
        let (facts, _) = watch::channel(Facts::default());
        let (news, _) = broadcast::channel(NEWS);
        let trust_domain =
            config.identity.as_ref().map(|identity| identity.current().bundle.trust_domain().clone());
        let shared = Arc::new(Shared {
            own: config.own.clone(),
            boot: config.boot,
            origin: Instant::from_std(config.origin),
            facts,
            news,
            events,
            trust_domain,
            refused: AtomicU64::new(0),
            lost_news: AtomicU64::new(0),
            heard: Mutex::default(),
            listeners: server::Seats::default(),
            shutdown,
        });
        if !config.is_alone() {
            tokio::spawn(finder::run(Arc::clone(&shared), config));
        }
        Self { shared }
    }

    /// The gRPC service, to be added to a router that gateways and other clusters do not reach.
    #[must_use]
    pub fn service(&self) -> ReplicaServer<server::Speaker> {
        server::service(Arc::clone(&self.shared))
    }

    /// This is so now, by name (`None`: no more). Listeners are told what changed.
    pub fn say(&self, facts: impl IntoIterator<Item = (String, Option<Vec<u8>>)>) {
        self.shared.facts.send_if_modified(|known| {
            facts.into_iter().fold(false, |news, (name, value)| known.set(&name, value) || news)
        });
    }

    /// What operators did, by name, with what remains of each.
    pub fn say_lasting(&self, words: Vec<(String, LastingWord)>) {
        let now = self.shared.now();
        self.shared.facts.send_if_modified(|known| {
            let news = !words.is_empty();
            words.into_iter().for_each(|(name, word)| known.set_lasting(name, word, now));
            news
        });
    }

    /// This happened. Whoever listens is told once; whoever is too slow loses the oldest.
    pub fn tell(&self, news: Vec<u8>) {
        // An error means that nobody listens.
        let _ = self.shared.news.send(news.into());
    }

    /// What a replica said makes no sense: its link is given up for a while.
    pub fn refuse(&self, replica: PeerBoot, why: &str) {
        self.shared.refuse(&format!("replica {:x}", replica.0), why);
        if let Some(link) = self.shared.heard().get(&replica) {
            link.cancel();
        }
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> ReplicaStats {
        ReplicaStats {
            heard: self.shared.heard().len() as u64,
            refused: self.shared.refused.load(Ordering::Relaxed),
            lost_news: self.shared.lost_news.load(Ordering::Relaxed),
        }
    }
}

/// A word as it is sent, but for its number.
fn word(shared: &Shared, seq: u64) -> proto::Word {
    proto::Word { cluster: shared.own.to_string(), boot_id: shared.boot.0, seq, ..proto::Word::default() }
}
