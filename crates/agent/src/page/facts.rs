//! One service, as it is explained here. Pure.

use super::picture::Picture;
use crate::view::{Explanation, PlanView, PoolView};
use tidegate_engine::Shares;
use tidegate_model::Zone;
use tidegate_web::{
    compose::standing,
    model::{Event, Fleet, Place, PlanFacts, PolicyField, PoolFacts, ServiceFacts, ServiceRow},
};

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
    ServiceFacts {
        row,
        pools: of.pools.iter().map(pool).collect(),
        plans: of.plans.iter().map(|it| plan(it, of)).collect(),
        timeline,
        policy: of.rules.iter().map(|it| field(it)).collect(),
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
    let shares = |shares: &Shares| -> Vec<(String, u32)> {
        shares.iter().map(|(target, share)| (target.to_string(), share.parts())).collect()
    };
    PlanFacts {
        source: Place { cluster: of.cluster.clone(), zone },
        shares: shares(&it.shares),
        shed_permille: (it.shed.parts() + 5) / 10,
        standby: it.standby.iter().map(shares).collect(),
        last_resort: it.last_resort,
        reasons: it.reasons.clone(),
    }
}

/// A field of the policy, of the sentence that says it: `FIELD VALUE, by WHOM`.
fn field(sentence: &str) -> PolicyField {
    let (said, from) = sentence.rsplit_once(", by ").unwrap_or((sentence, "unknown"));
    let (field, value) = said.split_once(' ').unwrap_or((said, "as written"));
    PolicyField { field: field.to_owned(), value: value.to_owned(), from: from.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_of_the_policy_is_a_field_with_its_value_and_who_said_so() {
        let of = |sentence: &str| {
            let PolicyField { field, value, from } = field(sentence);
            [field, value, from]
        };
        assert_eq!(
            of("failback.ramp.steps 10 %, 50 %, 100 %, by FailoverPolicy shop/web at a.yaml:10"),
            ["failback.ramp.steps", "10 %, 50 %, 100 %", "FailoverPolicy shop/web at a.yaml:10"]
        );
        assert_eq!(of("failover[0], by default"), ["failover[0]", "as written", "default"]);
    }
}
