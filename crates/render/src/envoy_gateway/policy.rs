//! `BackendTrafficPolicy`, but for its target.

use crate::{
    order::Zonal,
    subject::{Subject, units},
};
use serde_json::{Map, Value, json};
use tidegate_api::{ActiveCheck, CheckKind, ErrorCheck, ExpectedBody, HttpMethod, HttpVersion};
use tidegate_engine::WhenExhausted;

/// Two tries stay in a place before the next one is tried, as Tidegate's gateways do it.
const TRIES_IN_A_PLACE: u32 = 2;

pub(super) fn spec(subject: &Subject<'_>) -> Value {
    let policy = subject.policy();
    let mut health = Map::new();
    if let Some(check) = &policy.active_check {
        health.insert("active".to_owned(), active(check));
    }
    // Something must see that a place is ill, or its fallback never serves.
    if let Some(check) =
        policy.error_check.or_else(|| policy.active_check.is_none().then(ErrorCheck::default))
    {
        health.insert("passive".to_owned(), passive(&check));
    }
    let panic = match policy.engine.when_exhausted.value {
        WhenExhausted::Spread => 1,
        WhenExhausted::Shed => 0,
    };
    health.insert("panicThreshold".to_owned(), panic.into());
    let mut spec = json!({"healthCheck": health, "loadBalancer": balancer(subject), "retry": retry(subject)});
    let breaker = breaker(subject);
    if !breaker.is_empty() {
        spec["circuitBreaker"] = Value::Object(breaker);
    }
    if let Some(age) = policy.drain_max_age {
        spec["timeout"] = json!({"http": {"maxConnectionDuration": units(age)}});
    }
    spec
}

fn active(check: &ActiveCheck) -> Value {
    let mut active = json!({
        "interval": units(check.interval),
        "timeout": units(check.timeout),
        "unhealthyThreshold": check.unhealthy_threshold,
        "healthyThreshold": check.healthy_threshold,
    });
    match &check.kind {
        CheckKind::Tcp => {
            active["type"] = "TCP".into();
            active["tcp"] = json!({});
        }
        CheckKind::Grpc { service, .. } => {
            active["type"] = "GRPC".into();
            active["grpc"] = if service.is_empty() { json!({}) } else { json!({"service": service}) };
        }
        CheckKind::Http { method, path, host, expected_statuses, expected_body, .. } => {
            let method = match method {
                HttpMethod::Get => "GET",
                HttpMethod::Head => "HEAD",
                HttpMethod::Options => "OPTIONS",
            };
            let statuses: Vec<u16> = expected_statuses.iter().flat_map(Clone::clone).collect();
            let mut http = json!({"path": path, "method": method, "expectedStatuses": statuses});
            if let Some(host) = host {
                http["hostname"] = host.as_str().into();
            }
            if let Some(ExpectedBody::Contains(text) | ExpectedBody::StartsWith(text)) = expected_body {
                http["expectedResponse"] = json!({"type": "Text", "text": text});
            }
            active["type"] = "HTTP".into();
            active["http"] = http;
        }
    }
    active
}

/// What of a check is not in [`active`], in the words of a policy.
pub(super) fn unsaid(check: &ActiveCheck) -> Vec<&'static str> {
    let mut unsaid = Vec::new();
    if check.tls.is_some() {
        unsaid.push("TLS of its own (it is asked as the backend is)");
    }
    match &check.kind {
        CheckKind::Http { version, headers, expected_body, .. } => {
            if *version == HttpVersion::Http2 {
                unsaid.push("HTTP/2 (it is asked as the backend is)");
            }
            if !headers.is_empty() {
                unsaid.push("headers");
            }
            if matches!(expected_body, Some(ExpectedBody::StartsWith(_))) {
                unsaid.push("that a text is at the beginning (anywhere is taken)");
            }
        }
        CheckKind::Grpc { host: Some(_), .. } => unsaid.push("the host"),
        CheckKind::Grpc { .. } | CheckKind::Tcp => {}
    }
    unsaid
}

fn passive(check: &ErrorCheck) -> Value {
    json!({
        "failurePercentageThreshold": check.percentage,
        "interval": units(check.window),
        "baseEjectionTime": units(check.ejection),
        "maxEjectionPercent": check.max_ejection_percent,
    })
}

fn balancer(subject: &Subject<'_>) -> Value {
    let mut balancer = json!({"type": "LeastRequest"});
    if let Some(window) = subject.policy().limits.slow_start {
        balancer["slowStart"] = json!({"window": units(window)});
    }
    if subject.order.zonal() == Zonal::Own {
        balancer["zoneAware"] = json!({"preferLocal": {"force": {"minEndpointsInZoneThreshold": 1}}});
    }
    balancer
}

/// For all methods alike, so only what cannot have reached an endpoint is tried again.
fn retry(subject: &Subject<'_>) -> Value {
    json!({
        "numRetries": subject.policy().retry.attempts,
        "numAttemptsPerPriority": TRIES_IN_A_PLACE,
        "retryOn": {"triggers": ["connect-failure", "refused-stream", "reset-before-request"]},
    })
}

fn breaker(subject: &Subject<'_>) -> Map<String, Value> {
    let limits = &subject.policy().limits;
    let fields = [
        ("maxConnections", limits.max_connections),
        ("maxPendingRequests", limits.max_pending_requests),
        ("maxParallelRequests", limits.max_parallel_requests),
        ("maxParallelRetries", limits.retry_budget_minimum),
        ("maxRequestsPerConnection", limits.max_requests_per_connection),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}
