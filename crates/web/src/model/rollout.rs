//! The policy, and where each object of it has been applied.

use serde::{Deserialize, Serialize};
use tidegate_model::ClusterName;

/// The policy that is handed out (hub) or in force (agent).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFacts {
    /// Its sequence; 0 before the first, and without a hub.
    pub sequence: u64,
    /// Its version: the commit, or a digest of the content.
    pub version: String,
    /// `Rolling`, `Halted` or `Done`; absent on an agent's page.
    pub phase: Option<String>,
    /// Why it halted.
    pub why: Option<String>,
    /// What is wrong in the source, a text each.
    pub problems: Vec<String>,
}

/// Where a policy stands, object by object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutFacts {
    /// The policy.
    pub policy: PolicyFacts,
    /// The waves: whether open, and their clusters.
    pub waves: Vec<(bool, Vec<ClusterName>)>,
    /// The objects of this page.
    pub objects: Vec<ObjectFacts>,
    /// How many objects there are.
    pub total: usize,
}

/// An object of the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFacts {
    /// Kind NAMESPACE/NAME.
    pub object: String,
    /// The file and line.
    pub place: String,
    /// The sequence with which it became what it is.
    pub since: u64,
    /// Where it stands: the cluster; `Applied`, `Rejected`, `Pending` or `Unknown`; why; gateways that have it and that there are; how old
    /// that knowledge is.
    pub clusters: Vec<ObjectThere>,
}

/// Where an object stands in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectThere {
    /// The cluster.
    pub cluster: ClusterName,
    /// `Applied`, `Rejected`, `Pending` or `Unknown`.
    pub state: String,
    /// Why it was rejected.
    pub why: Option<String>,
    /// Gateways that have accepted everything up to it.
    pub gateways_applied: u32,
    /// Gateways that are connected.
    pub gateways: u32,
    /// How old this knowledge is; absent if the cluster was not heard.
    pub age_ms: Option<u64>,
}
