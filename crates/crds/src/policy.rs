//! `FailoverPolicy`, and the fields that it shares with both halves of a `FailoverProfile`. None has a default here: absent
//! means that the next layer decides.

mod checks;
mod failover;
mod limits;

pub use checks::{
    Active, Body, CheckTls, CheckType, Errors, Header, HealthCheck, Latency, Method, Passive, Statuses,
};
pub use failover::{FailoverRule, LabelValue, Places, Residency, Tier, TierType, Weight};
pub use limits::{Breaker, Budget, Capacity, Drain, Failback, FailbackMode, Ramp, Retry, SlowStart};

use crate::{
    status::PolicyStatus,
    text::{MIN, ObjectName, Span},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In which order the places of a service serve, when a place counts as lost, and how it gets its traffic back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "FailoverPolicy",
    plural = "failoverpolicies",
    shortname = "fop",
    category = "tidegate",
    namespaced,
    status = "PolicyStatus",
    doc = "In which order the places of a service serve, when a place counts as lost, and how it gets its traffic back. Where several policies name a service, the nearest wins, field by field: one for the Service, then one for its Namespace, then one for the Fleet.",
    printcolumn = r#"{"name": "Kind", "type": "string", "description": "What it is about", "jsonPath": ".spec.targetRefs[0].kind"}"#,
    printcolumn = r#"{"name": "Target", "type": "string", "description": "The first of its targets", "jsonPath": ".spec.targetRefs[0].name"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "description": "Whether nothing stands in its way", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Programmed", "type": "string", "description": "Whether it is in force", "jsonPath": ".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name": "Hold-down", "type": "string", "description": "How long health must be steady before traffic comes back", "jsonPath": ".spec.failback.holdDown", "priority": 1}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "description": "Why it is not accepted", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].reason", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct FailoverPolicySpec {
    /// What the policy is about.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = kube::core::Rule::new("self.all(a, self.exists_one(b, a.kind == b.kind && a.name == b.name))").message("a target is listed twice: remove one"))]
    pub target_refs: Vec<PolicyTarget>,
    /// The decision.
    #[serde(flatten)]
    pub fields: PolicyFields,
}

/// What a policy is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("self.kind != 'Fleet' || self.name == 'default'").message("the fleet is called \"default\""),
    validation = kube::core::Rule::new("!has(self.group) || self.group == '' || self.group == (self.kind == 'Fleet' ? 'tidegate.dev' : 'core')").message("write group: \"\"; only a Fleet is of the group tidegate.dev")
)]
pub struct PolicyTarget {
    /// The group of the kind: empty, or tidegate.dev for a Fleet.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Service: one of the policy's namespace. Namespace: all services of the policy's own. Fleet: all services.
    pub kind: TargetKind,
    /// The name of the target; a Fleet is called default.
    pub name: ObjectName,
    /// The policy's own namespace; it cannot be another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ObjectName>,
}

/// The kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// A service of the policy's namespace.
    Service,
    /// All services of the policy's namespace.
    Namespace,
    /// All services.
    Fleet,
}

/// What policy says; what is absent is for the next layer to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!has(self.minimumHealthy) || !has(self.failoverThreshold) || self.minimumHealthy.percentage <= self.failoverThreshold.percentage").message("minimumHealthy.percentage is above failoverThreshold.percentage: a pool is reduced below the threshold and taken out below the minimum, so the minimum must not be the higher one")
)]
pub struct PolicyFields {
    /// Which tiers serve which callers, in which order. Default: everybody is served by SameZone, SameRegion, Any.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<Vec<FailoverRule>>,
    /// Health below this part of what is expected reduces a pool, in proportion. Default: 70 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_threshold: Option<Percentage>,
    /// Health below this part of what is expected takes a pool out. Default: 25 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_healthy: Option<Percentage>,
    /// How long a loss lasts before it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_delay: Option<FailoverDelay>,
    /// The only places that may serve. Nothing overrides it, not even a total loss. Default: all may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
    /// What one endpoint takes. Without it a healthy place takes whatever comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// Waterfall fills the nearest tier first; Spray sends to all tiers at once, in proportion to what they can take. Means something only with capacity. Default: Waterfall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
    /// What is asked of endpoints, and when one that answers is too slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// How a place gets its traffic back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failback: Option<Failback>,
    /// How a pool is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// When a request is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What one gateway may have at a time of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<Breaker>,
    /// An endpoint that is new or healthy again gets less than the others at first. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// When nothing allowed is healthy, or all that is allowed is full: Spread tries all endpoints all the same, Shed answers 503 to what is left over. Default: Spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_exhausted: Option<WhenExhausted>,
    /// By which distances the nearest region is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proximity: Option<ProximityBy>,
}

/// A part of something, in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Percentage {
    /// In percent, without the % sign.
    #[schemars(range(min = 0, max = 100))]
    pub percentage: f64,
}

/// How long a loss lasts before it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverDelay {
    /// How long a partial loss lasts before it counts, 0s to 10m; a total loss counts at once. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_loss: Option<Span<0, { 10 * MIN }>>,
}

/// How what is asked for spreads over tiers with capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Spread {
    /// The nearest tier first.
    Waterfall,
    /// All tiers at once.
    Spray,
}

/// What happens when nothing that is allowed can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenExhausted {
    /// All endpoints are tried.
    Spread,
    /// 503.
    Shed,
}

/// By which distances the nearest region is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProximityBy {
    /// Declared: by FleetCluster.spec.proximity. Measured: by the round trips of the peer links, where those differ for long. Default: Declared.
    pub by: By,
}

/// Whose distances count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum By {
    /// Those that `FleetCluster`s declare.
    Declared,
    /// Those of the peer links.
    Measured,
}
