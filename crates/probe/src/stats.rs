//! What the prober counts of itself, for whoever shows it: how many checks, and whether they come in time.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Four buckets for each doubling, from 1 us; the last one takes everything from a minute on.
const BUCKETS: usize = 104;

/// The counts, written by the prober and read at any time.
#[derive(Debug)]
pub struct Stats {
    targets: AtomicU64,
    under_way: AtomicU64,
    limit: AtomicU64,
    ejected: AtomicU64,
    checks: AtomicU64,
    failed: AtomicU64,
    local: AtomicU64,
    late: [AtomicU64; BUCKETS],
}

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Targets that are checked.
    pub targets: u64,
    /// Checks under way.
    pub under_way: u64,
    /// The most checks that may be under way: [`crate::IN_FLIGHT_LIMIT`], or fewer where the limit of open files is low.
    pub under_way_limit: u64,
    /// Targets that are ejected because they are slow.
    pub ejected: u64,
    /// Checks made since the start.
    pub checks: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Checks that could not be made for a reason on our side.
    pub local: u64,
    /// Checks by how late they started, in buckets of [`Snapshot::late_at_most`].
    pub late: Vec<u64>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            targets: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            ejected: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            local: AtomicU64::new(0),
            late: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Stats {
    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            targets: self.targets.load(Relaxed),
            under_way: self.under_way.load(Relaxed),
            under_way_limit: self.limit.load(Relaxed),
            ejected: self.ejected.load(Relaxed),
            checks: self.checks.load(Relaxed),
            failed: self.failed.load(Relaxed),
            local: self.local.load(Relaxed),
            late: self.late.iter().map(|bucket| bucket.load(Relaxed)).collect(),
        }
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit as u64, Relaxed);
    }

    pub(crate) fn show(&self, targets: usize, under_way: usize) {
        self.targets.store(targets as u64, Relaxed);
        self.under_way.store(under_way as u64, Relaxed);
    }

    pub(crate) fn show_ejected(&self, ejected: usize) {
        self.ejected.store(ejected as u64, Relaxed);
    }

    pub(crate) fn started(&self, late: Duration) {
        self.late[bucket(late)].fetch_add(1, Relaxed);
    }

    pub(crate) fn finished(&self, failed: bool, local: bool) {
        self.checks.fetch_add(1, Relaxed);
        self.failed.fetch_add(u64::from(failed && !local), Relaxed);
        self.local.fetch_add(u64::from(local), Relaxed);
    }
}

impl Snapshot {
    /// The lateness that this part (0 to 1) of the checks since `before` did not exceed, rounded up by at most a fifth;
    /// zero when there were none.
    #[must_use]
    pub fn late_at_most(&self, before: &Self, part: f64) -> Duration {
        quantile(self.late.iter().zip(&before.late).map(|(now, then)| now.saturating_sub(*then)), part)
    }

    /// The same for all checks since the start.
    #[must_use]
    pub fn late_since_start(&self, part: f64) -> Duration {
        quantile(self.late.iter().copied(), part)
    }
}

fn quantile(counts: impl Iterator<Item = u64>, part: f64) -> Duration {
    let counts: Vec<u64> = counts.collect();
    let total: u64 = counts.iter().sum();
    let mut left = total as f64 * part.clamp(0.0, 1.0);
    for (index, count) in counts.into_iter().enumerate() {
        left -= count as f64;
        if left <= 0.0 && total > 0 {
            return upper(index);
        }
    }
    Duration::ZERO
}

fn bucket(late: Duration) -> usize {
    let micros = late.as_micros().max(1) as f64;
    ((micros.log2() * 4.0).ceil() as usize).min(BUCKETS - 1)
}

fn upper(bucket: usize) -> Duration {
    Duration::from_secs_f64((bucket as f64 / 4.0).exp2() * 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_told_to_within_a_fifth() {
        let stats = Stats::default();
        let before = stats.snapshot();
        assert_eq!(before.late_at_most(&before, 0.5), Duration::ZERO);
        for micros in [1, 10, 100, 1000, 1000, 1000, 1000, 1000, 1000, 80_000_000_000] {
            stats.started(Duration::from_micros(micros));
        }
        let now = stats.snapshot();
        for (part, exact) in [(0.1, 1.0), (0.2, 10.0), (0.3, 100.0), (0.5, 1000.0), (0.9, 1000.0)] {
            let told = now.late_at_most(&before, part).as_secs_f64() * 1e6;
            assert!(told >= exact * 0.999 && told <= exact * 1.2, "{part}: {told} for {exact}");
        }
        assert!(now.late_at_most(&before, 1.0) > Duration::from_secs(50));
    }
}
