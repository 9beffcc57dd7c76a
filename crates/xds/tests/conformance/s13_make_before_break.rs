//! "Eventual consistency considerations": make before break.

use crate::client::{CDS, Delta, EDS, LDS, RDS, Sotw};
use crate::server::Server;

const OLD: [(&str, &str, &str); 4] = [(CDS, "x", "1"), (EDS, "x", "1"), (LDS, "l", "1"), (RDS, "r", "to x")];

/// A client of everything that has just been told the world as it is.
async fn delta(server: &Server) -> Delta {
    let mut client = Delta::connect(server).await;
    client.subscribe(CDS, &["*"]).await;
    client.take(CDS, "x=1").await;
    client.subscribe(EDS, &["x"]).await;
    client.take(EDS, "x=1").await;
    client.subscribe(LDS, &["*"]).await;
    client.take(LDS, "l=1").await;
    client.subscribe(RDS, &["r"]).await;
    client.take(RDS, "r=to x").await;
    client
}

#[tokio::test]
async fn clusters_endpoints_listeners_routes_then_removals() {
    let server = Server::start(&OLD);
    let mut client = delta(&server).await;
    server.apply(
        &[(RDS, "r", "to y"), (LDS, "l", "2"), (EDS, "y", "1"), (CDS, "y", "1")],
        &[(CDS, "x"), (EDS, "x")],
    );
    let clusters = client.expect(CDS, "y=1").await;
    // The route waits until the client has the cluster and has asked for its endpoints.
    client.quiet().await;
    client.subscribe(EDS, &["y"]).await;
    client.ack(&clusters).await;
    client.take(EDS, "y=1").await;
    let listeners = client.expect(LDS, "l=2").await;
    let routes = client.expect(RDS, "r=to y").await;
    // What the old route needs is not taken away before the new one has arrived.
    client.quiet().await;
    client.ack(&listeners).await;
    client.ack(&routes).await;
    client.take(CDS, "-x").await;
    client.take(EDS, "-x").await;
    client.quiet().await;
}

#[tokio::test]
async fn in_state_of_the_world_an_old_cluster_is_kept_until_the_routes_have_moved() {
    let server = Server::start(&OLD);
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    client.take(CDS, "1").await;
    client.subscribe(EDS, &["x"]).await;
    client.take(EDS, "1").await;
    client.subscribe(RDS, &["r"]).await;
    client.take(RDS, "to x").await;
    server.apply(&[(RDS, "r", "to y"), (EDS, "y", "2"), (CDS, "y", "2")], &[(CDS, "x"), (EDS, "x")]);
    let clusters = client.expect(CDS, "2 1").await;
    // As Envoy does: it asks for the endpoints of a new cluster before it accepts the cluster.
    client.subscribe(EDS, &["x", "y"]).await;
    client.ack(&clusters).await;
    client.take(EDS, "2").await;
    client.take(RDS, "to y").await;
    client.take(CDS, "2").await;
    client.quiet().await;
}

#[tokio::test]
async fn removals_go_from_the_listener_down() {
    let server = Server::start(&OLD);
    let mut client = delta(&server).await;
    server.remove(&[(EDS, "x"), (CDS, "x"), (RDS, "r"), (LDS, "l")]);
    client.take(LDS, "-l").await;
    client.take(RDS, "-r").await;
    client.take(CDS, "-x").await;
    client.take(EDS, "-x").await;
}

#[tokio::test]
async fn a_refused_cluster_does_not_hold_back_routes_for_ever() {
    let server = Server::start(&OLD);
    let mut client = delta(&server).await;
    server.set(&[(CDS, "x", "bad"), (RDS, "r", "2")]);
    let refused = client.expect(CDS, "x=bad").await;
    client.nack(&refused).await;
    client.take(RDS, "r=2").await;
}

#[tokio::test]
async fn what_a_client_asks_for_itself_is_never_held_back() {
    let server = Server::start(&[(CDS, "x", "1"), (RDS, "r", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    // Not acknowledged yet.
    client.expect(CDS, "x=1").await;
    client.subscribe(RDS, &["r"]).await;
    client.take(RDS, "r=1").await;
}
