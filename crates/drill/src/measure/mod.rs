//! From requests and plan changes to the numbers that tell how a fault went. Pure: no clock, no I/O.
//!
//! Terms, exactly:
//!
//! - A request is **bad** if it failed (anything but a status below 400; the generator's overload
//!   too) or took longer than [`SLOW`]. It belongs to a fault if it *ended* at or after it: what was
//!   in flight when the fault struck counts.
//! - **RTO**: from the fault to the first moment T such that every one-second window [t, t + 1 s)
//!   with T <= t, by the times when requests were due, meets 99.9 % success. Windows lie wholly
//!   within the fault (until the restore, or the end of the observation); windows without requests
//!   do not count. With no window left that proves it, there is no RTO.
//! - **Cut-over**: from the fault until one second after the latest of T, the last bad request's
//!   due time and the last change of a plan away; cut at the restore. Without an RTO it lasts until
//!   there.
//! - **Time to detect**: from the fault to the first detection at or after it.
//! - **Time to stable failback**: from the restore to the last plan change after it, if the plans
//!   were quiet for a while from then on. Nothing moved away: zero.
//! - **Move**: per service and source, a maximal run of plan changes in one direction, away from
//!   home or back to it. A ramp of many steps is one move; a relapse begins a new one.

mod drill;
mod objectives;
mod rto;

pub(crate) use drill::latency;
pub use drill::{Costs, Latency, Observed, costs, repeated};
pub use objectives::{Millis, Objectives, Verdict};
pub use rto::{WINDOW, recovery};

use crate::load::{Outcome, Sample};
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::{ServiceName, Time};

/// A request that takes longer is bad, whatever its answer.
pub const SLOW: Duration = Duration::from_secs(1);

/// A change of the plan of one service for one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanMove {
    /// When, in lab time.
    #[serde(rename = "atMs", serialize_with = "time_ms")]
    pub at: Time,
    /// The service.
    pub service: ServiceName,
    /// Where the requests enter, as `region/zone`.
    pub source: String,
    /// The part of the traffic that went where it goes without a fault, in 1/10000, before the change.
    pub home_share_before: u32,
    /// The same after the change.
    pub home_share_after: u32,
}

/// A fault, and what was seen of it.
#[derive(Clone, Debug)]
pub struct Incident<'a> {
    /// When it struck.
    pub fault: Time,
    /// When it was undone.
    pub restored: Option<Time>,
    /// Until when it was watched.
    pub observed_until: Time,
    /// The requests, in any order, of any number of loads; those outside the incident are left out.
    pub samples: &'a [Sample],
    /// When somebody noticed.
    pub detections: &'a [Time],
    /// The plan changes, in order of time within each service and source.
    pub moves: &'a [PlanMove],
    /// How long plans must be quiet to be stable.
    pub quiet: Duration,
}

/// How a fault went. Times are milliseconds in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    /// From the fault to the first detection.
    #[serde(rename = "timeToDetectMs", serialize_with = "maybe_ms")]
    pub time_to_detect: Option<Duration>,
    /// From the fault to lasting success.
    #[serde(rename = "rtoMs", serialize_with = "maybe_ms")]
    pub rto: Option<Duration>,
    /// How long the cut-over took.
    #[serde(rename = "cutOverMs", serialize_with = "ms")]
    pub cut_over: Duration,
    /// Requests in the cut-over.
    pub cut_over_requests: u64,
    /// Those of them that failed.
    pub cut_over_failed: u64,
    /// The failed part of them, 0 to 1.
    pub cut_over_error_rate: f64,
    /// Latency in the cut-over, of all requests that were sent, failed ones too: the median.
    #[serde(rename = "p50Ms", serialize_with = "ms")]
    pub p50: Duration,
    /// The 99th percentile.
    #[serde(rename = "p99Ms", serialize_with = "ms")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "maxMs", serialize_with = "ms")]
    pub max: Duration,
    /// Requests from the fault to the end of the observation, failback included.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of the failed that were never sent, because too many were unanswered.
    pub overload: u64,
    /// Requests above [`SLOW`], failed ones too.
    pub slow: u64,
    /// The failures by kind.
    pub failures: BTreeMap<Outcome, u64>,
    /// From the restore to plans that stay.
    #[serde(rename = "timeToStableFailbackMs", serialize_with = "maybe_ms")]
    pub time_to_failback: Option<Duration>,
    /// How often plans moved.
    pub moves: Moves,
}

/// How often a plan moved, the most of any service and source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moves {
    /// Away from home.
    pub away: u32,
    /// Back to it.
    pub back: u32,
}

/// Measures an incident.
#[must_use]
pub fn measure(incident: &Incident<'_>) -> Measures {
    let Incident { fault, restored, observed_until, .. } = *incident;
    let fault_end = restored.unwrap_or(observed_until);
    let own: Vec<&Sample> = incident
        .samples
        .iter()
        .filter(|sample| sample.ended() >= fault && sample.due() < observed_until)
        .collect();
    let recovered = recovery(own.iter().copied(), |it| it.outcome.is_success(), fault, fault_end);
    let end = cut_over_end(incident, &own, recovered, fault_end);
    let in_cut_over: Vec<&Sample> = own.iter().copied().filter(|sample| sample.due() < end).collect();
    let latencies = latencies(&in_cut_over);
    let failed = |samples: &[&Sample]| count(samples, |sample| !sample.outcome.is_success());
    let (cut_over_requests, cut_over_failed) = (in_cut_over.len() as u64, failed(&in_cut_over));
    let max = in_cut_over
        .iter()
        .filter(|sample| is_sent(sample))
        .map(|sample| sample.latency())
        .max()
        .unwrap_or_default();
    // The histogram rounds up to its next step, never above what was seen.
    let percentile = |percent| Duration::from_micros(latencies.value_at_percentile(percent)).min(max);
    let mut failures = BTreeMap::new();
    for sample in own.iter().filter(|sample| !sample.outcome.is_success()) {
        *failures.entry(sample.outcome).or_default() += 1;
    }
    Measures {
        time_to_detect: incident.detections.iter().filter(|at| **at >= fault).min().map(|at| at.since(fault)),
        rto: recovered.map(|at| at.since(fault)),
        cut_over: end.since(fault),
        cut_over_requests,
        cut_over_failed,
        cut_over_error_rate: rate(cut_over_failed, cut_over_requests),
        p50: percentile(50.0),
        p99: percentile(99.0),
        max,
        requests: own.len() as u64,
        failed: failed(&own),
        overload: count(&own, |sample| !is_sent(sample)),
        slow: count(&own, |sample| sample.latency() > SLOW),
        failures,
        time_to_failback: restored.and_then(|restored| {
            stable_failback(incident.moves, fault, restored, observed_until, incident.quiet)
        }),
        moves: moves(incident.moves, fault, observed_until),
    }
}

fn cut_over_end(incident: &Incident<'_>, own: &[&Sample], recovered: Option<Time>, fault_end: Time) -> Time {
    let Some(recovered) = recovered else { return fault_end };
    let within = |at: &Time| (incident.fault..fault_end).contains(at);
    let bad = own.iter().filter(|sample| is_bad(sample)).map(|sample| sample.due()).filter(within);
    let away = incident
        .moves
        .iter()
        .filter(|change| change.home_share_after < change.home_share_before)
        .map(|change| change.at)
        .filter(within);
    let latest = bad.chain(away).max().map_or(recovered, |latest| latest.max(recovered));
    (latest + WINDOW).min(fault_end)
}

fn is_bad(sample: &Sample) -> bool {
    !sample.outcome.is_success() || sample.latency() > SLOW
}

fn is_sent(sample: &Sample) -> bool {
    sample.outcome != Outcome::Overload
}

/// The latencies of what was sent, in microseconds, to three digits.
fn latencies(samples: &[&Sample]) -> Histogram<u64> {
    let mut latencies = Histogram::new_with_max(u64::from(u32::MAX), 3).expect("the bounds are in order");
    for sample in samples.iter().filter(|sample| is_sent(sample)) {
        latencies.saturating_record(u64::from(sample.latency_us));
    }
    latencies
}

fn count(samples: &[&Sample], what: impl Fn(&Sample) -> bool) -> u64 {
    samples.iter().filter(|sample| what(sample)).count() as u64
}

fn rate(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// From the restore to the last plan change after it, if nothing changed for `quiet` from then until
/// the end of the observation. Zero if no plan had moved since the fault; `None` if plans moved away
/// and have not come to rest.
#[must_use]
pub fn stable_failback(
    moves: &[PlanMove],
    fault: Time,
    restored: Time,
    observed_until: Time,
    quiet: Duration,
) -> Option<Duration> {
    let changes = moves
        .iter()
        .filter(|change| change.at >= fault && change.at < observed_until)
        .filter(|change| change.home_share_before != change.home_share_after);
    let mut last = None;
    let mut away_from_home = BTreeMap::new();
    for change in changes {
        last = last.max(Some(change.at));
        away_from_home.insert(
            (&change.service, &change.source),
            change.home_share_after < initial(moves, fault, change),
        );
    }
    let Some(last) = last else { return Some(Duration::ZERO) };
    let is_home = away_from_home.values().all(|away| !away);
    (is_home && observed_until.since(last) >= quiet).then(|| last.since(restored))
}

/// The home share of a change's service and source when the fault struck.
fn initial(moves: &[PlanMove], fault: Time, change: &PlanMove) -> u32 {
    moves
        .iter()
        .find(|first| first.at >= fault && first.service == change.service && first.source == change.source)
        .map_or(0, |first| first.home_share_before)
}

/// The moves within a time, the most of any service and source.
#[must_use]
pub fn moves(changes: &[PlanMove], from: Time, until: Time) -> Moves {
    let mut series: BTreeMap<_, (Moves, Option<bool>)> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.at >= from && change.at < until) {
        let is_away = match change.home_share_after.cmp(&change.home_share_before) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => continue,
        };
        let (counts, last) = series.entry((&change.service, &change.source)).or_default();
        if *last != Some(is_away) {
            *(if is_away { &mut counts.away } else { &mut counts.back }) += 1;
        }
        *last = Some(is_away);
    }
    series.values().fold(Moves::default(), |most, (counts, _)| Moves {
        away: most.away.max(counts.away),
        back: most.back.max(counts.back),
    })
}

fn ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(in_ms(*duration))
}

fn maybe_ms<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(in_ms).serialize(serializer)
}

/// A time as milliseconds since the start of the clock, to the microsecond.
pub fn time_ms<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(in_ms(time.since_origin()))
}

/// Milliseconds, to the microsecond.
pub(crate) fn in_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;
