//! Layers of policy merged field by field: a profile's overrides, then the policies of a service, of its namespace and
//! of the fleet, then the profile's defaults, then what is built in.

use super::{fleet::Clusters, labels, problem_in};
use crate::{
    checks::{ActiveCheck, ErrorCheck, LatencyCheck},
    config::{Limits, Retry, ServicePolicy},
    duration,
    fields::Field,
    kinds::{LimitFields, PolicyFields, RawRule},
    object::Object,
    problem::Problem,
    yaml::Pos,
};
use std::sync::Arc;
use tidegate_engine::{Capacity, Failback, Origin, Policy, ProfilePart, Written};
use tidegate_model::Fraction;

/// One layer: some fields, and who wrote them.
#[derive(Clone, Copy)]
pub(super) struct Layer<'o> {
    pub(super) object: &'o Object,
    pub(super) fields: &'o PolicyFields,
    pub(super) rank: Rank,
}

/// How strong a layer is; what nobody wrote is weaker than all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A profile's default.
    Default,
    /// A policy.
    Policy,
    /// A profile's override.
    Override,
}

impl Layer<'_> {
    /// Where a field of this layer was written.
    pub(super) fn origin(&self, at: Pos) -> Origin {
        let part = match self.rank {
            Rank::Policy => return self.object.origin(at),
            Rank::Override => ProfilePart::Override,
            Rank::Default => ProfilePart::Default,
        };
        Origin::Profile { part, place: Arc::clone(self.object.place()), line: at.line }
    }
}

/// Layers, the one that wins first.
pub(super) struct Chain<'c, 'o>(pub(super) &'c [Layer<'o>]);

impl<'o> Chain<'_, 'o> {
    /// The first layer that has a field.
    fn find<T: 'o>(
        &self,
        field: impl Fn(&'o PolicyFields) -> Option<&'o Field<T>>,
    ) -> Option<(Layer<'o>, &'o Field<T>)> {
        self.0.iter().find_map(|&layer| field(layer.fields).map(|found| (layer, found)))
    }

    fn value<T: Clone + 'o>(
        &self,
        field: impl Fn(&'o PolicyFields) -> Option<&'o Field<T>>,
        default: T,
    ) -> T {
        self.find(field).map_or(default, |(_, found)| found.value.clone())
    }

    fn written<T: Clone + 'o>(
        &self,
        field: impl Fn(&'o PolicyFields) -> Option<&'o Field<T>>,
        default: Written<T>,
    ) -> Written<T> {
        self.find(field).map_or(default, |(layer, found)| Written {
            value: found.value.clone(),
            origin: layer.origin(found.at),
        })
    }

    pub(super) fn merge(&self, clusters: &Clusters, problems: &mut Vec<Problem>) -> ServicePolicy {
        let default = Policy::default();
        let failover = self.find(|spec| spec.failover.as_ref()).map(|(layer, rules)| {
            let rule = |rule: &Field<RawRule>| {
                let value = labels::rule(&rule.value, clusters)?;
                Some(Written { value, origin: layer.origin(rule.at) })
            };
            rules.value.iter().filter_map(rule).collect()
        });
        let residency = self.find(|spec| spec.residency.as_ref()).map(|(layer, found)| Written {
            value: labels::residency(&found.value, clusters),
            origin: layer.origin(found.at),
        });
        let failback = Failback {
            mode: self.written(|spec| spec.failback.mode.as_ref(), default.failback.mode),
            hold_down: self.written(|spec| spec.failback.hold_down.as_ref(), default.failback.hold_down),
            max_hold_down: self
                .written(|spec| spec.failback.max_hold_down.as_ref(), default.failback.max_hold_down),
            quiet: default.failback.quiet,
            ramp_steps: self.written(|spec| spec.failback.ramp_steps.as_ref(), default.failback.ramp_steps),
            ramp_interval: self
                .written(|spec| spec.failback.ramp_interval.as_ref(), default.failback.ramp_interval),
            require_headroom: self
                .written(|spec| spec.failback.require_headroom.as_ref(), default.failback.require_headroom),
        };
        let mut engine = Policy {
            failover: failover.unwrap_or_default(),
            failover_threshold: self
                .written(|spec| spec.failover_threshold.as_ref(), default.failover_threshold),
            minimum_healthy: self.written(|spec| spec.minimum_healthy.as_ref(), default.minimum_healthy),
            partial_loss_delay: self
                .written(|spec| spec.partial_loss_delay.as_ref(), default.partial_loss_delay),
            residency,
            capacity: self.capacity(),
            failback,
            when_exhausted: self.written(|spec| spec.when_exhausted.as_ref(), default.when_exhausted),
            proximity: self.written(|spec| spec.proximity.as_ref(), default.proximity),
            dead_band: default.dead_band,
            retention: default.retention,
        };
        self.reconcile(&mut engine, problems);
        self.need_capacity(&engine, problems);
        let plain = ServicePolicy::default();
        ServicePolicy {
            engine,
            active_check: self.active_check(),
            latency_check: self.latency_check(),
            error_check: self.error_check(),
            retry: Retry {
                per_try_timeout: self
                    .value(|spec| spec.per_try_timeout.as_ref(), plain.retry.per_try_timeout),
                attempts: self.value(|spec| spec.attempts.as_ref(), plain.retry.attempts),
            },
            limits: self.limits(),
            drain_timeout: self.value(|spec| spec.drain_timeout.as_ref(), plain.drain_timeout),
            drain_max_age: self.find(|spec| spec.drain_max_age.as_ref()).map(|(_, field)| field.value),
        }
    }

    fn limits(&self) -> Limits {
        let number = |field: fn(&LimitFields) -> Option<&Field<u32>>| {
            self.find(|spec| field(&spec.limits)).map(|(_, found)| found.value)
        };
        Limits {
            max_connections: number(|it| it.max_connections.as_ref()),
            max_pending_requests: number(|it| it.max_pending.as_ref()),
            max_parallel_requests: number(|it| it.max_parallel.as_ref()),
            max_requests_per_connection: number(|it| it.max_per_connection.as_ref()),
            retry_budget_percent: number(|it| it.retry_percentage.as_ref()),
            retry_budget_minimum: number(|it| it.retry_minimum.as_ref()),
            slow_start: self.find(|spec| spec.limits.slow_start.as_ref()).map(|(_, found)| found.value),
        }
    }

    /// Fields that are each right may contradict each other once they come from several layers. The limit gives way,
    /// unless it is an override and what it limits is not. A policy is told when its field gives way.
    fn reconcile(&self, policy: &mut Policy, problems: &mut Vec<Problem>) {
        let (minimum, threshold) = (&mut policy.minimum_healthy, &mut policy.failover_threshold);
        if minimum.value > threshold.value {
            let low = self.find(|it| it.minimum_healthy.as_ref());
            let high = self.find(|it| it.failover_threshold.as_ref());
            let text = |it: &Written<Fraction>| (it.value.to_string(), it.origin.to_string());
            if overrides(low, high) {
                let names = ["failoverThreshold", "below", "minimumHealthy"];
                tell(high, names, text(threshold), text(minimum), "raise it", problems);
                threshold.value = minimum.value;
            } else {
                let names = ["minimumHealthy", "above", "failoverThreshold"];
                let hint = "lower it, or raise failoverThreshold here too";
                tell(low, names, text(minimum), text(threshold), hint, problems);
                minimum.value = threshold.value;
            }
        }
        let (hold, most) = (&mut policy.failback.hold_down, &mut policy.failback.max_hold_down);
        if most.value < hold.value {
            let first = self.find(|it| it.failback.hold_down.as_ref());
            let limit = self.find(|it| it.failback.max_hold_down.as_ref());
            let text = |it: &Written<std::time::Duration>| (duration::text(it.value), it.origin.to_string());
            if overrides(limit, first) {
                let names = ["holdDown", "above", "maxHoldDown"];
                tell(first, names, text(hold), text(most), "lower it", problems);
                hold.value = most.value;
            } else {
                let names = ["maxHoldDown", "below", "holdDown"];
                let hint = "raise it, or lower holdDown here too";
                tell(limit, names, text(most), text(hold), hint, problems);
                most.value = hold.value;
            }
        }
    }

    /// The declared capacity: what an endpoint takes is one field, whichever unit it is in.
    fn capacity(&self) -> Option<Capacity> {
        let (layer, load) = self.find(|spec| spec.capacity.per_endpoint.as_ref())?;
        let default = Capacity::per_endpoint(load.value);
        Some(Capacity {
            per_endpoint: Written { value: load.value, origin: layer.origin(load.at) },
            target_utilization: self
                .written(|spec| spec.capacity.target_utilization.as_ref(), default.target_utilization),
            spread: self.written(|spec| spec.spread.as_ref(), default.spread),
        })
    }

    /// Some fields mean nothing without capacity; who wrote one into the policy of that service is told.
    fn need_capacity(&self, policy: &Policy, problems: &mut Vec<Problem>) {
        let mut policies = self.0.iter().filter(|layer| layer.rank == Rank::Policy);
        let nearest = policies.next().filter(|_| policy.capacity.is_none());
        let Some(&Layer { object, fields: spec, .. }) = nearest else { return };
        let spread = spec.spread.as_ref().map(|field| ("spread", field.at));
        let target = spec.capacity.target_utilization.as_ref();
        let target = target.map(|field| ("capacity.targetUtilization", field.at));
        for (name, at) in spread.into_iter().chain(target) {
            let message = format!("{name} means nothing while no capacity is declared");
            let hint = "add capacity.requestsPerSecond or capacity.concurrency, or remove it";
            problems.push(problem_in(object, at, message, hint));
        }
    }

    fn active_check(&self) -> Option<ActiveCheck> {
        let default = ActiveCheck::default();
        let plain = Some((default.kind, default.tls));
        let (kind, tls) = self.value(|spec| spec.check.check.as_ref(), plain)?;
        Some(ActiveCheck {
            kind,
            tls,
            interval: self.value(|spec| spec.check.interval.as_ref(), default.interval),
            timeout: self.value(|spec| spec.check.timeout.as_ref(), default.timeout),
            unhealthy_threshold: self
                .value(|spec| spec.check.unhealthy_threshold.as_ref(), default.unhealthy_threshold),
            healthy_threshold: self
                .value(|spec| spec.check.healthy_threshold.as_ref(), default.healthy_threshold),
        })
    }

    fn latency_check(&self) -> Option<LatencyCheck> {
        let default = LatencyCheck::default();
        self.value(|spec| spec.check.latency.enabled.as_ref(), false).then(|| LatencyCheck {
            ratio_percent: self
                .value(|spec| spec.check.latency.ratio_percent.as_ref(), default.ratio_percent),
            minimum_difference: self
                .value(|spec| spec.check.latency.minimum_difference.as_ref(), default.minimum_difference),
            max_ejection_percent: self
                .value(|spec| spec.check.latency.max_ejection_percent.as_ref(), default.max_ejection_percent),
            minimum_siblings: self
                .value(|spec| spec.check.latency.minimum_siblings.as_ref(), default.minimum_siblings),
            consecutive: self.value(|spec| spec.check.latency.consecutive.as_ref(), default.consecutive),
        })
    }

    fn error_check(&self) -> Option<ErrorCheck> {
        let default = ErrorCheck::default();
        self.value(|spec| spec.check.errors.enabled.as_ref(), false).then(|| ErrorCheck {
            percentage: self.value(|spec| spec.check.errors.percentage.as_ref(), default.percentage),
            minimum_requests: self
                .value(|spec| spec.check.errors.minimum_requests.as_ref(), default.minimum_requests),
            window: self.value(|spec| spec.check.errors.window.as_ref(), default.window),
            ejection: self.value(|spec| spec.check.errors.ejection.as_ref(), default.ejection),
            max_ejection_percent: self
                .value(|spec| spec.check.errors.max_ejection_percent.as_ref(), default.max_ejection_percent),
        })
    }
}

/// A field, and the layer that it is of.
type Found<'o, T> = Option<(Layer<'o>, &'o Field<T>)>;

/// Whether a limit is a profile's override, and what it limits is not.
fn overrides<T>(limit: Found<'_, T>, limited: Found<'_, T>) -> bool {
    let rank = |found: Found<'_, T>| found.map(|(layer, _)| layer.rank);
    rank(limit) == Some(Rank::Override) && rank(limited) < rank(limit)
}

/// Tells a policy that its field gives way to another. Defaults give way without a word.
fn tell<T>(
    loser: Found<'_, T>,
    [name, against, other]: [&str; 3],
    (value, _): (String, String),
    (in_force, origin): (String, String),
    hint: &str,
    problems: &mut Vec<Problem>,
) {
    let Some((Layer { object, rank: Rank::Policy, .. }, field)) = loser else { return };
    let message = format!(
        "{name} ({value}) is {against} the {other} in force ({in_force}, {origin}), and is taken as that"
    );
    problems.push(problem_in(object, field.at, message, hint));
}
