//! "Knowing When a Requested Resource Does Not Exist", incrementally: it is told as removed.

use crate::client::{CDS, Delta, EDS};
use crate::server::Server;

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_as_removed_once() {
    let server = Server::start(&[]);
    let mut client = Delta::connect(&server).await;
    for url in [CDS, EDS] {
        client.subscribe(url, &["none"]).await;
        client.take(url, "-none").await;
        client.quiet().await;
    }
}

#[tokio::test]
async fn it_is_told_again_to_who_asks_again_and_sent_when_it_exists() {
    let server = Server::start(&[]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "-a").await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "-a").await;
    server.set(&[(EDS, "a", "1")]);
    client.take(EDS, "a=1").await;
}

#[tokio::test]
async fn a_name_under_the_wildcard_that_does_not_exist_is_told_too() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "a=1").await;
    client.subscribe(CDS, &["none"]).await;
    client.take(CDS, "-none").await;
}
