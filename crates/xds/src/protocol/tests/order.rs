//! Make before break, on a delta stream.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterMessage;
use prost::Message;

use super::*;

const ALL: [(ResourceType, &str, &str); 4] =
    [(Route, "r", "1"), (Listener, "l", "1"), (Endpoint, "e", "1"), (Cluster, "c", "")];

/// A client that holds all there is.
fn settled() -> Stream {
    let mut s = Stream::new(Transport::Delta, &ALL);
    s.subscribe(Cluster, &[]);
    s.subscribe(Endpoint, &["e"]);
    s.subscribe(Listener, &[]);
    s.subscribe(Route, &["r"]);
    while let Some(response) = s.next() {
        s.ack(&response);
    }
    s
}

#[test]
fn what_a_client_asks_for_is_not_held_back() {
    let mut s = Stream::new(Transport::Delta, &ALL);
    s.subscribe(Route, &["r"]);
    s.subscribe(Listener, &[]);
    s.subscribe(Cluster, &[]);
    s.expect(Cluster, "c=");
    s.expect(Listener, "l=1");
    s.expect(Route, "r=1");
}

#[test]
fn a_batch_is_pushed_clusters_first_and_routes_when_the_clusters_are_taken() {
    let mut s = settled();
    s.set(&[(Route, "r", "2"), (Listener, "l", "2"), (Endpoint, "e", "2"), (Cluster, "d", "")]);
    let cluster = s.expect(Cluster, "d=");
    // Health is never held back.
    s.expect(Endpoint, "e=2");
    s.expect_nothing();
    // Envoy asks for the endpoints of a new cluster before it acknowledges it.
    s.subscribe(Endpoint, &["d"]);
    s.ack(&cluster);
    s.expect_nothing();
}

#[test]
fn routes_follow_at_once_when_endpoints_are_sent_even_unacknowledged() {
    let mut s = settled();
    s.set(&[(Route, "r", "2"), (Listener, "l", "2"), (Endpoint, "e", "2"), (Cluster, "d", "")]);
    let cluster = s.expect(Cluster, "d=");
    s.expect(Endpoint, "e=2");
    s.ack(&cluster);
    s.expect(Listener, "l=2");
    s.expect(Route, "r=2");
}

#[test]
fn a_refused_cluster_does_not_hold_back_routes() {
    let mut s = settled();
    s.set(&[(Route, "r", "2"), (Cluster, "c", "bad")]);
    let cluster = s.expect(Cluster, "c=bad");
    s.nack(&cluster);
    s.expect(Route, "r=2");
}

#[test]
fn deletions_go_last_each_when_those_before_it_are_settled() {
    let mut s = settled();
    s.set(&[(Cluster, "d", "")]);
    let added = s.expect(Cluster, "d=");
    s.ack(&added);
    s.apply(&[(Route, "r", "2")], &[(Cluster, "c"), (Cluster, "d"), (Endpoint, "e"), (Listener, "l")]);
    let routes = s.expect(Route, "r=2");
    let listener = s.expect(Listener, "-l");
    s.expect_nothing();
    s.ack(&listener);
    s.expect_nothing();
    s.ack(&routes);
    let clusters = s.expect(Cluster, "-c -d");
    s.expect_nothing();
    s.ack(&clusters);
    s.expect(Endpoint, "-e");
}

#[test]
fn the_endpoints_of_a_changed_cluster_are_sent_again_for_it_to_warm() {
    let cluster = |version: u32| {
        let version = ClusterMessage {
            name: "e".into(),
            per_connection_buffer_limit_bytes: Some(envoy_types::pb::google::protobuf::UInt32Value {
                value: version,
            }),
            ..Default::default()
        };
        String::from_utf8(version.encode_to_vec()).unwrap()
    };
    let mut s = settled();
    s.set(&[(Cluster, "e", &cluster(1))]);
    let added = s.next().unwrap();
    s.ack(&added);
    let endpoints = s.expect(Endpoint, "e=1");
    s.ack(&endpoints);
    s.set(&[(Cluster, "e", &cluster(2))]);
    assert_eq!(s.next().unwrap().kind, Cluster);
    let endpoints = s.expect(Endpoint, "e=1");
    s.ack(&endpoints);
    s.expect_nothing();
}
