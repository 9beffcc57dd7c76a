//! The metrics service: takes in the counters of clients that send them (Envoy's stats sink of this name), and hands each
//! flush on as an event. It knows no counter's meaning, and passes gauges and histograms over.

use std::sync::Arc;

use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::MetricsService as Service;
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use envoy_types::pb::io::prometheus::client::{MetricFamily, MetricType};
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

#[tonic::async_trait]
impl Service for MetricsService {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let _slot = self.shared.metrics_slot()?;
        let caller = request.extensions().get().cloned();
        let mut inbound = request.into_inner();
        tokio::select! {
            end = read(&self.shared, caller, &mut inbound) => end?,
            () = self.shared.shutdown.cancelled() => {
                return Err(Status::unavailable("the xDS server shuts down"));
            }
        }
        Ok(Response::new(StreamMetricsResponse {}))
    }
}

async fn read(
    shared: &Shared,
    caller: Option<Caller>,
    inbound: &mut Streaming<StreamMetricsMessage>,
) -> Result<(), Status> {
    let Ok(Some(mut message)) = inbound.message().await else { return Ok(()) };
    let (node, _) = shared.admit(message.identifier.take().and_then(|it| it.node), caller)?;
    loop {
        let at_ms = message.envoy_metrics.iter().flat_map(|it| &it.metric).find_map(|it| it.timestamp_ms);
        let counters = message.envoy_metrics.into_iter().filter_map(counter).collect();
        let at_ms = at_ms.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
        shared.emit(XdsEvent::Counters(CounterReport { node: Arc::clone(&node), at_ms, counters }));
        match inbound.message().await {
            Ok(Some(next)) => message = next,
            _ => return Ok(()),
        }
    }
}

fn counter(family: MetricFamily) -> Option<(String, u64)> {
    if family.r#type() != MetricType::Counter {
        return None;
    }
    let value = family.metric.first()?.counter.as_ref()?.value();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    Some((family.name?, value as u64))
}
