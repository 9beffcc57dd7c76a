//! From what is known of each cluster to the picture of the fleet: what a hub and an agent do alike. Pure; times are passed in.
//!
//! A cluster is summed up when something of it changes ([`Summary::of`]); a picture only joins the sums, so that it costs what there
//! is to see, and not what there is to know.

mod attention;
mod foresight;
mod summary;

pub use foresight::{Risks, foreseen, foresight, merged, risks, shifted};
pub use summary::{PlanTold, PoolTold, Summary};

use crate::model::{
    ClusterFacts, ClusterState, DrillFacts, Fleet, Flow, GatewayFacts, PeerFacts, Place, PolicyFacts,
    RegionFacts, Scope, ServiceRow, ShiftFacts, Standing, ZoneFacts,
};
use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};
use summary::{Part, row};
use tidegate_model::{ClusterName, Phase, Region, ServiceName, Zone};

/// The most flows of one picture.
const MAX_FLOWS: usize = 2_000;

/// What is known of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterTold {
    /// Its name.
    pub name: ClusterName,
    /// Where it lies; nothing if nobody told.
    pub region: Option<Region>,
    /// Whether it is heard.
    pub state: ClusterState,
    /// When it was heard last.
    pub heard_at_ms: Option<u64>,
    /// The policy that it applied last.
    pub applied: u64,
    /// Why it is given none.
    pub held_back: Option<String>,
    /// Objects that it did not take, and why.
    pub rejected: Vec<(String, String)>,
    /// Its Envoys.
    pub gateways: Vec<GatewayFacts>,
    /// How it sees others.
    pub peers: Vec<PeerFacts>,
    /// What goes where.
    pub flows: Vec<FlowTold>,
    /// The shifts that it carries.
    pub shifts: Vec<ShiftFacts>,
    /// Its pools and plans.
    pub summary: Arc<Summary>,
}

/// What goes from a zone of the cluster to a place, a second.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowTold {
    /// Where it enters.
    pub zone: Zone,
    /// `zone NAME` or `cluster NAME`.
    pub target: String,
    /// How much.
    pub rate: f64,
    /// How much of it failed.
    pub failed: f64,
}

/// What belongs to no single cluster.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// Whose page it is.
    pub scope: Scope,
    /// Of the picture.
    pub version: u64,
    /// Now.
    pub at_ms: u64,
    /// Which services would not stand a loss; nothing while that is not known.
    pub risks: Option<&'a Risks>,
    /// Drills that run.
    pub drills: Vec<DrillFacts>,
    /// The policy.
    pub policy: PolicyFacts,
}

/// The picture.
#[must_use]
pub fn fleet(clusters: &[ClusterTold], around: Around<'_>) -> Fleet {
    let Around { scope, version, at_ms, risks, drills, policy } = around;
    let mut regions: BTreeMap<Region, Vec<ClusterFacts>> = BTreeMap::new();
    for told in clusters {
        let region = told.region.clone().unwrap_or_else(unknown);
        regions.entry(region).or_default().push(cluster(told));
    }
    let regions = regions.into_iter().map(|(name, mut clusters)| {
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        RegionFacts { name, clusters }
    });
    let mut fleet = Fleet {
        scope,
        version,
        at_ms,
        regions: regions.collect(),
        flows: flows(clusters),
        services: services(clusters, risks),
        shifts: shifts(clusters),
        drills,
        policy,
        attention: Vec::new(),
    };
    fleet.attention = attention::list(&fleet);
    fleet
}

/// Where clusters are put of which nobody told where they lie.
fn unknown() -> Region {
    Region::new("unknown").expect("letters only, which any name may have")
}

fn cluster(told: &ClusterTold) -> ClusterFacts {
    let is_old = is_old(told.state);
    let zone = |zone: &ZoneFacts| ZoneFacts {
        standing: if is_old { Standing::Unknown } else { zone.standing },
        ..zone.clone()
    };
    ClusterFacts {
        name: told.name.clone(),
        state: told.state,
        heard_at_ms: told.heard_at_ms,
        zones: told.summary.zones.iter().map(zone).collect(),
        gateways: told.gateways.clone(),
        peers: told.peers.clone(),
        applied: told.applied,
        held_back: told.held_back.clone(),
        rejected: told.rejected.clone(),
    }
}

const fn is_old(state: ClusterState) -> bool {
    matches!(state, ClusterState::Lost | ClusterState::Unheard | ClusterState::Revoked)
}

fn services(clusters: &[ClusterTold], risks: Option<&Risks>) -> Vec<ServiceRow> {
    let mut parts: HashMap<&ServiceName, Vec<(&ClusterTold, &Part)>> = HashMap::new();
    for told in clusters {
        for (service, part) in &told.summary.services {
            parts.entry(service).or_default().push((told, part));
        }
    }
    let mut rows: Vec<ServiceRow> =
        parts.into_iter().map(|(service, parts)| row(service, &parts, risks)).collect();
    rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// One shift is carried by many clusters, and told by each.
fn shifts(clusters: &[ClusterTold]) -> Vec<ShiftFacts> {
    let mut shifts: BTreeMap<(String, String), ShiftFacts> = BTreeMap::new();
    for (told, shift) in clusters.iter().flat_map(|told| told.shifts.iter().map(move |it| (told, it))) {
        match shifts.entry((shift.name.clone(), shift.by.clone())) {
            Entry::Vacant(vacant) => {
                vacant.insert(ShiftFacts { clusters: vec![told.name.clone()], ..shift.clone() });
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.clusters.push(told.name.clone());
                known.ends_at_ms = known.ends_at_ms.max(shift.ends_at_ms);
                known.refused.extend(shift.refused.iter().cloned());
                known.refused.sort();
                known.refused.dedup();
            }
        }
    }
    let mut shifts: Vec<ShiftFacts> = shifts.into_values().collect();
    shifts.sort_by(|a, b| (a.ends_at_ms, &a.name).cmp(&(b.ends_at_ms, &b.name)));
    shifts
}

/// What was measured, beside what plans say.
fn flows(clusters: &[ClusterTold]) -> Vec<Flow> {
    let standings: BTreeMap<Place, Standing> = clusters.iter().flat_map(standings).collect();
    let mut flows: BTreeMap<(Place, Place), Flow> = BTreeMap::new();
    for told in clusters {
        let key = |zone: &Zone, target: &str| {
            let from = Place { cluster: told.name.clone(), zone: Some(zone.clone()) };
            Some((from, place(&told.name, target)?))
        };
        let new = |(from, to): &(Place, Place)| Flow {
            from: from.clone(),
            to: to.clone(),
            rate: None,
            failed: None,
            services: 0,
            standing: standings.get(to).copied().unwrap_or(Standing::Unknown),
        };
        for ((zone, target), services) in &told.summary.planned {
            let Some(key) = key(zone, target) else { continue };
            let flow = new(&key);
            flows.entry(key).or_insert(flow).services += services;
        }
        for it in &told.flows {
            let Some(key) = key(&it.zone, &it.target) else { continue };
            let flow = new(&key);
            let flow = flows.entry(key).or_insert(flow);
            (flow.rate, flow.failed) = (Some(it.rate), Some(it.failed));
        }
    }
    let mut flows: Vec<Flow> = flows.into_values().collect();
    let much = |flow: &Flow| flow.rate.unwrap_or(0.0);
    flows.sort_by(|a, b| much(b).total_cmp(&much(a)).then(b.services.cmp(&a.services)));
    flows.truncate(MAX_FLOWS);
    flows
}

/// What a target of a plan of this cluster is.
pub(crate) fn place(own: &ClusterName, target: &str) -> Option<Place> {
    match target.split_once(' ')? {
        ("zone", zone) => Some(Place { cluster: own.clone(), zone: Some(zone.parse().ok()?) }),
        ("cluster", cluster) => Some(Place { cluster: cluster.parse().ok()?, zone: None }),
        _ => None,
    }
}

/// Of the zones of a cluster, and of all of it.
fn standings(told: &ClusterTold) -> Vec<(Place, Standing)> {
    let is_old = is_old(told.state);
    let of = |standing| if is_old { Standing::Unknown } else { standing };
    let place = |zone| Place { cluster: told.name.clone(), zone };
    let zones = &told.summary.zones;
    let mut all: Vec<_> = zones.iter().map(|it| (place(Some(it.name.clone())), of(it.standing))).collect();
    let worst = zones.iter().map(|it| it.standing).max().unwrap_or(Standing::Unknown);
    let is_out = !zones.is_empty() && zones.iter().all(|it| it.standing == Standing::Out);
    let whole = if worst == Standing::Out && !is_out { Standing::Reduced } else { worst };
    all.push((place(None), of(whole)));
    all
}

/// How a pool in this phase stands.
#[must_use]
pub const fn standing(phase: Phase) -> Standing {
    match phase {
        Phase::Serving | Phase::Empty => Standing::Good,
        Phase::Holding | Phase::Ramping => Standing::Recovering,
        Phase::Shifted => Standing::Shifted,
        Phase::Reduced => Standing::Reduced,
        Phase::Out => Standing::Out,
    }
}

#[cfg(test)]
mod tests;
