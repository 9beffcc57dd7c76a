//! One time for everything that is measured: monotonic, counted from its start, and tied once to the wall clock
//! so that the times that agents of the same machine report can be compared with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_model::Time;
use tokio::time::Instant;

/// A running time. Cheap to copy; all copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_unix: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // In whole microseconds, so that times go back and forth without loss.
        Self { origin: Instant::now(), origin_unix: Duration::from_micros(micros(unix)) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// The instant to sleep until, for `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.origin + time.since_origin()
    }

    /// A wall-clock time, as agents report it, in microseconds since 1970. What lies before the
    /// start of the clock becomes its start.
    #[must_use]
    pub fn from_unix_micros(&self, micros: u64) -> Time {
        Time::from_origin(Duration::from_micros(micros).saturating_sub(self.origin_unix))
    }

    /// `time` on the wall clock, in microseconds since 1970.
    #[must_use]
    pub fn unix_micros(&self, time: Time) -> u64 {
        micros(self.origin_unix + time.since_origin())
    }
}

/// Whole microseconds; some 584,000 years fit.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_times_come_back() {
        let clock = Clock::start();
        let time = Time::from_millis(1234);
        assert_eq!(clock.from_unix_micros(clock.unix_micros(time)).since_origin().as_millis(), 1234);
        assert_eq!(clock.from_unix_micros(0), Time::ZERO);
    }
}
