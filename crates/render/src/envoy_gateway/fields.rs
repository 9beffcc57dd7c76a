//! What became of each field of a policy in Envoy Gateway.

use super::policy::unsaid;
use crate::{
    ledger::{Fate, Page},
    never,
    order::Zonal,
    subject::Subject,
};
use tidegate_engine::{Proximity, WhenExhausted};

pub(super) fn account(subject: &Subject<'_>, page: &mut Page<'_>) {
    let policy = subject.policy();
    never::account(page, &["residency", "proximity.by"]);
    order(subject, page);
    active(subject, page);
    passive(page);
    match policy.engine.when_exhausted.value {
        WhenExhausted::Spread => {
            page.approximated("whenExhausted", "healthCheck.panicThreshold 1: with none left all are tried");
        }
        WhenExhausted::Shed => {
            page.approximated(
                "whenExhausted",
                "healthCheck.panicThreshold 0: with none left requests get 503, without retry-after",
            );
        }
    }
    page.lost(
        "retry.perTryTimeout",
        "retry.perRetry.timeout is for all methods, and would end slow requests that must not be repeated",
    );
    page.approximated(
        "retry.attempts",
        "retry.numRetries, two of them in a place: for all methods only what cannot have reached an endpoint",
    );
    if !page.has("retry.attempts") {
        let how = "retry: for all methods only what cannot have reached an endpoint; no try is hedged";
        page.by_default("retry", Fate::Approximated(how.to_owned()));
    }
    page.approximated(
        "retry.budget.minimum",
        "circuitBreaker.maxParallelRetries: so many retries at a time, whatever is in progress",
    );
    for (field, by) in [
        ("circuitBreaker.maxConnections", "circuitBreaker.maxConnections"),
        ("circuitBreaker.maxPendingRequests", "circuitBreaker.maxPendingRequests"),
        ("circuitBreaker.maxParallelRequests", "circuitBreaker.maxParallelRequests"),
        ("circuitBreaker.maxRequestsPerConnection", "circuitBreaker.maxRequestsPerConnection"),
    ] {
        page.said(field, &format!("{by}, for each proxy"));
    }
    page.approximated(
        "drain.maxAge",
        "timeout.http.maxConnectionDuration: the age of a connection, not of a stream in it, and all at once",
    );
    page.said("slowStart.window", "loadBalancer.slowStart.window");
    page.lost(
        "failback.holdDown",
        "a place gets its traffic back as soon as its endpoints are healthy, all at once",
    );
}

/// The order of places, and what decides when the next one serves.
fn order(subject: &Subject<'_>, page: &mut Page<'_>) {
    let order = &subject.order;
    let mut how = Vec::new();
    match order.zonal() {
        Zonal::Own => how.push("loadBalancer.zoneAware.preferLocal for the gateway's own zone".to_owned()),
        Zonal::Any => {}
        Zonal::Weighted => page.lost("failover", "zones have no weights"),
    }
    let standing_by = order.tiers.len().saturating_sub(1);
    if order.others(subject.cluster).next().is_some() {
        how.push("a Backend for each other cluster, with weights as they are now".to_owned());
    }
    if standing_by > 0 {
        how.push("fallback: true where it stands by".to_owned());
    }
    if standing_by > 1 {
        page.lost("failover", format!("{standing_by} tiers stand by, and all fallbacks are one"));
    }
    if order.differs {
        page.lost("failover", "all callers of a cluster have the order of its first zone");
    }
    if order.interleaved {
        page.lost("failover", "a cluster is one place: its zones are not kept apart around another cluster");
    }
    if order.tiers.iter().skip(1).any(|tier| tier.contains_key(subject.cluster)) {
        page.lost(
            "failover",
            "a Service cannot stand by: this cluster's own one serves beside the first tier",
        );
    }
    let unreachable = order.others(subject.cluster).filter(|cluster| subject.gateways(cluster).is_empty());
    for cluster in unreachable {
        page.lost("failover", format!("cluster {cluster} has no address"));
    }
    if how.is_empty() {
        how.push("its Service alone, all zones alike".to_owned());
    }
    let how = how.join("; ");
    if page.has("failover") {
        page.approximated("failover", how);
    } else {
        page.by_default("failover", Fate::Approximated(how));
    }
    page.approximated("residency", "routes lead to allowed clusters only");
    match subject.policy().engine.proximity.value {
        Proximity::Measured => {
            page.lost("proximity.by", "nothing is measured: the declared distances are taken");
        }
        Proximity::Declared => {
            page.approximated("proximity.by", "the declared distances, as they are at the time of rendering");
        }
    }
    let spill = "fallbacks take over in proportion once less than 72 % of the endpoints before them are healthy; Envoy Gateway fixes that";
    match subject.policy().engine.failover_threshold.value.ppm() {
        690_000..=730_000 => page.approximated("failoverThreshold", spill),
        _ => page.lost("failoverThreshold", spill),
    }
}

fn active(subject: &Subject<'_>, page: &mut Page<'_>) {
    const NONE: &str =
        "nothing is checked, as the policy says; healthCheck.passive stands in, or no fallback would serve";
    let Some(check) = &subject.policy().active_check else {
        page.approximated("healthCheck.active.type", NONE);
        for field in [
            "healthCheck.active.interval",
            "healthCheck.active.timeout",
            "healthCheck.active.unhealthyThreshold",
            "healthCheck.active.healthyThreshold",
        ] {
            page.lost(field, NONE);
        }
        return;
    };
    let each = "each proxy checks by itself, the gateways of other clusters too";
    page.approximated("healthCheck.active.type", format!("healthCheck.active; {each}"));
    for unsaid in unsaid(check) {
        page.lost("healthCheck.active.type", format!("healthCheck.active does not say {unsaid}"));
    }
    page.said("healthCheck.active.interval", "healthCheck.active.interval");
    page.said("healthCheck.active.timeout", "healthCheck.active.timeout");
    page.approximated(
        "healthCheck.active.unhealthyThreshold",
        "healthCheck.active.unhealthyThreshold; the check after a failure comes with the next interval, not at once",
    );
    page.said("healthCheck.active.healthyThreshold", "healthCheck.active.healthyThreshold");
}

/// Errors of requests: what outlier detection has for it.
fn passive(page: &mut Page<'_>) {
    let each = "each proxy counts by itself";
    page.approximated("healthCheck.passive.errors", format!("healthCheck.passive; {each}"));
    page.approximated(
        "healthCheck.passive.errors.percentage",
        "healthCheck.passive.failurePercentageThreshold; Envoy also ejects after 5 errors in a row",
    );
    page.lost(
        "healthCheck.passive.errors.minimumRequests",
        "failurePercentageThreshold counts from 50 requests in an interval, and with five endpoints or more",
    );
    page.approximated("healthCheck.passive.errors.window", "healthCheck.passive.interval");
    page.approximated(
        "healthCheck.passive.errors.ejection",
        "healthCheck.passive.baseEjectionTime: times the number of ejections, not doubled",
    );
    page.approximated(
        "healthCheck.passive.errors.maxEjectionPercent",
        format!("healthCheck.passive.maxEjectionPercent; {each}"),
    );
}
