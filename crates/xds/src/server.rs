//! The server: what all streams share, and the handle that its owner keeps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_server::LoadReportingServiceServer;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryServiceServer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::csds::InspectionService;
use crate::limits::Budget;
use crate::lrs::LrsService;
use crate::metrics::MetricsService;
use crate::registry::Registry;
use crate::wire::AdsService;
use crate::{Caller, LoadAsked, NodeInfo, NodeResources, NodeStatus, Scope, Store, XdsEvent, XdsOptions};

/// Says which scopes a node sees, in order of precedence, or why it sees nothing. It is asked
/// once for each stream and must not block.
pub type Resolver = Arc<dyn Fn(&NodeInfo) -> Result<Vec<Scope>, String> + Send + Sync>;

/// Who may be answered.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    held: bool,
    /// `None` until somebody declares scopes: then all count as declared.
    declared: Option<BTreeSet<Scope>>,
}

impl Gate {
    pub(crate) fn is_open(&self, scopes: &[Scope]) -> bool {
        !self.held
            && self.declared.as_ref().is_none_or(|known| scopes.iter().all(|scope| known.contains(scope)))
    }
}

/// What all streams share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) options: XdsOptions,
    pub(crate) gate: watch::Sender<Gate>,
    /// What clients report of load.
    pub(crate) load_asked: watch::Sender<LoadAsked>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) nodes: Registry,
    pub(crate) budget: Budget,
    resolver: Resolver,
    events: mpsc::Sender<XdsEvent>,
    dropped_events: AtomicU64,
    ads_slots: Arc<Semaphore>,
    lrs_slots: Arc<Semaphore>,
    metrics_slots: Arc<Semaphore>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdsServer").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    /// Who the client is and what it may see.
    pub(crate) fn admit(
        &self,
        node: Option<Node>,
        caller: Option<Caller>,
    ) -> Result<(Arc<NodeInfo>, Vec<Scope>), Status> {
        let node = NodeInfo { caller, ..NodeInfo::from(node.unwrap_or_default()) };
        let (bytes, limit) = (node.bytes(), self.options.max_node_bytes);
        if bytes > limit {
            let text = format!("the node describes itself in {bytes} bytes; at most {limit} are kept");
            return Err(Status::invalid_argument(text));
        }
        if node.id.is_empty() {
            let text = "the first request of a stream must say node.id";
            return Err(Status::invalid_argument(text));
        }
        let scopes = (self.resolver)(&node).map_err(|reason| {
            tracing::warn!(node = node.id, reason, "a node is turned away");
            Status::permission_denied(format!("node {:?} is not served: {reason}", node.id))
        })?;
        Ok((Arc::new(node), scopes))
    }

    /// How many ADS streams are open.
    pub(crate) fn streams(&self) -> usize {
        self.options.max_streams.saturating_sub(self.ads_slots.available_permits())
    }

    pub(crate) fn emit(&self, event: XdsEvent) {
        if self.events.try_send(event).is_err() {
            self.dropped_events.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stream_slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.slot(&self.ads_slots)
    }

    pub(crate) fn load_slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.slot(&self.lrs_slots)
    }

    pub(crate) fn metrics_slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.slot(&self.metrics_slots)
    }

    fn slot(&self, slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(slots).try_acquire_owned().map_err(|_| {
            let limit = self.options.max_streams;
            Status::resource_exhausted(format!("this server takes at most {limit} streams"))
        })
    }
}

/// The xDS server. Clones are handles of the same server.
#[derive(Clone, Debug)]
pub struct XdsServer {
    shared: Arc<Shared>,
}

impl XdsServer {
    /// A server over a store, with default options. Events are dropped and counted while their
    /// channel is full. When `shutdown` is cancelled, every stream ends within
    /// [`shutdown_spread`](XdsOptions::shutdown_spread).
    pub fn new(
        store: Store,
        resolver: Resolver,
        events: mpsc::Sender<XdsEvent>,
        shutdown: CancellationToken,
    ) -> Self {
        Self::with_options(store, resolver, events, shutdown, XdsOptions::default())
    }

    /// The same with options.
    pub fn with_options(
        store: Store,
        resolver: Resolver,
        events: mpsc::Sender<XdsEvent>,
        shutdown: CancellationToken,
        options: XdsOptions,
    ) -> Self {
        let slots = || Arc::new(Semaphore::new(options.max_streams.min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            store,
            gate: watch::Sender::new(Gate::default()),
            load_asked: watch::Sender::new(options.load.clone()),
            shutdown,
            nodes: Registry::new(options.max_streams_per_node),
            budget: Budget::new(options.max_subscription_bytes),
            resolver,
            events,
            dropped_events: AtomicU64::new(0),
            ads_slots: slots(),
            lrs_slots: slots(),
            metrics_slots: slots(),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// From now on clients report this load, those that are connected too. The same again is no news.
    pub fn ask_load(&self, load: LoadAsked) {
        self.shared.load_asked.send_if_modified(|now| {
            let is_news = *now != load;
            *now = load;
            is_news
        });
    }

    /// A tonic server that is set up for long streams: keepalive, so that a stream to a node that vanished without
    /// a word does not stay open, and a limit of 128 streams to one connection.
    pub fn transport(&self) -> tonic::transport::Server {
        self.shared.options.transport()
    }

    /// The services for a tonic router: discovery (ADS), load reporting (LRS) and counters (the metrics service).
    ///
    /// Add them to [`transport`](Self::transport), and give it a listening socket with `TCP_NODELAY`
    /// (`TcpIncoming::with_nodelay`), or a push may wait 40 ms for a delayed ACK.
    pub fn into_services(self) -> (AdsService, LoadReportingServiceServer<LrsService>, MetricsService) {
        let limit = self.shared.options.max_report_bytes;
        let lrs = LoadReportingServiceServer::new(LrsService::new(Arc::clone(&self.shared)))
            .max_decoding_message_size(limit);
        let metrics = MetricsService::new(Arc::clone(&self.shared));
        (AdsService::new(self.shared), lrs, metrics)
    }

    /// The service that tells which node holds which version of which resource and what it refused (CSDS), for the
    /// same or another router. It tells names and versions, never what is in a resource.
    pub fn inspection(&self) -> ClientStatusDiscoveryServiceServer<InspectionService> {
        ClientStatusDiscoveryServiceServer::new(InspectionService::new(Arc::clone(&self.shared)))
    }

    /// From now on streams are accepted and requests are read, but nothing is sent.
    pub fn hold(&self) {
        self.shared.gate.send_modify(|gate| gate.held = true);
    }

    /// Ends [`hold`](Self::hold); all that is owed is sent.
    pub fn release(&self) {
        self.shared.gate.send_modify(|gate| gate.held = false);
    }

    /// From the first call on, a node is answered only while all its scopes have been declared: an answer from a
    /// scope that is not filled yet would take away what the node still has.
    pub fn declare(&self, scopes: impl IntoIterator<Item = Scope>) {
        self.shared.gate.send_modify(|gate| gate.declared.get_or_insert_default().extend(scopes));
    }

    /// The state of every stream, and of the nodes that were here last (at most 1,024 of those).
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.shared.nodes.status()
    }

    /// How every connected node that is wanted stands with each of its resources; `None` if these are more than
    /// `limit`.
    pub fn resources(&self, wanted: impl Fn(&NodeInfo) -> bool, limit: usize) -> Option<Vec<NodeResources>> {
        self.shared.nodes.resources(wanted, limit)
    }

    /// How many events were lost because the owner did not take them in time.
    pub fn dropped_events(&self) -> u64 {
        self.shared.dropped_events.load(Ordering::Relaxed)
    }

    /// The store that this server serves.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}
