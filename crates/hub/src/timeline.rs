//! What the hub did, for webhooks and traces: the last of it, in memory. The audit log has it for people, on disk. Times are passed in.

use crate::view::RejectedView;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tidegate_model::ClusterName;

/// So many records are kept; whoever reads looks twice a second.
const KEPT: usize = 8_192;
/// So many rejected objects of one policy in one cluster are named.
pub(crate) const MAX_REJECTED: usize = 10;

/// Something that the hub did or heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Counts from 1.
    pub(crate) seq: u64,
    /// In microseconds since 1970.
    pub(crate) unix_micros: u64,
    pub(crate) what: What,
}

/// What it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A policy is handed out from now on.
    Published { sequence: u64, version: String, changed: usize, by: String },
    /// An agent was sent a policy.
    Handed { cluster: ClusterName, sequence: u64 },
    /// An agent has applied a policy, but for these.
    Applied { cluster: ClusterName, sequence: u64, rejected: Vec<RejectedView> },
    /// Somebody began, extended or ended a shift here: `shiftStarted`, `shiftExtended` or `shiftEnded`.
    Shift { how: &'static str, by: String, detail: String },
}

/// The last of it.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    records: VecDeque<Record>,
}

impl Timeline {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, unix_micros: u64, what: What) {
        let mut kept = self.kept();
        kept.last += 1;
        let seq = kept.last;
        kept.records.push_back(Record { seq, unix_micros, what });
        if kept.records.len() > KEPT {
            kept.records.pop_front();
        }
    }

    /// What came after the record with this number, the oldest first, and at most so many.
    pub(crate) fn after(&self, seq: u64, most: usize) -> Vec<Record> {
        let kept = self.kept();
        let from = kept.records.partition_point(|it| it.seq <= seq);
        kept.records.range(from..).take(most).cloned().collect()
    }

    /// The number of the newest.
    pub(crate) fn last(&self) -> u64 {
        self.kept().last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_found_and_the_oldest_goes() {
        let timeline = Timeline::default();
        let handed = |sequence| What::Handed { cluster: "east".parse().unwrap(), sequence };
        for sequence in 1..=KEPT as u64 + 5 {
            timeline.tell(sequence, handed(sequence));
        }
        let last = timeline.last();
        assert_eq!(last, KEPT as u64 + 5);
        let two: Vec<u64> = timeline.after(last - 2, 10).iter().map(|it| it.seq).collect();
        assert_eq!(two, [last - 1, last]);
        assert_eq!(timeline.after(0, 1)[0].seq, 6, "older ones are gone");
        assert!(timeline.after(last, 10).is_empty());
    }
}
