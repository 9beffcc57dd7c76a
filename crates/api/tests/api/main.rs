//! The loader as its users meet it: files in, configuration and problems out.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see helpers outside #[test]"
)]

mod cases;
mod certificates;
mod examples;
mod exports;
mod fuzz;
mod histories;
mod keeping;
mod labels;
mod merging;
mod profile;
mod resources;
mod sessions;
mod templates;

use tidegate_api::{Loaded, Loader, SourceFile};

/// A fleet and a service, all right.
const BASE: &str = include_str!("../base.yaml");

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn loader() -> Loader {
    Loader::new("us-east".parse().unwrap())
}

/// Loads the base and another file with a new loader.
fn load(text: &str) -> Loaded {
    loader().load(&[file("base.yaml", BASE), file("case.yaml", text)])
}

/// The problems as a user sees them.
fn told(loaded: &Loaded) -> String {
    loaded.problems.iter().map(|problem| format!("{problem}\n")).collect()
}
