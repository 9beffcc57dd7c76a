//! When an agent dials its hub again. Pure: chance is passed in.

use std::time::Duration;

/// The first wait after a failure, and the longest. A hub that comes back finds all agents within the longest and half of it
/// more, and not all at once: a thousand agents that wait long are 170 dials in a second.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(6));

/// Waits that double with every round of the addresses, by half more or less at random, up to a limit of 9 s.
#[derive(Clone, Debug)]
pub struct Redial {
    wait: Duration,
    failures: usize,
}

impl Default for Redial {
    fn default() -> Self {
        Self { wait: WAITS.0, failures: 0 }
    }
}

impl Redial {
    /// How long to wait after a failure, where there are so many addresses to try in turn. `chance` is drawn from 0 to 1.
    ///
    /// Until each of them has failed the wait is the first one, whatever was before: another hub may have taken over.
    pub fn failed(&mut self, addresses: usize, chance: f64) -> Duration {
        self.failures += 1;
        let round = self.failures.is_multiple_of(addresses.max(1));
        let wait = if round { self.wait } else { WAITS.0 };
        if round {
            self.wait = (self.wait * 2).min(WAITS.1);
        }
        wait.mul_f64(0.5 + chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_nine_seconds_and_differ_by_chance() {
        let mut redial = Redial::default();
        let waits: Vec<u128> = (0..7).map(|_| redial.failed(1, 0.5).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 6000, 6000]);
        assert_eq!((redial.failed(1, 0.0).as_millis(), redial.failed(1, 1.0).as_millis()), (3000, 9000));
    }

    #[test]
    fn the_other_addresses_are_tried_before_a_long_wait() {
        let mut redial = Redial::default();
        let waits: Vec<u128> = (0..8).map(|_| redial.failed(2, 0.5).as_millis()).collect();
        assert_eq!(waits, [250, 250, 250, 500, 250, 1000, 250, 2000]);
    }
}
