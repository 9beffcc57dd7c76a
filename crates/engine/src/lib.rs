//! The decision: what each pool is admitted, and where the traffic of each source goes.
//!
//! Pure and deterministic: no I/O, no clock, no randomness, no hash-map order. Time is passed in; the
//! same inputs give the same plan everywhere. [`Engine`] takes events and gives back what changed and
//! when it wants to be woken; [`plan()`] alone is the planner, for what-if questions and benchmarks.
//!
//! What is *not* here: reading manifests (`api`), checking endpoints (`probe`), speaking to Envoy
//! (`envoy`, `xds`) or to peers (`link`).

mod capacity;
mod contingency;
mod declared;
mod demand;
mod engine;
mod expected;
mod explain;
mod explain_change;
mod governor;
mod location;
mod merge;
mod order;
mod plan;
mod planner;
mod policy;
mod pool;
mod proximity;
mod replicas;
mod service;
mod shift;
mod small;
mod steer;
mod verdict;
mod waterfall;

pub use capacity::{Budget, Capacity, Load, Spread};
pub use contingency::{
    Asked, Clients, Contingency, Fate, Finding, FleetMember, FleetService, FleetState, Forbidden, Foresight,
    Lint, Location, LocationError, LocationLoad, MAX_PAIRS, Outlook, Place, Plans, PoolFigures, PoolLoad,
    Resilience, Risks, ServiceOutcome, SourceOutcome, Stranded, Unit, UnknownLocation, Why, away,
    contingency, foresee, lint, n_minus_1, n_minus_2, outlook, plans,
};
pub use declared::{Arrivals, FleetPool, FleetQuestion, FleetSource, FleetView, plan_fleet};
pub use engine::{
    Deadline, Decision, Due, Effects, Engine, Event, Fleet, Gathered, PartKey, Saved, SavedPart,
};
pub use explain_change::{explain_change, explain_moves};
pub use location::{Evidence, LocationDecision, LocationVerdict};
pub use merge::{FRESH, MAX_REPLICAS, News, Snapshot, ToldBy, Verdicts};
pub use plan::{Hold, Plan, Reason, Rule, Shares, Source, Target, TargetError};
pub use planner::{Candidate, CandidatePool, Question, plan};
pub use policy::{
    Failback, FailbackMode, OrderRule, Origin, Places, Policy, ProfilePart, Proximity, Residency, Tier,
    Weights, WhenExhausted, Written, WrittenIn,
};
pub use pool::{EndpointFacts, NodeId};
pub use service::{DemandView, EndpointView, RemotePoolView};
pub use shift::{MAX_SHIFT, MAX_SHIFTS, Shift, ShiftChange, ShiftDecision, ShiftTarget, ShiftedBy};
pub use waterfall::{Move, OfferWeight, Pass, PoolBudget, Spending, Standing, Stream, spend};
