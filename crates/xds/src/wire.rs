//! The ADS service as tonic sees it.
//!
//! The generated service would copy every resource into every response: its messages own
//! their bytes. The responses here hold shared resources instead, and write what is around them
//! when they are sent, so that 1,000 streams share one encoded resource. Requests are the
//! generated ones. No protocol is decided here.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::encoding::{DecodeContext, WireType, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstDecoder;

use crate::protocol::{Machine, Outgoing, Reaction, Refusal};
use crate::resource::{Resource, field_len};
use crate::server::Shared;
use crate::session;
use crate::status::Transport;

/// Responses that are made but not yet taken by the connection, per stream.
const MAX_QUEUED_RESPONSES: usize = 1;

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`
#[derive(Debug, Default)]
pub(crate) struct DeltaResponse {
    resources: Vec<Arc<Resource>>,
    rest: DeltaRest,
}

/// All of it but the resources.
#[derive(Clone, PartialEq, prost::Message)]
struct DeltaRest {
    #[prost(string, tag = "1")]
    system_version_info: String,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(string, repeated, tag = "6")]
    removed_resources: Vec<String>,
    #[prost(message, optional, tag = "7")]
    control_plane: Option<ControlPlane>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`
#[derive(Debug, Default)]
pub(crate) struct SotwResponse {
    resources: Vec<Arc<Resource>>,
    rest: SotwRest,
}

/// All of it but the resources.
#[derive(Clone, PartialEq, prost::Message)]
struct SotwRest {
    #[prost(string, tag = "1")]
    version_info: String,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(message, optional, tag = "6")]
    control_plane: Option<ControlPlane>,
}

/// Both have their resources in field 2.
const RESOURCES: u32 = 2;

impl prost::Message for DeltaResponse {
    fn encode_raw(&self, out: &mut impl BufMut) {
        for resource in &self.resources {
            encode_key(RESOURCES, WireType::LengthDelimited, out);
            encode_varint(resource.delta_len() as u64, out);
            resource.put_delta(out);
        }
        self.rest.encode_raw(out);
    }

    fn encoded_len(&self) -> usize {
        let resources = self.resources.iter().map(|resource| field_len(resource.delta_len()));
        resources.sum::<usize>() + self.rest.encoded_len()
    }

    /// It is only ever written.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl prost::Message for SotwResponse {
    fn encode_raw(&self, out: &mut impl BufMut) {
        for resource in &self.resources {
            encode_key(RESOURCES, WireType::LengthDelimited, out);
            encode_varint(resource.any_len() as u64, out);
            resource.put_any(out);
        }
        self.rest.encode_raw(out);
    }

    fn encoded_len(&self) -> usize {
        let resources = self.resources.iter().map(|resource| field_len(resource.any_len()));
        resources.sum::<usize>() + self.rest.encoded_len()
    }

    /// It is only ever written.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// `envoy.config.core.v3.ControlPlane`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ControlPlane {
    #[prost(string, tag = "1")]
    identifier: String,
}

impl ControlPlane {
    fn new(identifier: &str) -> Option<Self> {
        (!identifier.is_empty()).then(|| Self { identifier: identifier.to_owned() })
    }
}

/// One of the two variants of the protocol.
pub(crate) trait Variant: Send + 'static {
    const TRANSPORT: Transport;
    type Request: prost::Message + Default + 'static;
    type Response: prost::Message + Default + 'static;

    fn take_node(request: &mut Self::Request) -> Option<Node>;
    fn on_request(
        machine: &mut Machine,
        request: Self::Request,
        now_ms: u64,
    ) -> Result<Option<Reaction>, Refusal>;
    fn response(outgoing: Outgoing, identifier: &str) -> Self::Response;
}

pub(crate) struct Delta;

impl Variant for Delta {
    const TRANSPORT: Transport = Transport::Delta;
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaResponse;

    fn take_node(request: &mut Self::Request) -> Option<Node> {
        request.node.take()
    }

    fn on_request(
        machine: &mut Machine,
        request: Self::Request,
        now_ms: u64,
    ) -> Result<Option<Reaction>, Refusal> {
        machine.on_delta(request, now_ms)
    }

    fn response(outgoing: Outgoing, identifier: &str) -> DeltaResponse {
        let rest = DeltaRest {
            system_version_info: outgoing.version,
            type_url: outgoing.kind.type_url().to_owned(),
            nonce: outgoing.nonce,
            removed_resources: outgoing.removed.iter().map(ToString::to_string).collect(),
            control_plane: ControlPlane::new(identifier),
        };
        DeltaResponse { resources: outgoing.resources, rest }
    }
}

pub(crate) struct Sotw;

impl Variant for Sotw {
    const TRANSPORT: Transport = Transport::Sotw;
    type Request = DiscoveryRequest;
    type Response = SotwResponse;

    fn take_node(request: &mut Self::Request) -> Option<Node> {
        request.node.take()
    }

    fn on_request(
        machine: &mut Machine,
        request: Self::Request,
        now_ms: u64,
    ) -> Result<Option<Reaction>, Refusal> {
        machine.on_sotw(request, now_ms)
    }

    fn response(outgoing: Outgoing, identifier: &str) -> SotwResponse {
        let rest = SotwRest {
            version_info: outgoing.version,
            type_url: outgoing.kind.type_url().to_owned(),
            nonce: outgoing.nonce,
            control_plane: ControlPlane::new(identifier),
        };
        SotwResponse { resources: outgoing.resources, rest }
    }
}

/// Makes room for a response before it is written. A buffer that grows by doubling would be twice as large as all clusters
/// of a fleet, and the connection keeps it.
struct ExactCodec<V>(PhantomData<V>);

struct ExactEncoder<V>(PhantomData<V>);

impl<V: Variant> Codec for ExactCodec<V> {
    type Encode = V::Response;
    type Decode = V::Request;
    type Encoder = ExactEncoder<V>;
    type Decoder = ProstDecoder<V::Request>;

    fn encoder(&mut self) -> Self::Encoder {
        ExactEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl<V: Variant> Encoder for ExactEncoder<V> {
    type Item = V::Response;
    type Error = Status;

    fn encode(&mut self, item: V::Response, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.encoded_len());
        item.encode_raw(out);
        Ok(())
    }
}

/// The gRPC service `envoy.service.discovery.v3.AggregatedDiscoveryService`, for a tonic router.
#[derive(Clone, Debug)]
pub struct AdsService {
    shared: Arc<Shared>,
}

impl AdsService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn stream<V: Variant>(self, request: http::Request<Body>) -> http::Response<Body> {
        let codec = ExactCodec::<V>(PhantomData);
        let max_request_bytes = self.shared.options.max_request_bytes;
        let mut grpc = Grpc::new(codec).max_decoding_message_size(max_request_bytes);
        grpc.streaming(Method::<V>(self.shared, PhantomData), request).await
    }
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<http::Request<Body>> for AdsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path().rsplit('/').next() {
                Some("DeltaAggregatedResources") => service.stream::<Delta>(request).await,
                Some("StreamAggregatedResources") => service.stream::<Sotw>(request).await,
                _ => Status::unimplemented("ADS has no such method").into_http(),
            })
        })
    }
}

struct Method<V>(Arc<Shared>, PhantomData<V>);

impl<V: Variant> StreamingService<V::Request> for Method<V> {
    type Response = V::Response;
    type ResponseStream = ReceiverStream<Result<V::Response, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<V::Request>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let slot = shared.stream_slot()?;
            let (out, responses) = mpsc::channel(MAX_QUEUED_RESPONSES);
            let caller = request.extensions().get().cloned();
            tokio::spawn(session::run::<V>(shared, slot, caller, request.into_inner(), out));
            Ok(Response::new(ReceiverStream::new(responses)))
        })
    }
}
