//! The server over a loopback port, spoken to with the generated client stubs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::server::{Server, WAIT, endpoints, within};
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterStats, UpstreamLocalityStats};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use envoy_types::pb::envoy::service::load_stats::v3::load_reporting_service_client::LoadReportingServiceClient;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tidegate_xds::{LoadAsked, LoadOf, ResourceState, ResourceType, Scope, Transport, XdsEvent, XdsOptions};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

const EDS: ResourceType = ResourceType::Endpoint;

fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.into(), ..Node::default() })
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn bad() -> Option<RpcStatus> {
    Some(RpcStatus { code: 3, message: "bad address".into(), details: Vec::new() })
}

/// A delta stream; endpoints only.
pub(crate) struct Delta {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Delta {
    pub(crate) async fn open(server: &Server, first: DeltaDiscoveryRequest) -> Result<Self, Status> {
        let stream = Self::over(server.channel().await).await?;
        within(stream.requests.send(first)).await.unwrap();
        Ok(stream)
    }

    /// A stream on which nothing was said yet.
    pub(crate) async fn over(channel: Channel) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(16);
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(1 << 30);
        let call = client.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let responses = within(call).await?.into_inner();
        Ok(Self { requests, responses })
    }

    pub(crate) async fn subscribed(server: &Server, id: &str, to: &[&str]) -> Self {
        let first = DeltaDiscoveryRequest {
            node: node(id),
            type_url: EDS.type_url().into(),
            resource_names_subscribe: names(to),
            ..Default::default()
        };
        Self::open(server, first).await.unwrap()
    }

    /// The first request of a stream.
    pub(crate) async fn say(&self, id: &str, to: &[&str]) {
        let resource_names_subscribe = names(to);
        self.send(DeltaDiscoveryRequest { node: node(id), resource_names_subscribe, ..Default::default() })
            .await;
    }

    pub(crate) async fn send(&self, request: DeltaDiscoveryRequest) {
        let request = DeltaDiscoveryRequest { type_url: EDS.type_url().into(), ..request };
        within(self.requests.send(request)).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        within(self.responses.message()).await.unwrap().expect("the stream is open")
    }

    /// The next response, acknowledged; its resource names.
    pub(crate) async fn take(&mut self) -> Vec<String> {
        let response = self.next().await;
        self.ack(&response).await;
        response.resources.into_iter().map(|resource| resource.name).collect()
    }

    pub(crate) async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let response_nonce = response.nonce.clone();
        self.send(DeltaDiscoveryRequest { response_nonce, ..Default::default() }).await;
    }

    pub(crate) async fn nack(&self, response: &DeltaDiscoveryResponse) {
        let response_nonce = response.nonce.clone();
        let request = DeltaDiscoveryRequest { response_nonce, error_detail: bad(), ..Default::default() };
        self.send(request).await;
    }

    pub(crate) async fn end(mut self) -> Status {
        loop {
            match within(self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("ended"),
                Err(status) => return status,
            }
        }
    }
}

#[tokio::test]
async fn a_delta_client_that_reconnects_is_sent_only_what_changed_while_it_was_away() {
    let mut server = Server::start().await;
    server.set(&[endpoints("a", 1), endpoints("b", 1), endpoints("c", 1)]);
    let mut first = Delta::subscribed(&server, "n", &["a", "b", "c"]).await;
    let response = first.next().await;
    let resource = response.resources[0].resource.as_ref().unwrap();
    assert_eq!(resource.type_url, EDS.type_url());
    assert_eq!(resource.value, endpoints("a", 1).2);
    let versions: HashMap<_, _> =
        response.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
    assert_eq!(versions.len(), 3);
    first.ack(&response).await;
    drop(first);
    server.event(|event| matches!(event, XdsEvent::Disconnected { .. })).await;
    assert!(!server.xds.nodes()[0].connected);

    server.set(&[endpoints("b", 2)]);
    server.remove(EDS, "c");
    // The same content in a new server has the same versions.
    let second = Server::start().await;
    second.set(&[endpoints("a", 1), endpoints("b", 2)]);
    for server in [&server, &second] {
        let request = DeltaDiscoveryRequest {
            node: node("n"),
            type_url: EDS.type_url().into(),
            resource_names_subscribe: names(&["a", "b", "c"]),
            initial_resource_versions: versions.clone(),
            ..Default::default()
        };
        let mut client = Delta::open(server, request).await.unwrap();
        assert_eq!(client.take().await, ["b"]);
        assert_eq!(client.next().await.removed_resources, ["c"]);
    }
}

#[tokio::test]
async fn a_refused_resource_leaves_the_others_flowing_and_is_reported() {
    let mut server = Server::start().await;
    server.set(&[endpoints("a", 1), endpoints("b", 1)]);
    let mut client = Delta::subscribed(&server, "n", &["a", "b"]).await;
    client.take().await;
    server.set(&[endpoints("a", 2)]);
    let refused = client.next().await;
    client.nack(&refused).await;
    let XdsEvent::Nacked { node, kind, names, error } =
        server.event(|event| matches!(event, XdsEvent::Nacked { .. })).await
    else {
        unreachable!()
    };
    assert_eq!((node.id.as_str(), kind, names), ("n", EDS, vec!["a".into()]));
    assert_eq!(error, "bad address");
    server.set(&[endpoints("b", 2)]);
    assert_eq!(client.take().await, ["b"]);
    server.set(&[endpoints("a", 3)]);
    assert_eq!(client.take().await, ["a"]);
    for _ in 0..2 {
        server.event(|event| matches!(event, XdsEvent::Acked { .. })).await;
    }
    let status = &server.xds.nodes()[0];
    assert_eq!((status.transport, status.connected), (Transport::Delta, true));
    let of_type = &status.types[0];
    assert_eq!((of_type.kind, of_type.subscribed, of_type.in_flight), (EDS, 2, false));
    assert_eq!(of_type.sent, of_type.acked);
    assert_eq!(of_type.last_nack.as_ref().unwrap().names, ["a"]);
    assert!(of_type.refused.is_empty(), "it was made good: {:?}", of_type.refused);
    let held = &server.xds.resources(|node| node.id == "n", 2).unwrap()[0].resources[0];
    assert_eq!((held.name.as_str(), &held.state), ("a", &ResourceState::Acked));
    assert_eq!(held.version, server.store.version(&Scope::new("s"), EDS, "a"));
    assert!(server.xds.resources(|_| true, 1).is_none(), "there are two");
}

#[tokio::test]
async fn streams_share_a_push_and_a_stream_without_interest_is_not_disturbed() {
    let server = Server::start().await;
    server.set(&[endpoints("a", 1), endpoints("b", 1)]);
    let mut one = Delta::subscribed(&server, "1", &["a"]).await;
    let mut two = Delta::subscribed(&server, "2", &["a"]).await;
    let mut other = Delta::subscribed(&server, "3", &["b"]).await;
    for client in [&mut one, &mut two, &mut other] {
        client.take().await;
    }
    server.set(&[endpoints("a", 2)]);
    let (of_one, of_two) = (one.next().await, two.next().await);
    assert_eq!(of_one.resources, of_two.resources);
    server.set(&[endpoints("b", 2)]);
    assert_eq!(other.take().await, ["b"]);
}

#[tokio::test]
async fn a_slow_reader_does_not_delay_another_and_gets_the_newest_version() {
    let mut server = Server::start().await;
    // More than the flow-control windows hold.
    let big = |version: u8| (EDS, "big".to_string(), vec![version; 8 << 20]);
    server.set(&[big(0), endpoints("small", 0)]);
    let mut slow = Delta::subscribed(&server, "slow", &["big", "small"]).await;
    let mut fast = Delta::subscribed(&server, "fast", &["small"]).await;
    fast.take().await;
    for version in 1..=10 {
        server.set(&[big(version), endpoints("small", u32::from(version))]);
        assert_eq!(fast.take().await, ["small"]);
        server.event(|event| matches!(event, XdsEvent::Acked { .. })).await;
    }
    let mut responses = 0;
    let newest = endpoints("small", 10).2;
    while !slow.next_and_ack(&newest).await {
        responses += 1;
    }
    assert!(responses <= 2, "{responses} responses were made for a client that does not read");
}

impl Delta {
    /// Acknowledges the next response; says whether it brought this body.
    async fn next_and_ack(&mut self, body: &[u8]) -> bool {
        let response = self.next().await;
        self.ack(&response).await;
        let mut bodies = response.resources.iter().filter_map(|r| r.resource.as_ref());
        bodies.any(|any| any.value == body)
    }
}

#[tokio::test]
async fn while_held_streams_are_accepted_and_on_release_all_are_answered() {
    let mut server = Server::start().await;
    server.xds.hold();
    server.set(&[endpoints("a", 1)]);
    let mut one = Delta::subscribed(&server, "1", &["a"]).await;
    let mut two = Delta::subscribed(&server, "2", &["a"]).await;
    for _ in 0..2 {
        server.event(|event| matches!(event, XdsEvent::Connected { .. })).await;
    }
    server.set(&[endpoints("a", 2)]);
    let early = tokio::time::timeout(Duration::from_millis(100), one.responses.message()).await;
    assert!(early.is_err(), "nothing may be sent while the server is held");
    server.xds.release();
    for client in [&mut one, &mut two] {
        let response = client.next().await;
        assert_eq!(response.resources[0].resource.as_ref().unwrap().value, endpoints("a", 2).2);
    }
}

#[tokio::test]
async fn a_state_of_the_world_client_gets_versions_and_complete_clusters() {
    let mut server = Server::start().await;
    let cluster =
        |name: &str, body: &str| (ResourceType::Cluster, name.to_string(), body.as_bytes().to_vec());
    server.set(&[cluster("a", ""), cluster("b", "")]);
    let (requests, outgoing) = mpsc::channel(16);
    let request = |response: &DiscoveryResponse| DiscoveryRequest {
        node: node("n"),
        type_url: ResourceType::Cluster.type_url().into(),
        response_nonce: response.nonce.clone(),
        version_info: response.version_info.clone(),
        ..Default::default()
    };
    requests.send(request(&DiscoveryResponse::default())).await.unwrap();
    let mut client = AggregatedDiscoveryServiceClient::new(server.channel().await);
    let call = client.stream_aggregated_resources(ReceiverStream::new(outgoing));
    let mut responses = within(call).await.unwrap().into_inner();
    let first = within(responses.message()).await.unwrap().unwrap();
    assert_eq!(first.resources.len(), 2);
    assert_eq!(first.control_plane.as_ref().unwrap().identifier, "test");
    requests.send(request(&first)).await.unwrap();
    let acked = server.event(|event| matches!(event, XdsEvent::Acked { .. })).await;
    let XdsEvent::Acked { version, batches, .. } = acked else { unreachable!() };
    assert_eq!(
        (version, batches),
        (first.version_info.clone(), Vec::new()),
        "nothing changed since it asked"
    );
    server.remove(ResourceType::Cluster, "a");
    let second = within(responses.message()).await.unwrap().unwrap();
    assert_eq!(second.resources.len(), 1);
    assert_ne!(second.version_info, first.version_info);
    let (removal, held) = (server.store.batch(), second.version_info.clone());
    requests.send(request(&second)).await.unwrap();
    let acked = server.event(|event| matches!(event, XdsEvent::Acked { .. })).await;
    assert!(matches!(acked, XdsEvent::Acked { batches, .. } if batches == [removal]));
    // What the client does not subscribe to is not its business; what is refused comes again.
    server.set(&[endpoints("c", 1)]);
    server.set(&[cluster("c", "")]);
    let change = server.store.batch();
    let second = within(responses.message()).await.unwrap().unwrap();
    let nack = DiscoveryRequest { error_detail: bad(), ..request(&second) };
    requests.send(nack).await.unwrap();
    server.event(|event| matches!(event, XdsEvent::Nacked { .. })).await;
    let status = &server.xds.nodes()[0];
    assert_eq!(status.transport, Transport::Sotw);
    assert_eq!(status.types[0].acked, Some(held));
    assert_eq!(status.types[0].last_nack.as_ref().unwrap().error, "bad address");
    server.set(&[cluster("d", "")]);
    let third = within(responses.message()).await.unwrap().unwrap();
    requests.send(request(&third)).await.unwrap();
    let acked = server.event(|event| matches!(event, XdsEvent::Acked { .. })).await;
    assert!(matches!(acked, XdsEvent::Acked { batches, .. } if batches == [change, server.store.batch()]));
}

#[tokio::test]
async fn a_load_report_becomes_one_event() {
    let mut server = Server::start().await;
    let (requests, outgoing) = mpsc::channel(16);
    requests.send(LoadStatsRequest { node: node("n"), ..Default::default() }).await.unwrap();
    let mut client = LoadReportingServiceClient::new(server.channel().await);
    let call = client.stream_load_stats(ReceiverStream::new(outgoing));
    let mut responses = within(call).await.unwrap().into_inner();
    let asked = within(responses.message()).await.unwrap().unwrap();
    assert!(asked.send_all_clusters && !asked.report_endpoint_granularity);
    assert_eq!(asked.load_reporting_interval.unwrap().nanos, 200_000_000);
    let locality = UpstreamLocalityStats {
        locality: Some(Locality { zone: "z".into(), ..Locality::default() }),
        total_successful_requests: 7,
        total_error_requests: 2,
        total_requests_in_progress: 1,
        total_issued_requests: 10,
        priority: 1,
        ..Default::default()
    };
    let stats = ClusterStats {
        cluster_name: "c".into(),
        upstream_locality_stats: vec![locality],
        load_report_interval: Some(envoy_types::pb::google::protobuf::Duration { seconds: 1, nanos: 500 }),
        ..Default::default()
    };
    let report = LoadStatsRequest { cluster_stats: vec![stats], ..Default::default() };
    requests.send(report).await.unwrap();
    let XdsEvent::Load(report) = server.event(|event| matches!(event, XdsEvent::Load(_))).await else {
        unreachable!()
    };
    assert_eq!((report.node.id.as_str(), report.clusters.len()), ("n", 1));
    let cluster = &report.clusters[0];
    assert_eq!((cluster.cluster.as_str(), cluster.interval), ("c", Duration::new(1, 500)));
    let load = &cluster.localities[0];
    assert_eq!((load.locality.zone.as_str(), load.priority), ("z", 1));
    let counts = load.counts;
    assert_eq!((counts.success, counts.error, counts.in_progress, counts.issued), (7, 2, 1, 10));
}

#[tokio::test]
async fn what_load_is_reported_can_change_while_clients_are_connected() {
    let server = Server::start().await;
    let (requests, outgoing) = mpsc::channel(16);
    requests.send(LoadStatsRequest { node: node("n"), ..Default::default() }).await.unwrap();
    let mut client = LoadReportingServiceClient::new(server.channel().await);
    let call = client.stream_load_stats(ReceiverStream::new(outgoing));
    let mut responses = within(call).await.unwrap().into_inner();
    within(responses.message()).await.unwrap().unwrap();
    // The same again is no news: the next answer is about the one after it.
    let all = LoadAsked { interval: Duration::from_millis(200), ..LoadAsked::default() };
    let names = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let clusters = LoadOf::Named(Arc::new(names));
    let named = LoadAsked { interval: Duration::from_secs(2), per_endpoint: true, clusters };
    server.xds.ask_load(all);
    server.xds.ask_load(named.clone());
    let asked = within(responses.message()).await.unwrap().unwrap();
    assert_eq!(asked.load_reporting_interval.unwrap().seconds, 2);
    assert!(!asked.send_all_clusters && asked.report_endpoint_granularity);
    assert_eq!(asked.clusters, ["a", "b"]);
    server.xds.ask_load(named);
    server.xds.ask_load(LoadAsked::default());
    let asked = within(responses.message()).await.unwrap().unwrap();
    assert!(asked.send_all_clusters && asked.clusters.is_empty() && !asked.report_endpoint_granularity);
}

#[tokio::test]
async fn a_node_that_may_see_nothing_is_told_why() {
    let server = Server::start().await;
    let refused = Delta::subscribed(&server, "stranger", &["a"]).await.end().await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("no strangers"), "{refused}");
    let nobody = Delta::open(&server, DeltaDiscoveryRequest::default()).await.unwrap();
    assert_eq!(nobody.end().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_shutdown_ends_the_others() {
    let options = XdsOptions { max_streams: 1, max_names_per_stream: 1, ..XdsOptions::default() };
    let mut server = Server::with(options).await;
    let first = Delta::subscribed(&server, "1", &["a"]).await;
    server.event(|event| matches!(event, XdsEvent::Connected { .. })).await;
    let request = DeltaDiscoveryRequest { node: node("2"), ..Default::default() };
    let Err(second) = Delta::open(&server, request).await else { panic!("one stream too many") };
    assert_eq!(second.code(), Code::ResourceExhausted);
    server.shutdown.cancel();
    assert_eq!(first.end().await.code(), Code::Unavailable);
}

#[tokio::test]
async fn too_many_names_end_the_stream_and_events_nobody_takes_are_counted() {
    let options = XdsOptions { max_names_per_stream: 1, ..XdsOptions::default() };
    let server = Server::with(options).await;
    let greedy = Delta::subscribed(&server, "1", &["a", "b"]).await;
    assert_eq!(greedy.end().await.code(), Code::ResourceExhausted);
    // Connected and Disconnected of one stream after another; the channel holds 64.
    tokio::time::timeout(WAIT, async {
        while server.xds.dropped_events() == 0 {
            let greedy = Delta::subscribed(&server, "1", &["a", "b"]).await;
            greedy.end().await;
        }
    })
    .await
    .unwrap();
}
