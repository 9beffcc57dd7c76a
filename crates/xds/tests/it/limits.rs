//! Clients that are many, hostile, slow or dead: what they are given is bounded, and others do not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::server::{Server, endpoints, within};
use crate::wire::{Delta, names};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use tidegate_xds::{XdsEvent, XdsOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

/// A client that lives: it is answered.
async fn served(server: &Server, id: &str) -> Delta {
    let mut client = Delta::subscribed(server, id, &["a"]).await;
    assert_eq!(client.take().await, ["a"]);
    client
}

#[tokio::test]
async fn a_node_may_have_so_many_streams_and_another_node_its_own() {
    let options = XdsOptions { max_streams_per_node: 2, ..XdsOptions::default() };
    let mut server = Server::with(options).await;
    server.set(&[endpoints("a", 1)]);
    let first = served(&server, "greedy").await;
    let _second = served(&server, "greedy").await;
    let third = Delta::subscribed(&server, "greedy", &["a"]).await.end().await;
    assert_eq!(third.code(), Code::ResourceExhausted);
    assert!(third.message().contains(r#"node "greedy" has 2 streams open"#), "{third}");
    served(&server, "modest").await;
    // The one that was refused has left no trace.
    drop(first);
    server.event(|event| matches!(event, XdsEvent::Disconnected { node } if node.id == "greedy")).await;
    served(&server, "greedy").await;
}

#[tokio::test]
async fn ten_thousand_streams_are_served_and_one_more_is_told_why_not() {
    let server = Server::start().await;
    server.set(&[endpoints("a", 1)]);
    let mut streams = Vec::new();
    for node in 0..200 {
        let channel = server.channel().await;
        for _ in 0..50 {
            let stream = Delta::over(channel.clone()).await.unwrap();
            stream.say(&format!("node-{node}"), &["a"]).await;
            streams.push(stream);
        }
    }
    for stream in &mut streams {
        assert_eq!(stream.take().await, ["a"]);
    }
    let Err(refused) = Delta::over(server.channel().await).await else { panic!("one stream too many") };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("at most 10000 streams"), "{refused}");
    // All of them have the next version, though the server can only write to one after the other.
    server.set(&[endpoints("a", 2)]);
    for stream in &mut streams {
        assert_eq!(stream.take().await, ["a"]);
    }
}

#[tokio::test]
async fn a_stream_that_says_nothing_loses_its_place() {
    let first_request_limit = Duration::from_millis(50);
    let options = XdsOptions { max_streams: 1, first_request_limit, ..XdsOptions::default() };
    let server = Server::with(options).await;
    server.set(&[endpoints("a", 1)]);
    let silent = Delta::over(server.channel().await).await.unwrap().end().await;
    assert_eq!(silent.code(), Code::DeadlineExceeded, "{silent}");
    served(&server, "n").await;
}

#[tokio::test]
async fn names_and_nodes_have_a_length() {
    let server = Server::start().await;
    let long = "x".repeat(3000);
    let status = Delta::subscribed(&server, "n", &["a", &long]).await.end().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("at most 2048 bytes, not 3000"), "{status}");
    let fields = [("k".to_string(), Value { kind: Some(Kind::StringValue("v".repeat(1 << 17))) })];
    let metadata = Some(Struct { fields: fields.into_iter().collect() });
    let node = Some(Node { id: "n".into(), metadata, ..Node::default() });
    let request = DeltaDiscoveryRequest { node, ..Default::default() };
    let status = Delta::open(&server, request).await.unwrap().end().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("131074 bytes; at most 65536"), "{status}");
}

#[tokio::test]
async fn a_huge_subscription_ends_its_stream_and_no_other() {
    let options = XdsOptions { max_subscription_bytes: 100_000, ..XdsOptions::default() };
    let mut server = Server::with(options).await;
    server.set(&[endpoints("a", 1)]);
    let mut modest = served(&server, "modest").await;
    let many: Vec<String> = (0..1000).map(|i| format!("name-{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let status = Delta::subscribed(&server, "huge", &many).await.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("at most 100000 bytes"), "{status}");
    server.set(&[endpoints("a", 2)]);
    assert_eq!(modest.take().await, ["a"]);
    // What it took is given back.
    server.event(|event| matches!(event, XdsEvent::Disconnected { node } if node.id == "huge")).await;
    Delta::subscribed(&server, "fits", &many[..200]).await.next().await;
}

#[tokio::test]
async fn a_client_that_never_acknowledges_is_sent_one_response_and_then_the_newest() {
    let mut server = Server::start().await;
    server.set(&[endpoints("a", 0)]);
    let mut mute = Delta::subscribed(&server, "mute", &["a"]).await;
    let only = mute.next().await;
    let mut other = served(&server, "other").await;
    for port in 1..=500 {
        server.set(&[endpoints("a", port)]);
        assert_eq!(other.take().await, ["a"]);
        server.event(|event| matches!(event, XdsEvent::Acked { node, .. } if node.id == "other")).await;
    }
    mute.ack(&only).await;
    let newest = mute.next().await;
    assert_eq!(newest.resources[0].resource.as_ref().unwrap().value, endpoints("a", 500).2);
}

#[tokio::test]
async fn a_flood_of_requests_delays_nobody_else() {
    let mut server = Server::start().await;
    server.set(&[endpoints("a", 0)]);
    let flood = Delta::subscribed(&server, "flood", &["a"]).await;
    let stop = CancellationToken::new();
    let until = stop.clone();
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        while !until.is_cancelled() {
            let resource_names_subscribe = names(&["a", "b", "c"]);
            flood.send(DeltaDiscoveryRequest { resource_names_subscribe, ..Default::default() }).await;
            sent += 1;
        }
        sent
    });
    let mut other = served(&server, "other").await;
    for port in 1..=50 {
        server.set(&[endpoints("a", port)]);
        assert_eq!(other.take().await, ["a"]);
        server.event(|event| matches!(event, XdsEvent::Acked { node, .. } if node.id == "other")).await;
    }
    stop.cancel();
    assert!(within(flood).await.unwrap() > 0);
}

#[tokio::test]
async fn streams_end_at_their_age_one_after_the_other() {
    let age = Duration::from_millis(400);
    let server = Server::with(XdsOptions { max_stream_age: Some(age), ..XdsOptions::default() }).await;
    let (earliest, latest) = ends(&server, 60, "reached its age").await;
    assert!(earliest >= age.mul_f64(0.75), "{earliest:?}");
    // By chance, within a quarter of the age to both sides: 60 of them hardly lie within a tenth.
    assert!(latest - earliest >= age / 10, "{earliest:?} to {latest:?}");
}

#[tokio::test]
async fn on_shutdown_streams_end_one_after_the_other() {
    let options = XdsOptions { max_streams_per_node: 100, ..XdsOptions::default() };
    let server = Server::with(options).await;
    let stop = server.shutdown.clone();
    let (earliest, latest) = ends_after(&server, 100, "shuts down", || stop.cancel()).await;
    // 100 streams: 200 ms.
    assert!(latest - earliest >= Duration::from_millis(50), "{earliest:?} to {latest:?}");
}

async fn ends(server: &Server, streams: usize, reason: &str) -> (Duration, Duration) {
    ends_after(server, streams, reason, || ()).await
}

/// Opens streams, does something, and says when the first and the last of them was ended, from the beginning.
async fn ends_after(
    server: &Server,
    streams: usize,
    reason: &str,
    act: impl FnOnce(),
) -> (Duration, Duration) {
    let channel = server.channel().await;
    let mut open = Vec::new();
    let start = Instant::now();
    for _ in 0..streams {
        let stream = Delta::over(channel.clone()).await.unwrap();
        stream.say("n", &["none"]).await;
        open.push(stream);
    }
    for stream in &mut open {
        stream.next().await;
    }
    act();
    let mut tasks = tokio::task::JoinSet::new();
    for stream in open {
        let reason = reason.to_owned();
        tasks.spawn(async move {
            let status = stream.end().await;
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains(&reason), "{status}");
            start.elapsed()
        });
    }
    let ends = within(tasks.join_all()).await;
    (ends.iter().min().copied().unwrap(), ends.iter().max().copied().unwrap())
}

#[tokio::test]
async fn a_node_that_vanishes_without_a_word_is_known_to_be_gone() {
    let options = XdsOptions { keepalive: Duration::from_millis(100), ..XdsOptions::default() };
    let mut server = Server::with(options).await;
    server.set(&[endpoints("a", 1)]);
    let (address, freeze) = proxy(server.address).await;
    let uri = format!("http://{address}");
    let channel = within(Channel::from_shared(uri).unwrap().connect()).await.unwrap();
    let mut client = Delta::over(channel).await.unwrap();
    client.say("frozen", &["a"]).await;
    assert_eq!(client.take().await, ["a"]);
    freeze.cancel();
    // The client is still there, and its connection too: only nothing gets through.
    server.event(|event| matches!(event, XdsEvent::Disconnected { node } if node.id == "frozen")).await;
}

/// A way to an address that can be frozen: its connections stay open and carry nothing.
async fn proxy(to: SocketAddr) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let freeze = CancellationToken::new();
    let frozen = freeze.clone();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            () = frozen.cancelled() => std::future::pending().await,
        }
    });
    (address, freeze)
}
