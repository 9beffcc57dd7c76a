//! One connection to a gateway: how it is made, and what an error on it says about who is alive.

use crate::identity::{Seen, Serial, connect_with, refusal_in};
use rand::Rng;
use rustls::ClientConfig;
use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::timeout;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// How long a connection may take to be made, and its first answer to come after that. It also bounds how
/// long contact takes to resume after a black hole is mended, because whatever was sent into the hole is
/// lost and only the next dial passes. Round trips of up to half of it work.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_millis(500);

/// The server name of links. A gateway leads them to its agent by their path; the name is for its log.
pub(super) const AGENT: &str = "agent.tidegate";

/// Longest text of an error that is kept.
const MAX_TEXT: usize = 200;

/// How a connection, or a stream on it, came to its end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Somebody answered with an error over HTTP: the gateway lives.
    Answered(String),
    /// The connection was refused, reset or closed.
    Broken(String),
    /// Nothing came back in time.
    Silent,
    /// Another cluster answers there.
    Misrouted(String),
    /// One side does not believe who the other one is.
    NotBelieved(String),
}

/// How TLS begins to tell that the other side has refused what we showed (RFC 8446, 6.2).
const ALERT: &str = "received fatal alert: ";

impl Ending {
    /// A status that was read off an HTTP response has no source; one that was made of a broken connection has.
    pub(crate) fn of(status: &Status) -> Self {
        match Error::source(status) {
            None if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
                Self::NotBelieved(short(&format!("by its agent: {}", status.message())))
            }
            None => Self::Answered(short(&format!("{:?}: {}", status.code(), status.message()))),
            Some(source) => Self::broken(source),
        }
    }

    /// A connection that ended. With TLS 1.3 a client hears only after its own handshake that it was refused.
    pub(super) fn broken(error: &(dyn Error + 'static)) -> Self {
        if let Some(refusal) = refusal_in(error) {
            return Self::NotBelieved(short(&refusal.to_string()));
        }
        let text = root(error);
        match text.split_once(ALERT) {
            Some((_, alert)) => {
                Self::NotBelieved(format!("by its gateway, for the certificate shown ({alert})"))
            }
            None => Self::Broken(text),
        }
    }
}

/// The last cause in the chain: "connection refused", not "transport error".
fn root(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    short(&last.to_string())
}

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// A new connection: HTTP/2, with TLS if there is a configuration for it, else plain with prior knowledge; with TLS also the
/// serial of the other side's certificate. It is dead when a ping stays unanswered for a second, so that a stream on which nothing
/// needs to come does not outlive its connection.
pub(crate) async fn dial(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<(Channel, Option<Serial>), Ending> {
    let seen = Seen::default();
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Ending::Broken(root(&error)))?
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(1))
        .keep_alive_while_idle(true)
        // A snapshot of thousands of pools in one round trip.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20);
    let connected = async {
        match tls {
            None => endpoint.connect().await,
            Some(tls) => connect_with(&endpoint, address, AGENT, Arc::clone(tls), Arc::clone(&seen)).await,
        }
    };
    match timeout(DIAL_TIMEOUT, connected).await {
        Err(_) => Err(Ending::Silent),
        Ok(Err(error)) => Err(Ending::broken(&error)),
        Ok(Ok(channel)) => Ok((channel, seen.get().cloned())),
    }
}

/// Waits before the next try: `least` after the first failure, twice as long after each further one, up to `most`; a
/// quarter more or less by chance, so that observers do not return in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least }
    }

    pub(crate) const fn reset(&mut self) {
        self.next = self.least;
    }

    pub(crate) async fn wait(&mut self) {
        let wait = self.next.mul_f64(rand::rng().random_range(0.75..=1.25));
        self.next = (self.next * 2).min(self.most);
        tokio::time::sleep(wait).await;
    }
}
