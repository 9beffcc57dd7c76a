//! What a hub left that was killed while a drill ran: it is recorded as ended, never begun again, and agents are told that it is over.
//! They end it by themselves when its time is over, whoever tells them.

use super::{lines, runner};
use crate::office::{Office, OfficeError};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tidegate_api::SourceFile;
use tidegate_drill::{
    course::Ending,
    report::Report,
    run::{Record, mend},
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Agents that come back are told so soon.
const EVERY: Duration = Duration::from_millis(500);
/// Who tells them.
const BY: &str = "by the hub, which was killed while the drill ran";

/// A drill whose agents are to be told that it is over.
pub(crate) struct Left {
    id: String,
    /// It ended by itself then.
    lasts: Duration,
}

impl Office {
    /// Records what a hub left that was killed; the drill, if anything of it may be left at agents.
    pub(crate) fn record_left(&self) -> Result<Option<Left>, OfficeError> {
        let Some(ledger) = self.left_over()? else { return Ok(None) };
        let source = SourceFile { path: ledger.source.clone(), text: ledger.text.clone() };
        let mut left = None;
        let why = match ledger.broken {
            true => {
                "ended: the hub died while it ran; agents ended its fault by themselves, when it expired at the latest"
            }
            false => "ended: the hub died before anything was broken",
        };
        if let Ok(drill) = runner::read(&source) {
            left = ledger.broken.then(|| Left { id: ledger.id.clone(), lasts: drill.expires_after });
            let ending = if ledger.broken { Ending::Stopped } else { Ending::NotStarted };
            let record = Record::cut_off(&ledger.id, drill, ending(why.to_owned()));
            let mut report = Report::new(&record, None);
            report.started_at = tidegate_api::time_text(ledger.started_at);
            if let Err(error) = self.keep_report(&report, &ledger.by) {
                tracing::error!(%error, "the report of a drill that a dead hub left is not kept");
            }
        }
        self.audit("hub", "drillEnded", format!("{}, {why}", ledger.id))?;
        tracing::warn!(id = ledger.id, why, "a drill ran when the hub was killed");
        self.note_ended(&ledger, why)?;
        self.close_ledger()?;
        Ok(left)
    }
}

/// Tells agents as they come back that it is over, until it has expired anyway.
pub(crate) async fn clear(office: Arc<Office>, left: Left, stop: CancellationToken) {
    let until = Instant::now() + left.lasts;
    let mut told = BTreeSet::new();
    while Instant::now() < until {
        for line in lines::all(&office) {
            let name = line.to_string();
            if !told.contains(&name) && mend(&*line, &left.id, BY).await.is_ok() {
                told.insert(name);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => {}
        }
    }
}
