//! What a drill of a URL costs, from its requests alone. The definitions are docs/drills.md, word for word.

use super::{SLOW, WINDOW, in_ms, recovery};
use crate::load::{Outcome, Sample};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, collections::HashMap, io, io::BufRead, time::Duration};
use tidegate_model::Time;

/// The longest line of an access log that is looked at.
const MAX_LINE: u64 = 64 * 1024;

/// What was seen of a drill whose fault began.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Load began.
    pub steady: Time,
    /// The command that breaks was started.
    pub fault: Time,
    /// The command that mends was first started.
    pub mending: Time,
    /// It ended well.
    pub mended: Option<Time>,
    /// The end.
    pub done: Time,
    /// The requests, in any order.
    pub samples: &'a [Sample],
    /// Requests that servers saw more than once, if they were asked.
    pub repeated: Option<u64>,
}

/// What a drill cost. Times in milliseconds, parts from 0 to 1; `None` where it did not come to that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Costs {
    /// From the fault to the first bad request.
    pub first_bad_ms: Option<f64>,
    /// From the fault to the last bad request before the end.
    pub last_bad_ms: Option<f64>,
    /// From the fault to lasting success while it was on.
    pub rto_ms: Option<f64>,
    /// From the fault to the first good request after the first bad one.
    pub first_recovery_ms: Option<f64>,
    /// From when it was mended to lasting success.
    pub stable_recovery_ms: Option<f64>,
    /// How long the cut-over took.
    pub cut_over_ms: f64,
    /// The part of the requests in the cut-over that failed.
    pub error_rate: f64,
    /// Requests from the fault on.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that took more than a second.
    pub slow: u64,
    /// Those that were sent and not answered.
    pub lost: u64,
    /// Those that were never sent, because too many were unanswered.
    pub overload: u64,
    /// Those that servers saw more than once; `None` if no server was asked.
    pub repeated: Option<u64>,
    /// The failures by kind.
    pub failures: BTreeMap<Outcome, u64>,
    /// Latency of the requests that were due before the fault.
    pub before: Latency,
    /// Latency of those that belong to the cut-over.
    pub during: Latency,
    /// Latency of those that were due after it was mended.
    pub after: Latency,
}

/// Latency of the requests that were sent, failed ones too, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// The median; zero without requests, as the others.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 99.9th.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Measures a drill.
#[must_use]
pub fn costs(seen: &Observed<'_>) -> Costs {
    let Observed { steady, fault, mending, done, .. } = *seen;
    let own: Vec<&Sample> =
        seen.samples.iter().filter(|sample| sample.ended() >= fault && sample.due() < done).collect();
    let bad = || own.iter().filter(|sample| is_bad(sample)).map(|sample| sample.due());
    let since = |at: Time| in_ms(after(at, fault));
    let (first_bad, last_bad) = (bad().min(), bad().max());
    let recovered = recovery(own.iter().copied(), |it| !is_bad(it), fault, mending);
    let end = cut_over_end(recovered, bad().filter(|at| *at < mending).max(), mending);
    let cut_over: Vec<&Sample> = own.iter().copied().filter(|sample| sample.due() < end).collect();
    let failed = |samples: &[&Sample]| count(samples, |it| !it.outcome.is_success());
    let first_good = first_bad
        .and_then(|bad| own.iter().filter(|it| !is_bad(it) && it.due() > bad).map(|it| it.due()).min());
    let mut failures = BTreeMap::new();
    for sample in own.iter().filter(|sample| !sample.outcome.is_success()) {
        *failures.entry(sample.outcome).or_default() += 1;
    }
    let stretch = |from: Time, until: Time| {
        latency(seen.samples.iter().filter(move |it| it.due() >= from && it.due() < until))
    };
    Costs {
        first_bad_ms: first_bad.map(since),
        last_bad_ms: last_bad.map(since),
        rto_ms: recovered.map(since),
        first_recovery_ms: first_good.map(since),
        stable_recovery_ms: seen.mended.and_then(|mended| {
            recovery(seen.samples.iter(), |it| !is_bad(it), mended, done).map(|at| in_ms(after(at, mended)))
        }),
        cut_over_ms: since(end),
        error_rate: rate(failed(&cut_over), cut_over.len() as u64),
        requests: own.len() as u64,
        failed: failed(&own),
        slow: count(&own, |it| it.latency() > SLOW),
        lost: count(&own, |it| matches!(it.outcome, Outcome::Timeout | Outcome::Broken)),
        overload: count(&own, |it| it.outcome == Outcome::Overload),
        repeated: seen.repeated,
        failures,
        before: stretch(steady, fault),
        during: latency(cut_over.into_iter()),
        after: seen.mended.map(|mended| stretch(mended, done)).unwrap_or_default(),
    }
}

/// Until one second after the later of the recovery and the last bad request; at most until mending began.
fn cut_over_end(recovered: Option<Time>, last_bad: Option<Time>, mending: Time) -> Time {
    let Some(recovered) = recovered else { return mending };
    (last_bad.map_or(recovered, |bad| bad.max(recovered)) + WINDOW).min(mending)
}

fn is_bad(sample: &Sample) -> bool {
    !sample.outcome.is_success() || sample.latency() > SLOW
}

/// What was in flight when the fault struck may have been due before it.
fn after(at: Time, fault: Time) -> Duration {
    if at > fault { at.since(fault) } else { Duration::ZERO }
}

fn count(samples: &[&Sample], what: impl Fn(&Sample) -> bool) -> u64 {
    samples.iter().filter(|sample| what(sample)).count() as u64
}

fn rate(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Of the requests that were sent.
pub(crate) fn latency<'a>(samples: impl Iterator<Item = &'a Sample>) -> Latency {
    let mut found = Histogram::<u64>::new_with_max(u64::from(u32::MAX), 3).expect("the bounds are in order");
    let mut longest = 0;
    for sample in samples.filter(|sample| sample.outcome != Outcome::Overload) {
        found.saturating_record(u64::from(sample.latency_us));
        longest = longest.max(u64::from(sample.latency_us));
    }
    // The histogram rounds up to its next step, never above what was seen.
    let ms = |us: u64| in_ms(Duration::from_micros(us.min(longest)));
    let percentile = |part| ms(found.value_at_percentile(part));
    Latency {
        count: found.len(),
        p50_ms: percentile(50.0),
        p99_ms: percentile(99.0),
        p999_ms: percentile(99.9),
        max_ms: ms(longest),
    }
}

/// How many requests of the run `id` a log names more than once: work that was done twice. Any log will do whose lines
/// hold the request id as it was sent (`ID-NUMBER`); one line per request.
///
/// # Errors
/// If the log cannot be read.
pub fn repeated(mut log: impl BufRead, id: &str) -> io::Result<u64> {
    let begin = format!("{id}-");
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut log, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let Some((_, rest)) = text.split_once(&begin) else { continue };
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse() else { continue };
        // No more than were sent are known.
        if seen.len() < crate::generator::MAX_KEPT || seen.contains_key(&number) {
            *seen.entry(number).or_default() += 1;
        }
    }
    Ok(seen.values().filter(|count| **count > 1).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Outcome = Outcome::Status(200);

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// A request each 10 ms until 30 s; the fault is on from 10 s to 20 s.
    fn observed(outcome: impl Fn(u64) -> (Outcome, u64)) -> Vec<Sample> {
        (0..30_000)
            .step_by(10)
            .map(|due| {
                let (outcome, ms) = outcome(due);
                Sample::new(at(due), Duration::from_millis(ms), outcome)
            })
            .collect()
    }

    fn measured(samples: &[Sample]) -> Costs {
        costs(&Observed {
            steady: at(0),
            fault: at(10_000),
            mending: at(20_000),
            mended: Some(at(20_100)),
            done: at(30_000),
            samples,
            repeated: Some(2),
        })
    }

    #[test]
    fn a_fail_over_is_measured_from_the_fault() {
        let found = measured(&observed(|due| match due {
            10_500..11_000 => (Outcome::Connect, 1),
            11_000..11_200 => (OK, 300),
            25_000..25_100 => (Outcome::Timeout, 1500),
            _ => (OK, 2),
        }));
        assert_eq!((found.first_bad_ms, found.last_bad_ms), (Some(500.0), Some(15_090.0)));
        assert_eq!(found.rto_ms, Some(990.001));
        assert_eq!(found.first_recovery_ms, Some(1000.0));
        // Mended at 20,100 ms; the last bad window begins with 25,090 ms.
        assert_eq!(found.stable_recovery_ms, Some(4990.001));
        assert_eq!(found.cut_over_ms, 1990.001);
        assert_eq!((found.failed, found.lost, found.slow, found.overload), (60, 10, 10, 0));
        // 200 due from the fault until one second after the recovery, 50 of them failed.
        assert!((found.error_rate - 50.0 / 200.0).abs() < 1e-9, "{}", found.error_rate);
        assert_eq!(found.failures, [(Outcome::Timeout, 10), (Outcome::Connect, 50)].into());
        assert_eq!((found.before.p99_ms, found.before.count), (2.0, 1000));
        assert_eq!((found.during.p50_ms, found.during.p99_ms, found.during.max_ms), (2.0, 300.0, 300.0));
        assert_eq!((found.after.p999_ms, found.after.count), (1500.0, 990));
        assert_eq!(found.repeated, Some(2));
    }

    #[test]
    fn what_recovers_only_by_mending_has_no_rto() {
        let found = measured(&observed(|due| {
            if (10_000..20_050).contains(&due) { (Outcome::Connect, 0) } else { (OK, 2) }
        }));
        assert_eq!((found.rto_ms, found.cut_over_ms, found.error_rate), (None, 10_000.0, 1.0));
        assert_eq!(found.stable_recovery_ms, Some(0.0));
        assert_eq!((found.last_bad_ms, found.first_recovery_ms), (Some(10_040.0), Some(10_050.0)));
    }

    /// A service that stands still and then answers all that waited has failed no request, and was away all the same.
    #[test]
    fn a_service_that_stands_still_is_not_there() {
        let found = measured(&observed(|due| match due {
            10_000..14_000 => (OK, 15_000 - due),
            _ => (OK, 2),
        }));
        assert_eq!((found.failed, found.slow), (0, 400));
        assert_eq!((found.rto_ms, found.last_bad_ms), (Some(3990.001), Some(3990.0)));
    }

    #[test]
    fn nothing_bad_is_an_rto_of_zero() {
        let found = measured(&observed(|_| (OK, 2)));
        assert_eq!((found.rto_ms, found.first_bad_ms, found.first_recovery_ms), (Some(0.0), None, None));
        assert_eq!((found.failed, found.stable_recovery_ms), (0, Some(0.0)));
    }

    #[test]
    fn what_a_log_names_twice_was_repeated() {
        let log = b"a drill-7-1 200\n\xff\xfe drill-7-2\ndrill-7-1\nx=\"drill-7-3\" y\ndrill-8-2\ndrill-7-12\ndrill-7-\nnone\ndrill-7-3\ndrill-7-3";
        assert_eq!(repeated(log.as_slice(), "drill-7").unwrap(), 2);
        assert_eq!(repeated(b"".as_slice(), "drill-7").unwrap(), 0);
    }
}
