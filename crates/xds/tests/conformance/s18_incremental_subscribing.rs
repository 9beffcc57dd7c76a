//! "Subscribing to Resources", incrementally: what is subscribed to again must be sent again.

use crate::client::{CDS, Delta, EDS};
use crate::server::Server;

#[tokio::test]
async fn a_name_subscribed_again_is_answered_again() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.take(EDS, "a=1 b=1").await;
    for _ in 0..2 {
        client.subscribe(EDS, &["a"]).await;
        client.take(EDS, "a=1").await;
    }
    client.quiet().await;
}

#[tokio::test]
async fn a_name_under_the_wildcard_subscribed_to_is_answered_again() {
    let server = Server::start(&[(CDS, "a", "1"), (CDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "a=1 b=1").await;
    client.subscribe(CDS, &["a"]).await;
    client.take(CDS, "a=1").await;
}

#[tokio::test]
async fn the_wildcard_subscribed_again_is_answered_again() {
    let server = Server::start(&[(CDS, "a", "1"), (CDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "a=1 b=1").await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "a=1 b=1").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_refused_resource_subscribed_again_is_answered_again() {
    let server = Server::start(&[(EDS, "a", "bad")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let refused = client.expect(EDS, "a=bad").await;
    client.nack(&refused).await;
    client.quiet().await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "a=bad").await;
}
