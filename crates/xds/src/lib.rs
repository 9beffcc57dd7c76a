//! A generic xDS server: discovery over ADS, incremental and state of the world, and load
//! reports over LRS and counters from a stats sink, for unmodified Envoys and proxyless gRPC clients.
//!
//! It knows the protocol and nothing else: not what is in a resource (but for the name under
//! which a cluster asks for endpoints), not when it should change, nothing of failover.
//!
//! - [`Store`]: encoded resources by scope, type and name; changed in atomic batches.
//! - [`XdsServer`]: serves a store; who sees which scopes is decided by a [`Resolver`].
//! - [`XdsEvent`]: what clients do, on a bounded channel; [`XdsServer::nodes`]: how they stand.
//!
//! Inside, from the pure to the wire: `resource` (encoded once, version by content), `store` and
//! `watch` (a change wakes the streams that subscribe to it), `protocol` (the state machine of a
//! stream, without I/O), `session` (the task around it), `wire`, `lrs`, `metrics` and `csds` (gRPC).
//!
//! A change is pushed at once, without debounce. At most one response of a type is in flight
//! on a stream; what changes meanwhile coalesces, so a slow client costs bounded memory and
//! delays nobody. Deliberately absent: history, timers, threads, TLS and listening sockets
//! (they belong to whoever builds the tonic router).

mod csds;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod kind;
mod limits;
mod lrs;
mod metrics;
mod node;
mod options;
mod protocol;
mod registry;
mod resource;
mod server;
mod session;
mod status;
mod store;
mod tails;
mod watch;
mod wire;

pub use csds::InspectionService;
pub use kind::ResourceType;
pub use lrs::{LoadAsked, LoadOf, LrsService};
pub use metrics::MetricsService;
pub use node::{Caller, NodeInfo, NodeLocality};
pub use options::XdsOptions;
pub use server::{Resolver, XdsServer};
pub use status::{
    ClusterLoad, CounterReport, EndpointLoad, LoadReport, LocalityLoad, Nack, NodeResources, NodeStatus,
    RefusedResource, RequestCounts, ResourceState, ResourceStatus, Transport, TypeStatus, XdsEvent,
};
pub use store::{Change, Scope, Store};
pub use wire::AdsService;
