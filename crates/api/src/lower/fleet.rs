//! The clusters of the fleet, and whether the places that objects name exist in it.

use super::{of_kind, warning_in};
use crate::{
    config::FleetCluster,
    kinds::{Labels, Mention, Spec},
    nearest,
    object::Object,
    problem::Problem,
    yaml::Pos,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_model::{ClusterName, Zone};

pub(super) type Clusters = BTreeMap<ClusterName, FleetCluster>;

pub(super) fn lower(own: &ClusterName, objects: &[&Arc<Object>], problems: &mut Vec<Problem>) -> Clusters {
    let clusters: Clusters = of_kind(objects, Spec::cluster)
        .map(|(object, spec)| {
            let cluster = FleetCluster {
                region: spec.region.clone(),
                east_west_gateways: spec.east_west_gateways.clone(),
                named_gateways: spec.named_gateways.clone(),
                proximity: spec.proximity.clone(),
                rollout_wave: spec.rollout_wave,
                labels: spec.labels.clone(),
                origin: object.origin(object.at),
            };
            (spec.name.clone(), cluster)
        })
        .collect();
    if !clusters.contains_key(own) {
        let known = clusters.keys().map(ClusterName::as_str);
        let hint = if clusters.is_empty() {
            format!(
                "add `kind: FleetCluster` with `metadata: {{name: {own}}}` and its region; there is none yet"
            )
        } else {
            let near = nearest::hint(own.as_str(), "clusters", known);
            format!("add it, or start the agent with the name of its cluster; {near}")
        };
        let message =
            format!("there is no FleetCluster {:?}, which is this agent's own cluster", own.as_str());
        problems.push(Problem::of_file("", message, hint));
    }
    clusters
}

/// Warns of places that nothing else knows; `zones` are those of the own endpoints. They may come later, so what names them stays in force.
pub(super) fn check_mentions<'z>(
    objects: &[&Arc<Object>],
    clusters: &Clusters,
    zones: impl Iterator<Item = &'z Zone>,
    problems: &mut Vec<Problem>,
) {
    if clusters.is_empty() {
        // Told already, and every name would be unknown.
        return;
    }
    let regions: BTreeSet<&str> = clusters.values().map(|cluster| cluster.region.as_str()).collect();
    let names: BTreeSet<&str> = clusters.keys().map(ClusterName::as_str).collect();
    // The zones of other clusters are in their manifests, not in these.
    let zones: Option<BTreeSet<&str>> = (clusters.len() == 1).then(|| zones.map(Zone::as_str).collect());
    for &object in objects {
        let mentions = match &object.spec {
            Spec::Cluster(spec) => &spec.mentions,
            Spec::Policy(spec) => &spec.mentions,
            Spec::Profile(spec) => &spec.mentions,
            Spec::Shift(spec) => &spec.mentions,
            Spec::Drill(spec) => &spec.mentions,
            _ => continue,
        };
        for (at, mention) in mentions {
            let (name, what, known, source) = match mention {
                Mention::Labels(labels) => {
                    problems.extend(never_together(object, *at, labels, clusters));
                    continue;
                }
                Mention::Label(key, value) => {
                    problems.extend(unknown_label(object, *at, (key, value), clusters));
                    continue;
                }
                Mention::Region(region) => (region.as_str(), "region", Some(&regions), "FleetCluster"),
                Mention::Cluster(cluster) => (cluster.as_str(), "cluster", Some(&names), "FleetCluster"),
                Mention::Zone(zone) => (zone.as_str(), "zone", zones.as_ref(), "EndpointSlice"),
            };
            if let Some(known) = known.filter(|known| !known.contains(name)) {
                let message = format!("no {source} knows the {what} {name:?}");
                let hint = nearest::hint(name, &format!("{what}s"), known.iter().copied());
                problems.push(warning_in(object, *at, message, hint));
            }
        }
    }
}

/// Warns of labels that clusters have, but none has together.
fn never_together(object: &Object, at: Pos, labels: &Labels, clusters: &Clusters) -> Option<Problem> {
    let has =
        |cluster: &FleetCluster, (key, value): (&String, &String)| cluster.labels.get(key) == Some(value);
    let known = labels.iter().all(|label| clusters.values().any(|cluster| has(cluster, label)));
    let together = clusters.values().any(|cluster| labels.iter().all(|label| has(cluster, label)));
    let hint = "a cluster must have all labels of matchLabels; write a tier for each, or a label that all of them have";
    (known && !together).then(|| warning_in(object, at, "no FleetCluster has all of these labels", hint))
}

/// Warns of a label that no cluster has, or none with this value.
fn unknown_label(
    object: &Object,
    at: Pos,
    (key, value): (&str, &str),
    clusters: &Clusters,
) -> Option<Problem> {
    let labels = || clusters.values().flat_map(|cluster| &cluster.labels);
    let values: BTreeSet<&str> =
        labels().filter(|(known, _)| *known == key).map(|(_, it)| it.as_str()).collect();
    if values.contains(value) {
        return None;
    }
    if values.is_empty() {
        let keys: BTreeSet<&str> = labels().map(|(known, _)| known.as_str()).collect();
        let hint = nearest::hint(key, "labels", keys);
        return Some(warning_in(object, at, format!("no FleetCluster has the label {key:?}"), hint));
    }
    let hint = nearest::hint(value, "values", values);
    Some(warning_in(object, at, format!("no FleetCluster has the label {key}: {value:?}"), hint))
}
