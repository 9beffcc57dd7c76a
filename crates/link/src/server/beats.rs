//! One heartbeat stream, as the owner serves it: each beat is answered at once with what is newest.

use super::{
    Shared,
    caller::Caller,
    identify, mark_end,
    observers::{Observer, Seat, StreamKind},
};
use crate::proto::Beat;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tonic::{Status, Streaming};

/// An observer that sends nothing for so long is gone; it gives up a silent stream itself after 0.9 s.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// Ten are sent in a second; a stall of 10 s may release a hundred at once.
const MAX_BEATS_PER_SECOND: u32 = 200;

/// Serves until either side ends it. The reason, if it is an error, is the last thing on the stream.
pub(super) async fn serve(
    shared: Arc<Shared>,
    caller: Option<Caller>,
    inbound: Streaming<Beat>,
    out: mpsc::Sender<Result<Beat, Status>>,
) {
    let shutdown = shared.shutdown.clone();
    let ended = tokio::select! {
        ended = answer(&shared, caller.as_ref(), inbound, &out) => ended,
        status = Caller::revoked(caller.as_ref()) => Err(status),
        () = shutdown.cancelled() => Err(Status::unavailable("the agent shuts down")),
        () = out.closed() => return,
    };
    mark_end("heartbeat", ended, &out).await;
}

async fn answer(
    shared: &Shared,
    caller: Option<&Caller>,
    mut inbound: Streaming<Beat>,
    out: &mpsc::Sender<Result<Beat, Status>>,
) -> Result<(), Status> {
    let mut seat: Option<(Seat, String, u64)> = None;
    let mut seq = 0;
    // The last beat seen, and whether it still waits for its answer. A newer one takes its place: nothing queues.
    let (mut seen, mut unanswered) = (0, false);
    let mut budget = (Instant::now(), 0_u32);
    // One timer for all beats: to move its end costs less than a new one for each.
    let mut idle = pin!(sleep(IDLE_AFTER));
    loop {
        let beat = tokio::select! {
            beat = inbound.message() => beat?,
            () = &mut idle => return Err(Status::deadline_exceeded("no beat came for 10 s")),
            permit = out.reserve(), if unanswered => {
                let Ok(permit) = permit else { return Ok(()) };
                seq += 1;
                let falls = shared.ledger.borrow().falls();
                permit.send(Ok(Beat {
                    cluster: shared.own.to_string(),
                    boot_id: shared.boot.0,
                    seq,
                    echo_seq: seen,
                    falls,
                }));
                unanswered = false;
                continue;
            }
        };
        let Some(beat) = beat else { return Ok(()) };
        idle.as_mut().reset(Instant::now() + IDLE_AFTER);
        if budget.0.elapsed() >= Duration::from_secs(1) {
            budget = (Instant::now(), 0);
        }
        budget.1 += 1;
        if budget.1 > MAX_BEATS_PER_SECOND {
            return Err(Status::resource_exhausted(format!(
                "more than {MAX_BEATS_PER_SECOND} beats in a second"
            )));
        }
        let (_, cluster, boot) = match &mut seat {
            Some(seat) => seat,
            none => {
                let (cluster, boot) = identify(shared, caller, &beat.cluster, beat.boot_id)?;
                let kind = StreamKind::Heartbeat;
                let taken = shared.observers.seat(Observer { cluster, boot, kind })?;
                none.insert((taken, beat.cluster.clone(), beat.boot_id))
            }
        };
        if *cluster != beat.cluster || *boot != beat.boot_id {
            return Err(Status::invalid_argument("the observer changed its name or boot id within a stream"));
        }
        if beat.seq <= seen {
            return Err(Status::invalid_argument(format!("beat {} came after beat {seen}", beat.seq)));
        }
        (seen, unanswered) = (beat.seq, true);
    }
}
