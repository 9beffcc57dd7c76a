//! Resources in YAML, checked and lowered to what the engine needs.
//!
//! [`Loader`] takes the text of all files of a cluster and gives a [`Config`] and every [`Problem`] in them. The way
//! goes through three forms, each with its own module: a tree of values that know their place (`yaml`), the objects
//! that the tree says, checked one by one (`kinds`), and the [`Config`], where objects meet (`lower`).
//!
//! There is no I/O here: who reads the files is the business of the crate `discovery`.

mod certificate;
mod change;
mod checks;
mod config;
mod drill;
mod drill_kubernetes;
mod drill_lab;
mod drill_schedule;
mod duration;
mod fields;
mod fleet;
mod inventory;
mod kinds;
mod loader;
mod lower;
mod nearest;
mod object;
mod plain;
mod problem;
mod rare;
mod read;
mod regex;
mod routing;
mod store;
mod time;
mod told;
mod yaml;

pub use certificate::{Certificate, PrivateKey};
pub use change::ConfigChange;
pub use checks::{
    ActiveCheck, CheckKind, ClientCertificate, ErrorCheck, ExpectedBody, HttpMethod, HttpVersion,
    LatencyCheck, TlsCheck,
};
pub use config::{
    AccessLog, Collector, Config, DrainStrategy, Endpoint, FleetCluster, Gateway, GatewayRole, Limits,
    Listener, ListenerOptions, ListenerProtocol, ListenerTls, NamedGateway, ProcessOptions, Protocol, Reach,
    Retry, SYSTEM_AUTHORITIES, Service, ServicePolicy, ShiftExpiry, SubjectName, TlsVersion, TraceTag,
    Tracing, TrafficShift, Trust, Upstream, UpstreamTls,
};
pub use drill::{
    AgentFault, AgentFaultKind, Drill, DrillFault, DrillGuard, DrillLoad, DrillProtocol, DrillSteps,
    DrillTarget, ExecFault, Measure, Objective, PrometheusAsk, Unit, read_drill,
};
pub use drill_kubernetes::{KubernetesFault, KubernetesFaultKind};
pub use drill_lab::{LabFault, LabProcess};
pub use drill_schedule::{BlockedTime, DrillSchedule, read_schedules};
pub use duration::{parse as parse_duration, text as duration_text};
pub use fleet::fleet_state;
pub use inventory::{Foreign, Listed, foreign, inventory, plain_objects, policy_fields};
pub use loader::{Loaded, Loader, MAX_FILE_BYTES, MAX_OBJECTS, SourceFile, Update};
pub use nearest::{hint as nearest_hint, nearest_first};
pub use problem::{Cause, Problem, Severity};
pub use rare::{Blank, Rare};
pub use routing::{
    Backend, Filters, HeaderChanges, HeaderFilters, HttpMatch, HttpRoute, HttpRule, Mirror, NamedMatch,
    PathChange, PathMatch, Redirect, Rewrite, RouteKind, RouteMatch, Session, SessionKind, StreamRoute,
    ValueMatch,
};
pub use time::{text as time_text, unix_seconds as parse_time};
