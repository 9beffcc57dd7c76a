//! Traces of requests: the spans that a gateway sends to a collector, by OTLP over gRPC.
//!
//! Whether a request leaves a span is drawn from its trace id, so that all gateways with the same share draw the same. An
//! edge does not ask what its clients decided; further in, who called decides. A collector that is away costs spans, and
//! no request: Envoy sends them aside and forgets those that it cannot get rid of.

use crate::{
    proto::{any, duration, flag, host_port, percent},
    resource::Resource,
    upstream,
};
use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily},
        },
        core::v3::{
            GrpcService, TypedExtensionConfig,
            grpc_service::{EnvoyGrpc, TargetSpecifier},
        },
        endpoint::v3::{
            ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
        },
        trace::v3::{
            OpenTelemetryConfig,
            tracing::{Http, http},
        },
    },
    extensions::{
        filters::network::http_connection_manager::v3::{
            HttpConnectionManager, RequestIdExtension, http_connection_manager::Tracing as EnvoyTracing,
        },
        request_id::uuid::v3::UuidRequestIdConfig,
        tracers::opentelemetry::samplers::v3::{ParentBasedSamplerConfig, TraceIdRatioBasedSamplerConfig},
    },
    r#type::{
        tracing::v3::{
            CustomTag,
            custom_tag::{Header, Literal, Type},
        },
        v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
};
use std::{net::IpAddr, time::Duration};
use tidegate_api::{Collector, Protocol, TraceTag, Tracing, Upstream};
use tidegate_model::{Fraction, GatewayName};

/// A collector that took a connection and does not answer holds what was sent to it for so long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The collector of [`Tracing`], for all listeners that send to it.
#[must_use]
pub fn collector_cluster(collector: &Collector) -> Resource {
    let name = cluster_name(collector);
    let fixed = collector.host.parse::<IpAddr>().is_ok();
    let kind = if fixed { DiscoveryType::Static } else { DiscoveryType::StrictDns };
    let grpc = Upstream { protocol: Protocol::Http2, ..Upstream::default() };
    let endpoint =
        Endpoint { address: Some(host_port(collector.host.clone(), collector.port)), ..Default::default() };
    let host = LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    Resource::cluster(&Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        dns_lookup_family: DnsLookupFamily::All.into(),
        // A name that nobody answers for would hold up a gateway that starts.
        wait_for_warm_on_init: flag(fixed),
        connect_timeout: duration(Duration::from_secs(1)),
        typed_extension_protocol_options: upstream::protocol_options(&grpc),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() }],
            ..Default::default()
        }),
        name,
        ..Default::default()
    })
}

/// No service has a name without a slash.
fn cluster_name(collector: &Collector) -> String {
    format!("tidegate-collector-{}-{}", collector.host, collector.port)
}

/// The connection manager of a gateway, with what its template says of traces.
pub(crate) fn traced(
    manager: HttpConnectionManager,
    gateway: &GatewayName,
    tracing: Option<&Tracing>,
) -> HttpConnectionManager {
    let Some(tracing) = tracing else { return manager };
    let ids = UuidRequestIdConfig {
        // Envoy would write what it decided into the ids that clients chose.
        pack_trace_reason: flag(false),
        ..Default::default()
    };
    HttpConnectionManager {
        tracing: Some(EnvoyTracing {
            // By `x-client-trace-id`: nobody outside makes work for the collector.
            client_sampling: percent(0.0),
            // The sampler of the provider draws. Envoy's own draws by request ids, and none for those that are no UUID.
            random_sampling: percent(100.0),
            overall_sampling: percent(100.0),
            spawn_upstream_span: flag(true),
            custom_tags: tracing.tags.iter().map(custom_tag).collect(),
            provider: Some(Http {
                name: "envoy.tracers.opentelemetry".to_owned(),
                config_type: Some(http::ConfigType::TypedConfig(any(&provider(gateway, tracing)))),
            }),
            ..Default::default()
        }),
        request_id_extension: Some(RequestIdExtension { typed_config: Some(any(&ids)) }),
        ..manager
    }
}

fn provider(gateway: &GatewayName, tracing: &Tracing) -> OpenTelemetryConfig {
    let target = EnvoyGrpc { cluster_name: cluster_name(&tracing.collector), ..Default::default() };
    let ratio = ratio_sampler(tracing.sampling);
    OpenTelemetryConfig {
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(target)),
            timeout: duration(TIMEOUT),
            ..Default::default()
        }),
        service_name: tracing.service_name.clone().unwrap_or_else(|| gateway.to_string()),
        sampler: Some(match tracing.follows_callers {
            false => ratio,
            true => TypedExtensionConfig {
                name: "envoy.tracers.opentelemetry.samplers.parent_based".to_owned(),
                typed_config: Some(any(&ParentBasedSamplerConfig { wrapped_sampler: Some(ratio) })),
            },
        }),
        ..Default::default()
    }
}

fn ratio_sampler(sampling: Fraction) -> TypedExtensionConfig {
    let share = FractionalPercent { numerator: sampling.ppm(), denominator: DenominatorType::Million.into() };
    TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based".to_owned(),
        typed_config: Some(any(&TraceIdRatioBasedSamplerConfig { sampling_percentage: Some(share) })),
    }
}

fn custom_tag(tag: &TraceTag) -> CustomTag {
    match tag {
        TraceTag::Literal { name, value } => {
            CustomTag { tag: name.clone(), r#type: Some(Type::Literal(Literal { value: value.clone() })) }
        }
        TraceTag::Header { name, header, default } => CustomTag {
            tag: name.clone(),
            r#type: Some(Type::RequestHeader(Header {
                name: header.clone(),
                default_value: default.clone().unwrap_or_default(),
            })),
        },
    }
}
