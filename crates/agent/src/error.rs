//! Why an agent cannot run, in words for whoever starts it.

use crate::{
    entrance::{self, ListenError},
    hub::HubError,
    names::HostsError,
    saved::StateError,
};
use std::{io, net::SocketAddr};
use tidegate_discovery::kube::AccessError;
use tidegate_link::identity::TlsError;
use tidegate_model::ClusterName;
use tidegate_status::webhook::WebhookError;

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
    /// The admin address could be reached from elsewhere.
    #[error(
        "the admin address {0} is not a loopback address\n  hint: it asks nobody who they are; --admin-tls does, by the tokens of a hub"
    )]
    Admin(SocketAddr),
    /// Nobody could be known at the door for people elsewhere.
    #[error(
        "--admin-tls knows people by the tokens of a hub, and this agent has none\n  hint: --hub HOST:PORT, with --join TOKEN the first time"
    )]
    NoPeople,
    /// TLS cannot be set up for them.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Gateways cannot be listened for.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Gateways cannot be believed.
    #[error("the authority of the gateways cannot be used: {0}")]
    Gateways(#[from] entrance::EnvoyCertificateError),
    /// The API of the cluster cannot be asked.
    #[error(transparent)]
    Kubernetes(#[from] AccessError),
    /// The manifests cannot be watched.
    #[error(transparent)]
    Manifests(#[from] tidegate_discovery::Error),
    /// Nobody said which cluster it is for.
    #[error(
        "which cluster is this agent for?\n  hint: --cluster NAME, the name of a FleetCluster; or join a hub: --join TOKEN --hub ADDR"
    )]
    NoCluster,
    /// It does not belong to the hub's fleet.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Webhooks cannot be told.
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    /// The file of hosts cannot be used.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// The state folder cannot be used.
    #[error("the state folder cannot be used: {0}")]
    State(#[from] StateError),
    /// The thread of the health checks cannot be started.
    #[error("health checks cannot be started: {0}")]
    Prober(io::Error),
    /// The thread of the peer links cannot be started.
    #[error("peer links cannot be started: {0}")]
    PeerLinks(io::Error),
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
    /// The thread of the peer links ended by itself.
    #[error(
        "the peer links have ended: without them no loss of a cluster would be noticed; start the agent again"
    )]
    PeerLinksEnded,
    /// A server ended by itself.
    #[error("the {what} server failed: {why}")]
    Server {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
}
