//! From steps and decisions to the numbers of a report. The terms are those of the lab's measurements.

use crate::{
    report::{Decided, Measures, Moves},
    traffic::{STEP, Totals},
};
use std::{collections::BTreeMap, time::Duration};
use tidegate_engine::Shares;
use tidegate_model::Time;

/// At most this part of a second's requests may fail: 99.9 % success.
const ALLOWED: f64 = 0.001;
/// Steps in a second, the window over which success is judged.
const WINDOW: usize = 10;

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

/// The numbers, without the peak of utilisation. `first`: the first fault's beginning and end; `last_end`: when all is whole.
pub(crate) fn measure(
    steps: &[Step],
    decisions: &[Decided],
    first: Option<(Time, Time)>,
    last_end: Time,
) -> Measures {
    let sum = |what: fn(&Step) -> f64| steps.iter().map(what).sum::<f64>();
    let (offered, failed, shed) = (sum(|it| it.offered), sum(|it| it.failed), sum(|it| it.shed));
    let part = |part: f64| if offered > 0.0 { rounded(part / offered) } else { 0.0 };
    let worst = steps.windows(WINDOW).map(bad_part).fold(0.0, f64::max);
    let micros = |time: Time| u64::try_from(time.since_origin().as_micros()).unwrap_or(u64::MAX);
    let detect = first.and_then(|(fault, _)| {
        let found = decisions.iter().find(|it| it.at_micros >= micros(fault))?;
        Some((found.at_micros - micros(fault)) / 1000)
    });
    let plans = decisions.iter().filter(|it| it.record.kind == "planChanged");
    let failback = plans.filter(|it| it.at_micros >= micros(last_end)).map(|it| it.at_micros).max();
    Measures {
        detect_ms: detect,
        rto_ms: first.and_then(|(fault, end)| recovery(steps, fault, end)),
        failback_ms: failback.map(|at| (at - micros(last_end)) / 1000),
        offered: rounded(offered),
        failed: rounded(failed),
        shed: rounded(shed),
        error_fraction: part(failed),
        shed_fraction: part(shed),
        worst_second: rounded(worst),
        peak_utilisation: None,
    }
}

fn bad_part(window: &[Step]) -> f64 {
    let offered: f64 = window.iter().map(|step| step.offered).sum();
    let failed: f64 = window.iter().map(|step| step.failed).sum();
    if offered > 0.0 { failed / offered } else { 0.0 }
}

/// The first moment after which every whole second before `end` is good.
fn recovery(steps: &[Step], fault: Time, end: Time) -> Option<u64> {
    let index =
        |time: Time| usize::try_from(millis(time.since_origin()) / millis(STEP)).unwrap_or(usize::MAX);
    let (from, until) = (index(fault), index(end).min(steps.len()));
    let windows = steps.get(from..until)?.windows(WINDOW);
    let last_bad = windows.clone().rposition(|window| bad_part(window) > ALLOWED);
    let recovered = last_bad.map_or(0, |last| last + 1);
    (recovered < windows.len()).then(|| recovered as u64 * millis(STEP))
}

/// How often each source's plan moved from the first fault on.
pub(crate) fn moves(decisions: &[Decided], fault: Time) -> Vec<Moves> {
    struct Series {
        home: Shares,
        last_home: u32,
        last_away: Option<bool>,
        moves: Moves,
    }
    let at_home = |home: &Shares, shares: &Shares| -> u32 {
        shares
            .iter()
            .map(|(target, share)| share.parts().min(home.get(target).map_or(0, |it| it.parts())))
            .sum()
    };
    let fault = u64::try_from(fault.since_origin().as_micros()).unwrap_or(u64::MAX);
    let mut all: BTreeMap<(String, String), Series> = BTreeMap::new();
    for decided in decisions {
        let record = &decided.record;
        let (Some(service), Some(source), Some(after)) = (&record.service, &record.source, &record.after)
        else {
            continue;
        };
        let series = all.entry((service.to_string(), source.clone())).or_insert_with(|| Series {
            home: Shares::default(),
            last_home: 0,
            last_away: None,
            moves: Moves { service: service.to_string(), source: source.clone(), away: 0, back: 0 },
        });
        if decided.at_micros < fault {
            series.home.clone_from(after);
            series.last_home = at_home(&series.home, after);
            continue;
        }
        let now = at_home(&series.home, after);
        if now != series.last_home {
            let away = now < series.last_home;
            if series.last_away != Some(away) {
                *(if away { &mut series.moves.away } else { &mut series.moves.back }) += 1;
            }
            series.last_away = Some(away);
        }
        series.last_home = now;
    }
    all.into_values().map(|series| series.moves).collect()
}
