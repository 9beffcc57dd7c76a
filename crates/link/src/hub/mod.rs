//! What a hub and its agents say to each other: join tokens, signed policy, status.
//!
//! The messages are in `proto/tidegate/hub/v1/hub.proto`; here is what both sides must agree on beyond them. There are no
//! sockets here: the hub's side is the crate `hub`, the agent's a module of the crate `agent`.

mod policy;
mod redial;
mod report;
mod signing;
mod token;
mod trust;

/// The messages and stubs, generated from `proto/tidegate/hub/v1/hub.proto`.
// Generated code is held to what the compiler checks; a test holds it to the proto.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]
pub mod proto {
    include!("../generated/tidegate.hub.v1.rs");
}

pub use policy::{MAX_OBJECTS, MAX_POLICY_BYTES, Objects, PolicyError, PolicyObject, apply, delta, digest};
pub use redial::Redial;
pub use report::{ReportError, ReportSignature, SignedReport, canonical, key_id, key_pem, keys_of_pem};
pub use signing::{Head, HeadError, PolicyKey, PolicySigner, SignedHead};
pub use token::{AccessToken, AccessTokenError, JoinToken, Secret, TokenError};
pub use trust::{Trust, TrustError};

/// The most bytes of one message: a whole policy and its frame.
pub const MAX_MESSAGE_BYTES: usize = MAX_POLICY_BYTES + (1 << 20);
