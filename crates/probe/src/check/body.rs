//! The body of an answer: where it ends, and whether it holds what is expected. Pure: bytes in, verdict out.

use crate::{BODY_LIMIT, ExpectedBody, Failure};

/// How the end of an HTTP/1 body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// It comes in chunks, the last one empty.
    Chunked,
    /// The connection's end is its end.
    UntilClose,
}

/// What an answer's header says of its body (RFC 9112, section 6.3: chunks go before a length).
pub(super) fn framing(fields: &[httparse::Header<'_>]) -> Result<Framing, Failure> {
    let mut framing = Framing::UntilClose;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let chunked = field.value.trim_ascii_end().to_ascii_lowercase().ends_with(b"chunked");
            return Ok(if chunked { Framing::Chunked } else { Framing::UntilClose });
        }
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(|_| Failure::NotHttp)?;
            framing = Framing::Length(text.trim().parse().map_err(|_| Failure::NotHttp)?);
        }
    }
    Ok(framing)
}

/// Follows an HTTP/1 body through its framing.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    UntilClose,
    /// So many bytes of the body, or of the chunk, are still to come.
    Data {
        left: u64,
        chunked: bool,
    },
    /// A chunk's size; the line so far.
    Size {
        line: Vec<u8>,
    },
    /// The two bytes behind a chunk's data.
    ChunkEnd {
        left: u8,
    },
    Done,
}

/// The most bytes of the line with a chunk's size.
const SIZE_LINE_LIMIT: usize = 128;

impl Decoder {
    pub(super) const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Data { left, chunked: false },
            Framing::Chunked => State::Size { line: Vec::new() },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the connection's end is no loss.
    pub(super) const fn ends_with_the_stream(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    /// Takes the next bytes and hands on what is body; true once it is whole. What follows the last chunk (trailers) is
    /// not looked at.
    pub(super) fn decode(&mut self, mut bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<bool, Failure> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Done => break,
                State::UntilClose => {
                    data(bytes);
                    break;
                }
                State::Data { left, chunked } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (part, rest) = bytes.split_at(count);
                    data(part);
                    bytes = rest;
                    *left -= count as u64;
                    if *left == 0 {
                        self.state = if *chunked { State::ChunkEnd { left: 2 } } else { State::Done };
                    }
                }
                State::ChunkEnd { left } => {
                    bytes = &bytes[1..];
                    *left -= 1;
                    if *left == 0 {
                        self.state = State::Size { line: Vec::new() };
                    }
                }
                State::Size { line } => {
                    line.push(bytes[0]);
                    bytes = &bytes[1..];
                    if let Some(size) = chunk_size(line)? {
                        self.state =
                            if size == 0 { State::Done } else { State::Data { left: size, chunked: true } };
                    }
                }
            }
        }
        Ok(self.is_done())
    }
}

fn chunk_size(line: &[u8]) -> Result<Option<u64>, Failure> {
    match httparse::parse_chunk_size(line) {
        Ok(httparse::Status::Complete((_, size))) => Ok(Some(size)),
        Ok(httparse::Status::Partial) if line.len() < SIZE_LINE_LIMIT => Ok(None),
        _ => Err(Failure::NotHttp),
    }
}

/// Looks for what is expected in a body that comes in pieces; holds no more of it than the expected text is long.
#[derive(Debug)]
pub(super) struct Matcher<'e> {
    expected: &'e ExpectedBody,
    /// The last bytes, in which a match may begin; for a prefix, how much of it was matched is `seen`.
    tail: Vec<u8>,
    seen: usize,
    /// Whether it is decided, and how.
    verdict: Option<bool>,
}

impl<'e> Matcher<'e> {
    pub(super) const fn new(expected: &'e ExpectedBody) -> Self {
        Self { expected, tail: Vec::new(), seen: 0, verdict: None }
    }

    /// Takes the next bytes of the body.
    pub(super) fn feed(&mut self, data: &[u8]) {
        if self.verdict.is_some() {
            return;
        }
        let data = &data[..data.len().min(BODY_LIMIT - self.seen)];
        match self.expected {
            ExpectedBody::StartsWith(text) => {
                let wanted = text.as_bytes().get(self.seen..).unwrap_or_default();
                let compared = wanted.len().min(data.len());
                if wanted[..compared] != data[..compared] {
                    self.verdict = Some(false);
                } else if compared == wanted.len() {
                    self.verdict = Some(true);
                }
            }
            ExpectedBody::Contains(text) => {
                self.tail.extend_from_slice(data);
                let keep = text.len().saturating_sub(1);
                if text.is_empty() || self.tail.windows(text.len()).any(|part| part == text.as_bytes()) {
                    self.verdict = Some(true);
                } else if self.tail.len() > keep {
                    self.tail.drain(..self.tail.len() - keep);
                }
            }
        }
        self.seen += data.len();
        if self.seen == BODY_LIMIT && self.verdict.is_none() {
            self.verdict = Some(false);
        }
    }

    /// The verdict, if it is known; when the body is whole it is.
    pub(super) fn verdict(&self, whole: bool) -> Option<Result<(), Failure>> {
        let verdict = self.verdict.or_else(|| whole.then(|| self.expected.is_empty()))?;
        Some(if verdict { Ok(()) } else { Err(Failure::Body(self.expected.describe())) })
    }
}

impl ExpectedBody {
    const fn is_empty(&self) -> bool {
        let (Self::Contains(text) | Self::StartsWith(text)) = self;
        text.is_empty()
    }

    /// Completes "the body does not ...".
    fn describe(&self) -> String {
        match self {
            Self::Contains(text) => format!("contain {text:?}"),
            Self::StartsWith(text) => format!("start with {text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes in pieces of `size` bytes.
    fn decoded(framing: Framing, bytes: &[u8], size: usize) -> (Vec<u8>, Result<bool, Failure>) {
        let mut decoder = Decoder::new(framing);
        let mut body = Vec::new();
        let mut done = Ok(decoder.is_done());
        for piece in bytes.chunks(size) {
            done = decoder.decode(piece, |data| body.extend_from_slice(data));
            if done != Ok(false) {
                break;
            }
        }
        (body, done)
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let rows: [(Framing, &str, &str, Result<bool, Failure>); 8] = [
            (Framing::Length(2), "hi and more", "hi", Ok(true)),
            (Framing::Length(5), "hi", "hi", Ok(false)),
            (Framing::Length(0), "x", "", Ok(true)),
            (Framing::UntilClose, "hi", "hi", Ok(false)),
            (Framing::Chunked, "2\r\nhi\r\n3;x=y\r\n you\r\n0\r\n\r\n", "hi yo", Err(Failure::NotHttp)),
            (Framing::Chunked, "2\r\nhi\r\n4;x=y\r\n you\r\n0\r\n\r\n", "hi you", Ok(true)),
            (Framing::Chunked, "A\r\n0123456789", "0123456789", Ok(false)),
            (Framing::Chunked, "nonsense", "", Err(Failure::NotHttp)),
        ];
        for (framing, bytes, body, done) in rows {
            for size in [1, 3, 1000] {
                let found = decoded(framing, bytes.as_bytes(), size);
                assert_eq!(found, (body.as_bytes().to_vec(), done.clone()), "{bytes:?} by {size}");
            }
        }
    }

    fn matched(expected: &ExpectedBody, pieces: &[&[u8]]) -> bool {
        let mut matcher = Matcher::new(expected);
        for piece in pieces {
            matcher.feed(piece);
            assert!(matcher.tail.len() <= 64, "what is kept does not grow with the body");
        }
        matcher.verdict(true) == Some(Ok(()))
    }

    #[test]
    fn no_more_than_the_limit_is_looked_at() {
        let late = ExpectedBody::Contains("ok".into());
        let filler = vec![b'x'; BODY_LIMIT - 1];
        assert!(!matched(&late, &[&filler, b"ok"]));
        assert!(matched(&late, &[&filler[1..], b"ok"]));
    }

    proptest! {
        #[test]
        fn a_match_does_not_depend_on_how_the_body_is_cut(
            body in "[ab]{0,40}", text in "[ab]{0,4}", cut in 0_usize..41,
        ) {
            let (first, second) = body.as_bytes().split_at(cut.min(body.len()));
            let pieces = [first, second];
            prop_assert_eq!(matched(&ExpectedBody::Contains(text.clone()), &pieces), body.contains(&text));
            prop_assert_eq!(matched(&ExpectedBody::StartsWith(text.clone()), &pieces), body.starts_with(&text));
        }
    }
}
