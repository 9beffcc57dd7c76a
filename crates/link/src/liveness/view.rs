//! What people are shown of the peers: the same facts as the decisions, with their reasons.

use crate::RoundTrip;
use serde::Serialize;
use std::{fmt, net::SocketAddr, time::Duration};
use tidegate_model::{ClusterName, PeerBoot};

/// Why a link has no heartbeat, as its dialler saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "failure", content = "detail")]
pub enum LinkFailure {
    /// The connection was refused, reset or closed: somebody lives there, but not the gateway.
    Refused(String),
    /// Nothing came back in time: neither a connection nor an answer.
    Silent,
    /// Whoever answers there is not the peer but this cluster.
    Misrouted(String),
    /// One side does not believe the other: who, and why.
    NotBelieved(String),
}

/// How one link, to one gateway address of a peer, stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "detail")]
pub enum LinkState {
    /// It was never heard, and nothing failed yet.
    Connecting,
    /// Heartbeats pass.
    Beating,
    /// Nothing was heard for 300 ms, and nothing says why.
    Silent,
    /// The gateway refuses or resets connections.
    GatewayDown(String),
    /// The gateway answers, but in place of the agent behind it.
    AgentDown(String),
    /// Another cluster answers at this address.
    Misrouted(String),
    /// One side does not believe who the other one is: both live.
    Refused(String),
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.pad("connecting"),
            Self::Beating => f.pad("beating"),
            Self::Silent => f.pad("silent"),
            Self::GatewayDown(why) => write!(f, "gateway down: {why}"),
            Self::AgentDown(why) => write!(f, "agent down behind a living gateway: {why}"),
            Self::Misrouted(found) => write!(f, "not this peer: {found}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// Why a peer counts as unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Why {
    /// All its gateways were silent for 300 ms, and requests through them found no answer either.
    Corroborated,
    /// All its gateways were silent for 0.9 s.
    Silent,
    /// All its gateways were silent for 2.5 s, on a line on which beats had come late before.
    SilentForLong,
    /// Neither it nor a gateway of it was heard within the grace of 0.9 s after it was named.
    NeverHeard,
}

/// Whether a peer can be reached from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase", tag = "reach", content = "why")]
pub enum Reach {
    /// Not heard yet; the grace has not passed, or its gateways answer in place of its agent.
    Unheard,
    /// Heard.
    Reachable,
    /// All its gateways have been silent for 300 ms. It still gets traffic.
    Suspect,
    /// Out of reach for us: not necessarily down.
    Unreachable(Why),
}

/// A peer, for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerView {
    /// The peer's cluster.
    pub cluster: ClusterName,
    /// Whether it can be reached.
    #[serde(flatten)]
    pub reach: Reach,
    /// For how long that has been so.
    pub reach_age: Duration,
    /// Whether its agent is out, although its gateways answer: its status is the last one known.
    pub agent_down: bool,
    /// The life of its agent that was heard last.
    pub boot: Option<PeerBoot>,
    /// How long ago anything was heard from it.
    pub heard_ago: Option<Duration>,
    /// Its links, one for each gateway address.
    pub links: Vec<LinkView>,
}

/// A link, for display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// The gateway address.
    pub address: SocketAddr,
    /// How it stands.
    #[serde(flatten)]
    pub state: LinkState,
    /// How long ago anything was heard through it.
    pub heard_ago: Option<Duration>,
    /// Its round trip.
    pub rtt: Option<RoundTrip>,
}
