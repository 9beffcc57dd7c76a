//! A client that speaks only the wire: encoded messages over gRPC, in both variants of ADS.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::server::Server;

pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub(crate) const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub(crate) const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub(crate) const SDS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Long: it only matters when a test fails.
const WAIT: Duration = Duration::from_secs(20);

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(WAIT, future).await.expect("it happens in time")
}

pub(crate) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(crate) fn node() -> Option<Node> {
    Some(Node { id: "node".into(), ..Node::default() })
}

pub(crate) fn error() -> Option<RpcStatus> {
    Some(RpcStatus { code: 3, message: "bad".into(), details: Vec::new() })
}

/// The name of a secret that every server here has.
pub(crate) fn fence(number: usize) -> String {
    format!("fence-{number}")
}

/// Messages as bytes.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// A stream of bytes.
pub(crate) struct Wire {
    requests: mpsc::Sender<Bytes>,
    responses: Streaming<Bytes>,
}

impl Wire {
    pub(crate) async fn open(server: &Server, method: &'static str) -> Result<Self, Status> {
        let uri = format!("http://{}", server.address);
        let channel = within(Channel::from_shared(uri).unwrap().connect()).await.unwrap();
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(1 << 30);
        within(grpc.ready()).await.unwrap();
        let (requests, outgoing) = mpsc::channel(16);
        let request = Request::new(ReceiverStream::new(outgoing));
        let call = grpc.streaming(request, PathAndQuery::from_static(method), Raw);
        Ok(Self { requests, responses: within(call).await?.into_inner() })
    }

    pub(crate) async fn send(&self, bytes: impl Into<Bytes>) {
        within(self.requests.send(bytes.into())).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Bytes {
        within(self.responses.message()).await.unwrap().expect("the stream is open")
    }

    /// How the stream ends; responses before the end are passed over.
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

/// An incremental stream.
pub(crate) struct Delta {
    pub(crate) wire: Wire,
    introduced: bool,
    fences: usize,
}

impl Delta {
    pub(crate) async fn connect(server: &Server) -> Self {
        let wire = Wire::open(server, DELTA).await.unwrap();
        Self { wire, introduced: false, fences: 0 }
    }

    /// The first request of the stream says who asks.
    pub(crate) async fn send(&mut self, url: &str, mut request: DeltaDiscoveryRequest) {
        if !self.introduced {
            request.node = node();
            self.introduced = true;
        }
        request.type_url = url.into();
        self.wire.send(request.encode_to_vec()).await;
    }

    pub(crate) async fn subscribe(&mut self, url: &str, names: &[&str]) {
        let resource_names_subscribe = strings(names);
        self.send(url, DeltaDiscoveryRequest { resource_names_subscribe, ..Default::default() }).await;
    }

    pub(crate) async fn unsubscribe(&mut self, url: &str, names: &[&str]) {
        let resource_names_unsubscribe = strings(names);
        self.send(url, DeltaDiscoveryRequest { resource_names_unsubscribe, ..Default::default() }).await;
    }

    /// Comes back with what it holds from an earlier stream.
    pub(crate) async fn resume(&mut self, url: &str, names: &[&str], held: &[(&str, &str)]) {
        let held = held.iter().map(|(name, version)| (name.to_string(), version.to_string()));
        let request = DeltaDiscoveryRequest {
            resource_names_subscribe: strings(names),
            initial_resource_versions: held.collect::<HashMap<_, _>>(),
            ..Default::default()
        };
        self.send(url, request).await;
    }

    pub(crate) async fn next(&mut self) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse::decode(self.wire.next().await).unwrap()
    }

    /// The next response holds this: `a=1 b=2 -c`, in any order.
    pub(crate) async fn expect(&mut self, url: &str, content: &str) -> DeltaDiscoveryResponse {
        let response = self.next().await;
        assert_eq!((response.type_url.as_str(), delta_text(&response).as_str()), (url, content));
        response
    }

    /// The same, acknowledged.
    pub(crate) async fn take(&mut self, url: &str, content: &str) -> DeltaDiscoveryResponse {
        let response = self.expect(url, content).await;
        self.ack(&response).await;
        response
    }

    pub(crate) async fn ack(&mut self, response: &DeltaDiscoveryResponse) {
        let response_nonce = response.nonce.clone();
        let request = DeltaDiscoveryRequest { response_nonce, ..Default::default() };
        self.send(&response.type_url, request).await;
    }

    pub(crate) async fn nack(&mut self, response: &DeltaDiscoveryResponse) {
        let response_nonce = response.nonce.clone();
        let request = DeltaDiscoveryRequest { response_nonce, error_detail: error(), ..Default::default() };
        self.send(&response.type_url, request).await;
    }

    /// Nothing is sent that was not asked for: a question of another type is answered first, twice, because
    /// what is deleted goes after everything else.
    pub(crate) async fn quiet(&mut self) {
        for _ in 0..2 {
            self.fences += 1;
            let fence = fence(self.fences);
            self.subscribe(SDS, &[&fence]).await;
            self.take(SDS, &format!("{fence}=fence")).await;
        }
    }
}

/// A state-of-the-world stream. Like a real client it repeats its version with each request.
pub(crate) struct Sotw {
    pub(crate) wire: Wire,
    introduced: bool,
    names: HashMap<String, Vec<String>>,
    last: HashMap<String, (String, String)>,
    fences: usize,
}

impl Sotw {
    pub(crate) async fn connect(server: &Server) -> Self {
        let wire = Wire::open(server, SOTW).await.unwrap();
        Self { wire, introduced: false, names: HashMap::new(), last: HashMap::new(), fences: 0 }
    }

    pub(crate) async fn send(&mut self, url: &str, mut request: DiscoveryRequest) {
        if !self.introduced {
            request.node = node();
            self.introduced = true;
        }
        request.type_url = url.into();
        self.wire.send(request.encode_to_vec()).await;
    }

    /// From now on these are the names, with the nonce and version of the last response.
    pub(crate) async fn subscribe(&mut self, url: &str, names: &[&str]) {
        self.names.insert(url.into(), strings(names));
        let (version_info, response_nonce) = self.last.get(url).cloned().unwrap_or_default();
        let request = DiscoveryRequest {
            version_info,
            response_nonce,
            resource_names: strings(names),
            ..Default::default()
        };
        self.send(url, request).await;
    }

    pub(crate) async fn next(&mut self) -> DiscoveryResponse {
        DiscoveryResponse::decode(self.wire.next().await).unwrap()
    }

    /// The next response holds these bodies, in the order of their names.
    pub(crate) async fn expect(&mut self, url: &str, content: &str) -> DiscoveryResponse {
        let response = self.next().await;
        assert_eq!((response.type_url.as_str(), sotw_text(&response).as_str()), (url, content));
        response
    }

    /// The same, acknowledged.
    pub(crate) async fn take(&mut self, url: &str, content: &str) -> DiscoveryResponse {
        let response = self.expect(url, content).await;
        self.ack(&response).await;
        response
    }

    pub(crate) async fn ack(&mut self, response: &DiscoveryResponse) {
        let url = response.type_url.clone();
        let said = (response.version_info.clone(), response.nonce.clone());
        self.last.insert(url.clone(), said.clone());
        self.answer(&url, said, None).await;
    }

    pub(crate) async fn nack(&mut self, response: &DiscoveryResponse) {
        let url = response.type_url.clone();
        let held = self.last.get(&url).map(|(version, _)| version.clone()).unwrap_or_default();
        let said = (held, response.nonce.clone());
        self.last.insert(url.clone(), said.clone());
        self.answer(&url, said, error()).await;
    }

    async fn answer(&mut self, url: &str, said: (String, String), error_detail: Option<RpcStatus>) {
        let (version_info, response_nonce) = said;
        let resource_names = self.names.get(url).cloned().unwrap_or_default();
        let request = DiscoveryRequest {
            version_info,
            response_nonce,
            resource_names,
            error_detail,
            ..Default::default()
        };
        self.send(url, request).await;
    }

    /// As for [`Delta::quiet`].
    pub(crate) async fn quiet(&mut self) {
        for _ in 0..2 {
            self.fences += 1;
            self.subscribe(SDS, &[&fence(self.fences)]).await;
            self.take(SDS, "fence").await;
        }
    }
}

/// `a=1 b=2 -c`
pub(crate) fn delta_text(response: &DeltaDiscoveryResponse) -> String {
    let resources = response.resources.iter().map(|resource| {
        let any = resource.resource.as_ref().expect("a resource has a body");
        assert_eq!(any.type_url, response.type_url, "a response holds one type");
        format!("{}={}", resource.name, String::from_utf8_lossy(&any.value))
    });
    let mut parts: Vec<_> = resources.collect();
    parts.sort();
    let mut removed: Vec<_> = response.removed_resources.iter().map(|name| format!("-{name}")).collect();
    removed.sort();
    parts.extend(removed);
    parts.join(" ")
}

/// `1 2`: the bodies.
pub(crate) fn sotw_text(response: &DiscoveryResponse) -> String {
    let bodies = response.resources.iter().map(|any| {
        assert_eq!(any.type_url, response.type_url, "a response holds one type");
        String::from_utf8_lossy(&any.value).into_owned()
    });
    bodies.collect::<Vec<_>>().join(" ")
}
