//! LDS: where a gateway listens and how it treats connections, before a route is looked for.

use crate::{
    access_log, faults, https,
    limits::{buffer, limited},
    proto::{address, ads, any, duration, flag, set_header, text, uint},
    resource::{Resource, listener_name},
    routes::SERVICE_HEADER,
    session, stream, tls,
    tracing::traced,
};
use envoy_types::pb::envoy::{
    config::{
        accesslog::v3::{AccessLogFilter, ResponseFlagFilter, access_log_filter::FilterSpecifier},
        core::v3::{
            CidrRange, Http2ProtocolOptions, HttpProtocolOptions, SubstitutionFormatString,
            http_protocol_options::HeadersWithUnderscoresAction, substitution_format_string::Format,
        },
        listener::v3::{Filter, FilterChain, FilterChainMatch, Listener as EnvoyListener, filter},
    },
    extensions::filters::{
        http::router::v3::Router,
        network::http_connection_manager::v3::{
            HttpConnectionManager, HttpFilter, LocalReplyConfig, Rds, ResponseMapper,
            http_connection_manager::{
                CodecType, ForwardClientCertDetails, InternalAddressConfig, PathWithEscapedSlashesAction,
                RouteSpecifier, ServerHeaderTransformation, SetCurrentClientCertDetails,
            },
            http_filter,
        },
    },
};
use std::{collections::BTreeSet, time::Duration};
use tidegate_api::Listener;
use tidegate_model::{GatewayName, ServiceName};

/// A stream on which nothing moves in either direction. Envoy's hardened example and default.
const STREAM_IDLE: Duration = Duration::from_secs(300);

/// A client that takes longer to send its headers holds a connection for its own sake.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without a request: Envoy's hardened example. Longer than the reuse of clients and balancers
/// before us.
const CONNECTION_IDLE: Duration = Duration::from_secs(3600);

/// From "no new requests here" (GOAWAY, `connection: close`) to closing.
const DRAIN: Duration = Duration::from_secs(5);

/// When a shed client may come again: plans follow a change within a second.
const RETRY_AFTER_SECONDS: &str = "1";

/// A listener of an edge gateway: clients are not trusted. From Envoy's hardened edge example, less its
/// `request_timeout`, which would end an upload or a gRPC stream that moves but is long.
#[must_use]
pub fn edge_listener(gateway: &GatewayName, listener: &Listener) -> Resource {
    let (name, options) = (listener_name(gateway, &listener.name), &listener.options);
    let manager = HttpConnectionManager {
        use_remote_address: flag(true),
        xff_num_trusted_hops: options.trusted_hops.unwrap_or(0),
        normalize_path: flag(true),
        merge_slashes: true,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::UnescapeAndRedirect.into(),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: duration(options.connection_idle.unwrap_or(CONNECTION_IDLE)),
            max_connection_duration: options.max_connection_duration.and_then(duration),
            // `a_b` and `a-b` are one name to many servers, and a client could set the one behind the back
            // of the other. The example rejects such requests; dropping the header, as nginx does, does not
            // break clients that send one in good faith.
            headers_with_underscores_action: HeadersWithUnderscoresAction::DropHeader.into(),
            ..Default::default()
        }),
        http2_protocol_options: Some(http2(options.max_concurrent_streams.unwrap_or(100))),
        http_filters: faults::filters().chain([session::filter(), router()]).collect(),
        local_reply_config: Some(LocalReplyConfig {
            // Nobody to serve it, shed, or a limit reached: the gateway's own 503s that pass by themselves.
            mappers: vec![ResponseMapper {
                filter: Some(flagged(&["UH", "DO", "UO"])),
                headers_to_add: vec![set_header("retry-after", RETRY_AFTER_SECONDS.to_owned())],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..manager(gateway, &name, listener)
    };
    resource(&name, listener, &manager)
}

/// How connections come into an east-west gateway.
#[derive(Clone, Copy, Debug)]
pub enum Entrance<'a> {
    /// Plainly: whoever reaches it is let in.
    Plain,
    /// By mutual TLS ([`crate::identity_secret`], [`crate::trust_secret`]): the gateways of the fleet are.
    MutualTls {
        /// The services that get bytes and not requests, by the server name of a connection.
        streams: &'a BTreeSet<ServiceName>,
    },
}

/// A listener of an east-west gateway: the edges of other clusters, over HTTP/1.1 or HTTP/2; without TLS with prior
/// knowledge.
///
/// The edge has normalised the path and written `x-forwarded-for`; this hop changes neither.
#[must_use]
pub fn eastwest_listener(gateway: &GatewayName, listener: &Listener, entrance: Entrance<'_>) -> Resource {
    let name = listener_name(gateway, &listener.name);
    let unknown = format!("The service %REQ({SERVICE_HEADER})% is not known to this east-west gateway.\n");
    let manager = HttpConnectionManager {
        use_remote_address: flag(false),
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged.into(),
        http2_protocol_options: Some(http2(listener.options.max_concurrent_streams.unwrap_or(1024))),
        local_reply_config: Some(LocalReplyConfig {
            mappers: vec![ResponseMapper {
                filter: Some(flagged(&["NC"])),
                body_format_override: Some(SubstitutionFormatString {
                    content_type: "text/plain".to_owned(),
                    format: Some(Format::TextFormatSource(text(&unknown))),
                    ..Default::default()
                }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..manager(gateway, &name, listener)
    };
    match entrance {
        Entrance::Plain => resource(&name, listener, &manager),
        Entrance::MutualTls { streams } => secured(name, listener, manager, streams),
    }
}

/// Everybody has to show a certificate; what speaks no TLS is closed. Agents come by the same way as requests do, so that
/// a gateway whose agent is gone still answers them, and ours is told who they are.
fn secured(
    name: String,
    listener: &Listener,
    manager: HttpConnectionManager,
    streams: &BTreeSet<ServiceName>,
) -> Resource {
    let asks_for = |server_names: Vec<String>| FilterChainMatch {
        server_names,
        transport_protocol: "tls".to_owned(),
        ..Default::default()
    };
    let bytes = streams.iter().map(|service| FilterChain {
        name: service.to_string(),
        filter_chain_match: Some(asks_for(vec![tls::server_name(service)])),
        transport_socket: Some(tls::entrance(&[])),
        filters: vec![stream::pass_on(&name, service)],
        ..Default::default()
    });
    let manager = HttpConnectionManager {
        // Whatever a client said of itself is taken off.
        forward_client_cert_details: ForwardClientCertDetails::SanitizeSet.into(),
        set_current_client_cert_details: Some(SetCurrentClientCertDetails {
            uri: true,
            ..Default::default()
        }),
        ..manager
    };
    let requests = FilterChain {
        name: "requests".to_owned(),
        filter_chain_match: Some(asks_for(Vec::new())),
        transport_socket: Some(tls::entrance(&["h2", "http/1.1"])),
        filters: limited(listener, &name, connection_manager(&manager)),
        ..Default::default()
    };
    let filter_chains = bytes.chain([requests]).collect();
    Resource::listener(&EnvoyListener {
        name,
        address: Some(address(listener.address)),
        listener_filters: vec![stream::tls_inspector()],
        filter_chains,
        per_connection_buffer_limit_bytes: buffer(listener),
        ..Default::default()
    })
}

/// What both kinds share.
fn manager(gateway: &GatewayName, name: &str, listener: &Listener) -> HttpConnectionManager {
    let options = &listener.options;
    let ages = [options.connection_idle, options.max_connection_duration];
    let manager = HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        // A `/` would do, but statistics are cut at dots only, and names may hold dots.
        stat_prefix: name.replace(['/', '.'], "_"),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: name.to_owned(),
        })),
        http_filters: vec![router()],
        server_header_transformation: ServerHeaderTransformation::PassThrough.into(),
        // Requests from internal addresses may say how they are retried, hedged and timed out
        // (`x-envoy-retry-on` made Envoy send a POST eight times). Private and loopback addresses are
        // internal by default, and if this is present but empty; this one address is never a source. From
        // all others Envoy strips those headers.
        internal_address_config: Some(InternalAddressConfig {
            cidr_ranges: vec![CidrRange {
                address_prefix: "255.255.255.255".to_owned(),
                prefix_len: uint(32),
            }],
            ..Default::default()
        }),
        access_log: access_log::of_requests(listener.access_log),
        preserve_external_request_id: true,
        // Without either, Envoy's own: an hour without a request, any age.
        common_http_protocol_options: ages.iter().any(Option::is_some).then(|| HttpProtocolOptions {
            idle_timeout: options.connection_idle.and_then(duration),
            max_connection_duration: options.max_connection_duration.and_then(duration),
            ..Default::default()
        }),
        max_request_headers_kb: options.max_request_headers_kib.and_then(uint),
        stream_idle_timeout: duration(options.stream_idle.unwrap_or(STREAM_IDLE)),
        request_headers_timeout: duration(options.request_headers.unwrap_or(HEADERS_TIMEOUT)),
        drain_timeout: duration(DRAIN),
        ..Default::default()
    };
    traced(manager, gateway, options.tracing.as_ref())
}

/// The last filter of every listener.
fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&Router::default()))),
        ..Default::default()
    }
}

/// Windows of Envoy's hardened example: what one client can make the gateway hold.
fn http2(max_concurrent_streams: u32) -> Http2ProtocolOptions {
    Http2ProtocolOptions {
        max_concurrent_streams: uint(max_concurrent_streams),
        initial_stream_window_size: uint(64 * 1024),
        initial_connection_window_size: uint(1024 * 1024),
        ..Default::default()
    }
}

fn flagged(flags: &[&str]) -> AccessLogFilter {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter { flags })),
    }
}

fn resource(name: &str, listener: &Listener, manager: &HttpConnectionManager) -> Resource {
    let filters = || limited(listener, name, connection_manager(manager));
    Resource::listener(&EnvoyListener {
        name: name.to_owned(),
        address: Some(address(listener.address)),
        listener_filters: listener.tls.as_ref().map(|_| stream::tls_inspector()).into_iter().collect(),
        filter_chains: match &listener.tls {
            Some(tls) => https::chains(tls, &listener.options, https::REQUESTS, |_| filters()),
            None => vec![FilterChain { filters: filters(), ..Default::default() }],
        },
        per_connection_buffer_limit_bytes: buffer(listener),
        ..Default::default()
    })
}

fn connection_manager(manager: &HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(manager))),
    }
}
