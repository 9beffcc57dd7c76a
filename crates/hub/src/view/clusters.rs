//! Clusters: how each stands, and what is known of it.

use serde::{Deserialize, Serialize};
use tidegate_model::ClusterName;

/// A cluster of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Its name.
    pub cluster: ClusterName,
    /// Whether an agent of it is connected.
    pub connected: bool,
    /// How long ago it was heard; `None` if not since the hub started.
    pub heard_ms: Option<u64>,
    /// The policy that it applied last; 0 for none.
    pub applied: u64,
    /// Objects that it did not take.
    pub rejected: Vec<RejectedView>,
    /// Why it is given no policy; `None` while it is.
    pub held_back: Option<String>,
    /// Its services.
    pub services: u32,
    /// Its pools.
    pub pools: u32,
    /// Its pools that are not given their whole load.
    pub pools_not_serving: u32,
    /// Its gateways that are connected.
    pub gateways: u32,
    /// When the last certificate issued to it ends, in seconds since 1970; `None` if none is valid.
    pub certificate_ends: Option<u64>,
    /// Whether all that was issued to it was revoked.
    pub revoked: bool,
}

/// What the hub knows of one cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeView {
    /// How it stands, and how old all of this is.
    pub cluster: ClusterView,
    /// Plans that send anything elsewhere than to the zone where it enters.
    pub plans: Vec<PlanSummaryView>,
    /// How many more there are, of which the agent did not tell.
    pub more_plans: u32,
    /// What was decided there last, the oldest first.
    pub decisions: Vec<DecisionView>,
    /// Its pools.
    #[serde(default)]
    pub pools: Vec<PoolSummaryView>,
    /// Its gateways.
    #[serde(default)]
    pub gateways: Vec<GatewaySummaryView>,
}

/// How a pool stands, by its own cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSummaryView {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// The zone.
    pub zone: String,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// Endpoints that should be there.
    pub expected: u32,
    /// The part of its normal load that it is given, in parts per million.
    pub admit_ppm: u32,
    /// Where it stands; nothing if the agent has another word for it.
    pub phase: Option<tidegate_model::Phase>,
}

/// How a gateway stands, by its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySummaryView {
    /// Its node id.
    pub node: String,
    /// Whether it is connected.
    pub connected: bool,
    /// The policy of which it accepted everything.
    pub applied: u64,
    /// The first thing that it refuses.
    pub refused: Option<String>,
}

/// Where the requests for a service that enter in a zone go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummaryView {
    /// `NAMESPACE/NAME`.
    pub service: String,
    /// Where they enter.
    pub zone: String,
    /// Who serves.
    pub shares: Vec<PlanShareView>,
    /// What is answered with 503, in thousandths.
    pub shed_permille: u32,
    /// The rule that decided over the zone itself, or over the nearest place.
    pub rule: String,
    /// What it says.
    pub why: String,
}

/// A part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanShareView {
    /// `zone NAME` or `cluster NAME`.
    pub target: String,
    /// In thousandths.
    pub permille: u32,
}

/// Something that an agent decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    /// Its number in the life of the agent.
    pub seq: u64,
    /// When, by the clock there, in microseconds since 1970.
    pub unix_micros: u64,
    /// `planChanged`, `poolChanged` and so on.
    pub kind: String,
    /// The service that it is about; `None` for a place or the whole cluster.
    pub service: Option<String>,
    /// What, and why.
    pub text: String,
}

/// An object that a cluster did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedView {
    /// Kind NAMESPACE/NAME.
    pub object: String,
    /// What is wrong with it, and where.
    pub reason: String,
}
