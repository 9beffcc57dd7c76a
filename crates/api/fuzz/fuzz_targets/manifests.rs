//! Any bytes as manifests that change; what must hold is said in `manifests`.
#![no_main]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../manifests/mod.rs"]
mod manifests;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| manifests::hold(bytes));
