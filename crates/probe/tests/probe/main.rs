//! The prober against real sockets on loopback. Nothing here asserts how long something took.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap, as tests do")]

mod grpc;
mod hostile;
mod http1;
mod http2;
mod latency;
mod many;
mod plain;
mod tls;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tidegate_model::ProbeVerdict;
use tidegate_probe::{CheckConfig, CheckKind, Prober, Target, Verdict};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Long enough for any machine; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) prober: Prober<&'static str>,
    pub(crate) verdicts: mpsc::Receiver<Verdict<&'static str>>,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) fn fixture() -> Fixture {
    let (sender, verdicts) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    Fixture { prober: Prober::start(sender, shutdown.clone()).unwrap(), verdicts, shutdown }
}

impl Fixture {
    pub(crate) async fn next(&mut self) -> Option<Verdict<&'static str>> {
        timeout(PATIENCE, self.verdicts.recv()).await.expect("no verdict came")
    }

    pub(crate) async fn expect(&mut self, verdict: ProbeVerdict, first: bool) {
        assert_eq!(self.next().await, Some(Verdict { key: "a", verdict, first }));
    }

    pub(crate) fn check(&self, target: Target) {
        self.prober.set(vec![("a", target)]);
    }
}

pub(crate) fn down(reason: &str) -> ProbeVerdict {
    ProbeVerdict::Down(reason.into())
}

pub(crate) fn target(address: SocketAddr, kind: CheckKind) -> Target {
    let interval = Duration::from_millis(20);
    // Answers that should come get all the time of a slow machine.
    let config = CheckConfig { interval, timeout: Duration::from_secs(5), ..CheckConfig::new(kind) };
    Target { address, config, known: None, siblings: None }
}

pub(crate) fn http(address: SocketAddr) -> Target {
    target(address, CheckKind::http("/healthz?deep=1"))
}

/// An address where nobody listens, for as long as the guard lives (it is bound, but does not listen).
pub(crate) async fn refusing() -> (SocketAddr, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// A server that does `serve` with each connection, until the test's runtime ends.
pub(crate) async fn serving<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Checks one target, and gives the first verdict: `None` for up, else why it is down.
pub(crate) async fn verdict_on(target: Target) -> Option<String> {
    let mut fixture = fixture();
    fixture.check(target);
    match fixture.next().await.unwrap().verdict {
        ProbeVerdict::Up => None,
        ProbeVerdict::Down(why) => Some(why),
    }
}

/// The same target with a timeout that a test waits for.
pub(crate) fn impatient(mut target: Target) -> Target {
    target.config.timeout = Duration::from_millis(100);
    target
}
