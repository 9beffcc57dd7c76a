//! "Resource updates": requests and responses that cross, and stale nonces.

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use crate::client::{EDS, Sotw, error, strings};
use crate::server::Server;

/// "update-race": the client widens its request at X while Y is on its way to it.
#[tokio::test]
async fn a_request_that_crossed_a_response_is_neither_a_refusal_nor_lost() {
    let server = Server::start(&[(EDS, "foo", "1"), (EDS, "bar", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["foo"]).await;
    let x = client.take(EDS, "1").await;
    server.set(&[(EDS, "foo", "2")]);
    let y = client.expect(EDS, "2").await;
    // It had been written before Y came in.
    let crossed = DiscoveryRequest {
        version_info: x.version_info,
        response_nonce: x.nonce,
        resource_names: strings(&["foo", "bar"]),
        ..Default::default()
    };
    client.send(EDS, crossed).await;
    client.quiet().await;
    let acknowledged = DiscoveryRequest {
        version_info: y.version_info,
        response_nonce: y.nonce,
        resource_names: strings(&["foo", "bar"]),
        ..Default::default()
    };
    client.send(EDS, acknowledged).await;
    client.take(EDS, "1").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_stale_refusal_does_not_count() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let old = client.take(EDS, "1").await;
    server.set(&[(EDS, "a", "2")]);
    let new = client.expect(EDS, "2").await;
    let stale = DiscoveryRequest {
        response_nonce: old.nonce,
        resource_names: strings(&["a"]),
        error_detail: error(),
        ..Default::default()
    };
    client.send(EDS, stale).await;
    client.ack(&new).await;
    client.quiet().await;
    // It holds version 2: going back to 1 is an update.
    server.set(&[(EDS, "a", "1")]);
    client.take(EDS, "1").await;
}

#[tokio::test]
async fn several_requests_at_one_version_are_taken_in_turn() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "2"), (EDS, "c", "3")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "1").await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.take(EDS, "2").await;
    client.subscribe(EDS, &["a", "b", "c"]).await;
    client.take(EDS, "3").await;
}
