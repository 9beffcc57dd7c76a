//! What holds for whatever the engine was told (DESIGN, section 4, invariants).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tidegate_engine::{
    Decision, Effects, Engine, Plan, Saved, Shares, Source, Target, WhenExhausted, explain_moves,
};
use tidegate_model::{ClusterName, Fraction, Phase, PoolStatus, Region, ServiceName, Share, Time};

/// What of the plans gateways are told.
type Plans = BTreeMap<(ServiceName, Source), (Shares, Share, Arc<[Shares]>, bool)>;

/// What gateways and peers know of an engine: what must be told when it changes.
#[derive(Default)]
pub(crate) struct Known {
    plans: Plans,
    /// Without what remains of hold-downs, which passes by itself.
    statuses: Vec<PoolStatus>,
}

impl Known {
    pub(crate) fn of(engine: &Engine, now: Time) -> Self {
        let plans = engine.services().flat_map(|name| engine.plans(name)).map(|plan| {
            let told = (plan.shares.clone(), plan.shed, plan.standby.clone(), plan.last_resort);
            ((plan.service.clone(), plan.source.clone()), told)
        });
        let lasting = |it: PoolStatus| PoolStatus { hold_remaining: Default::default(), ..it };
        Self { plans: plans.collect(), statuses: engine.statuses(now).map(lasting).collect() }
    }
}

/// What an event brought says all that changed, and nothing that is not so. What is known now.
pub(crate) fn told(before: &Known, effects: &Effects, engine: &Engine, now: Time) -> Known {
    let after = Known::of(engine, now);
    for (key, plan) in &after.plans {
        let same = before.plans.get(key) == Some(plan);
        assert!(same || effects.changed.contains(&key.0), "a plan changed, and nobody is told: {plan:#?}");
    }
    for (service, _) in before.plans.keys().filter(|key| !after.plans.contains_key(*key)) {
        let is_told = effects.changed.contains(service) || effects.removed.contains(service);
        assert!(is_told, "a plan of {service} is gone, and nobody is told");
    }
    let untold = |known: &Known| -> Vec<PoolStatus> {
        let statuses = known.statuses.iter().filter(|it| !effects.statuses_changed.contains(&it.service));
        statuses.cloned().collect()
    };
    assert_eq!(untold(before), untold(&after), "peers are not told");
    let mut last: BTreeMap<(ServiceName, Source), &Plan> = BTreeMap::new();
    for decision in &effects.decisions {
        if let Decision::Plan { after, .. } = decision {
            last.insert((after.service.clone(), after.source.clone()), after);
        }
    }
    for (key, told) in last {
        let now = after.plans.get(&key).map(|(shares, ..)| shares);
        assert!(now.is_none_or(|shares| *shares == told.shares), "what was told is not in force: {told:#?}");
    }
    after
}

/// People can be told what was decided and why.
pub(crate) fn explained(engine: &Engine, effects: &[Effects]) {
    for decision in effects.iter().flat_map(|it| &it.decisions) {
        let sentence = match decision {
            Decision::Plan { before, after } => {
                explain_moves(before.as_ref().unwrap_or(&Shares::default()), after)
            }
            Decision::Location(decision) => decision.to_string(),
            Decision::Shift(decision) => decision.to_string(),
            Decision::Pool { .. } | Decision::Endpoint { .. } => continue,
        };
        assert!(!sentence.is_empty(), "{decision:?}");
    }
    for plan in engine.services().flat_map(|name| engine.plans(name)) {
        assert!(!plan.to_string().is_empty() && plan.reasons.iter().all(|it| !it.to_string().is_empty()));
    }
}

/// All that an engine shows holds together.
pub(crate) fn engine(engine: &Engine, now: Time) {
    let mut healthy = healthy_at(engine, now);
    for name in engine.services() {
        let planned: BTreeSet<&Source> = engine.plans(name).map(|plan| &plan.source).collect();
        assert_eq!(planned, engine.fleet().sources.iter().collect(), "one plan for each source of {name}");
        let healthy = healthy.remove(name).unwrap_or_default();
        engine.plans(name).for_each(|plan| hold_plan(engine, plan, &healthy));
    }
    engine.statuses(now).for_each(|it| status(engine, &it));
}

/// What is saved survives.
pub(crate) fn saved(engine: &Engine, now: Time) {
    let saved = engine.save(now);
    let json = serde_json::to_string(&saved).expect("what is saved can be written");
    let read: Saved = serde_json::from_str(&json).expect("what was saved can be read");
    assert_eq!(read, saved);
}

fn status(engine: &Engine, it: &PoolStatus) {
    let there = engine.endpoints(&it.service).filter(|endpoint| endpoint.zone == it.locality.zone);
    assert!(it.healthy as usize <= there.count(), "more healthy than there are: {it:?}");
    assert!(it.admit <= Fraction::ONE, "{it:?}");
    let is_right = match it.phase {
        Phase::Empty => it.expected == 0,
        // A shift may leave it a part, and its phase stays.
        Phase::Serving => it.expected > 0 && !it.admit.is_zero(),
        Phase::Out | Phase::Shifted => it.expected > 0 && it.admit.is_zero(),
        Phase::Reduced | Phase::Holding | Phase::Ramping => it.expected > 0,
    };
    assert!(is_right, "{it:?}");
    let holds = matches!(it.phase, Phase::Holding | Phase::Shifted | Phase::Empty);
    assert!(holds || it.hold_remaining.is_zero(), "{it:?}");
}

fn hold_plan(engine: &Engine, plan: &Plan, healthy: &BTreeMap<Target, u64>) {
    shares(plan);
    let fleet = engine.fleet();
    let policy = engine.policy(&plan.service).expect("what has a plan has a policy");
    let used = plan.shares.keys().chain(plan.standby.iter().flat_map(Shares::keys));
    for target in used {
        let (region, cluster): (&Region, &ClusterName) = match target {
            Target::Zone(_) => (&fleet.region, &fleet.own),
            Target::Cluster(name) => {
                assert_ne!(*name, fleet.own, "the own cluster is no other one: {plan:#?}");
                (fleet.clusters.get(name).expect("a target is of the fleet"), name)
            }
        };
        let allowed = policy.residency.as_ref().is_none_or(|only| only.value.allows(region, cluster));
        assert!(allowed, "residency forbids {target}: {plan:#?}");
    }
    let is_healthy = |target: &Target| healthy.get(target).is_some_and(|count| *count > 0);
    if plan.reasons.iter().any(|it| it.tier.is_some() && is_healthy(&it.target)) {
        let may_shed = policy.capacity.is_some() && policy.when_exhausted.value == WhenExhausted::Shed;
        assert!(
            !plan.last_resort && (plan.shed.is_none() || may_shed),
            "something healthy is allowed: {plan:#?}"
        );
        assert!(plan.shares.keys().all(is_healthy), "{healthy:?}: {plan:#?}");
    }
    let standby = plan.standby.iter().flat_map(Shares::keys);
    standby.for_each(|target| assert!(is_healthy(target), "{target} stands by: {plan:#?}"));
}

/// The healthy endpoints that a source reaches at each target, from what the engine shows beside its plans.
fn healthy_at(engine: &Engine, now: Time) -> BTreeMap<ServiceName, BTreeMap<Target, u64>> {
    let mut counts: BTreeMap<ServiceName, BTreeMap<Target, (u64, u64)>> = BTreeMap::new();
    for status in engine.statuses(now) {
        let count = (u64::from(status.healthy), u64::from(status.expected));
        counts.entry(status.service).or_default().insert(Target::Zone(status.locality.zone), count);
    }
    for view in engine.remote_pools().filter(|it| it.reachable) {
        let targets = counts.entry(view.status.service).or_default();
        let (healthy, expected) = targets.entry(Target::Cluster(view.cluster)).or_default();
        *healthy += u64::from(view.status.healthy);
        *expected += u64::from(view.status.expected);
    }
    let healthy = |(healthy, expected)| if expected == 0 { 0 } else { healthy };
    let targets =
        |it: BTreeMap<Target, (u64, u64)>| it.into_iter().map(|(it, counts)| (it, healthy(counts))).collect();
    counts.into_iter().map(|(service, it)| (service, targets(it))).collect()
}

/// The shares of a plan and what it sheds are the whole, each standby tier is the whole, and nobody is named twice.
fn shares(plan: &Plan) {
    let sum = |shares: &Shares| shares.values().map(|share| share.parts()).sum::<u32>();
    assert_eq!(sum(&plan.shares) + plan.shed.parts(), Share::ALL.parts(), "{plan:#?}");
    assert!(plan.shares.values().all(|share| !share.is_none()), "{plan:#?}");
    let mut used: BTreeSet<&Target> = plan.shares.keys().collect();
    for tier in plan.standby.iter() {
        assert_eq!(sum(tier), Share::ALL.parts(), "{plan:#?}");
        assert!(tier.values().all(|share| !share.is_none()), "{plan:#?}");
        tier.keys().for_each(|target| assert!(used.insert(target), "{target} stands by twice: {plan:#?}"));
    }
    let mut explained = BTreeSet::new();
    for reason in &plan.reasons {
        assert!(explained.insert(&reason.target), "{} has two reasons: {plan:#?}", reason.target);
        let share = plan.shares.get(&reason.target).copied().unwrap_or_default();
        assert_eq!(reason.share, share, "{plan:#?}");
    }
    assert!(used.is_subset(&explained), "what has a share has a reason: {plan:#?}");
}
