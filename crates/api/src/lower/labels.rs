//! Labels of clusters, resolved: what selects places by label becomes the clusters that have them, so that nothing below
//! knows of labels. All clusters of the fleet are in every cluster's manifests, so all agents resolve alike.

use super::fleet::Clusters;
use crate::kinds::{LabelledRegions, RawRule, RawTier, Selector};
use std::collections::BTreeSet;
use tidegate_engine::{OrderRule, Places, Residency, Tier};
use tidegate_model::ClusterName;

/// The rule as the engine has it; `None` if no cluster is among its callers.
pub(super) fn rule(raw: &RawRule, clusters: &Clusters) -> Option<OrderRule> {
    let from = places(&raw.from, clusters)?;
    Some(OrderRule { from, to: raw.to.iter().filter_map(|raw| tier(raw, clusters)).collect() })
}

/// The places that may serve.
pub(super) fn residency(raw: &LabelledRegions, clusters: &Clusters) -> Residency {
    let LabelledRegions { regions, labels } = raw;
    Residency { regions: regions.clone(), clusters: labels.as_ref().map(|labels| matching(labels, clusters)) }
}

/// `None` if no cluster is in it.
fn tier(raw: &RawTier, clusters: &Clusters) -> Option<Tier> {
    Some(match raw {
        RawTier::Plain(tier) => tier.clone(),
        RawTier::Only(selector, None) => Tier::Only(places(selector, clusters)?),
        RawTier::Only(selector, Some(weights)) => {
            Tier::Weighted(places(selector, clusters)?, weights.clone())
        }
        RawTier::AnyExcept(selector) => places(selector, clusters).map_or(Tier::Any, Tier::AnyExcept),
    })
}

/// The selector with its labels as clusters; `None` if it selects nothing. An empty set of clusters would select all.
fn places(selector: &Selector, clusters: &Clusters) -> Option<Places> {
    let Some(labels) = &selector.labels else { return Some(selector.places.clone()) };
    let named = &selector.places.clusters;
    let mut found = matching(labels, clusters);
    found.retain(|cluster| named.is_empty() || named.contains(cluster));
    (!found.is_empty()).then(|| Places { clusters: found, ..selector.places.clone() })
}

/// The clusters that have all of the labels.
fn matching(labels: &crate::kinds::Labels, clusters: &Clusters) -> BTreeSet<ClusterName> {
    let has_all = |of: &crate::kinds::Labels| labels.iter().all(|(key, value)| of.get(key) == Some(value));
    clusters.iter().filter(|(_, cluster)| has_all(&cluster.labels)).map(|(name, _)| name.clone()).collect()
}
