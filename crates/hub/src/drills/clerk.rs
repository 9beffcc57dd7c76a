//! Schedules at the hub: where they come from, what is kept of them, and what is shown. What is due is decided in `schedule`.

use super::schedule::{self, Facts, Scheduled};
use crate::{
    office::{Office, OfficeError},
    view::{DrillNextView, DrillRunView, DrillScheduleView, DrillSchedulesView},
};
use std::{sync::Arc, time::Duration};
use tidegate_api::{DrillSchedule, SourceFile, read_schedules, time_text};
use tidegate_link::{access::Caller, hub::Objects};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Under this name it is kept.
const KEPT: &str = "drillSchedules";
/// Schedules are looked at so often.
const EVERY: Duration = Duration::from_secs(5);
/// So many of the next times are shown.
const AHEAD: usize = 5;
/// So many of the last runs are shown.
const BEHIND: usize = 50;

impl Office {
    /// The schedules of the policy that is in force.
    fn schedules(&self) -> (Vec<DrillSchedule>, Arc<crate::office::Published>) {
        let policy = self.newest();
        let texts = policy.objects.iter().filter(|(key, _)| key.starts_with("DrillSchedule "));
        let files = texts.map(|(_, it)| SourceFile { path: it.source.clone(), text: it.text.clone() });
        (files.flat_map(|file| read_schedules(&file)).collect(), policy)
    }

    /// Decides what is due now, and keeps that. Nothing is started: no drill can be carried out from here yet, and each run
    /// that is due says so.
    pub(crate) fn step_schedules(&self) -> Result<(), OfficeError> {
        let (schedules, policy) = self.schedules();
        let before: Scheduled = self.store.kept(KEPT)?.unwrap_or_default();
        if schedules.is_empty() && before.since.is_empty() {
            return Ok(());
        }
        let mut state = before.clone();
        let unable = |drill: &str| Some(unable(&policy.objects, drill));
        let facts = Facts { now: self.now(), running: None, unable: &unable };
        let due = schedule::decide(&mut state, &schedules, facts);
        if state != before {
            self.store.keep(KEPT, &state)?;
        }
        for run in due {
            let why = run.skipped.unwrap_or_default();
            tracing::info!(schedule = run.schedule, drill = run.drill, why, "a drill is skipped");
            let detail = format!("{} by schedule {}: {why}", run.drill, run.schedule);
            self.audit("hub", "drillSkipped", detail)?;
        }
        Ok(())
    }

    /// What is scheduled, and what became of it.
    pub(crate) fn schedules_view(&self, caller: &Caller) -> Result<DrillSchedulesView, OfficeError> {
        let state: Scheduled = self.store.kept(KEPT)?.unwrap_or_default();
        let now = self.now();
        let sees = |name: &str| caller.sees(&format!("DrillSchedule {name}"));
        let view = |it: DrillSchedule| {
            let (next, error) = match schedule::next(&it, now, AHEAD) {
                Ok(next) => (next, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let next = next.into_iter().map(|(at, blocked)| DrillNextView { at: time_text(at), blocked });
            DrillScheduleView {
                schedule: it.name,
                drill: it.drill,
                cron: it.cron,
                time_zone: it.time_zone,
                suspended: it.suspend,
                next: next.collect(),
                error,
            }
        };
        let run = |it: schedule::Run| DrillRunView {
            schedule: it.schedule,
            drill: it.drill,
            at: time_text(it.due),
            skipped: it.skipped,
        };
        let (schedules, _) = self.schedules();
        let runs = state.runs.into_iter().rev().filter(|it| sees(&it.schedule)).take(BEHIND);
        Ok(DrillSchedulesView {
            schedules: schedules.into_iter().filter(|it| sees(&it.name)).map(view).collect(),
            runs: runs.map(run).collect(),
        })
    }
}

/// Why a drill is not started by a schedule.
fn unable(objects: &Objects, drill: &str) -> String {
    if objects.contains_key(&format!("Drill {drill}")) {
        "nothing can carry out drills from the hub yet; run it with: tidegate drill run".to_owned()
    } else {
        format!("the policy has no Drill {drill}; one with commands (Exec) runs from the command line only")
    }
}

/// Follows the schedules until `stop`.
pub(crate) async fn follow(office: Arc<Office>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(EVERY) => {}
        }
        let office = Arc::clone(&office);
        let step = tokio::task::spawn_blocking(move || office.step_schedules());
        if let Ok(Err(error)) = step.await {
            tracing::error!(%error, "the schedules of drills cannot be followed");
        }
    }
}
