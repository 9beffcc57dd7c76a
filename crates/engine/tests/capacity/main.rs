//! Declared capacity: the worked example of docs/decision-waterfall.md, the cases that break naive designs, demand
//! fed back, and what holds for every fleet.
#![allow(clippy::unwrap_used, reason = "tests")]

mod board;
mod cases;
mod feedback;
#[path = "../fixture/mod.rs"]
mod fixture;
mod properties;
mod reroute;
mod trio;
mod weights;
mod worked;
