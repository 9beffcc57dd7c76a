//! Connections that gateways pass on: where they go when places are lost, and that not a byte changes.

use super::gateway::{Gateway, envoy, envoys};
use crate::fixtures::{World, edge, gateway, listener, plan, region, service, to, zone};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tidegate_api::{GatewayRole, Listener, ListenerProtocol, ServicePolicy, StreamRoute, Upstream};
use tidegate_engine::{Origin, Plan};
use tidegate_envoy::{
    EndpointHealth::{Healthy, Unhealthy},
    Entrance, Resource, eastwest_cluster, eastwest_endpoints, eastwest_listener, eastwest_routes,
    edge_cluster, stream_listener, tunnelled_endpoints,
};
use tidegate_xds::XdsEvent;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// Long: it only matters when the test fails.
const WAIT: Duration = Duration::from_secs(20);

/// Says its name before it is asked, then says back what it hears.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Echo {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    stream.write_all(format!("{name}\n").as_bytes()).await?;
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Self { address, server }
    }

    /// Its connections are reset, new ones are refused.
    async fn kill(&mut self) {
        self.server.abort();
        assert!((&mut self.server).await.unwrap_err().is_cancelled());
    }
}

/// Who greets a new connection that sends `bytes`, and says them back; empty if it is closed.
pub(crate) async fn ask(at: SocketAddr, bytes: &[u8]) -> String {
    let talk = async {
        let mut stream = TcpStream::connect(at).await.ok()?;
        stream.write_all(bytes).await.ok()?;
        let (mut heard, mut end) = (Vec::new(), None);
        while end.is_none_or(|end| heard.len() < end + 1 + bytes.len()) {
            // The end of the stream before that is a connection that was closed.
            (stream.read_buf(&mut heard).await.ok()? > 0).then_some(())?;
            end = heard.iter().position(|byte| *byte == b'\n');
        }
        let (name, rest) = heard.split_at(end?);
        assert_eq!(&rest[1..], bytes, "what was sent comes back");
        Some(String::from_utf8_lossy(name).into_owned())
    };
    tokio::time::timeout(WAIT, talk).await.expect("it ends").unwrap_or_default()
}

fn tunnelled() -> Upstream {
    Upstream { tunnelled: true, ..Upstream::default() }
}

pub(crate) fn stream_route(name: &str, hostnames: &[&str], backend: &str) -> StreamRoute {
    StreamRoute {
        name: name.to_owned(),
        listener: "http".to_owned(),
        hostnames: hostnames.iter().map(|&name| name.to_owned()).collect(),
        backends: vec![to(backend, 1)],
        origin: Origin::Default,
    }
}

/// An edge's resources: one listener with these routes, and the service with this plan.
fn resources(
    protocol: ListenerProtocol,
    routes: Vec<StreamRoute>,
    plan: &Plan,
    world: &World,
) -> Vec<Resource> {
    under(&ServicePolicy::default(), protocol, routes, plan, world)
}

fn under(
    policy: &ServicePolicy,
    protocol: ListenerProtocol,
    routes: Vec<StreamRoute>,
    plan: &Plan,
    world: &World,
) -> Vec<Resource> {
    let listener = Listener { protocol, ..listener() };
    let mut edge = edge(Vec::new());
    edge.streams = routes;
    vec![
        stream_listener(&gateway(), &edge, &listener, &|_| Some(policy)),
        edge_cluster(&service(), &zone("a"), &tunnelled()),
        tunnelled_endpoints(plan, &world.view()),
    ]
}

async fn east_west(envoy: &Path, at: SocketAddr) -> Gateway {
    let world = World::default().zone("c", [(at, Healthy)]);
    let resources = vec![
        eastwest_listener(&gateway(), &listener(), Entrance::Plain),
        eastwest_routes(&gateway(), &listener(), &BTreeSet::from([service()])),
        eastwest_cluster(&service(), &tunnelled()),
        eastwest_endpoints(&service(), &region(), &world.zones),
    ];
    Gateway::start(envoy, GatewayRole::EastWest, resources).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_move_to_the_next_zone_and_through_a_tunnel_to_another_cluster() {
    // Not on the oldest one: an edge of 1.36.2 loses what a client sends before its tunnel is open, in one of six.
    let test = "connections_move_to_the_next_zone_and_through_a_tunnel_to_another_cluster";
    let Some(envoy) = envoy(test) else { return };
    moved(&envoy).await;
}

async fn moved(envoy: &Path) {
    let (mut a, mut b, c) = (Echo::start("a").await, Echo::start("b").await, Echo::start("c").await);
    let east = east_west(envoy, c.address).await;
    let world = |health_a| {
        World::default().zone("a", [(a.address, health_a)]).zone("b", [(b.address, Healthy)]).cluster(
            "east",
            "us",
            &[&east.address.to_string()],
        )
    };
    let (near, far) = (world(Healthy), world(Unhealthy));
    let routes = || vec![stream_route("shop/db", &[], "shop/web")];
    let first = plan(&[("zone:a", 10_000)], &[&[("zone:b", 10_000)], &[("cluster:east", 10_000)]]);
    let with = |plan: &Plan, world| resources(ListenerProtocol::Tcp, routes(), plan, world);
    let mut edge = Gateway::start(envoy, GatewayRole::Edge, with(&first, &near)).await;
    // The connection by which the test found the listener is behind this one.
    ask(edge.address, b"first").await;
    let before = requests(&edge).await;
    for _ in 0..20 {
        assert_eq!(ask(edge.address, b"\x00\xffbytes").await, "a");
    }
    // Each connection is a request to the counter by which demand is told.
    assert_eq!(requests(&edge).await - before, 20);
    // The plan moves a part to the other cluster, while all serve.
    let half = plan(&[("zone:a", 5_000), ("cluster:east", 5_000)], &[]);
    edge.ads.want(with(&half, &near));
    edge.ads.applied().await;
    let mut far_ones = 0;
    for _ in 0..100 {
        far_ones += usize::from(ask(edge.address, b"x").await == "c");
    }
    assert!((25..=75).contains(&far_ones), "{far_ones} of 100");
    // Back home; then one place after the other is lost, and the agent has not said anything yet.
    edge.ads.want(with(&first, &near));
    edge.ads.applied().await;
    a.kill().await;
    let served = ask_until(edge.address, "b").await;
    assert!(served.iter().all(String::is_empty), "{served:?}");
    b.kill().await;
    let served = ask_until(edge.address, "c").await;
    assert!(served.iter().all(String::is_empty), "{served:?}");
    // The agent says it, too.
    let last = plan(&[("cluster:east", 10_000)], &[]);
    edge.ads.want(with(&last, &far));
    edge.ads.applied().await;
    for _ in 0..20 {
        assert_eq!(ask(edge.address, b"late").await, "c");
    }
    // A tunnel leads to services of the cluster, and nowhere else.
    for host in ["other.shop.svc.tidegate:1", "127.0.0.1:22", "tidegate-agent"] {
        let mut stream = TcpStream::connect(east.address).await.unwrap();
        stream
            .write_all(format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = [0; 11];
        tokio::time::timeout(WAIT, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 40", "{host}");
    }
}

async fn requests(edge: &Gateway) -> u64 {
    let counted = edge.admin("/stats?filter=cluster.shop/web.upstream_rq_total").await;
    counted.trim().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Asks until this one answers; who answered before. What was on its way to one that died may be lost.
async fn ask_until(at: SocketAddr, wanted: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let name = ask(at, b"hello").await;
        if name == wanted {
            return before;
        }
        before.push(name);
        assert!(before.len() <= 3, "no {wanted}: {before:?}");
    }
}

/// The first message of a TLS connection that asks for this server name: just enough of one (RFC 8446, 4.1.2; RFC 6066, 3).
fn client_hello(server_name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let name = [&[0][..], &sized(server_name.as_bytes())].concat();
    let extension = [&[0, 0][..], &sized(&sized(&name))].concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 0x01], &[1, 0], &sized(&extension)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_passed_on_by_its_server_name_and_what_asks_for_another_is_closed() {
    for envoy in envoys("tls_is_passed_on_by_its_server_name_and_what_asks_for_another_is_closed") {
        let a = Echo::start("a").await;
        let world = World::default().zone("a", [(a.address, Healthy)]);
        let routes = vec![
            stream_route("shop/tls", &["a.example", "*.b.example"], "shop/web"),
            stream_route("shop/none", &["none.example"], "none"),
        ];
        let plan = plan(&[("zone:a", 10_000)], &[]);
        let edge = Gateway::start(
            &envoy,
            GatewayRole::Edge,
            resources(ListenerProtocol::Tls, routes, &plan, &world),
        )
        .await;
        for (name, served) in
            [("a.example", "a"), ("x.b.example", "a"), ("b.example", ""), ("none.example", ""), ("other", "")]
        {
            assert_eq!(ask(edge.address, &client_hello(name)).await, served, "{name}");
        }
        assert_eq!(ask(edge.address, b"GET / HTTP/1.1\r\n\r\n").await, "", "no TLS");
    }
}

/// How long each of these connections lasts, from now on.
async fn lasts(connections: Vec<TcpStream>) -> Vec<Duration> {
    let began = Instant::now();
    let mut all = JoinSet::new();
    for mut stream in connections {
        all.spawn(async move {
            let mut heard = Vec::new();
            let end = tokio::time::timeout(WAIT, stream.read_to_end(&mut heard)).await;
            end.expect("it ends").ok();
            began.elapsed()
        });
    }
    all.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_pool_that_is_left_stay_are_counted_and_move_by_their_age_one_after_the_other() {
    let test =
        "connections_to_a_pool_that_is_left_stay_are_counted_and_move_by_their_age_one_after_the_other";
    let Some(envoy) = envoy(test) else { return };
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let world = World::default().zone("a", [(a.address, Healthy)]).zone("b", [(b.address, Healthy)]);
    let age = Duration::from_secs(4);
    let policy = ServicePolicy { drain_max_age: Some(age), ..ServicePolicy::default() };
    let routes = || vec![stream_route("shop/db", &[], "shop/web")];
    let with = |plan: &Plan, world: &World| under(&policy, ListenerProtocol::Tcp, routes(), plan, world);
    let first = with(&plan(&[("zone:a", 10_000)], &[]), &world);
    let mut edge = Gateway::start(&envoy, GatewayRole::Edge, first).await;
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        let mut name = [0; 2];
        stream.read_exact(&mut name).await.unwrap();
        assert_eq!(&name, b"a\n");
        connections.push(stream);
    }
    edge.ads.want(with(&plan(&[("zone:b", 10_000)], &[]), &world.draining(&["zone:a"])));
    edge.ads.applied().await;
    assert_eq!(ask(edge.address, b"new").await, "b");
    let pinned = async {
        loop {
            let Some(XdsEvent::Load(report)) = edge.ads.reports.recv().await else { continue };
            let localities = report.clusters.into_iter().flat_map(|it| it.localities);
            let in_a = localities.filter(|it| it.locality.zone == "a");
            if in_a.map(|it| it.counts.in_progress).sum::<u64>() == 20 {
                break;
            }
        }
    };
    tokio::time::timeout(WAIT, pinned).await.expect("what is pinned is told");
    for stream in &mut connections {
        let mut heard = [0; 1];
        stream.write_all(b"?").await.unwrap();
        stream.read_exact(&mut heard).await.expect("it serves on");
    }
    let mut ends = lasts(connections).await;
    ends.sort();
    eprintln!("they end within {:?} to {:?}", ends[0], ends[19]);
    // Without the age they would stay for an hour.
    assert!(ends[19] <= age * 3 / 2, "none is older: {:?}", ends[19]);
    assert!(ends[19] - ends[0] >= age / 20, "not all at once");
}
