//! Contact lost and found again.

use crate::{
    fleet::{NoAgent, Owner, PATIENCE, Watcher, cluster, pool, serve},
    proxy::{Proxy, Way},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_link::{
    LinkEvent, LinkState, PeerAddresses, PeerEvent, Reach, Traffic, Why,
    proto::peer_link_server::PeerLinkServer,
};
use tidegate_model::Time;

const FIRST: PeerEvent = PeerEvent::Reachable { quick: false, first: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_makes_a_peer_unreachable_until_it_is_mended() {
    let owner = Owner::start("west", 1).await;
    owner.server.publish(vec![pool("shop/web", 4)]);
    let proxy = Proxy::to(owner.address).await;
    let mut watcher = Watcher::start(&[proxy.address]);
    assert_eq!(watcher.until_reachable().await, FIRST);
    watcher.next_status("snapshot").await;
    for healthy in [3, 2] {
        proxy.set(Way::BlackHole);
        assert_eq!(watcher.until_unreachable().await, PeerEvent::Unreachable { why: Why::Silent });
        assert!(matches!(watcher.client.view().await[0].links[0].state, LinkState::Silent));
        owner.server.publish(vec![pool("shop/web", healthy)]);
        proxy.set(Way::Open);
        // One of its admits fell meanwhile, so it is not restored as if nothing had been.
        let back = watcher.until_reachable().await;
        assert_eq!(back, PeerEvent::Reachable { quick: false, first: false });
        let status = watcher.next_status("status after the hole").await;
        assert_eq!(status.changed, [pool("shop/web", healthy)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_that_the_data_traffic_feels_too_is_corroborated() {
    let owner = Owner::start("west", 1).await;
    let proxy = Proxy::to(owner.address).await;
    let mut watcher = Watcher::start(&[proxy.address]);
    watcher.until_reachable().await;
    proxy.set(Way::BlackHole);
    let (client, origin) = (watcher.client.clone(), watcher.origin);
    let reports = tokio::spawn(async move {
        let window = Duration::from_millis(50);
        loop {
            tokio::time::sleep(window).await;
            let traffic = Traffic { window, attempts: 10, open: 10, successes: 0 };
            let report = BTreeMap::from([(cluster("west"), traffic)]);
            client.report(Arc::from("edge"), report, Time::from_origin(origin.elapsed()));
        }
    });
    assert_eq!(watcher.until_unreachable().await, PeerEvent::Unreachable { why: Why::Corroborated });
    reports.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_are_made_anew_without_a_loss() {
    let owner = Owner::start("west", 1).await;
    let proxy = Proxy::to(owner.address).await;
    let mut watcher = Watcher::start(&[proxy.address]);
    watcher.until_reachable().await;
    for healthy in 1..=3 {
        proxy.cut();
        owner.server.publish(vec![pool("shop/web", healthy)]);
        let status = watcher.next_status("status after the cut").await;
        assert_eq!(status.changed, [pool("shop/web", healthy)]);
    }
    assert!(!watcher.was_unreachable(), "{:?}", watcher.met);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_refuses_is_shown_as_down_and_its_peer_is_unreachable() {
    let owner = Owner::start("west", 1).await;
    let proxy = Proxy::to(owner.address).await;
    let mut watcher = Watcher::start(&[proxy.address]);
    watcher.until_reachable().await;
    proxy.set(Way::Refusing);
    assert_eq!(watcher.until_unreachable().await, PeerEvent::Unreachable { why: Why::Silent });
    let state = watcher.client.view().await[0].links[0].state.clone();
    assert!(matches!(state, LinkState::GatewayDown(_)), "{state}");
    proxy.set(Way::Open);
    watcher.until_reachable().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_dead_or_frozen_behind_a_living_gateway_leaves_its_cluster_reachable() {
    let owner = Owner::start("west", 1).await;
    let proxy = Proxy::to(owner.address).await;
    let mut watcher = Watcher::start(&[proxy.address]);
    watcher.until_reachable().await;
    let mut agent = (owner, 1);
    for without in [NoAgent::Dead, NoAgent::Frozen] {
        let (gateway, _guard) = serve(PeerLinkServer::new(without)).await;
        proxy.cut_over(gateway);
        watcher.until_peer("loss of the agent", |event| *event == PeerEvent::AgentDown).await;
        // Longer than any silence may last.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let view = &watcher.client.view().await[0];
        assert_eq!((view.reach, view.agent_down), (Reach::Reachable, true), "{view:?}");
        assert!(matches!(view.links[0].state, LinkState::AgentDown(_)), "{view:?}");
        agent = (Owner::start("west", agent.1 + 1).await, agent.1 + 1);
        proxy.cut_over(agent.0.address);
        watcher.until_peer("return of the agent", |event| *event == PeerEvent::AgentBack).await;
    }
    assert!(!watcher.was_unreachable(), "{:?}", watcher.met);
    assert_eq!(watcher.met.iter().filter(|event| **event == PeerEvent::Restarted).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_gateways_is_enough() {
    let owner = Owner::start("west", 1).await;
    let (one, two) = (Proxy::to(owner.address).await, Proxy::to(owner.address).await);
    let mut watcher = Watcher::start(&[one.address, two.address]);
    watcher.until_reachable().await;
    owner.server.publish(vec![pool("shop/web", 4)]);
    watcher.next_status("snapshot").await;
    one.set(Way::BlackHole);
    let silent = one.address;
    watcher
        .until("silent link", |event| match event {
            LinkEvent::Link { address, state: LinkState::Silent, .. } => (*address == silent).then_some(()),
            _ => None,
        })
        .await;
    owner.server.publish(vec![pool("shop/web", 3)]);
    let status = watcher.next_status("a delta through the other").await;
    assert_eq!((status.full, status.changed), (false, vec![pool("shop/web", 3)]));
    assert!(!watcher.was_unreachable());
    two.set(Way::BlackHole);
    watcher.until_unreachable().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_at_a_peers_address_is_not_taken_for_it() {
    let other = Owner::start("south", 1).await;
    let mut watcher = Watcher::start(&[other.address]);
    assert_eq!(watcher.until_unreachable().await, PeerEvent::Unreachable { why: Why::NeverHeard });
    let state = watcher.client.view().await[0].links[0].state.clone();
    assert!(matches!(&state, LinkState::Misrouted(found) if found.contains("south")), "{state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_come_and_go_while_the_client_runs() {
    let (west, south) = (Owner::start("west", 1).await, Owner::start("south", 1).await);
    let mut watcher = Watcher::start(&[west.address]);
    watcher.until_reachable().await;
    let peers = PeerAddresses::from([(cluster("south"), vec![south.address])]);
    watcher.client.set_peers(peers).await;
    assert_eq!(watcher.until_reachable().await, FIRST);
    let view = watcher.client.view().await;
    assert_eq!(view.iter().map(|peer| peer.cluster.as_str()).collect::<Vec<_>>(), ["south"]);
    assert!(view[0].links[0].rtt.is_some());
    // The links to the old peer end.
    tokio::time::timeout(PATIENCE, async {
        while !west.server.observers().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}
