//! CDS: how a gateway treats the hosts of a service. Nothing here depends on health or on a plan, because
//! ANY change of a cluster wipes its ejections and warms it anew (ENVOY.md): plans move through EDS, and of
//! policies what can through RDS. The cluster of a service stays as it is while its manifests do not change
//! its protocol or its limits ([`Upstream`]).

use crate::{
    backend_tls,
    proto::{ads, duration, flag, percent, uint},
    resource::{Resource, eastwest_endpoints_name, edge_endpoints_name},
    session, stream, tls, upstream,
};
use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster, OutlierDetection,
    cluster::{
        ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbPolicy,
        common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig},
    },
};
use std::time::Duration;
use tidegate_api::Upstream;
use tidegate_model::{ServiceName, Zone};

/// The bytes that Envoy holds for one side of one connection before it stops reading. A request
/// whose body does not fit cannot be retried, so the 32 KiB of Envoy's hardened example would
/// fail uploads when a zone dies; the default of 1 MiB lets few slow clients take all memory.
pub(crate) const BUFFER_BYTES: u32 = 256 * 1024;

/// A host in the same region answers a SYN within milliseconds. Envoy's per-try timeout does not run while a connection is
/// made, so this is what a black hole costs each try of a request that needs a new one: as much as a try itself may take
/// by default (`Retry`), since a request that leaves a dead region has met two of them.
const CONNECT_NEAR: Duration = Duration::from_millis(150);

/// Where it is not known how far the farthest host is: across the world a SYN is answered within 300 ms.
const CONNECT_UNKNOWN: Duration = Duration::from_millis(400);

/// What a connection takes besides the way: jitter, and the work on both sides.
const CONNECT_WORK: Duration = Duration::from_millis(20);

/// How long an ejected host gets nothing. Envoy ends an ejection by time alone, also into a zone
/// that is still dead: long enough that the agent has marked the host by then (at most 3 s with the
/// default check), short enough that a healed host is used again while no agent is there to say so.
const EJECTION: Duration = Duration::from_secs(10);

/// Envoy multiplies ejections by their number up to 300 s. Hold-down is the engine's business; what
/// is kept out longer than this would be missing behind its back.
const MAX_EJECTION: Duration = Duration::from_secs(60);

/// Ejections end up to so much late, and half as much again.
const LOOK_SHORTEST: Duration = Duration::from_secs(2);
const LOOK_SPREAD_MS: u64 = 1000;

/// The cluster of a service at edge gateways of one zone. Its endpoints are the plan for that zone
/// ([`crate::edge_endpoints`]).
#[must_use]
pub fn edge_cluster(service: &ServiceName, source_zone: &Zone, upstream: &Upstream) -> Resource {
    let mut cluster = cluster(service, edge_endpoints_name(service, source_zone), upstream);
    if let Some(common) = &mut cluster.common_lb_config {
        // Without it Envoy spreads by the number of hosts and ignores the shares of the plan.
        common.locality_config_specifier =
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {}));
    }
    // Only the edge reaches other clusters.
    let plainly = || if upstream.tunnelled { stream::tunnels() } else { stream::plain() };
    if upstream.secure {
        let way = tls::way_to_other_clusters(service, upstream::alpn(upstream));
        cluster.transport_socket_matches = vec![way];
    } else if upstream.server_name.is_some() {
        cluster.transport_socket_matches = vec![tls::to_other_clusters(plainly())];
    } else {
        cluster.transport_socket = upstream.tunnelled.then(stream::tunnels);
    }
    cluster.connect_timeout = duration(connect_timeout(upstream));
    Resource::cluster(&cluster)
}

/// How long the making of a connection may take. Envoy has one limit for all hosts of a cluster, near and far: it leaves
/// the farthest of them a round trip for TCP, one for TLS, and one for a tunnel where there is one.
fn connect_timeout(upstream: &Upstream) -> Duration {
    let round_trips = if upstream.tunnelled { 3 } else { 2 };
    let far = |farthest: Duration| farthest * round_trips + CONNECT_WORK;
    upstream.farthest.map_or(CONNECT_UNKNOWN, |farthest| far(farthest).max(CONNECT_NEAR))
}

/// The cluster of a service at east-west gateways: this cluster's endpoints only
/// ([`crate::eastwest_endpoints`]), all healthy ones alike.
///
/// It has no locality weights: with the overprovisioning factor that Tidegate needs, a zone with
/// one of ten endpoints left would keep its whole weight, and that one endpoint the load of ten.
#[must_use]
pub fn eastwest_cluster(service: &ServiceName, upstream: &Upstream) -> Resource {
    Resource::cluster(&cluster(service, eastwest_endpoints_name(service), upstream))
}

fn cluster(service: &ServiceName, endpoints: String, upstream: &Upstream) -> Cluster {
    Cluster {
        name: service.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), service_name: endpoints }),
        connect_timeout: duration(CONNECT_NEAR),
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
            override_host_status: Some(session::hosts()),
            ..Default::default()
        }),
        // An endpoint that left EDS is gone, whatever an ejection or a check still says of it.
        ignore_health_on_host_removal: true,
        transport_socket: backend_tls::socket(service, upstream),
        circuit_breakers: Some(upstream::circuit_breakers(&upstream.limits)),
        outlier_detection: Some(outlier_detection(service)),
        lb_config: upstream::slow_start(&upstream.limits),
        typed_extension_protocol_options: upstream::protocol_options(upstream),
        ..Default::default()
    }
}

/// How often Envoy looks whether an ejection of this service is over: all hosts of a cluster at once, on the thread that
/// takes in every change. With one interval for all, ten thousand clusters that came together look together: 80 ms, each
/// time. So each has one of its own, by its name, and they drift apart.
fn look_interval(service: &ServiceName) -> Duration {
    // FNV-1a: the same in every build, as a cluster must not change because the agent did.
    let hash = service.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    LOOK_SHORTEST + Duration::from_millis((hash >> 32) % LOOK_SPREAD_MS)
}

fn outlier_detection(service: &ServiceName) -> OutlierDetection {
    OutlierDetection {
        interval: duration(look_interval(service)),
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
