//! As much of HTTP/1.1 as clients of an API server need: requests with a length, answers with a length, and one that does not end.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
};

/// The longest head and body of a request.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: u64 = 8 << 20;

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    query: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(super) fn says(&self, name: &str, value: &str) -> bool {
        self.value(name) == Some(value)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }
}

impl Connection {
    pub(super) fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), writer: stream })
    }

    /// The next request; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Asked>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0
                || head.iter().map(String::len).sum::<usize>() > MAX_HEAD
            {
                return Ok(None);
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let first = head.first().cloned().unwrap_or_default();
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |it: &str| {
            let (name, value) = it.split_once('=').unwrap_or((it, ""));
            (name.to_owned(), value.replace("%2F", "/"))
        };
        let lengths = head.iter().filter_map(|line| line.split_once(':'));
        let length = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length = length.filter_map(|(_, value)| value.trim().parse().ok()).next().unwrap_or(0_u64);
        let mut body = Vec::new();
        (&mut self.reader).take(length.min(MAX_BODY)).read_to_end(&mut body)?;
        let (method, path) = (method.to_owned(), path.trim_end_matches('/').to_owned());
        Ok(Some(Asked { method, path, query: query.split('&').map(pair).collect(), body }))
    }

    pub(super) fn answer(&mut self, code: u16, body: &Value) -> io::Result<()> {
        self.whole(code, "", body)
    }

    /// Says no, and when to ask again.
    pub(super) fn refuse(&mut self, code: u16, why: &str, after: Option<u64>) -> io::Result<()> {
        let header = after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        self.whole(code, &header, &status(code, why, after))
    }

    fn whole(&mut self, code: u16, headers: &str, body: &Value) -> io::Result<()> {
        let body = body.to_string();
        let length = body.len();
        write!(
            self.writer,
            "HTTP/1.1 {code} {}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}",
            if code == 200 { "OK" } else { "Refused" }
        )
    }

    /// Begins an answer that does not end.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        )
    }

    pub(super) fn chunk(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        self.writer.write_all(b"0\r\n\r\n")
    }
}

/// A `Status`, as servers say that they do not do something.
pub(super) fn status(code: u16, message: &str, after: Option<u64>) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "MethodNotAllowed",
    };
    let details = after.map(|seconds| json!({"retryAfterSeconds": seconds}));
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
        "code": code, "reason": reason, "message": message, "details": details.unwrap_or_else(|| json!({})),
    })
}
