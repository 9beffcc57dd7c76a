//! The gRPC health protocol, against a health server of a few lines.

use crate::{impatient, serving, target, verdict_on};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use std::{net::SocketAddr, sync::Arc};
use tidegate_probe::{CheckKind, GrpcCheck};
use tokio::io::{AsyncRead, AsyncWrite};

/// How the health server answers.
#[derive(Clone, Copy)]
pub(crate) enum Says {
    /// A `HealthCheckResponse` with this serving status, if it is asked about `web`; else the code `NOT_FOUND`.
    Status(u8),
    /// Nothing but this code.
    Code(&'static str),
    /// An HTTP status.
    Http(u16),
    /// A page.
    Page,
    /// A message without the status that must follow it.
    NoTrailers,
    /// More than a health answer can be.
    TooMuch,
    /// Nothing.
    Nothing,
}

pub(crate) async fn serve_health(stream: impl AsyncRead + AsyncWrite + Unpin, says: Says) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["te"], "trailers");
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                message.extend_from_slice(&data);
            }
            let about_web = message == b"\0\0\0\0\x05\x0a\x03web";
            let grpc = |code: Option<&'static str>| {
                let response = Response::builder().header("content-type", "application/grpc");
                code.iter().fold(response, |it, code| it.header("grpc-status", *code)).body(()).unwrap()
            };
            let ok =
                || HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            match says {
                Says::Nothing => std::future::pending().await,
                Says::Code(code) => drop(respond.send_response(grpc(Some(code)), true)),
                Says::Status(_) if !about_web => drop(respond.send_response(grpc(Some("5")), true)),
                Says::Http(status) => {
                    drop(respond.send_response(Response::builder().status(status).body(()).unwrap(), true));
                }
                Says::Page => {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(b"<html>"), true).unwrap();
                }
                Says::Status(status) => {
                    let mut send = respond.send_response(grpc(None), false).unwrap();
                    send.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).unwrap();
                    send.send_trailers(ok()).unwrap();
                }
                Says::NoTrailers => {
                    let mut send = respond.send_response(grpc(None), false).unwrap();
                    send.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), true).unwrap();
                }
                Says::TooMuch => {
                    let mut send = respond.send_response(grpc(None), false).unwrap();
                    send.send_data(Bytes::from(vec![0; 60_000]), false).unwrap();
                    send.send_trailers(ok()).ok();
                }
            }
        });
    }
}

async fn server(says: Says) -> SocketAddr {
    serving(move |stream| serve_health(stream, says)).await
}

pub(crate) fn about(service: &str) -> CheckKind {
    CheckKind::Grpc(Arc::new(GrpcCheck { service: service.into(), authority: None }))
}

#[tokio::test]
async fn each_answer_has_its_verdict() {
    for (says, verdict) in [
        (Says::Status(1), None),
        (Says::Status(0), Some("gRPC health UNKNOWN")),
        (Says::Status(2), Some("gRPC health NOT_SERVING")),
        (Says::Status(3), Some("gRPC health SERVICE_UNKNOWN")),
        (Says::Code("12"), Some("gRPC UNIMPLEMENTED: the server has no grpc.health.v1.Health")),
        (Says::Code("14"), Some("gRPC UNAVAILABLE")),
        (Says::Code("0"), Some("not a gRPC health answer")),
        (Says::Http(404), Some("status 404")),
        (Says::Page, Some("not a gRPC health answer")),
        (Says::NoTrailers, Some("not a gRPC health answer")),
        (Says::TooMuch, Some("not a gRPC health answer")),
    ] {
        let found = verdict_on(target(server(says).await, about("web"))).await;
        assert_eq!(found.as_deref(), verdict);
    }
}

#[tokio::test]
async fn the_service_that_is_asked_about_decides() {
    let verdict = verdict_on(target(server(Says::Status(1)).await, about("pay"))).await;
    assert_eq!(
        verdict.as_deref(),
        Some("gRPC NOT_FOUND: the health service does not know this service name")
    );
}

#[tokio::test]
async fn a_health_service_that_hangs_is_down_after_the_timeout() {
    let verdict = verdict_on(impatient(target(server(Says::Nothing).await, about("web")))).await;
    assert_eq!(verdict.as_deref(), Some("timeout after 100 ms waiting for the response header"));
}
