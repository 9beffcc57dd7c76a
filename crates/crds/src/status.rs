//! What agents and the hub tell of an object in its `status`.
//!
//! Policies have the shape that the Gateway API gives policy attachment (GEP-713): `ancestors`, what the policy is attached to, each
//! with conditions. Beside it stand the same conditions for the whole object, which `kubectl wait` and Argo CD look at, and what
//! each cluster makes of it, with the time at which it said so.

use crate::text::{Name, ObjectName};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is or is not the case with an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about: Accepted, ResolvedRefs, Programmed, ...
    #[schemars(
        length(min = 1, max = 316),
        regex(
            pattern = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub r#type: String,
    /// Whether it is the case.
    pub status: ConditionStatus,
    /// Why, in one word.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, for people: what is wrong, where, and what to do.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// The `metadata.generation` that it was said of.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Since when `status` is what it is.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
}

/// Whether something is the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
pub enum ConditionStatus {
    /// It is the case.
    True,
    False,
    Unknown,
}

/// What a cluster makes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// It is in force, and every gateway has it.
    Programmed,
    /// It is in force; gateways are being told.
    Accepted,
    /// It is not in force: `message` says why.
    Rejected,
    /// Nothing was heard of the cluster since.
    Unknown,
}

/// What one cluster makes of an object, and when it said so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResult {
    /// The cluster.
    pub cluster: Name,
    /// What it makes of it.
    pub state: State,
    /// The `metadata.generation` that it speaks of.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Why, for people.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the cluster last said so; what is older than a few minutes is hearsay.
    #[schemars(extend("format" = "date-time"))]
    pub reported_at: String,
}

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    /// The group of the kind; empty for core.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Service, Namespace or Fleet.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The namespace, where the kind has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<ObjectName>,
    /// The name.
    pub name: ObjectName,
}

/// What became of a policy at one of its targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    /// The target.
    pub ancestor_ref: AncestorRef,
    /// Who says so: tidegate.dev/hub, or tidegate.dev/agent where there is no hub.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9.-]+/[A-Za-z0-9/._~-]+$"))]
    pub controller_name: String,
    /// Accepted (no older policy stands in its way), ResolvedRefs (what it names exists), Programmed (it is in force).
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What became of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// Accepted, ResolvedRefs and Programmed, for the policy as a whole.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What it is attached to, as policy attachment of the Gateway API has it (GEP-713).
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// What each cluster makes of it.
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cluster"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterResult>,
}

/// What is known of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Accepted (the object is right), Joined (it belongs to the fleet), Connected (the hub hears its agents).
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many of its agents are heard.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<i32>,
    /// The version of its agents, the oldest if there are several.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which version of the policy it has in force.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    /// When something was last heard of it.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard_at: Option<String>,
}

/// What became of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// Accepted (the object is right), Programmed (gateways have it).
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many gateways use it.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<i32>,
}

/// How far a shift is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShiftPhase {
    /// No agent has begun.
    Pending,
    /// Traffic is moved away.
    Active,
    /// Its time is over, or somebody ended it: remove the object.
    Ended,
    /// It is not carried out: the conditions say why.
    Refused,
}

/// What became of a shift.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShiftStatus {
    /// Accepted (the object is right), Programmed (traffic moved).
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ShiftPhase>,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ends by itself.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<String>,
    /// What each cluster makes of it.
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cluster"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterResult>,
}

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Result {
    /// It runs.
    Running,
    /// Every objective was met.
    Passed,
    /// An objective was missed.
    Failed,
    /// A guard or a person stopped it.
    Stopped,
    /// It could not be run, or not be measured.
    Broken,
}

/// A run of a drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillRun {
    /// The run's own name.
    #[schemars(length(min = 1, max = 253))]
    pub id: String,
    /// How it ended.
    pub result: Result,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    /// When its report was signed, a moment after it ended.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Which objectives were missed, and by how much; or why it was stopped.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of a drill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillStatus {
    /// Accepted (the object is right), Passed (the last run met every objective).
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<DrillRun>,
}

/// What became of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// Accepted (the object is right), ResolvedRefs (its drill exists), Ran (its last slot was not skipped).
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When the drill runs next, times that are blocked left out.
    #[schemars(extend("format" = "date-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<String>,
    /// The last run that this schedule began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<DrillRun>,
}
