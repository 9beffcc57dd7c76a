//! Limits that all streams share, and chance where streams must not act together. Pure but for one counter.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// On shutdown one stream more may take so much longer.
const SPREAD_PER_STREAM: Duration = Duration::from_millis(2);

/// Memory for what streams subscribe to. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// A share of the budget, still empty.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// What one stream has taken of a budget; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// From now on the stream needs so much.
    ///
    /// # Errors
    /// If all together would need more than there is; the share stays as it was.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), BudgetSpent> {
        let (old, limit) = (self.bytes, self.budget.limit);
        let changed = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let new = used.saturating_sub(old).saturating_add(bytes);
            // Giving back is never refused.
            (new <= limit || bytes <= old).then_some(new)
        });
        changed.map_err(|_| BudgetSpent { limit })?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// All streams together subscribe to more than the server has memory for.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("all streams of this server may take at most {limit} bytes of memory for their subscriptions")]
pub(crate) struct BudgetSpent {
    limit: usize,
}

/// A number by chance. The standard library's hash keys are random; no more is needed to keep streams apart.
pub(crate) fn draw() -> u64 {
    RandomState::new().hash_one(())
}

/// How old a stream may get: the limit, a quarter more or less.
pub(crate) fn stream_age(limit: Duration, draw: u64) -> Duration {
    limit.mul_f64(0.75 + 0.5 * part(draw))
}

/// When a stream ends after the server was told to shut down, with so many streams open.
pub(crate) fn farewell(streams: usize, spread: Duration, draw: u64) -> Duration {
    let needed = SPREAD_PER_STREAM.saturating_mul(u32::try_from(streams).unwrap_or(u32::MAX));
    needed.min(spread).mul_f64(part(draw))
}

/// From 0 to just below 1.
fn part(draw: u64) -> f64 {
    f64::from((draw >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_refused_and_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        one.set(60).unwrap();
        two.set(40).unwrap();
        assert_eq!(two.set(41), Err(BudgetSpent { limit: 100 }));
        one.set(50).unwrap();
        two.set(50).unwrap();
        drop(one);
        two.set(100).unwrap();
        drop(two);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn ages_lie_around_the_limit_and_differ() {
        let hour = Duration::from_secs(3600);
        assert_eq!(stream_age(hour, 0), hour.mul_f64(0.75));
        assert_eq!(stream_age(hour, 1 << 63), hour);
        assert!(stream_age(hour, u64::MAX) <= hour.mul_f64(1.25));
        let ages: std::collections::BTreeSet<_> = (0..20).map(|_| stream_age(hour, draw())).collect();
        assert!(ages.len() > 15, "{ages:?}");
    }

    #[test]
    fn few_streams_end_soon_and_many_within_the_spread() {
        let spread = Duration::from_secs(2);
        assert!(farewell(2, spread, u64::MAX) <= Duration::from_millis(4));
        assert!(farewell(10_000, spread, u64::MAX) <= spread);
        assert!(farewell(10_000, spread, u64::MAX) > Duration::from_millis(1999));
        assert_eq!(farewell(10_000, spread, 0), Duration::ZERO);
        assert!(farewell(usize::MAX, spread, u64::MAX) <= spread);
    }
}
