//! The link through a real east-west Envoy: which of its answers come from the agent, which from the gateway,
//! and which from nobody, is Envoy's to say.

use crate::{
    fleet::{Owner, Watcher, pool},
    identity::{Fleet, agent},
    proxy::{Proxy, Way},
};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tidegate_link::{
    LinkEvent, LinkState, PeerEvent, Reach, Why,
    identity::{Party, PrivateKey, to_pem},
};
use tokio::process::{Child, Command};

/// The binary, or `None` after saying that the test was skipped. CI must have it.
fn envoy(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("TIDEGATE_ENVOY").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/envoy-1.40.0/envoy"),
        PathBuf::from,
    );
    if path.is_file() {
        return Some(path);
    }
    let line = format!("SKIPPED {test}: no Envoy at {} (set TIDEGATE_ENVOY)", path.display());
    eprintln!("{line}");
    if let Some(log) = std::env::var_os("TIDEGATE_SKIPPED") {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(log, "{line}").unwrap();
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{line}");
    None
}

struct Gateway {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An Envoy that leads the path prefix of the link to `agent`, and knows of nothing else.
fn start(binary: &Path, address: SocketAddr, agent: SocketAddr) -> Gateway {
    let kind = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
    let plain = format!("{{name: plain, typed_config: {{\"@type\": {kind}}}}}");
    started(binary, address, agent, &plain, "SANITIZE", tempfile::tempdir().unwrap())
}

/// The same with what a gateway of `party` shows, for agents of the fleet alone.
fn start_secure(binary: &Path, fleet: &Fleet, party: &Party, agent: SocketAddr) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("{{filename: {}}}", path.display())
    };
    let roots = file("ca.crt", to_pem(fleet.bundle().roots()));
    let chain = file("tls.crt", to_pem(&fleet.issue(party, &key).chain));
    let key = file("tls.key", key.to_pem());
    let kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let shown = format!("tls_certificates: [{{certificate_chain: {chain}, private_key: {key}}}]");
    // The tests' certificates are of a time that they set.
    let believed = format!("validation_context: {{trusted_ca: {roots}, allow_expired_certificate: true}}");
    let tls = format!(
        "{{name: tls, typed_config: {{\"@type\": {kind}, require_client_certificate: true, \
         common_tls_context: {{alpn_protocols: [h2], {shown}, {believed}}}}}}}"
    );
    started(binary, free_address(), agent, &tls, "SANITIZE_SET", folder)
}

fn started(
    binary: &Path,
    address: SocketAddr,
    agent: SocketAddr,
    tls: &str,
    client: &str,
    folder: tempfile::TempDir,
) -> Gateway {
    let config = folder.path().join("envoy.yaml");
    let text = include_str!("envoy.yaml")
        .replace("$TLS", tls)
        .replace("$CLIENT", client)
        .replace("$PORT", &address.port().to_string())
        .replace("$AGENT_PORT", &agent.port().to_string());
    std::fs::write(&config, text).unwrap();
    let process = Command::new(binary)
        .args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error", "-c"])
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    Gateway { process, address, _folder: folder }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_tells_a_dead_agent_from_a_dead_gateway_through_envoy() {
    let test = "the_link_tells_a_dead_agent_from_a_dead_gateway_through_envoy";
    let Some(binary) = envoy(test) else { return };
    let owner = Owner::start("west", 1).await;
    owner.server.publish(vec![pool("shop/web", 4)]);
    // What stands between Envoy and the agent decides whether the agent is there.
    let agent = Proxy::to(owner.address).await;
    let mut gateway = start(&binary, free_address(), agent.address);
    let mut watcher = Watcher::start(&[gateway.address]);
    // Envoy takes its time to start, so the peer may count as never heard before that.
    watcher.until_reachable().await;
    watcher.next_status("snapshot").await;
    watcher.met.clear();

    // The agent is dead, then frozen: the gateway says so, or answers for itself.
    for way in [Way::Refusing, Way::BlackHole] {
        agent.set(way);
        watcher.until_peer("loss of the agent", |event| *event == PeerEvent::AgentDown).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let view = &watcher.client.view().await[0];
        assert_eq!((view.reach, view.agent_down), (Reach::Reachable, true), "{view:?}");
        assert!(matches!(view.links[0].state, LinkState::AgentDown(_)), "{view:?}");
        agent.set(Way::Open);
        // What Envoy sent into the hole is lost, so that connection is too.
        agent.cut();
        watcher.until_peer("return of the agent", |event| *event == PeerEvent::AgentBack).await;
    }
    assert!(!watcher.was_unreachable(), "{:?}", watcher.met);

    // The gateway ends: nobody is left to answer.
    gateway.process.kill().await.unwrap();
    assert_eq!(watcher.until_unreachable().await, PeerEvent::Unreachable { why: Why::Silent });
    let state = watcher.client.view().await[0].links[0].state.clone();
    assert!(matches!(state, LinkState::GatewayDown(_)), "{state}");

    owner.server.publish(vec![pool("shop/web", 3)]);
    let _gateway = start(&binary, gateway.address, agent.address);
    assert_eq!(watcher.until_reachable().await, PeerEvent::Reachable { quick: false, first: false });
    assert_eq!(watcher.next_status("delta after the gateway's return").await.changed, [pool("shop/web", 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_of_the_agents_and_clusters_that_certificates_say() {
    let test = "a_link_is_of_the_agents_and_clusters_that_certificates_say";
    let Some(binary) = envoy(test) else { return };
    let (fleet, others) = (Fleet::new("fleet.example"), Fleet::new("fleet.example"));
    let own = fleet.identity(&agent("west"));
    let believing = |server: tidegate_link::PeerServer| server.believing(own.clone());
    let owner = Owner::serving("west", 1, believing).await;
    owner.server.publish(vec![pool("shop/web", 4)]);
    let west = start_secure(&binary, &fleet, &gateway("west"), owner.address);
    let mut watcher = Watcher::showing(&[west.address], Some(fleet.identity(&agent("east"))));
    watcher.until_reachable().await;
    assert_eq!(watcher.next_status("snapshot").await.changed, [pool("shop/web", 4)]);
    assert!(owner.server.observers().iter().all(|observer| observer.cluster.as_str() == "east"));

    // It says that it is east's, and its certificate is another one's.
    let false_name = Watcher::showing(&[west.address], Some(fleet.identity(&agent("north"))));
    false_name.until_refused("the agent of north says that it is that of east").await;
    let no_agent = Watcher::showing(&[west.address], Some(fleet.identity(&gateway("east"))));
    no_agent.until_refused("spiffe://fleet.example/cluster/east/gateway is refused: an agent of").await;
    // The gateway does not believe it.
    let stranger = others.believing(&agent("east"), fleet.bundle());
    let stranger = Watcher::showing(&[west.address], Some(stranger));
    stranger.until_refused("refused: by its gateway, for the certificate shown").await;
    // It does not believe the gateway.
    let north = start_secure(&binary, &fleet, &gateway("north"), owner.address);
    let misled = Watcher::showing(&[north.address], Some(fleet.identity(&agent("east"))));
    misled.until_refused("cluster/north/gateway is refused: a gateway of west was expected").await;
    // Nobody says who it is.
    let plain = Watcher::start(&[owner.address]);
    plain.until_refused("no east-west gateway says whose agent this is").await;
    // And who was believed still is. (A silence would be the machine's: Envoys take their time.)
    let links = std::iter::from_fn(|| watcher.events.try_recv().ok()).filter_map(|event| match event {
        LinkEvent::Link { state, .. } => Some(state),
        _ => None,
    });
    let refused: Vec<_> = links.filter(|state| matches!(state, LinkState::Refused(_))).collect();
    assert!(refused.is_empty(), "{refused:?}");
    watcher.until_beating().await;
}

fn gateway(cluster: &str) -> Party {
    Party::Gateway(cluster.parse().unwrap())
}
