//! One service, as it is explained here. Pure.

use super::picture::Picture;
use crate::view::{Explanation, PlanView, PoolView};
use serde_json::Value;
use std::time::Duration;
use tidegate_engine::{Origin, Shares};
use tidegate_model::{Share, Zone};
use tidegate_web::{
    compose::standing,
    model::{Event, Fleet, Place, PlanFacts, PolicyField, PoolFacts, ServiceFacts, ServiceRow},
};

/// The most fields of a policy that are shown.
const MAX_FIELDS: usize = 200;

pub(super) fn service(
    of: &Explanation,
    timeline: Vec<Event>,
    picture: &Picture,
    fleet: &Fleet,
    now_ms: u64,
) -> ServiceFacts {
    let row = fleet.services.iter().find(|it| it.name == of.service).cloned();
    let mut row = row.unwrap_or_else(|| unseen(of));
    row.changed_at_ms = timeline.first().map(|it| it.at_ms).or(row.changed_at_ms);
    let pool = |it: &PoolView| PoolFacts {
        capacity: picture
            .capacity
            .get(&(it.service.clone(), it.zone.clone()))
            .filter(|_| it.cluster == of.cluster)
            .cloned(),
        ..pool(it)
    };
    let mut policy = Vec::new();
    fields(&of.policy, "", &mut policy);
    ServiceFacts {
        row,
        pools: of.pools.iter().map(pool).collect(),
        plans: of.plans.iter().map(|it| plan(it, of)).collect(),
        timeline,
        policy,
        told_by: vec![(of.cluster.clone(), now_ms)],
        missing: Vec::new(),
    }
}

/// A service that no picture has yet.
fn unseen(of: &Explanation) -> ServiceRow {
    let sum = |each: fn(&PoolView) -> u32| of.pools.iter().map(each).sum();
    let worst = of.pools.iter().max_by_key(|it| standing(it.phase));
    let mut clusters: Vec<_> = of.pools.iter().map(|it| it.cluster.clone()).collect();
    clusters.sort();
    clusters.dedup();
    ServiceRow {
        name: of.service.clone(),
        standing: worst.map_or(tidegate_web::model::Standing::Unknown, |it| standing(it.phase)),
        phase: worst.map_or(tidegate_model::Phase::Empty, |it| it.phase),
        expected: sum(|it| it.expected),
        healthy: sum(|it| it.healthy),
        clusters,
        away_permille: 0,
        shed_permille: 0,
        at_risk: None,
        cannot_fail_over: None,
        rate: None,
        why: None,
        changed_at_ms: None,
    }
}

fn pool(it: &PoolView) -> PoolFacts {
    PoolFacts {
        region: it.region.clone(),
        place: Place { cluster: it.cluster.clone(), zone: Some(it.zone.clone()) },
        phase: it.phase,
        expected: it.expected,
        healthy: it.healthy,
        admit_permille: permille(it.admit),
        hold_remaining_ms: it.hold_remaining_ms,
        capacity: None,
        reachable: it.reachable,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of one, 0 to 1000")]
fn permille(part: f64) -> u32 {
    (part.clamp(0.0, 1.0) * 1000.0).round() as u32
}

fn plan(it: &PlanView, of: &Explanation) -> PlanFacts {
    let zone: Option<Zone> = it.source.split_once('/').and_then(|(_, zone)| zone.parse().ok());
    let permille = |share: Share| (share.parts() + 5) / 10;
    let shares = |shares: &Shares| -> Vec<(String, u32)> {
        shares.iter().map(|(target, share)| (target.to_string(), permille(*share))).collect()
    };
    PlanFacts {
        source: Place { cluster: of.cluster.clone(), zone },
        shares: shares(&it.shares),
        shed_permille: permille(it.shed),
        standby: it.standby.iter().map(shares).collect(),
        last_resort: it.last_resort,
        reasons: it.reasons.clone(),
    }
}

/// Whatever has a value and an origin is a field; what stands above it is its path.
fn fields(value: &Value, path: &str, found: &mut Vec<PolicyField>) {
    if found.len() >= MAX_FIELDS {
        return;
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) => {
            if let (Some(value), Some(origin)) = (object.get("value"), object.get("origin")) {
                let from = serde_json::from_value::<Origin>(origin.clone());
                let from = from.map_or_else(|_| "unknown".to_owned(), |it| it.to_string());
                found.push(PolicyField { field: path.to_owned(), value: text(value), from });
                return;
            }
            for (name, value) in object {
                fields(value, &below(name), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                fields(value, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn text(value: &Value) -> String {
    let duration = |value: &Value| {
        let (seconds, nanos) = (value.get("secs")?.as_u64()?, value.get("nanos")?.as_u64()?);
        Some(Duration::new(seconds, u32::try_from(nanos).ok()?))
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => duration(value).map_or_else(|| value.to_string(), tidegate_api::duration_text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_engine::Policy;

    #[test]
    fn a_policy_is_a_list_of_fields_each_with_who_said_so() {
        let mut found = Vec::new();
        fields(&serde_json::to_value(Policy::default()).unwrap(), "", &mut found);
        let hold = found.iter().find(|it| it.field == "failback.holdDown").unwrap();
        assert_eq!((hold.value.as_str(), hold.from.as_str()), ("30s", "default"), "{found:#?}");
    }
}
