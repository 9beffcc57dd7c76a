//! What became of the requests of a run, in memory that is bounded from the start.

use super::due_us;
use crate::load::{Outcome, Sample};
use hdrhistogram::Histogram;
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::Time;

/// The most requests that are kept one by one: 120 MB; 83 minutes at 1,000 per second.
pub const MAX_KEPT: usize = 5_000_000;
/// Latencies and lateness are told apart to three digits.
const DIGITS: u8 = 3;
/// Kinds of outcomes that are counted apart; there are not many more statuses.
const MAX_OUTCOMES: usize = 128;

/// What is kept of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Sums and histograms: the same memory however long it runs.
    Sums,
    /// Also each request, up to so many (at most [`MAX_KEPT`]); what comes after is counted in [`Tally::dropped`].
    Samples(usize),
}

/// The sums of a run so far.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests that were due.
    pub due: u64,
    /// Requests that ended, those included that could not be sent.
    pub ended: u64,
    /// How the requests ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Requests that ended but are not among the samples because there was no more room.
    pub dropped: u64,
    /// From when it was due until its end, of each request that was sent, in microseconds.
    pub latency: Histogram<u64>,
    /// From when it was due until it was handed to a connection, of each request, in microseconds.
    pub late: Histogram<u64>,
}

impl Tally {
    /// Requests that ended well.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.outcomes.iter().filter(|(outcome, _)| outcome.is_success()).map(|(_, count)| count).sum()
    }
}

#[derive(Debug)]
pub(super) struct Books {
    keep: usize,
    samples: Vec<Sample>,
    tally: Tally,
}

impl Books {
    pub(super) fn new(keep: Keep) -> Self {
        let keep = match keep {
            Keep::Sums => 0,
            Keep::Samples(count) => count.min(MAX_KEPT),
        };
        Self {
            keep,
            samples: Vec::new(),
            tally: Tally {
                due: 0,
                ended: 0,
                outcomes: BTreeMap::new(),
                dropped: 0,
                latency: histogram(),
                late: histogram(),
            },
        }
    }

    pub(super) fn start(&mut self, late: Duration) {
        self.tally.due += 1;
        self.tally.late.saturating_record(micros(late));
    }

    pub(super) fn end(&mut self, due: Time, latency: Duration, outcome: Outcome, target: u16) {
        self.tally.ended += 1;
        if outcome != Outcome::Overload {
            self.tally.latency.saturating_record(micros(latency));
        }
        if self.tally.outcomes.len() < MAX_OUTCOMES || self.tally.outcomes.contains_key(&outcome) {
            *self.tally.outcomes.entry(outcome).or_default() += 1;
        }
        if self.samples.len() < self.keep {
            self.samples.push(Sample::of(due_us(due), latency, outcome, target));
        } else {
            self.tally.dropped += u64::from(self.keep > 0);
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.clone()
    }

    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub(super) fn take(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.samples)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(u64::from(u32::MAX), DIGITS).expect("the bounds are in order")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
