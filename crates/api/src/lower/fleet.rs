//! The clusters of the fleet, and whether the places that objects name exist in it.

use super::{of_kind, warning_in};
use crate::{
    config::{FleetCluster, Service},
    kinds::{Mention, Spec},
    nearest,
    object::Object,
    problem::Problem,
};
use std::collections::{BTreeMap, BTreeSet};
use tidegate_model::{ClusterName, ServiceName};

type Clusters = BTreeMap<ClusterName, FleetCluster>;

pub(super) fn lower(own: &ClusterName, objects: &[&Object], problems: &mut Vec<Problem>) -> Clusters {
    let clusters: Clusters = of_kind(objects, Spec::cluster)
        .map(|(object, spec)| {
            let cluster = FleetCluster {
                region: spec.region.clone(),
                east_west_gateways: spec.east_west_gateways.clone(),
                proximity: spec.proximity.clone(),
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

/// Warns of places that nothing else knows. They may come later, so what names them stays in force.
pub(super) fn check_mentions(
    objects: &[&Object],
    clusters: &Clusters,
    services: &BTreeMap<ServiceName, Service>,
    problems: &mut Vec<Problem>,
) {
    if clusters.is_empty() {
        // Told already, and every name would be unknown.
        return;
    }
    let regions: BTreeSet<&str> = clusters.values().map(|cluster| cluster.region.as_str()).collect();
    let names: BTreeSet<&str> = clusters.keys().map(ClusterName::as_str).collect();
    // The zones of other clusters are in their manifests, not in these.
    let zones: Option<BTreeSet<&str>> = (clusters.len() == 1).then(|| {
        let endpoints = services.values().flat_map(|service| service.endpoints.values());
        endpoints.map(|endpoint| endpoint.zone.as_str()).collect()
    });
    for &object in objects {
        let mentions = match &object.spec {
            Spec::Cluster(spec) => &spec.mentions,
            Spec::Policy(spec) => &spec.mentions,
            Spec::Profile(spec) => &spec.mentions,
            Spec::Shift(spec) => &spec.mentions,
            _ => continue,
        };
        for (at, mention) in mentions {
            let (name, what, known, source) = match mention {
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
