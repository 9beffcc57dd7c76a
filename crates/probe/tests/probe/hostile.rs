//! Servers that send for ever, or stop in the middle: each check ends, and holds no more than its limit.

use crate::{impatient, serving, target, verdict_on};
use std::{net::Ipv4Addr, sync::Arc};
use tidegate_probe::{CheckKind, ExpectedBody, HttpCheck};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A server that sends `start`, and then `more` for as long as anybody listens.
async fn streaming(start: &'static [u8], more: &'static [u8]) -> std::net::SocketAddr {
    serving(move |mut stream| async move {
        let _ = stream.read(&mut [0; 1 << 10]).await;
        stream.write_all(start).await.ok();
        while stream.write_all(more).await.is_ok() {}
    })
    .await
}

fn expecting(text: &str) -> HttpCheck {
    HttpCheck { expected_body: Some(ExpectedBody::Contains(text.into())), ..HttpCheck::get("/") }
}

#[tokio::test]
async fn a_header_without_end_is_cut_off() {
    let too_large = "response header larger than 8192 bytes";
    for (start, more) in [
        (&b"HTTP/1.1 200 OK\r\nx: "[..], &b"xxxxxxxxxxxxxxxx"[..]),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 ", b"OKOKOKOK"),
    ] {
        let address = streaming(start, more).await;
        assert_eq!(verdict_on(target(address, CheckKind::http("/"))).await.as_deref(), Some(too_large));
    }
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let address = streaming(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert_eq!(
        verdict_on(target(address, CheckKind::http("/"))).await.as_deref(),
        Some("not an HTTP answer")
    );
}

#[tokio::test]
async fn a_body_without_end_is_looked_at_up_to_its_limit() {
    for (start, more) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], &b"no no no no no "[..]),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"6\r\nno no \r\n"),
    ] {
        let address = streaming(start, more).await;
        let verdict = verdict_on(target(address, CheckKind::Http(Arc::new(expecting("yes"))))).await;
        assert_eq!(verdict.as_deref(), Some("the body does not contain \"yes\""));
        assert_eq!(verdict_on(target(address, CheckKind::http("/"))).await, None);
    }
    let endless_size = streaming(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"0").await;
    let verdict = verdict_on(target(endless_size, CheckKind::Http(Arc::new(expecting("yes"))))).await;
    assert_eq!(verdict.as_deref(), Some("not an HTTP answer"));
}

#[tokio::test]
async fn an_http2_server_that_streams_for_ever_is_looked_at_up_to_the_limit() {
    let address = serving(|stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut send = respond.send_response(http::Response::new(()), false).unwrap();
            tokio::spawn(async move {
                loop {
                    send.reserve_capacity(1 << 14);
                    let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else {
                        return;
                    };
                    if send.send_data(vec![b'n'; room].into(), false).is_err() {
                        return;
                    }
                }
            });
        }
    })
    .await;
    let verdict = verdict_on(target(address, CheckKind::Http2(Arc::new(expecting("yes"))))).await;
    assert_eq!(verdict.as_deref(), Some("the body does not contain \"yes\""));
    assert_eq!(verdict_on(target(address, CheckKind::Http2(Arc::new(HttpCheck::get("/"))))).await, None);
}

#[tokio::test]
async fn http2_headers_without_end_are_cut_off() {
    // Empty SETTINGS, then HEADERS of stream 1 without END_HEADERS (200), then CONTINUATION frames for ever.
    const START: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x88";
    // 1 KiB of literal fields without indexing: name `x`, value `y`.
    static MORE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut frame = b"\0\x04\0\x09\0\0\0\0\x01".to_vec();
        frame.extend(b"\0\x01x\x01y\0\x01x\x01z".repeat(102));
        frame.extend(b"\0\x01a\0");
        frame
    });
    let address = streaming(START, &MORE).await;
    let kind = CheckKind::Http2(Arc::new(HttpCheck::get("/")));
    let verdict = verdict_on(target(address, kind)).await.unwrap();
    assert!(verdict.starts_with("HTTP/2: ") || verdict.starts_with("connection "), "{verdict}");
}

#[tokio::test]
async fn a_drip_of_bytes_does_not_stretch_the_timeout() {
    let address = serving(|mut stream| async move {
        let mut drip = tokio::time::interval(std::time::Duration::from_millis(5));
        loop {
            drip.tick().await;
            if stream.write_all(b"H").await.is_err() {
                return;
            }
        }
    })
    .await;
    let verdict = verdict_on(impatient(target(address, CheckKind::http("/")))).await.unwrap();
    assert!(
        ["not an HTTP answer", "timeout after 100 ms waiting for the response header"]
            .contains(&verdict.as_str()),
        "{verdict}"
    );
}

#[tokio::test]
async fn a_process_that_was_stopped_hangs_first_at_the_header_then_at_the_connection() {
    // It listens and does not accept: the system completes connections until the backlog is full.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let verdict = verdict_on(impatient(target(address, CheckKind::http("/")))).await;
    assert_eq!(verdict.as_deref(), Some("timeout after 100 ms waiting for the response header"));
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(tokio::spawn(TcpStream::connect(address)));
    }
    for kind in [CheckKind::Tcp, CheckKind::http("/")] {
        let verdict = verdict_on(impatient(target(address, kind))).await;
        assert_eq!(verdict.as_deref(), Some("timeout after 100 ms while connecting"));
    }
    drop(held);
}
