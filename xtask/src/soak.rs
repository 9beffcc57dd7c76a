//! `cargo xtask soak engine`: the properties of the decision engine with many more cases than CI has time for, and its
//! exhaustive searches deeper.

use crate::command::{cargo, run as run_command};
use anyhow::{Result, bail};
use clap::Subcommand;
use std::{path::Path, time::Instant};

/// What can be soaked.
#[derive(Subcommand)]
pub(crate) enum Soak {
    /// The properties of the decision engine, then its exhaustive searches
    Engine {
        /// How many cases to draw, over all properties together
        #[arg(long, value_name = "N", default_value_t = 10_000_000)]
        cases: u32,
        /// How many actions deeper than in CI the searches go; each takes about four times as long
        #[arg(long, value_name = "N", default_value_t = 2)]
        deeper: u32,
    },
}

/// The test targets with properties: the file that holds them, and how many.
const PROPERTIES: [(&str, &str, u32); 4] = [
    ("properties", "properties/main.rs", 2),
    ("capacity", "capacity/properties.rs", 3),
    ("contingency", "contingency/properties.rs", 4),
    ("reference", "reference/main.rs", 1),
];

/// Runs them in release mode, up to the first that fails.
pub(crate) fn run(root: &Path, soak: &Soak) -> Result<()> {
    let Soak::Engine { cases, deeper } = *soak;
    let each = cases / PROPERTIES.iter().map(|(.., count)| count).sum::<u32>();
    if each == 0 {
        bail!("--cases {cases} is less than one case per property");
    }
    let started = Instant::now();
    let mut properties = cargo(root);
    properties.args(["test", "--release", "--package", "tidegate-engine"]);
    for (target, ..) in PROPERTIES {
        properties.args(["--test", target]);
    }
    properties.env("PROPTEST_CASES", each.to_string());
    run_command(&mut properties)?;
    let mut search = cargo(root);
    search.args(["test", "--release", "--package", "tidegate-engine", "--test", "exhaustive"]);
    run_command(search.args(["--", "--nocapture"]).env("TIDEGATE_SEARCH_DEEPER", deeper.to_string()))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("The engine holds: {each} cases of each property, {deeper} actions deeper, {seconds:.0} s.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_number_of_properties_is_right() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/engine/tests");
        for (target, file, count) in PROPERTIES {
            let text = fs::read_to_string(tests.join(file)).unwrap();
            // Inside `proptest!` they are indented.
            let found = text.lines().filter(|line| *line == "    #[test]").count();
            assert_eq!(found, usize::try_from(count).unwrap(), "{target}");
        }
    }
}
