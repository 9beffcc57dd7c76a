//! What data traffic through a peer's gateways says about a silence.
//!
//! Reports cover windows of time, not moments, so each is taken only for what it proves. A
//! window that began before the silence says nothing: its successes may be older than the fault,
//! and its failures too. One that began within the silence blames the peer if it has attempts and no
//! success; windows that blame it for 180 ms together, without a success among them, corroborate. A
//! success ends that, and refutes the suspicion for as long as it counts as recent.

use super::SUSPECT_AFTER;
use std::time::Duration;
use tidegate_model::Time;

/// Requests that were sent to a peer through its gateways, within a window whose end is
/// passed beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// How long the window is.
    pub window: Duration,
    /// Requests that were tried.
    pub attempts: u64,
    /// Requests that the peer answered successfully. An answer to a request tried in an earlier
    /// window counts in the window in which it came.
    pub successes: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// From where to where requests were tried, window after window, and none was answered.
    blamed: Option<(Time, Time)>,
    refuted_until: Option<Time>,
}

/// So long must requests go unanswered: one short window without an answer is common where requests are few, where the
/// round trip is long, and on a machine that is short of time. Two windows of 100 ms are to suffice; they come some
/// milliseconds early or late, and to wait for a third would cost a tenth of a second.
const BLAMED_FOR: Duration = Duration::from_millis(180);

impl Evidence {
    pub(super) const NONE: Self = Self { blamed: None, refuted_until: None };

    pub(super) fn report(&mut self, traffic: Traffic, silent_from: Time, at: Time) {
        // A window that reaches back beyond the origin began before any silence.
        let Some(from) = at.since_origin().checked_sub(traffic.window).map(Time::from_origin) else { return };
        if from < silent_from {
            return;
        }
        if traffic.successes > 0 {
            self.refuted_until = Some(at + SUSPECT_AFTER);
            self.blamed = None;
        } else if traffic.attempts > 0 {
            let since = self.blamed.map(|(since, _)| since).filter(|since| *since >= silent_from);
            self.blamed = Some((since.unwrap_or(from), at));
        }
    }

    pub(super) fn corroborates(&self, silent_from: Time, now: Time) -> bool {
        self.blamed.is_some_and(|(from, to)| from >= silent_from && to.since(from) >= BLAMED_FOR)
            && self.refuted_until.is_none_or(|until| until <= now)
    }

    /// When the last success stops counting as recent.
    pub(super) const fn refuted_until(&self) -> Option<Time> {
        self.refuted_until
    }
}
