//! Guards of a `Drill` that ask a Prometheus.

use super::drill_target::url;
use crate::{
    drill::{DrillGuard, PrometheusAsk},
    fields::{Fields, Issues, Wrong},
    read,
    yaml::{Node, Value},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest query, in bytes: with `%XX` for each byte a URL that servers take.
const MAX_QUERY: usize = 2048;
/// What stands for the window in the queries of an error budget.
const WINDOW: &str = "$window";

fn query(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    if text.len() > MAX_QUERY {
        return Err(Wrong::new(
            format!("a query of at most {MAX_QUERY} bytes"),
            "make a recording rule of it, and ask for that",
        ));
    }
    Ok(text)
}

fn query_with_window(node: &Node) -> Result<String, Wrong> {
    let text = query(node)?;
    if !text.contains(WINDOW) {
        return Err(Wrong::new(
            "a query of the window",
            "write for example 'sum(increase(http_requests_total[$window]))'",
        ));
    }
    Ok(text)
}

fn number(node: &Node) -> Result<f64, Wrong> {
    let found = match &node.value {
        #[expect(clippy::cast_precision_loss, reason = "a bound of this size is a bound all the same")]
        Value::Integer(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    };
    found.filter(|it| it.is_finite()).ok_or_else(|| Wrong::new("a number", "write it without quotes or unit"))
}

/// In days too, as budgets have it.
fn window(node: &Node) -> Result<Duration, Wrong> {
    let days = match &node.value {
        Value::Text(text) => text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()),
        _ => None,
    };
    match days {
        Some(days @ 1..=366) => Ok(DAY * days),
        Some(_) => Err(Wrong::new("a window of 1d to 366d", "write for example 30d")),
        None => read::duration(SECOND * 60..=DAY * 366)(node),
    }
}

/// How often, and how many answers count.
fn pace(fields: &mut Fields<'_>, issues: &mut Issues) -> (Duration, u32) {
    let interval = fields.value("interval", issues, read::duration(SECOND / 10..=SECOND * 60));
    let failures = fields.value("failures", issues, read::integer(1..=100));
    (interval.map_or(SECOND, |it| it.value), failures.map_or(1, |it| it.value))
}

pub(super) fn read_prometheus(mut fields: Fields<'_>, issues: &mut Issues) -> Option<DrillGuard> {
    let at = fields.at;
    let hint = "name the Prometheus: `url: http://prometheus.example:9090`";
    let url = fields.required_value("url", hint, issues, url);
    let hint = "say what is asked, as PromQL: `query: 'sum(rate(http_requests_total{code=~\"5..\"}[1m]))'`";
    let query = fields.required_value("query", hint, issues, query);
    let above = fields.value("above", issues, number).map(|it| it.value);
    let below = fields.value("below", issues, number).map(|it| it.value);
    let (interval, failures) = pace(&mut fields, issues);
    fields.finish(issues);
    if above.is_none() && below.is_none() {
        let hint = "add `above: 5`, or `below: 10`";
        issues.error(at, "nothing says which answer stops the drill", hint);
        return None;
    }
    let ask = PrometheusAsk { url: url?.value, query: query?.value, interval, failures };
    Some(DrillGuard::Prometheus { ask, within: (below, above) })
}

pub(super) fn read_budget(mut fields: Fields<'_>, issues: &mut Issues) -> Option<DrillGuard> {
    let hint = "name the Prometheus: `url: http://prometheus.example:9090`";
    let url = fields.required_value("url", hint, issues, url);
    let hint = "the part of requests that must be good: `objective: 99.9`";
    let objective_at = fields.key_at("objective");
    let objective = fields.required_value("objective", hint, issues, read::percentage);
    let window = fields.value("window", issues, window);
    let hint =
        "the requests that failed: `errors: 'sum(increase(http_requests_total{code=~\"5..\"}[$window]))'`";
    let errors = fields.required_value("errors", hint, issues, query_with_window);
    let hint = "all requests: `total: 'sum(increase(http_requests_total[$window]))'`";
    let total = fields.required_value("total", hint, issues, query_with_window);
    let remaining = fields.value("remaining", issues, read::percentage);
    let (interval, failures) = pace(&mut fields, issues);
    fields.finish(issues);
    let allowed = 1.0 - f64::from(objective?.value.ppm()) / 1e6;
    if allowed <= 0.0 {
        issues.error(
            objective_at,
            "an objective of 100 % has no budget",
            "write for example objective: 99.9",
        );
        return None;
    }
    let window = format!("{}s", window.map_or(DAY * 30, |it| it.value).as_secs());
    let of = |query: &str| query.replace(WINDOW, &window);
    // Without any failure there may be no series of failures at all.
    let query =
        format!("1 - (({}) or vector(0)) / ({}) / {allowed:.6}", of(&errors?.value), of(&total?.value));
    let ask = PrometheusAsk { url: url?.value, query, interval, failures };
    let remaining = remaining.map_or(0.25, |it| f64::from(it.value.ppm()) / 1e6);
    Some(DrillGuard::ErrorBudget { ask, remaining })
}
