//! `DestinationRule`.

use super::{entry, fleet_host, local_host, object};
use crate::{
    order::Zonal,
    subject::{Subject, seconds},
};
use serde_json::{Map, Value, json};
use tidegate_engine::WhenExhausted;

/// Istio's own: so many errors in a row eject an endpoint.
const CONSECUTIVE_ERRORS: u32 = 5;
/// Istio's own: how often ejections are decided.
const INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// For the service within its cluster.
pub(super) fn local(subject: &Subject<'_>) -> Value {
    let locality = match subject.order.zonal() {
        Zonal::Own => json!({
            "enabled": true,
            "failoverPriority": ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"],
        }),
        Zonal::Any => json!({"enabled": false}),
        Zonal::Weighted => json!({"enabled": true, "distribute": distribute(subject)}),
    };
    let spec = json!({"host": local_host(subject), "trafficPolicy": traffic(subject, &locality)});
    object("DestinationRule", subject, subject.name.name(), &spec)
}

/// For the service of the fleet.
pub(super) fn fleet(subject: &Subject<'_>) -> Value {
    let locality = match subject.order.tiers.len() {
        0 | 1 => json!({"enabled": false}),
        tiers => {
            let ranks: Vec<String> = (1..tiers).map(|rank| format!("{}=yes", entry::rank(rank))).collect();
            json!({"enabled": true, "failoverPriority": ranks})
        }
    };
    let spec = json!({"host": fleet_host(subject), "trafficPolicy": traffic(subject, &locality)});
    object("DestinationRule", subject, &format!("{}-fleet", subject.name.name()), &spec)
}

/// The zones by their weights, from each zone, in whole percent.
fn distribute(subject: &Subject<'_>) -> Vec<Value> {
    let Some(region) = subject.region(subject.cluster) else { return Vec::new() };
    let place = |zone: &str| format!("{region}/{zone}/*");
    let from =
        |(zone, to): (&tidegate_model::Zone, &std::collections::BTreeMap<tidegate_model::Zone, u32>)| {
            let percent = percent(&to.values().copied().collect::<Vec<_>>());
            let to: Map<String, Value> = to
                .keys()
                .zip(percent)
                .filter(|(_, percent)| *percent > 0)
                .map(|(zone, percent)| (place(zone.as_str()), percent.into()))
                .collect();
            json!({"from": place(zone.as_str()), "to": to})
        };
    subject.order.zones.iter().map(from).collect()
}

/// Parts as whole percent that sum to 100: the largest remainders are rounded up, the first of equal ones first.
fn percent(parts: &[u32]) -> Vec<u32> {
    let sum: u64 = parts.iter().map(|part| u64::from(*part)).sum();
    if sum == 0 {
        return vec![0; parts.len()];
    }
    let exact = |part: &u32| (u64::from(*part) * 100 / sum, u64::from(*part) * 100 % sum);
    let mut whole: Vec<(u64, u64)> = parts.iter().map(exact).collect();
    let left = 100 - whole.iter().map(|(percent, _)| percent).sum::<u64>();
    let mut by_rest: Vec<usize> = (0..whole.len()).collect();
    by_rest.sort_by_key(|at| std::cmp::Reverse(whole[*at].1));
    for at in by_rest.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        whole[at].0 += 1;
    }
    whole.into_iter().map(|(percent, _)| u32::try_from(percent).unwrap_or(100)).collect()
}

fn traffic(subject: &Subject<'_>, locality: &Value) -> Value {
    let policy = subject.policy();
    let mut balancer = json!({"simple": "LEAST_REQUEST", "localityLbSetting": locality});
    if let Some(window) = policy.limits.slow_start {
        balancer["warmupDurationSecs"] = seconds(window).into();
    }
    let mut traffic = json!({"loadBalancer": balancer, "outlierDetection": outliers(subject)});
    let pool = pool(subject);
    if pool.as_object().is_some_and(|pool| !pool.is_empty()) {
        traffic["connectionPool"] = pool;
    }
    traffic
}

/// Without it Istio leaves no place.
fn outliers(subject: &Subject<'_>) -> Value {
    let policy = subject.policy();
    let panic = match policy.engine.when_exhausted.value {
        WhenExhausted::Spread => 1,
        WhenExhausted::Shed => 0,
    };
    let hold = policy.engine.failback.hold_down.value;
    let (errors, interval, ejection, most) = match &policy.error_check {
        Some(check) => {
            let errors = (check.minimum_requests * check.percentage / 100).max(1);
            (errors, check.window, check.ejection, check.max_ejection_percent)
        }
        None => (CONSECUTIVE_ERRORS, INTERVAL, hold, 100),
    };
    json!({
        "consecutive5xxErrors": errors,
        "interval": seconds(interval),
        // At least a millisecond: Istio refuses 0.
        "baseEjectionTime": seconds(ejection.max(std::time::Duration::from_millis(1))),
        "maxEjectionPercent": most,
        "minHealthPercent": panic,
    })
}

fn pool(subject: &Subject<'_>) -> Value {
    let policy = subject.policy();
    let limits = &policy.limits;
    let part = |fields: Vec<(&str, Option<Value>)>| -> Option<Value> {
        let map: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!map.is_empty()).then_some(Value::Object(map))
    };
    let tcp = part(vec![
        ("maxConnections", limits.max_connections.map(Value::from)),
        ("maxConnectionDuration", policy.drain_max_age.map(|age| seconds(age).into())),
    ]);
    let http = part(vec![
        ("http1MaxPendingRequests", limits.max_pending_requests.map(Value::from)),
        ("http2MaxRequests", limits.max_parallel_requests.map(Value::from)),
        ("maxRequestsPerConnection", limits.max_requests_per_connection.map(Value::from)),
        ("maxRetries", limits.retry_budget_minimum.map(Value::from)),
    ]);
    part(vec![("tcp", tcp), ("http", http.filter(|_| subject.takes_requests()))]).unwrap_or_else(|| json!({}))
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn parts_become_whole_percent_that_sum_to_a_hundred() {
        assert_eq!(percent(&[9000, 1000]), [90, 10]);
        assert_eq!(percent(&[3333, 3333, 3334]), [33, 33, 34]);
        assert_eq!(percent(&[1, 1, 1]), [34, 33, 33]);
        assert_eq!(percent(&[10000]), [100]);
        assert_eq!(percent(&[0]), [0]);
    }
}
