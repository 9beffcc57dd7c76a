//! Single results become verdicts here. Pure: no clock, no I/O.
//!
//! The rules, for one target:
//! - Without history the first success means up at once; failures must still reach the threshold.
//! - What is up goes down after `unhealthy_threshold` failures in a row. The re-check after the
//!   first of them comes at once, so that with the default of two one lost packet costs nothing and
//!   a dead endpoint is found in the time of two checks, not of two intervals.
//! - What is down comes up after `healthy_threshold` successes in a row.
//! - A fault of our own ([`Failure::Local`]) says nothing about the target and counts as nothing.
//!
//! Verdicts are told when they change, and once when they are first confirmed by a result: what
//! was merely known before (from disk, from another replica) is not told as if it had been seen.

use crate::{CheckConfig, Failure};
use std::time::Duration;
use tidegate_model::ProbeVerdict;

/// When a target is to be checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextCheck {
    /// At once.
    Now,
    /// So long after the start of the last check.
    After(Duration),
}

/// What one result led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The verdict to tell, if it changed or is the first one. A target that stays down for
    /// another reason than before is not told again.
    pub verdict_changed: Option<ProbeVerdict>,
    /// Whether it is the first verdict of this target that a result confirmed.
    pub first: bool,
    /// When to check again.
    pub next: NextCheck,
}

/// What is known of one target.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// The verdict in force: up, down, or none yet.
    up: Option<bool>,
    /// Whether the verdict in force was told, so confirmed by a result.
    told: bool,
    /// Results in a row that speak against the verdict in force.
    against: u32,
}

impl Tracker {
    /// A target of which this much is known: up, down, or nothing.
    #[must_use]
    pub const fn new(known: Option<bool>) -> Self {
        Self { up: known, told: false, against: 0 }
    }

    /// The same target under another configuration: its verdict stays, its counts begin anew.
    #[must_use]
    pub const fn reconfigured(&self) -> Self {
        Self { against: 0, ..*self }
    }

    /// The verdict in force: up, down, or none yet.
    #[must_use]
    pub const fn up(&self) -> Option<bool> {
        self.up
    }

    /// Takes the result of one check that was made as `config` says.
    pub fn on_result(&mut self, config: &CheckConfig, result: Result<(), Failure>) -> Step {
        let quiet = |next| Step { verdict_changed: None, first: false, next };
        let passed = match &result {
            Ok(()) => true,
            Err(Failure::Local(_)) => return quiet(NextCheck::After(config.interval)),
            Err(_) => false,
        };
        if self.up == Some(passed) {
            self.against = 0;
            if self.told {
                return quiet(NextCheck::After(config.interval));
            }
        } else if passed && self.up.is_none() {
            self.against = 0;
        } else {
            self.against += 1;
            let threshold = if passed { config.healthy_threshold } else { config.unhealthy_threshold };
            if self.against < threshold.max(1) {
                let recheck = !passed && self.against == 1;
                return quiet(if recheck { NextCheck::Now } else { NextCheck::After(config.interval) });
            }
            self.against = 0;
        }
        self.up = Some(passed);
        let first = !std::mem::replace(&mut self.told, true);
        let verdict = match result {
            Ok(()) => ProbeVerdict::Up,
            Err(failure) => ProbeVerdict::Down(failure.to_string()),
        };
        Step { verdict_changed: Some(verdict), first, next: NextCheck::After(config.interval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckKind;

    /// Plays results (`.` a success, `x` a failure, `l` a fault of our own) and writes what each led to:
    /// `U`, `D` a verdict (`u`, `d` when it is the first), `-` nothing, and `!` for a re-check at once.
    fn play(config: &CheckConfig, known: Option<bool>, results: &str) -> String {
        let mut tracker = Tracker::new(known);
        let mut told = String::new();
        for result in results.chars() {
            let step = tracker.on_result(
                config,
                match result {
                    '.' => Ok(()),
                    'l' => Err(Failure::Local("too many open files".into())),
                    _ => Err(Failure::Refused),
                },
            );
            let letter = match &step.verdict_changed {
                Some(ProbeVerdict::Up) => 'U',
                Some(ProbeVerdict::Down(reason)) => {
                    assert_eq!(reason, "connection refused");
                    'D'
                }
                None => '-',
            };
            told.push(if step.first { letter.to_ascii_lowercase() } else { letter });
            match step.next {
                NextCheck::Now => told.push('!'),
                NextCheck::After(delay) => assert_eq!(delay, config.interval),
            }
        }
        told
    }

    fn config(unhealthy_threshold: u32, healthy_threshold: u32) -> CheckConfig {
        CheckConfig { unhealthy_threshold, healthy_threshold, ..CheckConfig::new(CheckKind::Tcp) }
    }

    #[test]
    fn verdicts_follow_the_thresholds() {
        let rows = [
            // (down after, up after, known, results, what they lead to)
            (2, 2, None, ".", "u"),
            (2, 2, None, "....", "u---"),
            (2, 2, None, "xx", "-!d"),
            (2, 2, None, "x.", "-!u"),
            (2, 2, None, "xx..", "-!d-U"),
            (2, 2, None, ".xx..", "u-!D-U"),
            (3, 3, None, ".xxx...", "u-!-D--U"),
            (1, 1, None, "x.x", "dUD"),
            (1, 1, Some(true), "x", "d"),
            (0, 0, None, ".x.", "uDU"),
            (2, 2, Some(true), "..", "u-"),
            (2, 2, Some(true), "xx", "-!d"),
            (2, 2, Some(true), "x.", "-!u"),
            (2, 2, Some(false), "..", "-u"),
            (2, 2, Some(false), "xxx", "d--"),
        ];
        for (down, up, known, results, expected) in rows {
            assert_eq!(
                play(&config(down, up), known, results),
                expected,
                "down after {down}, up after {up}, known {known:?}, results {results}"
            );
        }
    }

    #[test]
    fn flapping_below_a_threshold_changes_no_verdict() {
        assert_eq!(play(&config(2, 2), None, ".x.x.x."), "u-!--!--!-");
        assert_eq!(play(&config(3, 2), None, ".xx.xx."), "u-!---!--");
        assert_eq!(play(&config(2, 2), None, "xx.x.x.x"), "-!d------");
    }

    #[test]
    fn a_fault_of_our_own_counts_neither_for_nor_against() {
        assert_eq!(play(&config(2, 2), None, "llll"), "----");
        assert_eq!(play(&config(2, 2), None, ".xlx"), "u-!-D");
        assert_eq!(play(&config(2, 2), Some(false), ".l."), "--u");
    }

    #[test]
    fn another_configuration_keeps_the_verdict_and_forgets_the_counts() {
        let config = config(2, 2);
        let mut tracker = Tracker::new(None);
        tracker.on_result(&config, Ok(()));
        tracker.on_result(&config, Err(Failure::Refused));
        let mut tracker = tracker.reconfigured();
        assert_eq!(tracker.up(), Some(true));
        assert_eq!(tracker.on_result(&config, Err(Failure::Refused)).verdict_changed, None);
        let down = tracker.on_result(&config, Err(Failure::Status(503)));
        assert_eq!(down.verdict_changed, Some(ProbeVerdict::Down("status 503".into())));
        assert!(!down.first);
    }
}
