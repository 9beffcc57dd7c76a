//! What the page is drawn from: plain facts, the same for a hub (its fleet) and an agent (its cluster), and the JSON of `/api/v1/page/...`.
//!
//! Times are in milliseconds since 1970 (`..._at_ms`) or durations (`..._ms`); parts of a whole are in thousandths (`..._permille`);
//! rates are requests or connections a second. What is not known is absent, and never zero.
//!
//! Here is the picture of the fleet; the rest is in a file each.

mod actions;
mod foresight;
mod rollout;
mod service;

pub use actions::{AuditFacts, Done, DrillFacts, DrillOffered, DrillsFacts, ShiftFacts};
pub use foresight::{Foresight, LossFacts};
pub use rollout::{ObjectFacts, ObjectThere, PolicyFacts, RolloutFacts};
pub use service::{Event, PlanFacts, PolicyField, PoolFacts, ServiceFacts};

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
