//! What the page leaves open: requests that make no sense end their stream with a status that says why; requests
//! for what is not served here are passed over, because a client may want more than one server gives.

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::Message;
use tidegate_xds::XdsOptions;
use tonic::Code;

use crate::client::{Delta, EDS, Sotw, strings};
use crate::server::Server;

#[tokio::test]
async fn bytes_that_are_no_request_end_the_stream() {
    let server = Server::start(&[]);
    for wire in [Delta::connect(&server).await.wire, Sotw::connect(&server).await.wire] {
        wire.send(vec![0xff; 10]).await;
        let status = wire.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("cannot be read"), "{status}");
    }
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "-a").await;
    client.wire.send(vec![0x12]).await;
    assert_eq!(client.wire.end().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_first_request_without_a_node_ends_the_stream() {
    let server = Server::start(&[]);
    let client = Delta::connect(&server).await;
    client.wire.send(DeltaDiscoveryRequest::default().encode_to_vec()).await;
    let status = client.wire.end().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("node.id"), "{status}");
}

#[tokio::test]
async fn a_request_beyond_the_size_limit_ends_the_stream() {
    let options = XdsOptions { max_request_bytes: 1 << 16, ..XdsOptions::default() };
    let server = Server::with(options, &[]);
    let mut client = Delta::connect(&server).await;
    client.subscribe(EDS, &[&"x".repeat(1 << 17)]).await;
    let status = client.wire.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("65536"), "{status}");
}

#[tokio::test]
async fn a_type_that_is_not_served_is_passed_over() {
    let server = Server::start(&[(EDS, "a", "1")]);
    let mut client = Delta::connect(&server).await;
    for url in ["type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration", "", "nonsense"] {
        client.subscribe(url, &["a"]).await;
    }
    client.subscribe(EDS, &["a"]).await;
    client.take(EDS, "a=1").await;
    client.quiet().await;
}

#[tokio::test]
async fn names_without_end_are_names() {
    let server = Server::start(&[]);
    let mut client = Delta::connect(&server).await;
    for name in ["", "\u{0}", "name\nwith lines", "**", "xdstp://authority/type/id"] {
        let resource_names_subscribe = strings(&[name]);
        client.send(EDS, DeltaDiscoveryRequest { resource_names_subscribe, ..Default::default() }).await;
        client.take(EDS, &format!("-{name}")).await;
    }
}
