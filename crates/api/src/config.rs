//! What the manifests of one cluster say once they are checked and lowered: the one form that
//! the rest of Tidegate reads, whatever it was loaded from.

mod options;
mod upstream_tls;

pub use options::{Collector, DrainStrategy, ListenerOptions, ProcessOptions, TlsVersion, TraceTag, Tracing};
pub use upstream_tls::{SYSTEM_AUTHORITIES, SubjectName, Trust, UpstreamTls};

use crate::{
    certificate::Certificate,
    checks::{ActiveCheck, ErrorCheck, LatencyCheck},
    routing::{HttpRoute, StreamRoute},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::{Origin, Policy, ShiftTarget};
use tidegate_model::{ClusterName, GatewayName, Region, ServiceName, Zone};

/// Everything that one cluster's agent needs to know from manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The clusters of the fleet, this one among them.
    pub clusters: BTreeMap<ClusterName, FleetCluster>,
    /// The services of this cluster.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// The gateways of this cluster that are Tidegate's (by their class).
    pub gateways: BTreeMap<GatewayName, Gateway>,
    /// The certificates that these show, by `namespace/name` of their `Secret`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Arc<Certificate>>,
    /// The traffic shifts that were written, by `namespace/name`.
    pub shifts: BTreeMap<String, TrafficShift>,
}

/// A traffic shift as it was written. Whether its time is over is for whoever has a clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficShift {
    /// What traffic is moved away from.
    pub target: ShiftTarget,
    /// How much of it, 1 to 100.
    pub percent: u32,
    /// When it ends.
    pub expiry: ShiftExpiry,
    /// Why, for people.
    pub comment: String,
    /// Whether to move it even from the last healthy place of a service.
    pub force: bool,
}

/// When a written shift ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShiftExpiry {
    /// At this time, in seconds since 1970 (UTC).
    At(u64),
    /// So long after an agent first read it.
    For(Duration),
}

/// An east-west gateway that is reached by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedGateway {
    /// A host name, to be looked up.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A cluster of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetCluster {
    /// Where it lies.
    pub region: Region,
    /// The addresses at which other clusters reach its east-west gateways. A cluster without workloads has none, here or
    /// below.
    pub east_west_gateways: Vec<SocketAddr>,
    /// The names of load balancers before its east-west gateways: each agent looks them up.
    #[serde(default)]
    pub named_gateways: Vec<NamedGateway>,
    /// Declared round-trip times to other regions; who is nearest is decided by them.
    pub proximity: BTreeMap<Region, Duration>,
    /// In which wave the hub hands it a new policy, from 0.
    #[serde(default)]
    pub rollout_wave: u32,
    /// Its labels, by which policies may select it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where it was written.
    pub origin: Origin,
}

impl FleetCluster {
    /// Whether others can reach it at all.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !self.east_west_gateways.is_empty() || !self.named_gateways.is_empty()
    }
}

/// A service with its endpoints in this cluster and the policy in force for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its endpoints in this cluster, from all its slices, each address once. Those that are described alike, as the healthy
    /// ones on a node are, share their description.
    pub endpoints: BTreeMap<SocketAddr, Arc<Endpoint>>,
    /// How many endpoints its workloads want, if all of them say so.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// What its endpoints speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether bytes are passed to it: a `TCPRoute` or `TLSRoute` leads to it, or its `appProtocol` is `tcp` or `tls`.
    /// Other clusters are reached through tunnels then.
    #[serde(default)]
    pub tunnelled: bool,
    /// How gateways and checks speak to its endpoints by TLS; `None` where they speak plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<UpstreamTls>>,
    /// Which clusters have to do with it.
    #[serde(default)]
    pub reach: Reach,
    /// The policy in force.
    pub policy: Arc<ServicePolicy>,
    /// Where the `Service` was written.
    pub origin: Origin,
}

/// Which clusters have to do with a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// All of the fleet: others are told of its endpoints here, and may send requests to them.
    #[default]
    Fleet,
    /// It is used from here, in other clusters; what serves it here is for this cluster alone.
    Import,
    /// This one alone. Its policy lets nobody else serve it.
    Cluster,
}

/// An endpoint as its slice describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The zone it lies in.
    pub zone: Zone,
    /// The `ready` condition; absent means true.
    pub ready: bool,
    /// The `terminating` condition; absent means false.
    pub terminating: bool,
    /// The node that it runs on, if its slice names one.
    pub node: Option<Arc<str>>,
    /// Whether that node is Ready; a node that is not in the manifests is taken to be.
    #[serde(default = "yes")]
    pub node_ready: bool,
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge: `appProtocol: kubernetes.io/h2c` or `grpc`, and every backend of a `GRPCRoute`.
    Http2,
}

/// How gateways treat the endpoints of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// What they speak.
    pub protocol: Protocol,
    /// Whether bytes are passed on to them, and not requests: those of other clusters are reached through tunnels.
    pub tunnelled: bool,
    /// The server name by which those of this cluster are asked for, where they are spoken to by TLS. Whom to believe is no part of
    /// this: it may change without a change of the cluster.
    pub server_name: Option<String>,
    /// Whether those of other clusters are reached by mutual TLS.
    pub secure: bool,
    /// Limits.
    pub limits: Limits,
    /// The declared round trip to the farthest region from which they may answer ([`Config::farthest_from`]), which the
    /// agent fills in; `None` where it is not known.
    pub farthest: Option<Duration>,
}

impl Service {
    /// How gateways treat its endpoints.
    #[must_use]
    pub fn upstream(&self) -> Upstream {
        Upstream {
            protocol: self.protocol,
            tunnelled: self.tunnelled,
            server_name: self.tls.as_ref().map(|tls| tls.server_name.clone()),
            secure: false,
            limits: self.policy.limits.clone(),
            farthest: None,
        }
    }
}

const fn yes() -> bool {
    true
}

/// All that policy says about one service: what the engine decides by, and what gateways and checks do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePolicy {
    /// What the engine decides by.
    pub engine: Policy,
    /// How endpoints are checked; `None` when active checks are switched off: readiness alone counts.
    pub active_check: Option<ActiveCheck>,
    /// When an endpoint that answers is too slow; `None` where nobody asked for it.
    #[serde(default)]
    pub latency_check: Option<LatencyCheck>,
    /// When an endpoint is out for the errors of requests; `None` where nobody asked for it.
    #[serde(default)]
    pub error_check: Option<ErrorCheck>,
    /// How gateways retry.
    pub retry: Retry,
    /// What one gateway may ask of the service at a time.
    #[serde(default)]
    pub limits: Limits,
    /// How long requests in flight may take to finish when a pool leaves the plan.
    pub drain_timeout: Duration,
    /// How old a stream or a passed-on connection may become; older ones end, so that none is pinned for longer.
    #[serde(default)]
    pub drain_max_age: Option<Duration>,
}

/// How gateways retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How long one try of a safe request may take before another is started beside it.
    pub per_try_timeout: Duration,
    /// Tries after the first.
    pub attempts: u32,
}

/// What one gateway may ask of a service at a time; `None` is the gateway's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Connections to its endpoints.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests in progress.
    pub max_parallel_requests: Option<u32>,
    /// Requests after which a connection is replaced.
    pub max_requests_per_connection: Option<u32>,
    /// Retries in progress, in percent of the requests in progress.
    pub retry_budget_percent: Option<u32>,
    /// Retries in progress that are always allowed.
    pub retry_budget_minimum: Option<u32>,
    /// For how long an endpoint that is new or healthy again gets less than the others.
    pub slow_start: Option<Duration>,
}

/// A gateway of this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// What it is for, from its class.
    pub role: GatewayRole,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// The routes attached to it, the oldest first; [`Self::matches`] gives their matches in order of precedence.
    /// Empty for an east-west gateway, whose routes are the cluster's services.
    /// Shared: there are as many as services, and who follows the manifests has them all.
    pub routes: Vec<Arc<HttpRoute>>,
    /// The routes of its listeners that pass bytes, no two of them for one listener and host name.
    #[serde(default)]
    pub streams: Vec<StreamRoute>,
    /// What its Envoys are started with.
    #[serde(default)]
    pub process: ProcessOptions,
    /// Where it was written.
    pub origin: Origin,
}

/// What a gateway is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GatewayRole {
    /// Class `tidegate-edge`: clients from outside.
    Edge,
    /// Class `tidegate-internal`: clients in this cluster, who reach the services of the fleet by it.
    Internal,
    /// Class `tidegate-eastwest`: other clusters.
    EastWest,
}

impl GatewayRole {
    /// Whether clients come by it, and their requests are the demand; other clusters' come by the others.
    #[must_use]
    pub const fn takes_clients(self) -> bool {
        matches!(self, Self::Edge | Self::Internal)
    }
}

/// A listener of a gateway. Those written for one port with different host names are one here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name (of several on one port, the first one's), unique in the gateway.
    pub name: String,
    /// Where it binds; each address once in the cluster.
    pub address: SocketAddr,
    /// What it makes of a connection, once it has ended TLS where it does.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// The host names it serves; empty serves all.
    pub hostnames: BTreeSet<String>,
    /// Which requests and connections are written down.
    #[serde(default)]
    pub access_log: AccessLog,
    /// How it ends TLS; `None` where it does not: what comes is plain, or passed on as it is.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// What templates say of it.
    #[serde(default)]
    pub options: ListenerOptions,
}

/// How a listener ends TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// What clients are shown, by the server name that they ask for: the exact one first, then the longest wildcard, then
    /// the empty name, which is for all. Whoever asks for another one is not let in; without any nobody is, and
    /// the listener takes no connections.
    pub certificates: BTreeMap<String, String>,
}

impl Listener {
    /// Whether it takes connections: not if none of the certificates that it should show can be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.certificates.is_empty())
    }
}

/// Which requests and connections a gateway writes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessLog {
    /// None.
    None,
    /// Those that failed: a status of 500 or more, or anything that the gateway itself found wrong.
    #[default]
    Errors,
    /// All.
    All,
}

/// What a listener makes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerProtocol {
    /// HTTP requests.
    #[default]
    Http,
    /// Bytes, passed on as they come.
    Tcp,
    /// TLS, passed on as it comes, to where its server name says.
    Tls,
}

impl Default for ServicePolicy {
    /// The defaults of DESIGN section 7: what applies where nobody wrote a policy.
    fn default() -> Self {
        Self {
            engine: Policy::default(),
            active_check: Some(ActiveCheck::default()),
            latency_check: None,
            error_check: None,
            retry: Retry::default(),
            limits: Limits::default(),
            drain_timeout: Duration::from_secs(30),
            drain_max_age: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        // A goal of 500 ms for a request that meets a dead region: two tries at home, then a connection and a request to
        // a region 65 ms away. Gateways raise it to what the way to the farthest region needs: 2 x 160 + 2 x 65 = 450 ms.
        Self { per_try_timeout: Duration::from_millis(150), attempts: 3 }
    }
}
