//! `Drill`: a fault on purpose, measured.

mod fault;
mod guard;
mod kubernetes;

pub use fault::{Exec, Fault, FaultType, Lab, LabDoes, LabProcess};
pub use guard::{BudgetWindow, ErrorBudget, ErrorRate, Guard, HttpCheck, Prometheus};
pub use kubernetes::{ClusterWord, Kubernetes, KubernetesDoes, Workload};

use crate::{
    status::DrillStatus,
    text::{DAY, Instant, MIN, MS, Name, Namespaced, Objective, Region, S, Span, Url},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault on purpose, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Drill",
    plural = "drills",
    category = "tidegate",
    namespaced,
    status = "DrillStatus",
    doc = "A fault on purpose, measured: what breaks, for how long, under which load, what stops it, and what it may cost.",
    printcolumn = r#"{"name": "Fault", "type": "string", "description": "What breaks it", "jsonPath": ".spec.fault.type"}"#,
    printcolumn = r#"{"name": "Lasts", "type": "string", "description": "For how long", "jsonPath": ".spec.steps.fault"}"#,
    printcolumn = r#"{"name": "Last", "type": "string", "description": "How the last run ended", "jsonPath": ".status.lastRun.result"}"#,
    printcolumn = r#"{"name": "Ran", "type": "date", "description": "When it began", "jsonPath": ".status.lastRun.startedAt"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "description": "What was missed", "jsonPath": ".status.lastRun.message", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[x_kube(
    validation = kube::core::Rule::new("duration(self.fault.expiresAfter) >= duration(has(self.steps) && has(self.steps.fault) ? self.steps.fault : '30s')").message("the fault expires before its step ends: make fault.expiresAfter at least as long as steps.fault (30s unless it is written)")
)]
pub struct DrillSpec {
    /// The one thing that breaks.
    pub target: Target,
    /// What breaks it, and for how long at most.
    pub fault: Fault,
    /// How long each step takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// What is asked meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What stops the drill.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// What it may cost: MEASURE <= LIMIT, for example "rto <= 5s", "errorRate <= 0.1%" or "lost <= 0".
    #[schemars(length(max = 32))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<Objective>,
    /// When it may run. Default: always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// The one thing that breaks, so that what is measured has one cause. A zone may name its region, and a gateway its cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("[has(self.url), has(self.service), has(self.zone), has(self.cluster) && !has(self.gateway), has(self.region) && !has(self.zone), has(self.gateway), has(self.peerLink), has(self.hub)].filter(named, named).size() == 1").message("a drill breaks one thing: name one of url, service, zone (perhaps with its region), cluster, region, gateway (perhaps with its cluster), peerLink and hub; write a Drill for each")
)]
pub struct Target {
    /// Whatever answers there; for faults of type Exec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// A service everywhere, as NAMESPACE/NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Namespaced>,
    /// A zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// A cluster, or the cluster of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Name>,
    /// A region, or the region of the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// A gateway, as NAMESPACE/NAME.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Namespaced>,
    /// The link from one cluster to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_link: Option<PeerLink>,
    /// The hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = kube::core::Rule::new("self").message("hub must be true: write hub: true, or another target"))]
    pub hub: Option<bool>,
}

/// The link from one cluster to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.from != self.to").message("peerLink leads from a cluster to itself: name both ends"))]
pub struct PeerLink {
    /// The cluster that sends.
    pub from: Name,
    /// The cluster that it sends to.
    pub to: Name,
}

/// How long each step takes, each 1s to 24h.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    /// Before the fault, to know what is normal. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady: Option<Span<S, DAY>>,
    /// With the fault. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Span<S, DAY>>,
    /// After it, to see traffic come back. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe: Option<Span<S, DAY>>,
}

/// What is asked while a drill runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// What is asked, in turn. Default: the target's own URL.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<Url>,
    /// Requests per second, 1 to 50000. Default: 100.
    #[schemars(range(min = 1, max = 50_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_rps: Option<u32>,
    /// How it asks. Default: HTTP1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// How long an answer may take, 1ms to 60s. Default: 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span<MS, MIN>>,
    /// Requests in progress at most, 1 to 100000. Default: 1000.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_limit: Option<u32>,
}

/// How a load asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.1.
    #[serde(rename = "HTTP1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "HTTP2")]
    Http2,
    /// gRPC.
    #[serde(rename = "GRPC")]
    Grpc,
}

/// When a drill may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.from < self.until").message("the window ends before it begins: exchange from and until"))]
pub struct Window {
    /// Not before.
    pub from: Instant,
    /// Not after.
    pub until: Instant,
}
