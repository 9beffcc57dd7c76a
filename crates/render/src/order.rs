//! Who serves whom, in which order, while everything is healthy: the planner's answer in a form that targets can be told.

use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::{Plan, Source, Target};
use tidegate_model::{ClusterName, Share, Zone};

/// The order of a service for the callers of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// Tiers of clusters, this one among them, with their parts of what reaches the tier, in 1/10000.
    pub(crate) tiers: Vec<BTreeMap<ClusterName, u32>>,
    /// How callers divide over the zones of this cluster, by the zone that they are in; in 1/10000.
    pub(crate) zones: BTreeMap<Zone, BTreeMap<Zone, u32>>,
    /// The healthy endpoints of each zone of this cluster.
    healthy: BTreeMap<Zone, u32>,
    /// Whether the callers of different zones have different orders of clusters.
    pub(crate) differs: bool,
    /// Whether another cluster comes between the zones of this one.
    pub(crate) interleaved: bool,
}

/// How callers divide over the zones of their cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zonal {
    /// Their own zone, if it has endpoints.
    Own,
    /// All, whatever their zone.
    Any,
    /// Otherwise: by weights.
    Weighted,
}

impl Order {
    pub(crate) fn new(own: &ClusterName, plans: &BTreeMap<Source, Plan>) -> Self {
        let mut order = Self::default();
        for (source, plan) in plans.iter().filter(|(source, _)| source.cluster == *own) {
            let (tiers, interleaved) = clusters(own, plan);
            if order.tiers.is_empty() {
                order.tiers = tiers;
            } else if order.tiers != tiers {
                order.differs = true;
            }
            order.interleaved |= interleaved;
            for reason in &plan.reasons {
                if let Target::Zone(zone) = &reason.target {
                    order.healthy.insert(zone.clone(), reason.healthy);
                }
            }
            let first = std::iter::once(&plan.shares).chain(plan.standby.iter());
            let mut zones = first.map(|shares| {
                let zone = |(target, share): (&Target, &Share)| match target {
                    Target::Zone(zone) => Some((zone.clone(), share.parts())),
                    Target::Cluster(_) => None,
                };
                shares.iter().filter_map(zone).collect::<BTreeMap<_, _>>()
            });
            if let Some(zones) = zones.find(|zones| !zones.is_empty()) {
                order.zones.insert(source.locality.zone.clone(), zones);
            }
        }
        order
    }

    /// The clusters other than `own` that serve at all.
    pub(crate) fn others<'o>(&'o self, own: &'o ClusterName) -> impl Iterator<Item = &'o ClusterName> {
        self.tiers.iter().flat_map(BTreeMap::keys).filter(move |name| *name != own)
    }

    pub(crate) fn zonal(&self) -> Zonal {
        let with_endpoints: BTreeSet<&Zone> = self.zones.values().flat_map(BTreeMap::keys).collect();
        let own = |(from, to): (&Zone, &BTreeMap<Zone, u32>)| {
            !with_endpoints.contains(from) || (to.len() == 1 && to.contains_key(from))
        };
        if self.zones.iter().all(own) {
            return Zonal::Own;
        }
        match self.zones.values().all(|division| self.is_by_endpoints(division)) {
            true => Zonal::Any,
            false => Zonal::Weighted,
        }
    }

    /// Whether every zone has its part by its endpoints, so that no zone matters; rounding aside.
    fn is_by_endpoints(&self, division: &BTreeMap<Zone, u32>) -> bool {
        let whole = |numbers: &mut dyn Iterator<Item = u32>| numbers.map(u64::from).sum::<u64>().max(1);
        let endpoints = whole(&mut self.healthy.values().copied());
        let parts = whole(&mut division.values().copied());
        self.healthy.iter().all(|(zone, healthy)| {
            let has = u64::from(division.get(zone).copied().unwrap_or(0)) * 10_000 / parts;
            has.abs_diff(u64::from(*healthy) * 10_000 / endpoints) <= 2
        })
    }
}

/// The tiers of a plan as clusters, each cluster in its first tier; whether the own one is in several that do not follow each
/// other.
fn clusters(own: &ClusterName, plan: &Plan) -> (Vec<BTreeMap<ClusterName, u32>>, bool) {
    let mut seen: BTreeSet<ClusterName> = BTreeSet::new();
    let (mut tiers, mut interleaved, mut left) = (Vec::new(), false, false);
    for shares in std::iter::once(&plan.shares).chain(plan.standby.iter()) {
        let mut tier: BTreeMap<ClusterName, u32> = BTreeMap::new();
        for (target, share) in shares.iter() {
            let cluster = match target {
                Target::Zone(_) => own,
                Target::Cluster(cluster) => cluster,
            };
            interleaved |= cluster == own && left;
            if !seen.contains(cluster) {
                *tier.entry(cluster.clone()).or_default() += share.parts();
            }
        }
        left |= seen.contains(own) && !tier.is_empty();
        seen.extend(tier.keys().cloned());
        if !tier.is_empty() {
            tiers.push(tier);
        }
    }
    (tiers, interleaved)
}
