//! The owner's side of the peer link: answers heartbeats, and tells observers what its pools are like.
//!
//! It decides nothing, and forgets an observer when its streams end. An observer is the agent that the east-west gateway
//! says it is, by its certificate ([`PeerServer::believing`]). Without that it is who it says it is: all that depends on it is
//! the list of [`PeerServer::observers`] and the limits on streams.

mod beats;
mod caller;
mod observers;
mod statuses;

pub use observers::{Observer, StreamKind};

use crate::{
    identity::Identity,
    lasting::LastingWord,
    ledger::Ledger,
    proto::{
        Beat, StatusUpdate, WatchRequest,
        peer_link_server::{PeerLink, PeerLinkServer},
    },
    wire::MAX_UPDATE_BYTES,
};
use caller::Caller;
use observers::Observers;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_engine::Load;
use tidegate_model::{ClusterName, PeerBoot, PoolStatus, Region, ServiceName, Time, Zone};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// The header in which an east-west gateway says whose certificate it saw. (Envoy writes it as `envoy::CLIENT_HEADER` has it.)
pub const CLIENT_HEADER: &str = "x-forwarded-client-cert";

/// The header in which it says the serial of that certificate, hexadecimal.
pub const SERIAL_HEADER: &str = "x-tidegate-client-serial";

/// Observers send names and numbers only.
const MAX_REQUEST_BYTES: usize = 4 << 10;

struct Shared {
    own: ClusterName,
    region: Region,
    boot: PeerBoot,
    origin: Instant,
    ledger: watch::Sender<Ledger>,
    observers: Observers,
    /// By whose lights observers are believed; everybody is without.
    identity: Option<Identity>,
    shutdown: CancellationToken,
}

impl Shared {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }
}

/// The owner's side of the peer link. Clones share everything.
#[derive(Clone)]
pub struct PeerServer {
    shared: Arc<Shared>,
}

impl PeerServer {
    /// For the cluster `own` in `region`, whose agent drew the number `boot` when it started. When
    /// `shutdown` is cancelled every stream ends with `UNAVAILABLE`, so that it delays no graceful shutdown.
    #[must_use]
    pub fn new(own: ClusterName, region: Region, boot: PeerBoot, shutdown: CancellationToken) -> Self {
        let (ledger, _) = watch::channel(Ledger::default());
        let (origin, observers) = (Instant::now(), Observers::default());
        let shared = Shared { own, region, boot, origin, ledger, observers, identity: None, shutdown };
        Self { shared: Arc::new(shared) }
    }

    /// Observers have to be agents of the trust domain of `identity`, of the clusters that they say they are, with a certificate
    /// that it does not hold for revoked; streams of one that is revoked end. Who they are is the word of the east-west
    /// gateway, in the headers [`CLIENT_HEADER`] and [`SERIAL_HEADER`]: it has seen their certificates, and lets nobody say
    /// it themselves. So nobody but a gateway may reach this server.
    #[must_use]
    pub fn believing(mut self, identity: Identity) -> Self {
        // Nothing is served yet, so nobody shares it.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.identity = Some(identity);
        }
        self
    }

    /// The pools of this cluster are now exactly these. Observers are told what changed; until
    /// the first call they are told nothing, because an agent that just started knows of no pool yet.
    pub fn publish(&self, pools: Vec<PoolStatus>) {
        let now = self.shared.now();
        self.shared.ledger.send_if_modified(|ledger| ledger.publish(pools, now));
    }

    /// The pools of these services are now exactly these (none: they are gone); those of others are as they were.
    /// Nothing is published before [`PeerServer::publish`] said once what all pools are.
    pub fn publish_changed(&self, services: BTreeMap<ServiceName, Vec<PoolStatus>>) {
        let now = self.shared.now();
        self.shared.ledger.send_if_modified(|ledger| ledger.publish_changed(services, now));
    }

    /// What is asked for in this cluster now, by service and zone, and which clusters it cannot reach: all of it. Nothing is
    /// told before the first [`PeerServer::publish`].
    pub fn publish_demand(
        &self,
        demand: &BTreeMap<(ServiceName, Zone), Load>,
        unreachable: &BTreeSet<ClusterName>,
    ) {
        let now = self.shared.now();
        self.shared.ledger.send_if_modified(|ledger| ledger.publish_demand(demand, unreachable, now));
    }

    /// What operators did, by name, with what remains of each: observers are told, and pass it on.
    pub fn publish_lasting(&self, words: Vec<(String, LastingWord)>) {
        let now = self.shared.now();
        self.shared.ledger.send_if_modified(|ledger| ledger.publish_lasting(words, now));
    }

    /// The version of the last publication; zero before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.ledger.borrow().version()
    }

    /// The gRPC service, to be added to a router that the east-west gateway leads to.
    #[must_use]
    pub fn service(&self) -> PeerLinkServer<Self> {
        PeerLinkServer::new(self.clone())
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(MAX_UPDATE_BYTES)
    }

    /// Who observes this cluster now: one entry for each open stream.
    #[must_use]
    pub fn observers(&self) -> Vec<Observer> {
        self.shared.observers.list()
    }
}

#[tonic::async_trait]
impl PeerLink for PeerServer {
    type HeartbeatStream = beats::Answers;
    type WatchStream = ReceiverStream<Result<StatusUpdate, Status>>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<Beat>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let caller = caller::of(self.shared.identity.as_ref(), request.metadata())?;
        Ok(Response::new(beats::Answers::new(self.shared.clone(), caller, request.into_inner())))
    }

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller::of(self.shared.identity.as_ref(), request.metadata())?;
        let (out, stream) = mpsc::channel(1);
        tokio::spawn(statuses::serve(self.shared.clone(), caller, request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Who an observer is, if it can be one, and is who its certificate says.
fn identify(
    shared: &Shared,
    caller: Option<&Caller>,
    cluster: &str,
    boot_id: u64,
) -> Result<(ClusterName, PeerBoot), Status> {
    let cluster = ClusterName::new(cluster).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if let Some(caller) = caller {
        caller.says_it_is(&cluster)?;
    }
    if cluster == shared.own {
        return Err(Status::invalid_argument(format!(
            "{cluster} is this cluster itself; the gateway address belongs to the cluster that dialled it"
        )));
    }
    Ok((cluster, PeerBoot(boot_id)))
}

/// A stream that ends with an error says so to the observer, and here.
async fn mark_end<T>(stream: &str, ended: Result<(), Status>, out: &mpsc::Sender<Result<T, Status>>) {
    let Err(status) = ended else { return };
    if note_end(stream, &status) {
        // Fails only if the observer is gone. A stalled one is not waited for.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), out.send(Err(status))).await;
    }
}

/// Writes down why a stream has ended, if the observer is at fault; whether somebody is left to be told.
fn note_end(stream: &str, status: &Status) -> bool {
    // An error with a source is a broken connection.
    if std::error::Error::source(status).is_some() {
        tracing::debug!(stream, %status, "an observer's connection broke");
        return false;
    }
    if status.code() != tonic::Code::Unavailable {
        tracing::warn!(stream, code = ?status.code(), reason = status.message(), "refused an observer's stream");
    }
    true
}
