//! HTTP/2: one request on a connection of its own, with prior knowledge or after ALPN.

use super::{AGENT, CLOSING_PATIENCE, Progress, body::Matcher};
use crate::{Failure, HttpCheck, Stage};
use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{HeaderName, HeaderValue, Request, Response, Uri, header::USER_AGENT, uri::Scheme};
use std::{net::SocketAddr, pin::pin};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// The most bytes of an answer's header fields, as HTTP/2 counts them.
const HEAD_LIMIT: u32 = 16 << 10;

/// How much a server may send without our having looked at it.
const WINDOW: u32 = 64 << 10;

pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: SocketAddr,
    secure: bool,
    check: &HttpCheck,
    progress: &Progress,
) -> Result<(), Failure> {
    let uri = uri(secure, check.host.as_deref(), address, &check.path)?;
    let mut request = Request::builder().method(check.method.as_str()).uri(uri);
    for (name, value) in &check.headers {
        let name: Result<HeaderName, _> = name.parse();
        let value: Result<HeaderValue, _> = value.parse();
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Failure::Local("a header of the check cannot be sent".into()));
        };
        request = request.header(name, value);
    }
    let request = request.header(USER_AGENT, AGENT).body(()).map_err(|error| unsendable(&error))?;
    exchange(stream, progress, async |sender| {
        let (answer, _) = send(sender, request, true)?;
        let answer = receive(answer, progress).await?;
        let status = answer.status().as_u16();
        if !check.expects(status) {
            return Err(Failure::Status(status));
        }
        match &check.expected_body {
            None => Ok(()),
            Some(expected) => {
                progress.reach(Stage::Body);
                let mut matcher = Matcher::new(expected);
                let mut body = answer.into_body();
                loop {
                    let data = next_data(&mut body, progress).await?;
                    matcher.feed(data.as_deref().unwrap_or_default());
                    if let Some(verdict) = matcher.verdict(data.is_none()) {
                        return verdict;
                    }
                }
            }
        }
    })
    .await
}

/// The address that a request names.
pub(super) fn uri(secure: bool, host: Option<&str>, address: SocketAddr, path: &str) -> Result<Uri, Failure> {
    let authority = host.map_or_else(|| address.to_string(), str::to_owned);
    let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path);
    uri.build().map_err(|error| unsendable(&error))
}

pub(super) fn unsendable(error: &http::Error) -> Failure {
    Failure::Local(format!("the request cannot be sent: {error}"))
}

/// Runs `ask` on a new HTTP/2 connection, and ends the connection in good order.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    progress: &Progress,
    ask: impl AsyncFnOnce(&mut SendRequest<Bytes>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    progress.reach(Stage::Send);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(HEAD_LIMIT)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_reset_streams(1);
    let (mut sender, connection) =
        builder.handshake::<_, Bytes>(stream).await.map_err(|error| of_h2(&error, Stage::Send))?;
    let mut connection = pin!(connection);
    let (result, open) = {
        let mut asked = pin!(async {
            progress.reach(Stage::Header);
            ask(&mut sender).await
        });
        tokio::select! {
            biased;
            result = &mut asked => (result, true),
            // What had arrived before the end can still be read.
            _ = &mut connection => (asked.await, false),
        }
    };
    progress.decide();
    drop(sender);
    if open {
        // Says GOAWAY; whether the server hears it makes no difference.
        let _ = timeout(CLOSING_PATIENCE, connection).await;
    }
    result
}

/// What is to come of a request.
type Pending = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

pub(super) fn send(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
    whole: bool,
) -> Result<Pending, Failure> {
    sender.send_request(request, whole).map_err(|error| of_h2(&error, Stage::Send))
}

pub(super) async fn receive(
    answer: h2::client::ResponseFuture,
    progress: &Progress,
) -> Result<Response<RecvStream>, Failure> {
    answer.await.map_err(|error| of_h2(&error, progress.stage()))
}

/// The next piece of a body; `None` at its end.
pub(super) async fn next_data(body: &mut RecvStream, progress: &Progress) -> Result<Option<Bytes>, Failure> {
    let Some(data) = body.data().await else { return Ok(None) };
    let data = data.map_err(|error| of_h2(&error, progress.stage()))?;
    // Room for as much again; fails only when the stream is over, and then nothing more comes.
    let _ = body.flow_control().release_capacity(data.len());
    Ok(Some(data))
}

pub(super) fn of_h2(error: &h2::Error, stage: Stage) -> Failure {
    if let Some(error) = error.get_io() {
        return Failure::of_io(error, stage);
    }
    match error.reason() {
        Some(reason) if error.is_remote() => Failure::NotHttp2(format!("the server says {reason:?}")),
        Some(reason) => Failure::NotHttp2(format!("the answer is no HTTP/2 ({reason:?})")),
        None => Failure::NotHttp2(error.to_string()),
    }
}
