//! The decision: what each pool is admitted, and where the traffic of each source goes.
//!
//! Pure and deterministic: no I/O, no clock, no randomness, no hash-map order. Time is passed in; the
//! same inputs give the same plan everywhere. [`Engine`] takes events and gives back what changed and
//! when it wants to be woken; [`plan()`] alone is the planner, for what-if questions and benchmarks.
//!
//! What is *not* here: reading manifests (`api`), checking endpoints (`probe`), speaking to Envoy
//! (`envoy`, `xds`) or to peers (`link`).

mod engine;
mod expected;
mod explain;
mod governor;
mod location;
mod merge;
mod plan;
mod planner;
mod policy;
mod pool;
mod replicas;
mod service;
mod shift;
mod steer;

pub use engine::{Deadline, Decision, Due, Effects, Engine, Event, Fleet, Saved};
pub use location::{Evidence, Location, LocationDecision, LocationVerdict};
pub use merge::{FRESH, MAX_REPLICAS, Snapshot, ToldBy, Verdicts};
pub use plan::{Hold, Plan, Reason, Rule, Source, Target, TargetError};
pub use planner::{Candidate, CandidatePool, Question, plan};
pub use policy::{Failback, FailbackMode, OrderRule, Origin, Places, Policy, Tier, WhenExhausted, Written};
pub use pool::{EndpointFacts, NodeId};
pub use service::{EndpointView, RemotePoolView};
pub use shift::{MAX_SHIFT, MAX_SHIFTS, Shift, ShiftChange, ShiftDecision, ShiftTarget, ShiftedBy};
