//! `/healthz/services/NAMESPACE/NAME` at edge gateways: can this gateway serve this service? 200 or 503, for a GSLB or a
//! DNS health check, which then sees services and not hosts.
//!
//! What answers is Envoy's own view of the service's cluster: the plan (EDS holds the pools in it, and their health) less
//! what this Envoy has ejected itself. So the answer needs no agent, and turns 503 within moments of the last host's loss.
//! A service that is tried as a last resort only is 503: another place may do better. A draining gateway is 503 for all.
//!
//! The filter that answers is configured with each service, and a listener whose filters change drains its connections. So
//! it stands in a listener of its own, internal to the process, which clients reach by a route that is
//! always the same: a new service drains nobody.

use crate::{
    proto::{any, duration, merged, percent, text},
    resource::{Resource, listener_name},
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType},
            },
            core::v3::{
                Address, EnvoyInternalAddress, TypedExtensionConfig, address,
                envoy_internal_address::AddressNameSpecifier,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
            },
            listener::v3::{
                Filter, FilterChain, Listener as EnvoyListener, filter,
                listener::{InternalListenerConfig, ListenerSpecifier},
            },
            route::v3::{
                DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
            },
        },
        extensions::{
            common::matching::v3::ExtensionWithMatcher,
            filters::{
                http::{
                    composite::v3::{Composite, ExecuteFilterAction},
                    health_check::v3::HealthCheck,
                    router::v3::Router,
                },
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier, http_filter,
                },
            },
        },
        r#type::matcher::v3::HttpRequestHeaderMatchInput,
    },
    google::protobuf::Any,
    xds::{
        core::v3::TypedExtensionConfig as XdsExtension,
        r#type::matcher::v3::{
            Matcher,
            matcher::{
                MatcherTree, MatcherType, OnMatch,
                matcher_tree::{MatchMap, TreeType},
                on_match,
            },
        },
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tidegate_api::Gateway;
use tidegate_model::{GatewayName, ServiceName};

/// The path of a service's health is this and its name. A route that matches below it is never reached.
pub const HEALTH_PREFIX: &str = "/healthz/services/";

/// The cluster that leads to the internal listener. No service has a name without a slash.
const HEALTH_CLUSTER: &str = "tidegate-health";

/// No listener of a manifest has this name: it is too odd for Kubernetes.
const HEALTH_LISTENER: &str = "_health";

/// The answer is made in this process.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The services that the routes of a gateway lead to.
#[must_use]
pub fn routed_services(gateway: &Gateway) -> BTreeSet<ServiceName> {
    let of_requests = gateway.routes.iter().flat_map(|route| &route.rules).flat_map(|rule| &rule.backends);
    let of_connections = gateway.streams.iter().flat_map(|route| &route.backends);
    of_requests.chain(of_connections).filter_map(|backend| backend.service.clone()).collect()
}

/// The way to [`health_listener`], the same whatever services there are.
#[must_use]
pub fn health_cluster(gateway: &GatewayName) -> Resource {
    let name = AddressNameSpecifier::ServerListenerName(listener_name(gateway, HEALTH_LISTENER));
    let address = Address {
        address: Some(address::Address::EnvoyInternalAddress(EnvoyInternalAddress {
            address_name_specifier: Some(name),
            ..Default::default()
        })),
    };
    let host = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    };
    Resource::cluster(&Cluster {
        name: HEALTH_CLUSTER.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: HEALTH_CLUSTER.to_owned(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// The internal listener that answers for these services.
#[must_use]
pub fn health_listener(gateway: &GatewayName, services: &BTreeSet<ServiceName>) -> Resource {
    let unknown = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: 404,
            body: Some(text("No route of this gateway leads to this service.\n")),
            ..Default::default()
        })),
        ..Default::default()
    };
    let routes = RouteConfiguration {
        name: "health".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "*".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![unknown],
            ..Default::default()
        }],
        ..Default::default()
    };
    let router = http_filter("envoy.filters.http.router", any(&Router::default()));
    let manager = HttpConnectionManager {
        stat_prefix: "tidegate_health".to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        // A matcher without an entry is refused.
        http_filters: (!services.is_empty())
            .then(|| of_services(services))
            .into_iter()
            .chain([router])
            .collect(),
        ..Default::default()
    };
    Resource::listener(&EnvoyListener {
        name: listener_name(gateway, HEALTH_LISTENER),
        listener_specifier: Some(ListenerSpecifier::InternalListener(InternalListenerConfig {})),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// One filter for all services: it looks the path up, and lets the filter of that service answer. A filter for each would
/// be asked one after the other: 100 ms for a request where there are ten thousand.
fn of_services(services: &BTreeSet<ServiceName>) -> HttpFilter {
    let first = ExtensionWithMatcher {
        extension_config: Some(extension("composite", any(&Composite::default()))),
        xds_matcher: Some(by_path(MatcherTree {
            input: Some(XdsExtension {
                name: "path".to_owned(),
                typed_config: Some(any(&HttpRequestHeaderMatchInput { header_name: ":path".to_owned() })),
            }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let each = services.iter().map(|service| {
        let action = ExecuteFilterAction {
            typed_config: Some(extension("envoy.filters.http.health_check", any(&check(service)))),
            ..Default::default()
        };
        let action = XdsExtension { name: "health".to_owned(), typed_config: Some(any(&action)) };
        let found = OnMatch { on_match: Some(on_match::OnMatch::Action(action)), ..Default::default() };
        let path = format!("{HEALTH_PREFIX}{service}");
        ExtensionWithMatcher {
            xds_matcher: Some(by_path(MatcherTree {
                tree_type: Some(TreeType::ExactMatchMap(MatchMap { map: HashMap::from([(path, found)]) })),
                ..Default::default()
            })),
            ..Default::default()
        }
    });
    http_filter("envoy.filters.http.composite", merged(std::iter::once(first).chain(each)))
}

fn by_path(tree: MatcherTree) -> Matcher {
    Matcher { matcher_type: Some(MatcherType::MatcherTree(tree)), ..Default::default() }
}

fn extension(name: &str, config: Any) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) }
}

/// At least one in a hundred hosts of the plan is healthy. A finer measure Envoy does not have, and a pool with less
/// than that is not in a plan unless nothing better is.
fn check(service: &ServiceName) -> HealthCheck {
    HealthCheck {
        pass_through_mode: crate::proto::flag(false),
        cluster_min_healthy_percentages: percent(1.0)
            .map(|least| HashMap::from([(service.to_string(), least)]))
            .unwrap_or_default(),
        ..Default::default()
    }
}

fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

/// The route to it, which every host of an edge has first.
pub(crate) fn health_route() -> Route {
    Route {
        name: "health".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(HEALTH_PREFIX.to_owned())),
            ..Default::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(HEALTH_CLUSTER.to_owned())),
            timeout: duration(TIMEOUT),
            ..Default::default()
        })),
        ..Default::default()
    }
}
