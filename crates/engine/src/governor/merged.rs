//! A governor by somebody else's word, and the more careful of two words.

use super::{SavedGovernor, SavedStage};
use std::time::Duration;
use tidegate_model::{Fraction, Phase};

impl SavedGovernor {
    /// From what agents tell each other. A ramp that is told has lost its place, so it begins with a hold-down.
    pub(crate) fn told(admit: Fraction, phase: Phase, hold_remaining: Duration) -> Self {
        let stage = match phase {
            // Nothing remains of a hold-down that waits for an operator.
            Phase::Holding => SavedStage::Holding {
                remaining: Some(hold_remaining).filter(|left| !left.is_zero()),
                level: Fraction::ZERO,
            },
            _ => SavedStage::Steady,
        };
        Self { admit, stage, relapses: 0, quiet: None }
    }

    pub(crate) const fn admit(&self) -> Fraction {
        self.admit
    }

    /// The more careful of two: the lower admit, the longer hold-down, the more relapses.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        let (low, high) = if other.admit < self.admit { (other, self) } else { (self, other) };
        let stage = match (low.stage, high.stage) {
            (
                SavedStage::Holding { remaining, level },
                SavedStage::Holding { remaining: other, level: other_level },
            ) => SavedStage::Holding {
                // `None` waits for an operator, which is the longest.
                remaining: remaining.zip(other).map(|(one, other)| one.max(other)),
                level: level.max(other_level),
            },
            (SavedStage::Ramping { remaining }, SavedStage::Ramping { remaining: other })
                if low.admit == high.admit =>
            {
                SavedStage::Ramping { remaining: remaining.max(other) }
            }
            (SavedStage::Steady, holds @ SavedStage::Holding { .. })
            | (SavedStage::Ramping { .. }, holds @ SavedStage::Holding { .. })
                if low.admit == high.admit =>
            {
                holds
            }
            (stage, _) => stage,
        };
        let quiet = self.quiet.into_iter().chain(other.quiet).min();
        Self { admit: low.admit, stage, relapses: self.relapses.max(other.relapses), quiet }
    }
}
