//! `/healthz/services/NAMESPACE/NAME` at edge gateways: can this gateway serve this service? 200 or 503, for a GSLB or a
//! DNS health check, which then sees services and not hosts.
//!
//! The agent says which services cannot be served now, as Envoy's runtime (RTDS): for each a key that turns its answer
//! off. So a change of health is a few bytes, whatever the number of services, and no listener or route changes. A service that is
//! tried as a last resort only is 503: another place may do better. A draining gateway is 503 for all.
//!
//! Envoy's own filter for this (`health_check` with the membership of clusters) needs two gauges of every cluster, and
//! Envoy sends all of its gauges to the agent each second: with ten thousand services 2 MB, and 30 to 100 ms in which
//! its main thread takes in nothing else. It would see what this Envoy alone has ejected; that is the difference.
//!
//! The routes stand behind a listener of their own, internal to the process, which clients reach by a route that is always
//! the same.

use crate::{
    endpoints::{EndpointHealth, EndpointView},
    proto::{AnyType, ads, any, duration, flag, merged, text},
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
                Address, EnvoyInternalAddress, RuntimeFractionalPercent, address,
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
                DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteList,
                RouteMatch, VirtualHost, header_matcher::HeaderMatchSpecifier, route::Action,
                route_action::ClusterSpecifier, route_match::PathSpecifier,
            },
        },
        extensions::filters::{
            http::{health_check::v3::HealthCheck, router::v3::Router},
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter,
            },
        },
        service::runtime::v3::Runtime,
        r#type::{
            matcher::v3::{HttpRequestHeaderMatchInput, StringMatcher, string_matcher::MatchPattern},
            v3::{FractionalPercent, fractional_percent::DenominatorType},
        },
    },
    google::protobuf::{Any, Struct, Value, value::Kind},
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
use tidegate_engine::{Plan, Target};
use tidegate_model::{GatewayName, ServiceName, Share};
use tidegate_xds::ResourceType;

/// The path of a service's health is this and its name. A route that matches below it is never reached.
pub const HEALTH_PREFIX: &str = "/healthz/services/";

/// The cluster that leads to the internal listener. No service has a name without a slash.
const HEALTH_CLUSTER: &str = "tidegate-health";

/// No listener of a manifest has this name: it is too odd for Kubernetes.
const HEALTH_LISTENER: &str = "_health";

/// The layer of Envoy's runtime that says which services cannot be served, as the bootstrap names it.
pub(crate) const HEALTH_LAYER: &str = "tidegate-health";

/// The number of `virtual_hosts` in a `RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;

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

/// Whether a gateway that follows this plan can serve its service: something in the plan or standing by for it is healthy.
#[must_use]
pub fn serves(plan: &Plan, view: &EndpointView<'_>) -> bool {
    let is_healthy = |target: &Target| match target {
        Target::Zone(zone) => view
            .zones
            .get(zone)
            .is_some_and(|hosts| hosts.values().any(|health| *health == EndpointHealth::Healthy)),
        Target::Cluster(name) => view.clusters.get(name).is_some_and(|cluster| !cluster.gateways.is_empty()),
    };
    let mut entries = std::iter::once(&plan.shares).chain(plan.standby.iter()).flatten();
    !plan.last_resort
        && plan.shed != Share::ALL
        && entries.any(|(target, share)| !share.is_none() && is_healthy(target))
}

/// Which services cannot be served: the layer of Envoy's runtime that [`health_routes`] asks.
#[must_use]
pub fn health_runtime<'a>(unserved: impl IntoIterator<Item = &'a ServiceName>) -> Resource {
    let of = |service: &ServiceName| {
        let never = Value { kind: Some(Kind::NumberValue(0.0)) };
        Runtime {
            layer: Some(Struct { fields: HashMap::from([(runtime_key(service), never)]) }),
            ..Default::default()
        }
    };
    let name = Runtime { name: HEALTH_LAYER.to_owned(), layer: Some(Struct::default()) };
    let all = std::iter::once(name).chain(unserved.into_iter().map(of));
    Resource::encoded(ResourceType::Runtime, HEALTH_LAYER, merged(all))
}

fn runtime_key(service: &ServiceName) -> String {
    format!("tidegate.health.{service}")
}

/// The internal listener that answers, the same whatever services there are.
#[must_use]
pub fn health_listener(gateway: &GatewayName) -> Resource {
    // It answers only while the gateway drains: with 503.
    let draining = HealthCheck {
        pass_through_mode: flag(true),
        headers: vec![HeaderMatcher {
            name: ":path".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
                match_pattern: Some(MatchPattern::Prefix(HEALTH_PREFIX.to_owned())),
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "tidegate_health".to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: listener_name(gateway, HEALTH_LISTENER),
        })),
        http_filters: vec![
            http_filter("envoy.filters.http.health_check", any(&draining)),
            http_filter("envoy.filters.http.router", any(&Router::default())),
        ],
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

/// What it answers for these services. The path is looked up: a list of ten thousand routes would be gone through for each
/// request.
#[must_use]
pub fn health_routes(gateway: &GatewayName, services: &BTreeSet<ServiceName>) -> Resource {
    let unknown = answer(404, "No route of this gateway leads to this service.\n");
    let host = VirtualHost { name: "*".to_owned(), domains: vec!["*".to_owned()], ..Default::default() };
    let host = if services.is_empty() {
        // A matcher without an entry is refused.
        any(&VirtualHost { routes: vec![unknown], ..host })
    } else {
        let otherwise = OnMatch { on_match: Some(action(&unknown)), ..Default::default() };
        let first = Matcher {
            matcher_type: Some(by_path(MatcherTree {
                input: Some(XdsExtension {
                    name: "path".to_owned(),
                    typed_config: Some(any(&HttpRequestHeaderMatchInput { header_name: ":path".to_owned() })),
                }),
                ..Default::default()
            })),
            on_no_match: Some(Box::new(otherwise)),
        };
        let each = services.iter().map(|service| {
            let found = OnMatch { on_match: Some(action(&of(service))), ..Default::default() };
            let path = format!("{HEALTH_PREFIX}{service}");
            let map = TreeType::ExactMatchMap(MatchMap { map: HashMap::from([(path, found)]) });
            Matcher {
                matcher_type: Some(by_path(MatcherTree { tree_type: Some(map), ..Default::default() })),
                ..Default::default()
            }
        });
        let matchers = std::iter::once(first).chain(each);
        let with = |matcher| VirtualHost { matcher: Some(matcher), ..Default::default() };
        merged(std::iter::once(host).chain(matchers.map(with)))
    };
    let name = listener_name(gateway, HEALTH_LISTENER);
    let mut routes = any(&RouteConfiguration { name: name.clone(), ..Default::default() });
    prost::encoding::bytes::encode(VIRTUAL_HOSTS, &host.value, &mut routes.value);
    Resource::encoded(ResourceType::Route, &name, routes)
}

/// 200, unless the runtime has turned that off.
fn of(service: &ServiceName) -> RouteList {
    let mut well = answer(200, "");
    if let Some(found) = &mut well.r#match {
        found.runtime_fraction = Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: 100,
                denominator: DenominatorType::Hundred.into(),
            }),
            runtime_key: runtime_key(service),
        });
    }
    RouteList { routes: vec![well, answer(503, "")] }
}

fn answer(status: u32, body: &str) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status,
            body: (!body.is_empty()).then(|| text(body)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

const fn by_path(tree: MatcherTree) -> MatcherType {
    MatcherType::MatcherTree(tree)
}

fn action<T: AnyType>(action: &T) -> on_match::OnMatch {
    let action = XdsExtension { name: "health".to_owned(), typed_config: Some(any(action)) };
    on_match::OnMatch::Action(action)
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
