//! What holds for any bytes (`fuzz/events`): for the corpus that the fuzzer found, and for bytes that are drawn.
//!
//! The fuzzer itself wants a nightly compiler: `cargo +nightly fuzz run events` in this crate's folder.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../fuzz/events/mod.rs"]
mod events;
mod fixture;

use fixture::cases;
use proptest::{collection::vec, prelude::*};
use std::{fs, path::Path};

#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/events");
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // Says which one if it panics.
        println!("{}", path.display());
        events::hold(&bytes);
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(1000),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_hold(bytes in vec(any::<u8>(), 0..160)) {
        events::hold(&bytes);
    }
}
