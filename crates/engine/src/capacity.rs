//! What an endpoint is declared to take, and what follows for a pool.
//!
//! Load is counted in whole thousandths (of a request per second, or of a request in progress) where people and
//! other parts of the system meet it, and in millionths inside the waterfall, so that splitting loses nothing that a
//! share could show.

use crate::policy::Written;
use serde::{Deserialize, Serialize};
use std::fmt;
use tidegate_model::Fraction;

/// Millionths in a thousandth.
const THOUSANDTH: u64 = 1_000;

/// The most that one pool takes or one source sends, in millionths: a billion requests per second. More is taken as
/// this, so that sums over a fleet fit their types.
pub(crate) const MOST: u64 = 1_000_000_000_000_000;

/// An amount of load, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Load {
    /// Requests that arrive, per second.
    Rate {
        /// Thousandths of a request per second.
        rps: u64,
    },
    /// Requests in progress at the same time.
    Concurrency {
        /// Thousandths of a request.
        requests: u64,
    },
}

impl Load {
    /// The number, in thousandths.
    #[must_use]
    pub const fn thousandths(self) -> u64 {
        match self {
            Self::Rate { rps: it } | Self::Concurrency { requests: it } => it,
        }
    }

    /// Another amount in the same unit.
    #[must_use]
    pub const fn like(self, thousandths: u64) -> Self {
        match self {
            Self::Rate { .. } => Self::Rate { rps: thousandths },
            Self::Concurrency { .. } => Self::Concurrency { requests: thousandths },
        }
    }

    /// Whether both count the same thing.
    #[must_use]
    pub const fn is_like(self, other: Self) -> bool {
        matches!(self, Self::Rate { .. }) == matches!(other, Self::Rate { .. })
    }
}

/// As people write it: `62.5 requests/s`, `40 requests`.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.thousandths() / 1000, self.thousandths() % 1000);
        write!(f, "{whole}")?;
        if rest > 0 {
            write!(f, ".{}", format!("{rest:03}").trim_end_matches('0'))?;
        }
        f.write_str(match self {
            Self::Rate { .. } => " requests/s",
            Self::Concurrency { .. } => " requests",
        })
    }
}

/// What a service's endpoints are declared to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// What one endpoint takes. Zero counts as one thousandth (`api` refuses it).
    pub per_endpoint: Written<Load>,
    /// The part of it that is planned with.
    pub target_utilization: Written<Fraction>,
    /// Whether the nearest place is filled first.
    pub spread: Written<Spread>,
}

/// In which order places are filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spread {
    /// Tier by tier: the next one gets what the one before cannot take.
    #[default]
    Waterfall,
    /// All tiers at once, in proportion to what they can take.
    Spray,
}

impl Capacity {
    /// A declared capacity with the default target of 80 % (DESIGN, section 7), filled tier by tier.
    #[must_use]
    pub fn per_endpoint(load: Load) -> Self {
        Self {
            per_endpoint: Written::default_value(load),
            target_utilization: Written::default_value(Fraction::from_ppm(800_000).unwrap_or(Fraction::ONE)),
            spread: Written::default_value(Spread::Waterfall),
        }
    }

    /// What `healthy` endpoints take at the target utilisation, in millionths; never nothing of something.
    pub(crate) fn ceiling(&self, healthy: u32) -> u64 {
        self.budget(healthy, Fraction::ONE)
    }

    /// `admit * healthy * perEndpoint * targetUtilization` in millionths, rounded down, at most [`MOST`].
    pub(crate) fn budget(&self, healthy: u32, admit: Fraction) -> u64 {
        if healthy == 0 || admit.is_zero() {
            return 0;
        }
        let million = u128::from(Fraction::ONE.ppm());
        // At most 10^15 * 4.3 * 10^9 * 10^6 * 10^6 = 4.3 * 10^36, which fits.
        let endpoint = u128::from(millionths(self.per_endpoint.value.thousandths().max(1)));
        let utilized =
            endpoint * u128::from(healthy) * u128::from(self.target_utilization.value.ppm()) / million;
        let admitted = utilized * u128::from(admit.ppm()) / million;
        u64::try_from(admitted).unwrap_or(MOST).clamp(1, MOST)
    }
}

/// Thousandths as millionths, at most [`MOST`].
pub(crate) const fn millionths(thousandths: u64) -> u64 {
    let it = thousandths.saturating_mul(THOUSANDTH);
    if it > MOST { MOST } else { it }
}

/// What a target may take and what the fleet sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// `admit * healthy * perEndpoint * targetUtilization`, summed over its pools.
    pub budget: Load,
    /// What all sources together send there by this plan, in the same unit.
    pub load: Load,
}

impl Budget {
    /// Of amounts in millionths, told in the unit of `unit`.
    pub(crate) const fn of(unit: Load, budget: u64, load: u64) -> Self {
        Self { budget: unit.like(budget / THOUSANDTH), load: unit.like(load / THOUSANDTH) }
    }

    /// `load / budget` in whole percent, rounded to the nearest; `None` of nothing.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let (load, budget) = (self.load.thousandths(), self.budget.thousandths());
        (u128::from(load) * 100 + u128::from(budget / 2))
            .checked_div(u128::from(budget))
            .and_then(|it| u64::try_from(it).ok())
    }
}

/// `40 of 80 requests/s (50 %)`.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = Load::Concurrency { requests: self.load.thousandths() }.to_string();
        write!(f, "{} of {}", number.trim_end_matches(" requests"), self.budget)?;
        match self.percent() {
            Some(percent) => write!(f, " ({percent} %)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rps(value: u64) -> Capacity {
        Capacity::per_endpoint(Load::Rate { rps: value })
    }

    #[test]
    fn a_budget_is_admit_times_healthy_times_capacity_times_target() {
        let half = Fraction::from_ppm(500_000).unwrap();
        assert_eq!(rps(100_000).budget(10, Fraction::ONE), 800_000_000, "800 requests/s");
        assert_eq!(rps(100_000).budget(10, half), 400_000_000);
        assert_eq!(rps(100_000).budget(0, Fraction::ONE), 0);
        assert_eq!(rps(100_000).budget(10, Fraction::ZERO), 0);
    }

    #[test]
    fn absurd_capacities_neither_overflow_nor_vanish() {
        assert_eq!(rps(u64::MAX).budget(u32::MAX, Fraction::ONE), MOST);
        assert_eq!(rps(0).budget(1, Fraction::from_ppm(1).unwrap()), 1);
        let mut none = rps(1);
        none.target_utilization.value = Fraction::ZERO;
        assert_eq!(none.ceiling(1), 1, "never nothing of something");
    }

    #[test]
    fn load_reads_as_people_write_it() {
        let budget = Budget::of(Load::Rate { rps: 0 }, 80_000_000, 62_500_000);
        assert_eq!(budget.to_string(), "62.5 of 80 requests/s (78 %)");
        assert_eq!(Load::Concurrency { requests: 40_000 }.to_string(), "40 requests");
    }
}
