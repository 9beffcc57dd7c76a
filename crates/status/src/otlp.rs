//! Sends traces to a collector, by OTLP over gRPC. Nothing waits for it: what cannot be sent is dropped and counted.

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
    time::Duration,
};
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

/// A collector answers within so long.
const LIMIT: Duration = Duration::from_secs(5);
/// So often a batch is tried, [`PAUSE`] apart.
const TRIES: u32 = 3;
/// See [`TRIES`].
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no collector.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no address of a collector\n  hint: http://HOST:4317; a collector on this machine passes spans on by TLS"
)]
pub struct OtlpError(String);

/// Where a collector is.
pub type Collector = Endpoint;

/// Reads the address of a collector.
///
/// # Errors
/// If it is no absolute `http` address.
pub fn parse_collector(text: &str) -> Result<Collector, OtlpError> {
    let endpoint: Collector = text.parse().map_err(|_| OtlpError(text.to_owned()))?;
    let whole =
        endpoint.uri().scheme_str() == Some("http") && endpoint.uri().host().is_some_and(|it| !it.is_empty());
    if whole { Ok(endpoint.timeout(LIMIT).connect_timeout(LIMIT)) } else { Err(OtlpError(text.to_owned())) }
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// The rows for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> String {
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

/// The way to a collector.
#[derive(Debug)]
pub struct Sender {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    counts: Arc<Counts>,
    /// Whether the last batch was dropped: of many that are, one is logged.
    failing: bool,
}

/// The longest text of an attribute, in bytes.
const MAX_TEXT: usize = 1_024;

/// An attribute of a span.
#[must_use]
pub fn text(key: &str, value: &str) -> KeyValue {
    let mut end = value.len().min(MAX_TEXT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let value = AnyValue { value: Some(Value::StringValue(value[..end].to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

impl Sender {
    /// To `collector`, in the name of what these attributes describe.
    #[must_use]
    pub fn new(collector: &Collector, attributes: Vec<KeyValue>) -> Self {
        Self {
            client: TraceServiceClient::new(collector.connect_lazy()),
            resource: Resource { attributes, ..Resource::default() },
            counts: Arc::default(),
            failing: false,
        }
    }

    /// What became of spans.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Sends them, or drops them after some tries.
    pub async fn send(&mut self, spans: Vec<Span>) {
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
