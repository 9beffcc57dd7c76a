//! What one gateway may ask of a service at a time: `circuitBreaker`, `slowStart` and `retry.budget`.

use crate::{
    fields::{Field, Fields, Issues},
    read,
};
use std::time::Duration;

/// As far as they are written.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LimitFields {
    pub(crate) max_connections: Option<Field<u32>>,
    pub(crate) max_pending: Option<Field<u32>>,
    pub(crate) max_parallel: Option<Field<u32>>,
    pub(crate) max_per_connection: Option<Field<u32>>,
    pub(crate) retry_percentage: Option<Field<u32>>,
    pub(crate) retry_minimum: Option<Field<u32>>,
    pub(crate) slow_start: Option<Field<Duration>>,
}

pub(super) fn read(spec: &mut Fields<'_>, issues: &mut Issues) -> LimitFields {
    let mut limits = LimitFields::default();
    if let Some(mut breaker) = spec.map("circuitBreaker", issues) {
        let count = || read::integer(1..=10_000_000);
        limits.max_connections = breaker.value("maxConnections", issues, count());
        limits.max_pending = breaker.value("maxPendingRequests", issues, count());
        limits.max_parallel = breaker.value("maxParallelRequests", issues, count());
        limits.max_per_connection = breaker.value("maxRequestsPerConnection", issues, count());
        breaker.finish(issues);
    }
    if let Some(mut start) = spec.map("slowStart", issues) {
        let range = Duration::from_secs(1)..=Duration::from_secs(3600);
        let hint = "how long an endpoint gets less than the others, for example 30s";
        limits.slow_start = start.required_value("window", hint, issues, read::duration(range));
        start.finish(issues);
    }
    limits
}

/// `retry.budget`.
pub(super) fn read_budget(retry: &mut Fields<'_>, limits: &mut LimitFields, issues: &mut Issues) {
    let Some(mut budget) = retry.map("budget", issues) else { return };
    limits.retry_percentage = budget.value("percentage", issues, read::integer(0..=100));
    limits.retry_minimum = budget.value("minimum", issues, read::integer(0..=100_000));
    budget.finish(issues);
}
