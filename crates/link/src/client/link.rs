//! One link, to one gateway address of a peer: keeps a connection for heartbeats and another for the watch.
//!
//! When the heartbeat connection falls silent a second one is dialled beside it, and whichever is heard first
//! stays. So a lost packet, which can stall a connection for longer than a silence may last, costs no more
//! than a round trip; and when a black hole is mended, the next dial passes at once.

use super::{
    Heard, LinkEvent, Signal,
    dial::{Backoff, Ending},
    session::{self, LinkEar},
    until::until,
};
use crate::{
    board::Board,
    identity::{Identity, Serial},
    liveness::{LinkFailure, SUSPECT_AFTER},
};
use rustls::ClientConfig;
use std::{future::poll_fn, net::SocketAddr, pin::Pin, sync::Arc, task::Poll, time::Duration};
use tidegate_model::{ClusterName, PeerBoot, Time};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::Instant,
};

/// Waits between two dials that were refused. A silent dial takes its time anyway.
const REDIAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(300));

/// What everything on one link shares.
pub(super) struct LinkContext {
    pub(super) own: ClusterName,
    pub(super) boot: PeerBoot,
    pub(super) peer: ClusterName,
    pub(super) address: SocketAddr,
    /// How the gateway is believed, and what is shown to it; plain HTTP/2 without.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Where it is counted when one side does not believe the other, and what was revoked.
    pub(super) identity: Option<Identity>,
    pub(super) origin: Instant,
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// The status of the peer, shared by its links.
    pub(super) board: Arc<Mutex<Board>>,
}

impl LinkContext {
    pub(super) fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Counts that a link was refused, and writes it down once in a while.
    fn note_refusal(&self, why: &str) {
        if let Some(identity) = &self.identity {
            let text = format!("the link to {} at {} is refused: {why}", self.peer, self.address);
            identity.refusals().note("link", &text, std::time::Instant::now());
        }
    }

    /// Comes back once the gateway's certificate is revoked, if it showed one.
    pub(super) async fn revoked(&self, serial: Option<Serial>) -> Ending {
        let (Some(identity), Some(serial)) = (&self.identity, serial) else {
            return std::future::pending().await;
        };
        identity.revoked(&serial).await;
        Ending::NotBelieved(format!("the certificate {serial} of its gateway was revoked"))
    }

    /// Tells the loop. It is gone only after shutdown.
    pub(super) async fn signal(&self, heard: Heard) {
        let _ = self.signals.send(Signal { peer: self.peer.clone(), address: self.address, heard }).await;
    }
}

/// A heartbeat connection.
struct Open<'a> {
    id: u64,
    session: Pin<Box<dyn Future<Output = Ending> + Send + 'a>>,
}

/// Waits until one of them has ended, and takes it out.
async fn first_ended(open: &mut Vec<Open<'_>>) -> Ending {
    poll_fn(|context| {
        for at in 0..open.len() {
            if let Poll::Ready(ending) = open[at].session.as_mut().poll(context) {
                open.remove(at);
                return Poll::Ready(ending);
            }
        }
        Poll::Pending
    })
    .await
}

/// Keeps the heartbeats of a link until it is dropped. Its watch goes by what `ear` has heard.
pub(super) async fn run(link: &LinkContext, ear: &watch::Sender<LinkEar>) {
    let mut backoff = Backoff::new(REDIAL.0, REDIAL.1);
    let mut heard = ear.subscribe();
    // One connection, or two while the older is silent. To drop one is to give it up.
    let mut open: Vec<Open<'_>> = Vec::with_capacity(2);
    let (mut dials, mut dialled) = (0_u64, Instant::now());
    loop {
        heard.mark_unchanged();
        let second = || ear.borrow().answer.map_or(dialled, |at| at.max(dialled)) + SUSPECT_AFTER;
        if open.is_empty() || (open.len() == 1 && second() <= Instant::now()) {
            dials += 1;
            dialled = Instant::now();
            open.push(Open { id: dials, session: Box::pin(session::run(link, dials, ear)) });
            continue;
        }
        tokio::select! {
            biased;
            ending = first_ended(&mut open) => {
                tracing::debug!(peer = %link.peer, address = %link.address, ?ending, "a heartbeat connection ended");
                let failure = match ending {
                    Ending::Answered(text) | Ending::Broken(text) => LinkFailure::Refused(text),
                    Ending::Silent => LinkFailure::Silent,
                    Ending::Misrouted(found) => LinkFailure::Misrouted(found),
                    Ending::NotBelieved(why) => {
                        link.note_refusal(&why);
                        LinkFailure::NotBelieved(why)
                    }
                };
                let was_silent = failure == LinkFailure::Silent;
                link.signal(Heard::Failure(failure)).await;
                if open.is_empty() && !was_silent {
                    backoff.wait().await;
                }
            }
            _ = heard.changed(), if open.len() > 1 => {
                let by = heard.borrow_and_update().by;
                open.retain(|it| it.id == by);
            }
            () = until(second), if open.len() == 1 => {}
        }
        if heard.borrow().answer.is_some_and(|at| at > dialled) {
            backoff.reset();
        }
    }
}
