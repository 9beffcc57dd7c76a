//! Questions to the admin address of an agent or a hub.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tidegate_link::{
    hub::AccessToken,
    identity::{
        CertificateFacts, Clock as _, Credentials, Identity, Party, Pin, PrivateKey, Refusals, SystemClock,
        TrustBundle, dial_pinned,
    },
};

/// An answer may be so long: 10,000 services with their plans stay well below.
const LIMIT: usize = 256 << 20;
/// An agent that works answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which agent is asked, and by whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct AgentDoor {
    /// The agent's admin address: at its own machine --admin, elsewhere --admin-tls.
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_ADMIN", default_value = "127.0.0.1:18001")]
    pub(crate) admin: SocketAddr,
    #[command(flatten)]
    pub(crate) token: Token,
}

/// Who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct Token {
    /// A file with the token of `tidegate access grant`: then it is asked by TLS. TIDEGATE_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with the certificate of `tidegate access certificate`, in place of a token.
    #[arg(long, value_name = "FILE", requires = "client_key", conflicts_with = "token_file")]
    client_cert: Option<PathBuf>,
    /// The file with its key.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

/// What is shown of who asks.
enum Shown {
    Token(AccessToken),
    /// The authority that the certificate is of knows the other side, too.
    Certificate(Box<Identity>, Pin),
}

impl Shown {
    const fn pin(&self) -> Pin {
        match self {
            Self::Token(token) => token.pin,
            Self::Certificate(_, pin) => *pin,
        }
    }
}

impl AgentDoor {
    /// GETs `path` and reads the JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        json(self.admin, Method::GET, path, &self.token).await
    }

    /// POSTs to `path`.
    pub(crate) async fn post(&self, path: &str) -> Result<()> {
        request(self.admin, Method::POST, path, &self.token).await.map(drop)
    }

    /// POSTs to `path` and reads the JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        json(self.admin, Method::POST, path, &self.token).await
    }

    /// DELETEs `path`.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        request(self.admin, Method::DELETE, path, &self.token).await.map(drop)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs, and for reading all of it.
    Yaml,
}

impl Output {
    /// The document for programs; nothing if people read.
    pub(crate) fn document<T: Serialize>(self, value: &T) -> Result<Option<String>> {
        Ok(match self {
            Self::Table => None,
            Self::Json => Some(serde_json::to_string_pretty(value)?),
            Self::Yaml => Some(serde_saphyr::to_string(&serde_json::to_value(value)?)?),
        })
    }
}

/// Which hub is asked, and by whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct HubDoor {
    /// The hub's admin address: at its own machine --admin, elsewhere --admin-tls.
    #[arg(long, value_name = "ADDR", env = "TIDEGATE_HUB_ADMIN", default_value = "127.0.0.1:18101")]
    admin: SocketAddr,
    #[command(flatten)]
    token: Token,
}

impl Token {
    fn read(&self) -> Result<Option<Shown>> {
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            return certificate_of(certificate, key).map(Some);
        }
        let text = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("the token in {} cannot be read", path.display()))?,
            None => match std::env::var("TIDEGATE_TOKEN") {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(Shown::Token(text.parse()?)))
    }
}

fn certificate_of(certificate: &Path, key: &Path) -> Result<Shown> {
    const HINT: &str = "\n  hint: tidegate access certificate makes both files";
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read{HINT}", path.display()))
    };
    let chain = TrustBundle::certificates(&read(certificate)?)?;
    let Some(root) = chain.last().cloned() else {
        bail!("{} holds no certificate{HINT}", certificate.display())
    };
    let facts = CertificateFacts::read(&chain[0])?;
    let Some(id) = facts.id.filter(|id| matches!(id.party, Party::Person(_))) else {
        bail!("{} is not the certificate of somebody but of {}{HINT}", certificate.display(), facts.names);
    };
    if facts.not_after.as_secs() <= SystemClock.now().as_secs() {
        bail!("{} has expired{HINT}", certificate.display());
    }
    let pin = CertificateFacts::read(&root)?.key;
    let bundle = TrustBundle::new(id.trust_domain, [root])?;
    let credentials = Credentials::new(chain, &PrivateKey::from_pem(&read(key)?)?, bundle)?;
    let identity = Identity::new(credentials, Refusals::default(), Arc::new(SystemClock));
    Ok(Shown::Certificate(Box::new(identity), pin))
}

impl HubDoor {
    /// At this address, by this who.
    pub(crate) const fn at(admin: SocketAddr, token: Token) -> Self {
        Self { admin, token }
    }

    /// Where it is asked.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.admin
    }

    /// POSTs bytes to `path` and reads the JSON.
    pub(crate) async fn send<T: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> Result<T> {
        let body = request_with(self.admin, Method::POST, path, bytes.into(), &self.token).await?;
        read_json(&body, self.admin, path)
    }

    /// DELETEs `path` and reads the JSON.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        json(self.admin, Method::DELETE, path, &self.token).await
    }

    /// GETs `path`.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        let body = request(self.admin, Method::GET, path, &self.token).await?;
        Ok(String::from_utf8(body.into())?)
    }

    /// POSTs a text to `path`.
    pub(crate) async fn send_text(&self, path: &str, text: String) -> Result<String> {
        let body = request_with(self.admin, Method::POST, path, text.into(), &self.token).await?;
        Ok(String::from_utf8(body.into())?)
    }

    /// GETs `path` and reads the JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        json(self.admin, Method::GET, path, &self.token).await
    }

    /// POSTs to `path` and reads the JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        json(self.admin, Method::POST, path, &self.token).await
    }
}

async fn json<T: DeserializeOwned>(
    admin: SocketAddr,
    method: Method,
    path: &str,
    token: &Token,
) -> Result<T> {
    let body = request(admin, method, path, token).await?;
    read_json(&body, admin, path)
}

fn read_json<T: DeserializeOwned>(body: &[u8], admin: SocketAddr, path: &str) -> Result<T> {
    serde_json::from_slice(body)
        .with_context(|| format!("the answer of {admin}{path} is not what this version expects"))
}

/// Text as a part of an address: everything but letters, digits and `-._~` as `%XX`.
pub(crate) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Asks an address of this machine, and shows nobody's token.
pub(crate) async fn plain(admin: SocketAddr, method: Method, path: &str) -> Result<String> {
    let asked = exchange(admin, method, path, Bytes::new(), None);
    let Ok(answer) = tokio::time::timeout(PATIENCE, asked).await else {
        bail!("{admin} gave no answer within {} s", PATIENCE.as_secs());
    };
    let (status, body) = answer?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    bail!("{admin}{path} answered {status}: {}", text.trim_end());
}

async fn request(admin: SocketAddr, method: Method, path: &str, token: &Token) -> Result<Bytes> {
    request_with(admin, method, path, Bytes::new(), token).await
}

async fn request_with(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    token: &Token,
) -> Result<Bytes> {
    let token = token.read()?;
    let answer = tokio::time::timeout(PATIENCE, exchange(admin, method, path, body, token.as_ref())).await;
    let Ok(answer) = answer else {
        bail!(
            "{admin} gave no answer within {} s\n  hint: it is frozen or cut off; ask another agent, or see its log",
            PATIENCE.as_secs()
        );
    };
    let (status, body) = answer?;
    if status.is_success() {
        return Ok(body);
    }
    let error: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    match error.as_ref().and_then(|error| error["error"].as_str()) {
        Some(error) => {
            let text = format!("{error}{}", hint(status, error));
            Err(Refused { is_final: status.is_client_error(), text }.into())
        }
        None => bail!(
            "{admin} answered {status} to {path}\n  hint: is this the address of an agent, or of a hub? see --admin and --hub"
        ),
    }
}

/// Whoever was asked said no.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Whether asking again would not help.
    pub(crate) is_final: bool,
    text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

/// What to do about a refusal that does not say it itself.
fn hint(status: http::StatusCode, error: &str) -> &'static str {
    if error.contains("hint:") {
        return "";
    }
    match status {
        http::StatusCode::FORBIDDEN => {
            "\n  hint: an admin of the hub gives more: tidegate access grant NAME --role ROLE; who has what: tidegate access list"
        }
        http::StatusCode::SERVICE_UNAVAILABLE => "\n  hint: ask again, or ask another agent by --admin",
        _ => "",
    }
}

async fn exchange(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    shown: Option<&Shown>,
) -> Result<(http::StatusCode, Bytes)> {
    let request = Request::builder().method(method).uri(path).header("host", admin.to_string());
    let (request, own) = match shown {
        Some(Shown::Token(token)) => {
            (request.header("authorization", format!("Bearer {}", token.reveal())), None)
        }
        Some(Shown::Certificate(own, _)) => (request, Some(&**own)),
        None => (request, None),
    };
    let request = request.body(Full::new(body))?;
    match shown {
        Some(shown) => {
            let stream = dial_pinned(admin, shown.pin(), own).await.with_context(|| {
                format!("{admin} cannot be asked by TLS\n  hint: is this its --admin-tls address?")
            })?;
            let answer = send(stream, request, admin).await;
            // In TLS 1.3 the client hears that its certificate is refused when it reads for the first time.
            match own {
                Some(_) => answer.with_context(|| {
                    format!(
                        "{admin} ended the connection\n  hint: its log says so if it refused the certificate"
                    )
                }),
                None => answer,
            }
        }
        None => {
            let stream = tokio::net::TcpStream::connect(admin).await.with_context(|| {
                format!("nobody answers at {admin}\n  hint: is it running? its address is given by --admin or TIDEGATE_ADMIN, a hub's by TIDEGATE_HUB_ADMIN")
            })?;
            send(stream, request, admin).await
        }
    }
}

async fn send(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    admin: SocketAddr,
) -> Result<(http::StatusCode, Bytes)> {
    let path = request.uri().path().to_owned();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LIMIT).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("reading the answer of {admin}{path}: {error}"))?;
    Ok((status, body.to_bytes()))
}
