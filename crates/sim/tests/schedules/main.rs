//! Random schedules of faults for small fleets, in virtual time, against what must hold whatever breaks.
//!
//! A failure prints its seed, and the command that plays that schedule alone. Many more of them: `cargo xtask soak schedules`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::expect_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "a test says what it played")]

mod draw;
mod fleets;
mod judge;

use draw::Schedule;
use fleets::Shape;
use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};
use tidegate_sim::{Fleet, simulate};

/// The seed of the one schedule to play.
const ONE: &str = "TIDEGATE_SCHEDULE";
/// How many schedules to play, and the seed of the first.
const COUNT: &str = "TIDEGATE_SCHEDULES";
const FIRST: &str = "TIDEGATE_SCHEDULES_FROM";
/// One in so many is played twice: the same seed must give the same report.
const TWICE: u64 = 50;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse().unwrap_or_else(|_| panic!("{variable}: {text:?} is no number; write e.g. {variable}=7")),
    )
}

/// Plays one; what does not hold, if something does not.
fn play(seed: u64, fleets: &BTreeMap<Shape, Fleet>) -> Result<(), String> {
    let schedule = Schedule::new(seed);
    let fleet = &fleets[&schedule.shape];
    let report = simulate(&schedule.scenario, fleet);
    let mut held = judge::judge(&schedule, &report);
    if seed.is_multiple_of(TWICE) && simulate(&schedule.scenario, fleet) != report {
        held = held.and(Err("two runs differ".to_owned()));
    }
    held.map_err(|what| {
        format!(
            "seed {seed}: {what}\nto play it alone: {ONE}={seed} cargo test -p tidegate-sim --test schedules\n{:?}\n{}",
            schedule.shape, schedule.text
        )
    })
}

#[test]
fn random_schedules_of_faults_keep_what_must_hold() {
    let fleets: BTreeMap<Shape, Fleet> = Shape::all().map(|shape| (shape, shape.fleet())).collect();
    if let Some(seed) = number(ONE) {
        let schedule = Schedule::new(seed);
        eprintln!("{}", schedule.text);
        for decided in simulate(&schedule.scenario, &fleets[&schedule.shape]).decisions {
            eprintln!("{} ms, {}: {}", decided.at_micros / 1000, decided.cluster, decided.record.line());
        }
        play(seed, &fleets).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    // `cargo xtask ci` plays 10,000 of them.
    let count = number(COUNT).unwrap_or(40);
    let first = number(FIRST).unwrap_or(1);
    let (next, started) = (AtomicU64::new(first), Instant::now());
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return Ok(());
            }
            play(seed, &fleets)?;
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().filter_map(|it| it.join().expect("a schedule does not panic").err()).collect()
    });
    eprintln!("{count} schedules from seed {first} in {:.0} s", started.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
