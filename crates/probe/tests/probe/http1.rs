//! HTTP/1.1: bodies, methods, and answers that come in an unusual way.

use crate::{impatient, serving, target, verdict_on};
use std::{net::SocketAddr, sync::Arc};
use tidegate_probe::{CheckKind, ExpectedBody, HttpCheck, Method};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Reads a request to its end.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(request).unwrap()
}

/// A server that answers each request with these bytes, and then closes or waits.
async fn answering(answer: &'static str, close: bool) -> SocketAddr {
    serving(move |mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.ok();
        if !close {
            // Holds the connection open until the other side closes it.
            let _ = stream.read_u8().await;
        }
    })
    .await
}

fn expecting(body: ExpectedBody) -> CheckKind {
    CheckKind::Http(Arc::new(HttpCheck { expected_body: Some(body), ..HttpCheck::get("/") }))
}

fn contains(text: &str) -> CheckKind {
    expecting(ExpectedBody::Contains(text.into()))
}

#[tokio::test]
async fn a_body_is_searched_however_it_is_framed() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n is w\r\n3\r\nell\r\n0\r\n\r\n";
    for (answer, close) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well", false),
        ("HTTP/1.1 200 OK\r\n\r\nall is well", true),
        (chunked, false),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall is well",
            false,
        ),
    ] {
        let address = answering(answer, close).await;
        assert_eq!(verdict_on(target(address, contains("is well"))).await, None, "{answer:?}");
        let start = expecting(ExpectedBody::StartsWith("all is".into()));
        assert_eq!(verdict_on(target(address, start)).await, None, "{answer:?}");
        let missing = verdict_on(target(address, contains("ill"))).await;
        assert_eq!(missing.as_deref(), Some("the body does not contain \"ill\""), "{answer:?}");
        let start = expecting(ExpectedBody::StartsWith("well".into()));
        let wrong = verdict_on(target(address, start)).await;
        assert_eq!(wrong.as_deref(), Some("the body does not start with \"well\""), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_match() {
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall", true).await;
    let verdict = verdict_on(target(address, contains("well"))).await;
    assert_eq!(verdict.as_deref(), Some("connection closed waiting for the response body"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_until_the_timeout() {
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nall", false).await;
    let verdict = verdict_on(impatient(target(address, contains("well")))).await;
    assert_eq!(verdict.as_deref(), Some("timeout after 100 ms waiting for the response body"));
}

#[tokio::test]
async fn a_header_that_is_never_whole_is_waited_for_until_the_timeout() {
    let address = answering("HTTP/1.1 200 OK\r\nserver: hal", false).await;
    let verdict = verdict_on(impatient(target(address, CheckKind::http("/")))).await;
    assert_eq!(verdict.as_deref(), Some("timeout after 100 ms waiting for the response header"));
}

#[tokio::test]
async fn a_wrong_status_counts_before_the_body() {
    let address = answering("HTTP/1.1 500 No\r\ncontent-length: 11\r\n\r\nall is well", false).await;
    assert_eq!(verdict_on(target(address, contains("well"))).await.as_deref(), Some("status 500"));
}

#[tokio::test]
async fn head_and_options_are_asked_as_such() {
    let address = serving(|mut stream| async move {
        let request = read_request(&mut stream).await;
        let method = request.split(' ').next().unwrap();
        // As HTTP has it: the length of a body that does not come.
        let answer = match method {
            "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n",
            "OPTIONS" => "HTTP/1.1 204 No Content\r\n\r\n",
            _ => "HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok();
        let _ = stream.read_u8().await;
    })
    .await;
    for (method, verdict) in
        [(Method::Head, None), (Method::Options, None), (Method::Get, Some("status 405"))]
    {
        let kind = CheckKind::Http(Arc::new(HttpCheck { method, ..HttpCheck::get("/") }));
        assert_eq!(verdict_on(target(address, kind)).await.as_deref(), verdict, "{method:?}");
    }
}
