//! Drills: faults on purpose, measured.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | one monotonic time for everything that is measured |
//! | [`load`] | open-loop load, and what became of each request |
//! | [`measure`] | pure functions from requests and plan changes to RTO, errors, percentiles, moves |
//!
//! Deliberately absent: the fleet on one machine (crate `lab`, which uses this one), and any decision about traffic.

pub mod clock;
pub mod load;
pub mod measure;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The books stay whole also when a thread panicked while it held them: every entry is written by one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
