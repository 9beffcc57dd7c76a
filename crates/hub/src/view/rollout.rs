//! Policy: what is in force, and how far each object of it is.

use serde::{Deserialize, Serialize};
use tidegate_model::ClusterName;

/// Where a policy stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// The sequence of the newest policy; 0 before the first.
    pub sequence: u64,
    /// Its version: the commit, or a digest of the content.
    pub version: String,
    /// What is wrong in the source, and why clusters are given nothing; a text each.
    pub problems: Vec<String>,
    /// How it goes on; `None` before the first policy.
    #[serde(default)]
    pub rollout: Option<WavesView>,
    /// Its objects, by name; no more than were asked for.
    pub objects: Vec<ObjectView>,
    /// The last of them if there are more: to be asked for as those `after` it.
    #[serde(default)]
    pub next: Option<String>,
}

/// How a policy reaches the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WavesView {
    /// Whether it goes on.
    pub phase: PhaseView,
    /// Why it halted.
    pub why: Option<String>,
    /// What clusters keep whose wave is not open; 0 if there is nothing to keep.
    pub base: u64,
    /// The waves of the clusters that joined.
    pub waves: Vec<WaveView>,
    /// Clusters of the newest open wave that have not applied it.
    pub waits_for: Vec<ClusterName>,
    /// Clusters that were away for too long to be waited for; they take it when they are back.
    pub left_out: Vec<ClusterName>,
    /// How long the wave is still watched before the next one; `None` if it has not settled.
    pub bakes_ms: Option<u64>,
    /// Objects that were rolled back, and of which the source still says what nobody wanted.
    pub rolled_back: Vec<String>,
}

/// Whether a rollout goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PhaseView {
    /// It goes on.
    Rolling,
    /// It waits for an operator, or for another policy.
    Halted,
    /// Every wave is open.
    Done,
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaveView {
    /// Its number.
    pub wave: u32,
    /// Whether its clusters are handed the newest policy.
    pub open: bool,
    /// Its clusters.
    pub clusters: Vec<ClusterName>,
}

/// A policy of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    /// Its sequence.
    pub sequence: u64,
    /// The commit, or a digest of the content.
    pub version: String,
    /// Its objects.
    pub objects: usize,
    /// Those that became with it what they are.
    pub changed: usize,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectView {
    /// Kind NAMESPACE/NAME.
    pub object: String,
    /// The file and line.
    pub place: String,
    /// The sequence with which it became what it is.
    pub since: u64,
    /// Where it stands in each cluster.
    pub clusters: Vec<ObjectInCluster>,
}

/// The policy in force: what is handed out, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// Its sequence; 0 before the first.
    pub sequence: u64,
    /// Its version: the commit, or a digest of the content.
    pub version: String,
    /// Its objects, by name.
    pub objects: Vec<PolicyText>,
}

/// An object of the policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyText {
    /// Kind NAMESPACE/NAME.
    pub object: String,
    /// The file and line.
    pub place: String,
    /// The document, as it is written.
    pub text: String,
}

/// Where an object stands in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectInCluster {
    /// The cluster.
    pub cluster: ClusterName,
    /// How far it is.
    pub state: ObjectState,
    /// Gateways that are connected and have accepted everything up to it.
    pub gateways_applied: u32,
    /// Gateways that are connected.
    pub gateways: u32,
    /// How old this knowledge is; `None` if the cluster was not heard since the hub started.
    pub age_ms: Option<u64>,
}

/// How far an object is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "why")]
pub enum ObjectState {
    /// In force.
    Applied,
    /// Not taken; what was in force before stays.
    Rejected(String),
    /// Not yet heard to be in force.
    Pending,
    /// Nothing is known.
    Unknown,
}
