//! Active health checks of a cluster's own endpoints: HTTP/1.1, HTTP/2, gRPC health and TCP, each also over TLS.
//!
//! A [`Prober`] is handed the whole set of targets whenever it changes, checks each of them on its
//! schedule with a new connection per check, and says which are up or down. It keeps no opinion
//! about pools or services: what a verdict means is the engine's business.
//!
//! - [`tracker`] decides: thresholds turn single results into verdicts.
//! - [`latency`] decides, too: who passes its checks, but much more slowly than its siblings.
//! - [`pacing`] says when a target is checked, so that the checks of many spread evenly.
//! - `schedule` holds the targets and their queue in time, `hosts` how many checks an IP address has;
//!   these five have no clock and no I/O.
//! - `check` does one check, `prober` runs the whole on a thread of its own, `stats` counts.

mod check;
mod config;
mod failure;
mod hosts;
pub mod latency;
pub mod pacing;
mod prober;
mod schedule;
mod siblings;
mod slots;
mod stats;
pub mod tracker;

pub use config::{
    BODY_LIMIT, CheckConfig, CheckKind, ClientCertificate, ExpectedBody, GrpcCheck, HttpCheck, Method,
    Siblings, SubjectName, Target, TlsConfig, Trust,
};
pub use failure::{Failure, Stage};
pub use hosts::PER_HOST_LIMIT;
pub use prober::{IN_FLIGHT_LIMIT, Prober, Verdict};
pub use stats::{Snapshot, Stats};
pub use tracker::{NextCheck, Step, Tracker};
