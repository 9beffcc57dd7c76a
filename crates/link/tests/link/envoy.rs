//! The link through a real east-west Envoy: which of its answers come from the agent, which from the gateway,
//! and which from nobody, is Envoy's to say.

use crate::{
    fleet::{Owner, Watcher, pool},
    proxy::{Proxy, Way},
};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tidegate_link::{LinkState, PeerEvent, Reach, Why};
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
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("envoy.yaml");
    let text = include_str!("envoy.yaml")
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
