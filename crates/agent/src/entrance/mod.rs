//! Where gateways, gRPC clients and, through the east-west gateways, other clusters' agents come in.
//!
//! What goes over these connections is worth protecting as soon as the cluster has an identity: secrets go out, and the word
//! of a gateway about who is at the other end of a peer link comes in. So then a gateway comes in by TLS with a certificate
//! that this agent issued to it ([`authority`]), or over a Unix socket, where the file system says who may. A cluster
//! without an identity has nothing to hide, and takes everybody who reaches it.

mod authority;
mod callers;
mod doors;
mod listen;
mod renewal;
mod serve;

use authority::EnvoyAuthority;
pub use authority::{EnvoyCertificate, EnvoyCertificateError, envoy_certificate, revoke_envoys};
pub(crate) use callers::{Callers, believed};
pub(crate) use doors::Doors;
pub(crate) use listen::Bound;
use listen::Door;
pub use listen::{Listen, ListenError};
use renewal::Vouching;
use serve::{Gatekeeper, Services, serve};
