//! Sends traces of what the agent does to a collector, by OTLP over gRPC. Nothing waits for it: what cannot be sent is dropped and counted.

use crate::{shell::wall_clock, spans::Spans, timeline::Timeline};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tidegate_model::ClusterName;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// How often it is looked whether traces are whole.
const LOOK: Duration = Duration::from_millis(500);
/// So much of the timeline is looked at in one turn; the rest is looked at in the next.
const RECORDS: usize = 2_000;
/// A collector answers within so long.
const LIMIT: Duration = Duration::from_secs(5);
/// So often a batch is tried, [`PAUSE`] apart.
const TRIES: u32 = 3;
/// See [`TRIES`].
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no collector.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address of a collector\n  hint: http://HOST:4317; a collector beside the agent passes spans on by TLS"
)]
pub struct OtlpError(String);

/// Reads the address of a collector.
///
/// # Errors
/// If it is no absolute `http` address.
pub fn parse_collector(text: &str) -> Result<Endpoint, OtlpError> {
    let endpoint: Endpoint = text.parse().map_err(|_| OtlpError(text.to_owned()))?;
    let whole =
        endpoint.uri().scheme_str() == Some("http") && endpoint.uri().host().is_some_and(|it| !it.is_empty());
    if whole { Ok(endpoint.timeout(LIMIT).connect_timeout(LIMIT)) } else { Err(OtlpError(text.to_owned())) }
}

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// The rows for `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        let mut text = "# HELP tidegate_otlp_spans_total Spans for the collector: taken by it, or dropped.\n\
                        # TYPE tidegate_otlp_spans_total counter\n"
            .to_owned();
        for (result, count) in [("sent", &self.sent), ("dropped", &self.dropped)] {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "tidegate_otlp_spans_total{{result=\"{result}\"}} {}",
                count.load(Ordering::Relaxed)
            );
        }
        text
    }
}

/// Begins to send, until `stop`.
pub(crate) fn start(
    collector: &Endpoint,
    (cluster, boot): (ClusterName, u64),
    timeline: Arc<Timeline>,
    stop: CancellationToken,
) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let attribute = |key: &str, value: String| {
        let value = AnyValue { value: Some(Value::StringValue(value)) };
        KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
    };
    let attributes = vec![
        attribute("service.name", "tidegate-agent".to_owned()),
        attribute("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        attribute("service.instance.id", format!("{cluster}/{boot:016x}")),
        attribute("tidegate.cluster", cluster.to_string()),
    ];
    let mut sender = Sender {
        client: TraceServiceClient::new(collector.connect_lazy()),
        resource: Resource { attributes, ..Resource::default() },
        counts: Arc::clone(&counts),
        failing: false,
    };
    let mut spans = Spans::new(boot);
    tokio::spawn(async move {
        let mut seen = timeline.last();
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            for record in timeline.after(seen, RECORDS) {
                seen = record.seq;
                spans.take(record);
            }
            let now = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
            let whole = spans.whole(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
            if !whole.is_empty() && stop.run_until_cancelled(sender.send(whole)).await.is_none() {
                break;
            }
        }
    });
    counts
}

struct Sender {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    counts: Arc<Counts>,
    /// Whether the last batch was dropped: of many that are, one is logged.
    failing: bool,
}

impl Sender {
    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let scope = InstrumentationScope { name: "tidegate".to_owned(), ..InstrumentationScope::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let all =
            ResourceSpans { resource: Some(self.resource.clone()), scope_spans, schema_url: String::new() };
        let request = ExportTraceServiceRequest { resource_spans: vec![all] };
        let mut tries = 1;
        loop {
            match self.client.export(request.clone()).await {
                Ok(_) => {
                    self.counts.sent.fetch_add(count, Ordering::Relaxed);
                    self.failing = false;
                    return;
                }
                Err(_) if tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                Err(status) => {
                    self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(why = %status.message(), "the collector does not take spans; they are dropped, and further losses are not logged");
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_reached_by_plain_http() {
        assert!(parse_collector("http://127.0.0.1:4317").is_ok());
        for bad in ["", "collector:4317", "https://collector:4317", "http://"] {
            assert!(
                parse_collector(bad).unwrap_err().to_string().contains("hint: http://HOST:4317"),
                "{bad}"
            );
        }
    }
}
