//! "Resource warming": a changed cluster waits for endpoints, even if they have not changed.

use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster::EdsClusterConfig};
use prost::Message;

use crate::client::{CDS, Delta, EDS, Sotw};
use crate::server::Server;

fn cluster(alt_stat_name: &str) -> Vec<u8> {
    let eds = EdsClusterConfig { service_name: "e".into(), ..Default::default() };
    let eds_cluster_config = Some(eds);
    let (name, alt_stat_name) = ("c".into(), alt_stat_name.into());
    Cluster { name, alt_stat_name, eds_cluster_config, ..Cluster::default() }.encode_to_vec()
}

#[tokio::test]
async fn incrementally_endpoints_come_again_with_their_changed_cluster() {
    let server = Server::start(&[(EDS, "e", "1"), (EDS, "other", "1")]);
    server.set_bytes(CDS, "c", cluster("1"));
    let mut client = Delta::connect(&server).await;
    client.subscribe(CDS, &["*"]).await;
    client.subscribe(EDS, &["e", "other"]).await;
    for _ in 0..2 {
        let response = client.next().await;
        client.ack(&response).await;
    }
    server.set_bytes(CDS, "c", cluster("2"));
    let changed = client.next().await;
    assert_eq!((changed.type_url.as_str(), changed.resources.len()), (CDS, 1));
    client.ack(&changed).await;
    client.take(EDS, "e=1").await;
    client.quiet().await;
}

#[tokio::test]
async fn in_state_of_the_world_endpoints_come_again_with_their_changed_cluster() {
    let server = Server::start(&[(EDS, "e", "1")]);
    server.set_bytes(CDS, "c", cluster("1"));
    let mut client = Sotw::connect(&server).await;
    client.subscribe(CDS, &[]).await;
    client.subscribe(EDS, &["e"]).await;
    for _ in 0..2 {
        let response = client.next().await;
        client.ack(&response).await;
    }
    server.set_bytes(CDS, "c", cluster("2"));
    let changed = client.next().await;
    assert_eq!((changed.type_url.as_str(), changed.resources.len()), (CDS, 1));
    client.ack(&changed).await;
    client.take(EDS, "1").await;
    client.quiet().await;
}
