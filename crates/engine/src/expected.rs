//! How many endpoints a pool should have.
//!
//! Health is measured against what *should* be there, so that losing 9 of 10 endpoints reads 10 %
//! and not 100 % of the one that is left. The number is a high-water mark over a retention window,
//! less what was removed on purpose (DESIGN, section 4).

use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};
use tidegate_model::Time;

/// The retention window is kept in so many buckets; a mark outlives its window by at most one of them.
const BUCKETS: u32 = 10;

/// The highest number of endpoints that were present at once within the retention window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HighWater {
    /// Start of each bucket and the highest count in it, oldest first; at most [`BUCKETS`] + 1.
    buckets: VecDeque<(Time, u32)>,
}

/// A mark as it is kept on disk: its value alone; the window starts anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedMark(pub(crate) u32);

impl HighWater {
    pub(crate) fn restored(saved: SavedMark, now: Time) -> Self {
        Self { buckets: VecDeque::from([(now, saved.0)]) }
    }

    pub(crate) fn save(&self) -> SavedMark {
        SavedMark(self.value())
    }

    /// Takes note that `present` endpoints are there now.
    pub(crate) fn observe(&mut self, present: u32, retention: Duration, now: Time) {
        let width = retention / BUCKETS;
        match self.buckets.back_mut() {
            Some((start, highest)) if now.since(*start) < width => *highest = present.max(*highest),
            _ => {
                // Mostly one is all there is, of tens of thousands of pools: no room for more before it is needed.
                self.buckets.reserve_exact(1);
                self.buckets.push_back((now, present));
            }
        }
        while self.buckets.len() > 1 && self.expires(width, retention).is_some_and(|at| at <= now) {
            self.buckets.pop_front();
        }
    }

    /// One endpoint was removed on purpose.
    pub(crate) fn remove_deliberately(&mut self) {
        for (_, highest) in &mut self.buckets {
            *highest = highest.saturating_sub(1);
        }
    }

    pub(crate) fn value(&self) -> u32 {
        self.buckets.iter().map(|(_, highest)| *highest).max().unwrap_or(0)
    }

    /// When the mark may fall next, if it stands above `present`.
    pub(crate) fn deadline(&self, present: u32, retention: Duration) -> Option<Time> {
        if self.value() <= present {
            return None;
        }
        self.expires(retention / BUCKETS, retention)
    }

    fn expires(&self, width: Duration, retention: Duration) -> Option<Time> {
        self.buckets.front().map(|(start, _)| *start + width + retention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn what_vanished_is_expected_until_the_retention_ends() {
        let mut mark = HighWater::default();
        mark.observe(10, RETENTION, at(0));
        mark.observe(1, RETENTION, at(100));
        assert_eq!(mark.value(), 10);
        let deadline = mark.deadline(1, RETENTION).unwrap();
        assert_eq!(deadline, at(660));
        mark.observe(1, RETENTION, deadline);
        assert_eq!(mark.value(), 1);
    }

    #[test]
    fn what_was_removed_on_purpose_is_not_expected() {
        let mut mark = HighWater::default();
        mark.observe(10, RETENTION, at(0));
        for _ in 0..7 {
            mark.remove_deliberately();
        }
        mark.observe(3, RETENTION, at(1));
        assert_eq!(mark.value(), 3);
        assert_eq!(mark.deadline(3, RETENTION), None);
    }

    #[test]
    fn the_window_is_kept_in_a_bounded_number_of_buckets() {
        let mut mark = HighWater::default();
        for second in 0..10_000 {
            mark.observe(5, RETENTION, at(second));
        }
        assert!(mark.buckets.len() <= BUCKETS as usize + 2, "{} buckets", mark.buckets.len());
        assert_eq!(mark.value(), 5);
    }
}
