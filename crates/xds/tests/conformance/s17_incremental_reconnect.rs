//! "Incremental xDS", coming back: `initial_resource_versions`.

use crate::client::{CDS, Delta, EDS, LDS, RDS};
use crate::server::Server;

/// What a client holds after it subscribed to these: names and versions.
async fn held(server: &Server, url: &str, names: &[&str]) -> Vec<(String, String)> {
    let mut client = Delta::connect(server).await;
    client.subscribe(url, names).await;
    let response = client.next().await;
    client.ack(&response).await;
    response.resources.into_iter().map(|resource| (resource.name, resource.version)).collect()
}

fn refs(held: &[(String, String)]) -> Vec<(&str, &str)> {
    held.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
}

#[tokio::test]
async fn what_the_client_holds_is_not_sent_again() {
    let server = Server::start(&[CDS, EDS, LDS, RDS].map(|url| [(url, "a", "1"), (url, "b", "1")]).concat());
    for url in [CDS, EDS, LDS, RDS] {
        let held = held(&server, url, &["a", "b"]).await;
        let mut client = Delta::connect(&server).await;
        client.resume(url, &["a", "b"], &refs(&held)).await;
        client.quiet().await;
    }
}

#[tokio::test]
async fn what_changed_meanwhile_is_sent_what_is_gone_is_removed_what_is_new_is_added() {
    let server =
        Server::start(&[CDS, EDS].map(|url| [(url, "a", "1"), (url, "b", "1"), (url, "c", "1")]).concat());
    for url in [CDS, EDS] {
        let held = held(&server, url, &["a", "b", "c"]).await;
        server.apply(&[(url, "b", "2"), (url, "d", "1")], &[(url, "c")]);
        let mut client = Delta::connect(&server).await;
        client.resume(url, &["a", "b", "c", "d"], &refs(&held)).await;
        client.take(url, "b=2 d=1").await;
        client.take(url, "-c").await;
        client.quiet().await;
    }
}

#[tokio::test]
async fn a_wildcard_client_that_comes_back_is_told_the_same() {
    for wildcard in [&["*"][..], &[]] {
        let server = Server::start(&[(LDS, "a", "1"), (LDS, "b", "1"), (LDS, "c", "1")]);
        let held = held(&server, LDS, wildcard).await;
        server.apply(&[(LDS, "b", "2"), (LDS, "d", "1")], &[(LDS, "c")]);
        let mut client = Delta::connect(&server).await;
        client.resume(LDS, wildcard, &refs(&held)).await;
        client.take(LDS, "b=2 d=1").await;
        client.take(LDS, "-c").await;
        client.quiet().await;
    }
}

#[tokio::test]
async fn versions_of_another_server_are_unknown_and_replaced() {
    let server = Server::start(&[(EDS, "a", "1")]);
    for foreign in ["v7", "", "0123456789abcdef", "0000000000000000"] {
        let mut client = Delta::connect(&server).await;
        client.resume(EDS, &["a"], &[("a", foreign)]).await;
        client.take(EDS, "a=1").await;
    }
}

#[tokio::test]
async fn a_held_name_that_is_not_subscribed_to_is_not_served() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    let mut client = Delta::connect(&server).await;
    client.resume(EDS, &["a"], &[("b", "v")]).await;
    client.take(EDS, "a=1").await;
    server.set(&[(EDS, "b", "2")]);
    client.quiet().await;
}

#[tokio::test]
async fn nothing_is_remembered_of_the_stream_before() {
    let server = Server::start(&[(EDS, "a", "1"), (EDS, "b", "1")]);
    drop(held(&server, EDS, &["a", "b"]).await);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["b"]).await;
    client.take(EDS, "b=1").await;
    server.set(&[(EDS, "a", "2")]);
    client.quiet().await;
}
