//! The file that an Envoy starts with: who it is and where its agent is. Everything else comes over ADS.

use crate::{
    agent_cluster::{AgentAddress, AgentTls, agent_cluster},
    counters::kept_stats,
    health::HEALTH_LAYER,
    routes::AGENT_CLUSTER,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tidegate_api::GatewayRole;
use tidegate_model::{ClusterName, GatewayName, Region, Zone};

/// How often Envoy looks how full its heap is. Its own second is long for a gateway under attack.
const OVERLOAD_INTERVAL: &str = "0.25s";

/// What a gateway does as its heap fills, each from a part of its limit on: at first what nobody notices.
const OVERLOAD_ACTIONS: [(&str, f64); 4] = [
    // Memory that is free already goes back.
    ("envoy.overload_actions.shrink_heap", 0.90),
    // Connections end with their next answer.
    ("envoy.overload_actions.disable_http_keepalive", 0.92),
    // Requests, those for the health of services among them, get 503 at once: a GSLB sees it and sends elsewhere.
    ("envoy.overload_actions.stop_accepting_requests", 0.95),
    // New connections are closed. Merely not accepting them would leave clients waiting.
    ("envoy.overload_actions.reject_incoming_connections", 0.98),
];

/// In RE2's instructions; what many service meshes allow.
const MAX_REGEX: u32 = 32_768;

/// How often counters go to the agent. Demand is smoothed over about as long (the engine's half-life).
const STATS_INTERVAL: &str = "1s";

/// The two forms of xDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdsProtocol {
    /// Only what changed is sent.
    #[default]
    Delta,
    /// State of the world: the whole set of a type is sent.
    Sotw,
}

/// What one Envoy bears before it refuses, whatever the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Connections from clients; what is above is closed. Its administration does not count.
    pub max_connections: u32,
    /// Bytes of heap. From 90 % on it saves, from 95 % on it answers 503.
    pub max_heap_bytes: u64,
}

impl Default for Overload {
    /// 50,000 connections, as in Envoy's hardened example, and 4 GiB: an Envoy with ten thousand services has about one
    /// without any request.
    fn default() -> Self {
        Self { max_connections: 50_000, max_heap_bytes: 4 << 30 }
    }
}

/// What an Envoy must be told before it can ask.
#[derive(Clone, Debug)]
pub struct BootstrapSpec {
    /// Where the replicas of its agent serve xDS, LRS and peer links. It keeps to one of them, by its own id, so that
    /// gateways spread; and goes to another when that one fails or freezes.
    pub agents: Vec<AgentAddress>,
    /// How the two know each other; `None` on a Unix socket, and where the cluster has no identity.
    pub agent_tls: Option<AgentTls>,
    /// The gateway that it is a replica of.
    pub gateway: GatewayName,
    /// What that gateway is for, if the agent is not to look it up.
    pub role: Option<GatewayRole>,
    /// The zone that it runs in: the source zone of its requests.
    pub zone: Zone,
    /// The region of that zone.
    pub region: Option<Region>,
    /// The cluster that it runs in.
    pub cluster: Option<ClusterName>,
    /// Where its administration listens. It can stop the process: loopback only.
    pub admin: SocketAddr,
    /// Unique among the Envoys of the agent: a pod name, say.
    pub node_id: String,
    /// How it asks.
    pub xds: XdsProtocol,
    /// Worker threads; `None` is one per CPU. Not part of the file: see [`envoy_arguments`].
    pub concurrency: Option<u32>,
    /// What it bears.
    pub overload: Overload,
}

/// The arguments that belong to a bootstrap, besides `--config-path`: what Envoy takes on its command line
/// only.
#[must_use]
pub fn envoy_arguments(spec: &BootstrapSpec) -> Vec<String> {
    // Hot restart shares memory by a host-wide number, so that a second Envoy on a host does not start.
    let mut arguments = vec!["--disable-hot-restart".to_owned()];
    if let Some(workers) = spec.concurrency {
        arguments.extend(["--concurrency".to_owned(), workers.to_string()]);
    }
    arguments
}

/// The bootstrap, as JSON (which is YAML too).
#[must_use]
pub fn bootstrap(spec: &BootstrapSpec) -> Value {
    let from_ads = json!({
        "ads": {},
        "resource_api_version": "V3",
        // Without an agent there is nothing to serve: not ready, rather than ready and empty after 15 s.
        "initial_fetch_timeout": "0s",
    });
    json!({
        "node": node(spec),
        "admin": {
            "address": socket_address(spec.admin),
            "ignore_global_conn_limit": true,
        },
        "dynamic_resources": {
            "ads_config": agent_api(spec.xds, true),
            "cds_config": from_ads,
            "lds_config": from_ads,
        },
        // LRS has one form only.
        "cluster_manager": { "load_stats_config": agent_api(XdsProtocol::Sotw, false) },
        "stats_sinks": [{
            "name": "envoy.stat_sinks.metrics_service",
            "typed_config": metrics_service(),
        }],
        "stats_flush_interval": STATS_INTERVAL,
        // Counters of a cluster from its first request on: a gateway of ten thousand services that serves a few would
        // else walk all of them at each flush, on the thread that takes in every change.
        "deferred_stat_options": { "enable_deferred_creation_stats": true },
        "stats_config": { "stats_matcher": { "inclusion_list": { "patterns": kept_stats() } } },
        // Envoy's own limit for a regular expression of a route is a hundred instructions. They are checked when they
        // are read from manifests (`api`), with a limit that stays below this one.
        "layered_runtime": { "layers": [{
            "name": "static",
            "static_layer": { "re2.max_program_size.error_level": MAX_REGEX },
        }, {
            "name": HEALTH_LAYER,
            // An agent that knows nothing of it must not keep the gateway from starting.
            "rtds_layer": { "name": HEALTH_LAYER, "rtds_config": {
                "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "5s",
            } },
        }] },
        // The health of services is answered by a listener inside the process.
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            },
        }],
        "static_resources": { "clusters": [agent_cluster(&spec.agents, &spec.node_id, spec.agent_tls.as_ref())] },
        "overload_manager": overload_manager(spec.overload),
    })
}

fn overload_manager(limits: Overload) -> Value {
    const HEAP: &str = "envoy.resource_monitors.fixed_heap";
    let action = |(name, from): (&str, f64)| json!({ "name": name, "triggers": [{ "name": HEAP, "threshold": { "value": from } }] });
    json!({
        "refresh_interval": OVERLOAD_INTERVAL,
        "resource_monitors": [
            {
                "name": HEAP,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": limits.max_heap_bytes,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": limits.max_connections,
                },
            },
        ],
        "actions": OVERLOAD_ACTIONS.map(action),
    })
}

/// The counters that tell demand go to the agent.
fn metrics_service() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig",
        "transport_api_version": "V3",
        "grpc_service": agent_service(),
        // Values since the start, not what was counted since the last flush: a message that is lost loses nothing.
        "report_counters_as_deltas": false,
        "histogram_emit_mode": "SUMMARY",
    })
}

fn agent_service() -> Value {
    json!({ "envoy_grpc": {
        "cluster_name": AGENT_CLUSTER,
        // Envoy's own limit of 30 s would leave a gateway without news for so long after its agent is
        // back. Back-offs are drawn at random below these, so gateways do not come all at once.
        "retry_policy": { "retry_back_off": { "base_interval": "0.25s", "max_interval": "5s" } },
    } })
}

fn node(spec: &BootstrapSpec) -> Value {
    let mut locality = json!({ "zone": spec.zone });
    if let Some(region) = &spec.region {
        locality["region"] = json!(region);
    }
    let mut metadata = json!({ "gateway": spec.gateway, "zone": spec.zone });
    if let Some(role) = spec.role {
        metadata["role"] = json!(role);
    }
    let cluster = spec.cluster.as_ref().map_or_else(|| spec.gateway.to_string(), ToString::to_string);
    json!({ "id": spec.node_id, "cluster": cluster, "locality": locality, "metadata": metadata })
}

fn agent_api(protocol: XdsProtocol, aggregated: bool) -> Value {
    let mut api = json!({
        "api_type": match protocol {
            XdsProtocol::Delta => "DELTA_GRPC",
            XdsProtocol::Sotw => "GRPC",
        },
        "transport_api_version": "V3",
        "grpc_services": [agent_service()],
    });
    if aggregated {
        // The node is large, and the same in every request of a stream.
        api["set_node_on_first_message_only"] = json!(true);
    }
    api
}

pub(crate) fn socket_address(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } })
}
