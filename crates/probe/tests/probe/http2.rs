//! HTTP/2 with prior knowledge, against a server made with the `h2` crate.

use crate::{impatient, serving, target, verdict_on};
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};
use tidegate_probe::{CheckKind, ExpectedBody, HttpCheck};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// Serves one HTTP/2 connection: every request is answered with this status and body. What was asked goes to `asked`.
pub(crate) async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    body: &'static str,
    asked: mpsc::UnboundedSender<http::Request<()>>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        asked.send(request.map(drop)).ok();
        let response = http::Response::builder().status(status).body(()).unwrap();
        let mut send = respond.send_response(response, false).unwrap();
        send.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    }
}

async fn server(status: u16, body: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<http::Request<()>>) {
    let (sender, asked) = mpsc::unbounded_channel();
    (serving(move |stream| answer_all(stream, status, body, sender.clone())).await, asked)
}

fn get() -> CheckKind {
    CheckKind::Http2(Arc::new(HttpCheck::get("/healthz")))
}

fn contains(text: &str) -> CheckKind {
    let expected_body = Some(ExpectedBody::Contains(text.into()));
    CheckKind::Http2(Arc::new(HttpCheck { expected_body, ..HttpCheck::get("/") }))
}

#[tokio::test]
async fn status_and_body_decide() {
    let (address, _asked) = server(200, "all is well").await;
    assert_eq!(verdict_on(target(address, get())).await, None);
    assert_eq!(verdict_on(target(address, contains("well"))).await, None);
    let verdict = verdict_on(target(address, contains("ill"))).await;
    assert_eq!(verdict.as_deref(), Some("the body does not contain \"ill\""));
    let (address, _asked) = server(503, "").await;
    assert_eq!(verdict_on(target(address, get())).await.as_deref(), Some("status 503"));
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let (address, mut asked) = server(200, "").await;
    let check = HttpCheck {
        host: Some("shop.example".into()),
        headers: vec![("x-check".into(), "tide".into())],
        ..HttpCheck::get("/healthz?deep=1")
    };
    assert_eq!(verdict_on(target(address, CheckKind::Http2(Arc::new(check)))).await, None);
    let request = asked.recv().await.unwrap();
    assert_eq!(request.uri().to_string(), "http://shop.example/healthz?deep=1");
    assert_eq!(request.headers()["x-check"], "tide");
    assert!(request.headers()["user-agent"].to_str().unwrap().starts_with("tidegate-probe/"));
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_as_such() {
    let address = serving(|mut stream| async move {
        let mut preface = [0; 24];
        let _ = stream.read_exact(&mut preface).await;
        stream.write_all(b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-length: 0\r\n\r\n").await.ok();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let verdict = verdict_on(target(address, get())).await.unwrap();
    assert!(verdict.starts_with("HTTP/2: the answer is no HTTP/2"), "{verdict}");
}

#[tokio::test]
async fn a_server_that_hangs_or_hangs_up_is_told_apart() {
    let frozen = serving(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let verdict = verdict_on(impatient(target(frozen, get()))).await;
    assert_eq!(verdict.as_deref(), Some("timeout after 100 ms waiting for the response header"));
    let gone = serving(|mut stream| async move {
        let _ = stream.read(&mut [0; 1 << 10]).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let verdict = verdict_on(target(gone, get())).await.unwrap();
    assert!(verdict.starts_with("connection "), "{verdict}");
}

#[tokio::test]
async fn the_connection_is_ended_in_good_order() {
    let (sender, mut ended) = mpsc::unbounded_channel();
    let address = serving(move |stream| {
        let ended = sender.clone();
        async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut result = Ok(());
            while let Some(next) = connection.accept().await {
                match next {
                    Ok((_, mut respond)) => drop(respond.send_response(http::Response::new(()), true)),
                    Err(error) => result = Err(error.to_string()),
                }
            }
            ended.send(result).ok();
        }
    })
    .await;
    assert_eq!(verdict_on(target(address, get())).await, None);
    assert_eq!(ended.recv().await.unwrap(), Ok(()));
}
