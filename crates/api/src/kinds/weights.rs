//! `weights` of a tier: what part of what reaches it each of its named members is to have.

use crate::{
    fields::{Fields, Issues},
    nearest, read,
};
use std::{collections::BTreeMap, collections::BTreeSet, fmt::Display};
use tidegate_engine::{Places, Weights};

/// The highest weight: that of the Gateway API.
const MAX_WEIGHT: u32 = 1_000_000;

/// Reads `weights`, if they are there. They are for the one kind of places that the tier names.
pub(super) fn read(tier: &mut Fields<'_>, places: &Places, issues: &mut Issues) -> Option<Weights> {
    let at = tier.node("weights").map(|_| tier.key_at("weights"))?;
    let Places { regions, zones, clusters } = places;
    let kinds =
        usize::from(!regions.is_empty()) + usize::from(!zones.is_empty()) + usize::from(!clusters.is_empty());
    if kinds != 1 {
        let message =
            format!("{} needs exactly one of regions, zones and clusters beside it", tier.path_of("weights"));
        issues.error(
            at,
            message,
            "a weight is for one member: for example `clusters: [a, b], weights: {a: 90, b: 10}`",
        );
        return None;
    }
    if !regions.is_empty() {
        of(tier, regions, "region", issues).map(Weights::Regions)
    } else if !zones.is_empty() {
        of(tier, zones, "zone", issues).map(Weights::Zones)
    } else {
        of(tier, clusters, "cluster", issues).map(Weights::Clusters)
    }
}

fn of<T: Clone + Ord + Display>(
    tier: &mut Fields<'_>,
    members: &BTreeSet<T>,
    what: &str,
    issues: &mut Issues,
) -> Option<BTreeMap<T, u32>> {
    let (at, path) = (tier.key_at("weights"), tier.path_of("weights"));
    let before = issues.list.len();
    let names: BTreeMap<String, &T> = members.iter().map(|member| (member.to_string(), member)).collect();
    let mut weights = BTreeMap::new();
    for (key, weight) in tier.entries("weights", issues, read::integer(0..=MAX_WEIGHT)) {
        let Some(member) = names.get(&key.name) else {
            let hint = nearest::hint(&key.name, "members", names.keys().map(String::as_str));
            issues.error(key.at, format!("{path} names {:?}, which the tier does not", key.name), hint);
            continue;
        };
        weights.insert((*member).clone(), weight.unwrap_or(0));
    }
    if issues.list.len() > before {
        return None;
    }
    for missing in members.iter().filter(|member| !weights.contains_key(member)) {
        let hint = "give every member a weight; one of weight 0 stands by for the others";
        issues.error(at, format!("{path} lacks the {what} {missing}"), hint);
    }
    if !weights.is_empty() && weights.values().all(|weight| *weight == 0) {
        let hint = "give at least one member a weight above 0, or remove the weights";
        issues.error(at, format!("{path} are all 0"), hint);
    }
    (issues.list.len() == before).then_some(weights)
}
