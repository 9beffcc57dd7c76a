//! One connection for heartbeats: beats, and probes of the gateway while beats stall.
//!
//! A gateway whose agent is frozen accepts the heartbeat stream and never answers it. So while beats stall, the same
//! connection carries a request that no agent serves: a gateway that lives answers it by itself, with an error.

use super::{
    Heard,
    dial::{Backoff, DIAL_TIMEOUT, Ending, dial},
    link::LinkContext,
    until::until,
};
use crate::{
    liveness::{BEAT_INTERVAL, Echo, ROUGH_UNREACHABLE_AFTER, UNREACHABLE_AFTER},
    proto::{Beat, WatchRequest, peer_link_client::PeerLinkClient},
    rtt::SentBeats,
};
use http::uri::PathAndQuery;
use std::time::Duration;
use tidegate_model::PeerBoot;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// A method that nobody serves, outside the path prefix that gateways lead to the agent.
const PROBE: &str = "/tidegate.link.v1.GatewayProbe/Probe";
/// Beats stall when none came for this long: one is missing, and suspicion is two probes away.
const STALLED_AFTER: Duration = Duration::from_millis(150);
/// Beats are small and few.
const MAX_BEAT_BYTES: usize = 4 << 10;
/// Waits between two tries of the heartbeat stream while the gateway answers with errors.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

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
    ear: watch::Sender<Ear>,
    channel: Channel,
}

/// Connects and beats until the connection breaks or falls silent.
pub(super) async fn run(link: &LinkContext, id: u64, link_ear: &watch::Sender<LinkEar>) -> Ending {
    let dialled = Instant::now();
    let (channel, serial) = match dial(link.address, link.tls.as_ref()).await {
        Ok(channel) => channel,
        Err(ending) => return ending,
    };
    let connected = Instant::now();
    // A far gateway takes as long to answer as it took to connect.
    let first_by = connected + DIAL_TIMEOUT + (connected - dialled);
    let (ear, _) = watch::channel(Ear { connected, first_by, answer: None, beat: None });
    let session = Session { link, id, link_ear, ear, channel };
    tokio::select! {
        ending = session.beats() => ending,
        ending = session.probes() => ending,
        ending = link.revoked(serial) => ending,
        () = session.fell_silent() => Ending::Silent,
    }
}

impl Session<'_> {
    async fn heard(&self, heard: Heard) {
        let now = Instant::now();
        let is_beat = matches!(heard, Heard::Beat(_));
        self.ear.send_modify(|ear| {
            ear.answer = Some(now);
            ear.beat = if is_beat { Some(now) } else { ear.beat };
        });
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
            let before = self.ear.borrow().beat;
            match self.beat_stream().await {
                Ending::Answered(text) => self.heard(Heard::Answer(Some(text))).await,
                ending => return ending,
            }
            if self.ear.borrow().beat != before {
                backoff.reset();
            }
            backoff.wait().await;
        }
    }

    async fn beat_stream(&self) -> Ending {
        let (out, requests) = mpsc::channel(2);
        let mut sent = SentBeats::default();
        let (mut seq, mut seen) = (0, 0);
        let mut send = |sent: &mut SentBeats, echo_seq| {
            let cluster = self.link.own.to_string();
            let beat = Beat { cluster, boot_id: self.link.boot.0, seq: seq + 1, echo_seq, falls: 0 };
            // A connection that takes no more loses this beat, and queues none.
            if out.try_send(beat).is_ok() {
                seq += 1;
                sent.sent(seq, self.link.now());
            }
        };
        send(&mut sent, seen);
        let mut client = PeerLinkClient::new(self.channel.clone()).max_decoding_message_size(MAX_BEAT_BYTES);
        let mut inbound = match client.heartbeat(ReceiverStream::new(requests)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ending::of(&status),
        };
        let mut beats = interval(BEAT_INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.reset();
        loop {
            let beat = tokio::select! {
                _ = beats.tick() => {
                    send(&mut sent, seen);
                    continue;
                }
                beat = inbound.message() => match beat {
                    Ok(Some(beat)) => beat,
                    Ok(None) => return Ending::Answered("ended the heartbeat".to_owned()),
                    Err(status) => return Ending::of(&status),
                },
            };
            if beat.cluster != self.link.peer.as_str() {
                return Ending::Misrouted(format!(
                    "cluster {:?} answers at {}",
                    beat.cluster, self.link.address
                ));
            }
            seen = beat.seq;
            // Only an echo of a beat not echoed before proves both directions.
            if let Some(rtt) = sent.echoed(beat.echo_seq, self.link.now()) {
                let echo = Echo { boot: PeerBoot(beat.boot_id), falls: beat.falls, rtt: Some(rtt) };
                self.heard(Heard::Beat(echo)).await;
            }
        }
    }

    /// Asks the gateway itself while beats stall, one question at a time.
    async fn probes(&self) -> Ending {
        let mut grpc = Grpc::new(self.channel.clone());
        loop {
            until(|| {
                let ear = *self.ear.borrow();
                ear.beat.unwrap_or(ear.connected) + STALLED_AFTER
            })
            .await;
            let asked = Instant::now();
            let codec = ProstCodec::<WatchRequest, WatchRequest>::default();
            let request = Request::new(WatchRequest::default());
            let answer = match grpc.ready().await {
                Err(error) => Err(tonic::Status::from_error(error.into())),
                Ok(()) => {
                    // An answer that takes longer than the silence that ends the connection is none.
                    let path = PathAndQuery::from_static(PROBE);
                    match timeout(UNREACHABLE_AFTER, grpc.unary(request, path, codec)).await {
                        Err(_) => return Ending::Silent,
                        Ok(answer) => answer.map(drop),
                    }
                }
            };
            match answer.map_err(|status| Ending::of(&status)) {
                Ok(()) | Err(Ending::Answered(_)) => self.heard(Heard::Answer(None)).await,
                Err(ending) => return ending,
            }
            sleep((asked + BEAT_INTERVAL).saturating_duration_since(Instant::now())).await;
        }
    }

    /// Waits until nothing of any kind has come for so long that a new connection is the better hope. One is tried beside it
    /// long before; on a line that loses packets this one may well come back first.
    async fn fell_silent(&self) {
        until(|| {
            let ear = *self.ear.borrow();
            ear.answer.map_or(ear.first_by, |at| at + ROUGH_UNREACHABLE_AFTER)
        })
        .await;
    }
}
