//! One connection for heartbeats: beats, and probes of the gateway while beats stall.
//!
//! A gateway whose agent is frozen accepts the heartbeat stream and never answers it. So while beats stall, the same
//! connection carries a request that no agent serves: a gateway that lives answers it by itself, with an error.

use super::{
    Heard,
    dial::{Backoff, DIAL_TIMEOUT, Ending},
    line::{self, Line},
    link::LinkContext,
    until::until,
};
use crate::{
    liveness::{BEAT_INTERVAL, Echo, ROUGH_UNREACHABLE_AFTER, UNREACHABLE_AFTER},
    proto::{Beat, WatchRequest},
    rtt::SentBeats,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_model::PeerBoot;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

/// The method of heartbeats.
const HEARTBEAT: &str = "/tidegate.link.v1.PeerLink/Heartbeat";

/// A method that nobody serves, outside the path prefix that gateways lead to the agent.
const PROBE: &str = "/tidegate.link.v1.GatewayProbe/Probe";
/// Beats stall when none came for this long: one is missing, and suspicion is two probes away.
const STALLED_AFTER: Duration = Duration::from_millis(150);
/// Waits between two tries of the heartbeat stream while the gateway answers with errors.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

/// Beats of all links leave in slots of so long: one turn of their thread sends those of many, where each at a moment of its own
/// would cost a turn for itself.
const SLOT: Duration = Duration::from_millis(20);

/// When a beat due at `at` leaves: at the beginning of a slot, and never later, so that no two beats are further apart than they
/// should be.
fn slot(origin: Instant, at: Instant) -> Instant {
    let into = at.saturating_duration_since(origin).as_micros() % SLOT.as_micros();
    // Less than a slot fits.
    at - Duration::from_micros(u64::try_from(into).unwrap_or_default())
}

/// What one connection has heard.
#[derive(Clone, Copy, Debug)]
struct Ear {
    connected: Instant,
    /// By when the first answer must have come.
    first_by: Instant,
    answer: Option<Instant>,
    beat: Option<Instant>,
}

/// What all connections of a link have heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkEar {
    /// The connection that heard something last.
    pub(super) by: u64,
    pub(super) answer: Option<Instant>,
    pub(super) beat: Option<Instant>,
}

struct Session<'a> {
    link: &'a LinkContext,
    id: u64,
    link_ear: &'a watch::Sender<LinkEar>,
    ear: Mutex<Ear>,
    line: Line,
}

/// Connects and beats until the connection breaks or falls silent.
pub(super) async fn run(link: &LinkContext, id: u64, link_ear: &watch::Sender<LinkEar>) -> Ending {
    let dialled = Instant::now();
    let (line, drive, serial) = match line::open(link.address, link.tls.as_ref()).await {
        Ok(line) => line,
        Err(ending) => return ending,
    };
    let connected = Instant::now();
    // A far gateway takes as long to answer as it took to connect.
    let first_by = connected + DIAL_TIMEOUT + (connected - dialled);
    let ear = Mutex::new(Ear { connected, first_by, answer: None, beat: None });
    let session = Session { link, id, link_ear, ear, line };
    tokio::select! {
        // What was said on a call tells more than that the connection ended, and what is sent now the connection takes along.
        biased;
        ending = session.beats() => ending,
        ending = session.probes() => ending,
        ending = drive => ending,
        ending = link.revoked(serial) => ending,
        () = session.fell_silent() => Ending::Silent,
    }
}

impl Session<'_> {
    fn ear(&self) -> MutexGuard<'_, Ear> {
        // Nothing that can panic runs under the lock.
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn heard(&self, heard: Heard) {
        let now = Instant::now();
        let is_beat = matches!(heard, Heard::Beat(_));
        {
            let mut ear = self.ear();
            ear.answer = Some(now);
            ear.beat = if is_beat { Some(now) } else { ear.beat };
        }
        self.link_ear.send_modify(|ear| {
            ear.by = self.id;
            ear.answer = Some(now);
            ear.beat = if is_beat { Some(now) } else { ear.beat };
        });
        self.link.signal(heard).await;
    }

    /// Keeps a heartbeat stream open while the connection lives.
    async fn beats(&self) -> Ending {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let before = self.ear().beat;
            match self.beat_stream().await {
                Ending::Answered(text) => self.heard(Heard::Answer(Some(text))).await,
                ending => return ending,
            }
            if self.ear().beat != before {
                backoff.reset();
            }
            backoff.wait().await;
        }
    }

    async fn beat_stream(&self) -> Ending {
        let mut sent = SentBeats::default();
        let beat = |seq, echo_seq| {
            let cluster = self.link.own.to_string();
            Beat { cluster, boot_id: self.link.boot.0, seq, echo_seq, falls: 0 }
        };
        let (mut seq, mut seen) = (1, 0);
        sent.sent(seq, self.link.now());
        let (mut out, answer) = match self.line.call(HEARTBEAT, &beat(seq, seen), false).await {
            Ok(call) => call,
            Err(ending) => return ending,
        };
        let mut inbound = match answer.await {
            Ok(messages) => messages,
            Err(ending) => return ending,
        };
        let mut beats = interval_at(slot(self.link.origin, Instant::now() + BEAT_INTERVAL), BEAT_INTERVAL);
        // A beat that was late moves none of those after it out of their slots.
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let heard = tokio::select! {
                biased;
                _ = beats.tick() => {
                    // A connection that takes no more loses this beat, and queues none.
                    if out.offer(&beat(seq + 1, seen)) {
                        seq += 1;
                        sent.sent(seq, self.link.now());
                    }
                    continue;
                }
                beat = inbound.next::<Beat>() => match beat {
                    Ok(Some(beat)) => beat,
                    Ok(None) => return Ending::Answered("ended the heartbeat".to_owned()),
                    Err(ending) => return ending,
                },
            };
            if heard.cluster != self.link.peer.as_str() {
                return Ending::Misrouted(format!(
                    "cluster {:?} answers at {}",
                    heard.cluster, self.link.address
                ));
            }
            seen = heard.seq;
            // Only an echo of a beat not echoed before proves both directions.
            if let Some(rtt) = sent.echoed(heard.echo_seq, self.link.now()) {
                let echo = Echo { boot: PeerBoot(heard.boot_id), falls: heard.falls, rtt: Some(rtt) };
                self.heard(Heard::Beat(echo)).await;
            }
        }
    }

    /// Asks the gateway itself while beats stall, one question at a time.
    async fn probes(&self) -> Ending {
        loop {
            until(|| {
                let ear = *self.ear();
                ear.beat.unwrap_or(ear.connected) + STALLED_AFTER
            })
            .await;
            let asked = Instant::now();
            // An answer that takes longer than the silence that ends the connection is none.
            match timeout(UNREACHABLE_AFTER, self.probe()).await {
                Err(_) => return Ending::Silent,
                Ok(Ok(()) | Err(Ending::Answered(_))) => self.heard(Heard::Answer(None)).await,
                Ok(Err(ending)) => return ending,
            }
            sleep((asked + BEAT_INTERVAL).saturating_duration_since(Instant::now())).await;
        }
    }

    /// Any answer will do.
    async fn probe(&self) -> Result<(), Ending> {
        let (_out, answer) = self.line.call(PROBE, &WatchRequest::default(), true).await?;
        answer.await.map(drop)
    }

    /// Waits until nothing of any kind has come for so long that a new connection is the better hope. One is tried beside it
    /// long before; on a line that loses packets this one may well come back first.
    async fn fell_silent(&self) {
        until(|| {
            let ear = *self.ear();
            ear.answer.map_or(ear.first_by, |at| at + ROUGH_UNREACHABLE_AFTER)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_leave_together_and_none_of_them_later_than_it_should() {
        let origin = Instant::now();
        let leaves = |us| slot(origin, origin + Duration::from_micros(us)) - origin;
        for due in [0, 1, 19_999, 20_000, 20_001, 99_999, 123_456_789] {
            let (left, due) = (leaves(due), Duration::from_micros(due));
            assert!(left <= due && due - left < SLOT, "due at {due:?}, left at {left:?}");
            assert_eq!(left.as_micros() % SLOT.as_micros(), 0);
        }
    }
}
