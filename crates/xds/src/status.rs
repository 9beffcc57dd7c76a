//! What the server tells its owner: events as they happen, and the state of every node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{NodeInfo, NodeLocality, ResourceType};

/// Something that a client did.
#[derive(Clone, Debug)]
pub enum XdsEvent {
    /// An ADS stream was accepted.
    Connected {
        /// Who
        node: Arc<NodeInfo>,
    },
    /// An ADS stream ended.
    Disconnected {
        /// Who
        node: Arc<NodeInfo>,
    },
    /// A response was accepted.
    Acked {
        /// Who
        node: Arc<NodeInfo>,
        /// Of which type
        kind: ResourceType,
        /// Version of all that the node now holds of this type (16 hex digits)
        version: String,
        /// The batches ([`Store::batch`](crate::Store::batch)) whose changes it came with, ascending, at most the last 64: what
        /// the node subscribed to changed with them, and it has them now, or what came in their place.
        batches: Vec<u64>,
    },
    /// A response was refused. A refused response with several names is sent again in two
    /// halves, so that the culprit comes alone in a later event.
    Nacked {
        /// Who
        node: Arc<NodeInfo>,
        /// Of which type
        kind: ResourceType,
        /// What was in the response: those that the client's words name, else all, at most 64
        names: Vec<String>,
        /// The client's words
        error: String,
    },
    /// A load report came in.
    Load(LoadReport),
    /// Counters came in.
    Counters(CounterReport),
}

/// The counters of a node as they stood at one moment. They count from the start of its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterReport {
    /// Who reports
    pub node: Arc<NodeInfo>,
    /// When, by the node's own clock: milliseconds since 1970; 0 if it does not say
    pub at_ms: u64,
    /// By name. Envoy leaves out what was never counted.
    pub counters: Vec<(String, u64)>,
}

/// Load since the last report of the same node. Counts are of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReport {
    /// Who reports
    pub node: Arc<NodeInfo>,
    /// By upstream cluster
    pub clusters: Vec<ClusterLoad>,
}

/// Load of one upstream cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterLoad {
    /// Cluster name
    pub cluster: String,
    /// EDS service name, empty if there is none
    pub service: String,
    /// Over which time the counts were taken
    pub interval: Duration,
    /// Requests that the client turned away by a limit of its own (a circuit breaker)
    pub dropped: u64,
    /// Requests that the client dropped because it was told to, by category
    pub shed: BTreeMap<String, u64>,
    /// By upstream locality and priority; idle ones are left out by Envoy
    pub localities: Vec<LocalityLoad>,
}

/// Request counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Completed with success in the interval
    pub success: u64,
    /// Failed in the interval
    pub error: u64,
    /// In progress at the end of the interval
    pub in_progress: u64,
    /// Started in the interval
    pub issued: u64,
}

/// Load of one upstream locality in one priority.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalityLoad {
    /// Where the endpoints are
    pub locality: NodeLocality,
    /// Their priority, 0 is the highest
    pub priority: u32,
    /// Counts of the locality
    pub counts: RequestCounts,
    /// Per endpoint, if the server was set up to ask for it
    pub endpoints: Vec<EndpointLoad>,
}

/// Load of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointLoad {
    /// IP address or host name; empty if it is not a socket address
    pub address: String,
    /// Port number
    pub port: u16,
    /// Counts of the endpoint
    pub counts: RequestCounts,
}

/// Which variant of the protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Incremental
    Delta,
    /// State of the world
    Sotw,
}

/// The last refusal.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Nack {
    /// Version of the set that was refused
    pub version: String,
    /// What was in the response: those that the client's words name, else all, at most 64
    pub names: Vec<String>,
    /// The client's words
    pub error: String,
}

/// One type on one stream.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TypeStatus {
    /// Which type
    pub kind: ResourceType,
    /// Whether the client wants all there are
    pub wildcard: bool,
    /// How many names it subscribes to
    pub subscribed: usize,
    /// Version of all that was sent, if something was
    pub sent: Option<String>,
    /// Version that was accepted last
    pub acked: Option<String>,
    /// Whether a response waits for its ACK
    pub in_flight: bool,
    /// The last refusal on this stream, also if it was made good since
    pub last_nack: Option<Nack>,
    /// What was refused and not accepted since, at most 256; the client goes on with the version before
    pub refused: Vec<RefusedResource>,
}

/// A resource that a client refused.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RefusedResource {
    /// Its name
    pub name: String,
    /// The version that was refused
    pub version: String,
    /// The client's words, at most 4 KiB of them
    pub error: String,
    /// When, in milliseconds since 1970
    pub at_ms: u64,
}

/// How a client stands with one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Of which type
    pub kind: ResourceType,
    /// Its name
    pub name: String,
    /// The version that the client accepted last, if any: what it runs with
    pub version: Option<String>,
    /// When the client accepted something under this name, in milliseconds since 1970; unknown for what it brought
    /// from an earlier stream
    pub acked_at_ms: Option<u64>,
    /// Where the newest version stands
    pub state: ResourceState,
}

/// Where the newest version of a resource stands with one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// The client asked for it and nothing was sent (yet).
    Requested,
    /// It does not exist, and the client knows.
    DoesNotExist,
    /// Sent, and neither accepted nor refused.
    Sent,
    /// Accepted.
    Acked,
    /// Refused.
    Nacked {
        /// The version that was refused
        version: String,
        /// The client's words
        error: String,
        /// When, in milliseconds since 1970
        at_ms: u64,
    },
}

/// A client and its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeResources {
    /// Who
    pub node: Arc<NodeInfo>,
    /// What it knows of or asked for
    pub resources: Vec<ResourceStatus>,
}

/// One stream, or the last one of a node that is gone.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NodeStatus {
    /// Who
    pub node: Arc<NodeInfo>,
    /// How it speaks
    pub transport: Transport,
    /// Whether the stream is open
    pub connected: bool,
    /// The types that it asked for
    pub types: Vec<TypeStatus>,
}
