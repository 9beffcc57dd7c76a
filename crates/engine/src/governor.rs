//! The governor: how much of its normal load a pool is given.
//!
//! It falls fast and rises slowly. A fall follows health at once when everything is lost, and after
//! `partial_loss_delay` when a part is. A rise waits for the hold-down, then climbs the ramp. A relapse
//! doubles the next hold-down, quiet time halves it back.
//!
//! The same machine governs a pool of the own cluster (its input is healthy of expected) and the
//! reach of another cluster (its input is 1 of 1 or 0 of 1).

mod merged;

use crate::policy::{FailbackMode, Policy};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tidegate_model::{Fraction, Phase, Time};

/// More relapses than this do not lengthen the hold-down: 2^16 times any hold-down is past every limit.
const MAX_RELAPSES: u32 = 16;

/// A step that lacks headroom is not tried again before this has passed, however short the ramp's interval.
const RETRY: Duration = Duration::from_secs(1);

/// What the governor is told: endpoints that are healthy, of those that should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) healthy: u32,
    pub(crate) expected: u32,
}

impl Health {
    pub(crate) const WHOLE: Self = Self { healthy: 1, expected: 1 };
    pub(crate) const LOST: Self = Self { healthy: 0, expected: 1 };

    /// The part of its normal load that a pool of this health can be given (DESIGN, section 4, Governor).
    pub(crate) fn target(self, policy: &Policy) -> Fraction {
        let health = Fraction::of(self.healthy, self.expected);
        if self.healthy == 0 || health < policy.minimum_healthy.value {
            Fraction::ZERO
        } else {
            health.relative_to(policy.failover_threshold.value)
        }
    }
}

/// What a governor is doing when it is not steady.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Admit is where health wants it.
    Steady,
    /// Health allows more. `until` is `None` while an operator's word is awaited; `level` is the
    /// health that the hold-down began with or rose to since: falling below it begins anew.
    Holding { until: Option<Time>, level: Fraction },
    /// Health allows more, and this step lasts until `until`.
    Ramping { until: Time },
}

/// One pool's governor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Governor {
    admit: Fraction,
    stage: Stage,
    /// Since when health has wanted less than admit, while the delay for partial losses runs.
    falling_since: Option<Time>,
    relapses: u32,
    /// When the last return was complete, and how much quiet time was counted before that (by a process that ended since).
    returned: Option<(Time, Duration)>,
    /// What to go back to if the fault turns out to have been none (see [`Governor::undo_fall`]).
    before_fall: Option<(Fraction, Stage, u32)>,
    /// The most to which a step may climb: what the pool's healthy endpoints can take of the demand.
    headroom: Fraction,
}

/// A governor as it is kept on disk and told to others. Times are kept as what remains of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SavedGovernor {
    admit: Fraction,
    stage: SavedStage,
    relapses: u32,
    /// The quiet time since the last return.
    quiet: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SavedStage {
    Steady,
    Holding { remaining: Option<Duration>, level: Fraction },
    Ramping { remaining: Duration },
}

/// What of a governor is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept(Fraction, Stage, u32, Option<(Time, Duration)>);

impl SavedGovernor {
    /// Whether time changes it.
    pub(crate) const fn runs(&self) -> bool {
        match self.stage {
            SavedStage::Steady => self.quiet.is_some(),
            SavedStage::Holding { remaining: None, .. } => self.quiet.is_some(),
            SavedStage::Holding { .. } | SavedStage::Ramping { .. } => true,
        }
    }

    /// The same `by` later, if nothing but time happened.
    pub(crate) fn age(&mut self, by: Duration) {
        match &mut self.stage {
            SavedStage::Steady | SavedStage::Holding { remaining: None, .. } => {}
            SavedStage::Holding { remaining: Some(remaining), .. } | SavedStage::Ramping { remaining } => {
                *remaining = remaining.saturating_sub(by);
            }
        }
        self.quiet = self.quiet.map(|quiet| quiet.saturating_add(by));
    }
}

impl Governor {
    /// Takes over what is more careful in somebody else's word.
    pub(crate) fn merge(&mut self, told: &SavedGovernor, now: Time) {
        let own = self.save(now);
        let merged = own.merged(told);
        if merged != own {
            *self = Self { falling_since: self.falling_since, ..Self::restored(&merged, now) };
        }
    }

    /// A pool without a history starts with its whole load.
    pub(crate) const fn new() -> Self {
        Self {
            admit: Fraction::ONE,
            stage: Stage::Steady,
            falling_since: None,
            relapses: 0,
            returned: None,
            before_fall: None,
            headroom: Fraction::ONE,
        }
    }

    /// The next steps climb no higher than `most`. A step that would is tried again an interval later.
    pub(crate) const fn limit_steps(&mut self, most: Fraction) {
        self.headroom = most;
    }

    /// Takes up where a saved governor stopped. What remained of a hold-down remains in full, however long nobody
    /// watched: unwatched time proves no steady health.
    pub(crate) fn restored(saved: &SavedGovernor, now: Time) -> Self {
        let stage = match saved.stage {
            SavedStage::Steady => Stage::Steady,
            SavedStage::Holding { remaining, level } => {
                Stage::Holding { until: remaining.map(|left| now + left), level }
            }
            SavedStage::Ramping { remaining } => Stage::Ramping { until: now + remaining },
        };
        // A number from disk or from others may be any.
        let (returned, relapses) = (saved.quiet.map(|quiet| (now, quiet)), saved.relapses.min(MAX_RELAPSES));
        Self { admit: saved.admit, stage, relapses, returned, ..Self::new() }
    }

    pub(crate) fn save(&self, now: Time) -> SavedGovernor {
        let stage = match self.stage {
            Stage::Steady => SavedStage::Steady,
            Stage::Holding { until, level } => {
                SavedStage::Holding { remaining: until.map(|until| until.since(now)), level }
            }
            Stage::Ramping { until } => SavedStage::Ramping { remaining: until.since(now) },
        };
        SavedGovernor { admit: self.admit, stage, relapses: self.relapses, quiet: self.quiet(now) }
    }

    /// All that [`Governor::save`] goes by: while it stays, only time changes what is saved.
    pub(crate) const fn kept(&self) -> Kept {
        Kept(self.admit, self.stage, self.relapses, self.returned)
    }

    pub(crate) const fn admit(&self) -> Fraction {
        self.admit
    }

    /// What remains of the hold-down; zero outside it.
    pub(crate) fn hold_remaining(&self, now: Time) -> Duration {
        match self.stage {
            Stage::Holding { until: Some(until), .. } => until.since(now),
            _ => Duration::ZERO,
        }
    }

    /// Where the pool stands, for people.
    pub(crate) fn phase(&self, expected: u32) -> Phase {
        match self.stage {
            _ if expected == 0 => Phase::Empty,
            Stage::Holding { .. } => Phase::Holding,
            Stage::Ramping { .. } => Phase::Ramping,
            Stage::Steady if self.admit.is_one() => Phase::Serving,
            Stage::Steady if self.admit.is_zero() => Phase::Out,
            Stage::Steady => Phase::Reduced,
        }
    }

    /// When it has to be asked again even if health stays as it is.
    pub(crate) fn deadline(&self, policy: &Policy) -> Option<Time> {
        let fall = self.falling_since.map(|since| since + policy.partial_loss_delay.value);
        let rise = match self.stage {
            Stage::Steady => None,
            Stage::Holding { until, .. } => until,
            Stage::Ramping { until } => Some(until),
        };
        // While a fall is pending nothing rises, so its deadline alone counts.
        fall.or(rise)
    }

    /// Takes in the health at `now`, and moves admit if it is time to.
    pub(crate) fn observe(&mut self, health: Health, policy: &Policy, now: Time) {
        let target = health.target(policy);
        if target < self.admit {
            self.fall(target, health.healthy == 0, policy, now);
        } else {
            self.falling_since = None;
            if target > self.admit {
                self.rise(target, policy, now);
            } else if self.stage != Stage::Steady {
                self.before_fall = Some((self.admit, self.stage, self.relapses));
                self.stage = Stage::Steady;
            }
        }
    }

    /// An operator lets the traffic back. Means nothing unless health allows it and a hold-down runs.
    pub(crate) fn release(&mut self, now: Time) {
        if let Stage::Holding { until, .. } = &mut self.stage {
            *until = Some(now);
        }
    }

    /// What comes is a fall of its own: undoing it must not undo the one before.
    pub(crate) fn forget_fall(&mut self) {
        self.before_fall = None;
    }

    /// The last fall was no fault (a peer was out of reach for a moment): back to before it, without a relapse.
    pub(crate) fn undo_fall(&mut self) {
        if let Some((admit, stage, relapses)) = self.before_fall.take() {
            (self.admit, self.stage, self.relapses) = (admit, stage, relapses);
            self.falling_since = None;
        }
    }

    fn fall(&mut self, target: Fraction, total: bool, policy: &Policy, now: Time) {
        let since = *self.falling_since.get_or_insert(now);
        if !total && now.since(since) < policy.partial_loss_delay.value {
            // Too short a loss to count is still no steady health: the hold-down begins anew.
            if matches!(self.stage, Stage::Holding { .. }) {
                self.stage = Stage::Steady;
            }
            return;
        }
        self.before_fall = Some((self.admit, self.stage, self.relapses));
        self.count_relapse(policy, now);
        self.admit = target;
        self.stage = Stage::Steady;
        self.falling_since = None;
    }

    /// A fall while it was coming back, or within the quiet time after, is a relapse.
    fn count_relapse(&mut self, policy: &Policy, now: Time) {
        if matches!(self.stage, Stage::Ramping { .. }) {
            self.relapses = (self.relapses + 1).min(MAX_RELAPSES);
        } else if let Some(quiet) = self.quiet(now) {
            self.returned = None;
            let quiet_ms = policy.failback.quiet.as_millis().max(1);
            let quiet_times = u32::try_from(quiet.as_millis() / quiet_ms).unwrap_or(u32::MAX);
            self.relapses = match quiet_times {
                0 => (self.relapses + 1).min(MAX_RELAPSES),
                times => self.relapses.saturating_sub(times),
            };
        }
    }

    /// The quiet time since the last return, if there was one and nothing fell since.
    fn quiet(&self, now: Time) -> Option<Duration> {
        self.returned.map(|(at, before)| before.saturating_add(now.since(at)))
    }

    fn rise(&mut self, target: Fraction, policy: &Policy, now: Time) {
        match self.stage {
            Stage::Steady => self.hold(target, policy, now),
            Stage::Holding { level, .. } if target < level => self.hold(target, policy, now),
            // The policy changed its mind about who lets traffic back.
            Stage::Holding { until, .. } if contradicts(until, policy, now) => {
                self.hold(target, policy, now);
            }
            Stage::Holding { until, level } => {
                self.stage = Stage::Holding { until, level: level.max(target) };
                if until.is_some_and(|until| until <= now) {
                    self.step(target, policy, now);
                }
            }
            Stage::Ramping { until } if until <= now => self.step(target, policy, now),
            Stage::Ramping { .. } => {}
        }
    }

    fn hold(&mut self, level: Fraction, policy: &Policy, now: Time) {
        let until = match policy.failback.mode.value {
            FailbackMode::Auto => Some(now + self.hold_down(policy)),
            FailbackMode::Manual => None,
        };
        self.before_fall = None;
        self.stage = Stage::Holding { until, level };
        if until.is_some_and(|until| until <= now) {
            self.step(level, policy, now);
        }
    }

    /// The hold-down in force: doubled by each relapse, up to the limit.
    fn hold_down(&self, policy: &Policy) -> Duration {
        let failback = &policy.failback;
        failback
            .hold_down
            .value
            .saturating_mul(1 << self.relapses)
            .min(failback.max_hold_down.value.max(failback.hold_down.value))
    }

    /// Climbs to the next step of the ramp, as far as health allows.
    fn step(&mut self, target: Fraction, policy: &Policy, now: Time) {
        let steps = &policy.failback.ramp_steps.value;
        let next = steps.iter().copied().find(|step| *step > self.admit).unwrap_or(Fraction::ONE);
        let next = next.min(target);
        if next > self.headroom {
            self.stage = Stage::Ramping { until: now + policy.failback.ramp_interval.value.max(RETRY) };
            return;
        }
        self.admit = next;
        self.stage = if self.admit >= target {
            self.before_fall = None;
            self.returned = Some((now, Duration::ZERO));
            Stage::Steady
        } else {
            Stage::Ramping { until: now + policy.failback.ramp_interval.value }
        };
    }
}

/// Whether a hold-down waits for the clock where the policy says operator, or the other way round. One that has
/// passed waits for nothing: that is how an operator's word is kept.
fn contradicts(until: Option<Time>, policy: &Policy, now: Time) -> bool {
    match policy.failback.mode.value {
        FailbackMode::Auto => until.is_none(),
        FailbackMode::Manual => until.is_some_and(|until| until > now),
    }
}

#[cfg(test)]
mod tests;
