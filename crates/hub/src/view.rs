//! What the hub shows: the JSON of its admin address, which the command line reads back. Ages are in milliseconds.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tidegate_drill::course::Phase;
use tidegate_link::access::Role;
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

/// Where a policy stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// The sequence of the newest policy; 0 before the first.
    pub sequence: u64,
    /// Its version: the commit, or a digest of the content.
    pub version: String,
    /// What is wrong in the source, a text each.
    pub problems: Vec<String>,
    /// How it goes on; `None` before the first policy.
    #[serde(default)]
    pub rollout: Option<WavesView>,
    /// Its objects.
    pub objects: Vec<ObjectView>,
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
