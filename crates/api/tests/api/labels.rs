//! Clusters selected by their labels.

use crate::load;
use tidegate_api::Loaded;
use tidegate_engine::{OrderRule, Policy, Tier};

const CLUSTERS: &str = "apiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster
metadata: {name: eu-1, labels: {tier: gold, jurisdiction: eu}}\nspec: {region: eu}
---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster
metadata: {name: eu-2, labels: {tier: silver, jurisdiction: eu}}\nspec: {region: eu}
---\napiVersion: tidegate.dev/v1alpha1\nkind: FleetCluster
metadata: {name: asia, labels: {tier: gold}}\nspec: {region: asia}
---\napiVersion: tidegate.dev/v1alpha1\nkind: FailoverPolicy\nmetadata: {name: web, namespace: shop}
spec:\n  targetRefs: [{kind: Service, name: web}]\n";

fn with(fields: &str) -> Loaded {
    load(&format!("{CLUSTERS}  {fields}\n"))
}

fn policy(fields: &str) -> Policy {
    let loaded = with(fields);
    loaded.config.services[&"shop/web".parse().unwrap()].policy.engine.clone()
}

fn rules(fields: &str) -> Vec<OrderRule> {
    policy(fields).failover.into_iter().map(|rule| rule.value).collect()
}

fn clusters(tier: &Tier) -> Vec<&str> {
    match tier {
        Tier::Only(places) | Tier::AnyExcept(places) | Tier::Weighted(places, _) => {
            places.clusters.iter().map(tidegate_model::ClusterName::as_str).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_tier_by_label_is_the_clusters_that_have_it() {
    let found = rules(
        "failover: [{to: [{type: Only, matchLabels: {tier: gold}}, {type: AnyExcept, matchLabels: {tier: gold}}]}]",
    );
    let to = &found[0].to;
    assert_eq!(clusters(&to[0]), ["asia", "eu-1"]);
    assert!(matches!(&to[1], Tier::AnyExcept(_)) && clusters(&to[1]) == ["asia", "eu-1"]);
    // All of the labels, and the names beside them.
    let both = rules("failover: [{to: [{type: Only, matchLabels: {tier: gold, jurisdiction: eu}}]}]");
    assert_eq!(clusters(&both[0].to[0]), ["eu-1"]);
    let named = rules("failover: [{to: [{type: Only, clusters: [asia, eu-2], matchLabels: {tier: gold}}]}]");
    assert_eq!(clusters(&named[0].to[0]), ["asia"]);
}

#[test]
fn labels_that_no_cluster_has_select_nothing_rather_than_everything() {
    let found = rules(
        "failover: [{to: [{type: Only, matchLabels: {tier: iron}}, {type: Only, clusters: [eu-2], matchLabels: {tier: gold}}, \
         {type: AnyExcept, matchLabels: {tier: iron}}]}]",
    );
    assert_eq!(found[0].to, [Tier::Any]);
    let from =
        rules("failover: [{from: {matchLabels: {tier: iron}}, to: [{type: Any}]}, {to: [{type: SameZone}]}]");
    assert_eq!(from.len(), 1);
    assert_eq!(from[0].to, [Tier::SameZone]);
    let loaded = with("residency: {matchLabels: {tier: iron}}");
    let only = loaded.config.services[&"shop/web".parse().unwrap()].policy.engine.residency.clone().unwrap();
    assert_eq!(only.value.clusters, Some([].into()));
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.problems[0].message, "no FleetCluster has the label tier: \"iron\"");
}

#[test]
fn residency_by_label_and_by_region_must_both_allow_a_place() {
    let only =
        policy("residency: {regions: [eu, asia], matchLabels: {jurisdiction: eu}}").residency.unwrap().value;
    let allows =
        |region: &str, cluster: &str| only.allows(&region.parse().unwrap(), &cluster.parse().unwrap());
    assert!(allows("eu", "eu-1") && allows("eu", "eu-2"));
    assert!(!allows("asia", "asia"), "it has not the label");
    assert!(!allows("us-east", "eu-1"), "it is not in the region");
    let by_label = policy("residency: {matchLabels: {jurisdiction: eu}}").residency.unwrap().value;
    assert_eq!((by_label.regions, by_label.clusters.unwrap().len()), (None, 2));
}
