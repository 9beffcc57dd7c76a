//! A gateway that does nothing with what it is told: how long the agent's part of a start takes.
//!
//! It asks as Envoy does (clusters and listeners by wildcard, endpoints of each cluster as it comes, routes by name), on one
//! incremental stream, and acknowledges everything at once. What a real Envoy needs to build ten thousand clusters is not in it.

use anyhow::{Context as _, Result, bail};
use envoy_types::pb::{
    envoy::{
        config::core::v3::{Locality, Node},
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// When nothing has come by then, something is wrong.
const LIMIT: Duration = Duration::from_secs(60);

/// The whole answer is one route configuration of ten thousand hosts: more than the 4 MB that clients take by default.
const MESSAGE: usize = 256 << 20;

/// Reads all that a gateway of `zone` is given: until it has the endpoints of so many services and the routes.
pub(crate) async fn read_all(
    agent: SocketAddr,
    gateway: &str,
    zone: &str,
    services: usize,
) -> Result<Duration> {
    let channel = Endpoint::new(format!("http://{agent}"))?.connect().await?;
    let began = Instant::now();
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MESSAGE);
    // At most what the agent sends is acknowledged in it.
    let (requests, sent) = mpsc::unbounded_channel();
    let text = |it: &str| Value { kind: Some(Kind::StringValue(it.to_owned())) };
    let fields = [("gateway".to_owned(), text(gateway)), ("zone".to_owned(), text(zone))];
    let node = Node {
        id: format!("{gateway}@{zone}:reader"),
        cluster: gateway.to_owned(),
        metadata: Some(Struct { fields: fields.into() }),
        locality: Some(Locality { zone: zone.to_owned(), ..Locality::default() }),
        ..Node::default()
    };
    let ask = |kind: &str, names: Vec<String>| DeltaDiscoveryRequest {
        type_url: kind.to_owned(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    };
    requests.send(DeltaDiscoveryRequest { node: Some(node), ..ask(CLUSTER, vec!["*".to_owned()]) })?;
    requests.send(ask(LISTENER, vec!["*".to_owned()]))?;
    requests.send(ask(ROUTE, vec![format!("{gateway}/http")]))?;
    let answer = client.delta_aggregated_resources(UnboundedReceiverStream::new(sent)).await?;
    let mut answers = answer.into_inner();
    let (mut endpoints, mut listeners, mut routes) = (0, 0, 0);
    while endpoints < services || listeners == 0 || routes == 0 {
        let next = tokio::time::timeout(LIMIT, answers.message()).await;
        let next =
            next.with_context(|| format!("after {endpoints} of {services} services nothing more came"))?;
        let Some(DeltaDiscoveryResponse { type_url, resources, nonce, .. }) = next? else {
            bail!("the agent ended the stream after {endpoints} of {services} services");
        };
        let subscribe = match type_url.as_str() {
            // As `crates/envoy` names the endpoints of a cluster.
            CLUSTER => resources.into_iter().map(|it| format!("{}@{zone}", it.name)).collect(),
            kind => {
                let count = match kind {
                    ENDPOINT => &mut endpoints,
                    LISTENER => &mut listeners,
                    _ => &mut routes,
                };
                *count += resources.len();
                Vec::new()
            }
        };
        requests.send(DeltaDiscoveryRequest {
            response_nonce: nonce,
            type_url: type_url.clone(),
            ..DeltaDiscoveryRequest::default()
        })?;
        if !subscribe.is_empty() {
            requests.send(ask(ENDPOINT, subscribe))?;
        }
    }
    Ok(began.elapsed())
}
