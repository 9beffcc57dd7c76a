//! "How the client specifies what resources to return": names, the wildcard `*`, and the legacy wildcard.

use crate::client::{CDS, Delta, EDS, LDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn named_resources_are_supplied_if_they_exist() {
    let server = Server::start(&[(CDS, "a", "1"), (CDS, "b", "2"), (CDS, "c", "3")]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(CDS, &["a", "c", "none"]).await;
    sotw.take(CDS, "1 3").await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(CDS, &["a", "c", "none"]).await;
    delta.take(CDS, "a=1 c=3 -none").await;
}

#[tokio::test]
async fn newly_requested_resources_are_sent_though_they_were_sent_before() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "2")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.take(EDS, "1 2").await;
    client.subscribe(EDS, &["a"]).await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.take(EDS, "2").await;
}

#[tokio::test]
async fn a_cluster_named_beside_the_wildcard_is_sent_though_it_was_sent_before() {
    let server = Server::start(&[(CDS, "a", "1"), (CDS, "b", "2")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    client.take(CDS, "1 2").await;
    client.subscribe(CDS, &["*", "a"]).await;
    client.take(CDS, "1 2").await;
}

#[tokio::test]
async fn an_empty_list_of_names_ends_the_interest() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "1").await;
    client.subscribe(EDS, &[]).await;
    client.quiet().await;
    server.set(&[(EDS, "a", "2")]);
    client.quiet().await;
}

#[tokio::test]
async fn an_empty_list_of_endpoints_was_never_a_wildcard() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(EDS, &[]).await;
    sotw.quiet().await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(EDS, &[]).await;
    delta.quiet().await;
}

/// The page's own example, step by step.
#[tokio::test]
async fn the_legacy_wildcard_ends_with_the_first_name_in_state_of_the_world() {
    let server = Server::start(&[(LDS, "A", "1"), (LDS, "B", "2")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(LDS, &[]).await;
    client.take(LDS, "1 2").await;
    client.subscribe(LDS, &["*", "A"]).await;
    client.take(LDS, "1 2").await;
    client.subscribe(LDS, &["A"]).await;
    client.quiet().await;
    server.set(&[(LDS, "B", "3")]);
    client.quiet().await;
    server.set(&[(LDS, "A", "4")]);
    client.take(LDS, "4").await;
    client.subscribe(LDS, &[]).await;
    client.quiet().await;
    server.set(&[(LDS, "A", "5"), (LDS, "B", "5")]);
    client.quiet().await;
}

/// The page's own example, step by step.
#[tokio::test]
async fn the_legacy_wildcard_goes_on_until_it_is_ended_by_name_in_incremental() {
    let server = Server::start(&[(LDS, "A", "1"), (LDS, "B", "2")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(LDS, &[]).await;
    client.take(LDS, "A=1 B=2").await;
    client.subscribe(LDS, &["A"]).await;
    client.take(LDS, "A=1").await;
    server.set(&[(LDS, "B", "3")]);
    client.take(LDS, "B=3").await;
    client.unsubscribe(LDS, &["*"]).await;
    client.quiet().await;
    server.set(&[(LDS, "B", "4")]);
    client.quiet().await;
    server.set(&[(LDS, "A", "4")]);
    client.take(LDS, "A=4").await;
    client.unsubscribe(LDS, &["A"]).await;
    client.quiet().await;
    server.set(&[(LDS, "A", "5"), (LDS, "B", "5")]);
    client.quiet().await;
    // It is not the legacy wildcard again.
    client.subscribe(LDS, &[]).await;
    client.quiet().await;
}

#[tokio::test]
async fn a_wildcard_is_answered_even_if_there_is_nothing() {
    let server = Server::start(&[]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(CDS, &["*"]).await;
    sotw.take(CDS, "").await;
    sotw.quiet().await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(CDS, &["*"]).await;
    delta.take(CDS, "").await;
    delta.quiet().await;
    server.set(&[(CDS, "a", "1")]);
    sotw.take(CDS, "1").await;
    delta.take(CDS, "a=1").await;
}
