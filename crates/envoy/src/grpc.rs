//! A plan for proxyless gRPC clients, which read xDS themselves: `xds:///NAME.NAMESPACE`.
//!
//! They differ from Envoy in ways that matter here:
//!
//! - They ask for one listener by name and want an `ApiListener`; its routes are inline, as there is but one.
//!   The name is Kubernetes' own, so that `dns:///web.shop` becomes `xds:///web.shop`; a `/` would not pass as
//!   an `:authority`.
//! - They refuse clusters with `LEAST_REQUEST`, and pass over circuit breakers, panic thresholds and HTTP options.
//!   Locality weights always count with `ROUND_ROBIN`.
//! - They refuse an assignment with a gap in its priorities, drop endpoints that are not healthy, and never panic:
//!   as a last resort all endpoints are told healthy, or nothing would be tried.
//! - They cannot add the header by which an east-west gateway knows a service, so only endpoints of their own
//!   cluster are told. What a plan gives to other clusters goes to these in proportion; if it gives them nothing
//!   and lets none stand by, calls fail with `UNAVAILABLE`.
//! - They move to a standby tier when no endpoint of the one before it can be connected to, without being told.

use crate::{
    endpoints::{EndpointHealth, EndpointView, ZoneEndpoints, edge_endpoints},
    proto::{ads, any},
    resource::{Resource, edge_endpoints_name},
};
use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            Cluster,
            cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy},
        },
        listener::v3::{ApiListener, Listener},
        route::v3::{
            Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action, route_match,
        },
    },
    extensions::filters::{
        http::router::v3::Router,
        network::http_connection_manager::v3::{
            HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier, http_filter,
        },
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};
use tidegate_engine::Plan;
use tidegate_model::{Region, ServiceName, Zone};

/// Whether a node that calls itself so is a gRPC library: `gRPC C-core`, `grpc-java`, `gRPC Go`.
#[must_use]
pub fn is_grpc(user_agent_name: &str) -> bool {
    user_agent_name.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("grpc"))
}

/// `NAME.NAMESPACE`: what a client puts behind `xds:///`. Neither part can hold a dot.
#[must_use]
pub fn grpc_listener_name(service: &ServiceName) -> String {
    format!("{}.{}", service.name(), service.namespace())
}

/// What a gRPC client asks for first: every call goes to the service's cluster.
#[must_use]
pub fn grpc_listener(service: &ServiceName) -> Resource {
    let name = grpc_listener_name(service);
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix(String::new())),
            ..Default::default()
        }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(service.to_string())),
            ..Default::default()
        })),
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: name.clone(),
        virtual_hosts: vec![VirtualHost {
            name: name.clone(),
            // The client matches what stands behind `xds:///`, with a port if there is one.
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..Default::default()
        }],
        ..Default::default()
    };
    let router = HttpFilter {
        name: "router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![router],
        ..Default::default()
    };
    Resource::listener(&Listener {
        name,
        api_listener: Some(ApiListener { api_listener: Some(any(&manager)) }),
        ..Default::default()
    })
}

/// The cluster of a service for gRPC clients in a zone. Its endpoints are [`grpc_endpoints`].
#[must_use]
pub fn grpc_cluster(service: &ServiceName, source_zone: &Zone) -> Resource {
    Resource::cluster(&Cluster {
        name: service.to_string(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: edge_endpoints_name(service, source_zone),
        }),
        lb_policy: LbPolicy::RoundRobin.into(),
        ..Default::default()
    })
}

/// A plan for gRPC clients in its source zone: as for an edge, with this cluster's endpoints only.
///
/// It has the name of the edge's assignment and another content: a server must keep the two apart.
#[must_use]
pub fn grpc_endpoints(plan: &Plan, zones: &ZoneEndpoints) -> Resource {
    let all_healthy: ZoneEndpoints;
    let zones = if plan.last_resort {
        let healthy = |hosts: &BTreeMap<SocketAddr, EndpointHealth>| {
            hosts.keys().map(|at| (*at, EndpointHealth::Healthy)).collect()
        };
        all_healthy = zones.iter().map(|(zone, hosts)| (zone.clone(), healthy(hosts))).collect();
        &all_healthy
    } else {
        zones
    };
    edge_endpoints(
        plan,
        &EndpointView { zones, clusters: &BTreeMap::new(), differ: false, draining: &BTreeSet::new() },
    )
}

/// The bootstrap of a gRPC client in a zone (`GRPC_XDS_BOOTSTRAP_CONFIG`): where its agent is, and where it runs.
#[must_use]
pub fn grpc_bootstrap(agent: SocketAddr, node_id: &str, region: &Region, zone: &Zone) -> Value {
    json!({
        "xds_servers": [{
            "server_uri": agent.to_string(),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": { "id": node_id, "locality": { "region": region.as_str(), "zone": zone.as_str() } },
    })
}
