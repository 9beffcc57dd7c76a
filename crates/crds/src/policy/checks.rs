//! `healthCheck`: what is asked of endpoints, and when one that answers is too slow or fails.

use crate::text::{File, HeaderName, HeaderValue, Host, Line, MIN, MS, Path, S, Span};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked of endpoints, and when one that answers is too slow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What the agents of a cluster ask its endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Active>,
    /// What speaks against an endpoint beside its checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive: Option<Passive>,
}

/// What the agents of a cluster ask its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.type) || !(has(self.path) || has(self.host) || has(self.method) || has(self.headers) || has(self.expectedStatuses) || has(self.expectedBody) || has(self.service) || has(self.tls))").message("these fields need a type beside them: HTTP, HTTP2, GRPC, TCP, TLS or None"),
    validation = kube::core::Rule::new("!has(self.type) || self.type in ['HTTP', 'HTTP2'] || !(has(self.path) || has(self.method) || has(self.headers) || has(self.expectedStatuses) || has(self.expectedBody))").message("path, method, headers, expectedStatuses and expectedBody belong to checks of type HTTP, HTTP2"),
    validation = kube::core::Rule::new("!has(self.type) || self.type in ['HTTP', 'HTTP2', 'GRPC'] || !has(self.host)").message("host belongs to checks of type HTTP, HTTP2, GRPC"),
    validation = kube::core::Rule::new("!has(self.type) || self.type == 'GRPC' || !has(self.service)").message("service belongs to checks of type GRPC"),
    validation = kube::core::Rule::new("!has(self.type) || self.type in ['HTTP', 'HTTP2', 'GRPC', 'TLS'] || !has(self.tls)").message("tls belongs to checks of type HTTP, HTTP2, GRPC, TLS"),
    validation = kube::core::Rule::new("!has(self.type) || self.type != 'TLS' || has(self.tls)").message("a check of type TLS needs tls: say whom to trust"),
    validation = kube::core::Rule::new("!has(self.method) || self.method != 'HEAD' || !has(self.expectedBody)").message("an answer to HEAD has no body, so none can be expected")
)]
pub struct Active {
    /// What is asked. None: nothing, readiness alone counts. Default: TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<CheckType>,
    /// HTTP: the path. Default: /.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// HTTP, gRPC: the host, perhaps with a port. Default: the endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// HTTP: the method. Default: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// HTTP: more headers of the request.
    #[schemars(length(max = 20))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<Header>>,
    /// HTTP: the statuses that are good. Default: 200 to 299.
    #[schemars(length(min = 1, max = 20))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_statuses: Option<Vec<Statuses>>,
    /// HTTP: what the answer holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_body: Option<Body>,
    /// gRPC: the service that is asked for. Default: the server as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Line>,
    /// The check goes through TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<CheckTls>,
    /// How often, 10ms to 10m. Default: 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span<{ 10 * MS }, { 10 * MIN }>>,
    /// How long an answer may take, 10ms to 10m. Default: 500ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span<{ 10 * MS }, { 10 * MIN }>>,
    /// After so many failures in a row an endpoint is down; the check after a first failure comes at once. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<u32>,
    /// After so many good answers in a row it is up again. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<u32>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
pub enum CheckType {
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "HTTP2")]
    Http2,
    #[serde(rename = "GRPC")]
    Grpc,
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "TLS")]
    Tls,
    None,
}

/// The method of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they are words, and named for what they are")]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Options,
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

/// A range of statuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("self.start <= self.end").message("the range of statuses is empty: start must not be above end"))]
pub struct Statuses {
    /// The first status.
    #[schemars(range(min = 100, max = 599))]
    pub start: u32,
    /// The last status, itself included.
    #[schemars(range(min = 100, max = 599))]
    pub end: u32,
}

/// What an answer holds; case matters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.contains) != has(self.startsWith)").message("expectedBody must have one of contains and startsWith"))]
pub struct Body {
    /// This text, somewhere.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// This text, at its start.
    #[schemars(length(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_with: Option<String>,
}

/// TLS of a check: whom to trust, and who one is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.caFile) != (has(self.insecureSkipVerify) && self.insecureSkipVerify)").message("tls must have one of caFile and insecureSkipVerify: true"),
    validation = kube::core::Rule::new("has(self.certificateFile) == has(self.keyFile)").message("a client certificate is both certificateFile and keyFile")
)]
pub struct CheckTls {
    /// The name that is asked for and expected. Default: the endpoint's address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^([a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}$"))]
    #[x_kube(validation = kube::core::Rule::new("!isIP(self)").message("must be a host name, not an address"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whom to trust: a PEM file on the machine (in the pod) of each agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<File>,
    /// The chain of a client certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<File>,
    /// Its private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<File>,
    /// Any certificate will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// What speaks against an endpoint beside its checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Passive {
    /// An endpoint whose checks are far slower than its siblings' is taken out. On when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// An endpoint at which requests fail is taken out, by what all gateways of the cluster see. On when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Errors>,
}

/// When an endpoint is far slower than its siblings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// False switches it off. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// So many times the siblings' median is slow, 1.1 to 100. Default: 3.
    // The API compares whole numbers with a bound's whole part, so the rule says it again.
    #[schemars(range(min = 1.1, max = 100))]
    #[x_kube(validation = kube::core::Rule::new("self >= 1.1").message("must be a number from 1.1 to 100"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// And by so much above it, 1ms to 60s. Default: 50ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_difference: Option<Span<MS, MIN>>,
    /// So many percent of a pool are taken out at most, 1 to 49: at half of them nobody could say which half is right. Default: 25.
    #[schemars(range(min = 1, max = 49))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
    /// With fewer siblings nobody is judged, 3 to 1000. Default: 4.
    #[schemars(range(min = 3, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_siblings: Option<u32>,
    /// After so many slow checks in a row, 1 to 100. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
}

/// When requests speak against an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    /// False switches it off. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// So many percent of the requests failed, 1 to 100. Default: 50.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<u32>,
    /// Of at least so many, 1 to 1000000. Default: 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_requests: Option<u32>,
    /// Within this time, 1s to 60s. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Span<S, MIN>>,
    /// It is taken out for so long, 1s to 5m. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Span<S, { 5 * MIN }>>,
    /// So many percent of a pool are taken out at most, 1 to 100. Default: 50.
    #[schemars(range(min = 1, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
}
