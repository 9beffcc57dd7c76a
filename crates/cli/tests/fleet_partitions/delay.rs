//! A longer way between two sites, for kernels without a scheduler that delays (netem): the router takes the connections
//! between them and carries their bytes itself, as late as it is told at the time.
//!
//! The handshake of a new connection is answered by the router, so it is not delayed; its first bytes are.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

/// One read.
const CHUNK: usize = 16 * 1024;
/// Chunks under way in one direction of a connection; beyond that the sender is slowed down.
const UNDER_WAY: usize = 1024;

/// How late bytes arrive, each way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Late(Arc<AtomicU64>);

impl Late {
    pub(crate) fn set(&self, late: Duration) {
        self.0.store(u64::try_from(late.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Carries what comes to this port to `target`, from now on.
pub(crate) async fn carry(port: u16, target: SocketAddr, late: Late) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let late = late.clone();
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(target).await else { return };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::join!(way(from_near, to_far, late.clone()), way(from_far, to_near, late));
            });
        }
    });
}

async fn way(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, late: Late) {
    let (sender, line) = mpsc::channel(UNDER_WAY);
    tokio::join!(depart(from, sender, late), arrive(to, line));
}

async fn depart(mut from: impl AsyncRead + Unpin, line: mpsc::Sender<(Instant, Vec<u8>)>, late: Late) {
    let mut buffer = vec![0; CHUNK];
    let mut latest = Instant::now();
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // Bytes never overtake each other.
        latest = latest.max(Instant::now() + late.get());
        if line.send((latest, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn arrive(mut to: impl AsyncWrite + Unpin, mut line: mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Some((arrives, bytes)) = line.recv().await {
        tokio::time::sleep_until(arrives).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The other end may be gone already.
    let _ = to.shutdown().await;
}
