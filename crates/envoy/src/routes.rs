//! RDS: which request goes to which service.

mod filters;
mod rule;

use crate::{
    health::health_route,
    proto::{duration, flag, set_header, text},
    resource::{Resource, listener_name},
    retry, stream, tls,
};
use envoy_types::pb::envoy::{
    config::route::v3::{
        DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
        header_matcher::HeaderMatchSpecifier,
        route::Action,
        route_action::{
            ClusterNotFoundResponseCode, ClusterSpecifier, UpgradeConfig, upgrade_config::ConnectConfig,
        },
        route_match::{ConnectMatcher, PathSpecifier},
    },
    r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidegate_api::{Gateway, Listener, ServicePolicy};
use tidegate_model::{GatewayName, ServiceName};

/// The header in which the edge tells an east-west gateway which service a request is for.
pub const SERVICE_HEADER: &str = "x-tidegate-service";

/// No cluster has this name, because no service has: a request that is sent there is answered 500, a connection closed.
pub(crate) const NO_BACKEND: &str = "tidegate-no-backend";

/// The static cluster in every bootstrap that leads to the agent.
pub const AGENT_CLUSTER: &str = "tidegate-agent";

/// Peer links come through the east-west gateway, on the path of this gRPC service, and go to the agent.
pub const PEER_LINK_PREFIX: &str = "/tidegate.link.v1.PeerLink/";

/// How long a whole request may take, retries included, when its rule does not say; Envoy's own default.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The routes of one listener of an edge gateway. `policy_of` gives the policy in force for a
/// backend; the default one applies to services that it does not know. `farthest` is the round trip to the farthest region
/// that may answer, if it is known: no try is shorter than that takes.
///
/// A host name has one virtual host, with its matches in the gateway's order of precedence. A request
/// that matches none of them gets 404, even if a wider name has a route for it. Before them all stands the health of
/// services ([`crate::HEALTH_PREFIX`]).
#[must_use]
pub fn edge_routes<'a>(
    name: &GatewayName,
    gateway: &Gateway,
    listener: &Listener,
    policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>,
    farthest: Option<Duration>,
) -> Resource {
    let mut hosts = BTreeMap::<&str, Vec<Route>>::new();
    for found in gateway.matches() {
        if !found.route.listeners.contains(&listener.name) {
            continue;
        }
        let routes = rule::routes(&found, listener, policy_of, farthest);
        if found.route.hostnames.is_empty() {
            hosts.entry("*").or_default().extend(routes);
        } else {
            for host in &found.route.hostnames {
                hosts.entry(host).or_default().extend(routes.iter().cloned());
            }
        }
    }
    // A health check may come by address, with any host name.
    hosts.entry("*").or_default();
    let virtual_hosts = hosts.into_iter().map(|(host, routes)| VirtualHost {
        name: host.to_owned(),
        domains: vec![host.to_owned()],
        routes: std::iter::once(health_route()).chain(routes).collect(),
        ..Default::default()
    });
    Resource::routes(&RouteConfiguration {
        virtual_hosts: virtual_hosts.collect(),
        ignore_port_in_host_matching: true,
        ..table(name, listener)
    })
}

/// The routes of an east-west gateway: peer links to the agent, and everything else to the cluster that
/// [`SERVICE_HEADER`] names.
///
/// Those are the same whatever services there are, so a new service needs no RDS, and a request does not walk
/// a list of ten thousand. Tunnels have a host name for each of the services in `tunnelled`, and lead nowhere else. Only names with a `/` are looked up: no header can lead to a static cluster of
/// the bootstrap.
#[must_use]
pub fn eastwest_routes(
    gateway: &GatewayName,
    listener: &Listener,
    tunnelled: &BTreeSet<ServiceName>,
) -> Resource {
    let known = || header(SERVICE_HEADER, "[^/]+/[^/]+");
    let to_service = |name: &str, headers, retry_policy| Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch { headers, ..prefix("/") }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::ClusterHeader(SERVICE_HEADER.to_owned())),
            cluster_not_found_response_code: ClusterNotFoundResponseCode::NotFound.into(),
            // The edge limits a request; a stream that it forgot ends by the idle timeout of the listener.
            timeout: duration(Duration::ZERO),
            retry_policy: Some(retry_policy),
            ..Default::default()
        })),
        request_headers_to_remove: vec![tls::CLIENT_HEADER.to_owned()],
        ..Default::default()
    };
    let peer_links = Route {
        name: "peer-link".to_owned(),
        r#match: Some(prefix(PEER_LINK_PREFIX)),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(AGENT_CLUSTER.to_owned())),
            // A link lives as long as both agents do, and its own heartbeats tell when it is dead.
            timeout: duration(Duration::ZERO),
            idle_timeout: duration(Duration::ZERO),
            ..Default::default()
        })),
        // Removed before it is added: where nobody showed a certificate nobody says its serial.
        request_headers_to_remove: vec![tls::SERIAL_HEADER.to_owned()],
        request_headers_to_add: vec![set_header(tls::SERIAL_HEADER, "%DOWNSTREAM_PEER_SERIAL%".to_owned())],
        ..Default::default()
    };
    let refused = Route {
        name: "no-service".to_owned(),
        r#match: Some(prefix("/")),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: 404,
            body: Some(text(
                "An east-west gateway serves requests whose x-tidegate-service header is NAMESPACE/NAME.\n",
            )),
            ..Default::default()
        })),
        ..Default::default()
    };
    let routes = vec![
        peer_links,
        to_service("service/safe", vec![known(), safe_method()], retry::eastwest_safe()),
        to_service("service/unsafe", vec![known()], retry::eastwest_unsafe()),
        refused,
    ];
    let others =
        VirtualHost { name: "*".to_owned(), domains: vec!["*".to_owned()], routes, ..Default::default() };
    Resource::routes(&RouteConfiguration {
        virtual_hosts: std::iter::once(others).chain(tunnelled.iter().map(tunnel)).collect(),
        ignore_port_in_host_matching: true,
        ..table(gateway, listener)
    })
}

/// The way of the tunnels of one service: to its endpoints here.
fn tunnel(service: &ServiceName) -> VirtualHost {
    let connect = "CONNECT".to_owned();
    let route = Route {
        name: "tunnel".to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::ConnectMatcher(ConnectMatcher {})),
            ..Default::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(service.to_string())),
            timeout: duration(Duration::ZERO),
            idle_timeout: duration(stream::IDLE),
            upgrade_configs: vec![UpgradeConfig {
                upgrade_type: connect,
                connect_config: Some(ConnectConfig::default()),
                ..Default::default()
            }],
            retry_policy: Some(retry::eastwest_unsafe()),
            ..Default::default()
        })),
        ..Default::default()
    };
    VirtualHost {
        name: format!("tunnel {service}"),
        domains: vec![tls::server_name(service)],
        routes: vec![route],
        ..Default::default()
    }
}

fn table(gateway: &GatewayName, listener: &Listener) -> RouteConfiguration {
    RouteConfiguration {
        name: listener_name(gateway, &listener.name),
        // A route may come before its cluster.
        validate_clusters: flag(false),
        ..Default::default()
    }
}

fn prefix(path: &str) -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix(path.to_owned())), ..Default::default() }
}

fn safe_method() -> HeaderMatcher {
    header(":method", retry::SAFE_METHODS)
}

/// The whole value matches the regular expression.
fn header(name: &str, regex: &str) -> HeaderMatcher {
    let pattern = MatchPattern::SafeRegex(self::regex(regex));
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher { regex: regex.to_owned(), ..Default::default() }
}
