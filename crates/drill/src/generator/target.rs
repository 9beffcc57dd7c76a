//! What is asked, checked before anything is sent.

use http::{HeaderName, HeaderValue, Method, Uri, header::HOST, uri::Authority};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{
    env, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where systems keep the certificates that they trust, the first that is there counts.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Headers that a user may add to each request.
const MAX_HEADERS: usize = 32;

/// The protocol that a target is asked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1, one request at a time on each connection.
    #[default]
    Http1,
    /// HTTP/2: by prior knowledge on `http://` (h2c), by ALPN on `https://`.
    Http2,
    /// A unary gRPC call with an empty message; the path is the method, `/package.Service/Method`.
    Grpc,
}

/// Whom `https://` targets are known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The certificates that the system trusts, or those of the file that SSL_CERT_FILE names.
    #[default]
    System,
    /// The certificates of a PEM file.
    File(PathBuf),
}

/// One of the things that are asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://HOST[:PORT]/PATH` or `https://...`. The name is looked up for each new connection.
    pub url: String,
    /// The protocol.
    pub wire: Wire,
    /// The method, GET unless it is gRPC.
    pub method: Method,
    /// More headers, or another `host`.
    pub headers: Vec<(String, String)>,
    /// Whom it is known by.
    pub trust: Trust,
}

/// A target that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL that can be asked.
    #[error("{url:?} is not a URL: {why}\n  hint: write for example https://shop.example/health")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Not a header.
    #[error(
        "{name:?}: {value:?} is not a header\n  hint: write --header 'NAME: VALUE', at most {MAX_HEADERS}"
    )]
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// No certificates to trust.
    #[error("cannot read the certificates to trust from {path}: {why}\n  hint: name a PEM file with --ca")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Target {
    /// A target that is asked with GET by HTTP/1.1.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            wire: Wire::Http1,
            method: Method::GET,
            headers: Vec::new(),
            trust: Trust::System,
        }
    }
}

/// A target, ready to be asked.
pub(super) struct Checked {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) wire: Wire,
    pub(super) method: Method,
    /// The path alone for HTTP/1, the whole for HTTP/2, whose `:scheme` and `:authority` come from it.
    pub(super) uri: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Checked {
    pub(super) fn new(target: &Target) -> Result<Self, TargetError> {
        let wrong = |why: String| TargetError::Url { url: target.url.clone(), why };
        let uri: Uri = target.url.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
        let authority = uri.authority().cloned().ok_or_else(|| wrong("it names no host".to_owned()))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it must begin with http:// or https://".to_owned())),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (headers, named_host) = headers(target)?;
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone()).map_err(|error| wrong(error.to_string()))?;
            Some((tls(target)?, name))
        } else {
            None
        };
        let (uri, headers) = addressed(target, &uri, &authority, &path, named_host, headers)
            .map_err(|error| wrong(error.to_string()))?;
        let method = if target.wire == Wire::Grpc { Method::POST } else { target.method.clone() };
        Ok(Self { host, port, wire: target.wire, method, uri, headers, tls })
    }
}

type Headers = Vec<(HeaderName, HeaderValue)>;

/// The headers, and the host that they name.
fn headers(target: &Target) -> Result<(Headers, Option<HeaderValue>), TargetError> {
    let mut headers = Vec::new();
    let mut host = None;
    for (name, value) in &target.headers {
        let wrong = || TargetError::Header { name: name.clone(), value: value.clone() };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let text = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        if headers.len() == MAX_HEADERS {
            return Err(wrong());
        }
        if header == HOST { host = Some(text) } else { headers.push((header, text)) }
    }
    if target.wire == Wire::Grpc {
        headers.push((HeaderName::from_static("content-type"), HeaderValue::from_static("application/grpc")));
        headers.push((HeaderName::from_static("te"), HeaderValue::from_static("trailers")));
    }
    Ok((headers, host))
}

/// Whom a request names as its host: HTTP/1 in a header, HTTP/2 in the URI.
fn addressed(
    target: &Target,
    uri: &Uri,
    authority: &Authority,
    path: &str,
    named: Option<HeaderValue>,
    mut headers: Headers,
) -> Result<(Uri, Headers), http::Error> {
    if target.wire == Wire::Http1 {
        let host = match named {
            Some(host) => host,
            None => HeaderValue::try_from(authority.as_str())?,
        };
        headers.push((HOST, host));
        return Ok((Uri::try_from(path)?, headers));
    }
    let named = named.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(authority.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    Ok((Uri::builder().scheme(scheme).authority(named).path_and_query(path).build()?, headers))
}

fn tls(target: &Target) -> Result<Arc<ClientConfig>, TargetError> {
    let path = match &target.trust {
        Trust::File(path) => path.clone(),
        Trust::System => system_roots(),
    };
    let wrong = |why: String| TargetError::Roots { path: path.display().to_string(), why };
    let roots = roots(&path).map_err(|error| wrong(error.to_string()))?;
    if roots.is_empty() {
        return Err(wrong("it has no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let alpn: &[u8] = if target.wire == Wire::Http1 { b"http/1.1" } else { b"h2" };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> PathBuf {
    if let Some(path) = env::var_os("SSL_CERT_FILE") {
        return path.into();
    }
    let known = SYSTEM_ROOTS.iter().find(|path| Path::new(path).is_file());
    known.map_or_else(|| PathBuf::from(SYSTEM_ROOTS[0]), PathBuf::from)
}

fn roots(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
        // A certificate that cannot be understood is none that we trust; systems have some of them.
        let _ = roots.add(certificate.map_err(io::Error::other)?);
    }
    Ok(roots)
}
