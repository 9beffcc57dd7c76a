//! What a fault may cost, and whether it kept to it.

use super::Measures;
use serde::Serialize;
use std::{fmt, time::Duration};

/// Limits for one fault; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objectives {
    /// Failed requests, from the fault to the end of the observation.
    pub max_failed: Option<u64>,
    /// The 99th percentile of latency in the cut-over.
    pub max_p99: Option<Duration>,
    /// Requests above [`super::SLOW`], from the fault to the end of the observation.
    pub max_slow: Option<u64>,
    /// Time to detect.
    pub max_detect: Option<Duration>,
    /// RTO.
    pub max_rto: Option<Duration>,
    /// Time to stable failback.
    pub max_failback: Option<Duration>,
    /// Moves away, of any service and source.
    pub max_moves_away: Option<u32>,
    /// Moves back.
    pub max_moves_back: Option<u32>,
}

/// One objective, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was measured.
    pub measure: String,
    /// What it may be.
    pub objective: String,
    /// What it was.
    pub measured: String,
    /// Whether it kept to it.
    pub passed: bool,
}

impl Objectives {
    /// The objectives of DESIGN section 9 for safe requests, as living edges see them: nothing failed,
    /// none above one second, p99 in the cut-over at most 500 ms, one move away and one back.
    pub const SAFE: Self = Self {
        max_failed: Some(0),
        max_p99: Some(Duration::from_millis(500)),
        max_slow: Some(0),
        max_detect: Some(Duration::from_secs(1)),
        max_rto: None,
        max_failback: None,
        max_moves_away: Some(1),
        max_moves_back: Some(1),
    };

    /// Judges a fault by each limit that is set, in the order of the fields.
    #[must_use]
    pub fn judge(&self, measures: &Measures) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut at_most = |measure: &str, limit: Option<String>, measured: String, passed: bool| {
            if let Some(limit) = limit {
                let (measure, objective) = (measure.to_owned(), format!("at most {limit}"));
                verdicts.push(Verdict { measure, objective, measured, passed });
            }
        };
        let Measures { failed, slow, p99, moves, .. } = *measures;
        let short = |limit: Option<Duration>| limit.map(|limit| Millis(limit).to_string());
        let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
        let within = |measured: Option<Duration>, limit: Option<Duration>| {
            measured.is_some_and(|it| Some(it) <= limit)
        };
        let or_never = |measured: Option<Duration>| {
            measured.map_or_else(|| "never".to_owned(), |it| Millis(it).to_string())
        };

        at_most(
            "failed requests",
            number(self.max_failed),
            failed.to_string(),
            Some(failed) <= self.max_failed,
        );
        at_most(
            "p99 during cut-over",
            short(self.max_p99),
            Millis(p99).to_string(),
            Some(p99) <= self.max_p99,
        );
        at_most("requests above 1 s", number(self.max_slow), slow.to_string(), Some(slow) <= self.max_slow);
        for (measure, limit, measured) in [
            ("time to detect", self.max_detect, measures.time_to_detect),
            ("RTO", self.max_rto, measures.rto),
            ("time to stable failback", self.max_failback, measures.time_to_failback),
        ] {
            at_most(measure, short(limit), or_never(measured), within(measured, limit));
        }
        for (measure, limit, measured) in
            [("moves away", self.max_moves_away, moves.away), ("moves back", self.max_moves_back, moves.back)]
        {
            at_most(
                measure,
                limit.map(|limit| limit.to_string()),
                measured.to_string(),
                Some(measured) <= limit,
            );
        }
        verdicts
    }
}

/// A duration as people read it here: `0 ms`, `87.3 ms`, `4.25 s`.
#[derive(Clone, Copy, Debug)]
pub struct Millis(pub Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = *self;
        f.pad(&if duration.is_zero() {
            "0 ms".to_owned()
        } else if duration < Duration::from_secs(1) {
            format!("{:.1} ms", duration.as_secs_f64() * 1e3)
        } else {
            format!("{:.2} s", duration.as_secs_f64())
        })
    }
}
