//! The observer's side of the peer link: dials every gateway of every peer, and reports who can be reached
//! and what their pools are like.
//!
//! One task owns the liveness core and is never held up: what its reader has not taken yet waits in
//! a bounded queue. Pool status goes to the reader straight from the watches, so a slow reader slows the watches down, and
//! the owners send it less often.
//!
//! That task and the heartbeats have a thread of their own: what else keeps an agent busy makes it doubt nobody, and a beat wakes
//! no second thread. The watches, whose snapshots may be large, are left to the runtime of the agent.

mod dial;
mod line;
mod link;
mod session;
mod until;
mod watching;

use crate::{
    LinkState, Liveness, Output, PeerAddresses, PeerEvent, PeerView, RoundTrip, StatusDelta, Traffic,
    board::Board,
    identity::{Expect, Identity, Party},
    liveness::{Echo, LinkFailure},
};
pub(crate) use dial::{Backoff, Ending, dial};
use link::LinkContext;
use session::LinkEar;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    thread,
};
use tidegate_model::{ClusterName, PeerBoot, Time};
use tokio::{
    runtime::{Builder, Handle},
    sync::{Mutex, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// What the links heard and the loop has not read yet. At a hundred links it is a second's worth.
const SIGNALS: usize = 1024;
/// Calls that the loop has not read yet.
const COMMANDS: usize = 64;
/// The thread of the links.
const THREAD: &str = "peer-links";
/// Events that wait for a slow reader. A peer causes a few in a second at most.
const OUTBOX: usize = 4096;

/// What a [`PeerClient`] is to do.
#[derive(Clone, Debug)]
pub struct PeerClientConfig {
    /// The cluster that observes.
    pub own: ClusterName,
    /// The life of its agent.
    pub boot: PeerBoot,
    /// The clusters to observe, with the addresses of their east-west gateways.
    pub peers: PeerAddresses,
    /// Where the times of the events count from.
    pub origin: std::time::Instant,
    /// What is shown to gateways, and whom to believe: those of the peer's own cluster. Plain HTTP/2 without.
    pub identity: Option<Identity>,
}

/// What the client tells. Events of one kind come in order; status has no order with the others, so a
/// peer's first snapshot may come before word that it is reachable.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// Whether a peer can be reached.
    Liveness {
        /// The peer's cluster.
        peer: ClusterName,
        /// What happened.
        event: PeerEvent,
        /// When.
        at: Time,
    },
    /// What a peer said of its pools.
    Status {
        /// The peer's cluster.
        peer: ClusterName,
        /// What is new.
        status: StatusDelta,
        /// When it came.
        at: Time,
    },
    /// One link changed, for display.
    Link {
        /// The peer's cluster.
        peer: ClusterName,
        /// The gateway address.
        address: SocketAddr,
        /// How the link stands now.
        state: LinkState,
        /// Its round trip, if it was ever measured.
        rtt: Option<RoundTrip>,
        /// When.
        at: Time,
    },
}

/// What a link heard.
#[derive(Debug)]
enum Heard {
    Beat(Echo),
    Answer(Option<String>),
    Failure(LinkFailure),
}

#[derive(Debug)]
struct Signal {
    peer: ClusterName,
    address: SocketAddr,
    heard: Heard,
}

#[derive(Debug)]
enum Command {
    SetPeers(PeerAddresses),
    Cut(BTreeSet<ClusterName>),
    Report(Arc<str>, BTreeMap<ClusterName, Traffic>, Time),
    View(oneshot::Sender<Vec<PeerView>>),
}

/// The observer's side of all peer links. Clones steer the same links.
#[derive(Clone, Debug)]
pub struct PeerClient {
    commands: mpsc::Sender<Command>,
}

impl PeerClient {
    /// Starts to dial. Events go to `events`, until `shutdown` is cancelled or nobody reads them any more.
    /// Must be called within a Tokio runtime, which drives the watches. A machine that leaves the thread of the links without its
    /// turn for more than 50 ms makes the observer doubt itself.
    ///
    /// # Errors
    /// If the machine gives no thread.
    pub fn start(
        config: PeerClientConfig,
        events: mpsc::Sender<LinkEvent>,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        let (commands, received) = mpsc::channel(COMMANDS);
        let watches = Handle::current();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let run = async move { Loop::new(config, events, watches, shutdown).run(received).await };
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || runtime.block_on(run))?;
        Ok(Self { commands })
    }

    /// The peers are now these. Links that stay are left alone.
    pub async fn set_peers(&self, peers: PeerAddresses) {
        // The loop is gone only after shutdown, when peers do not matter.
        let _ = self.commands.send(Command::SetPeers(peers)).await;
    }

    /// The links to these peers are given up, until they are named no more: nothing is heard of them, as if every gateway of theirs
    /// swallowed what it is sent. That is for drills.
    pub async fn cut(&self, peers: BTreeSet<ClusterName>) {
        let _ = self.commands.send(Command::Cut(peers)).await;
    }

    /// What one of our Envoys, `by`, reports of the data traffic to peers in a window that ended `at`, counted from the
    /// configured origin: see [`Liveness::handle_report`]. Reports are dropped when the loop does not keep up: they only
    /// speed up what silence alone decides too.
    pub fn report(&self, by: Arc<str>, report: BTreeMap<ClusterName, Traffic>, at: Time) {
        let _ = self.commands.try_send(Command::Report(by, report, at));
    }

    /// All peers and links, for display; nothing after shutdown.
    pub async fn view(&self) -> Vec<PeerView> {
        let (reply, view) = oneshot::channel();
        let _ = self.commands.send(Command::View(reply)).await;
        view.await.unwrap_or_default()
    }
}

struct Loop {
    own: ClusterName,
    boot: PeerBoot,
    origin: Instant,
    identity: Option<Identity>,
    core: Liveness,
    peers: PeerAddresses,
    /// Peers whose links are given up.
    cut: BTreeSet<ClusterName>,
    /// A link ends when its tasks are dropped.
    links: BTreeMap<(ClusterName, SocketAddr), [AbortOnDropHandle<()>; 2]>,
    boards: BTreeMap<ClusterName, Arc<Mutex<Board>>>,
    signals: (mpsc::Sender<Signal>, mpsc::Receiver<Signal>),
    events: mpsc::Sender<LinkEvent>,
    outbox: VecDeque<LinkEvent>,
    /// Where the watches run.
    watches: Handle,
    shutdown: CancellationToken,
}

impl Loop {
    /// Within the runtime of the links.
    fn new(
        config: PeerClientConfig,
        events: mpsc::Sender<LinkEvent>,
        watches: Handle,
        shutdown: CancellationToken,
    ) -> Self {
        let mut this = Self {
            own: config.own,
            boot: config.boot,
            origin: Instant::from_std(config.origin),
            identity: config.identity,
            core: Liveness::new(),
            peers: PeerAddresses::new(),
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            boards: BTreeMap::new(),
            signals: mpsc::channel(SIGNALS),
            events,
            outbox: VecDeque::new(),
            watches,
            shutdown,
        };
        this.set_peers(config.peers);
        this
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let (shutdown, events) = (self.shutdown.clone(), self.events.clone());
        // One timer for all: the deadline moves twenty times a second, and beats come a thousand times.
        let mut timer = pin!(sleep_until(Instant::now()));
        loop {
            let due = self.core.poll_timeout().map(|(at, _)| self.origin + at.since_origin());
            if let Some(due) = due.filter(|due| *due != timer.deadline()) {
                timer.as_mut().reset(due);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = &mut timer, if due.is_some() => {
                    // What was heard before the deadline counts, although it was not read yet.
                    self.hear_more();
                    self.core.tick(self.now());
                }
                Some(signal) = self.signals.1.recv() => {
                    self.hear(signal);
                    self.hear_more();
                }
                Some(command) = commands.recv() => self.obey(command),
                permit = events.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(event) = self.outbox.pop_front() {
                        permit.send(event);
                    }
                }
            }
            self.collect();
        }
    }

    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Reads what came already, so that a beat of all links is one turn of the loop.
    fn hear_more(&mut self) {
        for _ in 0..SIGNALS {
            let Ok(signal) = self.signals.1.try_recv() else { break };
            self.hear(signal);
        }
    }

    fn hear(&mut self, signal: Signal) {
        let Signal { peer, address, heard } = signal;
        if self.cut.contains(&peer) {
            // It was on its way when the link was given up.
            return;
        }
        let now = self.now();
        match heard {
            Heard::Beat(echo) => self.core.handle_beat(&peer, address, echo, now),
            Heard::Answer(text) => self.core.handle_answer(&peer, address, text, now),
            Heard::Failure(failure) => self.core.handle_failure(&peer, address, failure, now),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::SetPeers(peers) => self.set_peers(peers),
            Command::Cut(peers) => {
                self.cut = peers;
                self.keep_links();
            }
            Command::Report(by, report, at) => self.core.handle_report(&by, &report, at, self.now()),
            // Whoever asked may have gone.
            Command::View(reply) => drop(reply.send(self.core.view(self.now()))),
        }
    }

    fn set_peers(&mut self, peers: PeerAddresses) {
        self.core.set_peers(&peers, self.now());
        self.peers = peers;
        self.keep_links();
    }

    /// Begins and ends links, so that there are those to all peers that are not cut.
    fn keep_links(&mut self) {
        let mut peers = self.peers.clone();
        peers.retain(|peer, _| !self.cut.contains(peer));
        self.links.retain(|(peer, address), _| peers.get(peer).is_some_and(|of| of.contains(address)));
        self.boards.retain(|peer, _| peers.get(peer).is_some_and(|of| !of.is_empty()));
        for (peer, addresses) in &peers {
            for &address in addresses {
                if self.links.contains_key(&(peer.clone(), address)) {
                    continue;
                }
                let gateway = Expect::Exactly(Party::Gateway(peer.clone()));
                let tls = match self.identity.as_ref().map(|identity| identity.client(gateway)).transpose() {
                    Ok(tls) => tls,
                    Err(error) => {
                        // Nothing is dialled, so the peer counts as out of reach.
                        tracing::error!(%peer, %address, %error, "no link can be made");
                        continue;
                    }
                };
                let context = Arc::new(LinkContext {
                    own: self.own.clone(),
                    boot: self.boot,
                    peer: peer.clone(),
                    address,
                    tls,
                    identity: self.identity.clone(),
                    origin: self.origin,
                    signals: self.signals.0.clone(),
                    events: self.events.clone(),
                    board: self.boards.entry(peer.clone()).or_default().clone(),
                });
                let (ear, heard) = watch::channel(LinkEar { by: 0, answer: None, beat: None });
                let watched = Arc::clone(&context);
                let tasks = [
                    self.watches.spawn(async move { watching::run(&watched, heard).await }),
                    tokio::spawn(async move { link::run(&context, &ear).await }),
                ];
                self.links.insert((peer.clone(), address), tasks.map(AbortOnDropHandle::new));
            }
        }
    }

    /// Moves what the core has to tell into the outbox.
    fn collect(&mut self) {
        let at = self.now();
        while let Some(output) = self.core.poll_output() {
            let event = match output {
                Output::Peer(peer, event) => {
                    if !matches!(event, PeerEvent::Rtt(_)) {
                        tracing::info!(%peer, ?event, "peer");
                    }
                    LinkEvent::Liveness { peer, event, at }
                }
                Output::Link(peer, address, state, rtt) => {
                    tracing::debug!(%peer, %address, %state, "link");
                    LinkEvent::Link { peer, address, state, rtt, at }
                }
            };
            if self.outbox.len() == OUTBOX {
                self.make_room();
            }
            self.outbox.push_back(event);
        }
    }

    /// The reader has stood still for long. What is only for display goes first; if there is none, the oldest: of
    /// what happened to a peer the newest counts.
    fn make_room(&mut self) {
        self.outbox.retain(|event| match event {
            LinkEvent::Liveness { event, .. } => !matches!(event, PeerEvent::Rtt(_)),
            LinkEvent::Link { .. } => false,
            LinkEvent::Status { .. } => true,
        });
        if self.outbox.len() == OUTBOX {
            let lost = self.outbox.pop_front();
            tracing::warn!(?lost, "the reader of peer events stands still; one is lost");
        }
    }
}
