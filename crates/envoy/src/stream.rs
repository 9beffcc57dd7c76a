//! Connections that are passed on as bytes: `TCPRoute` and `TLSRoute`.
//!
//! Envoy's TCP proxy goes to the hosts of a cluster, and has one way to reach all of them. Those of this cluster are
//! spoken to directly; those of another one are behind its east-west gateway, which speaks HTTP. So each of these
//! endpoints carries, as metadata, that it is reached through a proxy, and the cluster's transport socket opens a
//! tunnel there (`CONNECT NAME.NAMESPACE.svc.tidegate`) before the first byte. To everything above it the tunnel is a
//! connection: one that cannot be made counts as one that cannot be made, is tried elsewhere, and ejects the host.
//! With mutual TLS between clusters there are no tunnels: the server name of the connection says whom it is for.
//!
//! Measured: an edge of Envoy 1.36.2 loses what a client sends before its tunnel is open (10 of 60 connections hung),
//! one of 1.40.0 does not (0 of 60). A client that closes its own direction first ends the whole tunnel: HTTP/1.1 has
//! no half-closed connections.

use crate::{
    access_log, drain,
    endpoints::{EndpointView, edge_assignment},
    https,
    limits::{buffer, limited},
    proto::{any, duration, percent, uint},
    resource::{Resource, listener_name},
    routes::NO_BACKEND,
    tls::server_name,
};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{BackoffStrategy, TransportSocket, transport_socket},
        endpoint::v3::{LbEndpoint, lb_endpoint::HostIdentifier},
        listener::v3::{
            Filter, FilterChain, FilterChainMatch, Listener as EnvoyListener, ListenerFilter, filter,
            listener_filter,
        },
    },
    extensions::{
        filters::{
            listener::tls_inspector::v3::TlsInspector,
            network::tcp_proxy::v3::{
                TcpProxy,
                tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
            },
        },
        transport_sockets::{http_11_proxy::v3::Http11ProxyUpstreamTransport, raw_buffer::v3::RawBuffer},
    },
};
use std::{collections::HashMap, time::Duration};
use tidegate_api::{Backend, Gateway, Listener, ListenerProtocol, ServicePolicy, StreamRoute};
use tidegate_engine::Plan;
use tidegate_model::{GatewayName, ServiceName};

/// Envoy's own limit for a connection on which nothing moves, said so that the tunnel of another cluster has the same.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);

/// Tries to connect, each to a host that the balancer draws anew: with half of the hosts gone one of so many finds a
/// living one in 98 of 100 cases, and the third failure ejects a host.
const CONNECT_ATTEMPTS: u32 = 6;

/// Connections that began together end apart: at 80 to 100 % of the age that the policy allows.
const AGE_JITTER: f64 = 25.0;

/// From one try to the next, growing and drawn at random: six tries within a millisecond would all go to a host that is
/// about to be ejected for the first three of them.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// The metadata by which Envoy's transport socket knows the proxy of a host.
const PROXY_ADDRESS: &str = "envoy.http11_proxy_transport_socket.proxy_address";

/// The first release whose tunnels were measured to lose nothing; that of 1.36.2 was measured to lose what comes early,
/// and those between were not measured.
const TUNNELS_FROM: (u32, u32) = (1, 40);

/// Whether an Envoy of this version (`1.40.0`, as a node tells it) makes tunnels to other clusters without losing what a
/// client sends before one is open. One that does not say its version is taken at its word that it is an Envoy of ours.
#[must_use]
pub fn tunnels_well(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= TUNNELS_FROM,
        _ => true,
    }
}

/// A plan for a service with tunnels: as [`crate::edge_endpoints`], with other clusters behind their gateways.
#[must_use]
pub fn tunnelled_endpoints(plan: &Plan, view: &EndpointView<'_>) -> Resource {
    let mut assignment = edge_assignment(plan, view);
    for entry in &mut assignment.endpoints {
        let is_remote = entry.locality.as_ref().is_some_and(|place| !place.sub_zone.is_empty());
        if is_remote {
            entry.lb_endpoints.iter_mut().for_each(|host| through_tunnel(host, &plan.service));
        }
    }
    Resource::endpoints(&assignment)
}

fn through_tunnel(host: &mut LbEndpoint, service: &ServiceName) {
    let Some(HostIdentifier::Endpoint(endpoint)) = &mut host.host_identifier else { return };
    endpoint.hostname = server_name(service);
    let Some(gateway) = &endpoint.address else { return };
    let typed_filter_metadata = HashMap::from([(PROXY_ADDRESS.to_owned(), any(gateway))]);
    let metadata = host.metadata.get_or_insert_default();
    metadata.typed_filter_metadata = typed_filter_metadata;
}

/// The transport socket of a cluster with tunnels: plain, and through the proxy of hosts that have one.
pub(crate) fn tunnels() -> TransportSocket {
    let proxied = Http11ProxyUpstreamTransport { transport_socket: Some(plain()), ..Default::default() };
    socket("envoy.transport_sockets.http_11_proxy", any(&proxied))
}

/// The transport socket of what is spoken to plainly.
pub(crate) fn plain() -> TransportSocket {
    socket("envoy.transport_sockets.raw_buffer", any(&RawBuffer {}))
}

fn socket(name: &str, config: envoy_types::pb::google::protobuf::Any) -> TransportSocket {
    TransportSocket {
        name: name.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(config)),
    }
}

/// A listener of an edge gateway that passes bytes: all of a connection to one backend, which TLS connections choose by
/// the server name that they ask for. A connection that no route is for is closed.
#[must_use]
pub fn stream_listener<'a>(
    name: &GatewayName,
    gateway: &Gateway,
    listener: &Listener,
    policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>,
) -> Resource {
    let resource_name = listener_name(name, &listener.name);
    let routes = || gateway.streams.iter().filter(|route| route.listener == listener.name);
    let mut filter_chains: Vec<FilterChain> = match &listener.tls {
        Some(tls) => https::chains(tls, &listener.options, &[], |hostname| {
            let named = routes().find(|route| route.hostnames.contains(hostname));
            let route = named.or_else(|| routes().find(|route| route.hostnames.is_empty()));
            limited(listener, &resource_name, passed_to(route, listener, &resource_name, policy_of))
        }),
        None => routes().map(|route| chain(route, listener, &resource_name, policy_of)).collect(),
    };
    if filter_chains.is_empty() {
        filter_chains.push(FilterChain {
            filters: vec![proxy(&resource_name, listener, &[], None)],
            ..Default::default()
        });
    }
    let inspects = listener.protocol == ListenerProtocol::Tls || listener.tls.is_some();
    Resource::listener(&EnvoyListener {
        name: resource_name,
        address: Some(crate::proto::address(listener.address)),
        listener_filters: inspects.then(tls_inspector).into_iter().collect(),
        filter_chains,
        per_connection_buffer_limit_bytes: buffer(listener),
        ..Default::default()
    })
}

fn chain<'a>(
    route: &StreamRoute,
    listener: &Listener,
    name: &str,
    policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>,
) -> FilterChain {
    let matched = FilterChainMatch {
        server_names: route.hostnames.iter().cloned().collect(),
        transport_protocol: "tls".to_owned(),
        ..Default::default()
    };
    FilterChain {
        name: route.name.clone(),
        filter_chain_match: (listener.protocol == ListenerProtocol::Tls).then_some(matched),
        filters: limited(listener, name, passed_to(Some(route), listener, name, policy_of)),
        ..Default::default()
    }
}

/// A filter that passes the bytes of connections to the backends of a route; without one it closes them.
fn passed_to<'a>(
    route: Option<&StreamRoute>,
    listener: &Listener,
    name: &str,
    policy_of: &dyn Fn(&ServiceName) -> Option<&'a ServicePolicy>,
) -> Filter {
    let backends = route.map_or(&[][..], |route| &route.backends);
    proxy(name, listener, backends, drain::max_age(backends, policy_of))
}

/// A filter that passes the bytes of connections from other clusters on to a service here.
pub(crate) fn pass_on(name: &str, service: &ServiceName) -> Filter {
    tcp_proxy(&TcpProxy {
        stat_prefix: name.replace(['/', '.'], "_"),
        cluster_specifier: Some(ClusterSpecifier::Cluster(service.to_string())),
        max_connect_attempts: uint(CONNECT_ATTEMPTS),
        idle_timeout: duration(IDLE),
        ..Default::default()
    })
}

/// A listener filter that reads the server name of TLS connections before anybody else reads them.
pub(crate) fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&TlsInspector::default()))),
        ..Default::default()
    }
}

fn proxy(name: &str, listener: &Listener, backends: &[Backend], max_age: Option<Duration>) -> Filter {
    let used: Vec<&Backend> = backends.iter().filter(|it| it.weight > 0).collect();
    let cluster =
        |it: &Backend| it.service.as_ref().map_or_else(|| NO_BACKEND.to_owned(), ToString::to_string);
    let specifier = match used.as_slice() {
        [] => ClusterSpecifier::Cluster(NO_BACKEND.to_owned()),
        [only] => ClusterSpecifier::Cluster(cluster(only)),
        several => {
            let weight =
                |it: &&Backend| ClusterWeight { name: cluster(it), weight: it.weight, ..Default::default() };
            ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: several.iter().map(weight).collect(),
            })
        }
    };
    let proxy = TcpProxy {
        stat_prefix: name.replace(['/', '.'], "_"),
        cluster_specifier: Some(specifier),
        max_connect_attempts: uint(CONNECT_ATTEMPTS),
        backoff_options: Some(BackoffStrategy {
            base_interval: duration(BACK_OFF.0),
            max_interval: duration(BACK_OFF.1),
        }),
        idle_timeout: duration(IDLE),
        max_downstream_connection_duration: max_age.and_then(|age| duration(age * 4 / 5)),
        max_downstream_connection_duration_jitter_percentage: max_age.and(percent(AGE_JITTER)),
        access_log: access_log::of_connections(listener.access_log),
        ..Default::default()
    };
    tcp_proxy(&proxy)
}

fn tcp_proxy(proxy: &TcpProxy) -> Filter {
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(proxy))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_that_loses_what_is_sent_early_makes_no_tunnels() {
        for (version, well) in [
            ("1.36.2", false),
            ("1.39.9", false),
            ("1.40.0", true),
            ("1.41.0-dev", true),
            ("2.0.0", true),
            ("", true),
            ("main", true),
        ] {
            assert_eq!(tunnels_well(version), well, "{version}");
        }
    }
}
