//! One direction of reach: a TCP proxy with a delay, that can be cut or swallow all bytes.

use crate::net::{Door, reset_on_close};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, future::BoxFuture};
use rand::Rng as _;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};

/// One read.
const CHUNK: usize = 16 * 1024;
/// Chunks under way in one direction of a connection.
const MAX_CHUNKS: usize = 4096;
/// Bytes under way in one direction of a connection; beyond it the sender is slowed down. At a
/// delay of 100 ms it allows 10 MB/s.
const MAX_BYTES: usize = 1 << 20;
/// How long the target may take to accept.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What a link does to the bytes that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// From one end to the other, each way.
    pub delay: Duration,
    /// Up to so much more, drawn for each chunk; bytes never overtake each other.
    pub jitter: Duration,
    /// Whether a new connection costs a round trip before its first byte leaves, as a TCP handshake
    /// over this distance would. (The proxy itself accepts at once.)
    pub handshake: bool,
}

/// Whether a link carries anything. A later one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    /// Bytes pass.
    Open,
    /// Bytes are swallowed, both ways and those under way too; new connections are accepted and go
    /// nowhere; nothing is closed, and an end's close is not told to the other end. When the link
    /// opens again, the connections that met the black hole are reset (a real one would have timed
    /// out) and new ones work.
    BlackHole,
    /// Connections are closed, connects are refused.
    Cut,
}

/// A running link. Dropping it closes its listener and its connections.
#[derive(Debug)]
pub struct WanLink {
    door: Door,
    state: Arc<watch::Sender<LinkState>>,
    target: SocketAddr,
    shape: Shape,
    longer: Longer,
    changing: Mutex<()>,
}

/// By how much a link takes longer than its shape says, each way.
#[derive(Clone, Debug, Default)]
struct Longer(Arc<AtomicU64>);

impl Longer {
    fn set(&self, by: Duration) {
        self.0.store(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl WanLink {
    /// Starts an open link that listens on a free port of `listen_ip` and forwards to `target`.
    pub fn start(listen_ip: IpAddr, target: SocketAddr, shape: Shape) -> io::Result<Self> {
        Self::start_at(SocketAddr::new(listen_ip, 0), target, shape)
    }

    /// The same at an address that is known before.
    pub fn start_at(listen: SocketAddr, target: SocketAddr, shape: Shape) -> io::Result<Self> {
        let state = Arc::new(watch::Sender::new(LinkState::Open));
        let longer = Longer::default();
        let shared = (Arc::clone(&state), longer.clone());
        let serve = move |client| -> BoxFuture<'static, ()> {
            carry(client, target, (shape, shared.1.clone()), shared.0.subscribe()).boxed()
        };
        let door = Door::start(listen, Arc::new(serve))?;
        Ok(Self { door, state, target, shape, longer, changing: Mutex::default() })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Where it leads.
    #[must_use]
    pub const fn target(&self) -> SocketAddr {
        self.target
    }

    /// What it does to the bytes.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Makes it take so much longer than its shape says, each way; zero is as before. Connections that a link without
    /// any delay carries already stay as they are.
    pub fn delay_by(&self, longer: Duration) {
        self.longer.set(longer);
    }

    /// Whether it carries anything.
    #[must_use]
    pub fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// Changes whether it carries anything.
    pub async fn set(&self, state: LinkState) -> io::Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        self.state.send_replace(state);
        if state == LinkState::Cut {
            self.door.close().await;
            return Ok(());
        }
        self.door.open().await
    }
}

/// Carries one connection, and swallows it when the link becomes a black hole.
async fn carry(
    mut client: TcpStream,
    target: SocketAddr,
    (shape, longer): (Shape, Longer),
    mut state: watch::Receiver<LinkState>,
) {
    let opened = Instant::now();
    let connected = tokio::select! {
        biased;
        () = black_hole(&mut state) => None,
        connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)) => Some(connected),
    };
    let mut server = match connected {
        None => return swallow_all([Some(client), None], state).await,
        Some(Ok(Ok(server))) => server,
        Some(Ok(Err(_)) | Err(_)) => return reset_on_close(&client),
    };
    let _ = server.set_nodelay(true);
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let handshake = if shape.handshake { (shape.delay + longer.get()) * 3 } else { Duration::ZERO };
        let both = async {
            tokio::try_join!(
                forward(from_client, to_server, (shape, &longer), opened + handshake),
                forward(from_server, to_client, (shape, &longer), opened),
            )
        };
        tokio::select! {
            biased;
            () = black_hole(&mut state) => None,
            ended = both => Some(ended),
        }
    };
    match ended {
        None => swallow_all([Some(client), Some(server)], state).await,
        Some(Ok(_)) => {}
        // One end was reset; so is the other.
        Some(Err(_)) => {
            reset_on_close(&client);
            reset_on_close(&server);
        }
    }
}

async fn black_hole(state: &mut watch::Receiver<LinkState>) {
    if state.wait_for(|state| *state == LinkState::BlackHole).await.is_err() {
        // The link itself is gone, and its door drops this connection.
        std::future::pending::<()>().await;
    }
}

/// Reads and forgets, until both ends have closed or the black hole is over.
async fn swallow_all(ends: [Option<TcpStream>; 2], mut state: watch::Receiver<LinkState>) {
    tokio::select! {
        _ = futures::future::join_all(ends.into_iter().flatten().map(swallow)) => {}
        _ = state.wait_for(|state| *state != LinkState::BlackHole) => {}
    }
}

async fn swallow(mut end: TcpStream) {
    reset_on_close(&end);
    let mut bytes = vec![0; CHUNK];
    while matches!(end.read(&mut bytes).await, Ok(1..)) {}
}

/// One direction of a connection; nothing arrives before `first_arrival`.
async fn forward(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    way: (Shape, &Longer),
    first_arrival: Instant,
) -> io::Result<()> {
    let (shape, longer) = way;
    if shape.delay.is_zero() && shape.jitter.is_zero() && longer.get().is_zero() {
        copy(reader, writer).await
    } else {
        delay(reader, writer, way, first_arrival).await
    }
}

/// Without a delay: straight through, no timer, no queue.
async fn copy(mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

/// Bytes under way, and the room that they take.
struct Chunk {
    arrives: Instant,
    /// Empty: the sender has finished.
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

async fn delay(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    way: (Shape, &Longer),
    first_arrival: Instant,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    tokio::try_join!(depart(reader, sender, way, first_arrival), arrive(writer, receiver))?;
    Ok(())
}

async fn depart(
    mut reader: impl AsyncRead + Unpin,
    line: mpsc::Sender<Chunk>,
    (shape, longer): (Shape, &Longer),
    first_arrival: Instant,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(MAX_BYTES));
    let mut latest = first_arrival;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = reader.read_buf(&mut buffer).await?;
        let jitter = if shape.jitter.is_zero() {
            Duration::ZERO
        } else {
            rand::rng().random_range(Duration::ZERO..=shape.jitter)
        };
        latest = latest.max(Instant::now() + shape.delay + longer.get() + jitter);
        let size = u32::try_from(read).unwrap_or(u32::MAX);
        let taken = Arc::clone(&room).acquire_many_owned(size).await.map_err(io::Error::other)?;
        let chunk = Chunk { arrives: latest, bytes: buffer.split().freeze(), _room: Some(taken) };
        // The other side ends only after an error, which ends this side too.
        if line.send(chunk).await.is_err() || read == 0 {
            return Ok(());
        }
    }
}

async fn arrive(mut writer: impl AsyncWrite + Unpin, mut line: mpsc::Receiver<Chunk>) -> io::Result<()> {
    while let Some(chunk) = line.recv().await {
        tokio::time::sleep_until(chunk.arrives).await;
        if chunk.bytes.is_empty() {
            break;
        }
        writer.write_all(&chunk.bytes).await?;
    }
    writer.shutdown().await
}
