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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// The command that mends ended.
    Mended(Result<(), String>),
    /// The target answers well again.
    Verified,
    /// A guard fired.
    Guard(String),
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

    fn watched_until(&self) -> Option<Time> {
        let from = self.moments.mended.or(self.moments.mending)?;
        let lasts =
            if self.stopped.is_some() { self.plan.observe.min(STOPPED_WATCH) } else { self.plan.observe };
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
            (Phase::Fault, Event::Broken(Err(why)) | Event::Guard(why) | Event::Interrupted(why)) => {
                self.stopped = Some(why);
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
                if self.stopped.is_some() { self.end(now) } else { Vec::new() }
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
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        steady: Duration::from_secs(10),
        fault: Duration::from_secs(20),
        observe: Duration::from_secs(30),
    };

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// A drill whose fault began at 10 s.
    fn broken() -> Course {
        let mut course = Course::new(PLAN);
        assert_eq!(course.begin(), [Effect::Check]);
        assert_eq!(course.on(at(0), Event::Checked(Ok(()))), [Effect::StartLoad]);
        assert_eq!(course.on(at(9999), Event::Tick), []);
        assert_eq!(course.on(at(10_000), Event::Tick), [Effect::Judge]);
        assert_eq!(course.on(at(10_000), Event::Judged(Ok(()))), [Effect::Break]);
        course
    }

    #[test]
    fn all_parts_run_in_their_time() {
        let mut course = broken();
        assert_eq!((course.phase(), course.deadline()), (Phase::Fault, Some(at(30_000))));
        assert_eq!(course.on(at(10_100), Event::Broken(Ok(()))), []);
        assert_eq!(course.on(at(30_000), Event::Tick), [Effect::Mend]);
        assert_eq!(course.on(at(30_500), Event::Mended(Ok(()))), [Effect::Verify]);
        assert_eq!(course.on(at(31_000), Event::Verified), []);
        assert_eq!(course.deadline(), Some(at(60_500)));
        assert_eq!(course.on(at(60_500), Event::Tick), []);
        assert_eq!(course.ending(), Some(Ending::Completed));
        let expected = Moments {
            steady: Some(at(0)),
            fault: Some(at(10_000)),
            mending: Some(at(30_000)),
            mended: Some(at(30_500)),
            verified: Some(at(31_000)),
            done: Some(at(60_500)),
        };
        assert_eq!(course.moments(), expected);
    }

    #[test]
    fn what_was_not_broken_is_not_mended() {
        let not_started = Some(Ending::NotStarted("no".to_owned()));
        for event in [
            Event::Checked(Err("no".to_owned())),
            Event::Guard("no".to_owned()),
            Event::Interrupted("no".to_owned()),
        ] {
            let mut course = Course::new(PLAN);
            assert_eq!(course.on(at(5), event), []);
            assert_eq!(course.ending(), not_started);
        }
        for event in [
            Event::Judged(Err("no".to_owned())),
            Event::Guard("no".to_owned()),
            Event::Interrupted("no".to_owned()),
        ] {
            let mut course = Course::new(PLAN);
            course.on(at(0), Event::Checked(Ok(())));
            course.on(at(10_000), Event::Tick);
            assert_eq!(course.on(at(10_001), event), []);
            assert_eq!((course.ending(), course.moments().fault), (not_started.clone(), None));
        }
    }

    #[test]
    fn whatever_stops_the_fault_mends_at_once() {
        for event in [
            Event::Guard("it".to_owned()),
            Event::Interrupted("it".to_owned()),
            Event::Broken(Err("it".to_owned())),
        ] {
            let mut course = broken();
            assert_eq!(course.on(at(12_000), event), [Effect::Mend]);
            assert_eq!(course.on(at(12_100), Event::Mended(Ok(()))), [Effect::Verify]);
            assert_eq!(course.phase(), Phase::Watching);
            assert_eq!(course.on(at(12_200), Event::Verified), []);
            assert_eq!(course.ending(), Some(Ending::Stopped("it".to_owned())));
        }
    }

    #[test]
    fn mending_is_tried_again_and_not_for_ever() {
        let mut course = broken();
        assert_eq!(course.on(at(30_000), Event::Tick), [Effect::Mend]);
        for (try_at, failed_at) in [(30_600, 30_100), (31_200, 30_700)] {
            assert_eq!(course.on(at(failed_at), Event::Mended(Err("no".to_owned()))), []);
            assert_eq!(
                course.on(at(failed_at + 1), Event::Interrupted("now".to_owned())),
                [],
                "mending goes on"
            );
            assert_eq!(course.on(at(try_at), Event::Tick), [Effect::Mend]);
        }
        assert_eq!(course.on(at(31_300), Event::Mended(Err("no".to_owned()))), [Effect::Verify]);
        assert_eq!((course.phase(), course.mend_error()), (Phase::Watching, Some("no")));
        assert_eq!(course.on(at(40_000), Event::Tick), []);
        assert_eq!(course.ending(), Some(Ending::Stopped("now".to_owned())));
        assert_eq!(course.moments().mended, None);
    }

    #[test]
    fn who_asks_twice_may_go_once_it_is_mended() {
        let mut course = broken();
        course.on(at(11_000), Event::Interrupted("Ctrl-C".to_owned()));
        course.on(at(11_100), Event::Mended(Ok(())));
        course.on(at(11_200), Event::Interrupted("Ctrl-C".to_owned()));
        assert_eq!(course.ending(), Some(Ending::Stopped("Ctrl-C".to_owned())));
    }

    #[test]
    fn an_expiry_that_strikes_first_ends_the_fault() {
        let mut course = broken();
        assert_eq!(course.on(at(15_000), Event::Mended(Ok(()))), [Effect::Verify]);
        course.on(at(16_000), Event::Verified);
        assert_eq!(course.ending(), Some(Ending::Stopped("the fault expired".to_owned())));
    }

    /// Any events in any order: whatever was broken is mended before the end, and the end comes.
    #[test]
    fn nothing_ends_broken() {
        let mut seed = 11_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..5000 {
            let (mut course, mut now, mut asked_to_mend) = (Course::new(PLAN), 0, 0);
            for _ in 0..200 {
                now += random(3000);
                let why = || "why".to_owned();
                let event = match random(12) {
                    0 => Event::Checked(Ok(())),
                    1 => Event::Judged(Ok(())),
                    2 => Event::Broken(Ok(())),
                    3 => Event::Broken(Err(why())),
                    4 => Event::Mended(Err(why())),
                    5 => Event::Mended(Ok(())),
                    6 => Event::Verified,
                    7 if random(9) == 0 => Event::Guard(why()),
                    8 if random(9) == 0 => Event::Interrupted(why()),
                    _ => Event::Tick,
                };
                let mended_by_itself = course.phase() == Phase::Fault && event == Event::Mended(Ok(()));
                let effects = course.on(at(now), event);
                asked_to_mend += u32::from(effects.contains(&Effect::Mend) || mended_by_itself);
                assert!(asked_to_mend <= MEND_TRIES);
                if course.phase() == Phase::Done {
                    break;
                }
            }
            if course.phase() == Phase::Done && course.moments().fault.is_some() {
                assert!(asked_to_mend >= 1, "{course:?}");
            }
        }
    }
}
