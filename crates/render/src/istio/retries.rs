//! `VirtualService`: retries, for safe methods and for the others.

use super::object;
use crate::{
    ledger::{Fate, Page},
    subject::{Subject, seconds},
};
use serde_json::{Value, json};

/// The fields that ask for one.
const ASKED_BY: [&str; 2] = ["retry.perTryTimeout", "retry.attempts"];

/// One for each name of the service, where retries were asked for.
pub(super) fn render(subject: &Subject<'_>, hosts: &[String]) -> Vec<Value> {
    let asked = subject.written.iter().any(|(field, _)| ASKED_BY.contains(field));
    if !asked || !subject.takes_requests() {
        return Vec::new();
    }
    let retry = &subject.policy().retry;
    let of = |(at, host): (usize, &String)| {
        let route = json!([{"destination": {"host": host}}]);
        let safe = json!({
            "name": "safe",
            "match": [{"method": {"regex": "GET|HEAD|OPTIONS"}}],
            "retries": {
                "attempts": retry.attempts,
                "perTryTimeout": seconds(retry.per_try_timeout),
                "retryOn": "connect-failure,refused-stream,reset,5xx",
                "retryRemoteLocalities": true,
            },
            "route": route,
        });
        let others = json!({
            "name": "others",
            // Only what cannot have reached an endpoint.
            "retries": {
                "attempts": retry.attempts,
                "retryOn": "connect-failure,refused-stream",
                "retryRemoteLocalities": true,
            },
            "route": route,
        });
        let name = match at {
            0 => subject.name.name().to_owned(),
            _ => format!("{}-fleet", subject.name.name()),
        };
        let spec = json!({"hosts": [host], "http": [safe, others]});
        object("VirtualService", subject, &name, &spec)
    };
    hosts.iter().enumerate().map(of).collect()
}

pub(super) fn account(subject: &Subject<'_>, page: &mut Page<'_>) {
    if subject.takes_requests() {
        page.approximated(
            "retry.perTryTimeout",
            "VirtualService retries.perTryTimeout for GET, HEAD and OPTIONS: a try that takes longer is given up, not hedged",
        );
        page.said("retry.attempts", "VirtualService retries.attempts");
        page.approximated(
            "retry.budget.minimum",
            "connectionPool.http.maxRetries: so many retries at a time, whatever is in progress",
        );
    } else {
        for field in ["retry.perTryTimeout", "retry.attempts", "retry.budget.minimum"] {
            page.lost(field, "connections are passed on as bytes, and are not tried again");
        }
    }
    if !ASKED_BY.iter().any(|field| page.has(field)) {
        let how = "Istio's own: two retries, for all methods alike";
        page.by_default("retry", Fate::Approximated(how.to_owned()));
    }
}
