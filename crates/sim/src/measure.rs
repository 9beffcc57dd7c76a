//! From steps and decisions to the numbers of a report. The terms are those of the lab's measurements.

use crate::{
    report::{Decided, FaultMeasures, FaultView, Measures, Moves},
    scenario::Fault,
    traffic::{STEP, Totals},
};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::Shares;
use tidegate_model::Time;

/// At most this part of a second's requests may fail: 99.9 % success.
const ALLOWED: f64 = 0.001;
/// Steps in a second, the window over which success is judged.
const WINDOW: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// One step, in short.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    offered: f64,
    failed: f64,
    shed: f64,
}

impl Step {
    pub(crate) const fn of(totals: &Totals) -> Self {
        Self { offered: totals.offered, failed: totals.failed, shed: totals.shed }
    }
}

/// To a millionth: what is behind it is noise to people and ballast in files.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Time) -> u64 {
    u64::try_from(time.since_origin().as_micros()).unwrap_or(u64::MAX)
}

fn part(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { rounded(part / whole) } else { 0.0 }
}

/// The numbers of the whole, without the peak of utilisation. `last_end`: when all is whole again.
pub(crate) fn measure(steps: &[Step], decisions: &[Decided], last_end: Time) -> Measures {
    let [offered, failed, shed] = sums(steps);
    Measures {
        failback_ms: failback(decisions, last_end, u64::MAX),
        offered: rounded(offered),
        failed: rounded(failed),
        shed: rounded(shed),
        error_fraction: part(failed, offered),
        shed_fraction: part(shed, offered),
        worst_second: rounded(worst_second(steps)),
        peak_utilisation: None,
    }
}

/// The faults in order of time, with what each did until the next one struck.
pub(crate) fn by_fault(
    faults: &[Fault],
    steps: &[Step],
    decisions: &[Decided],
    duration: Duration,
) -> Vec<FaultView> {
    let mut faults: Vec<&Fault> = faults.iter().collect();
    faults.sort_by_key(|fault| fault.at);
    let mut starts: Vec<Time> = faults.iter().map(|fault| fault.at).collect();
    starts.dedup();
    let moved = moves(decisions, &starts);
    let ends = starts.iter().skip(1).copied().chain([Time::from_origin(duration)]);
    let windows: BTreeMap<Time, (Time, &BTreeMap<Key, Moves>)> =
        starts.iter().copied().zip(ends.zip(&moved)).collect();
    let view = |fault: &Fault| {
        let ms = |time: Time| millis(time.since_origin());
        let end = fault.end(duration);
        let mut measures = FaultMeasures::default();
        if let Some((close, moved)) = windows.get(&fault.at) {
            measures = of_fault((fault.at, end, *close), steps, decisions);
            let count = moved.values().filter(|it| it.away + it.back > 0).count();
            measures.plans_moved = u32::try_from(count).unwrap_or(u32::MAX);
            measures.away = moved.values().map(|it| it.away).max().unwrap_or(0);
            measures.back = moved.values().map(|it| it.back).max().unwrap_or(0);
        }
        FaultView { at_ms: ms(fault.at), until_ms: ms(end), what: fault.kind.to_string(), measures }
    };
    faults.into_iter().map(view).collect()
}

/// What one fault did between its beginning and `close`, but for moves.
fn of_fault((at, end, close): (Time, Time, Time), steps: &[Step], decisions: &[Decided]) -> FaultMeasures {
    let window = slice(steps, at, close);
    let [offered, failed, shed] = sums(window);
    let found = decisions.iter().find(|it| it.at_micros >= micros(at));
    let found = found.filter(|it| it.at_micros < micros(close));
    FaultMeasures {
        detect_ms: found.map(|it| (it.at_micros - micros(at)) / 1000),
        rto_ms: recovery(slice(steps, at, end.max(at + SECOND).min(close))),
        failback_ms: failback(decisions, end, micros(close)),
        offered: rounded(offered),
        failed: rounded(failed),
        shed: rounded(shed),
        error_fraction: part(failed, offered),
        shed_fraction: part(shed, offered),
        worst_second: rounded(worst_second(window)),
        ..FaultMeasures::default()
    }
}

fn sums(steps: &[Step]) -> [f64; 3] {
    let sum = |what: fn(&Step) -> f64| steps.iter().map(what).sum::<f64>();
    [sum(|it| it.offered), sum(|it| it.failed), sum(|it| it.shed)]
}

fn slice(steps: &[Step], from: Time, until: Time) -> &[Step] {
    let index =
        |time: Time| usize::try_from(millis(time.since_origin()) / millis(STEP)).unwrap_or(usize::MAX);
    steps.get(index(from)..index(until).min(steps.len())).unwrap_or_default()
}

/// From `end` to the last change of a plan after it and before `close`.
fn failback(decisions: &[Decided], end: Time, close_micros: u64) -> Option<u64> {
    let plans = decisions.iter().filter(|it| it.record.kind == "planChanged");
    let after = plans.map(|it| it.at_micros).filter(|at| (micros(end)..close_micros).contains(at));
    after.max().map(|at| (at - micros(end)) / 1000)
}

fn bad_part(window: &[Step]) -> f64 {
    let [offered, failed, _] = sums(window);
    if offered > 0.0 { failed / offered } else { 0.0 }
}

fn worst_second(steps: &[Step]) -> f64 {
    steps.windows(WINDOW).map(bad_part).fold(0.0, f64::max)
}

/// The first moment after which every whole second is good.
fn recovery(steps: &[Step]) -> Option<u64> {
    let windows = steps.windows(WINDOW);
    let last_bad = windows.clone().rposition(|window| bad_part(window) > ALLOWED);
    let recovered = last_bad.map_or(0, |last| last + 1);
    (recovered < windows.len()).then(|| recovered as u64 * millis(STEP))
}

/// A service, and a source as `cluster/zone`.
pub(crate) type Key = (String, String);

/// How often each plan moved from the first fault on, counted anew from each of `starts` on.
pub(crate) fn moves(decisions: &[Decided], starts: &[Time]) -> Vec<BTreeMap<Key, Moves>> {
    struct Series {
        home: Shares,
        last_home: u32,
        /// In which window the last move was, and whether it was away.
        last: Option<(usize, bool)>,
    }
    let at_home = |home: &Shares, shares: &Shares| -> u32 {
        shares
            .iter()
            .map(|(target, share)| share.parts().min(home.get(target).map_or(0, |it| it.parts())))
            .sum()
    };
    let mut all: BTreeMap<Key, Series> = BTreeMap::new();
    let mut windows: Vec<BTreeMap<Key, Moves>> = vec![BTreeMap::new(); starts.len()];
    for decided in decisions {
        let record = &decided.record;
        let (Some(service), Some(source), Some(after)) = (&record.service, &record.source, &record.after)
        else {
            continue;
        };
        let key = (service.to_string(), source.clone());
        let window = starts.partition_point(|start| micros(*start) <= decided.at_micros).checked_sub(1);
        if window.is_none() {
            // Before the first fault; the first change after it says what was before.
            continue;
        }
        let series = all.entry(key.clone()).or_insert_with(|| {
            let home = record.before.clone().unwrap_or_else(|| after.clone());
            Series { last_home: at_home(&home, &home), home, last: None }
        });
        let now = at_home(&series.home, after);
        let before = std::mem::replace(&mut series.last_home, now);
        let Some((index, counts)) = window.and_then(|it| Some((it, windows.get_mut(it)?))) else { continue };
        let moves = counts.entry(key).or_insert_with_key(|(service, source)| Moves {
            service: service.clone(),
            source: source.clone(),
            away: 0,
            back: 0,
        });
        if now != before {
            let away = now < before;
            if series.last != Some((index, away)) {
                *(if away { &mut moves.away } else { &mut moves.back }) += 1;
            }
            series.last = Some((index, away));
        }
    }
    windows
}
