//! What people do: shifts and drills, and the record of who changed what.

use serde::{Deserialize, Serialize};
use tidegate_model::{ClusterName, ServiceName};

/// A shift in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShiftFacts {
    /// By which it is ended.
    pub name: String,
    /// What traffic is moved away from, for people.
    pub away_from: String,
    /// The service that it is for; absent for all of the place.
    pub service: Option<ServiceName>,
    /// How much of it, in hundredths.
    pub percent: u32,
    /// When it ends by itself.
    pub ends_at_ms: u64,
    /// `operator` or `drill`.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Clusters that carry it.
    pub clusters: Vec<ClusterName>,
    /// Services that it does not move, because they would lose their last healthy place.
    pub refused: Vec<ServiceName>,
}

/// A drill that runs, or ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillFacts {
    /// Unique.
    pub id: String,
    /// `NAMESPACE/NAME`.
    pub drill: String,
    /// What is broken.
    pub target: String,
    /// `Checking`, `Steady`, `Fault`, `Mending` or `Watching` while it runs; `completed`, `notStarted` or `stopped` after.
    pub phase: String,
    /// When it began.
    pub started_at_ms: u64,
    /// When what it does now will be over, if that is known.
    pub phase_ends_at_ms: Option<u64>,
    /// Requests so far, and those that failed.
    pub requests: Option<(u64, u64)>,
    /// Whether it kept to its objectives; absent while it runs.
    pub passed: Option<bool>,
    /// From the fault to lasting success.
    pub rto_ms: Option<f64>,
    /// Why it was not completed.
    pub why: Option<String>,
}

/// A drill that may be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillOffered {
    /// `NAMESPACE/NAME`.
    pub drill: String,
    /// What it breaks, for people.
    pub target: String,
    /// The next time that a schedule runs it.
    pub next_at_ms: Option<u64>,
}

/// All about drills.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillsFacts {
    /// Those that run.
    pub running: Vec<DrillFacts>,
    /// Those that may be started.
    pub offered: Vec<DrillOffered>,
    /// Those that are over and whose report is kept, the newest first.
    pub past: Vec<DrillFacts>,
    /// Over time, as SVG, a chart a drill: the name and the picture.
    pub trends: Vec<(String, String)>,
}

/// Who changed what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditFacts {
    /// Counts from 1.
    pub number: u64,
    /// When.
    pub at_ms: u64,
    /// Who or which commit.
    pub who: String,
    /// What, one word.
    pub what: String,
    /// The rest.
    pub detail: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// For people.
    pub done: String,
    /// Where to look at it, as `/shifts`.
    pub link: String,
}
