//! Plans and gateways as Envoy v3 resources.
//!
//! Pure translation: what the engine decided and what the manifests say goes in, named and
//! encoded resources come out, byte for byte the same for the same input, so that a hash of the
//! bytes is a version that outlives a restart. Nothing is sent here (that is `xds`) and nothing is
//! decided here (that is `engine`).
//!
//! | resource | edge gateway | east-west gateway |
//! |---|---|---|
//! | CDS `NAMESPACE/NAME` | [`edge_cluster`] | [`eastwest_cluster`] |
//! | EDS | [`edge_endpoints`] or [`tunnelled_endpoints`], `NAMESPACE/NAME@ZONE` | [`eastwest_endpoints`], `NAMESPACE/NAME@local` |
//! | LDS `NAMESPACE/GATEWAY/LISTENER` | [`edge_listener`] | [`eastwest_listener`] |
//! | LDS of TCP and TLS | [`stream_listener`] | |
//! | RDS, named as its listener | [`edge_routes`] | [`eastwest_routes`] |
//! | a service's health: CDS, LDS, RDS and RTDS | [`health_cluster`], [`health_listener`], [`health_routes`], [`health_runtime`] | |
//! | CDS of what takes spans | [`collector_cluster`] | the same |
//! | ECDS `tidegate-fault-N`: what a drill breaks | [`gateway_fault`], [`without_fault`] | |
//! | SDS `tidegate/identity`, `tidegate/trust` | [`identity_secret`], [`trust_secret`] | the same |
//! | SDS `certificate/NAMESPACE/NAME` | [`certificate_secret`] | |
//! | bootstrap | [`bootstrap`] | [`bootstrap`] |
//!
//! The two kinds of gateway use the same CDS names for different clusters: a server must keep
//! their resources apart. Proxyless gRPC clients read their own: [`grpc_listener`], `NAME.NAMESPACE`,
//! [`grpc_cluster`] and [`grpc_endpoints`], once more with the names of an edge's.

mod access_log;
mod agent_cluster;
mod agents;
mod backend_tls;
mod bootstrap;
mod cluster;
mod counters;
mod drain;
mod endpoints;
mod extra;
mod faults;
mod grpc;
mod health;
mod https;
mod limits;
mod listener;
mod proto;
mod resource;
mod retry;
mod routes;
mod session;
mod stream;
mod tls;
mod tracing;
mod upstream;

pub use agent_cluster::{
    AGENT_ROOT, AGENT_SDS, AgentAddress, AgentAddressError, AgentTls, GATEWAY_PEM, GATEWAY_SDS, agent_sds,
    gateway_sds,
};
pub use backend_tls::{backend_trust, backend_trust_name};
pub use bootstrap::{BootstrapSpec, Overload, XdsProtocol, bootstrap, envoy_arguments};
pub use cluster::{eastwest_cluster, edge_cluster};
pub use counters::demand_counter;
pub use endpoints::{
    EndpointHealth, EndpointView, RemoteCluster, SHED_CATEGORY, ZoneEndpoints, eastwest_endpoints,
    edge_endpoints,
};
pub use extra::{Replaced, process_arguments, with_extra};
pub use faults::{
    DRILL_HEADER, FAULT_SLOTS, FaultKind, GatewayFault, fault_names, gateway_fault, without_fault,
};
pub use grpc::{grpc_bootstrap, grpc_cluster, grpc_endpoints, grpc_listener, grpc_listener_name, is_grpc};
pub use health::{
    HEALTH_PREFIX, health_cluster, health_listener, health_routes, health_runtime, routed_services, serves,
};
pub use https::certificate_secret;
pub use listener::{Entrance, eastwest_listener, edge_listener};
pub use resource::{Resource, eastwest_endpoints_name, edge_endpoints_name, listener_name};
pub use routes::{
    AGENT_CLUSTER, DEFAULT_REQUEST_TIMEOUT, PEER_LINK_PREFIX, SERVICE_HEADER, eastwest_routes, edge_routes,
};
pub use stream::{stream_listener, tunnelled_endpoints, tunnels_well};
pub use tls::{CLIENT_HEADER, IDENTITY_SECRET, SERIAL_HEADER, TRUST_SECRET, identity_secret, trust_secret};
pub use tracing::collector_cluster;
