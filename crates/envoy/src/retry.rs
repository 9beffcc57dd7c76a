//! Which requests may be tried again, where, and how soon.

use crate::proto::{any, duration, uint};
use envoy_types::pb::envoy::{
    config::route::v3::{
        HedgePolicy, RetryPolicy,
        retry_policy::{
            RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
        },
    },
    extensions::retry::{
        host::previous_hosts::v3::PreviousHostsPredicate,
        priority::previous_priorities::v3::PreviousPrioritiesConfig,
    },
};
use std::time::Duration;
use tidegate_api::Retry;

/// Methods that change nothing (RFC 9110, 9.2.1), as a whole-string regular expression.
pub(crate) const SAFE_METHODS: &str = "GET|HEAD|OPTIONS";

/// Whether it is one of [`SAFE_METHODS`].
pub(crate) fn is_safe(method: &str) -> bool {
    SAFE_METHODS.split('|').any(|safe| safe == method)
}

/// What no server has acted on can be repeated, whatever the method.
const UNSAFE_RETRY_ON: &str = "connect-failure,refused-stream,reset-before-request";

/// `gateway-error` is 502, 503 and 504. An application's 500 is its answer.
const SAFE_RETRY_ON: &str = "connect-failure,refused-stream,reset,gateway-error";

/// Tries at an east-west gateway after the first, on other endpoints of this cluster. The edge has tries of
/// its own.
const EASTWEST_ATTEMPTS: u32 = 2;

/// The edge, for safe methods: any failure, and silence too, is tried elsewhere.
pub(crate) fn edge_safe(retry: &Retry) -> RetryPolicy {
    RetryPolicy {
        retry_on: SAFE_RETRY_ON.to_owned(),
        per_try_timeout: duration(retry.per_try_timeout),
        retry_priority: Some(other_priorities()),
        ..elsewhere(retry.attempts)
    }
}

/// The edge, for all other methods: only what cannot repeat work.
pub(crate) fn edge_unsafe(retry: &Retry) -> RetryPolicy {
    RetryPolicy {
        retry_on: UNSAFE_RETRY_ON.to_owned(),
        retry_priority: Some(other_priorities()),
        ..elsewhere(retry.attempts)
    }
}

/// The east-west gateway, for safe methods. No per-try timeout: the edge decides how long to wait, and
/// two that hedge would double each other's work.
pub(crate) fn eastwest_safe() -> RetryPolicy {
    RetryPolicy { retry_on: SAFE_RETRY_ON.to_owned(), ..elsewhere(EASTWEST_ATTEMPTS) }
}

/// The east-west gateway, for all other methods.
pub(crate) fn eastwest_unsafe() -> RetryPolicy {
    RetryPolicy { retry_on: UNSAFE_RETRY_ON.to_owned(), ..elsewhere(EASTWEST_ATTEMPTS) }
}

/// When a try is late, the next one starts beside it and the first answer wins: the same speed as giving
/// the late one up, and a slow but living server still answers.
pub(crate) fn hedge() -> HedgePolicy {
    HedgePolicy { hedge_on_per_try_timeout: true, ..Default::default() }
}

fn elsewhere(attempts: u32) -> RetryPolicy {
    RetryPolicy {
        num_retries: uint(attempts),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(any(&PreviousHostsPredicate {}))),
        }],
        // How often to draw again when a host was tried already; the default of 1 often ends at the dead one.
        host_selection_retry_max_attempts: 5,
        // A retry goes to another host, so there is nothing to wait for. The default of 25 to 250 ms is for
        // trying the same one again, and would be most of the time that a request may take. The budget of
        // the cluster prevents a storm.
        retry_back_off: Some(RetryBackOff {
            base_interval: duration(Duration::from_millis(1)),
            max_interval: duration(Duration::from_millis(10)),
        }),
        ..Default::default()
    }
}

/// Each retry leaves the priorities that were tried. Without it all tries go to priority 0 until its hosts
/// are ejected: 599 of 599 requests failed when it died.
fn other_priorities() -> RetryPriority {
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(any(&PreviousPrioritiesConfig {
            update_frequency: 1,
        }))),
    }
}
