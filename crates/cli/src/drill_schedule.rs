//! `tidegate drill schedule`: which drills run by themselves next, and what became of those that were due.

use crate::{cluster::Options, table};
use anyhow::Result;
use tidegate_hub::view::DrillSchedulesView;

pub(crate) async fn run(options: &Options) -> Result<()> {
    let view: DrillSchedulesView = options.door.get("/api/v1/drill-schedules").await?;
    if let Some(text) = options.output.document(&view)? {
        say!("{}", text.trim_end());
        return Ok(());
    }
    let mut rows = table::new(&["SCHEDULE", "DRILL", "CRON", "TIME ZONE", "NEXT (UTC)", "NOTE"]);
    for it in &view.schedules {
        let row = |at: &str, note: Option<&String>| {
            let note = note.cloned().unwrap_or_default();
            [
                it.schedule.clone(),
                it.drill.clone(),
                it.cron.clone(),
                it.time_zone.clone(),
                at.to_owned(),
                note,
            ]
        };
        if it.next.is_empty() {
            let never = "there is no such time".to_owned();
            rows.add_row(row("never", it.error.as_ref().or(Some(&never))));
        }
        for next in &it.next {
            rows.add_row(row(&next.at, next.blocked.as_ref()));
        }
    }
    say!("{rows}");
    if view.runs.is_empty() {
        return Ok(());
    }
    let mut rows = table::new(&["DUE (UTC)", "SCHEDULE", "DRILL", "WHAT CAME OF IT"]);
    for it in view.runs {
        let what = match (it.skipped, it.ended, it.id) {
            (Some(why), ..) => format!("skipped: {why}"),
            (None, Some(how), id) => format!("{}: {how}", id.unwrap_or_default()),
            (None, None, Some(id)) => format!("started: {id}"),
            (None, None, None) => "started".to_owned(),
        };
        rows.add_row([it.at, it.schedule, it.drill, what]);
    }
    say!("\n{rows}");
    Ok(())
}
