//! The resources as text, their invariants, and what a real Envoy makes of them.
//!
//! Tests under `real` run the Envoy binary that ENVOY.md was measured with, over a real ADS stream, against
//! toy services in this process. Without the binary they say that they were skipped, and fail in CI.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "fixtures are tests too, and say what they measured"
)]

mod dump;
mod fixtures;
mod grpc;
mod invariants;
mod snapshots;

mod real {
    mod access_log;
    mod ads;
    mod balance;
    mod bootstrap;
    mod collector;
    mod demand;
    mod draining;
    mod drills;
    mod eastwest;
    mod faults;
    mod gateway;
    mod grpc;
    mod grpc_routes;
    mod health;
    mod https;
    mod leaving;
    mod load;
    mod mutual_tls;
    mod overload;
    mod routing;
    mod sessions;
    mod streams;
    mod toy;
    mod tracing;
    mod untrusted;
}
