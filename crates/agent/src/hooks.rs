//! Tells webhooks what the timeline has: verdicts, failovers and failbacks, shifts, faults of drills, what gateways refuse. The same
//! that the Kubernetes API is told as events, and with or without such an API.

use crate::{teller::happened, timeline::Timeline};
use std::{sync::Arc, time::Duration};
use tidegate_model::ClusterName;
use tidegate_status::{
    leader::Leadership,
    webhook::{Counts, Teller, WebhookError, Webhooks, cloud_events::Telling},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked what happened.
const LOOK: Duration = Duration::from_millis(100);
/// So much is looked at in one turn; the rest is looked at in the next.
const RECORDS: usize = 1_000;

/// Begins to tell, until `stop`. Of replicas that share a Lease the one that leads tells; `boot` tells the lives of agents apart.
pub(crate) fn start(
    webhooks: &Webhooks,
    (cluster, boot): (ClusterName, u64),
    timeline: Arc<Timeline>,
    leadership: Leadership,
    stop: &CancellationToken,
) -> Result<Arc<Counts>, WebhookError> {
    let mut teller = Teller::start(webhooks, &format!("/clusters/{cluster}"), leadership, stop)?;
    let counts = teller.counts();
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut seen = timeline.last();
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            for record in timeline.after(seen, RECORDS) {
                seen = record.seq;
                let Some(happened) = happened(&record, &cluster) else { continue };
                let id = format!("{boot:016x}-{}", record.seq);
                let unix_micros = record.unix_micros;
                let record = serde_json::to_value(&record).unwrap_or_default();
                teller.tell(Telling { id, unix_micros, happened, record });
            }
        }
    });
    Ok(counts)
}
