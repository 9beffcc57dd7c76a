//! Owners and observers for the tests: real servers and clients on loopback.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tidegate_link::{
    LinkEvent, LinkState, PeerAddresses, PeerClient, PeerClientConfig, PeerEvent, PeerServer, StatusDelta,
    identity::Identity,
    proto::{
        Beat, StatusUpdate, WatchRequest,
        peer_link_server::{PeerLink, PeerLinkServer},
    },
};
use tidegate_model::{ClusterName, Fraction, Locality, PeerBoot, Phase, PoolStatus};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{Pending, wrappers::TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Far more than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

pub(crate) fn pool(service: &str, healthy: u32) -> PoolStatus {
    PoolStatus {
        service: service.parse().unwrap(),
        locality: Locality { region: "us-west".parse().unwrap(), zone: "us-west-1a".parse().unwrap() },
        expected: 4,
        present: 4,
        healthy,
        admit: Fraction::of(healthy, 4),
        phase: Phase::Serving,
        hold_remaining: Duration::ZERO,
    }
}

/// Serves `service` until the guard is dropped.
pub(crate) async fn serve<S: PeerLink>(service: PeerLinkServer<S>) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(async move {
        let server = Server::builder().add_service(service).serve_with_incoming(incoming);
        tokio::select! {
            served = server => served.unwrap(),
            () = stopped.cancelled() => {}
        }
    });
    (address, stop.drop_guard())
}

/// An agent that owns pools.
pub(crate) struct Owner {
    pub(crate) server: PeerServer,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    _listener: DropGuard,
}

impl Owner {
    pub(crate) async fn start(name: &str, boot: u64) -> Self {
        Self::serving(name, boot, |server| server).await
    }

    pub(crate) async fn serving(name: &str, boot: u64, as_it: impl FnOnce(PeerServer) -> PeerServer) -> Self {
        let shutdown = CancellationToken::new();
        let region = "us-west".parse().unwrap();
        let server = as_it(PeerServer::new(cluster(name), region, PeerBoot(boot), shutdown.clone()));
        let (address, listener) = serve(server.service()).await;
        Self { server, address, shutdown, _listener: listener }
    }
}

/// An agent that observes `west`.
pub(crate) struct Watcher {
    pub(crate) client: PeerClient,
    pub(crate) origin: Instant,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    /// All peer events that were met, except round trips.
    pub(crate) met: Vec<PeerEvent>,
    /// Status that came while something else was awaited: the two have no order between them.
    statuses: VecDeque<StatusDelta>,
    _stop: DropGuard,
}

impl Watcher {
    pub(crate) fn start(gateways: &[SocketAddr]) -> Self {
        Self::showing(gateways, None)
    }

    pub(crate) fn showing(gateways: &[SocketAddr], identity: Option<Identity>) -> Self {
        let (sender, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let origin = Instant::now();
        let config = PeerClientConfig {
            own: cluster("east"),
            boot: PeerBoot(7),
            peers: PeerAddresses::from([(cluster("west"), gateways.to_vec())]),
            origin,
            identity,
        };
        let client = PeerClient::start(config, sender, stop.clone()).unwrap();
        Self { client, origin, events, met: Vec::new(), statuses: VecDeque::new(), _stop: stop.drop_guard() }
    }

    /// Reads events until `wanted` finds what it wants in one.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&LinkEvent) -> Option<T>,
    ) -> T {
        let found = timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the client lives");
                if let LinkEvent::Liveness { event, .. } = &event
                    && !matches!(event, PeerEvent::Rtt(_))
                {
                    self.met.push(event.clone());
                }
                if let Some(found) = wanted(&event) {
                    return found;
                }
                if let LinkEvent::Status { status, .. } = event {
                    self.statuses.push_back(status);
                }
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("no {what}; met {:?}; {:#?}", self.met, self.client.view().await),
        }
    }

    pub(crate) async fn until_peer(&mut self, what: &str, wanted: fn(&PeerEvent) -> bool) -> PeerEvent {
        self.until(what, |event| match event {
            LinkEvent::Liveness { event, .. } if wanted(event) => Some(event.clone()),
            _ => None,
        })
        .await
    }

    /// The next status, in the order in which they came.
    pub(crate) async fn next_status(&mut self, what: &str) -> StatusDelta {
        if let Some(status) = self.statuses.pop_front() {
            return status;
        }
        self.until(what, |event| match event {
            LinkEvent::Status { status, .. } => Some(status.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_reachable(&mut self) -> PeerEvent {
        self.until_peer("contact", |event| matches!(event, PeerEvent::Reachable { .. })).await
    }

    pub(crate) async fn until_unreachable(&mut self) -> PeerEvent {
        self.until_peer("loss", |event| matches!(event, PeerEvent::Unreachable { .. })).await
    }

    /// Until a link says that somebody was refused, with this in its words; no event tells that only the words changed.
    pub(crate) async fn until_refused(&self, words: &str) {
        self.until_link(words, |state| state.to_string().contains(words)).await;
    }

    pub(crate) async fn until_beating(&self) {
        self.until_link("beating", |state| *state == LinkState::Beating).await;
    }

    async fn until_link(&self, what: &str, is_so: impl Fn(&LinkState) -> bool) {
        let becomes = async {
            while !is_so(&self.client.view().await[0].links[0].state) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, becomes).await.unwrap_or_else(|_| panic!("no link says {what}"));
    }

    pub(crate) fn was_unreachable(&self) -> bool {
        self.met.iter().any(|event| matches!(event, PeerEvent::Unreachable { .. }))
    }
}

/// What a gateway makes of requests to an agent that is not there for them.
pub(crate) enum NoAgent {
    /// It is dead: the gateway says so.
    Dead,
    /// It is frozen: the gateway waits for it, and answers by itself what is not for the agent.
    Frozen,
}

#[tonic::async_trait]
impl PeerLink for NoAgent {
    type HeartbeatStream = Pending<Result<Beat, Status>>;
    type WatchStream = Pending<Result<StatusUpdate, Status>>;

    async fn heartbeat(
        &self,
        _: Request<Streaming<Beat>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        match self {
            Self::Dead => Err(Status::unavailable("no healthy upstream")),
            Self::Frozen => std::future::pending().await,
        }
    }

    async fn watch(
        &self,
        _: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        match self {
            Self::Dead => Err(Status::unavailable("no healthy upstream")),
            Self::Frozen => std::future::pending().await,
        }
    }
}
