//! What an agent shows of itself: the JSON of its admin address, which the command line reads back.
//!
//! Shares are in 1/10000, admit and reach are parts of one, times are in milliseconds.

use crate::{core::Core, drills::DrillView, shifts::ShiftView};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};
use tidegate_discovery::kube::ApiView;
use tidegate_engine::{Engine, Load, Plan, Shares, Target};
use tidegate_link::{ReplicaStats, identity::Refusals};
use tidegate_model::{ClusterName, Fraction, Phase, PoolStatus, Region, ServiceName, Share, Time, Zone};

/// All that an agent knows, at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its region, once manifests named it.
    pub region: Option<Region>,
    /// The number drawn when this agent started.
    pub boot: u64,
    /// How long it has run.
    pub uptime_ms: u64,
    /// What it waits for before it answers gateways; empty when it is ready.
    pub pending: Vec<String>,
    /// How often manifests were loaded.
    pub manifests_generation: u64,
    /// What is wrong with the manifests, as text for people.
    pub problems: Vec<String>,
    /// The pools: the own ones, and those of other clusters as seen from here.
    pub pools: Vec<PoolView>,
    /// The plans, one per service and source.
    pub plans: Vec<PlanView>,
    /// The shifts in force.
    #[serde(default)]
    pub shifts: Vec<ShiftView>,
    /// The faults of drills that this agent carries out.
    #[serde(default)]
    pub drills: Vec<DrillView>,
    /// What left a plan a moment ago, and what is still in flight there.
    #[serde(default)]
    pub draining: Vec<DrainView>,
    /// The ways to other clusters.
    pub peers: Vec<PeerStatus>,
    /// The links to the other replicas of this agent.
    #[serde(default)]
    pub replicas: ReplicasView,
    /// The gateways that are connected or were.
    pub gateways: Vec<GatewayView>,
    /// The active checks of this cluster's endpoints.
    #[serde(default)]
    pub checks: ChecksView,
    /// How often somebody was not believed, or this cluster was not, by reason.
    #[serde(default)]
    pub refusals: BTreeMap<String, u64>,
    /// How the API stands that the objects are read from; nothing where they are not.
    #[serde(default)]
    pub kubernetes: Option<KubernetesView>,
    /// How the hub is followed; nothing in a cluster that joined none.
    #[serde(default)]
    pub hub: Option<HubLinkView>,
    /// When the certificates end that gateways show to clients, in seconds since 1970, by the object that holds each.
    #[serde(default)]
    pub certificates: BTreeMap<String, u64>,
}

/// How the hub is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubLinkView {
    /// Whether its stream is open.
    pub connected: bool,
    /// How long it has been so.
    pub since_ms: u64,
    /// When the certificate ends by which this agent is known, in seconds since 1970.
    pub certificate_ends: u64,
}

/// How the services stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesView {
    /// Who says so.
    pub cluster: ClusterName,
    /// How old `away`, `strandedBy` and `overloadedBy` are; nothing while they are not known.
    pub foreseen_ms: Option<u64>,
    /// By name.
    pub services: Vec<ServiceView>,
}

/// How a service stands, as the agent of one cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// The service.
    pub service: ServiceName,
    /// Healthy endpoints, in all clusters.
    pub healthy: u32,
    /// Endpoints that should be there.
    pub expected: u32,
    /// The phases in which its pools are.
    pub phases: BTreeSet<Phase>,
    /// Whether a pool of it is out of reach.
    pub unreachable: bool,
    /// The part of a source's requests that is not served where it would be with everything healthy; the largest of all sources.
    pub away: Share,
    /// The part that is answered with 503; the largest.
    pub shed: Share,
    /// Whether somewhere nothing that serves is healthy.
    pub last_resort: bool,
    /// Single losses that would leave callers with nothing healthy.
    pub stranded_by: Vec<String>,
    /// Single losses that would put a pool above its capacity.
    pub overloaded_by: Vec<String>,
    /// Who serves, by source.
    pub goes: BTreeMap<String, Shares>,
}

impl ServiceView {
    /// Of which nothing is known but the name.
    pub(crate) fn unknown(service: ServiceName) -> Self {
        Self {
            service,
            healthy: 0,
            expected: 0,
            phases: BTreeSet::new(),
            unreachable: false,
            away: Share::NONE,
            shed: Share::NONE,
            last_resort: false,
            stranded_by: Vec::new(),
            overloaded_by: Vec::new(),
            goes: BTreeMap::new(),
        }
    }
}

/// The API of the agent's cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesView {
    /// Where it is.
    pub url: String,
    /// How long ago it was heard last, which is how old what is in force may be at most; nothing if it was not since the start.
    pub age_ms: Option<u64>,
    /// How the watch of each kind stands: `Following`, `Absent` where the API does not serve it, or what it is about.
    pub watches: BTreeMap<String, String>,
    /// What is wrong, by kind.
    pub failing: BTreeMap<String, String>,
}

impl From<ApiView> for KubernetesView {
    fn from(view: ApiView) -> Self {
        let ApiView { url, age, watches, failing } = view;
        let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Self { url, age_ms, watches, failing }
    }
}

/// Counts of refusals as they are shown; none in a cluster without an identity.
pub(crate) fn refusal_counts(refusals: Option<&Refusals>) -> BTreeMap<String, u64> {
    let counts = refusals.map(Refusals::counts).unwrap_or_default();
    counts.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

/// The links to the other replicas of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicasView {
    /// Others that are heard.
    pub heard: u64,
    /// Streams and words that were refused since the start.
    pub refused: u64,
    /// Observations that another replica was too slow to take in.
    pub lost_news: u64,
}

impl From<ReplicaStats> for ReplicasView {
    fn from(stats: ReplicaStats) -> Self {
        let ReplicaStats { heard, refused, lost_news } = stats;
        Self { heard, refused, lost_news }
    }
}

/// What the prober counts of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChecksView {
    /// Endpoints that are checked.
    pub targets: u64,
    /// Checks under way.
    pub under_way: u64,
    /// The most checks that may be under way: fewer where the limit of open files is low.
    pub under_way_limit: u64,
    /// Endpoints that are ejected because they are slow.
    pub ejected: u64,
    /// Checks made since the start.
    pub made: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Checks that could not be made for a reason on the agent's side.
    pub not_made: u64,
    /// 99 % of the checks since the start were no later than this.
    pub late_p99_ms: f64,
}

impl From<&tidegate_probe::Snapshot> for ChecksView {
    fn from(counts: &tidegate_probe::Snapshot) -> Self {
        Self {
            targets: counts.targets,
            under_way: counts.under_way,
            under_way_limit: counts.under_way_limit,
            ejected: counts.ejected,
            made: counts.checks,
            failed: counts.failed,
            not_made: counts.local,
            late_p99_ms: counts.late_since_start(0.99).as_secs_f64() * 1e3,
        }
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// The service.
    pub service: ServiceName,
    /// The cluster.
    pub cluster: ClusterName,
    /// The region.
    pub region: Region,
    /// The zone.
    pub zone: Zone,
    /// Endpoints that should be there.
    pub expected: u32,
    /// Endpoints that are healthy.
    pub healthy: u32,
    /// The part of its normal load that its own cluster gives it, 0 to 1.
    pub admit: f64,
    /// Where it stands, by its own cluster.
    pub phase: Phase,
    /// What remains of its hold-down.
    pub hold_remaining_ms: u64,
    /// Whether this agent's cluster reaches it.
    pub reachable: bool,
    /// The part of `admit` that this cluster's reach allows, 0 to 1; one for an own pool.
    pub reach: f64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The service.
    pub service: ServiceName,
    /// Where the requests enter, as `cluster/zone`.
    pub source: String,
    /// Who serves.
    pub shares: Shares,
    /// What is answered with 503.
    pub shed: Share,
    /// Who stands by, in order.
    pub standby: Arc<[Shares]>,
    /// Whether nothing that serves is healthy.
    pub last_resort: bool,
    /// One sentence per target that was looked at.
    pub reasons: Vec<String>,
}

/// A target that left a plan. It gets nothing new; what is in flight there finishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainView {
    /// The service.
    pub service: ServiceName,
    /// Where the requests entered, as `cluster/zone`.
    pub source: String,
    /// What they were sent to.
    pub target: Target,
    /// How long ago it left the plan.
    pub since_ms: u64,
    /// What remains of the policy's `drain.timeout`; what is in flight after it is pinned.
    pub remaining_ms: u64,
    /// Requests and connections in flight, over all gateways of the zone, as they told last.
    pub in_flight: u64,
}

/// What is in force at an agent: what a report of a drill says its measures are true of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InForceView {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its region, once manifests named it.
    pub region: Option<Region>,
    /// The version of Tidegate.
    pub tidegate: String,
    /// How often manifests were loaded.
    pub manifests_generation: u64,
    /// The number of the policy that the hub gave out and that is in force; 0 without a hub.
    pub policy: u64,
    /// Its version there: the commit, where the hub has it from Git, or a digest of the content. Not there without a hub, and while a
    /// newer one is being loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    /// The gateways that are connected: node id, and the version of its Envoy; at most 1000.
    pub gateways: BTreeMap<String, String>,
}

/// The way to another cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// The cluster.
    pub cluster: ClusterName,
    /// `Unheard`, `Reachable`, `Suspect` or `Unreachable`.
    pub state: String,
    /// One line per gateway address: its state and round trip.
    pub links: Vec<String>,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayView {
    /// Its node id.
    pub node: String,
    /// `NAMESPACE/NAME` of the gateway.
    pub gateway: String,
    /// Its zone.
    pub zone: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// `delta` or `sotw`.
    pub transport: String,
    /// What it refused and has not accepted since: it goes on with the version before.
    pub refused: Vec<RefusedView>,
    /// What it is not given because its Envoy cannot do it well, and what to do about that.
    #[serde(default)]
    pub withheld: Vec<String>,
}

/// A resource that a gateway refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedView {
    /// `cluster`, `endpoint`, `listener`, `route` or `secret`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The gateway's words.
    pub error: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it was made from: the objects and where each was written.
    pub behind: Vec<String>,
}

impl fmt::Display for RefusedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, error, behind, .. } = self;
        write!(f, "{kind} {name}: {error}")?;
        if behind.is_empty() { Ok(()) } else { write!(f, " (from {})", behind.join(", ")) }
    }
}

/// Why a service's traffic goes where it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The service.
    pub service: ServiceName,
    /// The agent's cluster.
    pub cluster: ClusterName,
    /// Its pools.
    pub pools: Vec<PoolView>,
    /// Its plans.
    pub plans: Vec<PlanView>,
    /// What clients ask for at each of the own zones; empty while no capacity is declared or nothing was measured.
    #[serde(default)]
    pub demand: Vec<DemandView>,
    /// The policy in force, each field with where it was written.
    pub policy: serde_json::Value,
    /// What of it the engine decides by, one sentence a field: its value, and who said so.
    #[serde(default)]
    pub rules: Vec<String>,
}

/// What clients ask for in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DemandView {
    /// The zone.
    pub zone: Zone,
    /// How much, as plans count with it.
    pub load: Load,
    /// How long ago it was measured last.
    pub age_ms: u64,
    /// Whether that is so long ago that its peak of the last hour stands for it.
    pub missing: bool,
}

impl Core {
    /// The pools: the own ones first.
    #[must_use]
    pub fn pool_views(&self, now: Time) -> Vec<PoolView> {
        let Some(engine) = self.engine() else { return Vec::new() };
        let own = engine.statuses(now).map(|status| pool_view(self.own(), &status, true, Fraction::ONE));
        let remote =
            engine.remote_pools().map(|it| pool_view(&it.cluster, &it.status, it.reachable, it.reach));
        own.chain(remote).collect()
    }

    /// The plans of all services.
    #[must_use]
    pub fn plan_views(&self) -> Vec<PlanView> {
        let Some(engine) = self.engine() else { return Vec::new() };
        engine.services().flat_map(|service| engine.plans(service)).map(plan_view).collect()
    }

    /// Why a service's traffic goes where it goes; `None` if it is unknown here.
    #[must_use]
    pub fn explain(&self, service: &ServiceName, now: Time) -> Option<Explanation> {
        let engine: &Engine = self.engine()?;
        let declared = self.config().services.get(service)?;
        Some(Explanation {
            service: service.clone(),
            cluster: self.own().clone(),
            pools: self.pool_views(now).into_iter().filter(|pool| pool.service == *service).collect(),
            plans: engine.plans(service).map(plan_view).collect(),
            demand: engine.demand_of(service, now).map(demand_view).collect(),
            policy: serde_json::to_value(&*declared.policy).unwrap_or_default(),
            rules: declared.policy.sentences(),
        })
    }
}

fn demand_view(demand: tidegate_engine::DemandView) -> DemandView {
    let age_ms = u64::try_from(demand.age.as_millis()).unwrap_or(u64::MAX);
    DemandView { zone: demand.zone, load: demand.load, age_ms, missing: demand.is_missing }
}

fn pool_view(cluster: &ClusterName, status: &PoolStatus, reachable: bool, reach: Fraction) -> PoolView {
    let part = |fraction: Fraction| f64::from(fraction.ppm()) / 1e6;
    PoolView {
        service: status.service.clone(),
        cluster: cluster.clone(),
        region: status.locality.region.clone(),
        zone: status.locality.zone.clone(),
        expected: status.expected,
        healthy: status.healthy,
        admit: part(status.admit),
        phase: status.phase,
        hold_remaining_ms: u64::try_from(status.hold_remaining.as_millis()).unwrap_or(u64::MAX),
        reachable,
        reach: part(reach),
    }
}

fn plan_view(plan: &Plan) -> PlanView {
    PlanView {
        service: plan.service.clone(),
        source: plan.source.to_string(),
        shares: plan.shares.clone(),
        shed: plan.shed,
        standby: Arc::clone(&plan.standby),
        last_resort: plan.last_resort,
        reasons: plan.reasons.iter().map(ToString::to_string).collect(),
    }
}
