//! "When to send an update": only when something has changed, and only for the latest request of a type.

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use crate::client::{CDS, Delta, EDS, Sotw, strings};
use crate::server::Server;

#[tokio::test]
async fn the_same_content_again_is_no_update() {
    let server = Server::start(&[(CDS, "a", "1"), (EDS, "e", "1")]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(CDS, &[]).await;
    sotw.take(CDS, "1").await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(EDS, &["e"]).await;
    delta.take(EDS, "e=1").await;
    server.set(&[(CDS, "a", "1"), (EDS, "e", "1")]);
    sotw.quiet().await;
    delta.quiet().await;
}

#[tokio::test]
async fn a_change_that_nobody_here_subscribes_to_is_no_update() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(EDS, &["a"]).await;
    sotw.take(EDS, "1").await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(EDS, &["a"]).await;
    delta.take(EDS, "a=1").await;
    server.set(&[(EDS, "b", "1"), (CDS, "c", "1")]);
    server.set(&[(EDS, "b", "2")]);
    server.remove(&[(EDS, "b")]);
    sotw.quiet().await;
    delta.quiet().await;
}

#[tokio::test]
async fn there_and_back_while_the_client_is_busy_is_no_update() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a", "b"]).await;
    let response = client.expect(EDS, "a=1 b=1").await;
    server.set(&[(EDS, "a", "2")]);
    server.set(&[(EDS, "a", "1")]);
    client.ack(&response).await;
    client.quiet().await;
}

#[tokio::test]
async fn what_changes_while_the_client_is_busy_comes_once_and_newest() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let response = client.expect(EDS, "a=1").await;
    for body in ["2", "3", "4"] {
        server.set(&[(EDS, "a", body)]);
    }
    client.ack(&response).await;
    client.take(EDS, "a=4").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_newer_request_supersedes_the_ones_before() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1"), (EDS, "c", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let response = client.expect(EDS, "1").await;
    // Three requests on the same response; the last one counts.
    for names in [&["a", "b"][..], &["a", "b", "c"], &["c"]] {
        let request = DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: strings(names),
            ..Default::default()
        };
        client.send(EDS, request).await;
    }
    server.set(&[(EDS, "a", "2"), (EDS, "b", "2"), (EDS, "c", "3")]);
    // The server may have answered one of the earlier ones; what it says about `c` comes last.
    loop {
        let response = client.next().await;
        let newest = response.resources.iter().any(|any| any.value == b"3");
        let request = DiscoveryRequest {
            version_info: response.version_info,
            response_nonce: response.nonce,
            resource_names: strings(&["c"]),
            ..Default::default()
        };
        client.send(EDS, request).await;
        if newest {
            break;
        }
    }
    client.quiet().await;
}
