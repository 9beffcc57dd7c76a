//! HTTP/1.1 and TCP, and what a prober does with its targets.

use crate::{Fixture, PATIENCE, down, fixture, http, refusing, target};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tidegate_model::ProbeVerdict;
use tidegate_probe::{CheckKind, HttpCheck, IN_FLIGHT_LIMIT, Prober, Target, Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What a [`server`] does with a connection.
const ANSWER_200: u32 = 200;
const ANSWER_503: u32 = 503;
const HANG: u32 = 0;
const HANG_UP: u32 = 1;
const RESET: u32 = 2;
const TALK_NONSENSE: u32 = 3;
const ENDLESS_BODY: u32 = 4;

/// A server whose behaviour can be changed under way.
struct Server {
    address: SocketAddr,
    behaviour: Arc<AtomicU32>,
    connections: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<String>,
}

async fn server(behaviour: u32) -> Server {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let behaviour = Arc::new(AtomicU32::new(behaviour));
    let connections = Arc::new(AtomicUsize::new(0));
    let (sender, requests) = mpsc::unbounded_channel();
    let (shared, count) = (Arc::clone(&behaviour), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, SeqCst);
            tokio::spawn(serve(stream, shared.load(SeqCst), sender.clone()));
        }
    });
    Server { address, behaviour, connections, requests }
}

async fn serve(mut stream: TcpStream, behaviour: u32, requests: mpsc::UnboundedSender<String>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
        if behaviour == RESET {
            // Closing with bytes unread resets the connection.
            return;
        }
    }
    requests.send(String::from_utf8(request).unwrap()).ok();
    let answer = match behaviour {
        HANG => return std::future::pending().await,
        HANG_UP => return,
        TALK_NONSENSE => "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned(),
        ENDLESS_BODY => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        status => format!("HTTP/1.1 {status} Said So\r\ncontent-length: 2\r\n\r\nhi"),
    };
    stream.write_all(answer.as_bytes()).await.ok();
    while behaviour == ENDLESS_BODY && stream.write_all(&[b'x'; 4096]).await.is_ok() {}
}

#[tokio::test]
async fn a_target_that_answers_is_up_after_one_check() {
    let mut fixture = fixture();
    fixture.check(http(server(ANSWER_200).await.address));
    fixture.expect(ProbeVerdict::Up, true).await;
}

#[tokio::test]
async fn a_closed_port_is_down_by_both_kinds_of_check() {
    for kind in [CheckKind::Tcp, CheckKind::http("/")] {
        let mut fixture = fixture();
        let (address, _bound) = refusing().await;
        fixture.check(target(address, kind));
        fixture.expect(down("connection refused"), true).await;
    }
}

#[tokio::test]
async fn a_listening_port_is_up_by_a_tcp_check() {
    let mut fixture = fixture();
    fixture.check(target(server(HANG).await.address, CheckKind::Tcp));
    fixture.expect(ProbeVerdict::Up, true).await;
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason() {
    for (behaviour, reason) in [
        (ANSWER_503, "status 503"),
        (HANG_UP, "connection closed without an answer"),
        (RESET, "connection reset"),
        (TALK_NONSENSE, "not an HTTP answer"),
    ] {
        let mut fixture = fixture();
        fixture.check(http(server(behaviour).await.address));
        fixture.expect(down(reason), true).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_down_after_the_timeout() {
    let mut fixture = fixture();
    let server = server(HANG).await;
    let mut target = http(server.address);
    target.config.timeout = Duration::from_millis(30);
    fixture.check(target);
    fixture.expect(down("timeout after 30 ms waiting for the response header"), true).await;
    assert!(server.connections.load(SeqCst) >= 2, "one timeout is not enough");
}

#[tokio::test]
async fn a_body_without_end_does_not_keep_a_target_from_being_up() {
    let mut fixture = fixture();
    fixture.check(http(server(ENDLESS_BODY).await.address));
    fixture.expect(ProbeVerdict::Up, true).await;
}

#[tokio::test]
async fn a_server_that_fails_and_recovers_is_told_each_way() {
    let mut fixture = fixture();
    let server = server(ANSWER_200).await;
    fixture.check(http(server.address));
    fixture.expect(ProbeVerdict::Up, true).await;
    server.behaviour.store(ANSWER_503, SeqCst);
    fixture.expect(down("status 503"), false).await;
    server.behaviour.store(ANSWER_200, SeqCst);
    fixture.expect(ProbeVerdict::Up, false).await;
}

#[tokio::test]
async fn statuses_are_compared_with_what_is_expected() {
    let mut fixture = fixture();
    let expected_statuses = vec![200..=204, 500..=599];
    let kind = CheckKind::Http(Arc::new(HttpCheck { expected_statuses, ..HttpCheck::get("/") }));
    fixture.check(target(server(ANSWER_503).await.address, kind));
    fixture.expect(ProbeVerdict::Up, true).await;
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let fixture = fixture();
    let mut server = server(ANSWER_200).await;
    let kind = CheckKind::Http(Arc::new(HttpCheck {
        host: Some("shop.example".into()),
        headers: vec![("x-check".into(), "tide".into())],
        ..HttpCheck::get("/healthz?deep=1")
    }));
    fixture.check(target(server.address, kind));
    let request = timeout(PATIENCE, server.requests.recv()).await.unwrap().unwrap();
    assert!(request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: shop.example\r\n"), "{request}");
    assert!(request.contains("connection: close\r\n"), "{request}");
    assert!(request.contains("x-check: tide\r\n"), "{request}");
    assert!(
        request.contains(concat!("user-agent: tidegate-probe/", env!("CARGO_PKG_VERSION"), "\r\n")),
        "{request}"
    );
}

#[tokio::test]
async fn every_check_has_a_connection_of_its_own() {
    let fixture = fixture();
    let mut server = server(ANSWER_200).await;
    fixture.check(http(server.address));
    for _ in 0..5 {
        timeout(PATIENCE, server.requests.recv()).await.unwrap().unwrap();
    }
    assert!(server.connections.load(SeqCst) >= 5);
}

#[tokio::test]
async fn what_was_known_is_confirmed_before_it_is_told() {
    let mut fixture = fixture();
    let mut server = server(ANSWER_200).await;
    fixture.check(Target { known: Some(false), ..http(server.address) });
    fixture.expect(ProbeVerdict::Up, true).await;
    server.requests.recv().await.unwrap();
    assert!(server.requests.recv().await.is_some(), "a target known as down needs two successes");
}

#[tokio::test]
async fn a_changed_configuration_starts_from_the_last_verdict() {
    let mut fixture = fixture();
    let server = server(ANSWER_200).await;
    fixture.check(http(server.address));
    fixture.expect(ProbeVerdict::Up, true).await;
    let kind =
        CheckKind::Http(Arc::new(HttpCheck { expected_statuses: vec![204..=204], ..HttpCheck::get("/") }));
    fixture.check(target(server.address, kind));
    fixture.expect(down("status 200"), false).await;
}

#[tokio::test]
async fn a_target_that_is_gone_is_checked_no_more_and_new_ones_are() {
    let mut fixture = fixture();
    let (old, new) = (server(ANSWER_200).await, server(ANSWER_200).await);
    fixture.check(http(old.address));
    fixture.expect(ProbeVerdict::Up, true).await;
    fixture.prober.set(vec![("b", http(new.address))]);
    let verdict = fixture.next().await.unwrap();
    assert_eq!((verdict.key, verdict.verdict, verdict.first), ("b", ProbeVerdict::Up, true));
    // The new one's verdict came after the set was taken: what the old one gets from now on is at
    // most the check that was under way, and then no more while the new one is checked on.
    let checked = |server: &Server| server.connections.load(SeqCst);
    let (before, start) = (checked(&old), checked(&new));
    timeout(PATIENCE, async {
        while checked(&new) < start + 10 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the new target is checked on");
    assert!(checked(&old) <= before + 1, "{} -> {}", before, checked(&old));
}

#[tokio::test]
async fn more_targets_than_may_be_under_way_are_late_but_not_lost() {
    let (sender, mut verdicts) = mpsc::channel(16);
    let prober = Prober::start(sender, CancellationToken::new()).unwrap();
    let count = u32::try_from(IN_FLIGHT_LIMIT).unwrap() * 2;
    let (address, _bound) = refusing().await;
    let mut quiet = target(address, CheckKind::Tcp);
    quiet.config.interval = Duration::from_secs(3600);
    prober.set((0..count).map(|key| (key, quiet.clone())).collect());
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < count as usize {
        let verdict = timeout(PATIENCE, verdicts.recv()).await.expect("a verdict is missing").unwrap();
        assert_eq!(verdict.verdict, down("connection refused"));
        assert!(verdict.first && seen.insert(verdict.key), "one first verdict each: {verdict:?}");
    }
}

#[tokio::test]
async fn it_ends_by_the_token_by_being_dropped_and_when_nobody_listens() {
    let mut by_token = fixture();
    by_token.shutdown.cancel();
    assert_eq!(by_token.next().await, None);

    let Fixture { prober, mut verdicts, shutdown } = fixture();
    drop(prober);
    assert_eq!(timeout(PATIENCE, verdicts.recv()).await.unwrap(), None);
    assert!(!shutdown.is_cancelled(), "dropping a prober stops nothing else");

    let (sender, verdicts) = mpsc::channel::<Verdict<u8>>(1);
    let _prober = Prober::start(sender.clone(), CancellationToken::new()).unwrap();
    drop(verdicts);
    timeout(PATIENCE, sender.closed()).await.unwrap();
}
