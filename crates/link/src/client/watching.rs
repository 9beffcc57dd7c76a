//! The watch of one link: pool status, over a connection of its own, while the agent is heard.

use super::{
    LinkEvent,
    dial::{Backoff, Ending, dial},
    link::LinkContext,
    session::LinkEar,
};
use crate::{
    liveness::UNREACHABLE_AFTER,
    proto::{WatchRequest, peer_link_client::PeerLinkClient},
    wire::MAX_UPDATE_BYTES,
};
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

/// Waits between two watches that ended with an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long the gateway may take to open a watch.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps a watch open while beats are heard: an agent that is not heard has nothing to tell, and
/// a connection that was made before a black hole may not carry anything after it.
pub(super) async fn run(link: &LinkContext, mut ear: watch::Receiver<LinkEar>) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let fresh = |ear: &LinkEar| ear.beat.is_some_and(|at| at.elapsed() < UNREACHABLE_AFTER);
        // The other half of the link holds the sender.
        if ear.wait_for(fresh).await.is_err() {
            return;
        }
        let quiet = ear.clone();
        tokio::select! {
            (ending, news) = watch_once(link) => {
                tracing::debug!(peer = %link.peer, address = %link.address, ?ending, "a watch ended");
                if news {
                    backoff.reset();
                }
                backoff.wait().await;
            }
            () = beats_end(&quiet) => {}
        }
    }
}

async fn beats_end(ear: &watch::Receiver<LinkEar>) {
    loop {
        let ends = ear.borrow().beat.map_or_else(Instant::now, |at| at + UNREACHABLE_AFTER);
        if ends <= Instant::now() {
            return;
        }
        sleep_until(ends).await;
    }
}

/// Watches until it ends; says why, and whether anything came.
async fn watch_once(link: &LinkContext) -> (Ending, bool) {
    let mut news = false;
    let ending = match watch_stream(link, &mut news).await {
        Err(ending) => ending,
        Ok(()) => Ending::Answered("ended the watch".to_owned()),
    };
    (ending, news)
}

async fn watch_stream(link: &LinkContext, news: &mut bool) -> Result<(), Ending> {
    // Of a gateway that is revoked the heartbeats end, and with them this.
    let (channel, _) = dial(link.address, link.tls.as_ref()).await?;
    let mut client = PeerLinkClient::new(channel).max_decoding_message_size(MAX_UPDATE_BYTES);
    let (out, requests) = mpsc::channel(4);
    let request =
        |acked_version| WatchRequest { cluster: link.own.to_string(), boot_id: link.boot.0, acked_version };
    // The channel is new and has room.
    let _ = out.try_send(request(0));
    let opened = timeout(OPEN_TIMEOUT, client.watch(ReceiverStream::new(requests)));
    let response = opened.await.map_err(|_| Ending::Silent)?.map_err(|status| Ending::of(&status))?;
    let mut inbound = response.into_inner();
    while let Some(update) = inbound.message().await.map_err(|status| Ending::of(&status))? {
        // The board stays locked until the reader has it: updates of one peer come in order of their versions.
        let mut board = link.board.lock().await;
        let taken = board.take(&link.peer, &update).map_err(|refusal| {
            tracing::warn!(peer = %link.peer, address = %link.address, %refusal, "refused a status update");
            Ending::Answered(refusal.to_string())
        })?;
        *news = true;
        if let Some(status) = taken {
            let event = LinkEvent::Status { peer: link.peer.clone(), status, at: link.now() };
            // Nobody reads only after shutdown.
            let _ = link.events.send(event).await;
        }
        drop(board);
        if out.send(request(update.version)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
