//! Istio: a `DestinationRule` for each service within the cluster; where other clusters serve it too, a `ServiceEntry` with its own
//! `DestinationRule` for the service of the fleet; a `VirtualService` where retries were asked for.
//!
//! The order of clusters is said by labels: an endpoint of tier T of N has the first N-T of the labels `tidegate.dev/rank-1`,
//! `rank-2`, ..., and `failoverPriority` sorts endpoints by how many of them match, in order.

mod entry;
mod retries;
mod rule;

use crate::{
    ledger::{Fate, Ledger, Page},
    never,
    order::Zonal,
    subject::Subject,
};
use serde_json::{Value, json};
use tidegate_engine::WhenExhausted;

const API_VERSION: &str = "networking.istio.io/v1beta1";

/// An object of Istio's.
fn object(kind: &str, subject: &Subject<'_>, name: &str, spec: &Value) -> Value {
    let metadata = json!({
        "name": name,
        "namespace": subject.name.namespace(),
        "labels": {"app.kubernetes.io/managed-by": "tidegate-render"},
    });
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

/// The name of the service within its cluster.
fn local_host(subject: &Subject<'_>) -> String {
    format!("{}.{}.svc.cluster.local", subject.name.name(), subject.name.namespace())
}

/// The name of the service in the fleet, as the multi-cluster services of Kubernetes have it.
fn fleet_host(subject: &Subject<'_>) -> String {
    format!("{}.{}.svc.clusterset.local", subject.name.name(), subject.name.namespace())
}

pub(crate) fn render(subjects: &[Subject<'_>], ledger: &mut Ledger) -> Vec<Value> {
    let mut objects = Vec::new();
    for subject in subjects {
        let entry = entry::render(subject);
        objects.push(rule::local(subject));
        let mut hosts = vec![local_host(subject)];
        if let Some(entry) = entry {
            ledger.assume(
                "the addresses of FleetCluster.spec.eastWestGateways are those of gateways that route by host name, and let the \
                 mesh's proxies in; TLS between clusters is not rendered",
            );
            ledger.assume(
                "callers ask for NAME.NAMESPACE.svc.clusterset.local to reach a service in other clusters too; under \
                 NAME.NAMESPACE.svc.cluster.local they stay in their own",
            );
            objects.push(entry);
            objects.push(rule::fleet(subject));
            hosts.push(fleet_host(subject));
        }
        objects.extend(retries::render(subject, &hosts));
        account(subject, ledger);
    }
    objects
}

/// What became of each field.
fn account(subject: &Subject<'_>, ledger: &mut Ledger) {
    let policy = subject.policy();
    let mut page = ledger.page(subject.name, subject.written);
    never::account(&mut page, &["residency", "proximity.by"]);
    order(subject, &mut page);
    for field in [
        "healthCheck.active.type",
        "healthCheck.active.interval",
        "healthCheck.active.timeout",
        "healthCheck.active.unhealthyThreshold",
        "healthCheck.active.healthyThreshold",
    ] {
        page.lost(
            field,
            "proxies check nothing by themselves: readiness and outlierDetection stand in for it",
        );
    }
    passive(&mut page);
    retries::account(subject, &mut page);
    page.approximated(
        "failback.holdDown",
        "outlierDetection.baseEjectionTime: an endpoint stays out for so long, times its ejections; a place is not held",
    );
    let panic = match policy.engine.when_exhausted.value {
        WhenExhausted::Spread => "outlierDetection.minHealthPercent 1: with none left all are tried",
        WhenExhausted::Shed => {
            "outlierDetection.minHealthPercent 0: with none left requests get 503, without retry-after"
        }
    };
    page.approximated("whenExhausted", panic);
    let pool = [
        ("circuitBreaker.maxConnections", "connectionPool.tcp.maxConnections"),
        ("circuitBreaker.maxPendingRequests", "connectionPool.http.http1MaxPendingRequests"),
        ("circuitBreaker.maxParallelRequests", "connectionPool.http.http2MaxRequests"),
        ("circuitBreaker.maxRequestsPerConnection", "connectionPool.http.maxRequestsPerConnection"),
    ];
    for (field, by) in pool {
        page.said(field, &format!("{by}, for each proxy"));
    }
    page.approximated(
        "drain.maxAge",
        "connectionPool.tcp.maxConnectionDuration: the age of a connection, not of a stream in it, and all at once",
    );
    page.said("slowStart.window", "loadBalancer.warmupDurationSecs");
    page.close();
}

/// The order of places, and what decides when the next one serves.
fn order(subject: &Subject<'_>, page: &mut Page<'_>) {
    let order = &subject.order;
    let mut how = match order.zonal() {
        Zonal::Own => "localityLbSetting.failoverPriority by region and zone".to_owned(),
        Zonal::Any => "localityLbSetting.enabled: false, as all zones serve alike".to_owned(),
        Zonal::Weighted => {
            page.lost(
                "failover",
                "with localityLbSetting.distribute a zone that fails is left, but no order follows it",
            );
            "localityLbSetting.distribute, in whole percent".to_owned()
        }
    };
    if order.others(subject.cluster).next().is_some() {
        if subject.ports.is_empty() {
            let why = "its Service names no port, so no ServiceEntry leads to other clusters";
            page.lost("failover", why);
            page.by_default("other clusters", Fate::Lost(why.to_owned()));
        } else {
            let tiers = order.tiers.len();
            how += &format!("; {tiers} tiers of clusters by labels of the ServiceEntry, as they are now");
        }
    }
    if order.differs {
        page.lost("failover", "all callers of a cluster have the order of its first zone");
    }
    if order.interleaved {
        page.lost("failover", "a cluster is one place: its zones are not kept apart around another cluster");
    }
    page.approximated("failover", how.clone());
    page.approximated("residency", "a ServiceEntry lists allowed clusters only; endpoints that Istio itself finds in others are not kept out");
    if !page.has("failover") {
        page.by_default("failover", Fate::Approximated(how));
    }
    if policy_is_measured(subject) {
        page.lost("proximity.by", "nothing is measured: the declared distances are taken");
    } else {
        page.approximated("proximity.by", "the declared distances, as they are at the time of rendering");
    }
    let spill = "the next place takes over in proportion once less than 71 % of a place's endpoints are healthy; Istio fixes that";
    match subject.policy().engine.failover_threshold.value.ppm() {
        690_000..=730_000 => page.approximated("failoverThreshold", spill),
        _ => page.lost("failoverThreshold", spill),
    }
}

fn policy_is_measured(subject: &Subject<'_>) -> bool {
    subject.policy().engine.proximity.value == tidegate_engine::Proximity::Measured
}

/// Errors of requests: what outlier detection has for it.
fn passive(page: &mut Page<'_>) {
    let each = "each proxy counts by itself";
    page.approximated("healthCheck.passive.errors", format!("outlierDetection; {each}"));
    let consecutive =
        "outlierDetection.consecutive5xxErrors: percentage of minimumRequests, and those in a row";
    page.approximated("healthCheck.passive.errors.percentage", consecutive);
    page.approximated("healthCheck.passive.errors.minimumRequests", consecutive);
    page.approximated(
        "healthCheck.passive.errors.window",
        "outlierDetection.interval: how often ejections are decided",
    );
    page.approximated(
        "healthCheck.passive.errors.ejection",
        "outlierDetection.baseEjectionTime: times the number of ejections, not doubled",
    );
    page.approximated(
        "healthCheck.passive.errors.maxEjectionPercent",
        format!("outlierDetection.maxEjectionPercent; {each}, and a place of which more is ill is not left"),
    );
    if !page.has("healthCheck.passive.errors") {
        let how = "outlierDetection with Istio's own limits, up to 100 % of a place: without it no place is ever left";
        page.by_default("healthCheck.passive.errors", Fate::Approximated(how.to_owned()));
    }
}
