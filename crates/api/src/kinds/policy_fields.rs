//! The fields that a `FailoverPolicy` and both halves of a `FailoverProfile` share. Each is kept with its place, and
//! absent fields stay absent, so that `lower` can merge layer by layer, field by field.

use super::{
    failover::{self, RawRule},
    limits::{self, LimitFields},
    places::{self, Labels, Mention, Mentions},
    policy_parts::{self, CapacityFields, CheckFields, FailbackFields},
};
use crate::{
    duration,
    fields::{Field, Fields, Issues},
    read,
    yaml::Pos,
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_engine::{Load, Proximity, Spread, WhenExhausted};
use tidegate_model::{Fraction, Region};

/// Fields that people look for one level too high.
pub(super) const NESTED: [&str; 30] = [
    "failover[].from",
    "failover[].to",
    "failoverDelay.partialLoss",
    "healthCheck.active",
    "healthCheck.active.interval",
    "healthCheck.active.unhealthyThreshold",
    "healthCheck.active.healthyThreshold",
    "healthCheck.passive",
    "healthCheck.passive.latency",
    "healthCheck.passive.errors",
    "capacity.requestsPerSecond",
    "capacity.concurrency",
    "capacity.targetUtilization",
    "failback.mode",
    "failback.holdDown",
    "failback.maxHoldDown",
    "failback.ramp",
    "failback.ramp.steps",
    "failback.requireHeadroom",
    "retry.perTryTimeout",
    "retry.attempts",
    "retry.budget",
    "retry.budget.percentage",
    "retry.budget.minimum",
    "circuitBreaker.maxConnections",
    "circuitBreaker.maxPendingRequests",
    "circuitBreaker.maxParallelRequests",
    "circuitBreaker.maxRequestsPerConnection",
    "slowStart.window",
    "proximity.by",
];

/// `residency`, its labels not resolved yet; what is not written allows all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelledRegions {
    pub(crate) regions: Option<BTreeSet<Region>>,
    pub(crate) labels: Option<Labels>,
}

/// What policy says, as far as it says it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PolicyFields {
    pub(crate) failover: Option<Field<Vec<Field<RawRule>>>>,
    pub(crate) failover_threshold: Option<Field<Fraction>>,
    pub(crate) minimum_healthy: Option<Field<Fraction>>,
    pub(crate) partial_loss_delay: Option<Field<Duration>>,
    pub(crate) residency: Option<Field<LabelledRegions>>,
    pub(crate) capacity: CapacityFields,
    pub(crate) spread: Option<Field<Spread>>,
    pub(crate) check: CheckFields,
    pub(crate) failback: FailbackFields,
    pub(crate) drain_timeout: Option<Field<Duration>>,
    pub(crate) drain_max_age: Option<Field<Duration>>,
    pub(crate) per_try_timeout: Option<Field<Duration>>,
    pub(crate) attempts: Option<Field<u32>>,
    pub(crate) limits: LimitFields,
    pub(crate) when_exhausted: Option<Field<WhenExhausted>>,
    pub(crate) proximity: Option<Field<Proximity>>,
}

impl PolicyFields {
    /// How many fields there are.
    pub(crate) const COUNT: usize = 44;

    /// Every field by its path, with its place if it is written; always in the same order, so that two can be compared.
    pub(crate) fn places(&self) -> [(&'static str, Option<Pos>); Self::COUNT] {
        const fn at<T>(field: &Option<Field<T>>) -> Option<Pos> {
            match field {
                Some(field) => Some(field.at),
                None => None,
            }
        }
        let load = match self.capacity.per_endpoint.as_ref().map(|field| field.value) {
            Some(Load::Concurrency { .. }) => "capacity.concurrency",
            _ => "capacity.requestsPerSecond",
        };
        [
            ("failover", at(&self.failover)),
            ("failoverThreshold", at(&self.failover_threshold)),
            ("minimumHealthy", at(&self.minimum_healthy)),
            ("failoverDelay.partialLoss", at(&self.partial_loss_delay)),
            ("residency", at(&self.residency)),
            (load, at(&self.capacity.per_endpoint)),
            ("capacity.targetUtilization", at(&self.capacity.target_utilization)),
            ("spread", at(&self.spread)),
            ("healthCheck.active.type", at(&self.check.check)),
            ("healthCheck.active.interval", at(&self.check.interval)),
            ("healthCheck.active.timeout", at(&self.check.timeout)),
            ("healthCheck.active.unhealthyThreshold", at(&self.check.unhealthy_threshold)),
            ("healthCheck.active.healthyThreshold", at(&self.check.healthy_threshold)),
            ("healthCheck.passive.latency", at(&self.check.latency.enabled)),
            ("healthCheck.passive.latency.ratio", at(&self.check.latency.ratio_percent)),
            ("healthCheck.passive.latency.minimumDifference", at(&self.check.latency.minimum_difference)),
            ("healthCheck.passive.latency.maxEjectionPercent", at(&self.check.latency.max_ejection_percent)),
            ("healthCheck.passive.latency.minimumSiblings", at(&self.check.latency.minimum_siblings)),
            ("healthCheck.passive.latency.consecutive", at(&self.check.latency.consecutive)),
            ("healthCheck.passive.errors", at(&self.check.errors.enabled)),
            ("healthCheck.passive.errors.percentage", at(&self.check.errors.percentage)),
            ("healthCheck.passive.errors.minimumRequests", at(&self.check.errors.minimum_requests)),
            ("healthCheck.passive.errors.window", at(&self.check.errors.window)),
            ("healthCheck.passive.errors.ejection", at(&self.check.errors.ejection)),
            ("healthCheck.passive.errors.maxEjectionPercent", at(&self.check.errors.max_ejection_percent)),
            ("failback.mode", at(&self.failback.mode)),
            ("failback.holdDown", at(&self.failback.hold_down)),
            ("failback.maxHoldDown", at(&self.failback.max_hold_down)),
            ("failback.ramp.steps", at(&self.failback.ramp_steps)),
            ("failback.ramp.interval", at(&self.failback.ramp_interval)),
            ("failback.requireHeadroom", at(&self.failback.require_headroom)),
            ("drain.timeout", at(&self.drain_timeout)),
            ("drain.maxAge", at(&self.drain_max_age)),
            ("retry.perTryTimeout", at(&self.per_try_timeout)),
            ("retry.attempts", at(&self.attempts)),
            ("retry.budget.percentage", at(&self.limits.retry_percentage)),
            ("retry.budget.minimum", at(&self.limits.retry_minimum)),
            ("circuitBreaker.maxConnections", at(&self.limits.max_connections)),
            ("circuitBreaker.maxPendingRequests", at(&self.limits.max_pending)),
            ("circuitBreaker.maxParallelRequests", at(&self.limits.max_parallel)),
            ("circuitBreaker.maxRequestsPerConnection", at(&self.limits.max_per_connection)),
            ("slowStart.window", at(&self.limits.slow_start)),
            ("whenExhausted", at(&self.when_exhausted)),
            ("proximity.by", at(&self.proximity)),
        ]
    }
}

/// Reads the fields of one mapping; the caller finishes it.
pub(super) fn read(spec: &mut Fields<'_>, mentions: &mut Mentions, issues: &mut Issues) -> PolicyFields {
    let failover = failover::read(spec, mentions, issues);
    let failover_threshold = read_percentage(spec, "failoverThreshold", issues);
    let minimum_healthy = read_percentage(spec, "minimumHealthy", issues);
    if let (Some(minimum), Some(threshold)) = (&minimum_healthy, &failover_threshold)
        && minimum.value > threshold.value
    {
        let message = format!(
            "{} ({}) is above {} ({})",
            spec.path_of("minimumHealthy.percentage"),
            minimum.value,
            spec.path_of("failoverThreshold.percentage"),
            threshold.value
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
    let residency = read_residency(spec, mentions, issues);
    let capacity = policy_parts::read_capacity(spec, issues);
    let spreads = &[("Waterfall", Spread::Waterfall), ("Spray", Spread::Spray)];
    let spread = spec.value("spread", issues, read::word(spreads));
    let check = policy_parts::read_check(spec, issues);
    let failback = policy_parts::read_failback(spec, issues);
    let (mut drain_timeout, mut drain_max_age) = (None, None);
    if let Some(mut drain) = spec.map("drain", issues) {
        let range = Duration::ZERO..=Duration::from_secs(3600);
        drain_timeout = drain.value("timeout", issues, read::duration(range));
        let range = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600);
        drain_max_age = drain.value("maxAge", issues, read::duration(range));
        drain.finish(issues);
    }
    let (mut per_try_timeout, mut attempts) = (None, None);
    let mut limits = limits::read(spec, issues);
    if let Some(mut retry) = spec.map("retry", issues) {
        let range = Duration::from_millis(1)..=Duration::from_secs(60);
        per_try_timeout = retry.value("perTryTimeout", issues, read::duration(range));
        attempts = retry.value("attempts", issues, read::integer(0..=10));
        limits::read_budget(&mut retry, &mut limits, issues);
        retry.finish(issues);
    }
    let words = &[("Spread", WhenExhausted::Spread), ("Shed", WhenExhausted::Shed)];
    let when_exhausted = spec.value("whenExhausted", issues, read::word(words));
    let proximity = spec.map("proximity", issues).and_then(|mut proximity| {
        let words = &[("Declared", Proximity::Declared), ("Measured", Proximity::Measured)];
        let hint = "write Declared or Measured";
        let by = proximity.required_value("by", hint, issues, read::word(words));
        proximity.finish(issues);
        by
    });
    PolicyFields {
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
        drain_max_age,
        per_try_timeout,
        attempts,
        limits,
        when_exhausted,
        proximity,
    }
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
) -> Option<Field<LabelledRegions>> {
    let mut residency = spec.map("residency", issues)?;
    let (at, before) = (residency.at, issues.list.len());
    let hint = "list the regions that may serve, or write matchLabels; leave residency out to allow all";
    if residency.node("matchLabels").is_none() {
        residency.required("regions", hint, issues);
    }
    let regions = residency.values("regions", issues, read::name("region", Region::new));
    let labels = places::read_labels(&mut residency, mentions, issues);
    residency.finish(issues);
    let empty = regions.as_ref().filter(|regions| regions.value.is_empty()).map(|regions| regions.at);
    if let (Some(at), true) = (empty, issues.list.len() == before) {
        let path = spec.path_of("residency.regions");
        issues.error(at, format!("no region could serve: {path} is empty"), hint);
    }
    let regions = regions.map(|regions| places::set(Some(regions), Mention::Region, mentions));
    Some(Field { value: LabelledRegions { regions, labels }, at })
}

/// The field's value as text, for messages.
pub(crate) fn duration_text(field: &Field<Duration>) -> String {
    duration::text(field.value)
}
