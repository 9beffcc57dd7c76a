//! One check: a new connection, one question, a verdict on the answer.
//!
//! It tells faults of the target from faults on our side ([`Failure::Local`]): no descriptor left,
//! no local port left, or a process that was held up so long that the time of the check passed
//! without its having had a chance. Those must not take a healthy endpoint down.
//!
//! Whatever a server sends, a check holds at most [`http1::HEAD_LIMIT`] bytes of its header, looks at no more than
//! [`crate::BODY_LIMIT`] bytes of its body without keeping them, and ends with its timeout.
//!
//! A connection is closed in good order (FIN), never cut: a reset shows as an error in the logs of many servers.

mod body;
mod grpc;
mod http1;
mod http2;
pub(crate) mod tls;

use crate::{CheckConfig, CheckKind, Failure, Stage};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tls::{Alpn, Tls, TlsStore};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// Who we say we are.
const AGENT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));

/// How long a peer may take after the verdict to end the exchange in good order. The verdict does not depend on it, so
/// it is short.
const CLOSING_PATIENCE: Duration = Duration::from_millis(50);

/// A timer that fires so much too late shows that this process was held up (DESIGN.md, section 5).
pub(crate) const HELD_UP: Duration = Duration::from_millis(50);

/// What a check found.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<(), Failure>,
    /// From the start to the verdict, where the target was asked at all.
    pub(crate) latency: Option<Duration>,
}

impl Outcome {
    pub(crate) const fn local(why: String) -> Self {
        Self { result: Err(Failure::Local(why)), latency: None }
    }
}

/// How far a check has come; written by the check, read when its time is over.
struct Progress {
    started: Instant,
    stage: AtomicU8,
    /// When the verdict was known, in nanoseconds from the start; 0 while it is not.
    decided: AtomicU64,
}

impl Progress {
    fn new(started: Instant) -> Self {
        Self { started, stage: AtomicU8::new(Stage::Connect as u8), decided: AtomicU64::new(0) }
    }

    fn reach(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    fn stage(&self) -> Stage {
        let stage = usize::from(self.stage.load(Relaxed));
        Stage::ALL.get(stage).copied().unwrap_or(Stage::Body)
    }

    /// The verdict is known; what follows is only an orderly end.
    fn decide(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.decided.store(nanos.max(1), Relaxed);
    }

    fn latency(&self) -> Duration {
        match self.decided.load(Relaxed) {
            0 => self.started.elapsed(),
            nanos => Duration::from_nanos(nanos),
        }
    }

    /// An error of the operating system at the present stage.
    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::of_io(error, self.stage())
    }
}

/// Checks `address` once.
pub(crate) async fn check(address: SocketAddr, config: &CheckConfig, store: &TlsStore) -> Outcome {
    // The state of TLS and of HTTP/2 is kilobytes, which plain checks, the many, need not carry along.
    let tls = match &config.tls {
        None => None,
        // Before the time runs: how long our own files take says nothing about the target.
        Some(wanted) => match Box::pin(store.get(wanted, alpn(&config.kind), address.ip())).await {
            Ok(tls) => Some(tls),
            Err(why) => return Outcome::local(why),
        },
    };
    let progress = Progress::new(Instant::now());
    let attempt = async {
        let tcp = TcpStream::connect(address).await.map_err(|error| progress.failed(&error))?;
        match (tls, &config.kind) {
            (None, CheckKind::Tcp) => Ok(()),
            (None, CheckKind::Http(check)) => http1::ask(tcp, address, check, &progress).await,
            (None, kind) => Box::pin(ask(tcp, address, false, kind, &progress)).await,
            (Some(tls), kind) => Box::pin(ask_secured(tls, tcp, address, kind, &progress)).await,
        }
    };
    let result = match timeout(config.timeout, attempt).await {
        Ok(result) => result,
        Err(_) if progress.started.elapsed() > config.timeout + HELD_UP => {
            return Outcome::local("this process was held up".into());
        }
        Err(_) => Err(Failure::Timeout(config.timeout, progress.stage())),
    };
    let latency = (!matches!(result, Err(Failure::Local(_)))).then(|| progress.latency());
    Outcome { result, latency }
}

const fn alpn(kind: &CheckKind) -> Alpn {
    match kind {
        CheckKind::Http(_) => Alpn::Http1,
        CheckKind::Http2(_) | CheckKind::Grpc(_) => Alpn::Http2,
        CheckKind::Tcp => Alpn::None,
    }
}

/// Shakes hands, and asks inside.
async fn ask_secured(
    tls: Tls,
    tcp: TcpStream,
    address: SocketAddr,
    kind: &CheckKind,
    progress: &Progress,
) -> Result<(), Failure> {
    progress.reach(Stage::Tls);
    let stream = tls.connect(tcp).await.map_err(|error| progress.failed(&error))?;
    tls::agreed(&stream, alpn(kind))?;
    ask(stream, address, true, kind, progress).await
}

/// Asks over a connection that is open.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: SocketAddr,
    secure: bool,
    kind: &CheckKind,
    progress: &Progress,
) -> Result<(), Failure> {
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http(check) => http1::ask(stream, address, check, progress).await,
        CheckKind::Http2(check) => http2::ask(stream, address, secure, check, progress).await,
        CheckKind::Grpc(check) => grpc::ask(stream, address, secure, check, progress).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckKind;

    #[test]
    fn a_check_is_small_however_large_tls_and_http2_are() {
        let config = CheckConfig::new(CheckKind::http("/"));
        let store = TlsStore::default();
        let size = size_of_val(&check(([127, 0, 0, 1], 80).into(), &config, &store));
        assert!(size <= 1536, "{size} bytes, moved twice for each check");
    }
}
