//! The metrics service: takes in the counters of clients that send them (Envoy's stats sink of this name), and hands each
//! flush on as an event. It knows no counter's meaning, and passes gauges and histograms over.
//!
//! The generated messages are not used: an Envoy with ten thousand clusters sends some forty thousand metrics every second,
//! most of them gauges, and as generated messages they took 105 MB for a moment. What is read here lies in the received
//! bytes, and what is no counter is dropped as soon as it was seen.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsResponse;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use envoy_types::pb::io::prometheus::client::MetricType;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};

use crate::Caller;
use crate::server::Shared;
use crate::status::{CounterReport, XdsEvent};

/// The gRPC service `envoy.service.metrics.v3.MetricsService`.
#[derive(Clone, Debug)]
pub struct MetricsService {
    shared: Arc<Shared>,
}

impl MetricsService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl NamedService for MetricsService {
    const NAME: &'static str = "envoy.service.metrics.v3.MetricsService";
}

impl Service<http::Request<Body>> for MetricsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            if request.uri().path().rsplit('/').next() != Some("StreamMetrics") {
                return Ok(Status::unimplemented("the metrics service has no such method").into_http());
            }
            let codec = tonic_prost::ProstCodec::<StreamMetricsResponse, Flush>::default();
            let limit = shared.options.max_report_bytes;
            let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
            Ok(grpc.client_streaming(Method(shared), request).await)
        })
    }
}

struct Method(Arc<Shared>);

impl ClientStreamingService<Flush> for Method {
    type Response = StreamMetricsResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Streaming<Flush>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let _slot = shared.metrics_slot()?;
            let caller = request.extensions().get().cloned();
            let mut inbound = request.into_inner();
            tokio::select! {
                end = read(&shared, caller, &mut inbound) => end?,
                () = shared.shutdown.cancelled() => {
                    return Err(Status::unavailable("the xDS server shuts down"));
                }
            }
            Ok(Response::new(StreamMetricsResponse {}))
        })
    }
}

async fn read(shared: &Shared, caller: Option<Caller>, inbound: &mut Streaming<Flush>) -> Result<(), Status> {
    let Ok(Some(mut flush)) = inbound.message().await else { return Ok(()) };
    let (node, _) = shared.admit(flush.identifier.take().and_then(|it| it.node), caller)?;
    loop {
        let Flush { at_ms, counters, .. } = flush;
        shared.emit(XdsEvent::Counters(CounterReport { node: Arc::clone(&node), at_ms, counters }));
        match inbound.message().await {
            Ok(Some(next)) => flush = next,
            _ => return Ok(()),
        }
    }
}

/// What is read of a `StreamMetricsMessage`: who sends it, and its counters.
#[derive(Debug, Default)]
struct Flush {
    identifier: Option<Identifier>,
    /// The first time that a metric bears, in milliseconds since 1970; 0 without any.
    at_ms: u64,
    counters: Vec<(String, u64)>,
}

impl Flush {
    fn take(&mut self, family: Bytes) -> Result<(), DecodeError> {
        let Family { name, kind, metrics } = prost::Message::decode(family)?;
        if self.at_ms == 0 {
            let at = metrics.iter().find_map(|it| it.timestamp_ms);
            self.at_ms = at.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
        }
        // A family whose type is not written is one of counters, the first type there is.
        if kind.unwrap_or_default() != i32::from(MetricType::Counter) {
            return Ok(());
        }
        let value = metrics.first().and_then(|it| it.counter.as_ref()).map(|it| it.value.unwrap_or_default());
        if let (Some(value), Ok(name)) = (value, std::str::from_utf8(&name)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
            self.counters.push((name.to_owned(), value as u64));
        }
        Ok(())
    }
}

impl prost::Message for Flush {
    /// It is only ever read.
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn encoded_len(&self) -> usize {
        0
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge(wire_type, self.identifier.get_or_insert_default(), buf, ctx),
            2 => {
                let mut family = Bytes::new();
                prost::encoding::bytes::merge(wire_type, &mut family, buf, ctx)?;
                self.take(family)
            }
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What is read of an `io.prometheus.client.MetricFamily`.
#[derive(Clone, PartialEq, prost::Message)]
struct Family {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Counter {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
    use envoy_types::pb::io::prometheus::client::{
        Counter as WireCounter, Gauge, Metric as WireMetric, MetricFamily,
    };
    use prost::Message as _;

    fn family(name: &str, kind: MetricType, metric: WireMetric) -> MetricFamily {
        MetricFamily {
            name: Some(name.to_owned()),
            r#type: Some(kind.into()),
            metric: vec![metric],
            ..MetricFamily::default()
        }
    }

    fn counter(value: Option<f64>, timestamp_ms: Option<i64>) -> WireMetric {
        WireMetric {
            counter: Some(WireCounter { value, ..WireCounter::default() }),
            timestamp_ms,
            ..WireMetric::default()
        }
    }

    #[test]
    fn counters_are_read_and_gauges_passed_over() {
        let gauge = WireMetric {
            gauge: Some(Gauge { value: Some(3.0) }),
            timestamp_ms: Some(7),
            ..WireMetric::default()
        };
        let node = Node { id: "edge".to_owned(), ..Node::default() };
        let sent = StreamMetricsMessage {
            identifier: Some(Identifier { node: Some(node) }),
            envoy_metrics: vec![
                family("healthy", MetricType::Gauge, gauge),
                family("requests", MetricType::Counter, counter(Some(12.0), Some(8))),
                family("none", MetricType::Counter, counter(None, None)),
                // Envoy sends deltas only if it is asked to; nothing counts below zero.
                family("odd", MetricType::Counter, counter(Some(-1.0), None)),
                family("empty", MetricType::Counter, WireMetric::default()),
            ],
        };
        let read = Flush::decode(Bytes::from(sent.encode_to_vec())).unwrap();
        assert_eq!(read.identifier.and_then(|it| it.node).unwrap().id, "edge");
        assert_eq!(read.at_ms, 7);
        let expected =
            [("requests", 12), ("none", 0), ("odd", 0)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(read.counters, expected);
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let sent =
            StreamMetricsMessage { envoy_metrics: vec![MetricFamily::default()], ..Default::default() };
        let mut bytes = sent.encode_to_vec();
        assert!(Flush::decode(Bytes::from(bytes.clone())).unwrap().counters.is_empty());
        // A family that is longer than what is left.
        bytes[1] = 9;
        assert!(Flush::decode(Bytes::from(bytes)).is_err());
        // A family that is none: its first field has a wire type that does not exist.
        assert!(Flush::decode(Bytes::from_static(&[0x12, 1, 0x0f])).is_err());
    }
}
