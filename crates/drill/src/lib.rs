//! Drills: faults on purpose, measured.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | one monotonic time for everything that is measured |
//! | [`course`] | the phases of a drill, pure: what happened goes in, what is to be done comes out |
//! | [`report`] | what a drill cost, as HTML, JSON, JUnit and Markdown |
//! | [`run`] | the shell around it: commands, guards, load |
//! | [`generator`] | open-loop load on a thread of its own, to any server, by HTTP/1, HTTP/2 and gRPC |
//! | [`load`] | open-loop load within a runtime, for fleets in the same process |
//! | [`trend`] | pure functions from the runs of a drill to regressions |
//! | [`measure`] | pure functions from requests and plan changes to RTO, errors, percentiles, moves |
//!
//! Deliberately absent: the fleet on one machine (crate `lab`, which uses this one), and any decision about traffic.

pub mod clock;
pub mod course;
pub mod generator;
pub mod load;
pub mod measure;
pub mod report;
pub mod run;
pub mod timeline;
pub mod trend;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The books stay whole also when a thread panicked while it held them: every entry is written by one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
