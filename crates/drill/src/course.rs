//! The course of a drill, as a pure state machine: what happened goes in with its time, what is to be done comes out.
//!
//! ```text
//! Checking -> Steady -> Fault -> Mending -> Watching -> Done
//!     \_________\________________________________________^    nothing was broken: nothing to mend
//! ```
//!
//! Whatever ends [`Phase::Fault`] (its time, a guard, a person, a command that failed), mending follows, and only then
//! anything else. A mend command that fails is tried again [`MEND_TRIES`] times in all. Mending is believed when the target
//! answers well again, not when the command says so.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidegate_model::Time;

/// How often mending is tried.
pub const MEND_TRIES: u32 = 3;
/// Between two tries of mending.
const MEND_PAUSE: Duration = Duration::from_millis(500);
/// How long a drill that was stopped looks whether the target is well again.
const STOPPED_WATCH: Duration = Duration::from_secs(10);

/// Where a drill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Whether it may start at all: the target answers, no guard speaks against it.
    Checking,
    /// Load, and no fault: what is normal.
    Steady,
    /// The fault is on.
    Fault,
    /// It is being mended.
    Mending,
    /// It was mended; how the target recovers.
    Watching,
    /// Over.
    Done,
}

/// How long the parts take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Before the fault.
    pub steady: Duration,
    /// From the fault to mending.
    pub fault: Duration,
    /// After mending.
    pub observe: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The checks before the start ended, well or with a reason against it.
    Checked(Result<(), String>),
    /// How the steady part was.
    Judged(Result<(), String>),
    /// The command that breaks ended.
    Broken(Result<(), String>),
    /// Whoever was to break refused, and nothing was begun.
    Refused(String),
    /// The command that mends ended.
    Mended(Result<(), String>),
    /// The target answers well again.
    Verified,
    /// A guard fired.
    Guard(String),
    /// The fault is not on any more, though nobody here ended it.
    Lost(String),
    /// Somebody wants it to end.
    Interrupted(String),
    /// Time went by.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look whether it may start.
    Check,
    /// Begin to send requests, and to watch the guards.
    StartLoad,
    /// Say whether the steady part was good enough to compare with.
    Judge,
    /// Run the command that breaks.
    Break,
    /// Run the command that mends.
    Mend,
    /// Look until the target answers well again.
    Verify,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "how", content = "why")]
pub enum Ending {
    /// All its parts ran.
    Completed,
    /// Nothing was broken, for this reason.
    NotStarted(String),
    /// It was stopped and mended, for this reason.
    Stopped(String),
}

/// The moments that the measures count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// Load began.
    pub steady: Option<Time>,
    /// The command that breaks was started.
    pub fault: Option<Time>,
    /// The command that mends was first started.
    pub mending: Option<Time>,
    /// It ended well.
    pub mended: Option<Time>,
    /// The target answered well again.
    pub verified: Option<Time>,
    /// The end.
    pub done: Option<Time>,
}

/// The course of one drill.
#[derive(Debug)]
pub struct Course {
    plan: Plan,
    phase: Phase,
    moments: Moments,
    /// Why it is being stopped, if it is.
    stopped: Option<String>,
    not_started: Option<String>,
    tries: u32,
    /// Why mending failed, the last time.
    mend_error: Option<String>,
    /// When mending is tried again.
    again_at: Option<Time>,
    asked_to_judge: bool,
}

impl Course {
    /// A drill that was not begun.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        Self {
            plan,
            phase: Phase::Checking,
            moments: Moments {
                steady: None,
                fault: None,
                mending: None,
                mended: None,
                verified: None,
                done: None,
            },
            stopped: None,
            not_started: None,
            tries: 0,
            mend_error: None,
            again_at: None,
            asked_to_judge: false,
        }
    }

    /// What is to be done first.
    #[must_use]
    pub fn begin(&self) -> Vec<Effect> {
        vec![Effect::Check]
    }

    /// Where it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// What the measures count from.
    #[must_use]
    pub const fn moments(&self) -> Moments {
        self.moments
    }

    /// Why the fault could not be mended, if so.
    #[must_use]
    pub fn mend_error(&self) -> Option<&str> {
        self.mend_error.as_deref()
    }

    /// How it ended, once it is done.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        if self.phase != Phase::Done {
            return None;
        }
        Some(match (&self.not_started, &self.stopped) {
            (Some(why), _) => Ending::NotStarted(why.clone()),
            (None, Some(why)) => Ending::Stopped(why.clone()),
            (None, None) => Ending::Completed,
        })
    }

    /// When [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Checking | Phase::Done => None,
            Phase::Steady if self.asked_to_judge => None,
            Phase::Steady => self.moments.steady.map(|at| at + self.plan.steady),
            Phase::Fault => self.moments.fault.map(|at| at + self.plan.fault),
            Phase::Mending => self.again_at,
            Phase::Watching => self.watched_until(),
        }
    }

    /// Whether there is no recovery to watch.
    const fn is_cut_short(&self) -> bool {
        self.stopped.is_some() || self.not_started.is_some()
    }

    fn watched_until(&self) -> Option<Time> {
        let from = self.moments.mended.or(self.moments.mending)?;
        let lasts =
            if self.is_cut_short() { self.plan.observe.min(STOPPED_WATCH) } else { self.plan.observe };
        Some(from + lasts)
    }

    /// Takes in what happened.
    pub fn on(&mut self, now: Time, event: Event) -> Vec<Effect> {
        match (self.phase, event) {
            (Phase::Checking, Event::Checked(Ok(()))) => {
                self.phase = Phase::Steady;
                self.moments.steady = Some(now);
                vec![Effect::StartLoad]
            }
            (Phase::Checking, Event::Checked(Err(why)) | Event::Guard(why) | Event::Interrupted(why))
            | (Phase::Steady, Event::Judged(Err(why)) | Event::Guard(why) | Event::Interrupted(why)) => {
                self.not_started = Some(why);
                self.end(now)
            }
            (Phase::Steady, Event::Judged(Ok(()))) => {
                self.phase = Phase::Fault;
                self.moments.fault = Some(now);
                vec![Effect::Break]
            }
            (Phase::Steady, Event::Tick) if self.deadline().is_some_and(|at| now >= at) => {
                self.asked_to_judge = true;
                vec![Effect::Judge]
            }
            (
                Phase::Fault,
                Event::Broken(Err(why)) | Event::Lost(why) | Event::Guard(why) | Event::Interrupted(why),
            ) => {
                self.stopped = Some(why);
                self.mend(now)
            }
            (Phase::Fault, Event::Refused(why)) => {
                self.not_started = Some(why);
                self.moments.fault = None;
                // What refused may have been told twice.
                self.mend(now)
            }
            (Phase::Fault, Event::Tick) if self.deadline().is_some_and(|at| now >= at) => self.mend(now),
            // Whoever mended it, it is mended: an expiry that struck first.
            (Phase::Fault, Event::Mended(Ok(()))) => {
                self.stopped = Some("the fault expired".to_owned());
                self.moments.mending = Some(now);
                self.watch(now)
            }
            (Phase::Mending, event) => self.on_mending(now, event),
            (Phase::Watching, event) => self.on_watching(now, event),
            _ => Vec::new(),
        }
    }

    fn mend(&mut self, now: Time) -> Vec<Effect> {
        self.phase = Phase::Mending;
        self.moments.mending = self.moments.mending.or(Some(now));
        self.tries += 1;
        self.again_at = None;
        vec![Effect::Mend]
    }

    fn watch(&mut self, now: Time) -> Vec<Effect> {
        self.phase = Phase::Watching;
        self.moments.mended = Some(now);
        self.mend_error = None;
        vec![Effect::Verify]
    }

    fn on_mending(&mut self, now: Time, event: Event) -> Vec<Effect> {
        match event {
            Event::Mended(Ok(())) if self.not_started.is_some() => self.end(now),
            Event::Mended(Ok(())) => self.watch(now),
            Event::Mended(Err(why)) => {
                self.mend_error = Some(why);
                if self.tries < MEND_TRIES {
                    self.again_at = Some(now + MEND_PAUSE);
                    return Vec::new();
                }
                self.phase = Phase::Watching;
                vec![Effect::Verify]
            }
            Event::Tick if self.again_at.is_some_and(|at| now >= at) => self.mend(now),
            Event::Guard(why) | Event::Interrupted(why) => {
                self.stopped.get_or_insert(why);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn on_watching(&mut self, now: Time, event: Event) -> Vec<Effect> {
        match event {
            Event::Verified => {
                self.moments.verified = self.moments.verified.or(Some(now));
                if self.is_cut_short() { self.end(now) } else { Vec::new() }
            }
            // Somebody who asks twice wants to go; a guard has nothing left to stop.
            Event::Interrupted(why) => {
                self.stopped.get_or_insert(why);
                self.end(now)
            }
            Event::Tick if self.deadline().is_some_and(|at| now >= at) => self.end(now),
            _ => Vec::new(),
        }
    }

    fn end(&mut self, now: Time) -> Vec<Effect> {
        self.phase = Phase::Done;
        self.moments.done = Some(now);
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
