//! "Aggregated Discovery Service": types are independent sequences on one stream.

use crate::client::{CDS, Delta, EDS, SDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn an_answer_that_is_owed_by_the_client_for_one_type_does_not_hold_up_another() {
    let server = Server::start(&[(EDS, "a", "1"), (SDS, "s", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    // Never acknowledged.
    client.expect(EDS, "a=1").await;
    client.subscribe(SDS, &["s"]).await;
    client.take(SDS, "s=1").await;
    server.set(&[(SDS, "s", "2")]);
    client.take(SDS, "s=2").await;
}

#[tokio::test]
async fn a_refusal_of_one_type_says_nothing_of_another() {
    let server = Server::start(&[(CDS, "c", "1"), (EDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    let clusters = client.expect(CDS, "1").await;
    client.subscribe(EDS, &["a"]).await;
    let endpoints = client.expect(EDS, "1").await;
    client.nack(&clusters).await;
    client.ack(&endpoints).await;
    server.set(&[(EDS, "a", "2")]);
    client.take(EDS, "2").await;
}

#[tokio::test]
async fn the_same_nonce_and_name_in_two_types_are_different_things() {
    let server = Server::start(&[(CDS, "a", "1"), (EDS, "a", "2")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["a"]).await;
    let clusters = client.take(CDS, "a=1").await;
    client.subscribe(EDS, &["a"]).await;
    let mut endpoints = client.expect(EDS, "a=2").await;
    // The nonce of a response of another type acknowledges nothing.
    let own = std::mem::replace(&mut endpoints.nonce, clusters.nonce);
    client.ack(&endpoints).await;
    server.set(&[(EDS, "a", "3")]);
    client.quiet().await;
    endpoints.nonce = own;
    client.ack(&endpoints).await;
    client.take(EDS, "a=3").await;
}
