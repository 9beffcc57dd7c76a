//! `grpc.health.v1.Health/Check`: one message out, one message in, both small enough to write by hand.
//!
//! The protocol: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md> and
//! `PROTOCOL-HTTP2.md` beside it.

use super::{
    AGENT, Progress,
    http2::{exchange, next_data, of_h2, receive, send, unsendable, uri},
};
use crate::{Failure, GrpcCheck, Stage};
use bytes::{BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, Request,
    header::{CONTENT_TYPE, TE, USER_AGENT},
};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The most bytes of an answer: a `HealthCheckResponse` has two, behind a prefix of five.
const ANSWER_LIMIT: usize = 4 << 10;

/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: SocketAddr,
    secure: bool,
    check: &GrpcCheck,
    progress: &Progress,
) -> Result<(), Failure> {
    let request = Request::post(uri(secure, check.authority.as_deref(), address, PATH)?)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(())
        .map_err(|error| unsendable(&error))?;
    exchange(stream, progress, async |sender| {
        let (answer, mut body) = send(sender, request, false)?;
        body.send_data(question(&check.service), true).map_err(|error| of_h2(&error, Stage::Send))?;
        let answer = receive(answer, progress).await?;
        if answer.status() != http::StatusCode::OK {
            return Err(Failure::Status(answer.status().as_u16()));
        }
        let is_grpc = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
        if !answer.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
            return Err(Failure::NotGrpc);
        }
        if let Some(code) = status(answer.headers()) {
            // An answer that is nothing but its status.
            return Err(if code == 0 { Failure::NotGrpc } else { Failure::GrpcStatus(code) });
        }
        progress.reach(Stage::Body);
        let mut body = answer.into_body();
        let mut message = Vec::new();
        while let Some(data) = next_data(&mut body, progress).await? {
            if message.len() + data.len() > ANSWER_LIMIT {
                return Err(Failure::NotGrpc);
            }
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.map_err(|error| of_h2(&error, Stage::Body))?;
        match trailers.as_ref().and_then(status) {
            None => Err(Failure::NotGrpc),
            Some(0) => judge(&message),
            Some(code) => Err(Failure::GrpcStatus(code)),
        }
    })
    .await
}

fn status(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A `HealthCheckRequest` (field 1, a string: the service), behind the prefix of every gRPC message: one byte that says
/// it is not compressed, and its length in four.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

/// What a `HealthCheckResponse` behind its prefix says.
fn judge(framed: &[u8]) -> Result<(), Failure> {
    let (prefix, message) = framed.split_at_checked(5).ok_or(Failure::NotGrpc)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || usize::try_from(length) != Ok(message.len()) {
        return Err(Failure::NotGrpc);
    }
    match serving_status(message).ok_or(Failure::NotGrpc)? {
        SERVING => Ok(()),
        other => Err(Failure::GrpcHealth(other)),
    }
}

/// Field 1 of the message, an enum; the last one counts, 0 when there is none. Other fields are passed over.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// A base-128 varint of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_framed_as_grpc_frames_it() {
        assert_eq!(&question("")[..], b"\0\0\0\0\0");
        assert_eq!(&question("web")[..], b"\0\0\0\0\x05\x0a\x03web");
        assert_eq!(&question(&"x".repeat(200))[..8], b"\0\0\0\0\xcb\x0a\xc8\x01");
    }

    #[test]
    fn only_serving_is_healthy() {
        let rows: [(&[u8], Result<(), Failure>); 11] = [
            (b"\0\0\0\0\x02\x08\x01", Ok(())),
            (b"\0\0\0\0\x02\x08\x02", Err(Failure::GrpcHealth(2))),
            (b"\0\0\0\0\x02\x08\x03", Err(Failure::GrpcHealth(3))),
            (b"\0\0\0\0\0", Err(Failure::GrpcHealth(0))),
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", Ok(())),
            (b"\0\0\0\0\x06\x12\x7fhi\x08\x01", Err(Failure::NotGrpc)),
            (b"\x01\0\0\0\x02\x08\x01", Err(Failure::NotGrpc)),
            (b"\0\0\0\0\x05\x08\x01", Err(Failure::NotGrpc)),
            (b"\0\0", Err(Failure::NotGrpc)),
            (b"\0\0\0\0\x01\x08", Err(Failure::NotGrpc)),
            (b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Err(Failure::NotGrpc)),
        ];
        for (answer, verdict) in rows {
            assert_eq!(judge(answer), verdict, "{answer:?}");
        }
    }
}
