//! What stops a drill.

use super::{probe::Probe, prometheus::Watched};
use crate::{generator::Target, load::Sample};
use std::{collections::VecDeque, time::Duration};
use tidegate_model::Time;

/// Below so many requests a rate says nothing.
const LEAST: usize = 20;

/// The part of the requests of the last time that failed. Its memory is bounded by the load's rate and `over`.
#[derive(Debug)]
pub(super) struct ErrorRate {
    above: f64,
    over: Duration,
    /// When a request ended, and whether well.
    ended: VecDeque<(Time, bool)>,
    failed: usize,
}

impl ErrorRate {
    pub(super) const fn new(above: f64, over: Duration) -> Self {
        Self { above, over, ended: VecDeque::new(), failed: 0 }
    }

    /// Takes in what ended; why the drill is to stop, if it is.
    pub(super) fn on(&mut self, fresh: &[Sample], now: Time) -> Option<String> {
        for sample in fresh {
            let good = sample.outcome.is_success();
            self.failed += usize::from(!good);
            self.ended.push_back((sample.ended(), good));
        }
        while let Some((at, good)) = self.ended.front()
            && *at + self.over < now
        {
            self.failed -= usize::from(!good);
            self.ended.pop_front();
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        let part = self.failed as f64 / self.ended.len().max(1) as f64;
        (self.ended.len() >= LEAST && part > self.above).then(|| {
            format!(
                "guard: {:.1} % of the requests of the last {:?} failed, above {:.1} %",
                part * 100.0,
                self.over,
                self.above * 100.0
            )
        })
    }
}

/// Asks a URL until it failed so often in a row; why the drill is to stop.
pub(super) async fn watch(target: &Target, interval: Duration, limit: Duration, failures: u32) -> String {
    let probe = match Probe::new(target) {
        Ok(probe) => probe,
        Err(error) => return format!("guard: {error}"),
    };
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut in_a_row = 0;
    loop {
        tick.tick().await;
        let outcome = probe.ask(limit).await;
        in_a_row = if outcome.is_success() { 0 } else { in_a_row + 1 };
        if in_a_row >= failures {
            return format!("guard: {} failed {in_a_row} times in a row: {outcome}", target.url);
        }
    }
}

/// Whether any of them speaks against the drill before it begins.
pub(super) async fn none_fires(guards: &[Watched]) -> Result<(), String> {
    for guard in guards {
        guard.before().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Outcome;

    #[test]
    fn a_rate_looks_back_as_far_as_it_is_told_and_needs_enough_requests() {
        let mut guard = ErrorRate::new(0.2, Duration::from_secs(2));
        let sample = |ms: u64, good| {
            let outcome = if good { Outcome::Status(200) } else { Outcome::Status(503) };
            Sample::new(Time::from_millis(ms), Duration::ZERO, outcome)
        };
        let bad: Vec<_> = (0..19).map(|i| sample(i, false)).collect();
        assert_eq!(guard.on(&bad, Time::from_millis(100)), None, "too few");
        let good: Vec<_> = (0..100).map(|i| sample(200 + i, true)).collect();
        assert_eq!(guard.on(&good, Time::from_millis(300)), None, "19 of 119");
        let why = guard.on(&[sample(301, false); 10], Time::from_millis(400)).unwrap();
        assert!(why.contains("22.5 %") && why.contains("above 20.0 %"), "{why}");
        assert_eq!(guard.on(&[], Time::from_millis(2301)), None, "10 of 10 are too few");
        assert_eq!(guard.failed, 10);
    }
}
