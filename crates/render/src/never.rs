//! The fields that no target can say, because they are what Tidegate has and the others have not.

use crate::ledger::{Fate, Page};

/// Fields, and why they are lost.
const NEVER: [(&str, &str); 21] = [
    (
        "minimumHealthy",
        "a place is left as its endpoints fail, without a point at which all of it is given up",
    ),
    ("failoverDelay.partialLoss", "a partial loss counts as soon as it is seen"),
    ("capacity.requestsPerSecond", NO_CAPACITY),
    ("capacity.concurrency", NO_CAPACITY),
    ("capacity.targetUtilization", NO_CAPACITY),
    ("spread", NO_CAPACITY),
    ("failback.mode", NO_FAILBACK),
    ("failback.maxHoldDown", NO_FAILBACK),
    ("failback.ramp.steps", NO_FAILBACK),
    ("failback.ramp.interval", NO_FAILBACK),
    ("failback.requireHeadroom", NO_FAILBACK),
    ("healthCheck.passive.latency", NO_LATENCY),
    ("healthCheck.passive.latency.ratio", NO_LATENCY),
    ("healthCheck.passive.latency.minimumDifference", NO_LATENCY),
    ("healthCheck.passive.latency.maxEjectionPercent", NO_LATENCY),
    ("healthCheck.passive.latency.minimumSiblings", NO_LATENCY),
    ("healthCheck.passive.latency.consecutive", NO_LATENCY),
    ("drain.timeout", "a place that is left finishes what it has for as long as its proxies let it"),
    ("retry.budget.percentage", "retries are limited by a number, if at all"),
    ("residency", "no rule keeps traffic in a region"),
    ("proximity.by", "nothing is measured: the order of the regions is fixed where it is rendered at all"),
];

const NO_CAPACITY: &str =
    "no capacity is known: traffic goes to the nearest place whether it can take it or not";
const NO_FAILBACK: &str = "traffic returns as soon as endpoints are healthy, all at once";
const NO_LATENCY: &str = "no endpoint is compared with its siblings";

/// Accounts for all of them but those that `except` names, which the target has something for.
pub(crate) fn account(page: &mut Page<'_>, except: &[&str]) {
    for (field, why) in NEVER.iter().filter(|(field, _)| !except.contains(field)) {
        page.lost(field, *why);
    }
    if !page.has("failback.holdDown") {
        page.by_default("failback", Fate::Lost(NO_FAILBACK.to_owned()));
    }
    let health =
        "health is what part of the endpoints that are there is healthy, not of those that should be there";
    page.by_default("expected endpoints", Fate::Lost(health.to_owned()));
    let each =
        "each proxy decides by what it sees itself; places are not declared out by several services together";
    page.by_default("location verdicts", Fate::Lost(each.to_owned()));
}
