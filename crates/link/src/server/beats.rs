//! One heartbeat stream, as the owner serves it: each beat is answered at once with what is newest.

use super::{
    Shared,
    caller::Caller,
    identify, note_end,
    observers::{Observer, Seat, StreamKind},
};
use crate::proto::Beat;
use futures::Stream;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tidegate_model::{ClusterName, PeerBoot};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Status, Streaming};

/// An observer that sends nothing for so long is gone; it gives up a silent stream itself after 0.9 s.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// Ten are sent in a second; a stall of 10 s may release a hundred at once.
const MAX_BEATS_PER_SECOND: u32 = 200;

/// The answers to one observer's beats, until either side ends it. The reason, if it is an error, is the last of them. They are made
/// as they are sent, by whoever sends them: a task and a queue between the two would cost as much again.
pub struct Answers {
    shared: Arc<Shared>,
    caller: Option<Caller>,
    inbound: Streaming<Beat>,
    /// Who the first beat said it is.
    seat: Option<(Seat, ClusterName, PeerBoot)>,
    seq: u64,
    /// The last beat seen, and whether it still waits for its answer. A newer one takes its place: nothing queues.
    seen: u64,
    unanswered: bool,
    /// Since when beats are counted, and how many there were.
    budget: (Instant, u32),
    idle: Pin<Box<Sleep>>,
    /// Comes back when the agent ends the stream.
    ends: Pin<Box<dyn Future<Output = Status> + Send>>,
    is_over: bool,
}

impl Answers {
    pub(super) fn new(shared: Arc<Shared>, caller: Option<Caller>, inbound: Streaming<Beat>) -> Self {
        let (shutdown, shown) = (shared.shutdown.clone(), caller.clone());
        let ends = Box::pin(async move {
            tokio::select! {
                status = Caller::revoked(shown.as_ref()) => status,
                () = shutdown.cancelled() => Status::unavailable("the agent shuts down"),
            }
        });
        Self {
            shared,
            caller,
            inbound,
            seat: None,
            seq: 0,
            seen: 0,
            unanswered: false,
            budget: (Instant::now(), 0),
            idle: Box::pin(sleep(IDLE_AFTER)),
            ends,
            is_over: false,
        }
    }

    /// `None` when the observer has ended the stream.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Beat>, Status>> {
        while let Poll::Ready(beat) = Pin::new(&mut self.inbound).poll_next(context) {
            let Some(beat) = beat else { return Poll::Ready(Ok(None)) };
            self.take(&beat?)?;
        }
        if self.unanswered {
            self.unanswered = false;
            return Poll::Ready(Ok(Some(self.answer())));
        }
        if self.idle.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Status::deadline_exceeded("no beat came for 10 s")));
        }
        self.ends.as_mut().poll(context).map(Err)
    }

    fn answer(&mut self) -> Beat {
        self.seq += 1;
        Beat {
            cluster: self.shared.own.to_string(),
            boot_id: self.shared.boot.0,
            seq: self.seq,
            echo_seq: self.seen,
            falls: self.shared.ledger.borrow().falls(),
        }
    }

    fn take(&mut self, beat: &Beat) -> Result<(), Status> {
        let now = Instant::now();
        self.idle.as_mut().reset(now + IDLE_AFTER);
        if now - self.budget.0 >= Duration::from_secs(1) {
            self.budget = (now, 0);
        }
        self.budget.1 += 1;
        if self.budget.1 > MAX_BEATS_PER_SECOND {
            return Err(Status::resource_exhausted(format!(
                "more than {MAX_BEATS_PER_SECOND} beats in a second"
            )));
        }
        match &self.seat {
            None => {
                let (cluster, boot) =
                    identify(&self.shared, self.caller.as_ref(), &beat.cluster, beat.boot_id)?;
                let observer = Observer { cluster: cluster.clone(), boot, kind: StreamKind::Heartbeat };
                self.seat = Some((self.shared.observers.seat(observer)?, cluster, boot));
            }
            Some((_, cluster, boot)) if cluster.as_str() != beat.cluster || boot.0 != beat.boot_id => {
                return Err(Status::invalid_argument(
                    "the observer changed its name or boot id within a stream",
                ));
            }
            Some(_) => {}
        }
        if beat.seq <= self.seen {
            return Err(Status::invalid_argument(format!("beat {} came after beat {}", beat.seq, self.seen)));
        }
        (self.seen, self.unanswered) = (beat.seq, true);
        Ok(())
    }
}

impl Stream for Answers {
    type Item = Result<Beat, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.poll_answer(context).map(|answer| {
            self.is_over = !matches!(answer, Ok(Some(_)));
            if self.is_over {
                // The stream may linger until all was sent.
                self.seat = None;
            }
            if let Err(status) = &answer {
                note_end("heartbeat", status);
            }
            answer.transpose()
        })
    }
}
