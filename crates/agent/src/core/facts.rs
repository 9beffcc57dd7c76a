//! Manifests in the engine's words.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate_api::{Config, Service};
use tidegate_engine::{EndpointFacts, NodeId};
use tidegate_model::{ClusterName, Region, Zone};

/// The endpoints of a service, with what is known of them before they are checked.
pub(super) fn facts(service: &Service) -> BTreeMap<SocketAddr, (Zone, EndpointFacts)> {
    let checked = service.policy.active_check.is_some();
    let endpoints = service.endpoints.iter();
    let facts = |it: &tidegate_api::Endpoint| EndpointFacts {
        ready: it.ready,
        terminating: it.terminating,
        checked,
        node: it.node.as_deref().map(NodeId::named),
        node_ready: it.node_ready,
    };
    endpoints.map(|(address, it)| (*address, (it.zone.clone(), facts(it)))).collect()
}

/// The other clusters, and the declared distances to their regions: what this cluster declares, else what the
/// other side declares of this region.
pub(super) fn topology(
    config: &Config,
    own: &ClusterName,
) -> (BTreeMap<ClusterName, Region>, BTreeMap<Region, Duration>) {
    let others = || config.clusters.iter().filter(|(name, _)| *name != own);
    let clusters = others().map(|(name, it)| (name.clone(), it.region.clone())).collect();
    (clusters, config.distances_from(own))
}
