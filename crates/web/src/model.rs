//! What the page is drawn from: plain facts, the same for a hub (its fleet) and an agent (its cluster), and the JSON of `/api/v1/page/...`.
//!
//! Times are in milliseconds since 1970 (`..._at_ms`) or durations (`..._ms`); parts of a whole are in thousandths (`..._permille`);
//! rates are requests or connections a second. What is not known is absent, and never zero.

use serde::{Deserialize, Serialize};
use tidegate_model::{ClusterName, Phase, Region, ServiceName, Zone};

/// Whose page it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "name")]
pub enum Scope {
    /// A hub's: all clusters. The trust domain of the fleet.
    Fleet(String),
    /// An agent's: its cluster, and what it knows of others.
    Cluster(ClusterName),
}

/// All that the map and the table of services need, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Whose page it is.
    pub scope: Scope,
    /// Grows whenever anything below changed; starts anew with the process.
    pub version: u64,
    /// When this was put together.
    pub at_ms: u64,
    /// The regions by name, with their clusters by name.
    pub regions: Vec<RegionFacts>,
    /// What goes from where to where. The greatest first.
    pub flows: Vec<Flow>,
    /// All services by name.
    pub services: Vec<ServiceRow>,
    /// Shifts in force, the one that ends first at the front.
    pub shifts: Vec<ShiftFacts>,
    /// Drills that run.
    pub drills: Vec<DrillFacts>,
    /// The policy that is handed out, or in force.
    pub policy: PolicyFacts,
    /// What an operator should look at, the worst first.
    pub attention: Vec<Attention>,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionFacts {
    /// Its name.
    pub name: Region,
    /// Its clusters by name.
    pub clusters: Vec<ClusterFacts>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFacts {
    /// Its name.
    pub name: ClusterName,
    /// Whether its agent is heard.
    pub state: ClusterState,
    /// When its agent was heard last: how old everything here may be. Absent if it never was.
    pub heard_at_ms: Option<u64>,
    /// Its zones by name.
    pub zones: Vec<ZoneFacts>,
    /// Its gateways by zone and name.
    pub gateways: Vec<GatewayFacts>,
    /// How it sees the other clusters.
    pub peers: Vec<PeerFacts>,
    /// The sequence of the policy that it applied last; 0 for none.
    pub applied: u64,
    /// Why it is given no policy.
    pub held_back: Option<String>,
    /// Objects that it did not take: name and reason.
    pub rejected: Vec<(String, String)>,
}

/// Whether the agent of a cluster is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterState {
    /// An agent of it is connected (on an agent's page: the own cluster, or a peer that is reachable).
    Live,
    /// A peer that is suspected to be gone; only on an agent's page.
    Suspect,
    /// It was, and is not now: what is shown is the last that is known.
    Lost,
    /// It was not heard since this process started.
    Unheard,
    /// All that was issued to it was revoked.
    Revoked,
}

/// How a place or a service stands: the worst that is true of a relevant part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// As it should be.
    Good,
    /// It comes back: holding or ramping.
    Recovering,
    /// An operator or a drill moved it.
    Shifted,
    /// A part of it is not healthy.
    Reduced,
    /// It serves nothing.
    Out,
    /// Nothing newer than an old word is known.
    Unknown,
}

/// A zone of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneFacts {
    /// Its name.
    pub name: Zone,
    /// How it stands.
    pub standing: Standing,
    /// Pools in it.
    pub pools: u32,
    /// Pools in it by phase, without those that are `Serving` or `Empty`.
    pub phases: Vec<(Phase, u32)>,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// What it can take and gets, in each unit that is declared.
    pub capacity: Vec<Capacity>,
}

/// What a place can take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// `requests/s`, `connections/s` or `concurrent`.
    pub unit: String,
    /// What its healthy endpoints can take by declaration.
    pub declared: f64,
    /// What plans may give it: `declared` by the target utilisation.
    pub budget: f64,
    /// What it gets. Absent while nothing was measured.
    pub load: Option<f64>,
}

/// An Envoy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayFacts {
    /// Its node id.
    pub node: String,
    /// `NAMESPACE/NAME` of the gateway.
    pub gateway: String,
    /// Its zone.
    pub zone: String,
    /// Whether it is connected to an agent.
    pub connected: bool,
    /// The sequence of the newest policy all of which it has accepted; absent where that is not told.
    pub applied: Option<u64>,
    /// What it refused and has not accepted since: the Envoy's words and the objects behind.
    pub refused: Vec<String>,
}

/// How a cluster sees another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerFacts {
    /// The other one.
    pub cluster: ClusterName,
    /// `Unheard`, `Reachable`, `Suspect`, `AgentDown` or `Unreachable`.
    pub state: String,
    /// The shortest round trip of its links.
    pub rtt_ms: Option<f64>,
}

/// A place that traffic comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The cluster.
    pub cluster: ClusterName,
    /// The zone; absent for all of the cluster.
    pub zone: Option<Zone>,
}

/// What goes from one place to another, over all services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Where it enters.
    pub from: Place,
    /// Where it is served.
    pub to: Place,
    /// How much. Absent while nothing was measured: then it is drawn thin, by what plans say.
    pub rate: Option<f64>,
    /// How much of it failed.
    pub failed: Option<f64>,
    /// Services with a part of their plan there.
    pub services: u32,
    /// How what serves it stands.
    pub standing: Standing,
}

/// A service in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Its name.
    pub name: ServiceName,
    /// How it stands.
    pub standing: Standing,
    /// The worst phase of its pools.
    pub phase: Phase,
    /// Endpoints that should be there, in all pools.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// Clusters with pools of it.
    pub clusters: Vec<ClusterName>,
    /// The part of its traffic that is not served where its plans would have it with everything healthy; of the source where it is most.
    pub away_permille: u32,
    /// What is answered with 503 at most, of one source.
    pub shed_permille: u32,
    /// Whether the loss of some zone, cluster or region would leave requests unserved or a place above its budget. Absent while not computed.
    pub at_risk: Option<bool>,
    /// Whether it has one place only, so that nothing can take over. Absent while not computed.
    pub cannot_fail_over: Option<bool>,
    /// How much is asked of it.
    pub rate: Option<f64>,
    /// The sentence that says what is the matter; absent if nothing is.
    pub why: Option<String>,
    /// When it last changed.
    pub changed_at_ms: Option<u64>,
}

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
    /// `Baseline`, `Fault`, `Recovery` and so on while it runs; `completed`, `notStarted` or `stopped` after.
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

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// How bad.
    pub severity: Severity,
    /// What is the matter, in one sentence.
    pub text: String,
    /// Which page tells more: a path, as `/services/shop/web`.
    pub link: String,
    /// Since when, if that is known.
    pub since_ms: Option<u64>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Requests fail, or will at the next loss.
    Critical,
    /// Something is away from where it should be.
    Warning,
    /// Good to know: a shift, a drill, a rollout under way.
    Notice,
}

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

/// What would be if something were lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foresight {
    /// Whether everything is served now, and would be by each of the losses.
    pub holds: bool,
    /// What is wrong with nothing lost, a sentence each.
    pub findings: Vec<String>,
    /// A row for each loss.
    pub losses: Vec<LossFacts>,
    /// How old the oldest word is that this was computed from.
    pub age_ms: Option<u64>,
}

/// What one loss does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossFacts {
    /// What is lost, as `zone us-east-1a`.
    pub lost: Vec<String>,
    /// Whether everything that clients ask for is served within budgets.
    pub holds: bool,
    /// Services of which something would not be served, with how much of it; at most 100.
    pub unserved: Vec<(ServiceName, u32)>,
    /// How many there are.
    pub unserved_services: u32,
    /// Places with their utilisation before and after, in thousandths of what is declared; those that change, the fullest after first.
    pub places: Vec<(Place, Option<u32>, Option<u32>)>,
    /// What goes where with nothing lost.
    pub before: Vec<Flow>,
    /// What would go where.
    pub after: Vec<Flow>,
    /// What would happen, a sentence each; at most 100.
    pub sentences: Vec<String>,
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
