//! A fleet on one machine, for the demo and for tests: real `tidegate` and Envoy processes, toy
//! services inside this process, WAN links between regions, an open-loop load and measurements.
//!
//! The parts stand on their own and can be used one by one:
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | one monotonic time for everything that is measured |
//! | [`net`] | loopback addresses of the lab's own |
//! | [`toy`] | services that refuse, hang, answer 503, slow down and come back |
//! | [`wan`] | links between regions, with delay, that can be cut or swallow every byte |
//! | [`load`] | open-loop load, and what became of each request (crate `drill`) |
//! | [`measure`] | pure functions from requests and plan changes to RTO, errors, percentiles, moves (crate `drill`) |
//! | [`process`] | children that never outlive the lab |
//! | [`fleet`] | all of it together: manifests, agents, Envoys, faults |
//! | [`contest`] | the same faults behind Tidegate and behind other proxies |
//! | [`demo`] | a zone lost, a region lost, on the terminal and as a report |
//!
//! Deliberately absent: any decision about traffic. The lab breaks things and measures; it shares
//! no code with the agent that it tests, and talks to it only as a user would, over HTTP.

pub mod clock;
pub mod contest;
pub mod demo;
mod drills;
pub mod fetch;
pub mod fleet;
pub mod load;
pub mod net;
pub mod process;
pub mod toy;
pub mod wan;

pub use tidegate_drill::measure;
