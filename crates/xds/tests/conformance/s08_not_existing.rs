//! "Knowing When a Requested Resource Does Not Exist", in state of the world: there is no word for it, but the
//! server remembers who asked.

use crate::client::{CDS, EDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn a_resource_that_springs_into_existence_is_sent_to_who_asked_for_it() {
    let server = Server::start(&[]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.quiet().await;
    server.set(&[(EDS, "a", "1")]);
    client.take(EDS, "1").await;
}

#[tokio::test]
async fn a_response_of_clusters_holds_all_that_were_requested_and_exist() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &["a", "b"]).await;
    client.take(CDS, "1").await;
    server.set(&[(CDS, "b", "2")]);
    client.take(CDS, "1 2").await;
}

#[tokio::test]
async fn a_request_for_clusters_that_do_not_exist_is_answered() {
    let server = Server::start(&[(CDS, "a", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &["none"]).await;
    client.take(CDS, "").await;
    client.quiet().await;
}
