//! Selectors of places: regions, zones and clusters by name.

use crate::{
    fields::{Field, Fields, Issues},
    read,
    yaml::Pos,
};
use std::collections::BTreeSet;
use tidegate_engine::Places;
use tidegate_model::{ClusterName, Region, Zone};

/// A place that an object names, to be looked up once the whole fleet is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mention {
    Region(Region),
    Zone(Zone),
    Cluster(ClusterName),
}

/// The places that an object names, and where.
pub(crate) type Mentions = Vec<(Pos, Mention)>;

/// The fields `regions`, `zones` and `clusters`.
pub(crate) fn read(fields: &mut Fields<'_>, mentions: &mut Mentions, issues: &mut Issues) -> Places {
    let regions = fields.values("regions", issues, read::name("region", Region::new));
    let zones = fields.values("zones", issues, read::name("zone", Zone::new));
    let clusters = fields.values("clusters", issues, read::name("cluster", ClusterName::new));
    Places {
        regions: set(regions, Mention::Region, mentions),
        zones: set(zones, Mention::Zone, mentions),
        clusters: set(clusters, Mention::Cluster, mentions),
    }
}

/// The names as a set, each noted as mentioned.
pub(crate) fn set<T: Clone + Ord>(
    names: Option<Field<Vec<Field<T>>>>,
    mention: impl Fn(T) -> Mention,
    mentions: &mut Mentions,
) -> BTreeSet<T> {
    let names = names.map(|field| field.value).unwrap_or_default();
    mentions.extend(names.iter().map(|name| (name.at, mention(name.value.clone()))));
    names.into_iter().map(|name| name.value).collect()
}

/// Whether nothing is named.
pub(crate) fn is_empty(places: &Places) -> bool {
    places.regions.is_empty() && places.zones.is_empty() && places.clusters.is_empty()
}
