//! `FailoverPolicy`: what a user decides. Each field is kept with its place, and absent fields stay absent, so that
//! `lower` can merge the policies of a service, its namespace and the fleet field by field.

use super::{
    MAX_ENTRIES,
    places::{self, Mention, Mentions},
    policy_parts::{self, CapacityFields, CheckFields, FailbackFields},
};
use crate::{
    duration,
    fields::{Field, Fields, Issues},
    object::Meta,
    read,
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_engine::{OrderRule, Spread, Tier, WhenExhausted};
use tidegate_model::{Fraction, Region};

/// What a policy is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A service of the policy's namespace.
    Service(String),
    /// All services of the policy's namespace.
    Namespace,
    /// All services.
    Fleet,
}

/// Fields that people look for right below `spec`.
const NESTED: [&str; 20] = [
    "spec.failover[].from",
    "spec.failover[].to",
    "spec.failoverDelay.partialLoss",
    "spec.healthCheck.active",
    "spec.healthCheck.active.interval",
    "spec.healthCheck.active.unhealthyThreshold",
    "spec.healthCheck.active.healthyThreshold",
    "spec.healthCheck.passive",
    "spec.healthCheck.passive.latency",
    "spec.capacity.requestsPerSecond",
    "spec.capacity.concurrency",
    "spec.capacity.targetUtilization",
    "spec.failback.mode",
    "spec.failback.holdDown",
    "spec.failback.maxHoldDown",
    "spec.failback.ramp",
    "spec.failback.ramp.steps",
    "spec.failback.requireHeadroom",
    "spec.retry.perTryTimeout",
    "spec.retry.attempts",
];

/// What a `FailoverPolicy` says.
#[derive(Debug)]
pub(crate) struct PolicySpec {
    pub(crate) targets: Vec<Field<Target>>,
    pub(crate) failover: Option<Vec<Field<OrderRule>>>,
    pub(crate) failover_threshold: Option<Field<Fraction>>,
    pub(crate) minimum_healthy: Option<Field<Fraction>>,
    pub(crate) partial_loss_delay: Option<Field<Duration>>,
    pub(crate) residency: Option<Field<BTreeSet<Region>>>,
    pub(crate) capacity: CapacityFields,
    pub(crate) spread: Option<Field<Spread>>,
    pub(crate) check: CheckFields,
    pub(crate) failback: FailbackFields,
    pub(crate) drain_timeout: Option<Field<Duration>>,
    pub(crate) per_try_timeout: Option<Field<Duration>>,
    pub(crate) attempts: Option<Field<u32>>,
    pub(crate) when_exhausted: Option<Field<WhenExhausted>>,
    /// The places that it names.
    pub(crate) mentions: Mentions,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<PolicySpec> {
    let mut spec = fields.required_map("spec", "add `spec:` with targetRefs", issues)?;
    let mut mentions = Vec::new();
    let targets = read_targets(&mut spec, meta, issues);
    let failover = read_failover(&mut spec, &mut mentions, issues);
    let failover_threshold = read_percentage(&mut spec, "failoverThreshold", issues);
    let minimum_healthy = read_percentage(&mut spec, "minimumHealthy", issues);
    if let (Some(minimum), Some(threshold)) = (&minimum_healthy, &failover_threshold)
        && minimum.value > threshold.value
    {
        let message = format!(
            "spec.minimumHealthy.percentage ({}) is above spec.failoverThreshold.percentage ({})",
            minimum.value, threshold.value
        );
        let hint = "a pool is reduced below the threshold and taken out below the minimum, so the minimum must \
                        not be the higher one";
        issues.error(minimum.at, message, hint);
    }
    let partial_loss_delay = spec.map("failoverDelay", issues).and_then(|mut delay| {
        let range = Duration::ZERO..=Duration::from_secs(600);
        let partial = delay.value("partialLoss", issues, read::duration(range));
        delay.finish(issues);
        partial
    });
    let residency = read_residency(&mut spec, &mut mentions, issues);
    let capacity = policy_parts::read_capacity(&mut spec, issues);
    let spreads = &[("Waterfall", Spread::Waterfall), ("Spray", Spread::Spray)];
    let spread = spec.value("spread", issues, read::word(spreads));
    let check = policy_parts::read_check(&mut spec, issues);
    let failback = policy_parts::read_failback(&mut spec, issues);
    let drain_timeout = spec.map("drain", issues).and_then(|mut drain| {
        let range = Duration::ZERO..=Duration::from_secs(3600);
        let timeout = drain.value("timeout", issues, read::duration(range));
        drain.finish(issues);
        timeout
    });
    let (mut per_try_timeout, mut attempts) = (None, None);
    if let Some(mut retry) = spec.map("retry", issues) {
        let range = Duration::from_millis(1)..=Duration::from_secs(60);
        per_try_timeout = retry.value("perTryTimeout", issues, read::duration(range));
        attempts = retry.value("attempts", issues, read::integer(0..=10));
        retry.finish(issues);
    }
    let words = &[("Spread", WhenExhausted::Spread), ("Shed", WhenExhausted::Shed)];
    let when_exhausted = spec.value("whenExhausted", issues, read::word(words));
    spec.finish_knowing(&NESTED, issues);
    Some(PolicySpec {
        targets,
        failover,
        failover_threshold,
        minimum_healthy,
        partial_loss_delay,
        residency,
        capacity,
        spread,
        check,
        failback,
        drain_timeout,
        per_try_timeout,
        attempts,
        when_exhausted,
        mentions,
    })
}

fn read_targets(spec: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Vec<Field<Target>> {
    const HINT: &str = "say what the policy is about: `targetRefs: [{group: \"\", kind: Service, name: web}]`; kinds \
                        are Service, Namespace and Fleet";
    let mut targets: Vec<Field<Target>> = Vec::new();
    if spec.required("targetRefs", HINT, issues).is_none() {
        return targets;
    }
    let at = spec.key_at("targetRefs");
    let errors = issues.list.len();
    for mut target in spec.maps_up_to(MAX_ENTRIES, "targetRefs", issues) {
        let Some(value) = read_target(&mut target, meta, issues) else { continue };
        let at = target.at;
        target.finish(issues);
        if targets.iter().any(|earlier| earlier.value == value) {
            issues.error(at, "the target is listed twice", "remove one");
        } else {
            targets.push(Field { value, at });
        }
    }
    if targets.is_empty() && issues.list.len() == errors {
        issues.error(at, "spec.targetRefs is empty", HINT);
    }
    targets
}

fn read_target(target: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<Target> {
    #[derive(Clone, Copy)]
    enum TargetKind {
        Service,
        Namespace,
        Fleet,
    }
    const KINDS: &[(&str, TargetKind)] = &[
        ("Service", TargetKind::Service),
        ("Namespace", TargetKind::Namespace),
        ("Fleet", TargetKind::Fleet),
    ];

    let group = target.value("group", issues, read::any_text);
    let kind = target.required_value("kind", "Service, Namespace or Fleet", issues, read::word(KINDS));
    let name = target.required_value("name", "the name of the target", issues, read::object_name);
    if let Some(namespace) = target.value("namespace", issues, read::object_name)
        && namespace.value != meta.namespace
    {
        let message =
            format!("a policy in namespace {} cannot target namespace {}", meta.namespace, namespace.value);
        issues.error(namespace.at, message, "put the policy into the namespace of its target");
    }
    let (kind, name) = (kind?, name?);
    let allowed: &[&str] = match kind.value {
        TargetKind::Service | TargetKind::Namespace => &["", "core"],
        TargetKind::Fleet => &["", "tidegate.dev"],
    };
    if let Some(group) = group.filter(|group| !allowed.contains(&group.value.as_str())) {
        let message = format!("{}.{} cannot be a target", name.value, group.value);
        issues.error(group.at, message, "write group: \"\"");
    }
    match kind.value {
        TargetKind::Service => Some(Target::Service(name.value)),
        TargetKind::Namespace if name.value == meta.namespace => Some(Target::Namespace),
        TargetKind::Namespace => {
            let message =
                format!("a policy in namespace {} cannot target namespace {}", meta.namespace, name.value);
            issues.error(name.at, message, format!("write {}, or move the policy", meta.namespace));
            None
        }
        TargetKind::Fleet if name.value == "default" => Some(Target::Fleet),
        TargetKind::Fleet => {
            let message = format!("there is no fleet {:?}", name.value);
            issues.error(name.at, message, "the fleet is called \"default\"");
            None
        }
    }
}

fn read_failover(
    spec: &mut Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<Vec<Field<OrderRule>>> {
    spec.node("failover")?;
    let mut rules: Vec<Field<OrderRule>> = Vec::new();
    for mut rule in spec.maps_up_to(MAX_ENTRIES, "failover", issues) {
        let at = rule.at;
        if let Some(catch_all) = rules.iter().find(|rule| places::is_empty(&rule.value.from)) {
            let message =
                format!("the rule never applies: the one at line {} takes all callers", catch_all.at.line);
            issues.warn(
                at,
                message,
                "the first rule whose `from` matches the caller applies; put this one before",
            );
        }
        let from = rule.map("from", issues).map(|mut from| {
            let places = places::read(&mut from, mentions, issues);
            from.finish(issues);
            places
        });
        let hint =
            "list the tiers in order, for example `to: [{type: SameZone}, {type: SameRegion}, {type: Any}]`";
        let has_to = rule.required("to", hint, issues).is_some();
        let entries = rule.maps_up_to(MAX_ENTRIES, "to", issues);
        let count = entries.len();
        let to: Vec<Tier> =
            entries.into_iter().filter_map(|tier| read_tier(tier, mentions, issues)).collect();
        if has_to && count == 0 {
            issues.error(
                rule.key_at("to"),
                "the rule has no tiers, so its callers would have no service",
                hint,
            );
        }
        rule.finish(issues);
        rules.push(Field { value: OrderRule { from: from.unwrap_or_default(), to }, at });
    }
    Some(rules)
}

fn read_tier(mut tier: Fields<'_>, mentions: &mut Mentions, issues: &mut Issues) -> Option<Tier> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum TierType {
        SameZone,
        SameRegion,
        Only,
        AnyExcept,
        Any,
    }
    const TYPES: &[(&str, TierType)] = &[
        ("SameZone", TierType::SameZone),
        ("SameRegion", TierType::SameRegion),
        ("Only", TierType::Only),
        ("AnyExcept", TierType::AnyExcept),
        ("Any", TierType::Any),
    ];

    let hint = "SameZone, SameRegion, Only, AnyExcept or Any";
    let written = tier.required_value("type", hint, issues, read::word(TYPES));
    let places = places::read(&mut tier, mentions, issues);
    let at = tier.at;
    tier.finish(issues);
    let named = matches!(written.as_ref()?.value, TierType::Only | TierType::AnyExcept);
    let empty = places::is_empty(&places);
    if named && empty {
        let hint = "name at least one of regions, zones or clusters";
        issues.error(at, "a tier of type Only or AnyExcept needs places", hint);
    } else if !named && !empty {
        let hint = "remove regions, zones and clusters, or use type Only or AnyExcept";
        issues.error(at, "a tier of this type takes no places", hint);
    }
    Some(match written?.value {
        TierType::SameZone => Tier::SameZone,
        TierType::SameRegion => Tier::SameRegion,
        TierType::Only => Tier::Only(places),
        TierType::AnyExcept => Tier::AnyExcept(places),
        TierType::Any => Tier::Any,
    })
}

fn read_percentage(
    spec: &mut Fields<'_>,
    name: &'static str,
    issues: &mut Issues,
) -> Option<Field<Fraction>> {
    let mut fields = spec.map(name, issues)?;
    let percentage = fields.required_value("percentage", "write for example 70", issues, read::percentage);
    fields.finish(issues);
    percentage
}

fn read_residency(
    spec: &mut Fields<'_>,
    mentions: &mut Mentions,
    issues: &mut Issues,
) -> Option<Field<BTreeSet<Region>>> {
    let mut residency = spec.map("residency", issues)?;
    let at = residency.at;
    let hint = "list the regions that may serve; leave residency out to allow all";
    residency.required("regions", hint, issues);
    let regions = residency.values("regions", issues, read::name("region", Region::new));
    residency.finish(issues);
    let empty = regions.as_ref().filter(|regions| regions.value.is_empty()).map(|regions| regions.at);
    if let (Some(at), false) = (empty, issues.bad) {
        issues.error(at, "no region could serve: spec.residency.regions is empty", hint);
    }
    Some(Field { value: places::set(regions, Mention::Region, mentions), at })
}

/// The field's value as text, for messages.
pub(crate) fn duration_text(field: &Field<Duration>) -> String {
    duration::text(field.value)
}
