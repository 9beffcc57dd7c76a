//! The shell of the agent: it listens, reads, watches, checks, dials and writes; it decides nothing.

use crate::{
    admin::{self, Ask},
    core::{self, Core, Input, Output, ProbeKey, scopes_of},
    hearing::{Heard, heard},
    journal::{self, Header, Journal, Limits},
    saved::{SavedAgent, StateDir, StateError},
    shifts::{ShiftQuery, ShiftView},
    timeline::{Record, Timeline},
    view::{GatewayView, PeerStatus, Status},
};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};
use tidegate_api::GatewayRole;
use tidegate_discovery::{Folder, Snapshot};
use tidegate_link::{
    LinkEvent, PeerClient, PeerClientConfig, PeerEvent, PeerServer, PeerView, StatusDelta, Traffic,
};
use tidegate_model::{ClusterName, GatewayName, PeerBoot, PoolKey, PoolStatus, Time, Zone};
use tidegate_probe::{Prober, Verdict};
use tidegate_xds::{LoadReport, NodeInfo, Store, Transport, XdsEvent, XdsOptions, XdsServer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{Server, server::TcpIncoming};

/// Events that wait for the loop; whoever produces them waits when it is full.
const QUEUE: usize = 4096;
/// State is written at most so often, and so often while anything is under way (a hold-down shrinks).
const SAVE_EVERY: Duration = Duration::from_millis(200);
const SAVE_PULSE: Duration = Duration::from_secs(1);
/// Streams that are open when the agent stops get so long to end.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How often gateways report load. A dead region is confirmed by two reports without a success, so this is well
/// below the 300 ms after which a silent peer is suspect. A report is about 61 KB, and a cluster has few gateways.
const LOAD_INTERVAL: Duration = Duration::from_millis(100);

/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Folders and files of manifests.
    pub manifests: Vec<PathBuf>,
    /// The cluster it is for.
    pub cluster: ClusterName,
    /// Where gateways and peers connect.
    pub listen: SocketAddr,
    /// Where people and their tools ask.
    pub admin: SocketAddr,
    /// Where state is kept.
    pub state_dir: PathBuf,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({what}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The manifests cannot be watched.
    #[error(transparent)]
    Manifests(#[from] tidegate_discovery::Error),
    /// The state folder cannot be used.
    #[error("the state folder cannot be used: {0}")]
    State(#[from] StateError),
    /// The manifests do not name the cluster that the agent is for.
    #[error(
        "the manifests do not say where cluster {cluster} lies\n{problems}  hint: --cluster must be the name of a FleetCluster in them"
    )]
    Cluster {
        /// The cluster that was asked for.
        cluster: ClusterName,
        /// What is wrong with the manifests, a line each.
        problems: String,
    },
    /// A server ended by itself.
    #[error("the {what} server failed: {why}")]
    Server {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}

type Gateways = Arc<RwLock<BTreeMap<GatewayName, GatewayRole>>>;

/// Runs an agent until `stop` is cancelled.
///
/// # Errors
/// If an address cannot be bound, the manifests not be watched or the state folder not be used.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<(), AgentError> {
    let origin = Instant::now();
    let boot = PeerBoot(rand::random());
    let state = StateDir::open(&config.state_dir)?;
    let (saved, problems) = state.load();
    for problem in problems {
        tracing::error!(%problem, "a state file is passed over");
    }
    let listener = bind(config.listen, "xDS and peer links").await?;
    let admin_listener = bind(config.admin, "administration").await?;
    let manifests = Folder::watch(config.manifests.clone(), config.cluster.clone(), stop.clone())?;
    let first = Arc::clone(&manifests.borrow());
    let Some(own) = first.config.clusters.get(&config.cluster) else {
        return Err(AgentError::Cluster { cluster: config.cluster, problems: first.problems_text() });
    };

    let (verdict_tx, verdicts) = mpsc::channel(QUEUE);
    let (xds_tx, xds_events) = mpsc::channel(QUEUE);
    let (link_tx, link_events) = mpsc::channel(QUEUE);
    let (ask_tx, asks) = mpsc::channel(64);
    let (save_tx, save_rx) = watch::channel(None);
    let timeline = Arc::new(Timeline::default());
    let gateways: Gateways = Arc::new(RwLock::new(core::roles(&first.config)));

    let store = Store::new();
    let options = XdsOptions {
        load_interval: LOAD_INTERVAL,
        identifier: format!("tidegate-agent/{}", config.cluster),
        ..XdsOptions::default()
    };
    let resolver = resolver(Arc::clone(&gateways), config.cluster.clone());
    let xds = XdsServer::with_options(store.clone(), resolver, xds_tx, stop.clone(), options);
    xds.hold();
    xds.declare([]);
    let peer_server = PeerServer::new(config.cluster.clone(), own.region.clone(), boot, stop.clone());

    let tasks = TaskTracker::new();
    let failed = CancellationToken::new();
    tracing::info!(address = %listener.local_addr().unwrap_or(config.listen), "serves xDS, load reports and peer links");
    tracing::info!(address = %admin_listener.local_addr().unwrap_or(config.admin), "serves administration");
    let grpc = serve_grpc(listener, xds.clone(), peer_server.clone(), stop.clone());
    let http = serve_admin(admin_listener, admin::router(ask_tx, Arc::clone(&timeline)), stop.clone());
    let grpc = tasks.spawn(guard(grpc, failed.clone()));
    let http = tasks.spawn(guard(http, failed.clone()));
    let writer = tasks.spawn(write_state(state, save_rx));

    let header = Header::first(config.cluster.clone(), saved.clone(), unix_micros(wall_clock()));
    let folder = config.state_dir.join(journal::FOLDER);
    let (journal, journal_writer) = Journal::new(folder, header, Limits::default());
    tasks.spawn_blocking(move || journal_writer.run());
    let core = Core::new(config.cluster.clone(), saved, Time::ZERO);
    let shell = Shell {
        origin,
        core,
        boot,
        xds: xds.clone(),
        prober: Prober::start(verdict_tx, stop.clone()),
        peer_client: PeerClient::start(
            PeerClientConfig { own: config.cluster.clone(), boot, peers: BTreeMap::new(), origin },
            link_tx,
            stop.clone(),
        ),
        peer_server,
        gateways,
        timeline,
        journal,
        save: save_tx,
        saved_at: None,
        dirty: false,
        generation: 0,
        problems: Vec::new(),
        peer_pools: BTreeMap::new(),
        store,
        released: false,
    };
    let inputs = Inputs { manifests, verdicts, xds_events, link_events, asks };
    tokio::select! {
        () = shell.run(inputs, stop.clone()) => {}
        () = failed.cancelled() => {}
    }
    // Whatever ended the loop ends the rest.
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in {} s and are cut", STOP_LIMIT.as_secs());
        return Ok(());
    }
    let outcome = |result: Result<Result<(), AgentError>, tokio::task::JoinError>, what| match result {
        Ok(result) => result,
        Err(error) => Err(AgentError::Server { what, why: error.to_string() }),
    };
    outcome(grpc.await, "xDS")?;
    outcome(http.await, "administration")?;
    outcome(writer.await.map(Ok), "state")
}

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, AgentError> {
    TcpListener::bind(address).await.map_err(|source| AgentError::Bind { address, what, source })
}

/// Runs a server; its failure must not leave an agent that only looks alive.
async fn guard(
    server: impl Future<Output = Result<(), AgentError>>,
    failed: CancellationToken,
) -> Result<(), AgentError> {
    let result = server.await;
    if result.is_err() {
        failed.cancel();
    }
    result
}

async fn serve_grpc(
    listener: TcpListener,
    xds: XdsServer,
    peers: PeerServer,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let (ads, lrs) = xds.into_services();
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .add_service(ads)
        .add_service(lrs)
        .add_service(peers.service())
        // Without it a small push waits for a delayed ACK of the one before, up to 40 ms.
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop.cancelled())
        .await
        .map_err(|error| AgentError::Server { what: "xDS", why: error.to_string() })
}

async fn serve_admin(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|error| AgentError::Server { what: "administration", why: error.to_string() })
}

/// Which scopes a gateway's Envoy sees. It names its gateway in the node's metadata, and its zone in the locality.
fn resolver(gateways: Gateways, cluster: ClusterName) -> tidegate_xds::Resolver {
    Arc::new(move |node: &NodeInfo| {
        let (gateway, zone) = gateway_of(node)?;
        let gateways = gateways.read().unwrap_or_else(PoisonError::into_inner);
        match gateways.get(&gateway) {
            Some(role) => Ok(scopes_of(&gateway, *role, &zone)),
            None if gateways.is_empty() => {
                Err(format!("the agent of {cluster} has loaded no gateways (yet)"))
            }
            None => {
                let known: Vec<String> = gateways.keys().map(ToString::to_string).collect();
                Err(format!(
                    "no gateway {gateway} in the manifests of {cluster}; there are {}",
                    known.join(", ")
                ))
            }
        }
    })
}

fn gateway_of(node: &NodeInfo) -> Result<(GatewayName, Zone), String> {
    let gateway = node
        .metadata
        .get("gateway")
        .ok_or("its metadata names no gateway: use `tidegate envoy bootstrap`")?;
    let gateway = gateway.parse().map_err(|error| format!("{error}"))?;
    let zone = node.locality.zone.parse().map_err(|error| format!("node.locality.zone: {error}"))?;
    Ok((gateway, zone))
}

/// Writes the newest state whenever there is one; on the way down, the last.
async fn write_state(state: StateDir, mut save: watch::Receiver<Option<Arc<SavedAgent>>>) {
    while save.changed().await.is_ok() {
        let Some(saved) = save.borrow_and_update().clone() else { continue };
        let state = state.clone();
        let stored = tokio::task::spawn_blocking(move || state.store(&saved)).await;
        if let Ok(Err(problem)) = stored {
            tracing::error!(%problem, "state is not saved; a restart now would forget hold-downs");
        }
    }
}

struct Inputs {
    manifests: watch::Receiver<Arc<Snapshot>>,
    verdicts: mpsc::Receiver<Verdict<ProbeKey>>,
    xds_events: mpsc::Receiver<XdsEvent>,
    link_events: mpsc::Receiver<LinkEvent>,
    asks: mpsc::Receiver<Ask>,
}

struct Shell {
    origin: Instant,
    core: Core,
    boot: PeerBoot,
    xds: XdsServer,
    store: Store,
    prober: Prober<ProbeKey>,
    peer_client: PeerClient,
    peer_server: PeerServer,
    gateways: Gateways,
    timeline: Arc<Timeline>,
    journal: Journal,
    save: watch::Sender<Option<Arc<SavedAgent>>>,
    saved_at: Option<Time>,
    dirty: bool,
    generation: u64,
    problems: Vec<String>,
    /// What each peer told of its pools, deltas applied.
    peer_pools: BTreeMap<ClusterName, BTreeMap<PoolKey, PoolStatus>>,
    /// Whether gateways are answered.
    released: bool,
}

impl Shell {
    fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    async fn run(mut self, mut inputs: Inputs, stop: CancellationToken) {
        inputs.manifests.mark_changed();
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = inputs.manifests.changed() => {
                    let snapshot = Arc::clone(&inputs.manifests.borrow_and_update());
                    self.manifests(&snapshot).await;
                }
                Some(event) = inputs.link_events.recv() => self.link(event).await,
                Some(verdict) = inputs.verdicts.recv() => {
                    self.handle(Input::Checked(verdict.key, verdict.verdict)).await;
                }
                Some(event) = inputs.xds_events.recv() => self.xds(event).await,
                Some(ask) = inputs.asks.recv() => self.answer(ask).await,
                () = sleep_until(wake.into()) => self.handle(Input::Tick).await,
            }
            self.save_if_due();
        }
        self.dirty = true;
        self.saved_at = None;
        self.save_if_due();
    }

    /// Far enough ahead to mean "nothing is due".
    fn next_wake(&self) -> Instant {
        let idle = self.now() + Duration::from_secs(3600);
        let core = self.core.next_deadline();
        let pulse = core.and(self.saved_at).map(|at| at + SAVE_PULSE);
        let dirty = self.dirty.then(|| self.saved_at.map_or(Time::ZERO, |at| at + SAVE_EVERY));
        let at = [core, pulse, dirty].into_iter().flatten().min().unwrap_or(idle);
        self.origin + at.since_origin()
    }

    async fn handle(&mut self, input: Input) {
        let now = self.now();
        let told = input.clone();
        let output = self.core.handle(input, now);
        self.journal.note(now, told, output.records.clone(), &self.core);
        self.carry_out(output).await;
    }

    async fn carry_out(&mut self, output: Output) {
        let Output { xds, scopes, targets, peers, gateways, publish, records, save } = output;
        if !xds.is_empty() {
            self.store.apply(xds);
        }
        // After their content: a scope that is declared is answered from.
        if let Some(scopes) = scopes {
            self.xds.declare(scopes);
        }
        if let Some(gateways) = gateways {
            *self.gateways.write().unwrap_or_else(PoisonError::into_inner) = gateways;
        }
        if let Some(targets) = targets {
            self.prober.set(targets);
        }
        if let Some(peers) = peers {
            self.peer_client.set_peers(peers).await;
        }
        if let Some(statuses) = publish {
            self.peer_server.publish(statuses);
        }
        self.timeline.append(records, wall_clock());
        self.dirty |= save;
        if self.core.is_ready() && !self.released {
            self.released = true;
            self.xds.release();
            tracing::info!(
                after_ms = self.origin.elapsed().as_millis(),
                "ready: gateways are answered from now on"
            );
        }
    }

    async fn manifests(&mut self, snapshot: &Snapshot) {
        let problems: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        if self.generation != 0 || !problems.is_empty() {
            let reason = match problems.len() {
                0 => "manifests loaded, nothing wrong with them".to_owned(),
                1 => "manifests loaded with 1 problem; what it names stays as it last was good".to_owned(),
                count => format!(
                    "manifests loaded with {count} problems; what they name stays as it last was good"
                ),
            };
            let record = Record { kind: "manifestsChanged", reason, ..Record::default() };
            self.timeline.append([record], wall_clock());
        }
        self.generation = snapshot.generation;
        self.problems = problems;
        let since_1970 = wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.handle(Input::WallClock(since_1970)).await;
        self.handle(Input::Manifests(Arc::new(snapshot.config.clone()))).await;
    }

    async fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Liveness { peer, event, .. } => self.peer(peer, &event).await,
            LinkEvent::Status { peer, status, .. } => {
                let StatusDelta { full, changed, removed, .. } = status;
                let pools = self.peer_pools.entry(peer.clone()).or_default();
                if full {
                    pools.clear();
                }
                for key in removed {
                    pools.remove(&key);
                }
                pools.extend(changed.into_iter().map(|status| (key_of(&peer, &status), status)));
                let pools = pools.values().cloned().collect();
                self.handle(Input::RemotePools(peer, pools)).await;
            }
            LinkEvent::Link { peer, address, state, .. } => {
                tracing::debug!(%peer, %address, %state, "peer link");
            }
        }
    }

    async fn peer(&mut self, peer: ClusterName, event: &PeerEvent) {
        match heard(peer, event) {
            Heard::Input(input) => self.handle(input).await,
            Heard::Record(record) => self.timeline.append([record], wall_clock()),
            Heard::Nothing => {}
        }
    }

    async fn xds(&mut self, event: XdsEvent) {
        match event {
            XdsEvent::Connected { node } => {
                tracing::info!(node = node.id, "gateway connected");
                let edge = |gateway| {
                    let declared = self.core.config().gateways.get(gateway);
                    declared.is_some_and(|it| it.role == GatewayRole::Edge)
                };
                if let Ok((gateway, zone)) = gateway_of(&node)
                    && edge(&gateway)
                {
                    self.handle(Input::Gateway(zone)).await;
                }
            }
            XdsEvent::Disconnected { node } => tracing::info!(node = node.id, "gateway disconnected"),
            XdsEvent::Acked { .. } => {}
            XdsEvent::Nacked { node, kind, names, error } => {
                let reason = format!("gateway {} refused {kind} {}: {error}", node.id, names.join(", "));
                self.timeline.append([Record { kind: "refused", reason, ..Record::default() }], wall_clock());
            }
            XdsEvent::Load(report) => self.load(&report),
        }
    }

    /// Requests to other clusters tell whether they answer: what a silent peer's verdict is confirmed or delayed by.
    fn load(&mut self, report: &LoadReport) {
        let now = self.now();
        let mut seen: BTreeMap<ClusterName, Traffic> = BTreeMap::new();
        for cluster in &report.clusters {
            for locality in &cluster.localities {
                // A remote cluster is a locality without a zone, named by its sub-zone (see the crate `envoy`).
                let Ok(peer) = locality.locality.sub_zone.parse::<ClusterName>() else { continue };
                let none = Traffic { window: cluster.interval, attempts: 0, successes: 0 };
                let traffic = seen.entry(peer).or_insert(none);
                traffic.window = traffic.window.max(cluster.interval);
                traffic.attempts +=
                    locality.counts.issued + locality.counts.error + locality.counts.in_progress;
                traffic.successes += locality.counts.success;
            }
        }
        for (peer, traffic) in seen {
            tracing::debug!(node = report.node.id, %peer, ?traffic, "load report");
            self.peer_client.traffic(peer, traffic, now);
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Whoever asked may be gone; that is all an error here means.
        match ask {
            Ask::Pending(answer) => {
                let _ = answer.send(self.core.pending(self.now()));
            }
            Ask::Status(answer) => {
                let links = self.peer_client.view().await;
                let _ = answer.send(self.status(&links));
            }
            Ask::Explain(service, answer) => {
                let _ = answer.send(self.core.explain(&service, self.now()).map(Box::new));
            }
            Ask::Fleet(answer) => {
                let now = self.now();
                let seen = self
                    .core
                    .engine()
                    .map(|engine| Box::new(tidegate_engine::FleetState::seen_by(engine, now)));
                let _ = answer.send(seen);
            }
            Ask::Release(service, target, answer) => {
                let known = self.core.config().services.contains_key(&service);
                if known {
                    self.handle(Input::Release(service, target)).await;
                }
                let _ = answer.send(known);
            }
            Ask::Shifts(answer) => {
                let shifts = self.core.shifts(self.now());
                let _ = answer.send(shifts.into_iter().map(Into::into).collect());
            }
            Ask::Shift(query, answer) => {
                let _ = answer.send(self.shift(*query).await);
            }
            Ask::EndShift(name, answer) => {
                let known = self.core.shifts(self.now()).iter().any(|shift| shift.name == name);
                self.handle(Input::EndShift(name)).await;
                let _ = answer.send(known);
            }
        }
    }

    async fn shift(&mut self, query: ShiftQuery) -> Result<ShiftView, String> {
        let region = self.core.region().ok_or("the manifests do not name this cluster's region yet")?;
        let shift = query.shift(region)?;
        self.handle(Input::Shift(shift.clone())).await;
        let in_force = self.core.shifts(self.now()).into_iter().find(|it| it.target == shift.target);
        match in_force {
            Some(found) if found.name == shift.name && found.by == shift.by => Ok(found.into()),
            Some(found) => Err(format!("an operator's shift, {}, is in force there", found.name)),
            None => Err("too many shifts are in force; end some".to_owned()),
        }
    }

    fn status(&self, links: &[PeerView]) -> Status {
        let now = self.now();
        Status {
            cluster: self.core.own().clone(),
            region: self.core.region().cloned(),
            boot: self.boot.0,
            uptime_ms: u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX),
            pending: self.core.pending(now),
            manifests_generation: self.generation,
            problems: self.problems.clone(),
            pools: self.core.pool_views(now),
            plans: self.core.plan_views(),
            peers: self.peers(links),
            gateways: self.xds.nodes().iter().map(gateway_view).collect(),
        }
    }

    fn peers(&self, views: &[PeerView]) -> Vec<PeerStatus> {
        let links = |peer: &ClusterName| -> Vec<String> {
            let links = views.iter().filter(|view| view.cluster == *peer).flat_map(|view| &view.links);
            links
                .map(|link| match &link.rtt {
                    Some(rtt) => format!(
                        "{} {}, round trip {:.1} ms",
                        link.address,
                        link.state,
                        rtt.smoothed.as_secs_f64() * 1e3
                    ),
                    None => format!("{} {}", link.address, link.state),
                })
                .collect()
        };
        let peers = self.core.peers().iter();
        peers
            .map(|(peer, state)| PeerStatus {
                cluster: peer.clone(),
                state: state.word().to_owned(),
                links: links(peer),
            })
            .collect()
    }

    fn save_if_due(&mut self) {
        let now = self.now();
        let due = match self.saved_at {
            None => self.dirty,
            Some(at) if self.dirty => now.since(at) >= SAVE_EVERY,
            Some(at) => self.core.next_deadline().is_some() && now.since(at) >= SAVE_PULSE,
        };
        if due && let Some(saved) = self.core.save(now) {
            self.dirty = false;
            self.saved_at = Some(now);
            self.save.send_replace(Some(Arc::new(saved)));
        }
    }
}

fn gateway_view(status: &tidegate_xds::NodeStatus) -> GatewayView {
    let refused = |it: &tidegate_xds::TypeStatus| {
        it.last_nack.as_ref().map(|nack| format!("{} {}: {}", it.kind, nack.names.join(", "), nack.error))
    };
    GatewayView {
        node: status.node.id.clone(),
        gateway: status.node.metadata.get("gateway").cloned().unwrap_or_default(),
        zone: status.node.locality.zone.clone(),
        connected: status.connected,
        transport: match status.transport {
            Transport::Delta => "delta".to_owned(),
            Transport::Sotw => "sotw".to_owned(),
        },
        refused: status.types.iter().filter_map(refused).collect(),
    }
}

fn key_of(cluster: &ClusterName, status: &PoolStatus) -> PoolKey {
    PoolKey { service: status.service.clone(), cluster: cluster.clone(), zone: status.locality.zone.clone() }
}

fn unix_micros(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}

fn wall_clock() -> SystemTime {
    SystemTime::now()
}
