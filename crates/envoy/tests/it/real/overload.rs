//! What a gateway does when it has too much of something: it says no at once, and serves what it has.

use super::{
    faults::edge,
    gateway::{Gateway, envoys},
    load::{ask, http1},
    toy::{Toy, addresses},
};
use crate::fixtures::{World, gateway, plan, service};
use hyper::{Method, body::Bytes};
use std::{collections::BTreeSet, net::SocketAddr, path::Path, time::Duration};
use tidegate_api::{GatewayRole, ServicePolicy};
use tidegate_envoy::{HEALTH_PREFIX, Overload, Resource, health_cluster, health_listener, health_routes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Long: it only matters when the test fails.
const WAIT: Duration = Duration::from_secs(20);
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(20);

fn resources(toys: &[Toy]) -> Vec<Resource> {
    let world = World::default().zone("a", addresses(toys, toys.len()));
    let plan = plan(&[("zone:a", 10_000)], &[]);
    let mut all = edge(&plan, &world, &ServicePolicy::default(), None);
    let services = BTreeSet::from([service()]);
    all.extend([
        health_cluster(&gateway()),
        health_listener(&gateway()),
        health_routes(&gateway(), &services),
    ]);
    all
}

/// A request on a connection that stays open; what is answered, empty if it is closed.
async fn talk(stream: &mut TcpStream) -> String {
    let talk = async {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: any\r\n\r\n").await.ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.ok()?;
        // The rest of it is in the buffer of this side by the next time, and is read then or with the connection's end.
        let mut rest = [0; 4096];
        (stream.read(&mut rest).await.ok()? > 0).then_some(())?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(WAIT, talk).await.expect("it ends").unwrap_or_default()
}

async fn statistic(gateway: &Gateway, name: &str) -> u64 {
    let page = gateway.admin(&format!("/stats?filter={name}")).await;
    page.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Waits until a statistic has this value.
async fn until(gateway: &Gateway, name: &str, value: u64) {
    let end = tokio::time::Instant::now() + WAIT;
    while statistic(gateway, name).await != value {
        let all = gateway.admin("/stats?filter=overload|listener").await;
        assert!(tokio::time::Instant::now() < end, "{name} is not {value}:\n{all}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The connections of clients on the one worker. One that was closed counts until the worker hears of it.
const CONNECTED: &str = "^listener\\.[^a].*worker_0\\.downstream_cx_active$";
/// Whether requests are refused.
const REFUSING: &str = "^overload\\.envoy\\.overload_actions\\.stop_accepting_requests\\.active$";
/// Whether connections are.
const CLOSING: &str = "^overload\\.envoy\\.overload_actions\\.reject_incoming_connections\\.active$";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_at_its_limit_closes_new_connections_and_serves_those_that_it_has() {
    for envoy in envoys("a_gateway_at_its_limit_closes_new_connections_and_serves_those_that_it_has") {
        let toys = Toy::several("a", 2).await;
        let limits = Overload { max_connections: 5, ..Overload::default() };
        let gateway = Gateway::bearing(limits, &envoy, GatewayRole::Edge, resources(&toys)).await;
        until(&gateway, CONNECTED, 0).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            assert_eq!(talk(&mut stream).await, "HTTP/1.1 200");
            clients.push(stream);
        }
        for _ in 0..3 {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            assert_eq!(talk(&mut stream).await, "", "one too many");
        }
        for client in &mut clients {
            assert_eq!(talk(client).await, "HTTP/1.1 200", "those that it has");
        }
        assert!(gateway.admin("/ready").await.starts_with("LIVE"), "its administration has no limit");
        drop(clients.pop());
        until(&gateway, CONNECTED, 4).await;
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        assert_eq!(talk(&mut stream).await, "HTTP/1.1 200", "there is room again");
    }
}

async fn status(at: SocketAddr, path: &str) -> u16 {
    ask(&http1(), Method::GET, format!("http://{at}{path}"), &[], Bytes::new()).await.status
}

/// A gateway whose heap is full to between 95 and 98 %: its limit is set by what others like it used. Tried a few times,
/// as no two use the same.
async fn nearly_full(envoy: &Path, toys: &[Toy]) -> Gateway {
    let mut limit = 64 << 20;
    for _ in 0..8 {
        let overload = Overload { max_heap_bytes: limit, ..Overload::default() };
        let gateway = Gateway::bearing(overload, envoy, GatewayRole::Edge, resources(toys)).await;
        let used = until_measured(&gateway).await * limit / 100;
        if statistic(&gateway, REFUSING).await == 1 && statistic(&gateway, CLOSING).await == 0 {
            return gateway;
        }
        limit = used * 1000 / 966;
    }
    panic!("no limit of {} ends between 95 and 98 %", envoy.display());
}

/// How full the heap is, in percent, once Envoy has looked.
async fn until_measured(gateway: &Gateway) -> u64 {
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        match statistic(gateway, "^overload\\.envoy\\.resource_monitors\\.fixed_heap\\.pressure$").await {
            0 => tokio::time::sleep(PAUSE).await,
            percent => return percent,
        }
        assert!(tokio::time::Instant::now() < end, "{}", gateway.admin("/stats?filter=overload").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_heap_is_full_answers_503_also_when_it_is_asked_for_its_health() {
    for envoy in envoys("a_gateway_whose_heap_is_full_answers_503_also_when_it_is_asked_for_its_health") {
        let toys = Toy::several("a", 2).await;
        let health = format!("{HEALTH_PREFIX}{}", service());
        let well = Gateway::start(&envoy, GatewayRole::Edge, resources(&toys)).await;
        assert_eq!((status(well.address, "/").await, status(well.address, &health).await), (200, 200));

        let full = nearly_full(&envoy, &toys).await;
        assert_eq!((status(full.address, "/").await, status(full.address, &health).await), (503, 503));
        assert!(full.admin("/ready").await.starts_with("LIVE"));
        assert_eq!(
            toys.iter().map(|toy| toy.seen().len()).sum::<usize>(),
            1,
            "of two requests one was refused"
        );

        // Nothing fits any more: connections are closed, and nobody waits.
        let over = Overload { max_heap_bytes: 4 << 20, ..Overload::default() };
        let over = Gateway::bearing(over, &envoy, GatewayRole::Edge, resources(&toys)).await;
        until(&over, CLOSING, 1).await;
        let mut stream = TcpStream::connect(over.address).await.unwrap();
        assert_eq!(talk(&mut stream).await, "");
    }
}
