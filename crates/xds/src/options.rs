//! What the owner of a server may choose, and the limits, each with its reason.

use std::time::Duration;

use tonic::transport::Server;

use crate::LoadAsked;

/// Limits and choices. All have defaults.
#[derive(Clone, Debug)]
pub struct XdsOptions {
    /// ADS streams at a time, and as many LRS streams: 10,000, ten times the largest fleet of gateways that one
    /// agent is meant for. Beyond it a stream is refused with `RESOURCE_EXHAUSTED`.
    pub max_streams: usize,
    /// ADS streams at a time of one node id: 64. An Envoy has one, two while it reconnects; a gRPC process has one
    /// per target, and a service that calls more than 64 others over xDS is rather one client gone wild.
    pub max_streams_per_node: usize,
    /// Names that one stream may subscribe to, over all types: 100,000, ten times 10,000 services.
    pub max_names_per_stream: usize,
    /// Length of one name in bytes: 2,048. Names are Kubernetes names (up to 253 bytes each part) or `xdstp` URLs.
    pub max_name_bytes: usize,
    /// Memory in bytes for what all streams together subscribe to: 1 GiB, which is 1,000 streams with 2,400
    /// names each at 400 bytes and the name. A stream that would go beyond it ends; the others keep what they have.
    pub max_subscription_bytes: usize,
    /// Size of one request in bytes: 4 MiB, gRPC's own default. An Envoy that comes back with 10,000 services
    /// says about 1 MiB. A stream buffers at most one request.
    pub max_request_bytes: usize,
    /// Size of one report of load or of counters in bytes: 16 MiB. One that names 10,000 services has about 7 MiB.
    pub max_report_bytes: usize,
    /// What is kept of a node's description (ids, locality, metadata, user agent), in bytes: 64 KiB. Envoy's
    /// description is about as large, but most of it, the list of extensions, is not kept.
    pub max_node_bytes: usize,
    /// How long a new stream may take to send its first request: 10 s. One that says nothing would hold its place
    /// for ever.
    pub first_request_limit: Duration,
    /// How old a stream may get before it is ended, give or take a quarter by chance: 1 h. Clients then connect
    /// anew, perhaps to another replica, which spreads them again after one has restarted; a client of the
    /// incremental protocol is sent nothing that it holds. `None`: as old as it likes.
    pub max_stream_age: Option<Duration>,
    /// Over what time the streams are ended on shutdown, at most: 2 s, within the 3 s that an agent has to stop.
    /// So the next replica meets its new clients one after the other. Few streams end sooner, 2 ms per stream.
    pub shutdown_spread: Duration,
    /// How often a connection without traffic is asked whether it lives (HTTP/2 PING), and how long the answer may
    /// take: 5 s each. So a gateway that vanished without a word is known to be gone, and its place is free,
    /// within 10 s.
    pub keepalive: Duration,
    /// What load clients report until [`XdsServer::ask_load`](crate::XdsServer::ask_load) says otherwise: of all clusters by
    /// locality, every second
    pub load: LoadAsked,
    /// How this server calls itself in responses (`control_plane.identifier`): empty
    pub identifier: String,
}

impl Default for XdsOptions {
    fn default() -> Self {
        Self {
            max_streams: 10_000,
            max_streams_per_node: 64,
            max_names_per_stream: 100_000,
            max_name_bytes: 2048,
            max_subscription_bytes: 1 << 30,
            max_request_bytes: 4 << 20,
            max_report_bytes: 16 << 20,
            max_node_bytes: 64 << 10,
            first_request_limit: Duration::from_secs(10),
            max_stream_age: Some(Duration::from_secs(3600)),
            shutdown_spread: Duration::from_secs(2),
            keepalive: Duration::from_secs(5),
            load: LoadAsked::default(),
            identifier: String::new(),
        }
    }
}

/// Streams on one connection. An Envoy needs two (ADS, LRS), a gRPC client one per target; the protocol asks for
/// no fewer than 100.
const MAX_STREAMS_PER_CONNECTION: u32 = 128;

impl XdsOptions {
    /// A tonic server that is set up for long streams.
    pub(crate) fn transport(&self) -> Server {
        Server::builder()
            .http2_keepalive_interval(Some(self.keepalive))
            .http2_keepalive_timeout(Some(self.keepalive))
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
    }
}
