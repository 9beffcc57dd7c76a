//! "TTL": optional, and never used here. What a client has stays while the server is away.

use crate::client::{Delta, EDS};
use crate::server::Server;

#[tokio::test]
async fn no_resource_expires() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    let response = client.take(EDS, "a=1").await;
    assert!(response.resources.iter().all(|resource| resource.ttl.is_none()));
}
