//! The policy in force for a service: its own, its namespace's, the fleet's and the defaults, the nearest first,
//! field by field.

use super::{of_kind, problem_in};
use crate::{
    checks::{ActiveCheck, LatencyCheck},
    config::{Retry, ServicePolicy},
    duration,
    fields::Field,
    kinds::{PolicySpec, Spec, Target},
    object::Object,
    problem::Problem,
};
use std::{collections::BTreeMap, sync::Arc};
use tidegate_engine::{Capacity, Failback, Policy, Written};
use tidegate_model::ServiceName;

/// A policy and the object that holds it.
type Policied<'o> = (&'o Object, &'o PolicySpec);

/// The policies by what they are about.
pub(super) struct Policies<'o> {
    by_target: BTreeMap<(&'o str, &'o Target), Policied<'o>>,
    fleet: Option<Policied<'o>>,
}

impl<'o> Policies<'o> {
    pub(super) fn new(objects: &'o [&'o Object], problems: &mut Vec<Problem>) -> Self {
        let mut policies: Vec<Policied<'o>> = of_kind(objects, Spec::policy).collect();
        policies.sort_by_key(|&(object, _)| object.seniority());
        let mut found = Self { by_target: BTreeMap::new(), fleet: None };
        for (object, spec) in policies {
            for target in &spec.targets {
                let holder = match target.value {
                    Target::Fleet => found.fleet.get_or_insert((object, spec)),
                    _ => found
                        .by_target
                        .entry((object.key.namespace.as_str(), &target.value))
                        .or_insert((object, spec)),
                };
                let winner = holder.0;
                if winner.key != object.key {
                    problems.push(conflict(object, target, winner));
                }
            }
        }
        found
    }

    /// Merges policies; services with the same ones share the result.
    pub(super) const fn merger(&self) -> Merger<'_, 'o> {
        Merger { policies: self, merged: BTreeMap::new() }
    }

    fn chain_of(&self, service: &ServiceName) -> Vec<Policied<'o>> {
        let own = Target::Service(service.name().to_owned());
        [&own, &Target::Namespace]
            .into_iter()
            .filter_map(|target| self.by_target.get(&(service.namespace(), target)).copied())
            .chain(self.fleet)
            .collect()
    }
}

fn conflict(object: &Object, target: &Field<Target>, winner: &Object) -> Problem {
    let what = match &target.value {
        Target::Service(name) => format!("Service {name:?}"),
        Target::Namespace => format!("Namespace {:?}", object.key.namespace),
        Target::Fleet => "the fleet".to_owned(),
    };
    let message =
        format!("{what} already has a policy: {} at {}:{}", winner.title, winner.file, winner.at.line);
    let hint = "merge the two, or remove one target; the oldest (metadata.creationTimestamp), then the first by name \
                wins";
    problem_in(object, target.at, message, hint)
}

/// Merges policies and remembers the results.
pub(super) struct Merger<'p, 'o> {
    policies: &'p Policies<'o>,
    merged: BTreeMap<Vec<&'o str>, Arc<ServicePolicy>>,
}

impl Merger<'_, '_> {
    pub(super) fn policy_of(
        &mut self,
        service: &ServiceName,
        problems: &mut Vec<Problem>,
    ) -> Arc<ServicePolicy> {
        let chain = self.policies.chain_of(service);
        let key = chain.iter().map(|(object, _)| &*object.title).collect();
        Arc::clone(self.merged.entry(key).or_insert_with(|| Arc::new(Chain(&chain).merge(problems))))
    }
}

/// Policies, the nearest first.
struct Chain<'c, 'o>(&'c [Policied<'o>]);

impl<'o> Chain<'_, 'o> {
    /// The nearest policy that has a field.
    fn find<T: 'o>(
        &self,
        field: impl Fn(&'o PolicySpec) -> Option<&'o Field<T>>,
    ) -> Option<(&'o Object, &'o Field<T>)> {
        self.0.iter().find_map(|&(object, spec)| field(spec).map(|found| (object, found)))
    }

    fn value<T: Clone + 'o>(&self, field: impl Fn(&'o PolicySpec) -> Option<&'o Field<T>>, default: T) -> T {
        self.find(field).map_or(default, |(_, found)| found.value.clone())
    }

    fn written<T: Clone + 'o>(
        &self,
        field: impl Fn(&'o PolicySpec) -> Option<&'o Field<T>>,
        default: Written<T>,
    ) -> Written<T> {
        self.find(field).map_or(default, |(object, found)| Written {
            value: found.value.clone(),
            origin: object.origin(found.at),
        })
    }

    fn merge(&self, problems: &mut Vec<Problem>) -> ServicePolicy {
        let default = Policy::default();
        let failover = self.0.iter().find_map(|&(object, spec)| {
            let rules = spec.failover.as_ref()?.iter();
            Some(
                rules
                    .map(|rule| Written { value: rule.value.clone(), origin: object.origin(rule.at) })
                    .collect::<Vec<_>>(),
            )
        });
        let residency = self
            .find(|spec| spec.residency.as_ref())
            .map(|(object, found)| Written { value: found.value.clone(), origin: object.origin(found.at) });
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
            retry: Retry {
                per_try_timeout: self
                    .value(|spec| spec.per_try_timeout.as_ref(), plain.retry.per_try_timeout),
                attempts: self.value(|spec| spec.attempts.as_ref(), plain.retry.attempts),
            },
            drain_timeout: self.value(|spec| spec.drain_timeout.as_ref(), plain.drain_timeout),
        }
    }

    /// Fields that are each right may contradict each other once they come from several policies. A default gives
    /// way without a word; of two that were written the limit gives way, and that is told.
    fn reconcile(&self, policy: &mut Policy, problems: &mut Vec<Problem>) {
        let threshold = &policy.failover_threshold;
        if policy.minimum_healthy.value > threshold.value {
            if let Some((object, field)) = self.find(|spec| spec.minimum_healthy.as_ref()) {
                let message = format!(
                    "minimumHealthy ({}) is above the failoverThreshold in force ({}, {}), and is taken as that",
                    field.value, threshold.value, threshold.origin
                );
                problems.push(problem_in(
                    object,
                    field.at,
                    message,
                    "lower it, or raise failoverThreshold here too",
                ));
            }
            policy.minimum_healthy.value = threshold.value;
        }
        let hold_down = &policy.failback.hold_down;
        if policy.failback.max_hold_down.value < hold_down.value {
            if let Some((object, field)) = self.find(|spec| spec.failback.max_hold_down.as_ref()) {
                let message = format!(
                    "maxHoldDown ({}) is below the holdDown in force ({}, {}), and is taken as that",
                    duration::text(field.value),
                    duration::text(hold_down.value),
                    hold_down.origin
                );
                problems.push(problem_in(object, field.at, message, "raise it, or lower holdDown here too"));
            }
            policy.failback.max_hold_down.value = hold_down.value;
        }
    }

    /// The declared capacity: what an endpoint takes is one field, whichever unit it is in.
    fn capacity(&self) -> Option<Capacity> {
        let (object, load) = self.find(|spec| spec.capacity.per_endpoint.as_ref())?;
        let default = Capacity::per_endpoint(load.value);
        Some(Capacity {
            per_endpoint: Written { value: load.value, origin: object.origin(load.at) },
            target_utilization: self
                .written(|spec| spec.capacity.target_utilization.as_ref(), default.target_utilization),
            spread: self.written(|spec| spec.spread.as_ref(), default.spread),
        })
    }

    /// Some fields mean nothing without capacity; who wrote one into the policy of that service is told.
    fn need_capacity(&self, policy: &Policy, problems: &mut Vec<Problem>) {
        let Some(&(object, spec)) = self.0.first().filter(|_| policy.capacity.is_none()) else { return };
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
}
