//! What holds for any bytes: for the corpus, and for bytes that are drawn anew in each run.
//!
//! The fuzzer itself wants a nightly compiler: `cargo +nightly fuzz run requests` in this crate's folder.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use super::hold;
use crate::limits::draw;

/// Some seconds in a debug build.
const DRAWN: u64 = 3000;
const MAX_BYTES: u64 = 400;

#[test]
fn the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        assert!(catch_unwind(|| hold(&bytes)).is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}

#[test]
fn any_bytes_hold() {
    let seed = draw();
    for case in 0..DRAWN {
        let bytes = drawn(seed.wrapping_add(case));
        assert!(catch_unwind(|| hold(&bytes)).is_ok(), "add this to the corpus: {bytes:?}");
    }
}

/// Bytes by xorshift64*.
fn drawn(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    (0..next() % MAX_BYTES).map(|_| next().to_le_bytes()[0]).collect()
}
