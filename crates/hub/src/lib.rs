//! The hub of a fleet: it says who belongs to it, hands policy out, and gathers how the clusters are.
//!
//! Nothing that keeps traffic flowing waits for it: an agent holds the last good policy on its own disk. What is decided is
//! pure and has no clock (`documents`: which version of an object is good; `tokens`: who may join; `fleet`: what is known of the
//! clusters); the rest is I/O around it: the store (`store`), the sources of policy (`source`, `kubernetes`), the streams (`server`,
//! `sync`) and the admin address (`admin`).

mod access;
mod admin;
mod authority;
mod condition;
mod copy;
mod documents;
mod drills;
mod facts;
mod fleet;
mod happened;
mod hooks;
mod knowledge;
mod kubernetes;
mod lines;
mod metrics;
mod office;
mod page;
mod refused;
mod rolled_back;
mod run;
mod server;
mod source;
mod spans;
mod standby;
mod store;
mod sync;
mod timeline;
mod tokens;
pub mod view;
mod waves;

pub use copy::StateCopy;
pub use drills::{DrillRefusal, ReportRefusal};
pub use office::{NewToken, OfficeError, Superseded};
pub use run::{HubConfig, HubError, run, token_of_stopped};
pub use source::PolicySource;
pub use store::StoreError;
pub use tidegate_discovery::kube::KubeAccess;
pub use tidegate_link::access::{GrantError, NoRole, Role};
pub use tidegate_status::{
    otlp::{Collector, parse_collector},
    webhook::{Webhooks, parse_url},
};
pub use waves::WaveLimits;
