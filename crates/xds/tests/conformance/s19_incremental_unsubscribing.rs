//! "Unsubscribing from Resources", incrementally.

use crate::client::{CDS, Delta, EDS};
use crate::server::Server;

#[tokio::test]
async fn an_unsubscription_is_not_answered_and_ends_the_updates() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "a=1").await;
    client.unsubscribe(EDS, &["a"]).await;
    client.quiet().await;
    server.set(&[(EDS, "a", "2")]);
    server.remove(&[(EDS, "a")]);
    client.quiet().await;
}

#[tokio::test]
async fn superfluous_names_are_passed_over() {
    let server = Server::start(&[(EDS, "a", "1"), (CDS, "c", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "a=1").await;
    client.unsubscribe(EDS, &["never", "*", "heard"]).await;
    client.quiet().await;
    // Also under a wildcard: it never was a subscription of its own.
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "c=1").await;
    client.unsubscribe(CDS, &["c", "never"]).await;
    client.quiet().await;
    server.set(&[(EDS, "a", "2"), (CDS, "c", "2")]);
    client.take(CDS, "c=2").await;
    client.take(EDS, "a=2").await;
}

/// The exception: the client cannot know whether the wildcard still matches the name.
#[tokio::test]
async fn a_name_unsubscribed_beside_the_wildcard_is_answered_with_what_the_wildcard_holds() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*", "a", "none"]).await;
    client.take(CDS, "a=1 -none").await;
    client.unsubscribe(CDS, &["a"]).await;
    client.take(CDS, "a=1").await;
    client.unsubscribe(CDS, &["none"]).await;
    client.take(CDS, "-none").await;
    client.quiet().await;
}

#[tokio::test]
async fn a_first_request_that_only_unsubscribes_is_no_wildcard() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.unsubscribe(CDS, &["b"]).await;
    client.quiet().await;
}
