//! What clocks said when they were told, counted on by the agent's own time: a clock that is set meanwhile changes nothing.

use std::time::Duration;
use tidegate_model::Time;

/// What a clock said, since 1970, and when that was.
type Told = (Duration, Time);

/// The clocks that an agent knows.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    own: Option<Told>,
    hub: Option<Told>,
}

impl Clocks {
    pub(super) const fn set_own(&mut self, since_1970: Duration, now: Time) {
        self.own = Some((since_1970, now));
    }

    pub(super) const fn set_hub(&mut self, since_1970: Duration, now: Time) {
        self.hub = Some((since_1970, now));
    }

    /// Milliseconds since 1970 by the own clock.
    pub(super) fn unix_ms(&self, now: Time) -> Option<u64> {
        u64::try_from(read(self.own?, now).as_millis()).ok()
    }

    /// The time since 1970 by which declared times of day are read: the hub's, so that all agents of a fleet agree; without a hub
    /// the own.
    pub(super) fn fleet(&self, now: Time) -> Option<Duration> {
        self.hub.or(self.own).map(|told| read(told, now))
    }
}

fn read((since_1970, at): Told, now: Time) -> Duration {
    since_1970 + now.since(at)
}
