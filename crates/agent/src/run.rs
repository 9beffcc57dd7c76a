//! Setting an agent up and taking it down: addresses, servers, the state folder, and who may ask for what.

use crate::{
    access, admin,
    asked::Asked,
    core::{self, Core, grpc_scope, scopes_of},
    entrance::{self, Doors, Listen},
    error::AgentError,
    hooks,
    hub::{self, HubError, HubOptions, Membership, Way},
    journal::{self, Header, Journal, Limits},
    meter::Meter,
    names::{Hosts, Names},
    otlp,
    page::{self, Page},
    passive::reports::Ended,
    pushes::Pushes,
    replicas::Telling,
    saved::{Keeper, StateDir},
    secrets,
    shell::{Inputs, Shell, unix_micros, wall_clock},
    teller,
    timeline::Timeline,
    traffic::Traffic,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tidegate_api::GatewayRole;
use tidegate_discovery::{
    Snapshot, Sources, Updates,
    kube::{Board, KubeAccess, KubeOptions, Pace, SecretPlace},
};
use tidegate_envoy::{is_grpc, tunnels_well};
use tidegate_link::{
    MAX_REPLICAS, PeerClient, PeerClientConfig, PeerServer, ReplicaConfig, ReplicaEvent, Replicas,
    access::{Door as PeopleDoor, Doorkeeper, local},
    identity::{Identity, Refusals},
};
use tidegate_model::{ClusterName, GatewayName, PeerBoot, Time, Zone};
use tidegate_probe::Prober;
use tidegate_status::{leader::Leadership, otlp::Collector, webhook::Webhooks};
use tidegate_xds::{NodeInfo, Store, XdsOptions, XdsServer};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Events that wait for the loop; whoever produces them waits when it is full.
const QUEUE: usize = 4096;
/// Words of other replicas that wait for the loop: each of them may have eight under way.
const REPLICA_QUEUE: usize = 64;
/// Streams that are open when the agent stops get so long to end.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Folders and files of manifests.
    pub manifests: Vec<PathBuf>,
    /// The API of the cluster, if its objects are to be read from there.
    pub kubernetes: Option<KubeAccess>,
    /// The Secrets that certificates are read of; all that may be read, if none are named.
    pub certificates: Vec<SecretPlace>,
    /// The cluster it is for; without it, the one that it joined a hub as.
    pub cluster: Option<ClusterName>,
    /// The way to the hub; `None` for a cluster without one.
    pub hub: Option<HubOptions>,
    /// Where gateways and, through them, peers connect.
    pub listen: Vec<Listen>,
    /// Where people and their tools ask. Loopback only.
    pub admin: SocketAddr,
    /// Where they ask from elsewhere, by TLS and with tokens of the hub.
    pub admin_tls: Option<SocketAddr>,
    /// Where state is kept.
    pub state_dir: PathBuf,
    /// The other replicas of this agent: their listen addresses.
    pub replicas: Vec<SocketAddr>,
    /// A name that leads to all replicas, as `HOST:PORT`.
    pub replicas_name: Option<String>,
    /// A file of addresses of gateways' names, which come before those of the machine's resolver.
    pub hosts: Option<PathBuf>,
    /// Who is told what happens.
    pub webhooks: Option<Webhooks>,
    /// Who gets traces of changes, decisions, pushes and ACKs.
    pub collector: Option<Collector>,
}

/// The file of the state folder that keeps what the API of the cluster told.
const OBJECTS: &str = "kubernetes.objects";

pub(crate) type Gateways = Arc<RwLock<BTreeMap<GatewayName, GatewayRole>>>;

/// Runs an agent until `stop` is cancelled.
///
/// # Errors
/// If an address cannot be bound, the manifests not be watched or the state folder not be used.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<(), AgentError> {
    if !config.admin.ip().is_loopback() {
        return Err(AgentError::Admin(config.admin));
    }
    if config.admin_tls.is_some() && config.hub.is_none() {
        return Err(AgentError::NoPeople);
    }
    let origin = Instant::now();
    let boot = PeerBoot(rand::random());
    let hosts = config.hosts.as_deref().map(Hosts::read).transpose()?.unwrap_or_default();
    let state = StateDir::open(&config.state_dir)?;
    let (saved, problems) = state.load();
    for problem in problems {
        tracing::error!(%problem, "a state file is passed over");
    }
    let mut bound = Vec::new();
    for listen in &config.listen {
        // Whether the cluster has an identity is known later, and does not change the address.
        bound.push((listen.clone(), listen.bind().await?));
    }
    let admin_listener = bind(config.admin, "administration").await?;
    let people = match config.admin_tls {
        Some(address) => Some(bind(address, "administration by TLS").await?),
        None => None,
    };
    let (ask_tx, asks) = mpsc::channel(64);
    let timeline = Arc::new(Timeline::default());
    let (hub_left, way) = Way::new(&ask_tx, &timeline);
    let (cluster, (first, manifests, api), member) = match manifests(&config, boot, way, &stop).await {
        // Nobody is served yet, so there is nothing to end in order.
        Err(
            AgentError::Hub(HubError::Stopped) | AgentError::Manifests(tidegate_discovery::Error::Stopped),
        ) => return Ok(()),
        found => found?,
    };
    let Some(own) = first.config.clusters.get(&cluster) else {
        return Err(AgentError::Cluster { cluster, problems: first.problems_text() });
    };

    let (verdict_tx, verdicts) = mpsc::channel(QUEUE);
    let (xds_tx, xds_events) = mpsc::channel(QUEUE);
    let (link_tx, link_events) = mpsc::channel(QUEUE);
    let (found_tx, found) = mpsc::channel(1);
    let gateways: Gateways = Arc::new(RwLock::new(core::roles(&first.config)));

    let store = Store::new();
    let options = XdsOptions {
        load: Asked::at_start(),
        identifier: format!("tidegate-agent/{cluster}"),
        ..XdsOptions::default()
    };
    let identity = member.as_ref().map(|member| member.identity.clone());
    let refusals = identity.as_ref().map(|identity| identity.refusals().clone());
    let resolver = resolver(Arc::clone(&gateways), cluster.clone(), refusals.clone());
    let xds = XdsServer::with_options(store.clone(), resolver, xds_tx, stop.clone(), options);
    xds.hold();
    xds.declare([]);
    let mut peer_server = PeerServer::new(cluster.clone(), own.region.clone(), boot, stop.clone());
    if let Some(identity) = &identity {
        peer_server = peer_server.believing(identity.clone());
    }

    let tasks = TaskTracker::new();
    let failed = CancellationToken::new();
    tracing::info!(address = %admin_listener.local_addr().unwrap_or(config.admin), "serves administration");
    let (replica_tx, replica_events) = mpsc::channel(REPLICA_QUEUE);
    let (awaited, replicas) =
        replicas(&config, &cluster, identity.clone(), (boot, origin), replica_tx, &stop);
    let doors = Doors {
        bound,
        xds: &xds,
        peers: &peer_server,
        replicas: replicas.as_ref().map(|(link, _)| link),
        gateways: &gateways,
        refusals: refusals.clone(),
    };
    let grpc = doors.open(&config.state_dir, member.as_ref(), &stop)?;
    let agent = hub::agent_name(&cluster, boot);
    let telling = api.as_ref().map(|(options, board)| {
        let (asks, timeline) = (ask_tx.clone(), Arc::clone(&timeline));
        teller::start(options, board, cluster.clone(), asks, timeline, stop.clone())
    });
    let hooks = match &config.webhooks {
        Some(webhooks) => {
            let leadership = telling.as_ref().map_or_else(Leadership::alone, |it| it.leadership.clone());
            let own = (cluster.clone(), boot.0);
            Some(hooks::start(webhooks, own, Arc::clone(&timeline), leadership, &stop)?)
        }
        None => None,
    };
    let spans = config.collector.as_ref().map(|collector| {
        otlp::start(collector, (cluster.clone(), boot.0), Arc::clone(&timeline), stop.clone())
    });
    let foresight = admin::services::Foresight::default();
    let shared = admin::Shared {
        asks: ask_tx,
        timeline: Arc::clone(&timeline),
        agent,
        telling,
        hooks,
        spans,
        foresight,
    };
    let page = member.as_ref().map(|member| Arc::clone(&member.page));
    let page = page.unwrap_or_else(|| Page::new(shared.clone(), cluster.clone()));
    tasks.spawn(Arc::clone(&page).follow(stop.clone()));
    let router = |without_tokens| {
        page::mount(admin::router(shared.clone()), Arc::clone(&page), without_tokens, stop.clone())
    };
    if let (Some(listener), Some(member)) = (people, &member) {
        let door = people_door(listener, member, stop.clone())?;
        tasks.spawn(door.serve(router(false), stop.clone()));
    }
    let http = serve_admin(admin_listener, router(true), stop.clone());
    let grpc = tasks.spawn(guard(grpc, failed.clone()));
    let http = tasks.spawn(guard(http, failed.clone()));
    let (keeper, state_writer) = Keeper::new(state);
    let writer = tasks.spawn_blocking(move || state_writer.run());

    let header = Header::first(cluster.clone(), saved.clone(), unix_micros(wall_clock()));
    let folder = config.state_dir.join(journal::FOLDER);
    let (journal, journal_writer) = Journal::new(folder, header, Limits::default());
    tasks.spawn_blocking(move || journal_writer.run());
    let mut core = Core::new(cluster.clone(), saved, Time::ZERO).at(boot);
    let (mut in_force, mut handed, mut hub, mut hub_time) = (None, None, None, None);
    if let Some(member) = member {
        core.secure();
        secrets::hand_over(member.secrets.borrow().as_ref(), &xds);
        tasks.spawn(secrets::follow(member.secrets, xds.clone(), stop.clone()));
        in_force = Some(member.in_force);
        handed = Some(member.given);
        hub = Some(member.link);
        hub_time = Some(member.clock);
    }
    let shell = Shell {
        origin,
        core,
        boot,
        xds: xds.clone(),
        prober: Prober::start(verdict_tx, stop.clone()).map_err(AgentError::Prober)?,
        peer_client: PeerClient::start(
            PeerClientConfig { own: cluster.clone(), boot, peers: BTreeMap::new(), origin, identity },
            link_tx,
            stop.clone(),
        )
        .map_err(AgentError::PeerLinks)?,
        peer_server,
        gateways,
        timeline,
        journal,
        keeper,
        generation: 0,
        given: 0,
        handed,
        in_force,
        hub_time,
        hub,
        api: api.map(|(_, board)| board),
        hub_left,
        problems: Vec::new(),
        peer_demand: BTreeMap::new(),
        meter: Meter::default(),
        flows: Traffic::default(),
        pushes: Pushes::default(),
        asked: Asked::default(),
        successes: BTreeSet::new(),
        successes_at: Time::ZERO,
        requests: Ended::default(),
        refusals,
        store,
        released: false,
        replicas,
        awaited,
        names: Names::start(hosts, found_tx, stop.clone()),
    };
    let inputs = Inputs { manifests, verdicts, xds_events, link_events, replica_events, found, asks };
    let ended = tokio::select! {
        ended = shell.run(first, inputs, stop.clone()) => ended,
        () = failed.cancelled() => Ok(()),
    };
    // Whatever ended the loop ends the rest.
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!("some connections did not end in {} s and are cut", STOP_LIMIT.as_secs());
        return ended;
    }
    let outcome = |result: Result<Result<(), AgentError>, tokio::task::JoinError>, what| match result {
        Ok(result) => result,
        Err(error) => Err(AgentError::Server { what, why: error.to_string() }),
    };
    outcome(grpc.await, "xDS")?;
    outcome(http.await, "administration")?;
    outcome(writer.await.map(Ok), "state")?;
    ended
}

/// What manifests say at first, what follows, and how the API stands that they are read from, if they are.
type Followed = (Snapshot, Updates, Option<(KubeOptions, Board)>);

/// The cluster, and its manifests: those of the folders and of its API, and what the hub hands out.
async fn manifests(
    config: &AgentConfig,
    boot: PeerBoot,
    way: Way,
    stop: &CancellationToken,
) -> Result<(ClusterName, Followed, Option<Membership>), AgentError> {
    let kube = match &config.kubernetes {
        None => None,
        Some(access) => {
            let (client, url) = access.client().await?;
            let saved = Some(config.state_dir.join(OBJECTS));
            let certificates = config.certificates.clone();
            Some(KubeOptions { client, url, certificates, saved, pace: Pace::default() })
        }
    };
    let (cluster, member) = match config.hub.clone() {
        None => (config.cluster.clone().ok_or(AgentError::NoCluster)?, None),
        Some(options) => {
            let (state, named) = (&config.state_dir, config.cluster.as_ref());
            let member = hub::open(state, options, named, boot, way, stop.clone()).await?;
            (member.cluster.clone(), Some(member))
        }
    };
    if config.manifests.is_empty() && kube.is_none() && member.is_none() {
        return Err(tidegate_discovery::Error::NoPaths.into());
    }
    let given = member.as_ref().map(|member| member.given.clone());
    let sources = Sources { paths: config.manifests.clone(), given, kube: kube.clone() };
    let (first, updates, board) = sources.watch(cluster.clone(), stop.clone()).await?;
    Ok((cluster, (first, updates, kube.zip(board)), member))
}

/// The links to the other replicas, if there are to be any, and at how many addresses one is awaited: by name as many as answer.
fn replicas(
    config: &AgentConfig,
    own: &ClusterName,
    identity: Option<Identity>,
    (boot, origin): (PeerBoot, Instant),
    events: mpsc::Sender<ReplicaEvent>,
    stop: &CancellationToken,
) -> (usize, Option<(Replicas, Telling)>) {
    let config = ReplicaConfig {
        own: own.clone(),
        boot,
        addresses: config.replicas.clone(),
        name: config.replicas_name.clone(),
        origin,
        identity,
    };
    if config.is_alone() {
        return (0, None);
    }
    let awaited = if config.name.is_some() { MAX_REPLICAS } else { config.addresses.len() };
    (awaited, Some((Replicas::start(config, events, stop.clone()), Telling::default())))
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

/// Where people ask from elsewhere: known by the tokens that the hub told of last.
fn people_door(
    listener: TcpListener,
    member: &Membership,
    stop: CancellationToken,
) -> Result<PeopleDoor, AgentError> {
    let address = listener
        .local_addr()
        .map_err(|error| AgentError::Server { what: "administration by TLS", why: error.to_string() })?;
    let grants = member.grants.clone();
    let keeper = Doorkeeper {
        identity: member.identity.clone(),
        known: Arc::new(move |kept_as: &str| grants.borrow().get(kept_as).cloned()),
        needed: access::needed,
        // It has no audit log; who is refused is in the log.
        limited: Arc::new(|_| {}),
        refused: Arc::new(|_| {}),
    };
    tracing::info!(%address, "serves people with tokens and certificates");
    Ok(PeopleDoor::open(listener, address, keeper, stop)?)
}

async fn serve_admin(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    axum::serve(listener, router.layer(axum::middleware::from_fn(local)))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|error| AgentError::Server { what: "administration", why: error.to_string() })
}

/// Which scopes a client sees. A gateway's Envoy names its gateway in the node's metadata, and its zone in the locality; a
/// gRPC client its zone only.
///
/// Once the cluster has an identity, gateways see the secrets that go with it.
fn resolver(gateways: Gateways, cluster: ClusterName, refusals: Option<Refusals>) -> tidegate_xds::Resolver {
    Arc::new(move |node: &NodeInfo| {
        entrance::believed(node, refusals.as_ref())?;
        if let Some(zone) = grpc_client(node) {
            return zone.map(|zone| vec![grpc_scope(&zone)]);
        }
        let (gateway, zone) = gateway_of(node)?;
        let gateways = gateways.read().unwrap_or_else(PoisonError::into_inner);
        match gateways.get(&gateway) {
            Some(role) => {
                let scopes = scopes_of(&gateway, *role, &zone, tunnels_well(&node.user_agent_version));
                Ok(scopes.into_iter().chain(refusals.as_ref().map(|_| secrets::scope())).collect())
            }
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

/// The zone of a gRPC client without a proxy; `None` if it is none. It is told of services by the names that it asks for,
/// so all it has to say of itself is where it is.
pub(crate) fn grpc_client(node: &NodeInfo) -> Option<Result<Zone, String>> {
    let is_client = is_grpc(&node.user_agent_name) && !node.metadata.contains_key("gateway");
    let zone = &node.locality.zone;
    is_client.then(|| {
        zone.parse().map_err(|error| format!("node.locality.zone of the gRPC client's bootstrap: {error}"))
    })
}

pub(crate) fn gateway_of(node: &NodeInfo) -> Result<(GatewayName, Zone), String> {
    let gateway = node
        .metadata
        .get("gateway")
        .ok_or("its metadata names no gateway: use `tidegate envoy bootstrap`")?;
    let gateway = gateway.parse().map_err(|error| format!("{error}"))?;
    let zone = node.locality.zone.parse().map_err(|error| format!("node.locality.zone: {error}"))?;
    Ok((gateway, zone))
}
