//! How endpoints are checked, as the configuration in force says it.

use serde::{Deserialize, Serialize};
use std::{ops::RangeInclusive, time::Duration};

/// An active check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// Whether it is asked over TLS.
    #[serde(default)]
    pub tls: Option<TlsCheck>,
    /// From one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many failures in a row take an endpoint down.
    pub unhealthy_threshold: u32,
    /// So many successes in a row bring it back.
    pub healthy_threshold: u32,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckKind {
    /// An HTTP request.
    Http {
        /// HTTP/1.1 or HTTP/2.
        #[serde(default)]
        version: HttpVersion,
        /// The method.
        #[serde(default)]
        method: HttpMethod,
        /// The path.
        path: String,
        /// The `Host` header; the endpoint's address when absent.
        host: Option<String>,
        /// More headers, by their names in lower case.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Statuses that count as healthy.
        expected_statuses: Vec<RangeInclusive<u16>>,
        /// What the body must hold.
        #[serde(default)]
        expected_body: Option<ExpectedBody>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked about; empty means the server as a whole.
        service: String,
        /// The `:authority`; the endpoint's address when absent.
        host: Option<String>,
    },
    /// A TCP connection; with TLS, a handshake.
    Tcp,
}

/// The version of HTTP that a check speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS.
    Http2,
}

/// The method of a check's request: those that change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpMethod {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`.
    Head,
    /// `OPTIONS`.
    Options,
}

/// What a body must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExpectedBody {
    /// This text, anywhere.
    Contains(String),
    /// This text, at its beginning.
    StartsWith(String),
}

/// How a server is known, and how the agent is known to it. Files lie on the agent's machine and are in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsCheck {
    /// The name that is sent and that the certificate must bear; absent, the check's host, and else the endpoint's address.
    pub server_name: Option<String>,
    /// The file with the authorities that are trusted; `None` takes any certificate.
    pub authorities: Option<String>,
    /// The own certificate.
    pub client: Option<ClientCertificate>,
}

/// The files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The file with the chain.
    pub chain: String,
    /// The file with the private key.
    pub key: String,
}

/// When an endpoint that passes its checks is too slow among its siblings, the endpoints of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyCheck {
    /// How many times the siblings' median is slow, in percent: 300 is three times.
    pub ratio_percent: u32,
    /// How much above the siblings' median is slow.
    pub minimum_difference: Duration,
    /// The most endpoints of a pool that may be ejected, in percent; those that are down count too.
    pub max_ejection_percent: u32,
    /// With fewer siblings than this to compare, nobody is judged.
    pub minimum_siblings: u32,
    /// So many judgements in a row, one in each interval of the check, eject and bring back.
    pub consecutive: u32,
}

/// When an endpoint is out for what requests found there, at all gateways of the cluster together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorCheck {
    /// So many of a hundred requests failed.
    pub percentage: u32,
    /// With fewer requests than this nobody is judged.
    pub minimum_requests: u32,
    /// The time over which requests are counted.
    pub window: Duration,
    /// How long an endpoint is out the first time; each relapse doubles it.
    pub ejection: Duration,
    /// The most endpoints of a pool that may be out, in percent; those that are down count too. Below 100 the last endpoint
    /// that passes its checks is never ejected.
    pub max_ejection_percent: u32,
}

impl Default for ErrorCheck {
    /// Half of at least 20 requests in 10 s, out for 30 s as Envoy's own detection has it; half of a pool at most.
    fn default() -> Self {
        Self {
            percentage: 50,
            minimum_requests: 20,
            window: Duration::from_secs(10),
            ejection: Duration::from_secs(30),
            max_ejection_percent: 50,
        }
    }
}

impl Default for ActiveCheck {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            tls: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            unhealthy_threshold: 2,
            healthy_threshold: 2,
        }
    }
}

impl Default for LatencyCheck {
    /// A tenth of the default timeout above the others and three times as slow, three seconds long; one in four at most.
    fn default() -> Self {
        Self {
            ratio_percent: 300,
            minimum_difference: Duration::from_millis(50),
            max_ejection_percent: 25,
            minimum_siblings: 4,
            consecutive: 3,
        }
    }
}
