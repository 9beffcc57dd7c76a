//! The server as clients see it: over the wire, and by a real Envoy.

mod envoy;
mod server;
mod wire;
