//! Selectors of places: regions, zones and clusters by name, clusters by label.

use crate::{
    fields::{Field, Fields, Issues},
    read,
    yaml::Pos,
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_engine::Places;
use tidegate_model::{ClusterName, Region, Zone};

/// A place that an object names, to be looked up once the whole fleet is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mention {
    Region(Region),
    Zone(Zone),
    Cluster(ClusterName),
    /// A label that clusters have.
    Label(String, String),
    /// Labels that one cluster has all of.
    Labels(Labels),
}

/// Labels of a cluster.
pub(crate) type Labels = BTreeMap<String, String>;

/// Places by name, and by the labels of their cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selector {
    pub(crate) places: Places,
    /// All of them must be there.
    pub(crate) labels: Option<Labels>,
}

impl Selector {
    /// Whether nothing restricts it.
    pub(crate) fn is_empty(&self) -> bool {
        let Places { regions, zones, clusters } = &self.places;
        regions.is_empty() && zones.is_empty() && clusters.is_empty() && self.labels.is_none()
    }
}

/// The places that an object names, and where.
pub(crate) type Mentions = Vec<(Pos, Mention)>;

/// The fields `regions`, `zones`, `clusters` and `matchLabels`.
pub(crate) fn read(fields: &mut Fields<'_>, mentions: &mut Mentions, issues: &mut Issues) -> Selector {
    let regions = fields.values("regions", issues, read::name("region", Region::new));
    let zones = fields.values("zones", issues, read::name("zone", Zone::new));
    let clusters = fields.values("clusters", issues, read::name("cluster", ClusterName::new));
    let places = Places {
        regions: set(regions, Mention::Region, mentions),
        zones: set(zones, Mention::Zone, mentions),
        clusters: set(clusters, Mention::Cluster, mentions),
    };
    Selector { places, labels: read_labels(fields, mentions, issues) }
}

/// The field `matchLabels`, as label selectors of Kubernetes have it.
pub(crate) fn read_labels(
    fields: &mut Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<Labels> {
    fields.unsupported(&["matchExpressions"], issues);
    let at = fields.node("matchLabels")?.at;
    let path = fields.path_of("matchLabels");
    let before = issues.list.len();
    let entries = fields.entries("matchLabels", issues, read::any_text);
    if entries.is_empty() && issues.list.len() == before {
        let hint = "write the labels that a FleetCluster must have, for example `matchLabels: {tier: gold}`";
        issues.error(at, format!("{path} is empty"), hint);
    }
    let mut labels = Labels::new();
    for (key, value) in entries {
        let Some(value) = value else { continue };
        mentions.push((key.at, Mention::Label(key.name.clone(), value.clone())));
        labels.insert(key.name.clone(), value);
    }
    if labels.len() > 1 {
        mentions.push((at, Mention::Labels(labels.clone())));
    }
    Some(labels)
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
