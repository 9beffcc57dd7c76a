//! Tells open pages that there is something new: server-sent events with the version of the picture, never the picture.
//!
//! A browser that does not read costs one task and one message: only the newest version is ever told. A stream ends when nothing
//! could be written for [`STUCK`], after [`LONGEST`] (a browser comes back by itself, and is asked again who it is), and with the process.

use crate::model::Fleet;
use axum::body::{Body, Bytes};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Between two versions that are told.
const PACE: Duration = Duration::from_millis(500);
/// Between signs of life; the script says that the connection is lost after three.
const BEAT: Duration = Duration::from_secs(4);
/// What is written is taken within this time, or nobody reads.
const STUCK: Duration = Duration::from_secs(5);
/// A stream's longest life.
const LONGEST: Duration = Duration::from_secs(600);

/// The body of `/events`. It holds its place among the streams as long as it lives.
pub(crate) fn events(
    fleet: watch::Receiver<Arc<Fleet>>,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
) -> Body {
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep_until(Instant::now() + LONGEST) => {}
            () = tell(fleet, &send) => {}
            () = send.closed() => {}
        }
    });
    Body::from_stream(futures::stream::unfold(receive, async |mut receive| {
        receive.recv().await.map(|text: String| (Ok::<_, Infallible>(Bytes::from(text)), receive))
    }))
}

async fn tell(mut fleet: watch::Receiver<Arc<Fleet>>, send: &mpsc::Sender<String>) {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut text = String::from("retry: 1000\n");
    let mut told = None;
    loop {
        let version = fleet.borrow_and_update().version;
        let event = if told == Some(version) { "beat" } else { "version" };
        text.push_str(&format!("event: {event}\ndata: {{\"version\":{version},\"nowMs\":{}}}\n\n", now_ms()));
        told = Some(version);
        if !matches!(timeout(STUCK, send.send(std::mem::take(&mut text))).await, Ok(Ok(()))) {
            return;
        }
        // A beat counts from the last word, so that there is one when nothing happens only.
        beat.reset();
        let paced = Instant::now() + PACE;
        tokio::select! {
            _ = beat.tick() => {}
            changed = fleet.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep_until(paced).await;
            }
        }
    }
}

/// The time of the world, by which facts are dated.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
