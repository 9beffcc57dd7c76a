//! A real proxyless gRPC client (Python's) follows plans over the real xDS server.
//! Needs the Python package `grpcio`: `TIDEGATE_GRPCIO`, or the one that `cargo xtask test` fetches into `.tools`.

use super::gateway::skipped;
use crate::fixtures::{World, plan, region, service, zone};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tidegate_engine::Plan;
use tidegate_envoy::{
    EndpointHealth::{self, Healthy, Unhealthy},
    Resource, grpc_bootstrap, grpc_cluster, grpc_endpoints, grpc_listener, is_grpc,
};
use tidegate_xds::{Change, Scope, Store, XdsEvent, XdsServer};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::TcpIncoming;

/// Long: it only matters when the test fails.
const WAIT: Duration = Duration::from_secs(20);

/// Python with gRPC, or `None` after saying that the test was skipped. CI must have it.
pub(super) fn packages(test: &str) -> Option<PathBuf> {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/grpcio-1.76.0");
    let folder = std::env::var_os("TIDEGATE_GRPCIO").map_or_else(fetched, PathBuf::from);
    if folder.join("grpc").is_dir() {
        return Some(folder);
    }
    skipped(test, &format!("no grpcio at {} (set TIDEGATE_GRPCIO)", folder.display()));
    None
}

pub(super) struct Toy {
    lines: Lines<BufReader<ChildStdout>>,
    _stdin: ChildStdin,
    process: Child,
}

impl Toy {
    pub(super) fn start(packages: &Path, args: &[&str], bootstrap: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/real/toy_grpc.py");
        let mut process = Command::new("python3")
            .arg(script)
            .args(args)
            .env("PYTHONPATH", packages)
            .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines, _stdin: process.stdin.take().unwrap(), process }
    }

    pub(super) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(WAIT, self.lines.next_line()).await;
        line.expect("it speaks in time").unwrap().expect("it lives")
    }

    /// Answers until this one comes; the errors before it.
    pub(super) async fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut errors = Vec::new();
        loop {
            let line = self.line().await;
            if line == wanted {
                return errors;
            }
            if line.starts_with("error") {
                errors.push(line);
            }
            assert!(errors.len() < 500, "no {wanted}: {errors:?}");
        }
    }

    pub(super) async fn next(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push(self.line().await);
        }
        lines
    }
}

/// A service in one zone, and where it is.
pub(super) async fn backend(packages: &Path, name: &str, port: u16) -> (Toy, SocketAddr) {
    let mut toy = Toy::start(packages, &["serve", name, &port.to_string()], "{}");
    let port: u16 = toy.line().await.parse().unwrap();
    (toy, SocketAddr::from(([127, 0, 0, 1], port)))
}

struct Agent {
    address: SocketAddr,
    store: Store,
    events: mpsc::Receiver<XdsEvent>,
    _stop: DropGuard,
}

impl Agent {
    fn start() -> Self {
        let (store, stop) = (Store::new(), CancellationToken::new());
        let (sender, events) = mpsc::channel(1000);
        let resolver = Arc::new(|node: &tidegate_xds::NodeInfo| match is_grpc(&node.user_agent_name) {
            true => Ok(vec![Scope::new(format!("grpc/{}", node.locality.zone))]),
            false => Err(format!("{} is no gRPC", node.user_agent_name)),
        });
        let xds = XdsServer::new(store.clone(), resolver, sender, stop.clone());
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        let mut server = xds.transport();
        let (ads, lrs, _) = xds.into_services();
        let router = server.add_service(ads).add_service(lrs);
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
        Self { address, store, events, _stop: stop.drop_guard() }
    }

    fn set(&self, resource: Resource) {
        let Resource { kind, name, body } = resource;
        self.store.apply(vec![Change::Set { scope: Scope::new("grpc/a"), kind, name, body }]);
    }

    /// No response was refused so far.
    fn assert_nothing_refused(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            assert!(!matches!(event, XdsEvent::Nacked { .. }), "{event:?}");
        }
    }
}

#[tokio::test]
async fn a_proxyless_client_fails_over_between_zones_with_the_plan() {
    let Some(packages) = packages("a_proxyless_client_fails_over_between_zones_with_the_plan") else {
        return;
    };
    let (mut a, at_a) = backend(&packages, "a", 0).await;
    let (_b, at_b) = backend(&packages, "b", 0).await;
    let plan_of = |plan: &Plan, health_a: EndpointHealth| {
        let world = World::default().zone("a", [(at_a, health_a)]).zone("b", [(at_b, Healthy)]);
        grpc_endpoints(plan, &world.zones)
    };
    let near = plan(&[("zone:a", 10_000)], &[&[("zone:b", 10_000)]]);
    let far = plan(&[("zone:b", 10_000)], &[]);
    let both = plan(&[("zone:a", 5_000), ("zone:b", 5_000)], &[]);

    let mut agent = Agent::start();
    agent.set(grpc_listener(&service()));
    agent.set(grpc_cluster(&service(), &zone("a")));
    agent.set(plan_of(&near, Healthy));
    let bootstrap = grpc_bootstrap(agent.address, "cart-1", &region(), &zone("a")).to_string();
    let mut client = Toy::start(&packages, &["ask", "xds:///web.shop"], &bootstrap);
    client.until("a").await;
    assert_eq!(client.next(50).await, vec!["a"; 50], "the zone that the plan names, and no other");

    // The zone dies; the standby of the plan takes over before the agent has said anything.
    a.kill().await;
    let errors = client.until("b").await;
    assert!(errors.len() <= 1, "only a call in progress may fail: {errors:?}");

    // The agent takes the zone out. It comes back, and nothing goes there while it is held down.
    agent.set(plan_of(&far, Unhealthy));
    let (_a, again) = backend(&packages, "a", at_a.port()).await;
    assert_eq!(again, at_a);
    assert_eq!(client.next(100).await, vec!["b"; 100], "no way back without the plan");

    // Half of it is let back, then all.
    agent.set(plan_of(&both, Healthy));
    client.until("a").await;
    let half = client.next(100).await.iter().filter(|line| *line == "a").count();
    assert!((20..=80).contains(&half), "{half} of 100");
    agent.set(plan_of(&near, Healthy));
    loop {
        if client.next(20).await == vec!["a"; 20] {
            break;
        }
    }
    agent.assert_nothing_refused();
}
