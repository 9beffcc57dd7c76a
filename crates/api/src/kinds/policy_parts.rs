//! The parts of a `FailoverPolicy` that are larger than one field: capacity and failback (health checks have a file of their own).

pub(crate) use super::health_check::CheckFields;
pub(super) use super::health_check::read_check;

use super::policy_fields::duration_text;
use crate::{
    fields::{Field, Fields, Issues, Wrong},
    read,
    yaml::Value,
};
use std::time::Duration;
use tidegate_engine::{FailbackMode, Load};
use tidegate_model::Fraction;

/// The most steps of a ramp: more than anybody watches, and a limit on what the engine walks through.
const MAX_RAMP_STEPS: usize = 20;

/// `failback`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FailbackFields {
    pub(crate) mode: Option<Field<FailbackMode>>,
    pub(crate) hold_down: Option<Field<Duration>>,
    pub(crate) max_hold_down: Option<Field<Duration>>,
    pub(crate) ramp_steps: Option<Field<Vec<Fraction>>>,
    pub(crate) ramp_interval: Option<Field<Duration>>,
    pub(crate) require_headroom: Option<Field<bool>>,
}

/// `capacity`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct CapacityFields {
    pub(crate) per_endpoint: Option<Field<Load>>,
    pub(crate) target_utilization: Option<Field<Fraction>>,
}

pub(super) fn read_capacity(spec: &mut Fields<'_>, issues: &mut Issues) -> CapacityFields {
    let Some(mut capacity) = spec.map("capacity", issues) else { return CapacityFields::default() };
    let rate = capacity.value("requestsPerSecond", issues, read::thousandths);
    let concurrency = capacity.value("concurrency", issues, read::thousandths);
    let target_utilization = capacity.value("targetUtilization", issues, |node| {
        let hint = "the part of the capacity that is planned with, in percent: write for example 80";
        let least = Fraction::from_percentage(1.0).unwrap_or_default();
        let percentage = read::percentage(node).ok().filter(|it| *it >= least);
        percentage.ok_or_else(|| Wrong::new("a number from 1 to 100", hint))
    });
    if let (Some(_), Some(concurrency)) = (&rate, &concurrency) {
        let message = format!("{} has both requestsPerSecond and concurrency", spec.path_of("capacity"));
        issues.error(concurrency.at, message, "an endpoint is limited by one of them; remove the other");
    }
    capacity.finish(issues);
    let rate = rate.map(|it| Field { value: Load::Rate { rps: it.value }, at: it.at });
    let concurrency =
        concurrency.map(|it| Field { value: Load::Concurrency { requests: it.value }, at: it.at });
    CapacityFields { per_endpoint: rate.or(concurrency), target_utilization }
}

pub(super) fn read_failback(spec: &mut Fields<'_>, issues: &mut Issues) -> FailbackFields {
    const MODES: &[(&str, FailbackMode)] = &[("Auto", FailbackMode::Auto), ("Manual", FailbackMode::Manual)];

    let Some(mut failback) = spec.map("failback", issues) else { return FailbackFields::default() };
    let mode = failback.value("mode", issues, read::word(MODES));
    let hold_downs = Duration::ZERO..=Duration::from_secs(24 * 3600);
    let hold_down = failback.value("holdDown", issues, read::duration(hold_downs.clone()));
    let max_hold_down = failback.value("maxHoldDown", issues, read::duration(hold_downs));
    if let (Some(hold), Some(max)) = (&hold_down, &max_hold_down)
        && hold.value > max.value
    {
        let message = format!(
            "{} ({}) is below {} ({})",
            failback.path_of("maxHoldDown"),
            duration_text(max),
            failback.path_of("holdDown"),
            duration_text(hold)
        );
        issues.error(max.at, message, "relapses double the hold-down up to the maximum; raise the maximum");
    }
    let (mut ramp_steps, mut ramp_interval) = (None, None);
    if let Some(mut ramp) = failback.map("ramp", issues) {
        ramp_steps = read_steps(&mut ramp, issues);
        let range = Duration::from_millis(10)..=Duration::from_secs(3600);
        ramp_interval = ramp.value("interval", issues, read::duration(range));
        ramp.finish(issues);
    }
    let require_headroom = failback.value("requireHeadroom", issues, read::boolean);
    failback.finish(issues);
    FailbackFields { mode, hold_down, max_hold_down, ramp_steps, ramp_interval, require_headroom }
}

fn read_steps(ramp: &mut Fields<'_>, issues: &mut Issues) -> Option<Field<Vec<Fraction>>> {
    const HINT: &str = "for example [10, 50, 100]: rising percentages, the last one 100";

    let before = issues.list.len();
    let steps = ramp.values("steps", issues, |node| match &node.value {
        Value::List(_) => Err(Wrong::new("a number from 0 to 100", HINT)),
        _ => read::percentage(node),
    })?;
    let name = ramp.path_of("steps");
    if issues.list.len() > before {
        return None;
    }
    if steps.value.is_empty() || steps.value.len() > MAX_RAMP_STEPS {
        let message = format!("{name} must have 1 to {MAX_RAMP_STEPS} steps, not {}", steps.value.len());
        issues.error(steps.at, message, HINT);
        return None;
    }
    for pair in steps.value.windows(2) {
        if pair[0].value >= pair[1].value {
            let message = format!("{name} must rise, and {} comes after {}", pair[1].value, pair[0].value);
            issues.error(pair[1].at, message, HINT);
        }
    }
    if let Some(last) = steps.value.last().filter(|last| !last.value.is_one()) {
        let message = format!("the last of {name} must be 100, not {}", last.value);
        issues.error(last.at, message, HINT);
    }
    if let Some(first) = steps.value.first().filter(|first| first.value.is_zero()) {
        issues.error(first.at, format!("a step of {name} must be above 0"), HINT);
    }
    Some(Field { value: steps.value.into_iter().map(|step| step.value).collect(), at: steps.at })
}
