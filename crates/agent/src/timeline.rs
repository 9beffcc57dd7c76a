//! What the agent decided and when: a bounded log that the page, the command line and drills read.

use serde::Serialize;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tidegate_engine::{Decision, Shares, explain_moves};
use tidegate_model::{ClusterName, Phase, ServiceName, Zone};
use tokio::sync::watch;

/// So many records are kept; the oldest go first.
pub const KEPT: usize = 10_000;

/// One entry of the timeline. Fields that do not apply to its kind are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its number, from 1, without gaps within one life of the agent.
    pub seq: u64,
    /// When, by this machine's wall clock, in microseconds since 1970.
    pub unix_micros: u64,
    /// `endpointChanged`, `poolChanged`, `planChanged`, `locationChanged`, `shiftChanged`, `drillChanged`, `peerChanged`,
    /// `replicaChanged`, `manifestsChanged`, `pushAcked` or `refused`.
    pub kind: &'static str,
    /// The service it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// For a plan: its source, as `cluster/zone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// For a plan: the shares before, in 1/10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Shares>,
    /// For a plan: the shares now, in 1/10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Shares>,
    /// For an endpoint or a pool: its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// For an endpoint: its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// For a pool: its phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// For a peer: the other cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<ClusterName>,
    /// For an endpoint `up` or `down`; for a peer `Reachable`, `Suspect` or `Unreachable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// For an ACK: the gateway's node id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// For an ACK: the version of all that the gateway now holds of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// For an ACK: the number of the newest record whose decision it carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<u64>,
    /// Why, for people.
    pub reason: String,
}

impl Record {
    /// A record of a decision of the engine.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Endpoint { service, address, zone, up, reason } => Self {
                kind: "endpointChanged",
                service: Some(service.clone()),
                zone: Some(zone.clone()),
                endpoint: Some(address.to_string()),
                state: Some(if *up { "up" } else { "down" }),
                reason: reason.clone(),
                ..Self::default()
            },
            Decision::Pool { pool, before, status, note } => Self {
                kind: "poolChanged",
                service: Some(pool.service.clone()),
                zone: Some(pool.zone.clone()),
                phase: Some(status.phase),
                reason: format!(
                    "{}{}: {} of {} healthy, admit {}{}",
                    before.map(|before| format!("{before} to ")).unwrap_or_default(),
                    status.phase,
                    status.healthy,
                    status.expected,
                    status.admit,
                    note.as_ref().map(|note| format!("; {note}")).unwrap_or_default()
                ),
                ..Self::default()
            },
            Decision::Plan { before, after } => Self {
                kind: "planChanged",
                service: Some(after.service.clone()),
                source: Some(after.source.to_string()),
                before: before.clone(),
                after: Some(after.shares.clone()),
                reason: before
                    .as_ref()
                    .map_or_else(|| after.to_string(), |before| explain_moves(before, after)),
                ..Self::default()
            },
            Decision::Location(decision) => {
                Self { kind: "locationChanged", reason: decision.to_string(), ..Self::default() }
            }
            Decision::Shift(decision) => Self {
                kind: "shiftChanged",
                service: decision.shift.target.service.clone(),
                reason: decision.to_string(),
                ..Self::default()
            },
        }
    }

    /// The record as one line of a log.
    #[must_use]
    pub fn line(&self) -> String {
        let service = self.service.as_ref().map(ToString::to_string);
        let zone = self.zone.as_ref().map(ToString::to_string);
        let peer = self.peer.as_ref().map(|peer| format!("peer {peer}"));
        let state = self.state.map(str::to_owned);
        // A plan's reason names service and source itself.
        let subject = match self.kind {
            "planChanged" => Vec::new(),
            _ => [service, zone, self.endpoint.clone(), peer, state].into_iter().flatten().collect(),
        };
        if subject.is_empty() {
            self.reason.clone()
        } else {
            format!("{}: {}", subject.join(" "), self.reason)
        }
    }
}

/// Whether a record says where traffic goes, or what serves; the others are told with the next look.
fn is_decided(kind: &str) -> bool {
    matches!(
        kind,
        "planChanged" | "poolChanged" | "shiftChanged" | "locationChanged" | "peerChanged" | "drillChanged"
    )
}

/// The bounded log.
#[derive(Debug, Default)]
pub struct Timeline {
    inner: Mutex<Inner>,
    /// The number of the newest record that says where traffic goes, or what serves.
    decided: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    records: VecDeque<Record>,
    next: u64,
}

impl Timeline {
    /// Appends records with the wall-clock time `at`.
    pub fn append(&self, records: impl IntoIterator<Item = Record>, at: SystemTime) {
        let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let unix_micros = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        let mut decided = None;
        for record in records {
            inner.next += 1;
            let seq = inner.next;
            if is_decided(record.kind) {
                decided = Some(seq);
            }
            match record.kind {
                // There are many, and they decide nothing.
                "pushAcked" => tracing::debug!(seq, kind = record.kind, "{}", record.line()),
                _ => tracing::info!(seq, kind = record.kind, "{}", record.line()),
            }
            inner.records.push_back(Record { seq, unix_micros, ..record });
            if inner.records.len() > KEPT {
                inner.records.pop_front();
            }
        }
        drop(inner);
        if let Some(seq) = decided {
            self.decided.send_replace(seq);
        }
    }

    /// Changes when something was decided that somebody who watches the fleet waits for.
    pub(crate) fn decided(&self) -> watch::Receiver<u64> {
        self.decided.subscribe()
    }

    /// Records with a number above `after`, oldest first, at most `limit`.
    #[must_use]
    pub fn after(&self, after: u64, limit: usize) -> Vec<Record> {
        let inner = self.lock();
        let start = inner.records.partition_point(|record| record.seq <= after);
        inner.records.iter().skip(start).take(limit).cloned().collect()
    }

    /// The newest of the records with a number above `after` that are `wanted`, oldest first, at most `limit`; and the number of the
    /// newest record that was looked at.
    pub(crate) fn newest(
        &self,
        after: u64,
        limit: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> (Vec<Record>, u64) {
        let inner = self.lock();
        let fresh = inner.records.iter().rev().take_while(|record| record.seq > after);
        let mut found: Vec<Record> = fresh.filter(|record| wanted(record)).take(limit).cloned().collect();
        found.reverse();
        (found, inner.next.max(after))
    }

    /// The number of the newest record; zero before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.lock().next
    }

    /// A panic while appending leaves a whole log, so a poisoned lock is taken all the same.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reason: &str) -> Record {
        Record { kind: "peerChanged", reason: reason.to_owned(), ..Record::default() }
    }

    #[test]
    fn the_log_is_bounded_and_its_numbers_have_no_gaps() {
        let timeline = Timeline::default();
        timeline.append((0..KEPT + 5).map(|_| record("x")), UNIX_EPOCH);
        let all = timeline.after(0, usize::MAX);
        assert_eq!(all.len(), KEPT);
        assert_eq!(all[0].seq, 6);
        assert!(all.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    }

    #[test]
    fn a_reader_gets_what_is_new_to_it() {
        let timeline = Timeline::default();
        timeline.append([record("a"), record("b"), record("c")], UNIX_EPOCH);
        let reasons: Vec<String> = timeline.after(1, 1).into_iter().map(|record| record.reason).collect();
        assert_eq!(reasons, ["b"]);
        assert!(timeline.after(3, 10).is_empty());
    }

    #[test]
    fn what_nobody_wants_takes_no_place_of_what_is_wanted() {
        let timeline = Timeline::default();
        let plan = |reason: &str| Record { kind: "planChanged", ..record(reason) };
        timeline.append([plan("a"), plan("b")], UNIX_EPOCH);
        timeline.append((0..500).map(|_| record("x")), UNIX_EPOCH);
        timeline.append([plan("c")], UNIX_EPOCH);
        let plans = |after, limit| {
            let (found, last) = timeline.newest(after, limit, |it| it.kind == "planChanged");
            (found.into_iter().map(|it| it.reason).collect::<Vec<_>>().join(""), last)
        };
        assert_eq!(plans(0, 100), ("abc".to_owned(), 503));
        assert_eq!(plans(0, 2), ("bc".to_owned(), 503), "the oldest are missed");
        assert_eq!(plans(2, 100), ("c".to_owned(), 503));
        assert_eq!(plans(503, 100), (String::new(), 503));
    }
}
