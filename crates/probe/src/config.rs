//! What is checked, and how.

use crate::latency::LatencyRule;
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

/// How a target is checked. The defaults are those of DESIGN.md, section 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// What is asked.
    pub kind: CheckKind,
    /// Whether it is asked over TLS, and how the server is known.
    pub tls: Option<Arc<TlsConfig>>,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// How long connecting and answering may take together.
    pub timeout: Duration,
    /// So many failures in a row take a target down; 0 is read as 1.
    pub unhealthy_threshold: u32,
    /// So many successes in a row bring it back; 0 is read as 1.
    pub healthy_threshold: u32,
}

impl CheckConfig {
    /// The default from one check to the next.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
    /// The default time for an answer.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
    /// The default number of failures in a row that take a target down.
    pub const DEFAULT_UNHEALTHY_THRESHOLD: u32 = 2;
    /// The default number of successes in a row that bring it back.
    pub const DEFAULT_HEALTHY_THRESHOLD: u32 = 2;

    /// A check with default timing and thresholds, without TLS.
    #[must_use]
    pub const fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            tls: None,
            interval: Self::DEFAULT_INTERVAL,
            timeout: Self::DEFAULT_TIMEOUT,
            unhealthy_threshold: Self::DEFAULT_UNHEALTHY_THRESHOLD,
            healthy_threshold: Self::DEFAULT_HEALTHY_THRESHOLD,
        }
    }
}

/// What a check asks. The larger kinds are shared: a service has many targets that are asked the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// An HTTP/1.1 request.
    Http(Arc<HttpCheck>),
    /// An HTTP/2 request: with prior knowledge, and over TLS by ALPN `h2`.
    Http2(Arc<HttpCheck>),
    /// `grpc.health.v1.Health/Check`, over HTTP/2.
    Grpc(Arc<GrpcCheck>),
    /// A connection that is accepted; over TLS, a handshake that is completed.
    Tcp,
}

impl CheckKind {
    /// An HTTP/1.1 GET of `path` that any 2xx answers.
    #[must_use]
    pub fn http(path: impl Into<String>) -> Self {
        Self::Http(Arc::new(HttpCheck::get(path)))
    }
}

/// A request, and the answers that count as healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The method; a request never has a body.
    pub method: Method,
    /// The path, with a leading slash, and perhaps a query.
    pub path: String,
    /// The `Host` header (HTTP/2: `:authority`); the target's address when absent.
    pub host: Option<String>,
    /// More headers, as they are written.
    pub headers: Vec<(String, String)>,
    /// Statuses that count as healthy.
    pub expected_statuses: Vec<RangeInclusive<u16>>,
    /// What the body must hold.
    pub expected_body: Option<ExpectedBody>,
}

impl HttpCheck {
    /// A GET of `path` that any 2xx answers.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path: path.into(),
            host: None,
            headers: Vec::new(),
            expected_statuses: vec![200..=299],
            expected_body: None,
        }
    }

    pub(crate) fn expects(&self, status: u16) -> bool {
        self.expected_statuses.iter().any(|range| range.contains(&status))
    }
}

/// The method of a check's request: those that change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`: the answer has no body.
    Head,
    /// `OPTIONS`.
    Options,
}

impl Method {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }
}

/// What a body must hold. At most [`BODY_LIMIT`] bytes of it are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedBody {
    /// This text, anywhere.
    Contains(String),
    /// This text, at its beginning.
    StartsWith(String),
}

/// So many bytes of a body are looked at, at most.
pub const BODY_LIMIT: usize = 64 << 10;

/// A question to the gRPC health service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service that is asked about; empty means the server as a whole.
    pub service: String,
    /// The `:authority`; the target's address when absent.
    pub authority: Option<String>,
}

/// How a server is known, and how we are known to it. Files are PEM; they are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsConfig {
    /// The name that is sent (SNI) and that the certificate must bear; the target's IP address when absent.
    pub server_name: Option<String>,
    /// Whom to trust.
    pub trust: Trust,
    /// Names of which the certificate must bear one, instead of `server_name`; empty where that counts.
    pub names: Vec<SubjectName>,
    /// The own certificate, for servers that ask for one.
    pub client: Option<ClientCertificate>,
}

/// Whose certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Those that the authorities in this file issued.
    Authorities(PathBuf),
    /// Those that these authorities issued, as PEM.
    Bundle(Arc<str>),
    /// Nobody's: every server fails its check, because of what this says.
    Nobody(Arc<str>),
    /// Anybody's: a check then says that *something* with *some* certificate answers there, as a kubelet's HTTPS probe
    /// does.
    Anybody,
}

/// A name that a certificate bears.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    /// A host, perhaps with `*` as its first label.
    Host(String),
    /// A URI.
    Uri(String),
}

/// A certificate chain with its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientCertificate {
    /// The file with the chain, the own certificate first.
    pub chain: PathBuf,
    /// The file with the private key.
    pub key: PathBuf,
}

/// One thing to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is checked.
    pub config: CheckConfig,
    /// What was known of it before this prober: up, down or nothing. Read once, when the target is new.
    pub known: Option<bool>,
    /// With whom its latency is compared, if it is.
    pub siblings: Option<Siblings>,
}

/// The targets that should answer equally fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siblings {
    /// The name that they share: of their pool.
    pub group: Arc<str>,
    /// When one of them is an outlier. Of a group's members that differ in it, the last one given counts.
    pub rule: LatencyRule,
}
