//! One watch, as the owner serves it: a snapshot, then what changed.

use super::{
    Shared,
    caller::Caller,
    identify, mark_end,
    observers::{Observer, StreamKind},
};
use crate::proto::{StatusUpdate, WatchRequest};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

/// Updates that may be under way without being acknowledged. More wait as one, made when it is sent: what a slow
/// observer costs is these and what its connection buffers.
pub(super) const MAX_UNACKED: usize = 4;
/// How long a stream may take to say whose it is.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(5);

type Out = mpsc::Sender<Result<StatusUpdate, Status>>;

/// Serves until either side ends it. The reason, if it is an error, is the last thing on the stream.
pub(super) async fn serve(
    shared: Arc<Shared>,
    caller: Option<Caller>,
    inbound: Streaming<WatchRequest>,
    out: Out,
) {
    let shutdown = shared.shutdown.clone();
    let ended = tokio::select! {
        ended = update(&shared, caller.as_ref(), inbound, &out) => ended,
        status = Caller::revoked(caller.as_ref()) => Err(status),
        () = shutdown.cancelled() => Err(Status::unavailable("the agent shuts down")),
        () = out.closed() => return,
    };
    mark_end("watch", ended, &out).await;
}

async fn update(
    shared: &Shared,
    caller: Option<&Caller>,
    mut inbound: Streaming<WatchRequest>,
    out: &Out,
) -> Result<(), Status> {
    let first = timeout(FIRST_REQUEST_WITHIN, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the watch did not say whose it is within 5 s"))??;
    let Some(first) = first else { return Ok(()) };
    let (cluster, boot) = identify(shared, caller, &first.cluster, first.boot_id)?;
    let kind = StreamKind::Watch { sent_version: 0, acked_version: 0 };
    let seat = shared.observers.seat(Observer { cluster, boot, kind })?;

    let mut ledger = shared.ledger.subscribe();
    ledger.mark_changed();
    // Versions under way, the oldest first.
    let mut unacked = std::collections::VecDeque::with_capacity(MAX_UNACKED);
    let (mut sent, mut acked): (Option<u64>, u64) = (None, 0);
    loop {
        tokio::select! {
            request = inbound.message() => {
                let Some(request) = request? else { return Ok(()) };
                let version = request.acked_version;
                if version < acked || version > sent.unwrap_or_default() {
                    return Err(Status::invalid_argument(format!(
                        "version {version} was acknowledged after {acked}, and {} was sent last",
                        sent.unwrap_or_default(),
                    )));
                }
                acked = version;
                unacked.retain(|under_way| *under_way > acked);
            }
            changed = ledger.changed(), if unacked.len() < MAX_UNACKED => {
                if changed.is_err() {
                    return Ok(());
                }
                // Wait for room first, and look at the ledger then: what is sent is the newest.
                let Ok(permit) = out.reserve().await else { return Ok(()) };
                let lack = ledger.borrow_and_update().lack(sent, &shared.region, shared.now());
                let Some(lack) = lack else { continue };
                unacked.push_back(lack.version);
                sent = Some(lack.version);
                permit.send(Ok(StatusUpdate {
                    cluster: shared.own.to_string(),
                    region: shared.region.to_string(),
                    boot_id: shared.boot.0,
                    version: lack.version,
                    full: lack.full,
                    base_version: lack.base_version,
                    changed: lack.changed,
                    removed: lack.removed,
                    demand: lack.demand,
                    unreachable: lack.unreachable,
                    lasting: lack.lasting,
                }));
            }
        }
        seat.set(StreamKind::Watch { sent_version: sent.unwrap_or_default(), acked_version: acked });
    }
}
