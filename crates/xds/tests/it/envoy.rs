//! A real Envoy takes its configuration from this server, in both variants of the protocol.
//! Needs the newest and the oldest supported binary: `TIDEGATE_ENVOY` and `TIDEGATE_ENVOY_OLDEST`, or those that
//! `cargo xtask test` fetches into `.tools` of the workspace.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{AggregatedConfigSource, ApiVersion, ConfigSource};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier,
    http_filter::ConfigType as HttpConfigType,
};
use envoy_types::pb::google::protobuf::Duration as WireDuration;
use envoy_types::util::pack_any;
use prost::Message;
use tidegate_xds::{Change, LoadReport, ResourceType, Scope, XdsEvent, XdsOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::server::{Content, Server, endpoints, socket, within};

/// Between two looks at something that Envoy gives no event for.
const LOOK: Duration = Duration::from_millis(10);

/// A release of Envoy: the variable that names its binary, and the version that is fetched.
struct Release {
    variable: &'static str,
    version: &'static str,
}

const NEWEST: Release = Release { variable: "TIDEGATE_ENVOY", version: "1.40.0" };
const OLDEST: Release = Release { variable: "TIDEGATE_ENVOY_OLDEST", version: "1.36.2" };

impl Release {
    fn binary(&self, test: &str) -> Option<PathBuf> {
        let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
        let fetched = || tools.join(format!("envoy-{}/envoy", self.version));
        let binary = std::env::var_os(self.variable).map_or_else(fetched, PathBuf::from);
        if binary.is_file() {
            return Some(binary);
        }
        skipped(test, &format!("no Envoy at {} (set {})", binary.display(), self.variable));
        None
    }
}

/// Says that a test was skipped: on stderr, and in the file from which `cargo xtask test` makes its summary.
pub(crate) fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}");
    eprintln!("{line}");
    if let Some(log) = std::env::var_os("TIDEGATE_SKIPPED") {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "{line}").unwrap();
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{line}");
}

struct Envoy {
    _process: Child,
    admin: SocketAddr,
}

impl Envoy {
    /// `None`, loudly, if there is no binary; CI must have one.
    async fn start(test: &str, release: &Release, api_type: &str, xds: SocketAddr) -> Option<Self> {
        let binary = release.binary(test)?;
        let address_file =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}.admin", std::process::id()));
        let _ = std::fs::remove_file(&address_file);
        let process = Command::new(binary)
            .arg("--config-yaml")
            .arg(bootstrap(api_type, xds))
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"])
            .arg("--admin-address-path")
            .arg(&address_file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Envoy starts");
        let admin = eventually(async || std::fs::read_to_string(&address_file).ok()?.parse().ok());
        let admin = admin.await;
        let _ = std::fs::remove_file(&address_file);
        Some(Self { _process: process, admin })
    }

    /// Where a listener has bound its port.
    async fn listener(&self, name: &str) -> SocketAddr {
        eventually(async || {
            let listeners = get(self.admin, "/listeners").await?.1;
            let line = listeners.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix("::")?.parse().ok()
        })
        .await
    }

    async fn stat(&self, name: &str) -> Option<u64> {
        let stats = get(self.admin, &format!("/stats?filter=^{name}$")).await?.1;
        stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
    }
}

fn bootstrap(api_type: &str, xds: SocketAddr) -> String {
    let (host, port) = (xds.ip(), xds.port());
    format!(
        r#"
node: {{ id: envoy, cluster: edge, locality: {{ region: r1, zone: z1 }}, metadata: {{ role: edge }} }}
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    grpc_services: [ {{ envoy_grpc: {{ cluster_name: xds }} }} ]
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
cluster_manager:
  load_stats_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [ {{ envoy_grpc: {{ cluster_name: xds }} }} ]
static_resources:
  clusters:
  - name: xds
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: xds
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: "{host}", port_value: {port} }} }} }}
"#
    )
}

/// Looks again until there is something to see.
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            match look().await {
                Some(seen) => return seen,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    })
    .await
}

/// Status and body (as it comes, perhaps chunked).
async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// An upstream that answers with its name; the port it listens on.
async fn upstream(name: &'static str) -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let len = name.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n");
                let answer = format!("{head}connection: close\r\n\r\n{name}");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    port.into()
}

/// From ADS, and without a limit to how long Envoy waits for it.
fn from_ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        initial_fetch_timeout: Some(WireDuration::default()),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    })
}

/// A cluster whose endpoints are called `eds-<name>`.
fn cluster(name: &str, connect_timeout_s: i64) -> Content {
    let message = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: from_ads(),
            service_name: format!("eds-{name}"),
        }),
        connect_timeout: Some(WireDuration { seconds: connect_timeout_s, nanos: 0 }),
        ..Cluster::default()
    };
    (ResourceType::Cluster, name.into(), message.encode_to_vec())
}

fn route(to: &str) -> Content {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(to.into())),
        ..RouteAction::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(action)),
        ..Route::default()
    };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let message =
        RouteConfiguration { name: "r".into(), virtual_hosts: vec![host], ..RouteConfiguration::default() };
    (ResourceType::Route, "r".into(), message.encode_to_vec())
}

/// On a port of the system's choice, with its routes from RDS.
fn listener() -> Content {
    let router = HttpFilter {
        name: "router".into(),
        config_type: Some(HttpConfigType::TypedConfig(pack_any(Router::default()))),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "l".into(),
        http_filters: vec![router],
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: from_ads(),
            route_config_name: "r".into(),
        })),
        ..HttpConnectionManager::default()
    };
    let filter =
        Filter { name: "http".into(), config_type: Some(ConfigType::TypedConfig(pack_any(manager))) };
    let message = Listener {
        name: "l".into(),
        address: Some(socket("127.0.0.1", 0)),
        filter_chains: vec![FilterChain { filters: vec![filter], ..FilterChain::default() }],
        ..Listener::default()
    };
    (ResourceType::Listener, "l".into(), message.encode_to_vec())
}

#[tokio::test]
async fn envoy_is_configured_over_delta() {
    scenario("envoy_is_configured_over_delta", &NEWEST, "DELTA_GRPC").await;
}

#[tokio::test]
async fn envoy_is_configured_over_state_of_the_world() {
    scenario("envoy_is_configured_over_state_of_the_world", &NEWEST, "GRPC").await;
}

#[tokio::test]
async fn the_oldest_supported_envoy_is_configured_over_delta() {
    scenario("the_oldest_supported_envoy_is_configured_over_delta", &OLDEST, "DELTA_GRPC").await;
}

#[tokio::test]
async fn the_oldest_supported_envoy_is_configured_over_state_of_the_world() {
    scenario("the_oldest_supported_envoy_is_configured_over_state_of_the_world", &OLDEST, "GRPC").await;
}

async fn scenario(test: &str, release: &Release, api_type: &str) {
    let mut server = Server::start().await;
    let (one, two, three) = (upstream("one").await, upstream("two").await, upstream("three").await);
    server.set(&[cluster("c", 1), endpoints("eds-c", one), listener(), route("c")]);
    let Some(envoy) = Envoy::start(test, release, api_type, server.address).await else { return };
    let front = envoy.listener("l").await;
    let answers = async |body: &str| {
        eventually(async || (get(front, "/").await? == (200, body.into())).then_some(())).await;
    };
    answers("one").await;

    // New endpoints of the same cluster.
    server.set(&[endpoints("eds-c", two)]);
    answers("two").await;

    // A changed cluster warms, though its endpoints are the same.
    server.set(&[cluster("c", 2)]);
    eventually(async || envoy.stat("cluster_manager.cluster_modified").await.filter(|n| *n > 0)).await;
    eventually(async || (envoy.stat("cluster_manager.warming_clusters").await? == 0).then_some(())).await;
    answers("two").await;

    // A bad resource in the same batch holds back no other, and is found out.
    let nameless = (ResourceType::Endpoint, "eds-d".into(), endpoints("", one).2);
    server.set(&[cluster("d", 1), endpoints("eds-d", one)]);
    eventually(async || (envoy.stat("cluster.d.membership_total").await? == 1).then_some(())).await;
    server.set(&[endpoints("eds-c", three), nameless]);
    answers("three").await;
    let culprit =
        server.event(|event| matches!(event, XdsEvent::Nacked { names, .. } if *names == ["eds-d"]));
    let XdsEvent::Nacked { node, kind, .. } = culprit.await else { unreachable!() };
    assert_eq!((kind, node.locality.zone.as_str()), (ResourceType::Endpoint, "z1"));
    assert_eq!((node.user_agent_name.as_str(), node.metadata["role"].as_str()), ("envoy", "edge"));

    // One batch moves the route to a new cluster and removes the old one: no request fails.
    let set = [route("e"), endpoints("eds-e", two), cluster("e", 1)];
    let mut batch: Vec<_> = set
        .into_iter()
        .map(|(kind, name, body)| Change::Set { scope: Scope::new("s"), kind, name, body: body.into() })
        .collect();
    for (kind, name) in [(ResourceType::Cluster, "c"), (ResourceType::Endpoint, "eds-c")] {
        batch.push(Change::Remove { scope: Scope::new("s"), kind, name: name.into() });
    }
    server.store.apply(batch);
    let mut removed = false;
    within(async {
        while !removed {
            for _ in 0..20 {
                let (status, body) = get(front, "/").await.expect("Envoy answers");
                assert_eq!(status, 200, "{body}");
            }
            removed = envoy.stat("cluster_manager.cluster_removed").await == Some(1);
        }
    })
    .await;
    answers("two").await;

    let of_e = |report: &LoadReport| {
        let load = report.clusters.iter().find(|load| load.cluster == "e")?;
        let counts = load.localities.first()?.counts;
        (counts.issued > 0).then(|| (load.service.clone(), counts))
    };
    let load = server.event(|event| matches!(event, XdsEvent::Load(load) if of_e(load).is_some()));
    let traffic = async {
        loop {
            answers("two").await;
        }
    };
    let load = tokio::select! { load = load => load, () = traffic => unreachable!() };
    let XdsEvent::Load(load) = load else { unreachable!() };
    let (service, counts) = of_e(&load).unwrap();
    assert_eq!((service.as_str(), counts.error), ("eds-e", 0));
    assert!(counts.success + counts.in_progress > 0, "{counts:?}");

    // The server comes back without memory, with the same content: Envoy goes on.
    let address = server.address;
    drop(server);
    let mut server = eventually_at(address).await;
    let good = endpoints("eds-d", one);
    server.set(&[cluster("d", 1), cluster("e", 1), good, endpoints("eds-e", two)]);
    server.set(&[listener(), route("e")]);
    server.event(|event| matches!(event, XdsEvent::Connected { .. })).await;
    server.set(&[endpoints("eds-e", three)]);
    answers("three").await;
}

/// A new server where the old one was, as soon as the port is free.
async fn eventually_at(address: SocketAddr) -> Server {
    eventually(async || std::net::TcpListener::bind(address).is_ok().then_some(())).await;
    Server::at(address, &XdsOptions::default())
}
