//! Pool status, and what an owner refuses, met with a bare gRPC client where the observer's side must misbehave.

use crate::fleet::{Owner, PATIENCE, Watcher, cluster, pool};
use tidegate_link::{
    StreamKind,
    proto::{Beat, StatusUpdate, WatchRequest, peer_link_client::PeerLinkClient},
};
use tidegate_model::PoolKey;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_gets_a_snapshot_and_then_what_changed() {
    let owner = Owner::start("west", 1).await;
    let mut watcher = Watcher::start(&[owner.address]);
    watcher.until_reachable().await;
    owner.server.publish(vec![pool("shop/web", 4), pool("shop/cart", 4), pool("shop/pay", 4)]);
    let snapshot = watcher.next_status("snapshot").await;
    assert_eq!((snapshot.full, snapshot.version, snapshot.region.as_str()), (true, 1, "us-west"));
    assert_eq!(snapshot.changed, [pool("shop/cart", 4), pool("shop/pay", 4), pool("shop/web", 4)]);
    owner.server.publish(vec![pool("shop/web", 2), pool("shop/cart", 4)]);
    let delta = watcher.next_status("delta").await;
    assert_eq!((delta.full, delta.version), (false, 2));
    assert_eq!(delta.changed, [pool("shop/web", 2)]);
    let gone = pool("shop/pay", 4);
    let key = PoolKey { service: gone.service, cluster: cluster("west"), zone: gone.locality.zone };
    assert_eq!(delta.removed, [key]);
}

async fn client(owner: &Owner) -> PeerLinkClient<Channel> {
    PeerLinkClient::connect(format!("http://{}", owner.address)).await.unwrap()
}

async fn watch(owner: &Owner) -> (mpsc::Sender<WatchRequest>, Streaming<StatusUpdate>) {
    let (requests, received) = mpsc::channel(8);
    requests.send(request(0)).await.unwrap();
    let updates = client(owner).await.watch(ReceiverStream::new(received)).await.unwrap().into_inner();
    (requests, updates)
}

fn request(acked_version: u64) -> WatchRequest {
    WatchRequest { cluster: "east".to_owned(), boot_id: 7, acked_version }
}

async fn next(updates: &mut Streaming<StatusUpdate>) -> StatusUpdate {
    timeout(PATIENCE, updates.message()).await.unwrap().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_observer_gets_all_that_it_missed_in_one_update() {
    let owner = Owner::start("west", 1).await;
    let (requests, mut updates) = watch(&owner).await;
    for n in 1..=500 {
        owner.server.publish(vec![pool("shop/web", n), pool("shop/cart", 4)]);
        tokio::task::yield_now().await;
    }
    // As long as nothing is acknowledged, no more than the window comes.
    let mut met = vec![next(&mut updates).await];
    while met.len() < 4 && met.last().unwrap().version < 500 {
        met.push(next(&mut updates).await);
    }
    while met.last().unwrap().version < 500 {
        requests.send(request(met.last().unwrap().version)).await.unwrap();
        met.push(next(&mut updates).await);
    }
    assert!(met.len() <= 5, "{} updates", met.len());
    assert!(met[0].full);
    assert!(met[1..].iter().all(|update| !update.full && update.changed.len() == 1));
    assert_eq!(met.last().unwrap().changed.last().unwrap().healthy, 500);
    assert_eq!(owner.server.version(), 500);
}

fn beat(cluster: &str, boot_id: u64, seq: u64) -> Beat {
    Beat { cluster: cluster.to_owned(), boot_id, seq, echo_seq: 0, falls: 0 }
}

/// How the owner ends a heartbeat stream that says `beats`.
async fn refused(owner: &Owner, beats: Vec<Beat>) -> (Code, String) {
    let (sender, received) = mpsc::channel(1024);
    for beat in beats {
        sender.send(beat).await.unwrap();
    }
    let mut inbound =
        client(owner).await.heartbeat(ReceiverStream::new(received)).await.unwrap().into_inner();
    loop {
        match timeout(PATIENCE, inbound.message()).await.unwrap() {
            Ok(beat) => assert!(beat.is_some(), "the stream ended without a reason"),
            Err(status) => return (status.code(), status.message().to_owned()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused_with_the_reason_and_disturbs_nobody() {
    let owner = Owner::start("west", 1).await;
    let mut watcher = Watcher::start(&[owner.address]);
    watcher.until_reachable().await;
    let long = "x".repeat(10_000);
    let flood = (1..=1000).map(|seq| beat("north", 1, seq)).collect();
    for (beats, code, reason) in [
        (vec![beat("", 1, 1)], Code::InvalidArgument, "1 to 253 characters"),
        (vec![beat("a b", 1, 1)], Code::InvalidArgument, "not ' '"),
        (vec![beat("west", 1, 1)], Code::InvalidArgument, "this cluster itself"),
        (vec![beat("north", 1, 0)], Code::InvalidArgument, "came after"),
        (vec![beat("north", 1, 2), beat("north", 1, 2)], Code::InvalidArgument, "came after"),
        (vec![beat("north", 1, 1), beat("south", 1, 2)], Code::InvalidArgument, "changed its name"),
        (vec![beat("north", 1, 1), beat("north", 2, 2)], Code::InvalidArgument, "changed its name"),
        (vec![beat(&long, 1, 1)], Code::OutOfRange, "4096"),
        (flood, Code::ResourceExhausted, "beats in a second"),
    ] {
        let (found, message) = refused(&owner, beats).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(reason), "{message:?} lacks {reason:?}");
    }
    let (requests, mut updates) = watch(&owner).await;
    requests.send(request(3)).await.unwrap();
    let status = timeout(PATIENCE, updates.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    owner.server.publish(vec![pool("shop/web", 4)]);
    watcher.next_status("snapshot").await;
    assert!(!watcher.was_unreachable());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_are_listed_and_end_when_the_agent_shuts_down() {
    let owner = Owner::start("west", 1).await;
    owner.server.publish(vec![pool("shop/web", 4)]);
    let (requests, mut updates) = watch(&owner).await;
    next(&mut updates).await;
    requests.send(request(1)).await.unwrap();
    let acked = StreamKind::Watch { sent_version: 1, acked_version: 1 };
    timeout(PATIENCE, async {
        while owner.server.observers().first().is_none_or(|observer| observer.kind != acked) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(owner.server.observers()[0].cluster, cluster("east"));
    owner.shutdown.cancel();
    let status = timeout(PATIENCE, updates.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    timeout(PATIENCE, async {
        while !owner.server.observers().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
