//! The links of a fleet: between agents (heartbeats and pool status, through the east-west gateways), between agents and the
//! hub ([`hub`]), between a gateway and its agent ([`gateway`]), who is who on them ([`identity`]), and who of the people may ask what ([`access`]).
//!
//! A peer link is directed: the observer dials every gateway address of the owner ([`PeerClient`]) and learns whether the owner can be
//! reached and what its pools are like; the owner answers ([`PeerServer`]) and learns nothing. Each agent is both.
//! Who can be reached is decided by [`Liveness`], which has no sockets and no clock; the rest is transport.
//!
//! The replicas of one agent hear each other over replica links ([`Replicas`]).
//!
//! This crate decides nothing about traffic, and it does not know policy. Where clusters have identities ([`identity`]) links
//! are mutual TLS with the gateway of the peer's cluster, which tells its agent who dialled; without, they are plain HTTP/2.

pub mod access;
mod board;
mod client;
pub mod gateway;
pub mod hub;
pub mod identity;
mod lasting;
mod ledger;
mod liveness;
mod replica;
mod rtt;
mod server;
mod wire;

/// The messages and stubs, generated from `proto/tidegate/link/v1`.
// Generated code is held to what the compiler checks; a test holds it to the proto.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]
pub mod proto {
    include!("generated/tidegate.link.v1.rs");
}

pub use board::StatusDelta;
pub use client::{LinkEvent, PeerClient, PeerClientConfig};
pub use lasting::LastingWord;
pub use liveness::{
    BEAT_INTERVAL, Echo, LinkFailure, LinkState, LinkView, Liveness, Output, PeerEvent, PeerView,
    QUICK_RETURN_WITHIN, ROUGH_UNREACHABLE_AFTER, Reach, SELF_DOUBT_AFTER, SUSPECT_AFTER, Traffic,
    UNREACHABLE_AFTER, Wake, Why,
};
pub use replica::{
    BEAT as REPLICA_BEAT, MAX_REPLICAS, ReplicaConfig, ReplicaEvent, ReplicaStats, ReplicaWord, Replicas,
    SILENT as REPLICA_SILENT,
};
pub use rtt::RoundTrip;
pub use server::{CLIENT_HEADER, Observer, PeerServer, SERIAL_HEADER, StreamKind};

use std::{collections::BTreeMap, net::SocketAddr};
use tidegate_model::ClusterName;

/// The peers of a cluster, each with the addresses of its east-west gateways.
pub type PeerAddresses = BTreeMap<ClusterName, Vec<SocketAddr>>;
