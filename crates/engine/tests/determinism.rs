//! The same thousand events give the same decisions byte for byte, in one process and in another.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::World;
use std::{
    env, fs,
    process::{Command, Stdio},
};
use tidegate_model::Phase;

/// Where another process writes what it decided.
const TOLD: &str = "TIDEGATE_DETERMINISM";
const EVENTS: u32 = 1000;
const SERVICES: [&str; 6] = ["web", "pay", "auth", "cart", "mail", "feed"];

/// Checks, ways that are cut, and time, drawn by a linear congruential generator (the constants of Numerical Recipes).
fn scenario() -> String {
    let mut world = World::new();
    for name in SERVICES {
        world.add_up(name, &["a", "b", "c"], 4).remote("west", name, 10, 100.0, Phase::Serving);
    }
    let mut state = 1_u32;
    let mut draw = |end: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % end
    };
    for _ in 0..EVENTS {
        let (kind, name) = (draw(20), SERVICES[draw(6) as usize]);
        let in_zone = ["a", "b", "c"][draw(3) as usize];
        match kind {
            0 => world.unreachable("west"),
            1 => world.reachable("west", draw(2) == 0),
            2..=4 => world.check_all(name, in_zone, draw(3) > 0),
            _ => world.check(name, in_zone, u8::try_from(draw(4) + 1).unwrap(), draw(3) > 0),
        };
        let now = world.now.since_origin().as_secs_f64();
        world.until(now + f64::from(draw(5000)) / 1000.0);
    }
    serde_json::to_string(&world.decisions).unwrap()
}

#[test]
fn a_thousand_events_give_the_same_decisions_in_two_processes() {
    let here = scenario();
    if let Some(path) = env::var_os(TOLD) {
        fs::write(path, here).unwrap();
        return;
    }
    assert!(here.len() > 100_000, "it decides something: {} bytes", here.len());
    assert_eq!(here, scenario(), "again in the same process");
    let path = env::temp_dir().join(format!("tidegate-determinism-{}", std::process::id()));
    let mut other = Command::new(env::current_exe().unwrap());
    assert!(other.env(TOLD, &path).stdout(Stdio::null()).status().unwrap().success());
    let there = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(here == there, "another process decides the same");
}
