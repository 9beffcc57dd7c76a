//! Why a service cannot fail over.

use super::{FleetService, FleetState, lost::Lost};
use crate::{
    plan::{Plan, Reason, Rule, Target},
    policy::Origin,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};
use tidegate_model::{ClusterName, Locality, Phase, Region};

/// Why nothing healthy serves somebody. Of several reasons the first in this order is told: what an edit of a policy
/// mends, then what a way between clusters mends, then what needs endpoints elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Why {
    /// Residency forbids what is healthy.
    Residency {
        /// What is healthy and forbidden.
        healthy: Vec<Place>,
        /// Where residency was written.
        origin: Origin,
    },
    /// The order ends before it comes to what is healthy.
    OrderEnds {
        /// What is healthy and not named.
        healthy: Vec<Place>,
        /// Where the order was written.
        origin: Origin,
    },
    /// What is healthy is out of reach for the source's cluster.
    Unreachable {
        /// What is healthy.
        healthy: Vec<Place>,
    },
    /// All its endpoints are in one zone.
    SingleZone {
        /// The zone.
        zone: Locality,
    },
    /// All its endpoints are in one of several clusters of a region.
    SingleCluster {
        /// The cluster.
        cluster: ClusterName,
    },
    /// All its endpoints are in one region.
    SingleRegion {
        /// The region.
        region: Region,
    },
    /// It is elsewhere too, but nothing there is healthy, or nothing is expected there.
    OthersDown {
        /// What is elsewhere, and how it stands.
        others: Vec<Place>,
    },
    /// It is served elsewhere, but whoever asked for it is lost with the place, and their clients come in nowhere else.
    CallersLost {
        /// What is healthy elsewhere.
        healthy: Vec<Place>,
    },
    /// Every place that has it is lost.
    NothingLeft,
}

/// A place that has pools of a service, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The place, as the source sees it.
    pub target: Target,
    /// Its region.
    pub region: Region,
    /// How it stands.
    pub phase: Phase,
}

impl Place {
    fn of(reason: &Reason) -> Self {
        Self { target: reason.target.clone(), region: reason.region.clone(), phase: reason.phase }
    }
}

/// What is healthy and forbidden to the source of `plan`.
pub(super) fn forbids(plan: &Plan) -> impl Iterator<Item = &Reason> {
    let healthy = plan.reasons.iter().filter(|reason| reason.healthy > 0 && reason.expected > 0);
    healthy.filter(|reason| matches!(reason.rule, Rule::Residency | Rule::NotInOrder))
}

/// Why nothing healthy serves the source of `plan`.
pub(super) fn of_source(state: &FleetState, service: &FleetService, plan: &Plan, lost: &Lost<'_>) -> Why {
    let by = |rule: Rule| {
        let found: Vec<&Reason> =
            plan.reasons.iter().filter(|it| it.rule == rule && it.healthy > 0).collect();
        let origin = found.first().map(|reason| reason.origin.clone())?;
        Some((found.into_iter().map(Place::of).collect::<Vec<_>>(), origin))
    };
    if let Some((healthy, origin)) = by(Rule::Residency) {
        Why::Residency { healthy, origin }
    } else if let Some((healthy, origin)) = by(Rule::NotInOrder) {
        Why::OrderEnds { healthy, origin }
    } else if let Some((healthy, _)) = by(Rule::Unreachable).or_else(|| by(Rule::LastResort)) {
        Why::Unreachable { healthy }
    } else {
        match of_all(state, service, lost) {
            // As this source sees it, which names whole clusters.
            Why::OthersDown { others } => {
                let gone = |place: &Place| match &place.target {
                    Target::Zone(zone) => lost.has(&plan.source.cluster, zone),
                    Target::Cluster(cluster) => {
                        !others.iter().any(|it| it.target == Target::Cluster(cluster.clone()))
                    }
                };
                let seen: Vec<Place> = plan.reasons.iter().map(Place::of).filter(|it| !gone(it)).collect();
                Why::OthersDown { others: if seen.is_empty() { others } else { seen } }
            }
            why => why,
        }
    }
}

/// Why nothing healthy serves anybody, told by where the service is.
pub(super) fn of_all(state: &FleetState, service: &FleetService, lost: &Lost<'_>) -> Why {
    let left = service.pools.iter().any(|((cluster, zone), it)| it.expected > 0 && !lost.has(cluster, zone));
    if !left {
        return single(state, service).unwrap_or(Why::NothingLeft);
    }
    let mut others: Vec<Place> = Vec::new();
    for ((cluster, zone), figures) in &service.pools {
        let Some(member) = state.clusters.get(cluster).filter(|_| !lost.has(cluster, zone)) else { continue };
        let target = Target::Cluster(cluster.clone());
        match others.iter_mut().find(|place| place.target == target) {
            Some(place) => place.phase = super::common_phase(place.phase, figures.phase),
            None => others.push(Place { target, region: member.region.clone(), phase: figures.phase }),
        }
    }
    Why::OthersDown { others }
}

/// Why nothing serves those who asked for it, now that no source of it is left.
pub(super) fn of_nobody(state: &FleetState, service: &FleetService, lost: &Lost<'_>) -> Why {
    match of_all(state, service, lost) {
        Why::OthersDown { others } => {
            let is_healthy = |place: &Place| {
                service.pools.iter().any(|((cluster, zone), it)| {
                    place.target == Target::Cluster(cluster.clone())
                        && it.healthy > 0
                        && !lost.has(cluster, zone)
                })
            };
            let healthy: Vec<Place> = others.iter().filter(|it| is_healthy(it)).cloned().collect();
            if healthy.is_empty() { Why::OthersDown { others } } else { Why::CallersLost { healthy } }
        }
        why => why,
    }
}

/// If all endpoints of a service are in one place: the smallest such place.
pub(super) fn single(state: &FleetState, service: &FleetService) -> Option<Why> {
    let pools = service.pools.iter().filter(|(_, figures)| figures.expected > 0);
    let places: BTreeSet<(Region, &ClusterName, Locality)> = pools
        .filter_map(|((cluster, zone), _)| {
            let region = state.clusters.get(cluster)?.region.clone();
            Some((region.clone(), cluster, Locality { region, zone: zone.clone() }))
        })
        .collect();
    let zones: BTreeSet<&Locality> = places.iter().map(|(_, _, zone)| zone).collect();
    let clusters: BTreeSet<&ClusterName> = places.iter().map(|(_, cluster, _)| *cluster).collect();
    let regions: BTreeSet<&Region> = places.iter().map(|(region, _, _)| region).collect();
    let region = regions.first().filter(|_| regions.len() == 1)?;
    if let (Some(zone), 1) = (zones.first(), zones.len()) {
        return Some(Why::SingleZone { zone: (*zone).clone() });
    }
    // In a region with one cluster, to name the region says more.
    let siblings = state.clusters.values().filter(|member| member.region == **region).count();
    match (clusters.first(), clusters.len()) {
        (Some(cluster), 1) if siblings > 1 => Some(Why::SingleCluster { cluster: (*cluster).clone() }),
        _ => Some(Why::SingleRegion { region: (*region).clone() }),
    }
}

/// One clause, without a full stop.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Residency { healthy, origin } => {
                write!(f, "residency forbids {} [{origin}]", with_regions(healthy))
            }
            Self::OrderEnds { healthy, origin } => {
                write!(f, "its order does not name {} [{origin}]", with_regions(healthy))
            }
            Self::Unreachable { healthy } => {
                write!(f, "{} is healthy but out of reach", with_regions(healthy))
            }
            Self::SingleZone { zone } => write!(f, "all its endpoints are in zone {}", zone.zone),
            Self::SingleCluster { cluster } => write!(f, "all its endpoints are in cluster {cluster}"),
            Self::SingleRegion { region } => write!(f, "all its endpoints are in region {region}"),
            Self::OthersDown { others } => {
                let each = others.iter().map(|it| match it.phase {
                    Phase::Empty => format!("{} has no endpoint", it.target),
                    phase => format!("{} is {phase}", it.target),
                });
                write!(f, "nothing else is healthy: {}", each.collect::<Vec<_>>().join(", "))
            }
            Self::CallersLost { healthy } => {
                write!(f, "its callers are lost with it; {} could serve them", with_regions(healthy))
            }
            Self::NothingLeft => f.write_str("every place that has it is lost"),
        }
    }
}

fn with_regions(places: &[Place]) -> String {
    let one = |place: &Place| match &place.target {
        Target::Cluster(cluster) if cluster.as_str() == place.region.as_str() => place.target.to_string(),
        target => format!("{target} ({})", place.region),
    };
    places.iter().map(one).collect::<Vec<_>>().join(", ")
}
