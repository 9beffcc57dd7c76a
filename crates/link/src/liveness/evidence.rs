//! What data traffic through a peer's gateways says about a silence.
//!
//! Each of our Envoys reports windows of time, not moments, so each window is taken only for what it proves:
//!
//! - One that began before the silence says little: its successes may be older than the fault, and its failures too.
//! - One that began within the silence and has attempts but no success *blames* the peer. Of any other window with requests
//!   only those say something that were still open at its end: they blame from there on.
//! - One without attempts and without success says nothing by itself, so traffic that merely ended is no evidence. But
//!   after a blame it carries that on: what was tried then has still found no answer. (Requests that wait for a new
//!   connection, which is what a black hole makes of them, are in no report, and those that were overtaken by a hedge
//!   elsewhere end without a word.)
//! - A success ends the blame of its Envoy, and nothing before the end of its window counts against the peer any more,
//!   whoever reported it.
//!
//! When the windows of one Envoy blame the peer for 180 ms together, they corroborate. The windows of two Envoys are not
//! added up: each of them may have met no more than one late answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tidegate_model::Time;

/// Requests that were sent to a peer through its gateways, within a window whose end is
/// passed beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How long the window is.
    pub window: Duration,
    /// Requests that were tried: begun, failed or still open in the window.
    pub attempts: u64,
    /// Those of them that were still open at its end.
    pub open: u64,
    /// Requests that the peer answered successfully. An answer to a request tried in an earlier
    /// window counts in the window in which it came.
    pub successes: u64,
}

/// From where to where requests were tried, window after window, and none was answered.
#[derive(Clone, Copy, Debug)]
struct Blame {
    since: Time,
    until: Time,
}

#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// By the name of the Envoy that reported it.
    blamed: BTreeMap<Arc<str>, Blame>,
    /// Where the last window with a success ended.
    answered: Time,
}

/// So long must requests go unanswered: one short window without an answer is common where requests are few, where the
/// round trip is long, and on a machine that is short of time. Two windows of 96 ms are to suffice; they come some
/// milliseconds early or late, and to wait for a third would cost a tenth of a second.
const BLAMED_FOR: Duration = Duration::from_millis(180);
/// A report carries on a blame that is no older: beyond that its Envoy was away, and so was whom it could have heard.
const CARRIED_WITHIN: Duration = Duration::from_millis(300);
/// Envoys whose reports of one silence are kept: a cluster has a few gateways, and one of them is enough.
const REPORTERS: usize = 64;

impl Evidence {
    /// A window of `by` that ended `at`, while the peer has been silent since `silent_from`.
    pub(super) fn report(&mut self, by: &Arc<str>, traffic: Traffic, silent_from: Time, at: Time) {
        self.blamed.retain(|_, blame| blame.since >= silent_from);
        // A window that reaches back beyond the origin began before any silence.
        let began = at.since_origin().checked_sub(traffic.window).map(Time::from_origin);
        let within = began.filter(|from| *from >= silent_from);
        let open_at_end = (traffic.open > 0).then_some(at);
        if traffic.successes > 0 {
            if within.is_some() {
                self.answered = self.answered.max(at);
            }
            self.blamed.remove(by);
            self.blame(by, open_at_end, at);
            return;
        }
        let carried = self.blamed.get(by).filter(|blame| at.since(blame.until) <= CARRIED_WITHIN);
        let carried = carried.map(|blame| blame.since);
        let fresh = if traffic.attempts > 0 { within.or(open_at_end) } else { None };
        self.blame(by, carried.or(fresh), at);
    }

    fn blame(&mut self, by: &Arc<str>, since: Option<Time>, until: Time) {
        let Some(since) = since else { return };
        if self.blamed.len() < REPORTERS || self.blamed.contains_key(by) {
            self.blamed.insert(Arc::clone(by), Blame { since, until });
        }
    }

    pub(super) fn corroborates(&self, silent_from: Time) -> bool {
        let since = silent_from.max(self.answered);
        let mut blamed = self.blamed.values().filter(|blame| blame.since >= silent_from);
        blamed.any(|blame| blame.until.since(blame.since.max(since)) >= BLAMED_FOR)
    }
}
