//! "Basic Protocol Overview": a stream begins with a request that names the node; every response has a nonce; a
//! nonce does not survive its stream.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::client::{CDS, Delta, EDS, Sotw, strings};
use crate::server::Server;

#[tokio::test]
async fn responses_come_at_any_time_when_subscribed_resources_change() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut delta = Delta::connect(&server).await;
    let mut sotw = Sotw::connect(&server).await;
    delta.subscribe(EDS, &["a"]).await;
    sotw.subscribe(EDS, &["a"]).await;
    delta.take(EDS, "a=1").await;
    sotw.take(EDS, "1").await;
    for body in ["2", "3"] {
        server.set(&[(EDS, "a", body)]);
        delta.take(EDS, &format!("a={body}")).await;
        sotw.take(EDS, body).await;
    }
}

#[tokio::test]
async fn every_response_has_a_nonce_of_its_own() {
    let server = Server::start(&[(CDS, "a", "1"), (EDS, "a", "0")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.subscribe(EDS, &["a"]).await;
    let mut nonces = BTreeSet::new();
    for _ in 0..2 {
        let response = client.next().await;
        client.ack(&response).await;
        nonces.insert(response.nonce);
    }
    for body in ["1", "2"] {
        server.set(&[(EDS, "a", body)]);
        nonces.insert(client.take(EDS, &format!("a={body}")).await.nonce);
    }
    assert_eq!(nonces.len(), 4, "{nonces:?}");
    assert!(!nonces.contains(""));
}

#[tokio::test]
async fn only_the_first_request_need_name_the_node_and_what_later_ones_say_does_not_count() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "a=1").await;
    for id in ["", "another"] {
        let request = DeltaDiscoveryRequest {
            node: Some(Node { id: id.into(), ..Node::default() }),
            resource_names_subscribe: strings(&["b"]),
            ..Default::default()
        };
        client.send(EDS, request).await;
        client.take(EDS, "b=1").await;
    }
}

#[tokio::test]
async fn a_nonce_from_an_earlier_stream_is_no_hindrance() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    let request = DiscoveryRequest {
        response_nonce: "of-another-stream".into(),
        version_info: "of-another-stream".into(),
        resource_names: strings(&["a"]),
        ..Default::default()
    };
    client.send(EDS, request).await;
    client.take(EDS, "1").await;
    let mut client = Delta::connect(&server).await;
    let request = DeltaDiscoveryRequest {
        response_nonce: "of-another-stream".into(),
        resource_names_subscribe: strings(&["a"]),
        ..Default::default()
    };
    client.send(EDS, request).await;
    client.take(EDS, "a=1").await;
}
