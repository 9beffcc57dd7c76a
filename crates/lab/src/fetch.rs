//! One HTTP request on a connection of its own: how the lab asks agents and the hub, as a user would.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

/// The largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;

/// Why nothing usable came back.
#[derive(Debug, thiserror::Error)]
#[error("{asked}: {cause}")]
pub struct FetchError {
    /// Method and URL.
    asked: String,
    cause: String,
}

impl FetchError {
    fn new(method: &Method, address: SocketAddr, path: &str, cause: String) -> Self {
        Self { asked: format!("{method} http://{address}{path}"), cause }
    }
}

/// Gets `path` from `address`, with `host` as the host name if given. Any status is an answer.
pub async fn get(
    address: SocketAddr,
    host: Option<&str>,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    ask(Method::GET, address, host, path, limit).await
}

/// Gets JSON from `address`.
pub async fn get_json(
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<serde_json::Value, FetchError> {
    json(Method::GET, address, path, limit).await
}

/// Posts nothing to `address`, and reads the answer as JSON.
pub async fn post_json(
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<serde_json::Value, FetchError> {
    json(Method::POST, address, path, limit).await
}

async fn json(
    method: Method,
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<serde_json::Value, FetchError> {
    let failed = |cause| FetchError::new(&method, address, path, cause);
    let (status, body) = ask(method.clone(), address, None, path, limit).await?;
    if !status.is_success() {
        return Err(failed(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
    }
    serde_json::from_slice(&body).map_err(|error| failed(format!("not JSON: {error}")))
}

async fn ask(
    method: Method,
    address: SocketAddr,
    host: Option<&str>,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let failed = |cause| FetchError::new(&method, address, path, cause);
    match tokio::time::timeout(limit, exchange(&method, address, host, path)).await {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {limit:?}"))),
    }
}

async fn exchange(
    method: &Method,
    address: SocketAddr,
    host: Option<&str>,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let host = host.map_or_else(|| address.to_string(), str::to_owned);
    let request =
        Request::builder().method(method).uri(path).header(HOST, host).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok((status, body))
    };
    tokio::pin!(exchange, connection);
    // The connection must be driven for the exchange to go on; it may end before the answer is taken.
    let mut ended = false;
    loop {
        tokio::select! {
            done = &mut exchange => return done,
            _ = &mut connection, if !ended => ended = true,
        }
    }
}
