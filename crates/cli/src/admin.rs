//! Questions to the admin address of an agent or a hub.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tidegate_link::{hub::AccessToken, identity::dial_pinned};

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

/// Which agent is asked, and in which form the answer is printed.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) door: AgentDoor,
    /// The form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
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
    fn read(&self) -> Result<Option<AccessToken>> {
        let text = match &self.token_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("the token in {} cannot be read", path.display()))?,
            None => match std::env::var("TIDEGATE_TOKEN") {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(text.parse()?))
    }
}

impl HubDoor {
    /// At this address, with a token in this file if there is one.
    pub(crate) const fn at(admin: SocketAddr, token_file: Option<PathBuf>) -> Self {
        Self { admin, token: Token { token_file } }
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
    serde_json::from_slice(&body)
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
        bail!("{admin} gave no answer within {} s", PATIENCE.as_secs());
    };
    let (status, body) = answer?;
    if status.is_success() {
        return Ok(body);
    }
    let error: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    match error.as_ref().and_then(|error| error["error"].as_str()) {
        Some(error) => bail!("{error}"),
        None => bail!("{admin} answered {status}"),
    }
}

async fn exchange(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
    token: Option<&AccessToken>,
) -> Result<(http::StatusCode, Bytes)> {
    let request = Request::builder().method(method).uri(path).header("host", admin.to_string());
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {}", token.reveal())),
        None => request,
    };
    let request = request.body(Full::new(body))?;
    match token {
        Some(token) => {
            let stream = dial_pinned(admin, token.pin).await.with_context(|| {
                format!("{admin} cannot be asked by TLS\n  hint: is this its --admin-tls address?")
            })?;
            send(stream, request, admin).await
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
