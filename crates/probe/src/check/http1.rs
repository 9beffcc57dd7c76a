//! HTTP/1.1, as much of it as a check needs: one request without a body, one answer, the end.
//!
//! Its own and not a library's, because a check's cost is what limits how many targets one agent has.

use super::{AGENT, CLOSING_PATIENCE, Progress, body};
use crate::{ExpectedBody, Failure, HttpCheck, Method, Stage};
use body::{Decoder, Framing, Matcher};
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// The most bytes of an answer's header.
pub(crate) const HEAD_LIMIT: usize = 8 << 10;

/// The most fields of an answer's header.
const FIELD_LIMIT: usize = 64;

/// What is read of a body that nobody looks at, in bytes: enough for any health page, so that its server sees an
/// orderly end and no reset.
const DRAIN_LIMIT: usize = 16 << 10;

/// Interim answers (1xx) before the real one.
const INTERIM_LIMIT: usize = 8;

/// Room for the usual answer; a larger one makes the buffer grow, up to its limit.
const ROOM: usize = 1 << 10;

/// An answer's header.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    framing: Framing,
    /// How many bytes it takes.
    length: usize,
}

pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    address: SocketAddr,
    check: &HttpCheck,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut buffer = Vec::with_capacity(ROOM);
    write_request(&mut buffer, address, check)?;
    progress.reach(Stage::Send);
    stream.write_all(&buffer).await.map_err(|error| progress.failed(&error))?;
    stream.flush().await.map_err(|error| progress.failed(&error))?;
    progress.reach(Stage::Header);
    buffer.clear();
    let head = read_head(&mut stream, &mut buffer, check.method, progress).await?;
    let mut decoder = Decoder::new(head.framing);
    let expected = check.expected_body.as_ref().filter(|_| check.expects(head.status));
    let result = match expected {
        Some(expected) => {
            progress.reach(Stage::Body);
            read_body(&mut stream, &mut buffer, head.length, expected, &mut decoder, progress).await
        }
        None => {
            // Nobody looks at the body: it is only followed to its end. One that is no HTTP changes nothing.
            let _ = decoder.decode(buffer.get(head.length..).unwrap_or_default(), |_| {});
            if check.expects(head.status) { Ok(()) } else { Err(Failure::Status(head.status)) }
        }
    };
    progress.decide();
    if !decoder.is_done() && matches!(result, Ok(()) | Err(Failure::Status(_))) {
        // Whether it ended or was given up makes no difference.
        let _ = timeout(CLOSING_PATIENCE, drain(&mut stream, &mut buffer, decoder)).await;
    }
    result
}

/// Appends the request. Text that could not be sent as it is makes no other request than was meant.
fn write_request(buffer: &mut Vec<u8>, address: SocketAddr, check: &HttpCheck) -> Result<(), Failure> {
    use std::io::Write as _;
    let sound = |text: &str| text.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
    let texts = check.headers.iter().flat_map(|(name, value)| [name, value]);
    if !texts.chain([&check.path]).chain(&check.host).all(|text| sound(text)) {
        return Err(Failure::Local("the request has control characters in it".into()));
    }
    // Writing to a vector cannot fail.
    let _ = write!(buffer, "{} {} HTTP/1.1\r\nhost: ", check.method.as_str(), check.path);
    let _ = match &check.host {
        Some(host) => write!(buffer, "{host}"),
        None => write!(buffer, "{address}"),
    };
    let _ = write!(buffer, "\r\nuser-agent: {AGENT}\r\nconnection: close\r\n");
    for (name, value) in &check.headers {
        let _ = write!(buffer, "{name}: {value}\r\n");
    }
    buffer.extend_from_slice(b"\r\n");
    Ok(())
}

/// Reads until a final answer's header is whole. What comes behind it stays in the buffer.
async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    method: Method,
    progress: &Progress,
) -> Result<Head, Failure> {
    let mut interim = 0;
    loop {
        if read_some(stream, buffer).await.map_err(|error| progress.failed(&error))? == 0 {
            return Err(Failure::Closed(Stage::Header));
        }
        while let Some(head) = parse_head(buffer, method)? {
            if !(100..200).contains(&head.status) || head.status == 101 {
                return Ok(head);
            }
            interim += 1;
            if interim > INTERIM_LIMIT {
                return Err(Failure::NotHttp);
            }
            buffer.drain(..head.length);
        }
        if buffer.len() >= HEAD_LIMIT {
            return Err(Failure::HeaderTooLarge(HEAD_LIMIT));
        }
    }
}

/// One read, as far as there is room; 0 at the end of the stream. Servers that end TLS without saying so are common,
/// and the answer's own framing tells whether something is missing.
async fn read_some<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.len() == buffer.capacity() {
        buffer.reserve(buffer.len());
    }
    match stream.read_buf(buffer).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        other => other,
    }
}

/// The header at the beginning of `bytes`, if it is whole.
fn parse_head(bytes: &[u8], method: Method) -> Result<Option<Head>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::HeaderTooLarge(HEAD_LIMIT)),
        Err(_) => return Err(Failure::NotHttp),
    };
    let status = answer.code.ok_or(Failure::NotHttp)?;
    let bodiless = method == Method::Head || matches!(status, 100..=199 | 204 | 304);
    let framing = if bodiless { Framing::Length(0) } else { body::framing(answer.headers)? };
    Ok(Some(Head { status, framing, length }))
}

async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    head_length: usize,
    expected: &ExpectedBody,
    decoder: &mut Decoder,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut matcher = Matcher::new(expected);
    let mut from = head_length;
    loop {
        let done = decoder.decode(buffer.get(from..).unwrap_or_default(), |data| matcher.feed(data))?;
        if let Some(verdict) = matcher.verdict(done) {
            return verdict;
        }
        // Nothing of it is kept, so a body of any length takes the room of one read.
        buffer.clear();
        from = 0;
        if read_some(stream, buffer).await.map_err(|error| progress.failed(&error))? == 0 {
            if decoder.ends_with_the_stream() {
                return matcher.verdict(true).unwrap_or(Ok(()));
            }
            return Err(Failure::Closed(Stage::Body));
        }
    }
}

/// Reads what is left of an answer, within its limits.
async fn drain<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>, mut decoder: Decoder) {
    let mut seen = 0;
    while seen < DRAIN_LIMIT {
        buffer.clear();
        match read_some(stream, buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => seen += count,
        }
        if decoder.decode(buffer, |_| {}) != Ok(false) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<Head>, Failure> {
        parse_head(text.as_bytes(), Method::Get)
    }

    #[test]
    fn headers_tell_status_and_framing() {
        let parsed = |status, framing, length| Ok(Some(Head { status, framing, length }));
        let rows = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", parsed(200, Framing::Length(2), 38)),
            ("HTTP/1.0 200 OK\r\n\r\nhi", parsed(200, Framing::UntilClose, 19)),
            ("HTTP/1.1 503 x\r\nTransfer-Encoding: Chunked\r\n\r\n", parsed(503, Framing::Chunked, 46)),
            ("HTTP/1.1 204 x\r\nContent-Length: 7\r\n\r\n", parsed(204, Framing::Length(0), 37)),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Err(Failure::NotHttp)),
            ("HTTP/1.1 200 OK\r\nContent-Le", Ok(None)),
            ("SSH-2.0-x\r\n\r\n", Err(Failure::NotHttp)),
        ];
        for (text, expected) in rows {
            assert_eq!(head(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n";
        let parsed = parse_head(text, Method::Head).unwrap().unwrap();
        assert_eq!(parsed.framing, Framing::Length(0));
    }

    #[test]
    fn a_header_with_too_many_fields_is_too_large() {
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELD_LIMIT + 1));
        assert_eq!(head(&text), Err(Failure::HeaderTooLarge(HEAD_LIMIT)));
    }

    #[test]
    fn a_line_break_in_a_header_is_refused_before_anything_is_sent() {
        let mut check = HttpCheck::get("/");
        check.headers.push(("x-a".into(), "b\r\nx-c: d".into()));
        let written = write_request(&mut Vec::new(), ([127, 0, 0, 1], 80).into(), &check);
        assert!(matches!(written, Err(Failure::Local(_))), "{written:?}");
    }
}
