//! Active health checks of a cluster's own endpoints: HTTP/1.1 and TCP.
//!
//! A [`Prober`] is handed the whole set of targets whenever it changes, checks each of them on its
//! schedule with a new connection per check, and says which are up or down. It keeps no opinion
//! about pools or services: what a verdict means is the engine's business.
//!
//! - [`tracker`] decides: thresholds turn single results into verdicts.
//! - [`pacing`] says when a target is checked, so that the checks of many spread evenly.
//! - `schedule` holds the targets and their queue in time; these three have no clock and no I/O.
//! - `check` does one check, `prober` runs the whole.

mod check;
mod config;
pub mod pacing;
mod prober;
mod schedule;
pub mod tracker;

pub use config::{CheckConfig, CheckKind, Target};
pub use prober::{IN_FLIGHT_LIMIT, Prober, Verdict};
pub use tracker::{Failure, NextCheck, Step, Tracker};
