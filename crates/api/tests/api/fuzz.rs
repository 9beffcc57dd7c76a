//! What holds for any bytes (`fuzz/manifests`): for the corpus, for bytes that are drawn, and for the cases of this
//! folder after somebody's hand slipped.
//!
//! The fuzzer itself wants a nightly compiler: `cargo +nightly fuzz run manifests` in this crate's folder.

#[path = "../../fuzz/manifests/mod.rs"]
mod manifests;

use proptest::{collection::vec, prelude::*, sample::select};
use std::{fs, path::Path};

/// The texts of a folder of this crate, by name.
fn texts(folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut texts = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(ending) {
            texts.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    assert!(!texts.is_empty(), "{} is empty", folder.display());
    texts.sort();
    texts
}

fn cases() -> Vec<(String, String)> {
    let text = |(path, bytes)| (path, String::from_utf8(bytes).unwrap());
    texts("tests/cases", ".yaml").into_iter().map(text).collect()
}

#[test]
fn the_corpus_and_all_cases_hold() {
    for (path, bytes) in texts("fuzz/corpus/manifests", "").into_iter().chain(texts("tests/cases", ".yaml")) {
        // Says which one if it panics.
        println!("{path}");
        manifests::hold(&bytes);
    }
}

/// What somebody, or a template, writes where something else should stand.
const SCALARS: [&str; 24] = [
    "",
    "~",
    "-1",
    "0",
    "1e999",
    ".nan",
    "18446744073709551616",
    "-0.0",
    "101%",
    "9999999999h",
    "yes",
    "{}",
    "[]",
    "[[[[]]]]",
    "{a: {b: {c: {}}}}",
    "&a [*a]",
    "*nowhere",
    "!!binary aGVsbG8=",
    "!custom x",
    "|2-\n  x",
    "\"\\u0000\"",
    "'\u{1F30A}\u{202E}'",
    "{{ .Values.oops }}",
    "2001:db8::1%eth0",
];

/// A slip of the hand at a line.
#[derive(Clone, Debug)]
enum Slip {
    Delete,
    Twice,
    Indent(bool),
    Value(&'static str),
    Key,
    CutHere,
    Join,
}

fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![
        Just(Slip::Delete),
        Just(Slip::Twice),
        any::<bool>().prop_map(Slip::Indent),
        select(SCALARS.to_vec()).prop_map(Slip::Value),
        Just(Slip::Key),
        Just(Slip::CutHere),
        Just(Slip::Join),
    ]
}

fn with_slips(text: &str, slips: &[(usize, Slip)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (at, slip) in slips {
        if lines.is_empty() {
            break;
        }
        let at = at % lines.len();
        let line = lines[at].clone();
        match slip {
            Slip::Delete => drop(lines.remove(at)),
            Slip::Twice => lines.insert(at, line),
            Slip::Indent(true) => lines[at] = format!("  {line}"),
            Slip::Indent(false) => lines[at] = line.strip_prefix("  ").unwrap_or(&line).to_owned(),
            Slip::Value(scalar) => {
                let key = line.split_once(": ").map_or(line.trim_end_matches(':'), |(key, _)| key);
                lines[at] = format!("{key}: {scalar}");
            }
            Slip::Key => lines[at] = line.replacen(':', "x:", 1),
            Slip::CutHere => lines.truncate(at + 1),
            Slip::Join => lines[at] = format!("{line}{}", lines.get(at + 1).cloned().unwrap_or_default()),
        }
    }
    lines.join("\n")
}

fn config(cases: u32) -> ProptestConfig {
    // More by PROPTEST_CASES: an hour of it is a soak.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, max_shrink_iters: 5000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn cases_with_slips_hold(
        (name, text) in select(cases()),
        slips in vec(vec((any::<usize>(), slip()), 1..5), 1..3),
    ) {
        println!("{name}");
        // Good, slipped, perhaps slipped otherwise.
        let versions = slips.iter().map(|slips| with_slips(&text, slips));
        let versions: Vec<String> = [text.clone()].into_iter().chain(versions).collect();
        manifests::hold(versions.join("\0").as_bytes());
    }

    #[test]
    fn any_bytes_hold(bytes in vec(any::<u8>(), 0..200)) {
        manifests::hold(&bytes);
    }
}
