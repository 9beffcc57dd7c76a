//! The server as clients see it: over the wire, and by a real Envoy.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests, helpers included")]

mod envoy;
mod inspection;
mod limits;
mod server;
mod wire;
