//! What is gone.

use super::{FleetState, Location};
use crate::plan::Source;
use tidegate_model::{ClusterName, Region, Zone};

/// The places that are gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost<'a> {
    state: &'a FleetState,
    locations: &'a [Location],
}

impl<'a> Lost<'a> {
    pub(super) const fn new(state: &'a FleetState, locations: &'a [Location]) -> Self {
        Self { state, locations }
    }

    /// Whether this zone of the cluster is gone. A cluster that the fleet does not know is nowhere.
    pub(super) fn has(&self, cluster: &ClusterName, zone: &Zone) -> bool {
        let region = self.state.clusters.get(cluster).map(|member| &member.region);
        region.is_some_and(|region| self.locations.iter().any(|it| covers(it, cluster, region, zone)))
    }

    pub(super) fn has_source(&self, source: &Source) -> bool {
        self.has(&source.cluster, &source.locality.zone)
    }
}

fn covers(location: &Location, cluster: &ClusterName, region: &Region, zone: &Zone) -> bool {
    match location {
        Location::Zone(lost) => lost.region == *region && lost.zone == *zone,
        Location::Cluster(lost) => lost == cluster,
        Location::Region(lost) => lost == region,
    }
}

/// Whether one of two places lies wholly in the other.
pub(super) fn overlap(state: &FleetState, a: &Location, b: &Location) -> bool {
    let region_of = |cluster: &ClusterName| state.clusters.get(cluster).map(|member| member.region.clone());
    let region = |location: &Location| match location {
        Location::Zone(locality) => Some(locality.region.clone()),
        Location::Cluster(cluster) => region_of(cluster),
        Location::Region(region) => Some(region.clone()),
    };
    let has_zone = |cluster: &ClusterName, zone: &Zone| {
        state.services.values().any(|service| {
            let pool = service.pools.keys().any(|(of, at)| of == cluster && at == zone);
            pool || service.demand.keys().any(|at| at.cluster == *cluster && at.locality.zone == *zone)
        })
    };
    match (a, b) {
        (Location::Region(_), _) | (_, Location::Region(_)) => region(a) == region(b),
        (Location::Cluster(cluster), Location::Zone(zone))
        | (Location::Zone(zone), Location::Cluster(cluster)) => {
            // Other clusters may be in the zone too; with one cluster to a region the pair adds nothing.
            region_of(cluster).as_ref() == Some(&zone.region) && has_zone(cluster, &zone.zone)
        }
        _ => a == b,
    }
}
