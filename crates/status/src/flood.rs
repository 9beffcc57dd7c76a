//! Which events are told, without I/O: a fault of a region changes thousands of services at once, and an API server is shared with
//! everybody. What is held back is counted, and said with the next event that is told.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tidegate_model::Time;

/// The same event of the same object is told again after so long at the earliest.
pub const SAME_AGAIN: Duration = Duration::from_secs(10);

/// So many events may be told at once, of all objects together, and [`PER_SECOND`] after that.
pub const BURST: u32 = 100;

/// See [`BURST`]. Kubernetes' own controllers may write 50 objects a second in all.
pub const PER_SECOND: u32 = 5;

/// So many objects' events are remembered; the oldest is forgotten first.
const MAX_REMEMBERED: usize = 10_000;

/// Says which events are told.
#[derive(Debug)]
pub struct Flood<K> {
    told: BTreeMap<K, Time>,
    order: VecDeque<K>,
    /// In thousandths of an event.
    tokens: u64,
    filled: Time,
    held_back: u64,
}

impl<K: Ord + Clone> Flood<K> {
    /// With a whole burst to spend.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self {
            told: BTreeMap::new(),
            order: VecDeque::new(),
            tokens: BURST as u64 * 1000,
            filled: now,
            held_back: 0,
        }
    }

    /// Whether to tell this one. `Some` says how many were held back since the last that was told.
    pub fn admit(&mut self, now: Time, key: &K) -> Option<u64> {
        let passed = u64::try_from(now.since(self.filled).as_millis()).unwrap_or(u64::MAX);
        self.tokens =
            self.tokens.saturating_add(passed.saturating_mul(PER_SECOND.into())).min(u64::from(BURST) * 1000);
        self.filled = now;
        let again = self.told.get(key).is_some_and(|told| now.since(*told) < SAME_AGAIN);
        if again || self.tokens < 1000 {
            self.held_back += 1;
            return None;
        }
        self.tokens -= 1000;
        if self.told.insert(key.clone(), now).is_none() {
            self.order.push_back(key.clone());
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn the_same_event_is_told_again_only_after_a_while_and_says_what_was_held_back() {
        let mut flood = Flood::new(at(0));
        assert_eq!(flood.admit(at(0), &"cart"), Some(0));
        assert_eq!(flood.admit(at(9_000), &"cart"), None);
        assert_eq!(flood.admit(at(9_000), &"checkout"), Some(1));
        assert_eq!(flood.admit(at(10_000), &"cart"), Some(0));
    }

    #[test]
    fn a_whole_region_is_told_as_a_burst_and_then_at_a_pace() {
        let mut flood = Flood::new(at(0));
        let at_once = (0..10_000).filter(|service| flood.admit(at(0), service).is_some()).count();
        assert_eq!(at_once, BURST as usize);
        let later = (10_000..20_000).filter(|service| flood.admit(at(2_000), service).is_some()).count();
        assert_eq!(later, 2 * PER_SECOND as usize);
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let mut flood = Flood::new(at(0));
        for number in 0..MAX_REMEMBERED as u64 + 50 {
            assert!(flood.admit(at(number * 1000), &number).is_some());
        }
        assert_eq!((flood.told.len(), flood.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
