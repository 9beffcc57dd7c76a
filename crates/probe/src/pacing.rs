//! When targets are checked, so that many of them make an even stream and no bursts.
//!
//! Pure functions of their arguments: randomness is drawn by the caller.
//!
//! Three cases: targets that were just added start at once, but no faster than [`START_GAP`] apart;
//! the second check of a target comes at a random point of its interval, which spreads a crowd that
//! started together over the whole interval; every later one comes after the interval, give or
//! take 10 %, so that targets with equal intervals never fall into step.

use std::time::Duration;

/// Between the first checks of targets that were added together: 20,000 checks a second, the rate
/// that DESIGN.md (section 9) asks of one core.
pub const START_GAP: Duration = Duration::from_micros(50);

/// The same of targets of which a verdict is known, from before a restart: nobody waits for these, and a starting agent
/// and its gateways have better use for the processors.
pub const KNOWN_GAP: Duration = Duration::from_millis(1);

/// How much an interval varies, in percent to either side.
pub const JITTER_PERCENT: u32 = 10;

/// How long the first check of the `index`-th of `added` targets waits: `gap` after the one
/// before it, and closer when the last would otherwise wait longer than its own interval.
#[must_use]
pub fn first_delay(index: u32, added: u32, gap: Duration, interval: Duration) -> Duration {
    if added == 0 {
        return Duration::ZERO;
    }
    let spread = gap.saturating_mul(added).min(interval);
    spread.mul_f64(f64::from(index.min(added)) / f64::from(added))
}

/// From the first check of a target to its second: a point of the interval.
#[must_use]
pub fn second_delay(interval: Duration, random: u32) -> Duration {
    interval.mul_f64(unit(random))
}

/// From one check to the next: the interval, give or take [`JITTER_PERCENT`].
#[must_use]
pub fn next_delay(interval: Duration, random: u32) -> Duration {
    let swing = f64::from(JITTER_PERCENT) / 100.0;
    interval.mul_f64(1.0 - swing + 2.0 * swing * unit(random))
}

/// A random number as a point of 0..=1.
fn unit(random: u32) -> f64 {
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_single_new_target_is_checked_at_once() {
        assert_eq!(first_delay(0, 1, START_GAP, SECOND), Duration::ZERO);
        assert_eq!(first_delay(0, 0, START_GAP, SECOND), Duration::ZERO);
    }

    #[test]
    fn many_new_targets_start_evenly_and_within_an_interval() {
        let delays: Vec<Duration> = (0..1000).map(|i| first_delay(i, 1000, START_GAP, SECOND)).collect();
        assert!(delays.windows(2).all(|w| w[1] - w[0] == START_GAP), "{:?}", &delays[..3]);
        for index in [0, 1, 50_000, 99_999] {
            assert!(first_delay(index, 100_000, START_GAP, SECOND) < SECOND);
        }
    }

    #[test]
    fn later_checks_stay_within_a_tenth_of_the_interval() {
        assert_eq!(next_delay(SECOND, 0), Duration::from_millis(900));
        assert_eq!(next_delay(SECOND, u32::MAX), Duration::from_millis(1100));
    }

    #[test]
    fn second_checks_spread_over_the_whole_interval() {
        assert_eq!(second_delay(SECOND, 0), Duration::ZERO);
        assert_eq!(second_delay(SECOND, u32::MAX), SECOND);
        let middle = second_delay(SECOND, u32::MAX / 2);
        assert!(middle > Duration::from_millis(499) && middle < Duration::from_millis(501));
    }
}
