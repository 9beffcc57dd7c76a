//! The connection that carries heartbeats, driven by the very task that beats on it.
//!
//! With a client of tonic a beat passes through three tasks and two queues on its way out, and two on its way in: at a hundred links
//! that is half of what the links of an agent cost (`cargo bench -p tidegate-link --bench links`). So this speaks gRPC (a POST, and
//! messages behind five bytes of length) over HTTP/2 itself, for the two calls that a heartbeat connection knows.

use super::dial::{AGENT, DIAL_TIMEOUT, Ending};
use crate::identity::{Serial, dial_tls};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Method, Request, StatusCode, header::CONTENT_TYPE};
use prost::Message;
use rustls::ClientConfig;
use std::{future::poll_fn, io, net::SocketAddr, pin::Pin, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::yield_now,
    time::timeout,
};
use tonic::Status;

/// The largest message that is taken: beats are small.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// A message is preceded by a byte that says whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// What waits at most to be written, of one stream: a few beats. What waits longer is of no use to anybody.
const UNSENT_BYTES: usize = 512;

/// Moves bytes while it is polled; ends with the connection.
pub(super) type Drive = Pin<Box<dyn Future<Output = Ending> + Send>>;

/// A connection to a gateway.
pub(super) struct Line {
    requests: client::SendRequest<Bytes>,
    address: SocketAddr,
}

/// Connects: HTTP/2, with TLS if there is a configuration for it, else plain with prior knowledge; with TLS also the serial of
/// the gateway's certificate.
pub(super) async fn open(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<(Line, Drive, Option<Serial>), Ending> {
    let connected = async {
        let broken = |error: io::Error| Ending::broken(&error);
        let Some(tls) = tls else {
            let stream = TcpStream::connect(address).await.map_err(broken)?;
            stream.set_nodelay(true).map_err(broken)?;
            let (requests, drive) = shake_hands(stream).await?;
            return Ok((requests, drive, None));
        };
        let (stream, serial) = dial_tls(address, AGENT, Arc::clone(tls)).await.map_err(broken)?;
        let (requests, drive) = shake_hands(stream).await?;
        Ok((requests, drive, serial))
    };
    let (requests, drive, serial) = timeout(DIAL_TIMEOUT, connected).await.map_err(|_| Ending::Silent)??;
    Ok((Line { requests, address }, drive, serial))
}

async fn shake_hands<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: T,
) -> Result<(client::SendRequest<Bytes>, Drive), Ending> {
    let mut builder = client::Builder::new();
    builder.enable_push(false).max_send_buffer_size(UNSENT_BYTES);
    let (requests, connection) = builder.handshake(stream).await.map_err(ending_of)?;
    let drive = async {
        let ending = connection
            .await
            .map_or_else(ending_of, |()| Ending::Broken("the gateway closed the connection".to_owned()));
        // Its calls were woken, and may have been told more of why: they are asked first.
        yield_now().await;
        ending
    };
    Ok((requests, Box::pin(drive)))
}

fn ending_of(error: h2::Error) -> Ending {
    let text = error.to_string();
    error.into_io().map_or_else(|| Ending::broken(&io::Error::other(text)), |error| Ending::broken(&error))
}

impl Line {
    /// Begins a call with its first message, which may be the only one: the way for more of them, and the way in once there is one.
    /// It goes nowhere unless the connection is driven.
    pub(super) async fn call<M: Message>(
        &self,
        path: &str,
        first: &M,
        is_only: bool,
    ) -> Result<(Out, impl Future<Output = Result<Messages, Ending>> + Send + use<M>), Ending> {
        let mut requests = self.requests.clone().ready().await.map_err(ending_of)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.address))
            .header(CONTENT_TYPE, "application/grpc")
            .header("te", "trailers")
            .body(());
        let request = request.map_err(|error| Ending::Broken(error.to_string()))?;
        let (response, mut out) = requests.send_request(request, false).map_err(ending_of)?;
        // There is room for the first: it waits for the connection to take the call.
        out.send_data(framed(first), is_only).map_err(ending_of)?;
        out.reserve_capacity(UNSENT_BYTES);
        Ok((Out(out), messages(response)))
    }
}

/// What comes back, once its head is there.
async fn messages(response: client::ResponseFuture) -> Result<Messages, Ending> {
    let (head, body) = response.await.map_err(ending_of)?.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Err(Ending::of(&status));
    }
    if head.status != StatusCode::OK {
        return Err(Ending::Answered(format!("HTTP status {}", head.status)));
    }
    Ok(Messages { body, buffer: BytesMut::new() })
}

/// A message as it goes over the line.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    bytes.put_u8(0);
    // Messages are far below 4 GB.
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    bytes.put_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// Where messages of a call go.
pub(super) struct Out(SendStream<Bytes>);

impl Out {
    /// Sends a message, unless those before it still wait to be sent.
    pub(super) fn offer(&mut self, message: &impl Message) -> bool {
        let bytes = framed(message);
        let is_sent = self.0.capacity() >= bytes.len() && self.0.send_data(bytes, false).is_ok();
        self.0.reserve_capacity(UNSENT_BYTES);
        is_sent
    }
}

/// The messages that come back.
pub(super) struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    /// The next one; `None` if the other side ended the call in good order. Nothing is lost if it is not waited for.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Ending> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return M::decode(message)
                    .map(Some)
                    .map_err(|error| Ending::Answered(format!("sent what is no message: {error}")));
            }
            match poll_fn(|context| self.body.poll_data(context)).await {
                Some(Ok(data)) => {
                    let _ = self.body.flow_control().release_capacity(data.len());
                    self.buffer.extend_from_slice(&data);
                }
                Some(Err(error)) => return Err(ending_of(error)),
                None => break,
            }
        }
        let trailers = poll_fn(|context| self.body.poll_trailers(context)).await.map_err(ending_of)?;
        match Status::from_header_map(&trailers.unwrap_or_else(HeaderMap::new)) {
            Some(status) if status.code() == tonic::Code::Ok => Ok(None),
            Some(status) => Err(Ending::of(&status)),
            None => Err(Ending::Answered("ended a call without a status".to_owned())),
        }
    }
}

/// A whole message out of what has come.
fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, Ending> {
    let &[compressed, a, b, c, d, ..] = &buffer[..] else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if compressed != 0 || length > MAX_MESSAGE_BYTES {
        return Err(Ending::Answered(format!(
            "sent a message of {length} bytes{}; {MAX_MESSAGE_BYTES} are allowed, and no compression",
            if compressed == 0 { "" } else { ", compressed" },
        )));
    }
    if buffer.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Beat;
    use h2::server;

    /// A line to a gateway that is played by `plays`, which takes so many bytes of a call; the line is driven.
    async fn line<P: Future<Output = ()> + Send + 'static>(
        window: u32,
        plays: impl FnOnce(server::SendResponse<Bytes>, RecvStream) -> P + Send + 'static,
    ) -> Line {
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut builder = server::Builder::new();
            let mut far = builder.initial_window_size(window).handshake::<_, Bytes>(far).await.unwrap();
            let (request, respond) = far.accept().await.unwrap().unwrap();
            tokio::spawn(plays(respond, request.into_body()));
            while far.accept().await.is_some() {}
        });
        let (requests, drive) = shake_hands(near).await.unwrap();
        tokio::spawn(drive);
        Line { requests, address: "127.0.0.1:1".parse().unwrap() }
    }

    fn beat(seq: u64) -> Beat {
        Beat { cluster: "east".to_owned(), boot_id: 7, seq, echo_seq: 0, falls: 0 }
    }

    /// What comes of these bytes.
    async fn hear(bytes: &'static [u8]) -> Result<Option<Beat>, Ending> {
        let line = line(1 << 16, async move |mut respond, _| {
            let mut out = respond.send_response(http::Response::new(()), false).unwrap();
            out.send_data(Bytes::from_static(bytes), true).unwrap();
        });
        let (_out, answer) = line.await.call("/beats", &beat(1), false).await.unwrap();
        answer.await?.next().await
    }

    #[tokio::test]
    async fn messages_that_come_in_pieces_are_put_together_and_a_call_ends_with_its_status() {
        let line = line(1 << 16, async move |mut respond, mut body| {
            let mut out = respond.send_response(http::Response::new(()), false).unwrap();
            // What is sent comes back, a byte at a time.
            let sent = body.data().await.unwrap().unwrap();
            for at in 0..sent.len() {
                out.send_data(sent.slice(at..=at), false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "14".parse().unwrap());
            trailers.insert("grpc-message", "shuts%20down".parse().unwrap());
            out.send_trailers(trailers).unwrap();
        });
        let (_out, answer) = line.await.call("/beats", &beat(1), false).await.unwrap();
        let mut messages = answer.await.unwrap();
        assert_eq!(messages.next::<Beat>().await.unwrap(), Some(beat(1)));
        let ended = messages.next::<Beat>().await;
        assert!(matches!(&ended, Err(Ending::Answered(why)) if why.contains("shuts down")), "{ended:?}");
    }

    #[tokio::test]
    async fn what_is_no_message_is_said_of_the_gateway_that_sent_it() {
        for (bytes, why) in [
            (&[1, 0, 0, 0, 0][..], "compressed"),
            (&[0, 0, 0, 0x10, 1], "4097 bytes"),
            (&[0, 0, 0, 0, 1, 0xff], "no message"),
            (&[0, 0, 0, 0, 9, 1], "without a status"),
        ] {
            let heard = hear(bytes).await;
            assert!(matches!(&heard, Err(Ending::Answered(text)) if text.contains(why)), "{why}: {heard:?}");
        }
    }

    #[tokio::test]
    async fn beats_that_cannot_leave_are_lost_and_do_not_queue() {
        let (ended, heard) = tokio::sync::oneshot::channel();
        // It takes what three beats need, and gives no more room.
        let window = framed(&beat(1)).len() * 3;
        let line = line(u32::try_from(window).unwrap(), async move |mut respond, mut body| {
            let out = respond.send_response(http::Response::new(()), false).unwrap();
            let mut bytes = 0;
            while let Some(Ok(data)) = body.data().await {
                bytes += data.len();
            }
            ended.send(bytes).unwrap();
            drop(out);
        });
        let (mut out, answer) = line.await.call("/beats", &beat(1), false).await.unwrap();
        // By the answer it is known how much is taken.
        let messages = answer.await.unwrap();
        let sent = (2..=100).filter(|_| out.offer(&beat(1))).count();
        assert_eq!(sent, 2, "and the first");
        drop((out, messages));
        assert!(heard.await.unwrap() <= window);
    }
}
