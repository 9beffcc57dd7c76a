//! One listener that is every endpoint of the estate: it is bound to all of loopback, and the address that a
//! connection was made to says which endpoint is meant.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// The header that names the address of who served.
pub(crate) const SERVED_BY: &str = "x-served-by";
/// What health checks ask for.
pub(crate) const HEALTH_PATH: &str = "/healthz";
/// So many answers of the same kind make a verdict, up or down: the defaults of `healthCheck.active`.
const THRESHOLD: u32 = 2;
/// No request here is longer.
const MAX_REQUEST: usize = 16 << 10;

/// An endpoint whose health the benchmark changes.
#[derive(Debug, Default)]
pub(crate) struct Patient {
    sick: AtomicBool,
    answers: AtomicU32,
    known: Mutex<Option<Instant>>,
    told: Notify,
}

impl Patient {
    /// Changes its health, and waits until checks have been answered so often that the change can be known: the
    /// time just before the last of these answers was written.
    pub(crate) async fn turn(&self, sick: bool) -> Instant {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.answers.store(0, Ordering::SeqCst);
        self.sick.store(sick, Ordering::SeqCst);
        loop {
            let told = self.told.notified();
            if let Some(at) = *self.known.lock().unwrap_or_else(PoisonError::into_inner) {
                return at;
            }
            told.await;
        }
    }

    /// The answer to a check.
    fn check(&self) -> bool {
        let sick = self.sick.load(Ordering::SeqCst);
        if self.answers.fetch_add(1, Ordering::SeqCst) + 1 == THRESHOLD {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.told.notify_waiters();
        }
        !sick
    }
}

/// All endpoints.
#[derive(Debug, Default)]
pub(crate) struct Toys {
    pub(crate) patients: HashMap<Ipv4Addr, Arc<Patient>>,
    /// Health checks answered.
    pub(crate) checks: AtomicU64,
}

/// Serves until the runtime ends.
pub(crate) fn serve(toys: Arc<Toys>, listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let toys = Arc::clone(&toys);
            tokio::spawn(async move {
                // A peer that goes away in the middle is nothing to tell.
                let _ = connection(stream, &toys).await;
            });
        }
    });
}

async fn connection(mut stream: TcpStream, toys: &Toys) -> io::Result<()> {
    let SocketAddr::V4(own) = stream.local_addr()? else { return Ok(()) };
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(1024);
    loop {
        let end = loop {
            if let Some(at) = request.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let is_check = head.starts_with(&format!("get {HEALTH_PATH} "));
        let close = head.contains("connection: close");
        request.drain(..end);
        let mut healthy = true;
        if is_check {
            toys.checks.fetch_add(1, Ordering::Relaxed);
            healthy = toys.patients.get(own.ip()).is_none_or(|patient| patient.check());
        }
        let status = if healthy { "200 OK" } else { "503 Service Unavailable" };
        let answer = format!("HTTP/1.1 {status}\r\n{SERVED_BY}: {}\r\ncontent-length: 0\r\n\r\n", own.ip());
        stream.write_all(answer.as_bytes()).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// The loopback address with this number, from 127.`net`.0.1 on; there are about 64,000 in a `net`.
pub(crate) fn address(net: u8, number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or(u32::MAX) + 1;
    // The last part is never 0 or 255, which look like networks.
    let (carry, last) = (number / 254, number % 254 + 1);
    Ipv4Addr::from((127 << 24) + (u32::from(net) << 16) + (carry << 8) + last)
}

/// `ip` at `port`.
pub(crate) fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(ip), port)
}
