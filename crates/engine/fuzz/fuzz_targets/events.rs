//! Any bytes as a history of the decision engine; what must hold is said in `events`.
#![no_main]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../events/mod.rs"]
mod events;
#[path = "../../tests/fixture/mod.rs"]
mod fixture;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| events::hold(bytes));
