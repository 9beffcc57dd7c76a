//! CDS: how a gateway treats the hosts of a service. Nothing here depends on health, on a plan or on a
//! policy, because ANY change of a cluster wipes its ejections and warms it anew (ENVOY.md): plans move
//! through EDS, policies through RDS. The cluster of a service stays as it is while the service lives.

use crate::{
    proto::{ads, any, duration, flag, percent, uint},
    resource::{Resource, eastwest_endpoints_name, edge_endpoints_name},
};
use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            CircuitBreakers, Cluster, OutlierDetection,
            circuit_breakers::{Thresholds, thresholds::RetryBudget},
            cluster::{
                ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
                common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
            },
        },
        core::v3::{Http1ProtocolOptions, HttpProtocolOptions as CommonOptions},
    },
    extensions::upstreams::http::v3::{
        HttpProtocolOptions,
        http_protocol_options::{
            ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
        },
    },
};
use std::{collections::HashMap, time::Duration};
use tidegate_model::{ServiceName, Zone};

/// The bytes that Envoy holds for one side of one connection before it stops reading. A request
/// whose body does not fit cannot be retried, so the 32 KiB of Envoy's hardened example would
/// fail uploads when a zone dies; the default of 1 MiB lets few slow clients take all memory.
pub(crate) const BUFFER_BYTES: u32 = 256 * 1024;

/// A host in the same region answers a SYN within milliseconds, one across the world within 300. Envoy's per-try timeout
/// does not run while a connection is made, so this is what a black hole costs a request that needs a new one: when a
/// zone vanished, the p99 of the cut-over was 505 ms with 500 ms here, against a goal of 500.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// Shorter than the keep-alive of common servers (Node.js 5 s, Apache 5 s): a connection that the
/// server closes just as an unsafe request goes out on it fails that request, and it may not be repeated.
const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// Connections, waiting and running requests: so many that a fault meets no limit of the gateway.
/// Load is limited by capacity in the plan; Envoy's defaults of 1024 would fail requests in the
/// rush onto the surviving zones, just when all were to be saved.
const BREAKER: u32 = 100_000;

/// How long an ejected host gets nothing. Envoy ends an ejection by time alone, also into a zone
/// that is still dead: long enough that the agent has marked the host by then (at most 3 s with the
/// default check), short enough that a healed host is used again while no agent is there to say so.
const EJECTION: Duration = Duration::from_secs(10);

/// Envoy multiplies ejections by their number up to 300 s. Hold-down is the engine's business; what
/// is kept out longer than this would be missing behind its back.
const MAX_EJECTION: Duration = Duration::from_secs(60);

/// The cluster of a service at edge gateways of one zone. Its endpoints are the plan for that zone
/// ([`crate::edge_endpoints`]).
#[must_use]
pub fn edge_cluster(service: &ServiceName, source_zone: &Zone) -> Resource {
    let mut cluster = cluster(service, edge_endpoints_name(service, source_zone));
    if let Some(common) = &mut cluster.common_lb_config {
        // Without it Envoy spreads by the number of hosts and ignores the shares of the plan.
        common.locality_config_specifier =
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}));
    }
    Resource::cluster(&cluster)
}

/// The cluster of a service at east-west gateways: this cluster's endpoints only
/// ([`crate::eastwest_endpoints`]), all healthy ones alike.
///
/// It has no locality weights: with the overprovisioning factor that Tidegate needs, a zone with
/// one of ten endpoints left would keep its whole weight, and that one endpoint the load of ten.
#[must_use]
pub fn eastwest_cluster(service: &ServiceName) -> Resource {
    Resource::cluster(&cluster(service, eastwest_endpoints_name(service)))
}

fn cluster(service: &ServiceName, endpoints: String) -> Cluster {
    Cluster {
        name: service.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), service_name: endpoints }),
        connect_timeout: duration(CONNECT_TIMEOUT),
        per_connection_buffer_limit_bytes: uint(BUFFER_BYTES),
        // Of two hosts the one with fewer requests in progress: a host that freezes or slows down gets
        // less from the first request that hangs on it, where ROUND_ROBIN feeds it until it is ejected.
        lb_policy: LbPolicy::LeastRequest.into(),
        common_lb_config: Some(CommonLbConfig {
            // Panic only when nothing is healthy; Envoy rounds to whole numbers. Not 0 ("never panic, answer
            // 503"), not even where the policy says Shed: a service that is slower than the per-try timeout
            // has all of its hosts ejected, and 116 of 150 requests failed with 0, none with 1. What is to
            // be shed is said by the assignment, which is empty then.
            healthy_panic_threshold: percent(1.0),
            // The default of 1 s held back ejections: 212 errors against 19 when a zone died.
            update_merge_window: duration(Duration::ZERO),
            ..Default::default()
        }),
        // An endpoint that left EDS is gone, whatever an ejection or a check still says of it.
        ignore_health_on_host_removal: true,
        circuit_breakers: Some(circuit_breakers()),
        outlier_detection: Some(outlier_detection()),
        // One entry only: the field is a hash map, and two would come in any order.
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            any(&HttpProtocolOptions {
                common_http_protocol_options: Some(CommonOptions {
                    idle_timeout: duration(UPSTREAM_IDLE),
                    ..Default::default()
                }),
                upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
                    ExplicitHttpConfig {
                        protocol_config: Some(ProtocolConfig::HttpProtocolOptions(
                            Http1ProtocolOptions::default(),
                        )),
                    },
                )),
                ..Default::default()
            }),
        )]),
        ..Default::default()
    }
}

fn circuit_breakers() -> CircuitBreakers {
    CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: uint(BREAKER),
            max_pending_requests: uint(BREAKER),
            max_requests: uint(BREAKER),
            // The default, 3 retries at a time, failed 106 of 599 requests when a zone died. Nor do 100 % of the
            // requests in progress do, with at least 50: when a connection times out, all that wait for its host fail
            // at once, and count neither as waiting nor as running while they are tried anew: 23 of 200 requests per
            // second failed when both zones of a cluster vanished. What bounds a storm is the number of attempts.
            retry_budget: Some(RetryBudget {
                budget_percent: percent(100.0),
                min_retry_concurrency: uint(BREAKER),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn outlier_detection() -> OutlierDetection {
    OutlierDetection {
        interval: duration(Duration::from_secs(1)),
        base_ejection_time: duration(EJECTION),
        max_ejection_time: duration(MAX_EJECTION),
        // Of the whole service, not of a priority: the default of 10 % means that the loss of a zone ejects
        // nothing.
        max_ejection_percent: uint(100),
        // 502, 503, 504, and what Envoy counts as these: refused, reset, timed out.
        consecutive_gateway_failure: uint(3),
        enforcing_consecutive_gateway_failure: uint(100),
        // An application's 500 is an answer, not a dead host.
        enforcing_consecutive_5xx: uint(0),
        // Statistics across hosts would eject the slowest of a healthy service.
        enforcing_success_rate: uint(0),
        enforcing_failure_percentage: uint(0),
        // Not split. When Envoy counts its own errors apart, every connection that comes about resets their
        // count, so under load a host that accepts and never answers is never ejected: two seconds after half
        // of the hosts froze the median request still took 200 ms, against 0.5 ms now. Connect failures, resets
        // and timeouts count as 503 and 504.
        split_external_local_origin_errors: false,
        successful_active_health_check_uneject_host: flag(false),
        ..Default::default()
    }
}
