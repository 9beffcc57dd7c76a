//! "Variants of the xDS Transport Protocol": state of the world or incremental, on one aggregated stream or on
//! one stream per type. This server speaks both on the aggregated stream; a stream per type is refused, clearly.

use tonic::Code;

use crate::client::{CDS, Delta, EDS, LDS, RDS, SDS, Sotw, Wire};
use crate::server::Server;

const ALL: [&str; 5] = [CDS, EDS, LDS, RDS, SDS];

#[tokio::test]
async fn every_type_is_served_incrementally() {
    let server = Server::start(&ALL.map(|url| (url, "a", "1")));
    for url in ALL {
        let mut client = Delta::connect(&server).await;
        client.subscribe(url, &["a"]).await;
        client.take(url, "a=1").await;
    }
}

#[tokio::test]
async fn every_type_is_served_as_state_of_the_world() {
    let server = Server::start(&ALL.map(|url| (url, "a", "1")));
    for url in ALL {
        let mut client = Sotw::connect(&server).await;
        client.subscribe(url, &["a"]).await;
        client.take(url, "1").await;
    }
}

#[tokio::test]
async fn a_stream_for_one_type_is_not_served_and_says_so() {
    let server = Server::start(&[]);
    for method in [
        "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
        "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/NoSuchMethod",
        "/envoy.service.discovery.v2.AggregatedDiscoveryService/StreamAggregatedResources",
    ] {
        let Err(status) = Wire::open(&server, method).await else { panic!("{method} is served") };
        assert_eq!(status.code(), Code::Unimplemented, "{method}");
    }
}
