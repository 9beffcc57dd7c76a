//! Schedules at the hub: where they come from, what is kept of them, and what is shown. What is due is decided in `schedule`.

use super::{
    runner::{DrillRefusal, Ledger, Wish},
    schedule::{self, Facts, Run, Scheduled},
};
use crate::{
    metrics::DrillNumbers,
    office::{Office, OfficeError},
    view::{DrillNextView, DrillRunView, DrillScheduleView, DrillSchedulesView},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidegate_api::{DrillSchedule, SourceFile, read_schedules, time_text};
use tidegate_link::{access::Caller, hub::Objects};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Under this name it is kept.
pub(super) const KEPT: &str = "drillSchedules";
/// Schedules are looked at so often.
const EVERY: Duration = Duration::from_secs(5);
/// So many of the next times are shown.
const AHEAD: usize = 5;
/// So many of the last runs are shown.
const BEHIND: usize = 50;

impl Office {
    /// The schedules of the policy that is in force.
    pub(super) fn schedules(&self) -> (Vec<DrillSchedule>, Arc<crate::office::Published>) {
        let policy = self.newest();
        let texts = policy.objects.iter().filter(|(key, _)| key.starts_with("DrillSchedule "));
        let files = texts.map(|(_, it)| SourceFile { path: it.source.clone(), text: it.text.clone() });
        (files.flat_map(|file| read_schedules(&file)).collect(), policy)
    }

    /// Decides what is due now, keeps that, and begins what is to be begun. Within a runtime.
    pub(crate) fn step_schedules(self: &Arc<Self>) -> Result<(), OfficeError> {
        let (schedules, policy) = self.schedules();
        let turn = lock(&self.drilling.schedules);
        let before: Scheduled = self.store.kept(KEPT)?.unwrap_or_default();
        if schedules.is_empty() && before.since.is_empty() {
            return Ok(());
        }
        let mut state = before.clone();
        let running = self.drill_that_runs().map(|(drill, _)| drill);
        let unable = |drill: &str| self.unable(&policy.objects, drill);
        let facts = Facts { now: self.now(), running: running.as_deref(), unable: &unable };
        let due = schedule::decide(&mut state, &schedules, facts);
        if state != before {
            // Before anything is begun: whoever finds this after a crash does not begin it again.
            self.store.keep(KEPT, &state)?;
        }
        drop(turn);
        for run in due {
            match &run.skipped {
                Some(why) => self.skipped(&run, why)?,
                None => self.begin(&policy.objects, &run)?,
            }
        }
        Ok(())
    }

    fn skipped(&self, run: &Run, why: &str) -> Result<(), OfficeError> {
        tracing::info!(schedule = run.schedule, drill = run.drill, why, "a drill is skipped");
        let detail = format!("{} by schedule {}: {why}", run.drill, run.schedule);
        Ok(self.audit("hub", "drillSkipped", detail)?)
    }

    fn begin(self: &Arc<Self>, objects: &Objects, run: &Run) -> Result<(), OfficeError> {
        let source = source(objects, &run.drill);
        let by = format!("schedule {}", run.schedule);
        let begun = source.ok_or_else(|| OfficeError::Drill(DrillRefusal::Unread(unknown(&run.drill))));
        let wish = |source| self.start_drill(&Wish { source, by: &by, due: Some(run) });
        match begun.as_ref().map_err(ToString::to_string).and_then(|it| wish(it).map_err(|it| it.to_string()))
        {
            Ok(view) => self.note_run(Some(run), Some(&view.id), None),
            Err(why) => self.note_run(Some(run), None, Some(&why)),
        }
    }

    /// Why a drill is not started by a schedule, as far as it is known before it begins.
    fn unable(self: &Arc<Self>, objects: &Objects, drill: &str) -> Option<String> {
        let Some(source) = source(objects, drill) else { return Some(unknown(drill)) };
        // What runs is the decision's own question.
        let able = super::runner::read(&source).and_then(|it| self.may_drill(&it, "a schedule"));
        able.err().filter(|it| !matches!(it, DrillRefusal::Running { .. })).map(|it| it.to_string())
    }

    /// Keeps what came of the run of a schedule.
    pub(super) fn note_run(
        &self,
        run: Option<&Run>,
        id: Option<&str>,
        skipped: Option<&str>,
    ) -> Result<(), OfficeError> {
        let Some(run) = run else { return Ok(()) };
        self.change_run(&run.schedule, run.slot, |it| {
            it.id = id.map(str::to_owned).or_else(|| it.id.take());
            it.skipped = skipped.map(str::to_owned);
        })?;
        skipped.map_or(Ok(()), |why| self.skipped(run, why))
    }

    /// Keeps that nobody saw to the end of what a schedule had begun.
    pub(super) fn note_ended(&self, ledger: &Ledger, why: &str) -> Result<(), OfficeError> {
        let Some((schedule, slot)) = &ledger.due else { return Ok(()) };
        self.change_run(schedule, *slot, |it| {
            it.id = Some(ledger.id.clone());
            it.ended = Some(why.to_owned());
        })
    }

    fn change_run(
        &self,
        schedule: &str,
        slot: u64,
        change: impl FnOnce(&mut Run),
    ) -> Result<(), OfficeError> {
        let _turn = lock(&self.drilling.schedules);
        let mut state: Scheduled = self.store.kept(KEPT)?.unwrap_or_default();
        if let Some(run) = state.run(schedule, slot) {
            change(run);
            self.store.keep(KEPT, &state)?;
        }
        Ok(())
    }

    /// What of drills is counted.
    pub(crate) fn drill_numbers(&self) -> Result<DrillNumbers, OfficeError> {
        let mut numbers = DrillNumbers {
            running: self.drill_current().is_some_and(|it| !it.done),
            ..DrillNumbers::default()
        };
        for (_, it) in self.store.drills()? {
            let at = tidegate_api::parse_time(&it.signed_at).unwrap_or(0);
            let newest = numbers.newest.entry(it.drill).or_insert((it.passed, at));
            if at > newest.1 {
                *newest = (it.passed, at);
            }
        }
        let state: Scheduled = self.store.kept(KEPT)?.unwrap_or_default();
        let now = self.now();
        for schedule in self.schedules().0.into_iter().filter(|it| !it.suspend) {
            let runs = state.runs.iter().rev().filter(|it| it.schedule == schedule.name);
            let missed = runs.take_while(|it| it.skipped.is_some()).last();
            numbers.overdue.insert(schedule.name, missed.map_or(0, |it| now.saturating_sub(it.due)));
        }
        Ok(numbers)
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
            id: it.id,
            ended: it.ended,
        };
        let (schedules, _) = self.schedules();
        let runs = state.runs.into_iter().rev().filter(|it| sees(&it.schedule)).take(BEHIND);
        Ok(DrillSchedulesView {
            schedules: schedules.into_iter().filter(|it| sees(&it.name)).map(view).collect(),
            runs: runs.map(run).collect(),
        })
    }
}

/// A drill of the policy, as it was written.
fn source(objects: &Objects, drill: &str) -> Option<SourceFile> {
    let object = objects.get(&format!("Drill {drill}"))?;
    Some(SourceFile { path: object.source.clone(), text: object.text.clone() })
}

fn unknown(drill: &str) -> String {
    format!("the policy has no Drill {drill}; one with commands (Exec) runs from the command line only")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
