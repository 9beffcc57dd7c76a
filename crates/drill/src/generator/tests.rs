use super::*;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{collections::BTreeSet, convert::Infallible, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A server that writes down who asked for what; `/slow` takes its time, `/dead` is a gRPC call that failed.
struct Server {
    address: SocketAddr,
    seen: Seen,
}

async fn serve(wire: Wire, tls: Option<TlsAcceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let book = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let (book, tls) = (Arc::clone(&book), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(wire, stream, from, book).await,
                    // Who does not trust this server leaves in the middle.
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        answer(wire, stream, from, book).await;
                    }
                }
            });
        }
    });
    Server { address, seen }
}

async fn answer<S>(wire: Wire, stream: S, from: SocketAddr, book: Seen)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let book = Arc::clone(&book);
        async move {
            let id = request.headers()[HEADER_ID].to_str().unwrap().to_owned();
            assert_eq!(request.headers()["x-request-id"].to_str().unwrap(), id);
            lock(&book).push((id, from.ip().to_string()));
            let path = request.uri().path().to_owned();
            let sent = request.into_body().collect().await.unwrap().to_bytes();
            if path == "/slow" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
            if wire == Wire::Grpc {
                assert_eq!(&sent[..], [0; 5], "a message of no bytes");
                let status = if path == "/dead" { "14" } else { "0" };
                response.headers_mut().insert("grpc-status", status.parse().unwrap());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(stream);
    // A client that leaves in the middle is none of the server's business.
    if wire == Wire::Http1 {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    }
}

fn spec(targets: Vec<Target>, rate_rps: u32) -> Spec {
    Spec {
        targets,
        sources: Vec::new(),
        rate_rps,
        in_flight_limit: 1000,
        timeout: Duration::from_secs(20),
        keep: Keep::Samples(10_000),
        pinned_to: None,
        id: unique_id(),
    }
}

/// Runs a load until so many requests have ended.
async fn run_until(spec: Spec, ended: u64) -> Run {
    let generator = Generator::start(spec, Clock::start()).unwrap();
    let limit = tokio::time::Instant::now() + Duration::from_secs(30);
    while generator.tally().ended < ended {
        assert!(tokio::time::Instant::now() < limit, "{:?}", generator.tally().outcomes);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    generator.stop().await
}

fn target(server: &Server, wire: Wire, path: &str) -> Target {
    Target { wire, ..Target::get(format!("http://{}{path}", server.address)) }
}

/// Every request was asked once, was due at its time, and got this outcome.
fn check(run: &Run, server: &Server, rate_rps: u64, expected: Outcome) {
    assert_eq!(run.tally.outcomes, [(expected, run.tally.due)].into());
    assert_eq!((run.tally.ended, run.samples.len() as u64), (run.tally.due, run.tally.due));
    let mut due: Vec<u64> = run.samples.iter().map(|sample| sample.due_us).collect();
    due.sort_unstable();
    let apart = 1_000_000 / rate_rps;
    assert!(due.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(apart) <= 1), "{due:?}");
    let seen = lock(&server.seen);
    let ids: BTreeSet<&String> = seen.iter().map(|(id, _)| id).collect();
    assert_eq!((ids.len(), seen.len() as u64), (seen.len(), run.tally.due), "each once");
    assert!(ids.iter().all(|id| id.starts_with(&run.id)), "{ids:?}");
}

#[tokio::test]
async fn http_1_and_2_and_grpc_are_asked_when_due_and_once() {
    for (wire, path) in [(Wire::Http1, "/"), (Wire::Http2, "/"), (Wire::Grpc, "/grpc.health.v1.Health/Check")]
    {
        let server = serve(wire, None).await;
        let run = run_until(spec(vec![target(&server, wire, path)], 500), 200).await;
        check(&run, &server, 500, Outcome::Status(200));
    }
}

#[tokio::test]
async fn a_grpc_call_that_fails_is_no_success_though_http_says_200() {
    let server = serve(Wire::Grpc, None).await;
    let run = run_until(spec(vec![target(&server, Wire::Grpc, "/dead")], 500), 50).await;
    check(&run, &server, 500, Outcome::Grpc(14));
    assert_eq!(run.tally.succeeded(), 0);
    let plain = serve(Wire::Http2, None).await;
    let run = run_until(spec(vec![target(&plain, Wire::Grpc, "/")], 500), 20).await;
    check(&run, &plain, 500, Outcome::Broken);
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_file_trusts_and_nobody_else() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, own.cert.pem()).unwrap();
    for (wire, alpn) in [(Wire::Http1, "http/1.1"), (Wire::Http2, "h2")] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let server = serve(wire, Some(TlsAcceptor::from(Arc::new(config)))).await;
        let url = format!("https://localhost:{}/", server.address.port());
        let trusting = Target { wire, trust: Trust::File(ca.clone()), ..Target::get(url) };
        check(&run_until(spec(vec![trusting.clone()], 200), 40).await, &server, 200, Outcome::Status(200));
        // The same server by a name that its certificate does not have.
        let url = format!("https://{}/", server.address);
        let asked = lock(&server.seen).len();
        let run = run_until(spec(vec![Target { url, ..trusting }], 10), 2).await;
        assert!(run.tally.outcomes.contains_key(&Outcome::Connect), "{:?}", run.tally.outcomes);
        assert_eq!((run.tally.succeeded(), lock(&server.seen).len()), (0, asked));
    }
}

#[tokio::test]
async fn targets_and_sources_take_turns() {
    let (one, two) = (serve(Wire::Http1, None).await, serve(Wire::Http2, None).await);
    let targets = vec![target(&one, Wire::Http1, "/"), target(&two, Wire::Http2, "/")];
    let sources = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let run = run_until(Spec { sources, ..spec(targets, 500) }, 100).await;
    for server in [&one, &two] {
        let seen = lock(&server.seen);
        let of = |ip: &str| seen.iter().filter(|(_, from)| from == ip).count() as u64;
        assert!(of("127.0.0.2").abs_diff(of("127.0.0.3")) <= 1);
        assert!((seen.len() as u64).abs_diff(run.tally.due / 2) <= 2);
    }
    assert!(run.samples.iter().filter(|sample| sample.service == 1).count() >= 50);
}

#[tokio::test]
async fn what_could_not_be_sent_is_counted_and_latency_counts_from_when_it_was_due() {
    let server = serve(Wire::Http1, None).await;
    let run =
        run_until(Spec { in_flight_limit: 5, ..spec(vec![target(&server, Wire::Http1, "/slow")], 200) }, 60)
            .await;
    let overload = run.tally.outcomes[&Outcome::Overload];
    // Five at a time of 100 ms each: 50 per second of the 200.
    assert!(overload * 2 > run.tally.due, "{overload} of {}", run.tally.due);
    assert_eq!(run.tally.ended, run.tally.due);
    assert!(run.tally.latency.min() >= 99_900, "{}", run.tally.latency.min());
    assert_eq!(lock(&server.seen).len() as u64 + overload, run.tally.due);
}

#[tokio::test]
async fn memory_is_bounded_and_what_found_no_room_is_counted() {
    let server = serve(Wire::Http1, None).await;
    let targets = || vec![target(&server, Wire::Http1, "/")];
    let run = run_until(Spec { keep: Keep::Samples(10), ..spec(targets(), 500) }, 50).await;
    assert_eq!((run.samples.len() as u64, run.tally.dropped), (10, run.tally.ended - 10));
    assert_eq!(run.tally.latency.len(), run.tally.ended);
    let run = run_until(Spec { keep: Keep::Sums, ..spec(targets(), 500) }, 50).await;
    assert_eq!((run.samples.len(), run.tally.dropped), (0, 0));
}

/// A server that answers nobody until it is released, and counts who is connected.
async fn stalled() -> (SocketAddr, Arc<tokio::sync::watch::Sender<bool>>, Arc<std::sync::atomic::AtomicUsize>)
{
    use std::sync::atomic::{AtomicUsize, Ordering};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (released, open) = (Arc::new(tokio::sync::watch::channel(false).0), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&released), Arc::clone(&open));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
            tokio::spawn(async move {
                count.fetch_add(1, Ordering::Relaxed);
                let service = service_fn(move |_| {
                    let mut gate = gate.subscribe();
                    async move {
                        gate.wait_for(|open| *open).await.unwrap();
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                count.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    (address, released, open)
}

#[tokio::test]
async fn connections_that_a_stall_left_are_closed_while_the_load_goes_on() {
    let (address, released, open) = stalled().await;
    let connected = || open.load(std::sync::atomic::Ordering::Relaxed);
    let targets = vec![Target::get(format!("http://{address}/"))];
    let generator = Generator::start(spec(targets, 200), Clock::start()).unwrap();
    let limit = tokio::time::Instant::now() + Duration::from_secs(30);
    let wait = || async {
        assert!(tokio::time::Instant::now() < limit, "{} connections", connected());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    while connected() < 100 {
        wait().await;
    }
    released.send_replace(true);
    while connected() > 20 {
        wait().await;
    }
    let run = generator.stop().await;
    assert_eq!(run.tally.outcomes, [(Outcome::Status(200), run.tally.due)].into());
}

#[tokio::test]
async fn nobody_listening_is_told_apart_from_no_answer() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let targets = vec![Target::get(format!("http://{closed}/"))];
    let run = run_until(spec(targets, 100), 10).await;
    assert_eq!(run.tally.outcomes, [(Outcome::Connect, run.tally.due)].into());
    // TCP is taken by the kernel, and nobody speaks TLS: no connection, nothing sent, nothing lost.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&ca, own.cert.pem()).unwrap();
    for wire in [Wire::Http1, Wire::Http2] {
        let url = format!("https://{}/", silent.local_addr().unwrap());
        let targets = vec![Target { wire, trust: Trust::File(ca.clone()), ..Target::get(url) }];
        let run = run_until(Spec { timeout: Duration::from_millis(50), ..spec(targets, 100) }, 10).await;
        assert_eq!(run.tally.outcomes, [(Outcome::Connect, run.tally.due)].into(), "{wire:?}");
    }
    let server = serve(Wire::Http1, None).await;
    let targets = vec![target(&server, Wire::Http1, "/slow")];
    // Less than it takes, and time enough to connect on a busy machine.
    let run = run_until(Spec { timeout: Duration::from_millis(80), ..spec(targets, 100) }, 10).await;
    assert_eq!(run.tally.outcomes, [(Outcome::Timeout, run.tally.due)].into());
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_the_reason() {
    let refused = |spec: Spec| Generator::start(spec, Clock::start()).map(drop).unwrap_err().to_string();
    let good = || Target::get("http://localhost/");
    assert!(refused(spec(vec![good()], 0)).contains("not 0"));
    assert!(refused(spec(Vec::new(), 1)).contains("1 to 64 targets, not 0"));
    assert!(refused(spec(vec![Target::get("shop.example")], 1)).contains("must begin with http"));
    assert!(refused(spec(vec![Target::get("ftp://shop.example/")], 1)).contains("must begin with http"));
    let header = Target { headers: vec![("a b".to_owned(), "c".to_owned())], ..good() };
    assert!(refused(spec(vec![header], 1)).contains("is not a header"));
    let trust = Trust::File("/nowhere.pem".into());
    let refusal = refused(spec(vec![Target { trust, ..Target::get("https://localhost/") }], 1));
    assert!(refusal.contains("/nowhere.pem") && refusal.contains("--ca"), "{refusal}");
}

#[test]
fn requests_are_spread_evenly_over_the_years() {
    assert_eq!(offset_ns(0, 3), 0);
    assert_eq!([1, 2, 3].map(|number| offset_ns(number, 3)), [333_333_333, 666_666_666, 1_000_000_000]);
    let year = 10_000 * 86_400 * 365;
    assert_eq!(offset_ns(year, 10_000), 86_400 * 365 * 1_000_000_000);
}
