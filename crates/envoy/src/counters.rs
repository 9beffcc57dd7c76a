//! The counters of a gateway that tell how much is asked of a service, and which other statistics a gateway keeps.
//!
//! Demand is downstream requests, each once. No single counter of Envoy says that: `upstream_rq_total` and load reports
//! count tries, `upstream_rq_completed` counts every try that a request had under way when it timed out (four for one
//! hedged request to a frozen service) and none of a client that gave up. But every request, and every retry and hedge,
//! comes to exactly one of these ends:
//!
//! - it got a connection (`upstream_rq_total`),
//! - none could be made for it (`upstream_rq_pending_failure_eject`),
//! - it was given up while it waited for one (`upstream_rq_cancelled`),
//! - there was no host (`upstream_cx_none_healthy`),
//! - a limit was reached (`upstream_rq_pending_overflow`),
//! - the plan shed it, which load reports tell;
//!
//! and each retry and hedge was counted when it was decided (`upstream_rq_retry`). The sum of the first less the last is
//! the number of requests that came in. The tests in `tests/it/real/demand.rs` prove it on the binary.

use serde_json::{Value, json};
use tidegate_model::ServiceName;

/// The counters of a service's cluster that add to demand.
const TRIES: [&str; 5] = [
    "upstream_rq_total",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_cancelled",
    "upstream_cx_none_healthy",
    "upstream_rq_pending_overflow",
];

/// The counter that takes from it.
const RETRIES: &str = "upstream_rq_retry";

/// What people ask for besides, of each service that has had requests. No gauge that is set for every cluster, as those of
/// its membership are: Envoy sends them all each second.
const FOR_PEOPLE: [&str; 8] = [
    "upstream_rq_2xx",
    "upstream_rq_4xx",
    "upstream_rq_5xx",
    "upstream_rq_completed",
    "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_retry_overflow",
    "outlier_detection.ejections_active",
];

/// Which service a counter is about, and what it adds to the number of its requests (or takes from it, if negative);
/// `None` if it tells nothing of demand.
#[must_use]
pub fn demand_counter(name: &str, value: u64) -> Option<(ServiceName, i128)> {
    let (service, counter) = name.strip_prefix("cluster.")?.rsplit_once('.')?;
    let value = i128::from(value);
    let adds = match counter {
        RETRIES => -value,
        _ if TRIES.contains(&counter) => value,
        _ => return None,
    };
    Some((service.parse().ok()?, adds))
}

/// The statistics that a gateway keeps. Of each service only these: Envoy has more than a hundred for each cluster, and
/// sends all that it has to the agent every second. What is not of a service is kept whole.
pub(crate) fn kept_stats() -> Value {
    let of_service = TRIES.into_iter().chain([RETRIES]).chain(FOR_PEOPLE);
    let of_service = of_service.map(|name| name.replace('.', "\\.")).collect::<Vec<_>>().join("|");
    json!([
        { "safe_regex": { "regex": format!("cluster\\.[^/]+/[^/]+\\.({of_service})") } },
        // No service: their names hold a slash.
        { "safe_regex": { "regex": "cluster\\.[^/]*" } },
        // No cluster at all. (Expressions have no "not".)
        { "safe_regex": { "regex": "([^c]|c[^l]|cl[^u]|cluster_).*" } },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_tells_its_service_and_what_it_adds() {
        let service: ServiceName = "shop/web".parse().unwrap();
        let of = |name: &str| demand_counter(&format!("cluster.shop/web.{name}"), 7);
        for name in TRIES {
            assert_eq!(of(name), Some((service.clone(), 7)));
        }
        assert_eq!(of(RETRIES), Some((service, -7)));
        assert_eq!(of("upstream_rq_completed"), None);
        assert_eq!(of("retry.upstream_rq_503"), None);
        assert_eq!(demand_counter("cluster.tidegate-agent.upstream_rq_total", 7), None);
        assert_eq!(demand_counter("http.shop.downstream_rq_total", 7), None);
    }
}
