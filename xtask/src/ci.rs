//! `cargo xtask ci`: everything that a change must pass, the quick checks first.

use crate::{
    command::{cargo, run as run_command},
    deps, soak, table, test,
};
use anyhow::{Result, anyhow};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Random schedules of faults that every change must pass.
const SCHEDULES: u64 = 10_000;

/// Runs the steps; the last line is the totals of the tests.
pub(crate) fn run(root: &Path, find_envoy: impl FnOnce() -> Result<PathBuf>) -> Result<()> {
    let mut totals = None;
    let outcome = run_steps(vec![
        ("format", Box::new(|| run_command(cargo(root).args(["fmt", "--all", "--check"])))),
        (
            "clippy",
            Box::new(|| {
                let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
                run_command(cargo(root).args(args))
            }),
        ),
        ("dependencies", Box::new(|| deps::run(root))),
        (
            "test",
            Box::new(|| {
                totals = Some(test::run(root, &find_envoy()?, &[])?);
                Ok(())
            }),
        ),
        ("schedules", Box::new(|| soak::schedules(root, SCHEDULES, 1, None))),
    ]);
    print!("\n{}", times(&outcome.taken));
    if let Some((step, error)) = outcome.failure {
        let remedy = match step {
            "format" => "; `cargo fmt --all` mends it",
            "clippy" => "; `cargo clippy --workspace --all-targets` shows it again",
            "dependencies" => "; `cargo xtask deps` shows it again",
            _ => "",
        };
        return Err(anyhow!("ci failed at {step}: {error:#}{remedy}"));
    }
    if let Some(totals) = totals {
        println!("{totals}");
    }
    Ok(())
}

type Step<'a> = (&'static str, Box<dyn FnOnce() -> Result<()> + 'a>);

/// What came of the steps.
struct Outcome {
    taken: Vec<(&'static str, Duration)>,
    failure: Option<(&'static str, anyhow::Error)>,
}

/// Runs one step after the other, up to the first that fails.
fn run_steps(steps: Vec<Step<'_>>) -> Outcome {
    let count = steps.len();
    let mut outcome = Outcome { taken: Vec::new(), failure: None };
    for (index, (name, step)) in steps.into_iter().enumerate() {
        println!("\n== {name} ({} of {count}) ==", index + 1);
        let started = Instant::now();
        let result = step();
        outcome.taken.push((name, started.elapsed()));
        if let Err(error) = result {
            outcome.failure = Some((name, error));
            break;
        }
    }
    outcome
}

fn times(taken: &[(&'static str, Duration)]) -> String {
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
    let mut rows = vec![vec!["step".to_owned(), "time".to_owned()]];
    rows.extend(taken.iter().map(|(name, duration)| vec![(*name).to_owned(), seconds(*duration)]));
    rows.push(vec!["together".to_owned(), seconds(taken.iter().map(|(_, duration)| *duration).sum())]);
    table::render(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn steps_stop_at_the_first_failure() {
        let third = Cell::new(false);
        let outcome = run_steps(vec![
            ("first", Box::new(|| Ok(()))),
            ("second", Box::new(|| Err(anyhow!("broken")))),
            (
                "third",
                Box::new(|| {
                    third.set(true);
                    Ok(())
                }),
            ),
        ]);
        assert!(!third.get());
        let (name, error) = outcome.failure.unwrap();
        assert_eq!((name, error.to_string().as_str()), ("second", "broken"));
        assert_eq!(outcome.taken.len(), 2);
    }

    #[test]
    fn times_are_added_up() {
        let text = times(&[("format", Duration::from_millis(500)), ("test", Duration::from_secs(60))]);
        assert!(text.ends_with("  together  60.5 s\n"), "{text}");
    }
}
