//! How the endpoints of a service are spoken to by TLS.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidegate_engine::Origin;

/// Where a machine has the authorities that it believes: so in Debian, Ubuntu and Alpine, and in images made of them, Envoy's own among
/// them.
pub const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How gateways and checks speak to the endpoints of a service by TLS: a `BackendTLSPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// The server name that is asked for.
    pub server_name: String,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Names of which the certificate has to bear one; of none, the server name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SubjectName>,
    /// Where it was written.
    pub origin: Origin,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// Those of the authorities in [`SYSTEM_AUTHORITIES`] of the machine that asks.
    System,
    /// Those of these authorities, as PEM.
    Authorities(Arc<str>),
    /// Nobody's: what was to be believed is not there. Endpoints get no request, as they must not be spoken to otherwise.
    Nobody,
}

/// A name that a certificate bears.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SubjectName {
    /// A host; the first label may be `*`.
    Host(String),
    /// A URI, as SPIFFE has them.
    Uri(String),
}
