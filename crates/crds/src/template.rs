//! `GatewayTemplate`: what gateways are made with. It merges (that of a class below that of a gateway), so nothing has a default.

mod tracing;

pub use tracing::{Collector, SpanText, SpanWord, TraceHeader, TraceTag, Tracing};

use crate::{
    status::TemplateStatus,
    text::{DAY, H, MIN, S, Span},
};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// What gateways are made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "GatewayTemplate",
    plural = "gatewaytemplates",
    shortname = "gwt",
    category = "tidegate",
    namespaced,
    status = "TemplateStatus",
    doc = "What gateways are made with, for a GatewayClass (parametersRef) or one Gateway (infrastructure.parametersRef). Where both say something, the gateway's own is in force, field by field.",
    printcolumn = r#"{"name": "Accepted", "type": "string", "description": "Whether it is right", "jsonPath": ".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Gateways", "type": "integer", "description": "How many gateways use it", "jsonPath": ".status.gateways"}"#,
    printcolumn = r#"{"name": "Access-log", "type": "string", "description": "Which requests are written down", "jsonPath": ".spec.accessLog", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct GatewayTemplateSpec {
    /// What a listener bears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Listener>,
    /// How long things may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Limits of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// TLS that clients are offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which requests are written down. Default: Errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Where the spans of requests go, of how many requests, and what they say. Default: no traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// What one Envoy bears. In force with its next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Worker threads of one Envoy, 1 to 256. Default: one per CPU. In force with its next start.
    #[schemars(range(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How a listener that goes or changes is left. In force with the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainOptions>,
    /// More fields for the file that Envoy starts with, in Envoy's own words (bootstrap v3): mappings grow, lists grow at their end. In force with the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
}

/// What a listener bears.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// The buffer of a connection in KiB, 4 to 65536.
    #[schemars(range(min = 4, max = 65_536))]
    #[serde(rename = "bufferKiB", skip_serializing_if = "Option::is_none")]
    pub buffer_kib: Option<u32>,
    /// Connections at a time, 1 to 10000000.
    #[schemars(range(min = 1, max = 10_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// How long things may take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// A connection without requests, 1s to 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_idle: Option<Span<S, DAY>>,
    /// The headers of a request, 1s to 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Span<S, { 5 * MIN }>>,
    /// A request on which nothing moves, 1s to 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle: Option<Span<S, DAY>>,
    /// A connection as a whole, 1s to 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<Span<S, { 30 * DAY }>>,
}

/// Limits of HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// The headers of a request in KiB, 1 to 8192.
    #[schemars(range(min = 1, max = 8192))]
    #[serde(rename = "maxRequestHeadersKiB", skip_serializing_if = "Option::is_none")]
    pub max_request_headers_kib: Option<u32>,
    /// Requests at a time on a connection of HTTP/2, 1 to 2147483647.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_streams: Option<u32>,
    /// Proxies before this gateway whose word on the client's address counts, 0 to 16.
    #[schemars(range(min = 0, max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_hops: Option<u32>,
}

/// TLS that clients are offered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("!(has(self.minVersion) && has(self.maxVersion) && self.minVersion == 'TLS1.3' && self.maxVersion == 'TLS1.2')").message("tls.maxVersion is below tls.minVersion: raise it, or remove one of them")
)]
pub struct Tls {
    /// The oldest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
    /// The suites of TLS 1.2; those of TLS 1.3 cannot be chosen.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<CipherSuite>>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
pub enum TlsVersion {
    #[serde(rename = "TLS1.2")]
    V1_2,
    #[serde(rename = "TLS1.3")]
    V1_3,
}

/// A suite of TLS 1.2, as OpenSSL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
pub enum CipherSuite {
    #[serde(rename = "ECDHE-ECDSA-AES128-GCM-SHA256")]
    EcdsaAes128,
    #[serde(rename = "ECDHE-RSA-AES128-GCM-SHA256")]
    RsaAes128,
    #[serde(rename = "ECDHE-ECDSA-AES256-GCM-SHA384")]
    EcdsaAes256,
    #[serde(rename = "ECDHE-RSA-AES256-GCM-SHA384")]
    RsaAes256,
    #[serde(rename = "ECDHE-ECDSA-CHACHA20-POLY1305")]
    EcdsaChacha20,
    #[serde(rename = "ECDHE-RSA-CHACHA20-POLY1305")]
    RsaChacha20,
}

/// Which requests are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
pub enum AccessLog {
    None,
    Errors,
    All,
}

/// What one Envoy bears.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections at a time. Default: 50000.
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Memory in MiB, from 64. Default: 4096.
    #[schemars(range(min = 64, max = 16_777_216))]
    #[serde(rename = "maxHeapMiB", skip_serializing_if = "Option::is_none")]
    pub max_heap_mib: Option<u32>,
}

/// How a listener that goes or changes is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainOptions {
    /// For how long its connections may go on, 1s to 1h. Default: Envoy's 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span<S, H>>,
    /// Whether they are asked to go one by one or all at once. Default: Gradual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<DrainStrategy>,
}

/// How connections are asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
pub enum DrainStrategy {
    Gradual,
    Immediate,
}

/// The fields of Envoy's bootstrap (v3) that may be added to.
const BOOTSTRAP: [&str; 20] = [
    "static_resources",
    "flags_path",
    "stats_sinks",
    "stats_config",
    "watchdogs",
    "layered_runtime",
    "overload_manager",
    "enable_dispatcher_stats",
    "header_prefix",
    "stats_server_version_override",
    "use_tcp_for_dns_lookups",
    "dns_resolution_config",
    "typed_dns_resolver_config",
    "bootstrap_extensions",
    "fatal_actions",
    "default_socket_interface",
    "inline_headers",
    "perf_tracing_file_path",
    "application_log_config",
    "memory_allocator_manager",
];

/// Fields of Envoy's bootstrap; what is in them is Envoy's to check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bootstrap(pub Map<String, Value>);

impl JsonSchema for Bootstrap {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bootstrap".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let field = |name: &str| {
            let description = format!("As `{name}` of Envoy's bootstrap.");
            (
                name.to_owned(),
                json!({"description": description, "x-kubernetes-preserve-unknown-fields": true}),
            )
        };
        let properties: Map<String, Value> = BOOTSTRAP.into_iter().map(field).collect();
        json_schema!({"type": "object", "properties": properties})
    }
}
