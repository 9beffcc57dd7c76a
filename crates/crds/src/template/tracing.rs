//! Where the spans of requests go, of how many requests, and what they say.

use crate::text::{HEADER_NAME, Reached, texts};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The traces of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// What takes the spans, as OTLP over gRPC. Without one, here or in the template of the class, nothing is traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collector: Option<Collector>,
    /// Of how many requests, in percent, 0 to 100. Default: 1.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_percentage: Option<f64>,
    /// Who the spans are of. Default: NAMESPACE/NAME of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<SpanWord>,
    /// Attributes of the spans.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = kube::core::Rule::new("self.all(a, self.exists_one(b, a.name == b.name))").message("a tag is listed twice: remove one"))]
    pub tags: Option<Vec<TraceTag>>,
}

/// What takes spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Collector {
    /// Its IP address or host name.
    pub address: Reached,
    /// Its port. Default: 4317.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// An attribute of a span: a text, or what the request says in a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.literal) != has(self.header)").message("a tag has either literal or header: write literal: TEXT, or header: NAME for what the request says"),
    validation = kube::core::Rule::new("!(has(self.literal) && has(self.default))").message("a literal needs no default: remove it")
)]
pub struct TraceTag {
    /// The attribute's name.
    pub name: SpanWord,
    /// What it always says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literal: Option<SpanText>,
    /// The header of the request whose value it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<TraceHeader>,
    /// For requests without that header. Default: they have no such attribute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<SpanText>,
}

texts! {
    /// A name within spans.
    SpanWord: {"type": "string", "minLength": 1, "maxLength": 256},
    /// What an attribute says.
    SpanText: {"type": "string", "minLength": 1, "maxLength": 4096},
    /// The name of any header.
    TraceHeader: {"type": "string", "minLength": 1, "maxLength": 256, "pattern": HEADER_NAME},
}
