//! The requests over time, in at most some hundred bins.

use crate::{
    load::{Outcome, Sample},
    measure::{SLOW, latency},
};
use serde::{Deserialize, Serialize};
use tidegate_model::Time;

/// As many bins as a picture shows apart.
const MAX_BINS: u64 = 240;
/// Widths of bins, in milliseconds.
const WIDTHS: [u64; 12] = [100, 200, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 300_000, 600_000];

/// The requests over time, by when they were due.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// The width of a bin in milliseconds.
    pub bin_ms: u64,
    /// The bins, one after the other from the beginning of the load.
    pub bins: Vec<Bin>,
}

/// One stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bin {
    /// Requests that were answered well, in time.
    pub good: u64,
    /// Those that were answered well after more than a second.
    pub slow: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were not sent.
    pub unsent: u64,
    /// The median of latency in milliseconds; `None` without requests that were sent.
    pub p50_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// The 99.9th.
    #[serde(default)]
    pub p999_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

impl Series {
    /// The requests between two moments.
    #[must_use]
    pub fn new(samples: &[Sample], from: Time, until: Time) -> Self {
        let us = |at: Time| crate::clock::micros(at.since_origin());
        let (from, until) = (us(from), us(until));
        let lasts_ms = until.saturating_sub(from) / 1000;
        let bin_ms =
            WIDTHS.into_iter().find(|width| lasts_ms / width < MAX_BINS).unwrap_or(lasts_ms / MAX_BINS + 1);
        let count = usize::try_from(lasts_ms.div_ceil(bin_ms)).unwrap_or_default();
        let mut by_bin: Vec<Vec<&Sample>> = vec![Vec::new(); count];
        for sample in samples.iter().filter(|it| it.due_us >= from) {
            let index = usize::try_from((sample.due_us - from) / (bin_ms * 1000)).unwrap_or(usize::MAX);
            // What was due after the end is not the drill's.
            if let Some(bin) = by_bin.get_mut(index) {
                bin.push(sample);
            }
        }
        Self { bin_ms, bins: by_bin.iter().map(|samples| bin(samples)).collect() }
    }
}

fn bin(samples: &[&Sample]) -> Bin {
    let mut bin = Bin::default();
    for sample in samples {
        let counted = match sample.outcome {
            Outcome::Overload => &mut bin.unsent,
            outcome if !outcome.is_success() => &mut bin.failed,
            _ if sample.latency() > SLOW => &mut bin.slow,
            _ => &mut bin.good,
        };
        *counted += 1;
    }
    let found = latency(samples.iter().copied());
    let some = |ms: f64| (found.count > 0).then_some(ms);
    Bin {
        p50_ms: some(found.p50_ms),
        p99_ms: some(found.p99_ms),
        p999_ms: some(found.p999_ms),
        max_ms: some(found.max_ms),
        ..bin
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn requests_fall_into_the_bin_they_were_due_in() {
        let sample = |ms: u64, took: u64, outcome| {
            Sample::new(Time::from_millis(ms), Duration::from_millis(took), outcome)
        };
        let ok = Outcome::Status(200);
        let samples = [
            sample(500, 1, ok),
            sample(1000, 3, ok),
            sample(1050, 1500, ok),
            sample(1099, 7, Outcome::Connect),
            sample(1100, 0, Outcome::Overload),
            sample(9000, 1, ok),
        ];
        let series = Series::new(&samples, Time::from_millis(1000), Time::from_millis(1450));
        assert_eq!((series.bin_ms, series.bins.len()), (100, 5));
        let Bin { good, slow, failed, unsent, max_ms, .. } = series.bins[0];
        assert_eq!((good, slow, failed, unsent, max_ms), (1, 1, 1, 0, Some(1500.0)));
        assert_eq!((series.bins[1].unsent, series.bins[1].p50_ms), (1, None));
        let day = Series::new(&[], Time::ZERO, Time::from_millis(86_400_000));
        assert!(day.bins.len() <= 240, "{}", day.bins.len());
    }
}
