//! The speaker's side: what a replica says to those that listen.

use super::{BEAT, MAX_WORD_BYTES, ReplicaEvent, Shared, WELCOMES, facts::Told, word};
use crate::{
    identity::{Party, PeerInfo},
    proto::{
        Listened, Word,
        replica_server::{Replica, ReplicaServer},
    },
    server::CLIENT_HEADER,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Streams that are served at a time: fifteen replicas, and room for redials.
const MAX_STREAMS: usize = 64;
/// Words that may be under way without being acknowledged. What changes meanwhile waits as one, made when it is sent: a slow
/// listener costs these, and hears nothing older than two seconds when it is back.
const MAX_UNACKED: usize = 8;
/// News in one word.
const NEWS_PER_WORD: usize = 64;
/// How long a stream may take to say whose it is.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// How long the agent may take for a welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);
/// Listeners send names and numbers only.
const MAX_REQUEST_BYTES: usize = 4 << 10;

type Out = mpsc::Sender<Result<Word, Status>>;

/// The streams that are open, and the welcomes that are being made.
#[derive(Debug, Default)]
pub(super) struct Seats {
    streams: AtomicUsize,
    welcomes: AtomicUsize,
}

/// A place among so many, until it is dropped.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(seats: &'a AtomicUsize, most: usize) -> Option<Self> {
        let taken = seats
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1));
        taken.is_ok().then_some(Self(seats))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn service(shared: Arc<Shared>) -> ReplicaServer<Speaker> {
    ReplicaServer::new(Speaker { shared })
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_WORD_BYTES)
}

/// The gRPC service.
pub struct Speaker {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Speaker").field("own", &self.shared.own).finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl Replica for Speaker {
    type ListenStream = ReceiverStream<Result<Word, Status>>;

    async fn listen(
        &self,
        request: Request<Streaming<Listened>>,
    ) -> Result<Response<Self::ListenStream>, Status> {
        admit(&self.shared, &request).inspect_err(|status| {
            let from = request.remote_addr().map_or_else(|| "somebody".to_owned(), |it| it.to_string());
            self.shared.refuse(&from, status.message());
        })?;
        let (out, stream) = mpsc::channel(1);
        tokio::spawn(serve(Arc::clone(&self.shared), request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Only agents of the own cluster come in where there are identities, and nobody through a gateway.
fn admit(shared: &Shared, request: &Request<Streaming<Listened>>) -> Result<(), Status> {
    if request.metadata().contains_key(CLIENT_HEADER) {
        return Err(Status::permission_denied("replicas dial each other, not through a gateway"));
    }
    let Some(trust_domain) = &shared.trust_domain else { return Ok(()) };
    let certificate = request.extensions().get::<PeerInfo>().and_then(|info| info.certificate.as_ref());
    match certificate.and_then(|it| it.id.as_ref()) {
        Some(id) if id.trust_domain == *trust_domain && id.party == Party::Agent(shared.own.clone()) => {
            Ok(())
        }
        Some(id) => Err(Status::permission_denied(format!(
            "{id} is refused: the agent of {} was expected",
            shared.own
        ))),
        None => Err(Status::unauthenticated("a replica shows the certificate of its cluster's agent")),
    }
}

async fn serve(shared: Arc<Shared>, inbound: Streaming<Listened>, out: Out) {
    let shutdown = shared.shutdown.clone();
    let ended = tokio::select! {
        ended = speak(&shared, inbound, &out) => ended,
        () = shutdown.cancelled() => Err(Status::unavailable("the agent shuts down")),
        () = out.closed() => return,
    };
    let Err(status) = ended else { return };
    if std::error::Error::source(&status).is_none() && status.code() != tonic::Code::Unavailable {
        shared.refuse("a listener", status.message());
    }
    // Fails only if the listener is gone. A stalled one is not waited for.
    let _ = timeout(Duration::from_secs(1), out.send(Err(status))).await;
}

/// What one listener was told.
struct Said {
    seq: u64,
    told: Option<Told>,
    unacked: VecDeque<u64>,
    /// Whether more is to be said at once.
    more: bool,
}

async fn speak(shared: &Shared, mut inbound: Streaming<Listened>, out: &Out) -> Result<(), Status> {
    let first = timeout(FIRST_WITHIN, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the listener did not say whose it is within 5 s"))??;
    let Some(first) = first else { return Ok(()) };
    if first.cluster != shared.own.as_str() {
        let (found, own) = (first.cluster, &shared.own);
        return Err(Status::permission_denied(format!("a replica of {found:?} listens to {own}")));
    }
    let Some(_seat) = Seat::take(&shared.listeners.streams, MAX_STREAMS) else {
        return Err(Status::resource_exhausted(format!("{MAX_STREAMS} listeners are served at a time")));
    };
    let (mut facts, mut news) = (shared.facts.subscribe(), shared.news.subscribe());
    // Who dials itself needs to hear its own name only.
    let is_oneself = first.boot_id == shared.boot.0;
    let welcome = if is_oneself { None } else { welcome(shared).await };
    let mut told = Said { seq: 0, told: None, unacked: VecDeque::with_capacity(MAX_UNACKED), more: true };
    let mut pending: Option<Arc<[u8]>> = None;
    say(shared, &mut told, out, |said| said.welcome = welcome).await?;
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.reset();
    loop {
        let may_speak = told.unacked.len() < MAX_UNACKED;
        tokio::select! {
            heard = inbound.message() => {
                let Some(heard) = heard? else { return Ok(()) };
                if heard.seq > told.seq || heard.boot_id != first.boot_id {
                    return Err(Status::invalid_argument(format!(
                        "word {} was acknowledged, and {} was said last", heard.seq, told.seq
                    )));
                }
                told.unacked.retain(|seq| *seq > heard.seq);
                continue;
            }
            _ = beats.tick(), if may_speak => {}
            () = std::future::ready(()), if may_speak && told.more => {}
            changed = facts.changed(), if may_speak => {
                if changed.is_err() { return Ok(()) }
            }
            event = news.recv(), if may_speak => match event {
                Ok(event) => pending = Some(event),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    shared.lost_news.fetch_add(lost, Ordering::Relaxed);
                    continue;
                }
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            },
        }
        facts.mark_unchanged();
        let mut events: Vec<Vec<u8>> = pending.take().into_iter().map(|event| event.to_vec()).collect();
        while events.len() < NEWS_PER_WORD {
            match news.try_recv() {
                Ok(event) => events.push(event.to_vec()),
                Err(broadcast::error::TryRecvError::Lagged(lost)) => {
                    shared.lost_news.fetch_add(lost, Ordering::Relaxed);
                }
                Err(_) => break,
            }
        }
        say(shared, &mut told, out, |said| said.news = events).await?;
        beats.reset();
    }
}

/// Says what is new, and what else is to be said with it. Waits for room first, so that what is sent is the newest.
async fn say(
    shared: &Shared,
    told: &mut Said,
    out: &Out,
    with: impl FnOnce(&mut Word),
) -> Result<(), Status> {
    let Ok(permit) = out.reserve().await else { return Ok(()) };
    let lack = shared.facts.borrow().lack(told.told, shared.now());
    told.seq += 1;
    told.unacked.push_back(told.seq);
    (told.told, told.more) = (Some(lack.told), lack.more);
    let mut said =
        Word { full: lack.full, facts: lack.facts, lasting: lack.lasting, ..word(shared, told.seq) };
    with(&mut said);
    permit.send(Ok(said));
    Ok(())
}

/// Asks the agent for what a new listener needs. One that is too busy to answer gives none: what is said of endpoints counts
/// all the same.
async fn welcome(shared: &Shared) -> Option<Vec<u8>> {
    let _seat = Seat::take(&shared.listeners.welcomes, WELCOMES)?;
    let (answer, welcome) = oneshot::channel();
    let asked = async {
        shared.events.send(ReplicaEvent::Listener(answer)).await.ok()?;
        welcome.await.ok()
    };
    timeout(WELCOME_WITHIN, asked).await.ok().flatten()
}
