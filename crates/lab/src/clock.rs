//! The time of a lab, in which all its processes are measured: they run on one machine.

pub use tidegate_drill::clock::{Clock as LabClock, micros};
