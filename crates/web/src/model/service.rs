//! One service: its pools, where its requests go, what happened, and the policy in force.

use super::{Capacity, Place, ServiceRow};
use serde::{Deserialize, Serialize};
use tidegate_model::{ClusterName, Phase, Region, ServiceName};

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFacts {
    /// As in the table.
    pub row: ServiceRow,
    /// Its pools.
    pub pools: Vec<PoolFacts>,
    /// Where what enters goes, by source.
    pub plans: Vec<PlanFacts>,
    /// What happened to it, the newest first.
    pub timeline: Vec<Event>,
    /// The policy in force, a field each.
    pub policy: Vec<PolicyField>,
    /// Whose word this is: the cluster, and when its agent was heard.
    pub told_by: Vec<(ClusterName, u64)>,
    /// Clusters that could not be asked, and why: what is shown of them is the last that is known, or nothing.
    pub missing: Vec<(ClusterName, String)>,
}

/// A pool of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolFacts {
    /// Its region.
    pub region: Region,
    /// Where it is.
    pub place: Place,
    /// Where it stands.
    pub phase: Phase,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that it is given.
    pub admit_permille: u32,
    /// What remains of its hold-down.
    pub hold_remaining_ms: u64,
    /// What it can take and gets; absent where nothing is declared.
    pub capacity: Option<Capacity>,
    /// Whether the cluster that tells of it reaches it.
    pub reachable: bool,
}

/// A plan: where the requests that enter at a source go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanFacts {
    /// Where they enter.
    pub source: Place,
    /// Who serves: `zone NAME` or `cluster NAME`, and how much in 1/10000.
    pub shares: Vec<(String, u32)>,
    /// What is answered with 503.
    pub shed_permille: u32,
    /// Who stands by, in order.
    pub standby: Vec<Vec<(String, u32)>>,
    /// Whether nothing that serves is healthy.
    pub last_resort: bool,
    /// One sentence per target that was looked at.
    pub reasons: Vec<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When, by the clock there.
    pub at_ms: u64,
    /// Whose word it is.
    pub cluster: ClusterName,
    /// Its number there.
    pub seq: u64,
    /// `planChanged`, `poolChanged`, `endpointChanged`, `shiftChanged` and so on.
    pub kind: String,
    /// The service that it is about; absent for a place or a cluster.
    pub service: Option<ServiceName>,
    /// The pool that it is about, and the phase that it is in since; absent where it is about no pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<(Place, Phase)>,
    /// What, and why.
    pub text: String,
}

/// A field of the policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyField {
    /// Its path, as `failback.holdDown`.
    pub field: String,
    /// Its value as it would be written.
    pub value: String,
    /// Who said so: `default`, or kind, name, file and line, and the commit where it is known.
    pub from: String,
}
