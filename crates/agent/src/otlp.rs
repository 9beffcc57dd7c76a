//! Sends traces of what the agent does to a collector.

use crate::{shell::wall_clock, spans::Spans, timeline::Timeline};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tidegate_model::ClusterName;
use tidegate_status::otlp::{Collector, Counts, Sender, text};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether traces are whole.
const LOOK: Duration = Duration::from_millis(500);
/// So much of the timeline is looked at in one turn; the rest is looked at in the next.
const RECORDS: usize = 2_000;

/// Begins to send, until `stop`.
pub(crate) fn start(
    collector: &Collector,
    (cluster, boot): (ClusterName, u64),
    timeline: Arc<Timeline>,
    stop: CancellationToken,
) -> Arc<Counts> {
    let attributes = vec![
        text("service.name", "tidegate-agent"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &format!("{cluster}/{boot:016x}")),
        text("tidegate.cluster", cluster.as_str()),
    ];
    let mut sender = Sender::new(collector, attributes);
    let (counts, mut spans) = (sender.counts(), Spans::new(boot));
    tokio::spawn(async move {
        let mut seen = timeline.last();
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            for record in timeline.after(seen, RECORDS) {
                seen = record.seq;
                spans.take(record);
            }
            let now = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
            let whole = spans.whole(u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
            if !whole.is_empty() && stop.run_until_cancelled(sender.send(whole)).await.is_none() {
                break;
            }
        }
    });
    counts
}
