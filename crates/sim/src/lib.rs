//! A fleet in virtual time: what would happen to these manifests if this broke, told in seconds instead of minutes.
//!
//! The agents' own pure cores run here ([`tidegate_agent::core::Core`], the peers' [`tidegate_link::Liveness`], the
//! checks' [`tidegate_probe::Tracker`]); only what is around them is a model: the endpoints, the network and Envoy. There
//! are no sockets, no clock and no sleeping, and one scenario gives the same bytes on every run.
//!
//! - [`Scenario`]: what is read from the user's file.
//! - [`Fleet`]: the manifests, one configuration per cluster.
//! - `world`: which endpoint and which way works when; `traffic`: what becomes of requests; `line`: what
//!   becomes of beats where packets are lost; `site`: one cluster's agent.
//! - [`simulate`]: the run; [`Report`]: what came of it; [`picture`]: the same as SVG.
//!
//! What is *not* modelled: latency of requests, connection pools, the time a push to Envoy takes (a few ms), more than
//! one replica of an agent (the agent's core does not take what replicas tell each other yet).

mod fleet;
mod line;
mod measure;
mod picture;
mod queue;
mod random;
mod report;
mod run;
mod scenario;
mod site;
mod svg;
mod traffic;
mod world;

pub use fleet::{Fleet, FleetError};
pub use picture::picture;
pub use report::{
    Decided, FaultMeasures, FaultView, LocationSample, Measures, Moves, PoolSample, Report, Sample,
    Utilisation,
};
pub use run::simulate;
pub use scenario::{Demand, Fault, FaultKind, Place, Scenario, ScenarioError, Skew};
