//! What is gone.

use super::{FleetState, Location};
use crate::plan::Source;
use std::collections::BTreeSet;
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

/// The places of a fleet and which zones of which clusters each of them covers. Of places that cover the same, only the
/// largest kind.
pub(super) fn distinct(state: &FleetState) -> Vec<(Location, BTreeSet<(ClusterName, Zone)>)> {
    let all = state.zones();
    let cover = |location: Location| {
        let lies_in = |(cluster, zone): &&(ClusterName, Zone)| {
            Lost::new(state, std::slice::from_ref(&location)).has(cluster, zone)
        };
        let covered: BTreeSet<_> = all.iter().filter(lies_in).cloned().collect();
        (location, covered)
    };
    let mut places: Vec<_> = state.locations().into_iter().map(cover).collect();
    let sets: Vec<_> = places.iter().map(|(_, covered)| covered.clone()).collect();
    let mut position = 0;
    places.retain(|(_, covered)| {
        position += 1;
        !sets[position..].contains(covered)
    });
    places
}
