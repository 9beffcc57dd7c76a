//! Addresses of a lab's own, and the door: a listening address that can be shut and opened again.

use futures::future::BoxFuture;
use rand::Rng as _;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// A lab's claim on a block 127.R.0.0/16. The port is below every system's range of ephemeral ports.
const CLAIM_PORT: u16 = 20_470;
/// Connections open at one door at a time; further ones wait in the backlog.
const MAX_CONNECTIONS: usize = 4096;
/// Connects that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Tries to bind an address again, [`REBIND_PAUSE`] apart: the kernel may need a moment to let go of it.
const REBIND_TRIES: u32 = 100;
const REBIND_PAUSE: Duration = Duration::from_millis(20);
/// How long a closing door waits for its connections to be dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Where the addresses of a lab come from: on Linux a block 127.R.0.0/16 of its own, so that each
/// endpoint has an address of its own and labs run side by side; elsewhere, where only 127.0.0.1
/// exists without set-up, that one address for all, told apart by ports.
#[derive(Debug)]
pub struct Loopback {
    block: Option<u8>,
    next: AtomicU16,
    /// Held open while the lab lives: no other lab draws this block.
    _claim: Option<std::net::TcpListener>,
}

impl Loopback {
    /// Draws a block that no other lab on this machine holds.
    #[must_use]
    pub fn claim() -> Self {
        if !cfg!(target_os = "linux") {
            return Self { block: None, next: AtomicU16::new(1), _claim: None };
        }
        let mut rng = rand::rng();
        let mut block = 0;
        for _ in 0..256 {
            block = rng.random_range(32..=250);
            if let Ok(claim) = std::net::TcpListener::bind((Ipv4Addr::new(127, block, 0, 1), CLAIM_PORT)) {
                return Self { block: Some(block), next: AtomicU16::new(1), _claim: Some(claim) };
            }
        }
        // Somebody else holds the claim port everywhere. Ports are drawn by the kernel, so two labs
        // in one block still get along.
        Self { block: Some(block), next: AtomicU16::new(1), _claim: None }
    }

    /// The next address of the block; after 64,000 of them they come round again.
    pub fn next_ip(&self) -> IpAddr {
        let Some(block) = self.block else { return IpAddr::V4(Ipv4Addr::LOCALHOST) };
        loop {
            let [high, low] = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            // 127.R.0.1 is the claim's; .0 and .255 look like a network's and a broadcast's.
            if !matches!((high, low), (_, 0 | 255) | (0, 1)) {
                return IpAddr::V4(Ipv4Addr::new(127, block, high, low));
            }
        }
    }

    /// A new address with a free port, held until it is released, so that two reservations never
    /// get the same one.
    pub fn reserve(&self) -> io::Result<Reserved> {
        let listener = std::net::TcpListener::bind((self.next_ip(), 0))?;
        Ok(Reserved { address: listener.local_addr()?, _listener: listener })
    }
}

/// An address kept free for a child process. Drop it right before the child binds it.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    _listener: std::net::TcpListener,
}

impl Reserved {
    /// The address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Lets this process open as many files as the system allows without asking: each connection of
/// the lab is one, and some systems start at 256. Failure leaves the limit as it is.
pub fn raise_open_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // macOS refuses a soft limit above its own maximum, which the hard limit does not tell.
    let wanted = if cfg!(target_os = "macos") { Some(10_240) } else { limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Serves one connection; dropped when the door closes.
pub(crate) type Serve = dyn Fn(TcpStream) -> BoxFuture<'static, ()> + Send + Sync;

/// A listening address that can be shut (connects are refused, open connections are dropped) and
/// opened again at the same place.
pub(crate) struct Door {
    address: SocketAddr,
    serve: Arc<Serve>,
    open: Mutex<Option<Open>>,
}

struct Open {
    closing: DropGuard,
    tasks: TaskTracker,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Door {
    /// Opens a door; port 0 lets the kernel choose.
    pub(crate) fn start(address: SocketAddr, serve: Arc<Serve>) -> io::Result<Self> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        let open = Mutex::new(Some(Open::start(listener, Arc::clone(&serve))));
        Ok(Self { address, serve, open })
    }

    /// Where it is.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens it again at the same address; nothing happens when it is open.
    pub(crate) async fn open(&self) -> io::Result<()> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            *open = Some(Open::start(relisten(self.address).await?, Arc::clone(&self.serve)));
        }
        Ok(())
    }

    /// Shuts it. When this returns, connects are refused and all its connections are closed.
    pub(crate) async fn close(&self) {
        let mut open = self.open.lock().await;
        if let Some(Open { closing, tasks }) = open.take() {
            closing.disarm().cancel();
            tasks.close();
            if tokio::time::timeout(CLOSE_LIMIT, tasks.wait()).await.is_err() {
                tracing::warn!(address = %self.address, "connections outlive their door");
            }
        }
    }
}

impl Open {
    fn start(listener: TcpListener, serve: Arc<Serve>) -> Self {
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, serve, closing.clone(), tasks.clone()));
        Self { closing: closing.drop_guard(), tasks }
    }
}

async fn accept(listener: TcpListener, serve: Arc<Serve>, closing: CancellationToken, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => return,
            accepted = next(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let _ = stream.set_nodelay(true);
                let (connection, closing) = (serve(stream), closing.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = closing.cancelled() => {}
                        () = connection => {}
                    }
                    drop(permit);
                });
            }
            // Out of files, or the peer was gone already: both pass.
            Err(error) => {
                tracing::debug!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// The next connection, once there is room for it.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, permit))
}

/// Listens at `address`, also while connections of an earlier listener linger in TIME_WAIT.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn relisten(address: SocketAddr) -> io::Result<TcpListener> {
    for _ in 1..REBIND_TRIES {
        match listen(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(REBIND_PAUSE).await,
            done => return done,
        }
    }
    listen(address)
}

/// Makes the coming close a reset instead of an orderly end.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labs_never_share_a_block() {
        let (one, two) = (Loopback::claim(), Loopback::claim());
        if cfg!(target_os = "linux") {
            assert_ne!(one.block, two.block);
        }
        assert!(one.next_ip().is_loopback());
    }

    #[test]
    fn reserved_addresses_are_all_different() {
        let loopback = Loopback::claim();
        let reserved: Vec<_> = (0..300).map(|_| loopback.reserve().unwrap()).collect();
        let addresses: std::collections::BTreeSet<_> = reserved.iter().map(Reserved::address).collect();
        assert_eq!(addresses.len(), 300);
    }
}
