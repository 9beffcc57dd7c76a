//! "Grouping Resources into Responses" and "Duplicate Resource Names".

use std::collections::BTreeSet;

use crate::client::{CDS, Delta, EDS, LDS, RDS, Sotw};
use crate::server::Server;

#[tokio::test]
async fn incrementally_only_what_changed_is_sent() {
    let content = [CDS, EDS, LDS, RDS].map(|url| [(url, "a", "1"), (url, "b", "1")]).concat();
    let server = Server::start(&content);
    for url in [CDS, EDS, LDS, RDS] {
        let mut client = Delta::connect(&server).await;
        client.subscribe(url, &["a", "b"]).await;
        client.take(url, "a=1 b=1").await;
        server.set(&[(url, "b", "2")]);
        client.take(url, "b=2").await;
    }
}

#[tokio::test]
async fn in_state_of_the_world_endpoints_and_routes_are_sent_as_they_change() {
    let content = [EDS, RDS].map(|url| [(url, "a", "1"), (url, "b", "1")]).concat();
    let server = Server::start(&content);
    for url in [EDS, RDS] {
        let mut client = Sotw::connect(&server).await;
        client.subscribe(url, &["a", "b"]).await;
        client.take(url, "1 1").await;
        server.set(&[(url, "b", "2")]);
        client.take(url, "2").await;
    }
}

#[tokio::test]
async fn in_state_of_the_world_clusters_and_listeners_are_always_complete() {
    let content = [CDS, LDS].map(|url| [(url, "a", "1"), (url, "b", "1"), (url, "c", "1")]).concat();
    let server = Server::start(&content);
    for url in [CDS, LDS] {
        let mut all = Sotw::connect(&server).await;
        all.subscribe(url, &[]).await;
        all.take(url, "1 1 1").await;
        let mut some = Sotw::connect(&server).await;
        some.subscribe(url, &["a", "b"]).await;
        some.take(url, "1 1").await;
        server.set(&[(url, "b", "2")]);
        all.take(url, "1 2 1").await;
        some.take(url, "1 2").await;
    }
}

#[tokio::test]
async fn no_response_holds_a_name_twice() {
    let server = Server::start(&[(CDS, "a", "1"), (CDS, "b", "1")]);
    let mut sotw = Sotw::connect(&server).await;
    sotw.subscribe(CDS, &["a", "*", "a", "b"]).await;
    sotw.take(CDS, "1 1").await;
    let mut delta = Delta::connect(&server).await;
    delta.subscribe(CDS, &["a", "*", "a", "b"]).await;
    let response = delta.take(CDS, "a=1 b=1").await;
    let names: BTreeSet<_> = response.resources.iter().map(|resource| &resource.name).collect();
    assert_eq!(names.len(), response.resources.len());
}
