//! The custom resource definitions (CRDs) of `tidegate.dev/v1alpha1`: what a Kubernetes API checks of an object before it
//! stores it, what `kubectl explain` and `kubectl get` show of it, and the shape of its status.
//!
//! The hand-written readers of `tidegate-api` are the truth about each field; these schemas say as much of it as a schema can.
//! Tests compare the two over every example and every case (`tests/crds/agree.rs`). What is left to the readers is what needs
//! other objects (does that region exist?) or more than a schema can say; it is listed there, each with its reason.
//!
//! No field that is merged layer by layer (`FailoverPolicy`, `FailoverProfile`, `GatewayTemplate`) has a default: once the API
//! has filled it in, nobody could tell what was said from what was not.
//!
//! The definitions are written to `deploy/crds` and checked in: `UPDATE_GENERATED=1 cargo test -p tidegate-crds`.

#![allow(unreachable_pub, reason = "the derive puts copies of the structs into functions")]

mod cluster;
mod drill;
mod policy;
mod profile;
mod schedule;
mod shift;
mod status;
mod structural;
mod template;
mod text;

pub use cluster::{EastWestGateway, FleetCluster, FleetClusterSpec, Proximity};
pub use drill::{
    BudgetWindow, ClusterWord, Drill, DrillSpec, ErrorBudget, ErrorRate, Exec, Fault, FaultType, Guard,
    HttpCheck, Kubernetes, KubernetesDoes, Lab, LabDoes, LabProcess, Load, PeerLink, Prometheus, Protocol,
    Steps, Target, Window, Workload,
};
pub use policy::{
    Active, Body, Breaker, Budget, By, Capacity, CheckTls, CheckType, Drain, Errors, Failback, FailbackMode,
    FailoverDelay, FailoverPolicy, FailoverPolicySpec, FailoverRule, Header, HealthCheck, LabelValue,
    Latency, Method, Passive, Percentage, Places, PolicyFields, PolicyTarget, ProximityBy, Ramp, Residency,
    Retry, SlowStart, Spread, Statuses, TargetKind, Tier, TierType, Weight, WhenExhausted,
};
pub use profile::{FailoverProfile, FailoverProfileSpec};
pub use schedule::{Blocked, DrillSchedule, DrillScheduleSpec};
pub use shift::{AwayFrom, TrafficShift, TrafficShiftSpec};
pub use status::{
    Ancestor, AncestorRef, ClusterResult, ClusterStatus, Condition, ConditionStatus, DrillRun, DrillStatus,
    PolicyStatus, Result as RunResult, ScheduleStatus, ShiftPhase, ShiftStatus, State, TemplateStatus,
};
pub use template::{
    AccessLog, Bootstrap, CipherSuite, Collector, DrainOptions, DrainStrategy, GatewayTemplate,
    GatewayTemplateSpec, Http, Limits, Listener, SpanText, SpanWord, Timeouts, Tls, TlsVersion, TraceHeader,
    TraceTag, Tracing,
};
pub use text::{
    Address, Comment, Cron, DayOrTime, File, HeaderName, HeaderValue, Host, Instant, Line, Name, Namespaced,
    ObjectName, Objective, Path, Query, Reached, Region, SocketAddress, Span, TimeZone, Url, WindowQuery,
    Word,
};

use kube::CustomResourceExt;
use serde_json::Value;

/// All definitions, each with the name of its file in `deploy/crds`.
///
/// # Panics
/// If a schema cannot be written as JSON, which the tests would show.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let definitions = [
        FailoverPolicy::crd(),
        FailoverProfile::crd(),
        FleetCluster::crd(),
        GatewayTemplate::crd(),
        TrafficShift::crd(),
        Drill::crd(),
        DrillSchedule::crd(),
    ];
    definitions
        .into_iter()
        .map(|definition| {
            let plural = definition.spec.names.plural.clone();
            let value = serde_json::to_value(definition).expect("a definition has only text keys");
            (format!("{plural}.yaml"), structural::tidy(value))
        })
        .collect()
}
