//! "Deleting Resources".

use crate::client::{CDS, Delta, EDS, LDS, RDS, SDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn incrementally_a_deletion_is_told_by_name() {
    let all = [CDS, EDS, LDS, RDS, SDS];
    let server = Server::start(&all.map(|url| [(url, "a", "1"), (url, "b", "1")]).concat());
    for url in all {
        let mut client = Delta::connect(&server).await;
        client.subscribe(url, &["a", "b"]).await;
        client.take(url, "a=1 b=1").await;
        server.remove(&[(url, "b")]);
        client.take(url, "-b").await;
    }
}

#[tokio::test]
async fn a_wildcard_is_told_of_deletions_too_and_of_no_other() {
    let server = Server::start(&[(CDS, "a", "1"), (CDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "a=1 b=1").await;
    server.remove(&[(CDS, "b")]);
    client.take(CDS, "-b").await;
    // Came and went between two looks, or was never there: the client does not know it.
    server.apply(&[(CDS, "c", "1")], &[(CDS, "c"), (CDS, "d")]);
    client.quiet().await;
}

#[tokio::test]
async fn in_state_of_the_world_a_cluster_or_listener_is_deleted_by_its_absence() {
    let server = Server::start(&[CDS, LDS].map(|url| [(url, "a", "1"), (url, "b", "2")]).concat());
    for url in [CDS, LDS] {
        let mut client = Sotw::connect(&server).await;
        client.subscribe(url, &[]).await;
        client.take(url, "1 2").await;
        server.remove(&[(url, "b")]);
        client.take(url, "1").await;
        server.remove(&[(url, "a")]);
        client.take(url, "").await;
    }
}

#[tokio::test]
async fn in_state_of_the_world_other_types_are_not_deleted() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(EDS, &["a", "b"]).await;
    client.take(EDS, "1 1").await;
    server.remove(&[(EDS, "b")]);
    client.quiet().await;
    // Back again, it is sent, even if it is what it was.
    server.set(&[(EDS, "b", "1")]);
    client.take(EDS, "1").await;
}

#[tokio::test]
async fn a_deleted_resource_may_come_back() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "a=1").await;
    server.remove(&[(EDS, "a")]);
    client.take(EDS, "-a").await;
    server.set(&[(EDS, "a", "1")]);
    client.take(EDS, "a=1").await;
}
