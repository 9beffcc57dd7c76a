//! What a `GatewayTemplate` says, as gateways take it. What is absent is Tidegate's own default.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidegate_model::Fraction;

/// What goes to an Envoy with its listeners, at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerOptions {
    /// What one connection may have waiting for one side, in KiB.
    pub buffer_kib: Option<u32>,
    /// Connections at a time; of a listener that ends TLS, for each of its certificates.
    pub max_connections: Option<u32>,
    /// How long a connection may be without a request.
    pub connection_idle: Option<Duration>,
    /// How long the headers of a request may take.
    pub request_headers: Option<Duration>,
    /// How long nothing may move in a request or its answer.
    pub stream_idle: Option<Duration>,
    /// How old a connection may become.
    pub max_connection_duration: Option<Duration>,
    /// How long the headers of a request may be, in KiB.
    pub max_request_headers_kib: Option<u32>,
    /// Requests at a time in one connection of HTTP/2.
    pub max_concurrent_streams: Option<u32>,
    /// How many proxies before this one write `x-forwarded-for` and are believed.
    pub trusted_hops: Option<u32>,
    /// The oldest TLS that is spoken where it ends.
    pub tls_min: Option<TlsVersion>,
    /// The newest.
    pub tls_max: Option<TlsVersion>,
    /// The suites of TLS 1.2, by the names that Envoy has for them.
    pub cipher_suites: Option<Vec<String>>,
    /// Spans of the requests; `None` makes none.
    pub tracing: Option<Tracing>,
}

/// Which requests leave spans, and where those go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// Who takes them.
    pub collector: Collector,
    /// Of how many requests.
    pub sampling: Fraction,
    /// Who they are of; `None` is the gateway's name.
    pub service_name: Option<String>,
    /// Whether a request of which a caller decided (W3C `traceparent`) is as it decided: not where clients come from outside.
    pub follows_callers: bool,
    /// What they say besides what Envoy tells of every request; each name once.
    pub tags: Vec<TraceTag>,
}

impl Tracing {
    /// One request of a hundred: what Istio takes. A gateway has many, and what each does is seen in few.
    // The bound of a fraction is a million.
    pub const DEFAULT_SAMPLING: Fraction = match Fraction::from_ppm(10_000) {
        Ok(fraction) => fraction,
        Err(_) => Fraction::ZERO,
    };
}

/// What takes spans: OTLP over gRPC, without TLS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collector {
    /// An IP address, or a name that gateways look up.
    pub host: String,
    /// TCP.
    pub port: u16,
}

/// An attribute of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TraceTag {
    /// The same in all.
    Literal {
        /// Of the attribute.
        name: String,
        /// What it says.
        value: String,
    },
    /// What a header of the request says.
    Header {
        /// Of the attribute.
        name: String,
        /// Of the header, in lower case.
        header: String,
        /// For a request without it; `None` leaves the attribute out.
        default: Option<String>,
    },
}

/// What an Envoy is started with: it takes effect with its next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessOptions {
    /// Worker threads.
    pub concurrency: Option<u32>,
    /// Connections from clients, all listeners together.
    pub max_connections: Option<u32>,
    /// Heap in MiB.
    pub max_heap_mib: Option<u32>,
    /// How long a listener that goes drains.
    pub drain_time: Option<Duration>,
    /// How.
    pub drain_strategy: Option<DrainStrategy>,
    /// What is added to the file that it starts with.
    pub bootstrap: Option<serde_json::Value>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// How connections of a listener that drains are told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DrainStrategy {
    /// More and more of them as the time passes.
    Gradual,
    /// All, with their next request.
    Immediate,
}
