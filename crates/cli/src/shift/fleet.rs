//! What a shift would do, as the hub hears it: every agent says it of the callers of its own cluster, and together that is the fleet.
//!
//! What one cluster's callers bring to a pool is added to what the others' bring. Losses are put together by what each agent sees: a
//! pool that only all callers together would overload is seen in what the pools carry, and in no single agent's losses.

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, btree_map::Entry};
use tidegate_agent::{LossView, ShiftPreview};
use tidegate_engine::{Contingency, LocationLoad, PoolLoad, ServiceOutcome, Unit};
use tidegate_model::{ClusterName, ServiceName};

/// What the hub answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answers {
    /// By the cluster whose agent says it.
    clusters: BTreeMap<ClusterName, ShiftPreview>,
    /// Who could not be asked, and why.
    pub(super) missing: BTreeMap<ClusterName, String>,
}

impl Answers {
    /// All of them as one.
    pub(super) fn together(self) -> Result<ShiftPreview> {
        let missing = self.missing;
        let whole = self.clusters.into_values().reduce(|mut whole, other| {
            whole.shift.refused.extend(other.shift.refused);
            whole.shift.refused.sort();
            whole.shift.refused.dedup();
            join_moves(&mut whole.moves, other.moves);
            join_losses(&mut whole.losses, other.losses);
            whole
        });
        whole.ok_or_else(|| match missing.first_key_value() {
            Some((cluster, why)) => anyhow!("no agent could say what it does: {cluster}: {why}"),
            None => anyhow!("no agent is connected to the hub\n  hint: tidegate cluster list says who is"),
        })
    }
}

fn join_moves(whole: &mut Contingency, other: Contingency) {
    // Loads in rates and in endpoints are not added up, so a service that is told in both stands there twice.
    let key = |it: &ServiceOutcome| (it.service.clone(), it.unit == Unit::Endpoints);
    let mut services: BTreeMap<(ServiceName, bool), ServiceOutcome> =
        std::mem::take(&mut whole.services).into_iter().map(|it| (key(&it), it)).collect();
    for service in other.services {
        match services.entry(key(&service)) {
            Entry::Vacant(entry) => drop(entry.insert(service)),
            Entry::Occupied(mut entry) => join_service(entry.get_mut(), service),
        }
    }
    whole.services = services.into_values().collect();
    for load in other.locations {
        match whole.locations.iter_mut().find(|it| it.location == load.location) {
            Some(known) => join_location(known, &load),
            None => whole.locations.push(load),
        }
    }
    whole.stranded.extend(other.stranded);
    whole.forbidden.extend(other.forbidden);
}

/// Each agent knows the sources of its own cluster, and all pools that these may use.
fn join_service(whole: &mut ServiceOutcome, other: ServiceOutcome) {
    whole.fate = whole.fate.max(other.fate);
    whole.shed = whole.shed.saturating_add(other.shed);
    whole.sources.extend(other.sources);
    whole.sources.sort_by(|a, b| a.source.cmp(&b.source));
    for pool in other.pools {
        let is_it = |it: &&mut PoolLoad| (&it.cluster, &it.locality) == (&pool.cluster, &pool.locality);
        match whole.pools.iter_mut().find(is_it) {
            Some(known) => join_pool(known, &pool),
            None => whole.pools.push(pool),
        }
    }
}

fn join_pool(whole: &mut PoolLoad, other: &PoolLoad) {
    whole.before = whole.before.saturating_add(other.before);
    whole.after = whole.after.saturating_add(other.after);
    whole.utilization_before = sum(whole.utilization_before, other.utilization_before);
    whole.utilization_after = sum(whole.utilization_after, other.utilization_after);
    let grown = u128::from(whole.after) * 1_000_000;
    whole.factor = match grown.checked_div(u128::from(whole.before)) {
        Some(factor) => Some(u64::try_from(factor).unwrap_or(u64::MAX)),
        // What carried nothing each agent compares with an even spread.
        None => whole.factor.max(other.factor),
    };
}

fn join_location(whole: &mut LocationLoad, other: &LocationLoad) {
    let both = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
    whole.endpoints = both(whole.endpoints, other.endpoints);
    whole.rate = both(whole.rate, other.rate);
    whole.utilization = match (whole.utilization, other.utilization) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    };
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

fn join_losses(whole: &mut Vec<LossView>, other: Vec<LossView>) {
    for loss in other {
        match whole.iter_mut().find(|it| it.lost == loss.lost) {
            Some(known) => {
                known.stranded_before.extend(loss.stranded_before);
                known.stranded.extend(loss.stranded);
                known.overloaded_before.extend(loss.overloaded_before);
                known.overloaded.extend(loss.overloaded);
            }
            None => whole.push(loss),
        }
    }
    whole.sort_by(|a, b| a.lost.cmp(&b.lost));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As the agent of a cluster with one zone says it of `shop/web`, whose pools are in `a` and `b`.
    fn said_by(cluster: &str, (before, after): (u64, u64), stranded: &[&str]) -> serde_json::Value {
        let at = |zone: &str| json!({ "region": "us", "zone": zone });
        let pool = |name: &str, before: u64, after: u64| {
            json!({
                "cluster": name, "locality": at(&format!("{name}-1")), "lost": false, "before": before, "after": after,
                "factor": 1_000_000, "utilizationBefore": before, "utilizationAfter": after,
            })
        };
        let source = json!({
            "source": { "cluster": cluster, "locality": at(&format!("{cluster}-1")) }, "lost": false, "before": {}, "after": {}, "shed": 0,
            "lastResort": false, "demandBefore": before, "demandAfter": before, "movesTo": [],
        });
        json!({
            "shift": {
                "name": "zone-a-1", "awayFrom": "zone us/a-1", "percent": 100, "remainingMs": 1, "by": "operator",
                "comment": "x", "force": false, "refused": stranded,
            },
            "moves": {
                "lost": [], "clients": "move", "holds": true, "locations": [], "stranded": [], "forbidden": [],
                "services": [{
                    "service": "shop/web", "fate": "failsOver", "unit": "rate", "sources": [source], "shed": 0,
                    "pools": [pool("a", before, 0), pool("b", 100, after)],
                }],
            },
            "losses": [{
                "lost": "cluster/b", "strandedBefore": [], "stranded": stranded, "overloadedBefore": [], "overloaded": [],
            }],
        })
    }

    #[test]
    fn what_each_clusters_callers_bring_to_a_pool_is_added_up() {
        let answers = json!({
            "clusters": { "a": said_by("a", (300, 400), &["shop/web"]), "b": said_by("b", (200, 300), &[]) },
            "missing": { "c": "its agent is not connected" },
        });
        let answers: Answers = serde_json::from_value(answers).unwrap();
        let whole = answers.together().unwrap();
        let service = &whole.moves.services[0];
        assert_eq!((whole.moves.services.len(), service.sources.len()), (1, 2));
        let loads: Vec<_> =
            service.pools.iter().map(|it| (it.before, it.after, it.utilization_after)).collect();
        assert_eq!(loads, [(500, 0, Some(0)), (200, 700, Some(700))]);
        assert_eq!(service.pools[1].factor, Some(3_500_000));
        assert_eq!((whole.losses.len(), whole.losses[0].stranded.len()), (1, 1));
        assert!(whole.losses[0].is_worse() && whole.shift.refused.len() == 1);
    }

    #[test]
    fn nobody_who_answers_is_no_answer() {
        let missing = BTreeMap::from([("c".parse().unwrap(), "its agent is not connected".to_owned())]);
        let error = Answers { clusters: BTreeMap::new(), missing }.together().unwrap_err();
        assert!(error.to_string().contains("c: its agent is not connected"), "{error}");
    }
}
