//! The definitions, and how they agree with the readers and with a real API server.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see helpers outside #[test]"
)]

mod agree;
mod argocd;
mod generated;
mod refused;
mod server;
mod used;
