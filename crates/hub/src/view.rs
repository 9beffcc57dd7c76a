//! What the hub shows: the JSON of its admin address, which the command line reads back. Ages are in milliseconds.

mod clusters;
mod drills;
mod rollout;

pub use clusters::{
    ClusterView, DecisionView, GatewaySummaryView, KnowledgeView, PlanShareView, PlanSummaryView,
    PoolSummaryView, RejectedView,
};
pub use drills::{
    DrillKeysView, DrillNextView, DrillProgressView, DrillRunView, DrillScheduleView, DrillSchedulesView,
    DrillView,
};
pub use rollout::{
    HistoryView, ObjectInCluster, ObjectState, ObjectView, PhaseView, PolicyText, PolicyView, RolloutView,
    WaveView, WavesView,
};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tidegate_link::access::Role;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Counts from 1.
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Who or which commit.
    pub who: String,
    /// What, one word.
    pub what: String,
    /// The rest.
    pub detail: String,
}

/// A token, which is told once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// What the agent is started with.
    pub token: String,
    /// How long it is good for, in seconds.
    pub ttl_s: u64,
}

/// Somebody who may ask from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// Whose token or certificate it is.
    pub name: String,
    /// What may be done with it.
    pub role: Role,
    /// What it is limited to; `None` for all.
    pub namespaces: Option<BTreeSet<String>>,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
    /// Whether it is granted to a certificate, and not to a token.
    #[serde(default)]
    pub by_certificate: bool,
}

/// A certificate of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateView {
    /// With those of its authorities up to the root, PEM.
    pub certificate: String,
}

/// Whether a hub is the hub, or stands by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandbyView {
    /// Whether it stands by for another one.
    pub stands_by: bool,
    /// The sequence of the newest policy that it knows.
    pub sequence: u64,
    /// Its version.
    pub version: String,
    /// The epoch that it would count up, or signs with.
    pub epoch: u64,
    /// The folder that the other hub copies to.
    pub copy: Option<String>,
    /// How long ago the other hub found that copy to be the newest.
    pub copy_age_ms: Option<u64>,
    /// Why the copy is not followed now.
    pub problem: Option<String>,
}

/// What a command changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoneView {
    /// For people.
    pub done: String,
}
