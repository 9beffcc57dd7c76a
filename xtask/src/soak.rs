//! `cargo xtask soak engine`: the properties of the decision engine with many more cases than CI has time for, and its
//! exhaustive searches deeper. `cargo xtask soak schedules`: whole fleets in virtual time, with random faults; CI plays some
//! of these too.

use crate::command::{cargo, run as run_command};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

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
        /// Begin no further round of cases after so many minutes
        #[arg(long, value_name = "N")]
        minutes: Option<u64>,
        /// How many properties are drawn at the same time
        #[arg(long, value_name = "N", default_value_t = 1)]
        jobs: u32,
        /// The seed of the first round; the next rounds count up from it
        #[arg(long, value_name = "N")]
        seed: Option<u32>,
    },
    /// Random schedules of faults for small fleets, in virtual time
    Schedules {
        /// How many schedules to play
        #[arg(long, value_name = "N", default_value_t = 100_000)]
        count: u64,
        /// The seed of the first; the next ones count up from it
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
}

/// The test targets with properties: the file that holds them, and how many.
const PROPERTIES: [(&str, &str, u32); 8] = [
    ("properties", "properties/main.rs", 3),
    ("properties", "properties/faults.rs", 1),
    ("capacity", "capacity/properties.rs", 4),
    ("capacity", "capacity/reroute.rs", 4),
    ("weights", "weights.rs", 2),
    ("contingency", "contingency/properties.rs", 4),
    ("reference", "reference/main.rs", 1),
    ("fuzz", "fuzz.rs", 1),
];

/// Cases of each property in one round, so that progress shows and a time limit is kept.
const ROUND: u32 = 5000;

/// Runs them in release mode, up to the first that fails.
pub(crate) fn run(root: &Path, soak: &Soak) -> Result<()> {
    let (cases, deeper, minutes, jobs, seed) = match *soak {
        Soak::Engine { cases, deeper, minutes, jobs, seed } => (cases, deeper, minutes, jobs, seed),
        Soak::Schedules { count, seed } => return schedules(root, count, seed, Some("--release")),
    };
    let properties = PROPERTIES.iter().map(|(.., count)| count).sum::<u32>();
    let each = cases / properties;
    if each == 0 {
        bail!("--cases {cases} is less than one case per property");
    }
    let seed = seed.unwrap_or_else(std::process::id);
    let (started, limit) = (Instant::now(), minutes.map(|minutes| Duration::from_secs(minutes * 60)));
    let (mut drawn, mut round) = (0, 0_u32);
    while drawn < each && limit.is_none_or(|limit| started.elapsed() < limit) {
        let count = ROUND.min(each - drawn);
        draw(root, count, jobs, u64::from(seed) + u64::from(round))?;
        (drawn, round) = (drawn + count, round + 1);
        let seconds = started.elapsed().as_secs_f64();
        let rate = f64::from(drawn) * f64::from(properties) / seconds;
        let left = f64::from(each - drawn) * f64::from(properties) / rate / 60.0;
        println!("{drawn} of {each} cases of each property, {rate:.0} cases/s, {left:.0} min for the rest.");
    }
    let mut search = cargo(root);
    search.args(["test", "--release", "--package", "tidegate-engine", "--test", "exhaustive"]);
    run_command(search.args(["--", "--nocapture"]).env("TIDEGATE_SEARCH_DEEPER", deeper.to_string()))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("The engine holds: {drawn} cases of each property, {deeper} actions deeper, {seconds:.0} s.");
    Ok(())
}

/// Plays schedules. One that fails prints its seed and how to play it alone. Optimised, a schedule takes a quarter of the time;
/// CI takes the tests' own build, as another one would take longer than that.
pub(crate) fn schedules(root: &Path, count: u64, seed: u64, profile: Option<&str>) -> Result<()> {
    let mut test = cargo(root);
    test.arg("test").args(profile).args([
        "--package",
        "tidegate-sim",
        "--test",
        "schedules",
        "--",
        "--nocapture",
    ]);
    let env = [("TIDEGATE_SCHEDULES", count), ("TIDEGATE_SCHEDULES_FROM", seed)];
    run_command(test.envs(env.map(|(name, value)| (name, value.to_string()))))
}

/// One round. A case that fails is shrunk and printed by the property; how to draw it again is said here.
fn draw(root: &Path, count: u32, jobs: u32, seed: u64) -> Result<()> {
    let targets: BTreeSet<&str> = PROPERTIES.iter().map(|(target, ..)| *target).collect();
    let mut args = vec!["test", "--release", "--package", "tidegate-engine"];
    args.extend(targets.into_iter().flat_map(|target| ["--test", target]));
    let threads = format!("--test-threads={jobs}");
    args.extend(["--", "--quiet", &threads]);
    // A case is shrunk by thousands of failures, whose backtraces would be megabytes.
    let env = [
        ("PROPTEST_RNG_SEED", seed.to_string()),
        ("PROPTEST_CASES", count.to_string()),
        ("RUST_BACKTRACE", "0".to_owned()),
    ];
    println!("Seed {seed}, {count} cases of each property.");
    let again = format!("PROPTEST_RNG_SEED={seed} PROPTEST_CASES={count} cargo {}", args.join(" "));
    let mut round = cargo(root);
    run_command(round.args(&args).envs(env)).with_context(|| format!("to run it again: {again}"))
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
