//! Which pools a tier names, and in which order regions are asked.

use crate::{
    plan::{Source, Target},
    planner::{Candidate, Question},
    policy::{Places, Tier},
};
use std::time::Duration;

pub(crate) fn from_matches(from: &Places, source: &Source) -> bool {
    (from.regions.is_empty() || from.regions.contains(&source.locality.region))
        && (from.zones.is_empty() || from.zones.contains(&source.locality.zone))
        && (from.clusters.is_empty() || from.clusters.contains(&source.cluster))
}

/// Whether a place is among `places`. Another cluster is in a zone if it has a pool there: it is steered to as a whole.
fn places_name(places: &Places, candidate: &Candidate) -> bool {
    (places.regions.is_empty() || places.regions.contains(&candidate.region))
        && (places.clusters.is_empty() || places.clusters.contains(&candidate.cluster))
        && (places.zones.is_empty() || candidate.pools.keys().any(|zone| places.zones.contains(zone)))
}

pub(crate) fn tier_names(tier: &Tier, source: &Source, candidate: &Candidate) -> bool {
    match tier {
        Tier::SameZone => matches!(&candidate.target, Target::Zone(zone) if *zone == source.locality.zone),
        Tier::SameRegion => candidate.region == source.locality.region,
        Tier::Only(places) | Tier::Weighted(places, _) => places_name(places, candidate),
        Tier::AnyExcept(places) => !places_name(places, candidate),
        Tier::Any => true,
    }
}

/// Brings those of the nearest region first; the source's own region is nearest, regions of unknown distance come last,
/// in the order of their names.
pub(crate) fn sort_by_distance(named: &mut [usize], question: &Question<'_>) {
    named.sort_by_cached_key(|index| {
        let region = &question.candidates[*index].region;
        let distance = if *region == question.source.locality.region {
            Duration::ZERO
        } else {
            question.distances.get(region).copied().unwrap_or(Duration::MAX)
        };
        (distance, region)
    });
}
