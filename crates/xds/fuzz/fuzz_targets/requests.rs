//! Any bytes as the life of an ADS stream; what must hold is said in `src/fuzz.rs` of the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_xds::fuzz::hold(bytes));
