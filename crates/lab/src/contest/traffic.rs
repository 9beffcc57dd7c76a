//! Where the traffic went, from the answers alone: the same for everybody who serves it. Pure.
//!
//! In each window of [`WINDOW`] the *home share* is the part of the answered requests that zone a served. A change
//! counts once it differs from the last that counted by [`STEP`] or more, or reaches the one end or the other. So the
//! steps of a ramp are changes in one direction and one move ([`crate::measure::moves`]), and the noise of a partial
//! fault is none.

use crate::{load::Samples, measure::PlanMove};
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::Time;

/// How much traffic is looked at together.
pub const WINDOW: Duration = Duration::from_millis(500);
/// The smallest change that counts, in 1/10000.
const STEP: u32 = 3000;
/// So near an end, in 1/10000, a share is at it.
const END: u32 = 300;
/// All of it, in 1/10000.
const WHOLE: u32 = 10_000;

/// The changes of the home share from `from` on, when all is taken to be at home, in order of time. The time of a change
/// is the beginning of its window.
#[must_use]
pub fn moves(samples: &Samples, home: &str, from: Time) -> Vec<PlanMove> {
    let Some(service) = samples.services.first() else { return Vec::new() };
    let mut last = WHOLE;
    let mut moves = Vec::new();
    for (at, share) in shares(samples, home, from) {
        let share = snapped(share);
        let is_end = share == 0 || share == WHOLE;
        if share != last && (is_end || share.abs_diff(last) >= STEP) {
            moves.push(PlanMove {
                at,
                service: service.clone(),
                source: "traffic".to_owned(),
                home_share_before: last,
                home_share_after: share,
            });
            last = share;
        }
    }
    moves
}

/// The home share of each window in which somebody was served, in 1/10000, by when the requests were due. Windows are
/// counted from `from`.
#[must_use]
pub fn shares(samples: &Samples, home: &str, from: Time) -> Vec<(Time, u32)> {
    let mut windows: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
    for sample in samples.requests.iter().filter(|it| it.outcome.is_success() && it.due() >= from) {
        let Some(served) = samples.served_by(sample) else { continue };
        let window = sample.due().since(from).as_micros() / WINDOW.as_micros();
        let (at_home, all) = windows.entry(window).or_default();
        *at_home += u64::from(served.zone == home);
        *all += 1;
    }
    let share =
        |(at_home, all): (u64, u64)| u32::try_from(at_home * u64::from(WHOLE) / all.max(1)).unwrap_or(WHOLE);
    let begin = |window: u128| WINDOW * u32::try_from(window).unwrap_or(u32::MAX);
    windows.into_iter().map(|(window, counts)| (from + begin(window), share(counts))).collect()
}

const fn snapped(share: u32) -> u32 {
    if share <= END {
        0
    } else if share >= WHOLE - END {
        WHOLE
    } else {
        share
    }
}
