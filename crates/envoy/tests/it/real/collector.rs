//! What takes spans: as much of OTLP over gRPC as a test needs (`TraceService/Export`).

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::HeaderValue,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// What precedes a message of gRPC: whether it is compressed, and its length.
const FRAME_HEAD: usize = 5;

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// A span as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    /// In hexadecimal.
    pub(crate) trace_id: String,
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

pub(crate) struct Collecting {
    pub(crate) address: SocketAddr,
    pub(crate) spans: mpsc::UnboundedReceiver<Span>,
    server: JoinHandle<()>,
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collecting {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (found, spans) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let found = found.clone();
                let service = service_fn(move |request| export(request, found.clone()));
                let connection = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, spans, server }
    }
}

async fn export(
    request: Request<Incoming>,
    found: mpsc::UnboundedSender<Span>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    for resource in Export::decode(&body[FRAME_HEAD..]).unwrap().resource_spans {
        let service = texts(resource.resource.unwrap_or_default().attributes).remove("service.name");
        let service = service.unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let span = Span {
                service: service.clone(),
                trace_id: hex(&span.trace_id),
                parent: hex(&span.parent_span_id),
                attributes: texts(span.attributes),
            };
            let _ = found.send(span);
        }
    }
    let done = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from_static(&[0; FRAME_HEAD])).with_trailers(async { Some(Ok(done)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |it: KeyValue| Some((it.key, it.value?.string_value?));
    attributes.into_iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
