//! Drills and their schedules at one moment, for the status of their objects.

use super::{
    clerk::{KEPT, lock},
    schedule::{self, Run, Scheduled},
};
use crate::{
    office::{Office, OfficeError},
    view::DrillView,
};

/// So many of the next slots of a schedule are looked through for one that nothing stands in the way of.
const AHEAD: usize = 10;

/// A drill that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) id: String,
    /// `NAMESPACE/NAME`.
    pub(crate) drill: String,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    /// The schedule that began it.
    pub(crate) schedule: Option<String>,
}

/// What came of the last slot of a schedule.
pub(crate) type Slot = Run;

/// A schedule, and what is ahead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upcoming {
    /// `NAMESPACE/NAME`.
    pub(crate) schedule: String,
    /// When its drill runs next, in seconds since 1970; `None` while nothing is ahead.
    pub(crate) next: Option<u64>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Picture {
    pub(crate) runs: Option<Runs>,
    /// What was kept of drills that ran, the newest first.
    pub(crate) reports: Vec<DrillView>,
    pub(crate) schedules: Vec<Upcoming>,
    /// What was decided of slots, the oldest first.
    pub(crate) slots: Vec<Slot>,
}

impl Office {
    /// How drills and schedules stand.
    pub(crate) fn drill_picture(&self) -> Result<Picture, OfficeError> {
        let now = self.now();
        let upcoming = |it: tidegate_api::DrillSchedule| {
            let ahead = schedule::next(&it, now, AHEAD).unwrap_or_default();
            let next = ahead.into_iter().find(|(_, blocked)| blocked.is_none());
            Upcoming { schedule: it.name, next: next.map(|(at, _)| at) }
        };
        let (schedules, _) = self.schedules();
        let state: Scheduled = self.store.kept(KEPT)?.unwrap_or_default();
        let running = self.drill_that_runs();
        let ledger = lock(&self.drilling.ledger).clone();
        let runs = running.zip(ledger).filter(|((_, id), ledger)| *id == ledger.id);
        Ok(Picture {
            runs: runs.map(|((drill, id), ledger)| Runs {
                id,
                drill,
                started_at: ledger.started_at,
                schedule: ledger.due.map(|(schedule, _)| schedule),
            }),
            reports: self.store.drills()?.into_iter().map(|(_, it)| it).collect(),
            schedules: schedules.into_iter().map(upcoming).collect(),
            slots: state.runs.into(),
        })
    }
}
