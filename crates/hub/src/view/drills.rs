//! Drills: what runs, what is scheduled, what was.

use serde::{Deserialize, Serialize};
use tidegate_drill::course::Phase;

/// A drill whose report is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillView {
    /// Unique.
    pub id: String,
    /// `NAMESPACE/NAME`.
    pub drill: String,
    /// What was broken.
    pub target: String,
    /// RFC 3339; empty if it was not started.
    pub started_at: String,
    /// `completed`, `notStarted` or `stopped`.
    pub ending: String,
    /// Why, if it was not completed.
    pub why: Option<String>,
    /// Whether it ran to its end, was mended, and kept to all objectives.
    pub passed: bool,
    /// From the fault to lasting success, in milliseconds; `None` if it did not come to that.
    pub rto_ms: Option<f64>,
    /// From when it was mended to lasting success, in milliseconds.
    pub stable_recovery_ms: Option<f64>,
    /// The part of the requests in the cut-over that failed, 0 to 1.
    pub error_rate: Option<f64>,
    /// Requests that failed.
    pub failed: Option<u64>,
    /// How many objectives it has.
    pub objectives: u64,
    /// How many it kept to.
    pub objectives_met: u64,
    /// Whose token it was handed over with.
    pub handed_over_by: String,
    /// When the hub signed it, RFC 3339.
    pub signed_at: String,
    /// The name of the key.
    pub key_id: String,
    /// The report's size.
    pub bytes: u64,
}

/// Whose signatures on reports are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillKeysView {
    /// The fleet.
    pub trust_domain: String,
    /// Public keys, each a PEM block.
    pub keys: Vec<String>,
}

/// What is scheduled, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillSchedulesView {
    /// By name.
    pub schedules: Vec<DrillScheduleView>,
    /// What was due, the newest first.
    pub runs: Vec<DrillRunView>,
}

/// A schedule of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillScheduleView {
    /// `NAMESPACE/NAME`.
    pub schedule: String,
    /// What runs.
    pub drill: String,
    /// The cron expression.
    pub cron: String,
    /// By whose clock.
    pub time_zone: String,
    /// Whether it rests.
    pub suspended: bool,
    /// The next times.
    pub next: Vec<DrillNextView>,
    /// Why there are none, if it names a zone that there is not.
    pub error: Option<String>,
}

/// A time at which a drill is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillNextView {
    /// RFC 3339, UTC, with its jitter.
    pub at: String,
    /// Why nothing will start then, if that is known.
    pub blocked: Option<String>,
}

/// A time at which a drill was due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillRunView {
    /// `NAMESPACE/NAME`.
    pub schedule: String,
    /// What was due.
    pub drill: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// Why it was not started; `None` if it was.
    pub skipped: Option<String>,
    /// The drill that was started, under which its report is kept.
    #[serde(default)]
    pub id: Option<String>,
    /// How it ended, if the hub that ran it died.
    #[serde(default)]
    pub ended: Option<String>,
}

/// How a drill stands that the hub runs, or ran last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrillProgressView {
    /// Unique.
    pub id: String,
    /// `NAMESPACE/NAME`.
    pub drill: String,
    /// Who began it.
    pub by: String,
    /// Grows with each change.
    pub number: u64,
    /// Where it is; `None` before it has begun.
    pub phase: Option<Phase>,
    /// Since the load began.
    pub elapsed_ms: u64,
    /// Until the phase ends by itself.
    pub left_ms: Option<u64>,
    /// Requests that ended.
    pub ended: u64,
    /// Requests of them that failed.
    pub failed: u64,
    /// Why the fault could not be mended, the last time, if so.
    pub mend_error: Option<String>,
    /// Whether it is over, and its report kept.
    pub done: bool,
    /// Why its report is not kept, if so.
    pub problem: Option<String>,
}
