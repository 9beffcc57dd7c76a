//! TLS that ends at an edge: certificates by server name, and their exchange under load.

use super::{
    gateway::{Gateway, envoys},
    streams::{Echo, stream_route},
    toy::{Toy, addresses},
};
use crate::fixtures::{World, edge, gateway, listener, plan, rule, service, zone};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidegate_api::{
    Certificate, GatewayRole, Listener, ListenerOptions, ListenerProtocol, ListenerTls, Loader, PathMatch,
    ServicePolicy, SourceFile, TlsVersion, Upstream,
};
use tidegate_envoy::{
    EndpointHealth::Healthy, Resource, certificate_secret, edge_cluster, edge_endpoints, edge_listener,
    edge_routes, stream_listener,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Long: it only matters when the test fails.
const WAIT: Duration = Duration::from_secs(20);

/// A certificate as manifests have it, for these names.
fn certificate(names: &[&str]) -> Arc<Certificate> {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>());
    let made = made.unwrap();
    let block = |text: String| text.lines().map(|line| format!("\n    {line}")).collect::<String>();
    let text = format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: x, namespace: shop}}\nstringData:\n  tls.crt: \
         |{}\n  tls.key: |{}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: \
         shop}}\nspec: {{gatewayClassName: tidegate-edge, listeners: [{{name: a, port: 443, protocol: HTTPS, tls: \
         {{certificateRefs: [{{name: x}}]}}}}]}}\n",
        block(made.cert.pem()),
        block(made.signing_key.serialize_pem())
    );
    let loaded = Loader::new("west".parse().unwrap()).load(&[SourceFile { path: "a".to_owned(), text }]);
    Arc::clone(&loaded.config.certificates["shop/x"])
}

fn ended(certificates: &[(&str, &str)]) -> Listener {
    let certificates = certificates.iter().map(|&(host, name)| (host.to_owned(), name.to_owned()));
    Listener { tls: Some(ListenerTls { certificates: certificates.collect() }), ..listener() }
}

/// An edge with this listener before `shop/web`.
fn resources(listener: &Listener, secrets: &[(&str, &Certificate)], toys: &[Toy]) -> Vec<Resource> {
    let edge = edge(vec![("shop/web", &[], vec![rule(&[PathMatch::Prefix("/".into())], "shop/web")])]);
    let world = World::default().zone("a", addresses(toys, toys.len()));
    let policy = ServicePolicy::default();
    let mut resources = vec![
        edge_listener(&gateway(), listener),
        edge_routes(&gateway(), &edge, listener, &|_| Some(&policy), None),
        edge_cluster(&service(), &zone("a"), &Upstream::default()),
        edge_endpoints(&plan(&[("zone:a", 10_000)], &[]), &world.view()),
    ];
    resources.extend(secrets.iter().map(|(name, certificate)| certificate_secret(name, certificate)));
    resources
}

/// A client that trusts these certificates and no others.
fn trusting(certificates: &[&Certificate], protocols: &[&str]) -> TlsConnector {
    speaking(rustls::DEFAULT_VERSIONS, certificates, protocols)
}

fn speaking(
    versions: &[&'static SupportedProtocolVersion],
    certificates: &[&Certificate],
    protocols: &[&str],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    // Each connection sees the certificate anew.
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

async fn connect(tls: &TlsConnector, to: SocketAddr, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(to).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio::time::timeout(WAIT, tls.connect(name, socket)).await.expect("an end of the handshake")
}

/// The status and body of a request over a connection of its own, by what it negotiated.
async fn get(tls: &TlsConnector, to: SocketAddr, name: &str) -> Result<(u16, String), String> {
    let stream = connect(tls, to, name).await.map_err(|error| error.to_string())?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = Request::get(format!("https://{name}/")).header("host", name).body(Empty::<Bytes>::new());
    let request = request.unwrap();
    let response = if is_h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let response = response.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_shown_the_certificate_of_the_name_that_they_ask_for() {
    for envoy in envoys("clients_are_shown_the_certificate_of_the_name_that_they_ask_for") {
        by_name(&envoy).await;
    }
}

async fn by_name(envoy: &Path) {
    let toys = Toy::several("web", 1).await;
    let (exact, wide) = (certificate(&["a.shop.example"]), certificate(&["*.shop.example"]));
    let secrets = [("shop/exact", &*exact), ("shop/wide", &*wide)];
    let names = [("a.shop.example", "shop/exact"), ("*.shop.example", "shop/wide")];
    let resources = resources(&ended(&names), &secrets, &toys);
    let gateway = Gateway::start(envoy, GatewayRole::Edge, resources).await;
    let to = gateway.address;
    for (certificate, name) in [(&exact, "a.shop.example"), (&wide, "b.shop.example")] {
        for protocols in [&["h2"][..], &["http/1.1"], &["h2", "http/1.1"], &[]] {
            let tls = trusting(&[certificate], protocols);
            let stream = connect(&tls, to, name).await.unwrap();
            let negotiated = stream.get_ref().1.alpn_protocol();
            assert_eq!(negotiated, protocols.first().map(|it| it.as_bytes()), "{name}");
            assert_eq!(get(&tls, to, name).await, Ok((200, "web".to_owned())), "{name} {protocols:?}");
        }
    }
    let seen = toys[0].seen();
    assert!(seen.iter().all(|it| it.headers["x-forwarded-proto"] == "https"));
    // Nobody is let in for another name, or without TLS.
    let anything = trusting(&[&exact, &wide], &[]);
    assert!(connect(&anything, to, "elsewhere.example").await.is_err());
    let mut plain = TcpStream::connect(to).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a.shop.example\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    // A reset is as good.
    let _ = tokio::time::timeout(WAIT, plain.read_to_end(&mut heard)).await.expect("it is closed");
    assert_eq!(heard, b"");
    assert_eq!(toys[0].seen().len(), seen.len(), "nothing got through");
    // What Envoy shows of itself has no key.
    let shown = gateway.admin("/config_dump?include_eds").await + &gateway.log();
    let private = exact.key.pem().lines().nth(2).unwrap()[..20].to_owned();
    assert!(shown.contains("certificate/shop/exact") && !shown.contains(&private));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_exchanged_without_touching_the_listener_and_no_request_fails() {
    let test = "a_certificate_is_exchanged_without_touching_the_listener_and_no_request_fails";
    for envoy in envoys(test) {
        exchanged(&envoy).await;
    }
}

async fn exchanged(envoy: &Path) {
    const NAME: &str = "shop.example";
    let toys = Toy::several("web", 2).await;
    let (old, new) = (certificate(&[NAME]), certificate(&[NAME]));
    let listener = ended(&[("", "shop/x")]);
    let of = |certificate: &Certificate| resources(&listener, &[("shop/x", certificate)], &toys);
    let mut gateway = Gateway::start(envoy, GatewayRole::Edge, of(&old)).await;
    let to = gateway.address;
    let both = trusting(&[&old, &new], &["http/1.1"]);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Some over connections of their own, each; one over a connection that was there before.
    let fresh = (0..4).map(|_| {
        let (both, stop, done) = (both.clone(), Arc::clone(&stop), Arc::clone(&done));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(get(&both, to, NAME).await, Ok((200, "web".to_owned())));
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let stream = connect(&both, to, NAME).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (stop_kept, done_kept) = (Arc::clone(&stop), Arc::clone(&done));
    let kept = tokio::spawn(async move {
        while !stop_kept.load(Ordering::Relaxed) {
            let request = Request::get("/").header("host", NAME).body(Empty::<Bytes>::new()).unwrap();
            sender.ready().await.unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
            done_kept.fetch_add(1, Ordering::Relaxed);
        }
    });
    let running: Vec<_> = fresh.chain([kept]).collect();
    for certificate in [&new, &old, &new] {
        let before = done.load(Ordering::Relaxed);
        gateway.ads.want(of(certificate));
        gateway.ads.applied().await;
        // It has taken the certificate over once a new connection sees it.
        let only = trusting(&[certificate], &["http/1.1"]);
        let shown = async {
            while connect(&only, to, NAME).await.is_err() {}
            while done.load(Ordering::Relaxed) < before + 50 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT, shown).await.expect("the new certificate");
    }
    stop.store(true, Ordering::Relaxed);
    for task in running {
        task.await.expect("every request is answered");
    }
    let stats = gateway.admin("/stats?filter=listener_manager.listener_").await;
    let count: BTreeMap<&str, &str> = stats.lines().filter_map(|line| line.split_once(": ")).collect();
    let of = |name: &str| count[format!("listener_manager.listener_{name}").as_str()];
    assert_eq!((of("modified"), of("in_place_updated"), of("removed")), ("0", "0", "0"), "{stats}");
    eprintln!("{} requests while the certificate was exchanged three times", done.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_passed_on_after_tls_has_ended_by_the_server_name() {
    for envoy in envoys("bytes_are_passed_on_after_tls_has_ended_by_the_server_name") {
        passed_on(&envoy).await;
    }
}

async fn passed_on(envoy: &Path) {
    let echo = Echo::start("a").await;
    let (one, other) = (certificate(&["a.example"]), certificate(&["b.example"]));
    let listener = Listener {
        protocol: ListenerProtocol::Tcp,
        ..ended(&[("a.example", "shop/one"), ("b.example", "shop/other")])
    };
    let mut edge = edge(Vec::new());
    edge.streams = vec![stream_route("shop/db", &["a.example"], "shop/web")];
    let world = World::default().zone("a", [(echo.address, Healthy)]);
    let policy = ServicePolicy::default();
    let resources = vec![
        stream_listener(&gateway(), &edge, &listener, &|_| Some(&policy)),
        edge_cluster(&service(), &zone("a"), &Upstream { tunnelled: true, ..Upstream::default() }),
        edge_endpoints(&plan(&[("zone:a", 10_000)], &[]), &world.view()),
        certificate_secret("shop/one", &one),
        certificate_secret("shop/other", &other),
    ];
    let gateway = Gateway::start(envoy, GatewayRole::Edge, resources).await;
    let ask = async |certificate: &Certificate, name: &str| {
        let tls = trusting(&[certificate], &[]);
        // A name without a route is closed, before or after the handshake.
        let Ok(mut stream) = connect(&tls, gateway.address, name).await else { return Vec::new() };
        let mut heard = Vec::new();
        let _ = stream.write_all(b"bytes\n").await;
        let first = async { stream.read_buf(&mut heard).await };
        let _ = tokio::time::timeout(WAIT, first).await.expect("an answer or an end");
        heard
    };
    assert!(ask(&one, "a.example").await.starts_with(b"a"));
    assert_eq!(ask(&other, "b.example").await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_bounds_versions_connections_and_headers() {
    for envoy in envoys("a_template_bounds_versions_connections_and_headers") {
        bounded(&envoy).await;
    }
}

async fn bounded(envoy: &Path) {
    const NAME: &str = "shop.example";
    let toys = Toy::several("web", 1).await;
    let shown = certificate(&[NAME]);
    let options = ListenerOptions {
        buffer_kib: Some(64),
        max_connections: Some(2),
        connection_idle: Some(Duration::from_secs(60)),
        request_headers: Some(Duration::from_secs(5)),
        stream_idle: Some(Duration::from_secs(60)),
        max_connection_duration: Some(Duration::from_secs(600)),
        max_request_headers_kib: Some(16),
        max_concurrent_streams: Some(10),
        trusted_hops: Some(1),
        tls_min: Some(TlsVersion::V1_2),
        tls_max: Some(TlsVersion::V1_2),
        cipher_suites: Some(vec!["ECDHE-ECDSA-AES256-GCM-SHA384".to_owned()]),
        tracing: None,
    };
    let listener = Listener { options, ..ended(&[("", "shop/x")]) };
    let gateway =
        Gateway::start(envoy, GatewayRole::Edge, resources(&listener, &[("shop/x", &shown)], &toys)).await;
    let to = gateway.address;
    let old = speaking(&[&rustls::version::TLS12], &[&shown], &["http/1.1"]);
    let new = speaking(&[&rustls::version::TLS13], &[&shown], &["http/1.1"]);
    assert!(connect(&new, to, NAME).await.is_err(), "1.3 is above the bound");
    let first = connect(&old, to, NAME).await.unwrap();
    let suite = first.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(first)).await.unwrap();
    tokio::spawn(connection);
    let request = || Request::get("/").header("host", NAME);
    let large = request().header("x-large", "x".repeat(20 << 10)).body(Empty::<Bytes>::new()).unwrap();
    let trusted = request().header("x-forwarded-for", "192.0.2.7").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(trusted).await.unwrap().status(), 200);
    let seen = toys[0].seen();
    assert_eq!(seen[0].headers["x-envoy-external-address"], "192.0.2.7", "one proxy before it is believed");
    // The first one is open: one more, and no third.
    let second = connect(&old, to, NAME).await.unwrap();
    assert!(connect(&old, to, NAME).await.is_err(), "a third connection is closed");
    drop(second);
    assert_eq!(sender.send_request(large).await.unwrap().status(), 431, "headers above 16 KiB");
}
