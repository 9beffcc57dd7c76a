//! The local control plane of a cluster: a pure core and its I/O.
//!
//! One loop owns all state. Every input (manifests, verdicts, peers, gateways, questions, time) is handed to
//! [`core`], which decides; what comes out goes to the xDS store, the prober, the peers, the disk and the timeline.
//! Readers ask the loop and get a copy; nothing else holds a lock around a decision.

mod access;
pub mod actions;
mod admin;
mod asked;
mod capacity;
mod certificates;
mod checks;
pub mod core;
pub mod draining;
mod drills;
mod entrance;
mod error;
mod gateways;
pub mod hearing;
mod hooks;
mod hub;
pub mod journal;
mod meter;
mod metrics;
mod names;
mod otlp;
mod pacing;
mod page;
pub mod passive;
mod peer_demand;
mod pushes;
mod rates;
pub mod replicas;
mod run;
pub mod saved;
mod secrets;
mod shell;
mod shifts;
mod spans;
mod teller;
pub mod timeline;
mod traffic;
mod translate;
mod unserved;
pub mod view;

pub use drills::{DrillKind, DrillView, Fault};
pub use entrance::{
    EnvoyCertificate, EnvoyCertificateError, Listen, ListenError, envoy_certificate, revoke_envoys,
};
pub use error::AgentError;
pub use hub::{HubError, HubOptions, IdentitySecret};
pub use names::HostsError;
pub use run::{AgentConfig, run};
pub use shifts::{LossView, ShiftPreview, ShiftView};
pub use tidegate_discovery::kube::{KubeAccess, MAX_PLACES, SecretPlace};
pub use tidegate_status::{
    otlp::{Collector, OtlpError, parse_collector},
    webhook::{Webhooks, parse_url},
};
