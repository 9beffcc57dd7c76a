//! Connections with an identity, for gRPC: accepted with a limit on handshakes, and dialled.

use super::{CertificateFacts, Identity, Refusal, Refusals, Serial, TlsError};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, server::Connected};

/// A handshake takes two round trips; whoever needs longer is gone or means harm.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes under way; more wait in the kernel's queue. Each costs a signature.
const HANDSHAKES: usize = 64;
/// A dial may take so long, handshake included.
const DIAL: Duration = Duration::from_secs(10);
/// A connection on which a ping stays unanswered for so long is dead.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// Who is at the other end of a connection, for handlers: in a request's extensions.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// From where.
    pub address: SocketAddr,
    /// What its certificate says, which was verified; `None` for nobody.
    pub certificate: Option<Arc<CertificateFacts>>,
}

/// Comes back when a connection has to end.
type Ends = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection whose handshake succeeded.
pub struct Accepted {
    stream: TlsStream<TcpStream>,
    info: PeerInfo,
    ends: Option<Ends>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Accepted {
    /// It breaks once the certificate that was shown is revoked by the lights of `identity`.
    #[must_use]
    pub fn until_revoked(mut self, identity: &Identity) -> Self {
        let Some(facts) = self.info.certificate.clone() else { return self };
        let identity = identity.clone();
        self.ends = Some(Box::pin(async move {
            identity.revokes(&facts).await;
            let text = format!("{} is refused: its certificate {} was revoked", facts.names, facts.serial);
            identity.refusals().note("revoked", &text, Instant::now());
        }));
        self
    }
}

/// Accepts connections until `stop`: the handshakes run beside each other, and what fails is noted and forgotten.
#[must_use]
pub fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    refusals: Refusals,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Accepted>> {
    let (out, accepted) = mpsc::channel(HANDSHAKES);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        let slots = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                stream = listener.accept() => stream,
            };
            let (stream, address) = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of files, as a rule: others need a moment to close theirs.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (acceptor, refusals, out) = (acceptor.clone(), refusals.clone(), out.clone());
            tokio::spawn(async move {
                let _slot = slot;
                if let Some(accepted) = handshake(&acceptor, stream, address, &refusals).await {
                    // Fails only if the server is gone.
                    let _ = out.send(Ok(accepted)).await;
                }
            });
        }
    });
    ReceiverStream::new(accepted)
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    refusals: &Refusals,
) -> Option<Accepted> {
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // Certificates that are refused were noted where that was decided.
            if refusal_in(&error).is_none() {
                refusals.note(
                    "handshake",
                    &format!("{} did not finish TLS: {error}", address.ip()),
                    Instant::now(),
                );
            }
            return None;
        }
        Err(_) => {
            let text = format!("{} did not finish TLS within {} s", address.ip(), HANDSHAKE.as_secs());
            refusals.note("handshake", &text, Instant::now());
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    // It was read and verified in the handshake.
    let certificate = shown.and_then(|leaf| CertificateFacts::read(leaf).ok()).map(Arc::new);
    Some(Accepted { stream, info: PeerInfo { address, certificate }, ends: None })
}

impl Connected for Accepted {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever serves it always reads: HTTP/2 has to.
        if self.ends.as_mut().is_some_and(|ends| ends.as_mut().poll(context).is_ready()) {
            self.ends = Some(Box::pin(std::future::ready(())));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "revoked")));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Why a connection cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It took too long.
    #[error("no connection within {} s", DIAL.as_secs())]
    Silent,
    /// The other side is not believed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be made, or broke.
    #[error("{0}")]
    Broken(String),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Dials `address` (`HOST:PORT`) once, and speaks gRPC over TLS there. The channel does not reconnect by itself into anything
/// else: it dials the same address, and judges the other side anew.
///
/// # Errors
/// If no connection comes about, or the other side is not believed.
pub async fn connect(address: &str, config: Arc<ClientConfig>) -> Result<Channel, DialError> {
    let endpoint = Endpoint::from_static("http://hub.tidegate")
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true);
    match timeout(DIAL, connect_with(&endpoint, address.to_owned(), "hub.tidegate", config, Seen::default()))
        .await
    {
        Err(_) => Err(DialError::Silent),
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(refusal_in(&error).map_or_else(
            || DialError::Broken(format!("cannot reach {address}: {}", root(&error))),
            DialError::Refused,
        )),
    }
}

/// Dials the door for people of a hub or an agent, which is known by the pin of its authority: a stream for HTTP/1.1. Who has a
/// certificate shows it.
///
/// # Errors
/// If no connection comes about, or the other side is not believed.
pub async fn dial_pinned(
    address: SocketAddr,
    pin: super::Pin,
    own: Option<&super::Identity>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
    let clock: Arc<dyn super::Clock> = Arc::new(super::SystemClock);
    let mut config = (*super::pinned::pinned(pin, &clock, true)?.0).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if let Some(own) = own {
        config.client_auth_cert_resolver = Arc::new(own.clone());
    }
    let broken = |error: &io::Error| DialError::Broken(format!("cannot reach {address}: {error}"));
    let dial = async {
        let stream = TcpStream::connect(address).await.map_err(|error| broken(&error))?;
        let name = ServerName::try_from("hub.tidegate").map_err(|error| broken(&io::Error::other(error)))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        stream.map_err(|error| refusal_in(&error).map_or_else(|| broken(&error), DialError::Refused))
    };
    timeout(DIAL, dial).await.unwrap_or(Err(DialError::Silent))
}

/// The serial of the certificate that the other side showed, once its handshake succeeded.
pub(crate) type Seen = Arc<OnceLock<Serial>>;

/// Dials an endpoint over TLS at `address`, asking for this server name. Whose certificate it met it leaves in `seen`.
pub(crate) async fn connect_with(
    endpoint: &Endpoint,
    address: impl ToSocketAddrs + Clone + Send + Sync + 'static,
    server_name: &'static str,
    config: Arc<ClientConfig>,
    seen: Seen,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: http::Uri| {
        let (address, config, seen) = (address.clone(), Arc::clone(&config), Arc::clone(&seen));
        async move {
            let (stream, serial) = dial_tls(address, server_name, config).await?;
            if let Some(serial) = serial {
                let _ = seen.set(serial);
            }
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    endpoint.connect_with_connector(connector).await
}

/// Dials with TLS; with the serial of the certificate that the other side showed.
pub(crate) async fn dial_tls(
    address: impl ToSocketAddrs,
    server_name: &'static str,
    config: Arc<ClientConfig>,
) -> io::Result<(tokio_rustls::client::TlsStream<TcpStream>, Option<Serial>)> {
    let name = ServerName::try_from(server_name).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let serial = shown.and_then(|leaf| CertificateFacts::read(leaf).ok()).map(|facts| facts.serial);
    Ok((stream, serial))
}

/// Who was refused and why, if that is what an error of TLS was at its root.
#[must_use]
pub fn refusal_in(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) =
            error.downcast_ref::<rustls::Error>()
        {
            return other.0.downcast_ref::<Refusal>().cloned();
        }
        // An I/O error hides what it wraps from `source`.
        at = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string().chars().take(200).collect()
}
