//! How a gateway talks to the hosts of a service: the protocol, and how much of it at a time. These stand in the cluster,
//! so each change of them wipes its ejections: they change with the manifests only.

use crate::proto::{any, duration, percent, uint};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                CircuitBreakers,
                circuit_breakers::{Thresholds, thresholds::RetryBudget},
                cluster::{LbConfig, LeastRequestLbConfig, SlowStartConfig},
            },
            core::v3::{
                Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions,
                KeepaliveSettings,
            },
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
    },
    google::protobuf::Any,
};
use std::{collections::HashMap, time::Duration};
use tidegate_api::{Limits, Protocol, Upstream};

/// Shorter than the keep-alive of common servers (Node.js 5 s, Apache 5 s): a connection that the
/// server closes just as an unsafe request goes out on it fails that request, and it may not be repeated.
const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// All requests to a host share its HTTP/2 connection. When the host vanishes without a word, nothing but this ends
/// the connection: the ping is sent when it is that old, and every so often.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// An answer to the ping may take that long: a busy host keeps its requests, a dead one is left.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections, waiting and running requests: so many that a fault meets no limit of the gateway.
/// Load is limited by capacity in the plan; Envoy's defaults of 1024 would fail requests in the
/// rush onto the surviving zones, just when all were to be saved.
const BREAKER: u32 = 100_000;

/// Retries in progress, in percent of the requests in progress, and how many there may always be. The default, 3
/// retries at a time, failed 106 of 599 requests when a zone died. Nor do 100 % with at least 50: when a connection times
/// out, all that wait for its host fail at once, and count neither as waiting nor as running while they are tried anew:
/// 23 of 200 requests per second failed when both zones of a cluster vanished. What bounds a storm is the number of
/// attempts, and the budget of a policy.
const RETRY_BUDGET: (u32, u32) = (100, BREAKER);

/// The protocol of the hosts.
pub(crate) fn protocol_options(upstream: &Upstream) -> HashMap<String, Any> {
    let protocol = match upstream.protocol {
        Protocol::Http1 => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        Protocol::Http2 => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
            connection_keepalive: Some(KeepaliveSettings {
                interval: duration(PING_INTERVAL),
                timeout: duration(PING_TIMEOUT),
                ..Default::default()
            }),
            ..Default::default()
        }),
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(CommonOptions {
            idle_timeout: duration(UPSTREAM_IDLE),
            max_requests_per_connection: upstream.limits.max_requests_per_connection.and_then(uint),
            ..Default::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })),
        ..Default::default()
    };
    // One entry only: the field is a hash map, and two would come in any order.
    HashMap::from([("envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(), any(&options))])
}

/// What a connection that names its protocol is told to speak; of a connection that is passed on as bytes nobody asks.
pub(crate) const fn alpn(upstream: &Upstream) -> &'static [&'static str] {
    match (upstream.tunnelled, upstream.protocol) {
        (true, _) => &[],
        (false, Protocol::Http1) => &["http/1.1"],
        (false, Protocol::Http2) => &["h2"],
    }
}

/// How much of it at a time.
pub(crate) fn circuit_breakers(limits: &Limits) -> CircuitBreakers {
    let (budget, minimum) = RETRY_BUDGET;
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: uint(limits.max_connections.unwrap_or(BREAKER)),
            max_pending_requests: uint(limits.max_pending_requests.unwrap_or(BREAKER)),
            max_requests: uint(limits.max_parallel_requests.unwrap_or(BREAKER)),
            retry_budget: Some(RetryBudget {
                budget_percent: percent(limits.retry_budget_percent.unwrap_or(budget).into()),
                min_retry_concurrency: uint(limits.retry_budget_minimum.unwrap_or(minimum)),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// How a host that is new gets its part: from a tenth of it, linearly.
pub(crate) fn slow_start(limits: &Limits) -> Option<LbConfig> {
    limits.slow_start.map(|window| {
        LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            slow_start_config: Some(SlowStartConfig {
                slow_start_window: duration(window),
                ..Default::default()
            }),
            ..Default::default()
        })
    })
}
