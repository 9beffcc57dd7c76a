//! What a reference to a service becomes where several places serve it: references with weights.

use crate::subject::Subject;
use serde_json::{Value, json};
use tidegate_model::ClusterName;

/// The largest weight that the Gateway API allows.
const MAX_WEIGHT: u64 = 1_000_000;

/// A place that serves a part of a reference.
pub(crate) struct Part {
    /// `None`: this cluster's own service.
    pub(crate) cluster: Option<ClusterName>,
    /// Its part of its tier, in 1/10000.
    pub(crate) share: u32,
    /// Whether it is in the first tier.
    pub(crate) first: bool,
}

/// The places that serve a service, in order, those that cannot be reached left out.
pub(crate) fn parts(subject: &Subject<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    for (at, tier) in subject.order.tiers.iter().enumerate() {
        for (cluster, share) in tier {
            let own = cluster == subject.cluster;
            if own || !subject.gateways(cluster).is_empty() {
                let cluster = (!own).then(|| cluster.clone());
                parts.push(Part { cluster, share: *share, first: at == 0 });
            }
        }
    }
    if parts.is_empty() {
        // Nobody serves it now; its own service is where it will be.
        parts.push(Part { cluster: None, share: 10_000, first: true });
    }
    parts
}

/// The name of what stands for a service in another cluster.
pub(crate) fn name_of(subject: &Subject<'_>, namespace: &str, cluster: &ClusterName) -> String {
    let service = subject.name;
    match service.namespace() == namespace {
        true => format!("{}-{cluster}", service.name()),
        false => format!("{}-{}-{cluster}", service.namespace(), service.name()),
    }
}

/// The references of one rule: each with the parts that serve it, and what each part is written as. A rule with one reference of
/// one part keeps it to the letter.
pub(crate) fn weighted(references: &[(Value, Vec<(Value, u32)>)]) -> Vec<Value> {
    if let [(reference, parts)] = references
        && parts.len() == 1
    {
        let mut only = parts[0].0.clone();
        if let Some(weight) = reference.get("weight") {
            only["weight"] = weight.clone();
        }
        return vec![only];
    }
    let weight_of = |reference: &Value| reference["weight"].as_u64().unwrap_or(1);
    let mut all: Vec<(Value, u64)> = Vec::new();
    for (reference, parts) in references {
        let parts =
            parts.iter().map(|(value, share)| (value.clone(), weight_of(reference) * u64::from(*share)));
        all.extend(parts);
    }
    let divisor = all.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
    let most = all.iter().map(|(_, weight)| weight / divisor).max().unwrap_or(1);
    let scale = most.div_ceil(MAX_WEIGHT).max(1);
    let written = |(mut value, weight): (Value, u64)| {
        let small = weight / divisor / scale;
        // What had a weight keeps one.
        value["weight"] = if weight > 0 { json!(small.max(1)) } else { json!(0) };
        value
    };
    all.into_iter().map(written).collect()
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(references: &[(u64, &[u32])]) -> Vec<u64> {
        let parts = |parts: &[u32]| parts.iter().map(|share| (json!({}), *share)).collect();
        let references: Vec<(Value, Vec<(Value, u32)>)> =
            references.iter().map(|(weight, shares)| (json!({"weight": weight}), parts(shares))).collect();
        weighted(&references).iter().map(|it| it["weight"].as_u64().unwrap_or(u64::MAX)).collect()
    }

    #[test]
    fn weights_keep_their_ratios_as_small_numbers() {
        assert_eq!(weights(&[(7, &[10_000])]), [7]);
        assert_eq!(weights(&[(90, &[10_000]), (10, &[5_000, 5_000])]), [18, 1, 1]);
        assert_eq!(weights(&[(1, &[9_000, 1_000])]), [9, 1]);
        assert_eq!(weights(&[(0, &[10_000]), (1, &[10_000])]), [0, 1]);
        let large = weights(&[(1_000_000, &[9_999, 1])]);
        assert!(large.iter().all(|weight| (1..=MAX_WEIGHT).contains(weight)), "{large:?}");
    }
}
