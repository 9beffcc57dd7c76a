//! How many endpoints each zone should have when the workload says how many there are in all.
//!
//! A known number is better than the high-water mark: it tells a scale-in at once, and does not fade when what is
//! missing stays away. Two things it must not do: call the new pods of a scale-up missing before they were ever
//! healthy (so a rise counts only as far as it was reached), and read a loss in one zone as a shift of the others'
//! part (so the spread over zones is the one of the last time when all were there).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_model::Zone;

/// The known number of replicas of a service, and how they were spread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Replicas {
    /// As many as were there at once, at most as many as are wanted.
    reached: u32,
    /// How many were in each zone when all were there last.
    spread: BTreeMap<Zone, u32>,
}

impl Replicas {
    /// What each zone should have, given what is `present` in each; `None` while nothing is known.
    pub(crate) fn expected(
        &mut self,
        wanted: Option<u32>,
        present: &BTreeMap<Zone, u32>,
    ) -> Option<BTreeMap<Zone, u32>> {
        let Some(wanted) = wanted else {
            *self = Self::default();
            return None;
        };
        let total = present.values().fold(0_u32, |sum, count| sum.saturating_add(*count));
        self.reached = self.reached.min(wanted).max(total.min(wanted));
        if total >= self.reached {
            self.spread.clone_from(present);
        }
        Some(apportion(self.reached, &self.spread))
    }
}

/// Divides `total` by `weights`, by the largest remainder; ties go to the first zone by name.
fn apportion(total: u32, weights: &BTreeMap<Zone, u32>) -> BTreeMap<Zone, u32> {
    let whole: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
    if whole == 0 {
        return BTreeMap::new();
    }
    let mut parts = BTreeMap::new();
    let mut remainders = Vec::with_capacity(weights.len());
    let mut left = u64::from(total);
    for (zone, weight) in weights {
        let product = u64::from(total) * u64::from(*weight);
        left -= product / whole;
        // A part is at most the total.
        parts.insert(zone.clone(), u32::try_from(product / whole).unwrap_or(total));
        remainders.push((std::cmp::Reverse(product % whole), zone));
    }
    remainders.sort();
    for (_, zone) in remainders {
        if left == 0 {
            break;
        }
        if let Some(part) = parts.get_mut(zone) {
            *part += 1;
            left -= 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(counts: &[(&str, u32)]) -> BTreeMap<Zone, u32> {
        counts.iter().map(|(zone, count)| (zone.parse().unwrap(), *count)).collect()
    }

    #[test]
    fn replicas_are_apportioned_by_the_last_whole_spread_with_an_exact_sum() {
        let mut known = Replicas::default();
        let whole = zones(&[("a", 4), ("b", 3), ("c", 3)]);
        assert_eq!(known.expected(Some(10), &whole), Some(whole.clone()));
        let after_loss = known.expected(Some(10), &zones(&[("a", 0), ("b", 3), ("c", 3)])).unwrap();
        assert_eq!(after_loss, zones(&[("a", 4), ("b", 3), ("c", 3)]));
        let scaled_in = known.expected(Some(5), &zones(&[("a", 4), ("b", 3), ("c", 3)])).unwrap();
        assert_eq!(scaled_in, zones(&[("a", 2), ("b", 2), ("c", 1)]));
    }

    #[test]
    fn a_rise_counts_as_far_as_it_was_reached() {
        let mut known = Replicas::default();
        known.expected(Some(2), &zones(&[("a", 2)]));
        assert_eq!(known.expected(Some(30), &zones(&[("a", 2)])), Some(zones(&[("a", 2)])));
        assert_eq!(known.expected(Some(30), &zones(&[("a", 20)])), Some(zones(&[("a", 20)])));
        assert_eq!(known.expected(Some(30), &zones(&[("a", 9)])), Some(zones(&[("a", 20)])));
        assert_eq!(known.expected(None, &zones(&[("a", 9)])), None);
    }
}
