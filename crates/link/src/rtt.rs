//! Round-trip times from echoed sequence numbers.

use serde::Serialize;
use std::{collections::VecDeque, time::Duration};
use tidegate_model::Time;

/// Beats that may wait for their echo. At ten beats a second this covers six seconds, far more
/// than the second of silence after which a connection is given up.
const AWAITED: usize = 64;

/// When the beats that wait for their echo were sent.
#[derive(Debug, Default)]
pub(crate) struct SentBeats {
    awaited: VecDeque<(u64, Time)>,
}

impl SentBeats {
    /// Beat `seq` leaves now. Sequence numbers only grow.
    pub(crate) fn sent(&mut self, seq: u64, now: Time) {
        if self.awaited.len() == AWAITED {
            self.awaited.pop_front();
        }
        self.awaited.push_back((seq, now));
    }

    /// The other side has seen `seq`: the time that took, unless that beat was echoed before or
    /// was never sent. Beats before it count as echoed too, because the owner coalesces.
    pub(crate) fn echoed(&mut self, seq: u64, now: Time) -> Option<Duration> {
        let (index, &(_, sent)) = self.awaited.iter().enumerate().find(|(_, (s, _))| *s == seq)?;
        self.awaited.drain(..=index);
        Some(now.since(sent))
    }
}

/// The round trip of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTrip {
    /// Smoothed as TCP does it: each sample counts for one eighth.
    pub smoothed: Duration,
    /// The shortest since the link was set up: the distance, without queues and slow processes.
    pub min: Duration,
}

impl RoundTrip {
    /// After one more sample.
    pub(crate) fn with_sample(before: Option<Self>, sample: Duration) -> Self {
        match before {
            None => Self { smoothed: sample, min: sample },
            Some(before) => {
                Self { smoothed: (before.smoothed * 7 + sample) / 8, min: before.min.min(sample) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_counts_once_and_answers_for_those_before_it() {
        let mut sent = SentBeats::default();
        for (seq, ms) in [(1, 0), (2, 100), (3, 200)] {
            sent.sent(seq, Time::from_millis(ms));
        }
        assert_eq!(sent.echoed(2, Time::from_millis(130)), Some(Duration::from_millis(30)));
        assert_eq!(sent.echoed(2, Time::from_millis(140)), None);
        assert_eq!(sent.echoed(1, Time::from_millis(140)), None);
        assert_eq!(sent.echoed(9, Time::from_millis(140)), None);
        assert_eq!(sent.echoed(3, Time::from_millis(220)), Some(Duration::from_millis(20)));
    }

    #[test]
    fn beats_without_echo_take_bounded_memory() {
        let mut sent = SentBeats::default();
        for seq in 1..=10_000 {
            sent.sent(seq, Time::ZERO);
        }
        assert_eq!(sent.awaited.len(), AWAITED);
        assert_eq!(sent.echoed(1, Time::ZERO), None);
    }
}
