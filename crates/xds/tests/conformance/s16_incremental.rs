//! "Incremental xDS": the session of the page's example, and when a request may be sent.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::client::{CDS, Delta, EDS, error, strings};
use crate::server::Server;

/// First update accepted, second refused, then the client asks for `wc` by itself.
#[tokio::test]
async fn the_sessions_example() {
    let server = Server::start(&[(CDS, "foo", "1"), (CDS, "wc", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["foo"]).await;
    client.take(CDS, "foo=1").await;
    server.set(&[(CDS, "foo", "bad")]);
    let second = client.expect(CDS, "foo=bad").await;
    client.nack(&second).await;
    client.subscribe(CDS, &["wc"]).await;
    client.take(CDS, "wc=1").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_subscription_may_ride_on_an_acknowledgement() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let first = client.expect(EDS, "a=1").await;
    let both = DeltaDiscoveryRequest {
        response_nonce: first.nonce,
        resource_names_subscribe: strings(&["b"]),
        resource_names_unsubscribe: strings(&["a"]),
        ..Default::default()
    };
    client.send(EDS, both).await;
    client.take(EDS, "b=1").await;
    server.set(&[(EDS, "a", "2")]);
    client.quiet().await;
}

#[tokio::test]
async fn a_subscription_counts_even_if_its_nonce_is_stale() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let old = client.take(EDS, "a=1").await;
    server.set(&[(EDS, "a", "2")]);
    let new = client.expect(EDS, "a=2").await;
    let stale = DeltaDiscoveryRequest {
        response_nonce: old.nonce,
        resource_names_subscribe: strings(&["b"]),
        error_detail: error(),
        ..Default::default()
    };
    client.send(EDS, stale).await;
    client.ack(&new).await;
    client.take(EDS, "b=1").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_response_says_the_version_of_each_resource_and_of_all() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a", "b"]).await;
    let one = client.take(EDS, "a=1 b=1").await;
    assert!(one.resources.iter().all(|resource| !resource.version.is_empty()));
    server.set(&[(EDS, "b", "2")]);
    let two = client.take(EDS, "b=2").await;
    assert_ne!(one.system_version_info, two.system_version_info);
    let of_b = one.resources.iter().find(|resource| resource.name == "b").unwrap();
    assert_ne!(of_b.version, two.resources[0].version);
}
