//! Draining on a real fleet: traffic is moved away while requests are in flight.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use support::{
    command::run,
    course::{Course, EAST, cluster, spec},
    until,
};
use tidegate_lab::{fetch, fleet::FleetSpec, toy::ToyMode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const ZONE: &str = "us-east-1a";
const SOURCE: &str = "us-east/us-east-1a";
const COUNT: usize = 10;

/// One service whose slow answers are no fault, and a short time to drain.
fn drained(timeout: &str) -> FleetSpec {
    let mut spec = spec();
    spec.services.retain(|service| service.to_string() == "shop/web");
    let check = json!({"type": "TCP", "interval": "500ms", "timeout": "2s"});
    spec.policy.more.insert("healthCheck".to_owned(), json!({"active": check}));
    spec.policy.more.insert("drain".to_owned(), json!({"timeout": timeout}));
    spec
}

async fn post(edge: SocketAddr) -> String {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    let request =
        "POST / HTTP/1.1\r\nhost: web.shop.example\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The zone as it drains for its own source, if it does: what remains of its time, and what is in flight.
async fn draining(course: &Course) -> Option<(u64, u64)> {
    let status = course.status(EAST).await;
    let all = status["draining"].as_array().unwrap();
    let of = |it: &&Value| it["source"] == SOURCE && it["target"] == format!("zone {ZONE}");
    let it = all.iter().find(of)?;
    Some((it["remainingMs"].as_u64().unwrap(), it["inFlight"].as_u64().unwrap()))
}

fn away(course: &Course) -> Vec<String> {
    let admin = course.fleet().addresses(&cluster(EAST)).unwrap().agent_admin.to_string();
    let arguments =
        ["shift", "away", "--yes", "--zone", ZONE, "--for", "10m", "--comment", "test", "--admin", &admin];
    arguments.map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_in_a_zone_that_is_left_finishes_and_what_outlasts_the_drain_is_shown() {
    let test = "what_is_in_flight_in_a_zone_that_is_left_finishes_and_what_outlasts_the_drain_is_shown";
    let Some(course) = Course::start(test, drained("2s")).await else { return };
    let addresses = course.fleet().addresses(&cluster(EAST)).unwrap();
    let toys = course.fleet().toys().iter().filter(|toy| toy.spec().zone.as_str() == ZONE);
    let toys: Vec<_> = toys.collect();
    for toy in &toys {
        toy.set(ToyMode::Hang).await.unwrap();
    }
    let seen = || toys.iter().map(|toy| toy.requests()).sum::<u64>();
    let (before, mut requests) = (seen(), JoinSet::new());
    for _ in 0..COUNT {
        requests.spawn(post(addresses.edge.unwrap().gateway));
    }
    until("the requests to arrive", async || (seen() >= before + COUNT as u64).then_some(())).await;

    let moved = run(away(&course));
    assert_eq!(moved.code, Some(0), "{}", moved.stderr);
    let in_flight = until("the requests to be counted", async || {
        draining(&course).await.filter(|(_, count)| *count == COUNT as u64)
    });
    in_flight.await;
    let arrived = seen();
    for _ in 0..COUNT {
        assert!(
            post(addresses.edge.unwrap().gateway).await.starts_with("HTTP/1.1 200"),
            "the other zone serves"
        );
    }
    assert_eq!(seen(), arrived, "nothing new goes there");

    until("the time to be over", async || {
        draining(&course).await.filter(|it| *it == (0, COUNT as u64)).map(drop)
    })
    .await;
    let table = run(["status", "--admin", &addresses.agent_admin.to_string()]).stdout;
    assert!(table.contains("DRAINING") && table.contains("10 pinned"), "{table}");
    let metrics = fetch::get(addresses.agent_admin, None, "/metrics", Duration::from_secs(2)).await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.1).into_owned();
    let line = format!(
        r#"tidegate_draining_requests{{service="shop/web",source="{SOURCE}",target="zone {ZONE}"}} 10"#
    );
    assert!(metrics.contains(&line), "{metrics}");

    assert!(requests.try_join_next().is_none(), "all are under way still");
    for toy in &toys {
        toy.set(ToyMode::Serve).await.unwrap();
    }
    for answer in requests.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    until("the drain to end", async || draining(&course).await.is_none().then_some(())).await;
    course.stop().await;
}

/// Writes a session by header into the route of us-east, as a user would.
fn ask_for_sessions(course: &Course) {
    let rule = json!({
        "sessionPersistence": {"type": "Header", "sessionName": "x-session"},
        "backendRefs": [{"name": "web", "port": 80}],
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "edge", "namespace": "infra"}],
            "hostnames": ["web.shop.example"],
            "rules": [rule],
        },
    });
    let path = course.fleet().files().join("manifests").join(EAST).join("routes.yaml");
    assert!(path.is_file());
    // JSON is YAML.
    std::fs::write(&path, route.to_string()).unwrap();
}

/// Who serves, and the session to repeat.
async fn in_session(edge: SocketAddr, session: Option<&str>) -> Option<(String, Option<String>)> {
    let mut stream = TcpStream::connect(edge).await.ok()?;
    let header = session.map(|it| format!("x-session: {it}\r\n")).unwrap_or_default();
    let request = format!("GET / HTTP/1.1\r\nhost: web.shop.example\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let value = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)).map(str::to_owned);
    Some((value("x-toy-zone: ")?, value("x-session: ")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stays_in_a_zone_that_is_left_while_it_lives_and_new_ones_go_elsewhere() {
    let test = "a_session_stays_in_a_zone_that_is_left_while_it_lives_and_new_ones_go_elsewhere";
    let Some(course) = Course::start(test, drained("2s")).await else { return };
    let addresses = course.fleet().addresses(&cluster(EAST)).unwrap();
    ask_for_sessions(&course);
    let session =
        until("a session to begin", async || in_session(addresses.edge.unwrap().gateway, None).await?.1)
            .await;
    let moved = run(away(&course));
    assert_eq!(moved.code, Some(0), "{}", moved.stderr);
    until("new ones to go elsewhere", async || {
        (in_session(addresses.edge.unwrap().gateway, None).await?.0 != ZONE).then_some(())
    })
    .await;
    // Twice as long as the drain lasts without sessions.
    let end = course.clock().now() + Duration::from_secs(4);
    until("the session to outlast the drain", async || {
        let (zone, _) = in_session(addresses.edge.unwrap().gateway, Some(&session)).await?;
        assert_eq!(zone, ZONE, "it moved");
        (course.clock().now() >= end).then_some(())
    })
    .await;
    until("the drain to end without it", async || draining(&course).await.is_none().then_some(())).await;
    until("it to move", async || {
        (in_session(addresses.edge.unwrap().gateway, Some(&session)).await?.0 != ZONE).then_some(())
    })
    .await;
    course.stop().await;
}
