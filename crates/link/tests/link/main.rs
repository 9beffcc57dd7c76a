//! The peer link as its users meet it: over real sockets, and its generated code.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "all of this is test code, also outside of test functions"
)]

mod contact;
mod envoy;
mod fleet;
mod generated;
mod identity;
mod proxy;
mod replica;
mod status;
