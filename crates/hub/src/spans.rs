//! What the timeline says as traces: a policy, and each agent that was sent it and has it. Pure; times are passed in.
//!
//! The root span begins when the policy is handed out and ends with the last agent's word. A child for each cluster lasts from when the
//! policy was sent to its word; it is in error if the agent rejected anything. A trace is whole when every cluster that is there has the
//! policy and nothing came for [`QUIET`], when a newer one is handed out and nothing came for [`QUIET`], or after [`LATEST`].

use crate::timeline::{Record, What};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span, status::StatusCode};
use std::collections::{BTreeMap, VecDeque};
use tidegate_model::ClusterName;
use tidegate_status::otlp::text;

/// In microseconds.
const QUIET: u64 = 2_000_000;
/// A rollout by waves lasts minutes; no cluster is waited for longer than this, in microseconds.
const LATEST: u64 = 3_600_000_000;
/// So many traces may be open; the oldest is taken for whole.
const MAX_OPEN: usize = 16;
/// So many clusters of one policy are told; of more it is said how many.
const MAX_TOLD: usize = 1_000;

/// Traces that are open.
#[derive(Debug)]
pub(crate) struct Spans {
    boot: u64,
    open: VecDeque<Trace>,
}

#[derive(Debug)]
struct Trace {
    sequence: u64,
    version: String,
    changed: usize,
    by: String,
    began: u64,
    heard: u64,
    /// When each was sent it.
    handed: BTreeMap<ClusterName, u64>,
    applied: Vec<Applied>,
    more: usize,
}

#[derive(Debug)]
struct Applied {
    cluster: ClusterName,
    from: u64,
    to: u64,
    rejected: Vec<String>,
}

impl Spans {
    pub(crate) const fn new(boot: u64) -> Self {
        Self { boot, open: VecDeque::new() }
    }

    /// Takes in a record; they come in their order.
    pub(crate) fn take(&mut self, record: Record) {
        let at = record.unix_micros;
        match record.what {
            What::Published { sequence, version, changed, by } => self.open.push_back(Trace {
                sequence,
                version,
                changed,
                by,
                began: at,
                heard: at,
                handed: BTreeMap::new(),
                applied: Vec::new(),
                more: 0,
            }),
            What::Handed { cluster, sequence } => {
                if let Some(trace) = self.of(sequence)
                    && trace.handed.len() < MAX_TOLD
                {
                    trace.handed.insert(cluster, at);
                }
            }
            What::Applied { cluster, sequence, rejected } => {
                let Some(trace) = self.of(sequence) else { return };
                trace.heard = trace.heard.max(at);
                // Who was sent it before this process, or is one too many, is not told apart.
                let Some(from) = trace.handed.remove(&cluster) else { return };
                if trace.applied.len() >= MAX_TOLD {
                    trace.more += 1;
                    return;
                }
                let rejected =
                    rejected.into_iter().map(|it| format!("{}: {}", it.object, it.reason)).collect();
                trace.applied.push(Applied { cluster, from, to: at, rejected });
            }
            What::Shift { .. } => {}
        }
    }

    fn of(&mut self, sequence: u64) -> Option<&mut Trace> {
        self.open.iter_mut().find(|it| it.sequence == sequence)
    }

    /// The spans of the traces that are whole; `everywhere` is the policy that every cluster that is there has.
    pub(crate) fn whole(&mut self, now: u64, everywhere: u64) -> Vec<Span> {
        let surplus = self.open.len().saturating_sub(MAX_OPEN);
        let mut whole: Vec<Trace> = self.open.drain(..surplus).collect();
        let newest = self.open.back().map_or(0, |it| it.sequence);
        let is_whole = |it: &Trace| {
            let past = it.sequence <= everywhere || it.sequence < newest;
            (past && now.saturating_sub(it.heard) >= QUIET) || now.saturating_sub(it.began) >= LATEST
        };
        let (done, open): (Vec<_>, Vec<_>) = self.open.drain(..).partition(is_whole);
        self.open = open.into();
        whole.extend(done);
        whole.iter().flat_map(|it| it.spans(self.boot)).collect()
    }
}

impl Trace {
    fn spans(&self, boot: u64) -> Vec<Span> {
        // Unique among hubs by the number that each draws when it starts, and in its life by the policy's.
        let trace_id = [boot.to_be_bytes(), self.sequence.to_be_bytes()].concat();
        let span = |id: u64, name: String, from: u64, to: u64| Span {
            trace_id: trace_id.clone(),
            span_id: id.to_be_bytes().to_vec(),
            name,
            kind: span::SpanKind::Internal.into(),
            start_time_unix_nano: from.saturating_mul(1000),
            end_time_unix_nano: to.saturating_mul(1000),
            ..Span::default()
        };
        let mut root = span(1, format!("publish policy {}", self.sequence), self.began, self.heard);
        root.attributes = vec![
            text("tidegate.policy.version", &self.version),
            text("tidegate.policy.objects.changed", &self.changed.to_string()),
            text("tidegate.by", &self.by),
        ];
        let unheard = self.handed.len();
        for (key, count) in
            [("tidegate.clusters.not_shown", self.more), ("tidegate.clusters.without_answer", unheard)]
        {
            if count > 0 {
                root.attributes.push(text(key, &count.to_string()));
            }
        }
        let apply = |(it, id): (&Applied, u64)| {
            let mut apply = span(id, format!("apply {}", it.cluster), it.from, it.to);
            apply.parent_span_id = 1_u64.to_be_bytes().to_vec();
            apply.kind = span::SpanKind::Producer.into();
            apply.attributes = vec![text("tidegate.cluster", it.cluster.as_str())];
            let (code, message) = match it.rejected.is_empty() {
                true => (StatusCode::Ok, String::new()),
                false => (StatusCode::Error, it.rejected.join("; ")),
            };
            apply.status = Some(Status { code: code.into(), message });
            apply
        };
        let applied: Vec<Span> = self.applied.iter().zip(2..).map(apply).collect();
        [vec![root], applied].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::RejectedView;

    const SECOND: u64 = 1_000_000;

    fn published(sequence: u64) -> What {
        What::Published { sequence, version: "abc".into(), changed: 2, by: "folder".into() }
    }

    fn handed(cluster: &str, sequence: u64) -> What {
        What::Handed { cluster: cluster.parse().unwrap(), sequence }
    }

    fn applied(cluster: &str, sequence: u64, rejected: &[&str]) -> What {
        let view = |it: &&str| RejectedView { object: (*it).to_owned(), reason: "no".to_owned() };
        What::Applied {
            cluster: cluster.parse().unwrap(),
            sequence,
            rejected: rejected.iter().map(view).collect(),
        }
    }

    fn take(spans: &mut Spans, records: &[(u64, What)]) {
        for (at, what) in records {
            spans.take(Record { seq: 0, unix_micros: *at, what: what.clone() });
        }
    }

    fn names(spans: &[Span]) -> Vec<String> {
        let lasts = |it: &Span| (it.end_time_unix_nano - it.start_time_unix_nano) / 1_000_000;
        spans.iter().map(|it| format!("{} {} ms", it.name, lasts(it))).collect()
    }

    #[test]
    fn a_policy_and_each_cluster_that_has_it_are_one_trace() {
        let mut spans = Spans::new(7);
        let records = [
            (SECOND, published(3)),
            (SECOND + 5_000, handed("east", 3)),
            (SECOND + 6_000, handed("west", 3)),
            (SECOND + 25_000, applied("east", 3, &[])),
            (SECOND + 30_000, applied("west", 3, &["FailoverPolicy shop/web"])),
        ];
        take(&mut spans, &records);
        assert!(spans.whole(60 * SECOND, 2).is_empty(), "some cluster has not got it");
        assert!(spans.whole(2 * SECOND, 3).is_empty(), "another word may come");
        let all = spans.whole(4 * SECOND, 3);
        assert_eq!(names(&all), ["publish policy 3 30 ms", "apply east 20 ms", "apply west 24 ms"]);
        assert!(
            all[1..].iter().all(|it| it.parent_span_id == all[0].span_id && it.trace_id == all[0].trace_id)
        );
        let status = all[2].status.as_ref().unwrap();
        assert_eq!(
            (status.code(), status.message.as_str()),
            (StatusCode::Error, "FailoverPolicy shop/web: no")
        );
        assert!(spans.whole(9 * SECOND, 3).is_empty(), "it is told once");
    }

    #[test]
    fn a_policy_that_is_past_or_old_is_waited_for_no_longer_and_few_are_open() {
        let mut spans = Spans::new(7);
        take(&mut spans, &[(SECOND, published(1)), (SECOND, handed("east", 1)), (2 * SECOND, published(2))]);
        let all = spans.whole(5 * SECOND, 0);
        assert_eq!(names(&all), ["publish policy 1 0 ms"]);
        assert!(all[0].attributes.iter().any(|it| it.key == "tidegate.clusters.without_answer"));
        assert_eq!(names(&spans.whole(2 * SECOND + LATEST, 0)), ["publish policy 2 0 ms"]);
        let many: Vec<_> = (3..3 + MAX_OPEN as u64 + 4).map(|it| (SECOND, published(it))).collect();
        take(&mut spans, &many);
        assert_eq!(spans.whole(SECOND, 0).len(), 4);
    }
}
