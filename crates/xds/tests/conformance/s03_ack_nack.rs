//! "ACK/NACK and resource type instance version".

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use crate::client::{CDS, Delta, EDS, LDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn the_version_changes_whenever_a_resource_of_the_type_changes() {
    let server = Server::start(&[(CDS, "a", "1"), (LDS, "l", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    let one = client.take(CDS, "1").await;
    server.set(&[(CDS, "a", "2")]);
    let two = client.take(CDS, "2").await;
    server.set(&[(CDS, "b", "3")]);
    let three = client.take(CDS, "2 3").await;
    assert_ne!(one.version_info, two.version_info);
    assert_ne!(two.version_info, three.version_info);
    assert!(!one.version_info.is_empty());
}

#[tokio::test]
async fn each_type_has_a_version_of_its_own() {
    let server = Server::start(&[(CDS, "a", "1"), (LDS, "l", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    let clusters = client.take(CDS, "1").await;
    client.subscribe(LDS, &[]).await;
    client.take(LDS, "1").await;
    server.set(&[(LDS, "l", "2")]);
    client.take(LDS, "2").await;
    // A second stream is told the same version of clusters: they have not changed.
    let mut other = Sotw::connect(&server).await;
    other.subscribe(CDS, &[]).await;
    assert_eq!(other.take(CDS, "1").await.version_info, clusters.version_info);
}

#[tokio::test]
async fn the_version_belongs_to_the_resources_not_to_the_stream_or_the_server() {
    let content = [(EDS, "a", "1"), (EDS, "b", "2")];
    let mut versions = Vec::new();
    for server in [Server::start(&content), Server::start(&content)] {
        let mut client = Delta::connect(&server).await;
        client.subscribe(EDS, &["a", "b"]).await;
        let response = client.take(EDS, "a=1 b=2").await;
        versions.push((response.system_version_info, response.resources[0].version.clone()));
    }
    assert_eq!(versions[0], versions[1]);
}

#[tokio::test]
async fn an_acknowledged_update_is_not_repeated() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    client.take(CDS, "1").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_refused_update_is_not_repeated_and_a_later_version_may_succeed() {
    let server = Server::start(&[(CDS, "a", "1"), (EDS, "e", "1")]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(CDS, &[]).await;
    sotw.take(CDS, "1").await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(EDS, &["e"]).await;
    delta.take(EDS, "e=1").await;
    server.set(&[(CDS, "a", "bad"), (EDS, "e", "bad")]);
    let refused = sotw.expect(CDS, "bad").await;
    sotw.nack(&refused).await;
    sotw.quiet().await;
    let refused = delta.expect(EDS, "e=bad").await;
    delta.nack(&refused).await;
    delta.quiet().await;
    server.set(&[(CDS, "a", "2"), (EDS, "e", "2")]);
    sotw.take(CDS, "2").await;
    delta.take(EDS, "e=2").await;
}

#[tokio::test]
async fn the_last_good_version_need_not_be_sent_again_after_a_refusal() {
    let server = Server::start(&[(EDS, "e", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["e"]).await;
    client.take(EDS, "e=1").await;
    server.set(&[(EDS, "e", "bad")]);
    let refused = client.expect(EDS, "e=bad").await;
    client.nack(&refused).await;
    server.set(&[(EDS, "e", "1")]);
    client.quiet().await;
}

/// "error-detail-nack": the client is at version X, subscribes to another resource of the same version X, and
/// refuses it; the version it repeats is X. Only the error tells.
#[tokio::test]
async fn a_refusal_is_told_by_its_error_not_by_its_version() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "bad")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "1").await;
    client.subscribe(EDS, &["a", "b"]).await;
    let refused = client.expect(EDS, "bad").await;
    client.nack(&refused).await;
    client.quiet().await;
    server.set(&[(EDS, "a", "2")]);
    client.take(EDS, "2").await;
    server.set(&[(EDS, "b", "2")]);
    client.take(EDS, "2").await;
}

/// The version of an older server's protocol: it is no NACK, because no error is given.
#[tokio::test]
async fn an_older_version_without_an_error_is_no_refusal() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    let response = client.expect(CDS, "1").await;
    let request = DiscoveryRequest { response_nonce: response.nonce, ..Default::default() };
    client.send(CDS, request).await;
    client.quiet().await;
    server.set(&[(CDS, "a", "2")]);
    client.take(CDS, "2").await;
}

#[tokio::test]
async fn one_refused_resource_holds_back_no_other() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "bad"), (EDS, "c", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a", "b", "c"]).await;
    let all = client.expect(EDS, "a=1 b=bad c=1").await;
    client.nack(&all).await;
    // In parts, until the bad one stands alone.
    client.take(EDS, "a=1").await;
    let part = client.expect(EDS, "b=bad c=1").await;
    client.nack(&part).await;
    let culprit = client.expect(EDS, "b=bad").await;
    client.nack(&culprit).await;
    client.take(EDS, "c=1").await;
    client.quiet().await;
    server.set(&[(EDS, "a", "2"), (EDS, "c", "2")]);
    client.take(EDS, "a=2 c=2").await;
}
