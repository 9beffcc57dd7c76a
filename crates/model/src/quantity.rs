//! Shares and fractions as whole numbers: exact sums, the same on every machine.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A quantity outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantityError {
    /// A share above 10000.
    #[error("a share is 0 to 10000 (1/10000), not {0}")]
    Share(u32),
    /// A fraction above one.
    #[error("a fraction is 0 to 1000000 (parts per million), not {0}")]
    Fraction(u32),
    /// A percentage that is not in 0..=100.
    #[error("a percentage is 0 to 100, not {0}")]
    Percentage(f64),
}

/// A share of a source's traffic, in 1/10000. The shares of a plan and what it sheds sum to 10000 exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(10_000);

    /// `parts` of 10000.
    pub const fn new(parts: u32) -> Result<Self, QuantityError> {
        if parts > 10_000 { Err(QuantityError::Share(parts)) } else { Ok(Self(parts)) }
    }

    /// In 1/10000.
    #[must_use]
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// How far apart two shares are, in 1/10000.
    #[must_use]
    pub const fn distance(self, other: Self) -> u32 {
        self.0.abs_diff(other.0)
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u32> for Share {
    type Error = QuantityError;

    fn try_from(parts: u32) -> Result<Self, QuantityError> {
        Self::new(parts)
    }
}

impl From<Share> for u32 {
    fn from(share: Share) -> Self {
        share.0
    }
}

/// As a percentage without needless digits: `25 %`, `33.34 %`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&percent_text(u64::from(self.0), 100))
    }
}

/// A part of a whole in parts per million: thresholds, ramp steps, the admitted part of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Fraction(u32);

impl Fraction {
    const MILLION: u32 = 1_000_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(Self::MILLION);

    /// `ppm` parts per million.
    pub const fn from_ppm(ppm: u32) -> Result<Self, QuantityError> {
        if ppm > Self::MILLION { Err(QuantityError::Fraction(ppm)) } else { Ok(Self(ppm)) }
    }

    /// `percent` of 0..=100; rounded to parts per million.
    pub fn from_percentage(percent: f64) -> Result<Self, QuantityError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(QuantityError::Percentage(percent));
        }
        // In range by the check above, so the cast loses nothing but the fraction.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self((percent * 10_000.0).round() as u32))
    }

    /// `part / whole`, rounded down and at most one; one when `whole` is zero (nothing is missing of nothing).
    #[must_use]
    pub fn of(part: u32, whole: u32) -> Self {
        if part >= whole {
            return Self::ONE;
        }
        let ppm = u64::from(part) * u64::from(Self::MILLION) / u64::from(whole);
        Self(u32::try_from(ppm).unwrap_or(Self::MILLION))
    }

    /// `self / threshold`, rounded down and at most one; one when the threshold is zero.
    #[must_use]
    pub fn relative_to(self, threshold: Self) -> Self {
        Self::of(self.0, threshold.0)
    }

    /// The product, rounded to the nearest part per million.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let million = u64::from(Self::MILLION);
        let ppm = (u64::from(self.0) * u64::from(other.0) + million / 2) / million;
        Self(u32::try_from(ppm).unwrap_or(Self::MILLION))
    }

    /// Parts per million.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Whether it is the whole.
    #[must_use]
    pub const fn is_one(self) -> bool {
        self.0 == Self::MILLION
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u32> for Fraction {
    type Error = QuantityError;

    fn try_from(ppm: u32) -> Result<Self, QuantityError> {
        Self::from_ppm(ppm)
    }
}

impl From<Fraction> for u32 {
    fn from(fraction: Fraction) -> Self {
        fraction.0
    }
}

/// As a percentage with at most two digits after the point: `70 %`, `71.43 %`.
impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&percent_text((u64::from(self.0) + 50) / 100, 100))
    }
}

/// `value` in units of `1/per_percent` percent, as text.
fn percent_text(value: u64, per_percent: u64) -> String {
    let (whole, rest) = (value / per_percent, value % per_percent);
    if rest == 0 {
        format!("{whole} %")
    } else {
        format!("{whole}.{} %", format!("{rest:02}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_read_as_people_write_them() {
        assert_eq!(Share::new(2500).unwrap().to_string(), "25 %");
        assert_eq!(Share::new(3334).unwrap().to_string(), "33.34 %");
        assert_eq!(Share::new(3330).unwrap().to_string(), "33.3 %");
        assert_eq!(Fraction::from_percentage(71.43).unwrap().to_string(), "71.43 %");
        assert_eq!(Fraction::ONE.to_string(), "100 %");
    }

    #[test]
    fn quantities_refuse_what_is_out_of_range() {
        assert!(Share::new(10_001).is_err());
        assert!(Fraction::from_percentage(-0.1).is_err());
        assert!(Fraction::from_percentage(f64::NAN).is_err());
        assert!(Fraction::from_percentage(100.1).is_err());
        assert!(serde_json::from_str::<Share>("10001").is_err());
    }

    #[test]
    fn health_relative_to_a_threshold_is_at_most_one() {
        let threshold = Fraction::from_percentage(70.0).unwrap();
        assert_eq!(Fraction::of(7, 10).relative_to(threshold), Fraction::ONE);
        assert_eq!(Fraction::of(1, 2).relative_to(threshold).ppm(), 714_285);
        assert_eq!(Fraction::of(0, 10).relative_to(threshold), Fraction::ZERO);
        assert_eq!(Fraction::of(3, 10).relative_to(Fraction::ZERO), Fraction::ONE);
    }
}
