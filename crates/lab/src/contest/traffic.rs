//! Where the traffic went, from the answers alone: the same for everybody who serves it. Pure.
//!
//! In each window of [`WINDOW`] the *home share* is the part of the answered requests that somebody at home served. A
//! change counts once it differs from the last that counted by 30 % or more, or reaches the one end or the other. So the
//! steps of a ramp are changes in one direction and one move ([`crate::measure::moves`]), and the noise of a partial
//! fault is none.

use crate::{
    load::{Samples, Served},
    measure::PlanMove,
};
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
pub fn moves(samples: &Samples, is_home: impl Fn(&Served) -> bool, from: Time) -> Vec<PlanMove> {
    let Some(service) = samples.services.first() else { return Vec::new() };
    let mut last = WHOLE;
    let mut moves = Vec::new();
    for (at, share) in shares(samples, is_home, from) {
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
pub fn shares(samples: &Samples, is_home: impl Fn(&Served) -> bool, from: Time) -> Vec<(Time, u32)> {
    let mut windows: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
    for sample in samples.requests.iter().filter(|it| it.outcome.is_success() && it.due() >= from) {
        let Some(served) = samples.served_by(sample) else { continue };
        let window = sample.due().since(from).as_micros() / WINDOW.as_micros();
        let (at_home, all) = windows.entry(window).or_default();
        *at_home += u64::from(is_home(served));
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        load::{Outcome, Sample},
        measure,
    };

    const FAULT: Time = Time::from_millis(2250);

    /// 100 requests per second; `away` says for each, by the tenth of a second in which it is due, how many of the ten of
    /// that tenth zone b serves.
    pub(in super::super) fn samples(tenths: u64, away: impl Fn(u64) -> u64) -> Samples {
        let served = |zone: &str| Served {
            endpoint: format!("web-{zone}"),
            zone: zone.to_owned(),
            cluster: "us-east".to_owned(),
        };
        let request = |number: u64| {
            let zone = u16::from(number % 10 < away(number / 10));
            let due = Time::from_millis(number * 10);
            Sample::new(due, Duration::from_millis(1), Outcome::Status(200)).by(zone)
        };
        Samples {
            label: "contest".to_owned(),
            services: vec!["shop/web".parse().unwrap()],
            served: vec![served("a"), served("b")],
            requests: (0..tenths * 10).map(request).collect(),
            in_flight: 0,
            dropped: 0,
            late_us: 0,
        }
    }

    fn is_a(served: &Served) -> bool {
        served.zone == "a"
    }

    fn steps(moves: &[PlanMove]) -> Vec<(u128, u32)> {
        let step = |it: &PlanMove| (it.at.since(FAULT).as_millis(), it.home_share_after);
        moves.iter().map(step).collect()
    }

    #[test]
    fn a_fault_and_a_ramp_are_one_move_away_and_one_back() {
        // Away from 2.3 s to 8 s, then 10 %, 50 % and all of it back.
        let samples = samples(150, |tenth| match tenth {
            0..=22 => 0,
            23..=79 => 10,
            80..=89 => 9,
            90..=99 => 5,
            _ => 0,
        });
        let moves = moves(&samples, is_a, FAULT);
        assert_eq!(steps(&moves), [(0, 1000), (500, 0), (7000, 5000), (7500, 8000), (8000, 10_000)]);
        let counted = measure::moves(&moves, FAULT, Time::from_millis(15_000));
        assert_eq!((counted.away, counted.back), (1, 1));
    }

    #[test]
    fn noise_is_no_move() {
        // Zone b answers one in ten, then two, then one.
        let samples = samples(100, |tenth| match tenth {
            0..=22 => 0,
            23..=50 => 1 + tenth % 2,
            _ => 0,
        });
        let moves = moves(&samples, is_a, FAULT);
        assert_eq!(steps(&moves), []);
    }

    #[test]
    fn flapping_is_as_many_moves_as_it_is() {
        let samples = samples(100, |tenth| if tenth < 23 { 0 } else { (tenth - 23) / 10 % 2 * 10 });
        let counted = measure::moves(&moves(&samples, is_a, FAULT), FAULT, Time::from_millis(10_000));
        assert_eq!((counted.away, counted.back), (4, 3));
    }

    #[test]
    fn windows_are_counted_from_the_fault_and_failures_do_not_vote() {
        let mut samples = samples(100, |tenth| if tenth < 50 { 0 } else { 10 });
        for request in samples.requests.iter_mut().filter(|it| it.due() >= Time::from_millis(3000)) {
            request.outcome = Outcome::Timeout;
        }
        let shares = shares(&samples, is_a, FAULT);
        assert_eq!(shares, [(FAULT, 10_000), (FAULT + WINDOW, 10_000)]);
    }
}
