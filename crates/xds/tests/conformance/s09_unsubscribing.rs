//! "Unsubscribing From Resources", in state of the world: by leaving the name out.

use crate::client::{CDS, EDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn a_name_left_out_is_sent_no_more() {
    let server = Server::start(&[(EDS, "A", "1"), (EDS, "B", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["A", "B"]).await;
    client.take(EDS, "1 1").await;
    client.subscribe(EDS, &["A"]).await;
    client.quiet().await;
    server.set(&[(EDS, "B", "2")]);
    client.quiet().await;
    server.set(&[(EDS, "A", "2")]);
    client.take(EDS, "2").await;
}

#[tokio::test]
async fn a_cluster_left_out_is_in_no_later_response() {
    let server = Server::start(&[(CDS, "A", "1"), (CDS, "B", "2")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &["A", "B"]).await;
    client.take(CDS, "1 2").await;
    client.subscribe(CDS, &["A"]).await;
    client.quiet().await;
    server.set(&[(CDS, "A", "3")]);
    client.take(CDS, "3").await;
}

#[tokio::test]
async fn the_wildcard_is_left_as_a_whole() {
    let server = Server::start(&[(CDS, "A", "1"), (CDS, "B", "2")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "1 2").await;
    client.subscribe(CDS, &[]).await;
    client.quiet().await;
    server.set(&[(CDS, "A", "3")]);
    client.quiet().await;
}
