use super::*;
use crate::{fetch, net::Loopback};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const LIMIT: Duration = Duration::from_secs(5);

struct Rig {
    toy: Toy,
    ledger: Ledger,
    _loopback: Loopback,
}

fn start() -> Rig {
    let loopback = Loopback::claim();
    let spec = ToySpec {
        service: "shop/web".parse().unwrap(),
        cluster: "us-east".parse().unwrap(),
        zone: "us-east-1a".parse().unwrap(),
        name: "web-1a-0".to_owned(),
        ip: loopback.next_ip(),
    };
    let ledger = Ledger::new();
    Rig { toy: Toy::start(spec, &ledger, LabClock::start()).unwrap(), ledger, _loopback: loopback }
}

async fn status(toy: &Toy, path: &str) -> StatusCode {
    fetch::get(toy.address(), None, path, LIMIT).await.unwrap().0
}

async fn post(toy: &Toy, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(toy.address()).await.unwrap();
    let request =
        format!("POST /buy HTTP/1.1\r\nhost: t\r\nx-lab-request-id: {id}\r\ncontent-length: 2\r\n\r\nok");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads the head of one answer.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.windows(4).any(|end| end == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "closed without an answer");
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_answer_says_who_gave_it() {
    let rig = start();
    let head = answer(&mut post(&rig.toy, "a").await).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for line in [
        "x-toy-endpoint: web-1a-0",
        "x-toy-zone: us-east-1a",
        "x-toy-cluster: us-east",
        "x-toy-service: shop/web",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
}

#[tokio::test]
async fn health_checks_are_not_counted_as_requests() {
    let rig = start();
    assert_eq!(status(&rig.toy, HEALTH_PATH).await, 200);
    assert_eq!(rig.toy.requests(), 0);
    assert_eq!(status(&rig.toy, "/").await, 200);
    assert_eq!(rig.toy.requests(), 1);
    assert_eq!(rig.toy.per_second().iter().map(|(_, requests)| requests).sum::<u64>(), 1);
}

#[tokio::test]
async fn refusing_closes_connections_and_serving_again_keeps_the_address() {
    let rig = start();
    let mut open = post(&rig.toy, "a").await;
    answer(&mut open).await;
    for _ in 0..3 {
        rig.toy.set(ToyMode::Refuse).await.unwrap();
        let refused = TcpStream::connect(rig.toy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        rig.toy.set(ToyMode::Serve).await.unwrap();
        assert_eq!(status(&rig.toy, "/").await, 200);
    }
    let mut rest = Vec::new();
    assert!(matches!(open.read_to_end(&mut rest).await, Ok(_) | Err(_)), "the old connection has ended");
}

#[tokio::test]
async fn a_503_counts_as_work_and_covers_the_health_path() {
    let rig = start();
    rig.toy.set(ToyMode::Status503).await.unwrap();
    assert_eq!(status(&rig.toy, HEALTH_PATH).await, 503);
    assert!(answer(&mut post(&rig.toy, "a").await).await.starts_with("HTTP/1.1 503"));
    assert_eq!((rig.toy.requests(), rig.ledger.count("a")), (1, 1));
}

#[tokio::test]
async fn some_errors_are_seen_by_requests_and_by_no_check() {
    let rig = start();
    rig.toy.set(ToyMode::Errors(30)).await.unwrap();
    let mut failed = 0;
    for _ in 0..400 {
        assert_eq!(status(&rig.toy, HEALTH_PATH).await, 200);
        failed += u32::from(status(&rig.toy, "/").await == 503);
    }
    assert!((90..=150).contains(&failed), "{failed} of 400 failed, 120 were wanted");
}

#[tokio::test]
async fn what_hangs_is_answered_when_it_serves_again() {
    let rig = start();
    rig.toy.set(ToyMode::Slow(Duration::from_secs(60))).await.unwrap();
    let mut in_flight = post(&rig.toy, "a").await;
    while rig.toy.requests() < 1 {
        tokio::task::yield_now().await;
    }
    rig.toy.set(ToyMode::Hang).await.unwrap();
    let mut late = post(&rig.toy, "b").await;
    while rig.toy.requests() < 2 {
        tokio::task::yield_now().await;
    }
    rig.toy.set(ToyMode::Serve).await.unwrap();
    assert!(answer(&mut in_flight).await.starts_with("HTTP/1.1 200"));
    assert!(answer(&mut late).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_slow_toy_takes_its_time() {
    let rig = start();
    rig.toy.set(ToyMode::Slow(Duration::from_millis(80))).await.unwrap();
    let asked = std::time::Instant::now();
    assert_eq!(status(&rig.toy, "/").await, 200);
    assert!(asked.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn work_that_is_done_twice_is_found() {
    let rig = start();
    for id in ["a", "b", "a"] {
        answer(&mut post(&rig.toy, id).await).await;
    }
    let endpoints = vec!["web-1a-0".to_owned(); 2];
    assert_eq!(rig.ledger.repeated(), [Repeated { id: "a".to_owned(), count: 2, endpoints }]);
    assert_eq!(rig.ledger.requests(), 2);
}
