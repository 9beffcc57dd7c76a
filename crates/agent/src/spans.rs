//! What the timeline says as traces: a change, what was decided by it, and each gateway that was told and has it. Pure.
//!
//! Records of one turn of the loop have one time. A turn in which a plan, a shift, a drill or the manifests changed is a trace: its root
//! span has every record of the turn as an event, and a child for each gateway, from the decision to the gateway's ACK. A trace is whole
//! when no ACK came for [`QUIET`], or after [`LATEST`]; until then it is open, and at most [`MAX_OPEN`] are.

use crate::timeline::Record;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span, status::StatusCode};
use std::collections::VecDeque;
use tidegate_status::otlp::text;

/// A trace is whole when no ACK came for so long, in microseconds.
const QUIET: u64 = 2_000_000;
/// No ACK is waited for longer, in microseconds: a later one says that a gateway was away (`crate::pushes`).
const LATEST: u64 = 30_000_000;
/// So many traces may be open; the oldest is taken for whole.
const MAX_OPEN: usize = 256;
/// So many records of a turn are told, and so many gateways; of more it is said how many.
const MAX_TOLD: usize = 128;

/// Traces that are open.
#[derive(Debug)]
pub(crate) struct Spans {
    boot: u64,
    open: VecDeque<Trace>,
    /// The turn that goes on: its records, as long as they have the same time.
    turn: Vec<Record>,
}

#[derive(Debug)]
struct Trace {
    records: Vec<Record>,
    more: usize,
    /// The number of the last record, which ACKs name.
    last: u64,
    began: u64,
    /// When the last ACK came, or the decision was made.
    heard: u64,
    pushes: Vec<Record>,
    more_pushes: usize,
}

impl Spans {
    pub(crate) const fn new(boot: u64) -> Self {
        Self { boot, open: VecDeque::new(), turn: Vec::new() }
    }

    /// Takes in a record of the timeline; they come in their order.
    pub(crate) fn take(&mut self, record: Record) {
        if record.kind == "pushAcked" {
            // What was decided in this very turn is not acknowledged in it.
            self.end_turn();
            let of = record.decision.unwrap_or_default();
            // An ACK names the newest record of the decision that it carried.
            if let Some(trace) = self.open.iter_mut().find(|it| of <= it.last) {
                trace.heard = trace.heard.max(record.unix_micros);
                if trace.pushes.len() < MAX_TOLD { trace.pushes.push(record) } else { trace.more_pushes += 1 }
            }
            return;
        }
        if self.turn.first().is_some_and(|it| it.unix_micros != record.unix_micros) {
            self.end_turn();
        }
        self.turn.push(record);
    }

    fn end_turn(&mut self) {
        let mut records = std::mem::take(&mut self.turn);
        let decides = |it: &Record| {
            matches!(it.kind, "planChanged" | "shiftChanged" | "drillChanged" | "manifestsChanged")
        };
        let (true, Some(last)) = (records.iter().any(decides), records.last()) else { return };
        let (last, began) = (last.seq, last.unix_micros);
        let more = records.len().saturating_sub(MAX_TOLD);
        records.truncate(MAX_TOLD);
        let trace = Trace { records, more, last, began, heard: began, pushes: Vec::new(), more_pushes: 0 };
        self.open.push_back(trace);
    }

    /// The spans of the traces that are whole.
    pub(crate) fn whole(&mut self, now: u64) -> Vec<Span> {
        if self.turn.first().is_some_and(|it| it.unix_micros < now) {
            self.end_turn();
        }
        let surplus = self.open.len().saturating_sub(MAX_OPEN);
        let mut whole: Vec<Trace> = self.open.drain(..surplus).collect();
        let is_whole =
            |it: &Trace| now.saturating_sub(it.heard) >= QUIET || now.saturating_sub(it.began) >= LATEST;
        let (done, open): (Vec<_>, Vec<_>) = self.open.drain(..).partition(is_whole);
        self.open = open.into();
        whole.extend(done);
        whole.iter().flat_map(|it| it.spans(self.boot)).collect()
    }
}

impl Trace {
    fn spans(&self, boot: u64) -> Vec<Span> {
        // Unique among agents by the number that each draws when it starts, and in its life by the record's.
        let trace_id = [boot.to_be_bytes(), self.last.to_be_bytes()].concat();
        let span = |id: u64, parent: Vec<u8>, name: String, end: u64| Span {
            trace_id: trace_id.clone(),
            span_id: id.to_be_bytes().to_vec(),
            parent_span_id: parent,
            name,
            kind: span::SpanKind::Internal.into(),
            start_time_unix_nano: self.began.saturating_mul(1000),
            end_time_unix_nano: end.saturating_mul(1000),
            ..Span::default()
        };
        // What the turn began with is what it is about: an endpoint, a pool, a shift.
        let about = self.records.first().map_or("decision", |it| it.kind);
        let mut root = span(self.last, Vec::new(), format!("decide {about}"), self.heard);
        let plans = self.records.iter().filter(|it| it.kind == "planChanged").count();
        let attribute = |key: &str, count: usize| text(key, &count.to_string());
        root.attributes = vec![attribute("tidegate.plans.changed", plans)];
        if self.more_pushes > 0 {
            root.attributes.push(attribute("tidegate.gateways.not_shown", self.more_pushes));
        }
        root.events = self.records.iter().map(event).collect();
        root.dropped_events_count = u32::try_from(self.more).unwrap_or(u32::MAX);
        let push = |it: &Record| {
            let gateway = it.gateway.clone().unwrap_or_default();
            let mut push =
                span(it.seq, self.last.to_be_bytes().to_vec(), format!("push {gateway}"), it.unix_micros);
            push.kind = span::SpanKind::Producer.into();
            push.attributes = vec![text("tidegate.gateway", &gateway), text("tidegate.reason", &it.reason)];
            push.attributes.extend(it.version.as_ref().map(|it| text("tidegate.version", it)));
            push.status = Some(Status { code: StatusCode::Ok.into(), message: String::new() });
            push
        };
        let pushes: Vec<Span> = self.pushes.iter().map(push).collect();
        [vec![root], pushes].concat()
    }
}

fn event(record: &Record) -> span::Event {
    let service = record.service.as_ref().map(|it| text("tidegate.service", &it.to_string()));
    let zone = record.zone.as_ref().map(|it| text("tidegate.zone", it.as_str()));
    let reason = text("tidegate.reason", &record.line());
    span::Event {
        time_unix_nano: record.unix_micros.saturating_mul(1000),
        name: record.kind.to_owned(),
        attributes: [service, zone, Some(reason)].into_iter().flatten().collect(),
        dropped_attributes_count: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64, ms: u64, kind: &'static str) -> Record {
        Record { seq, unix_micros: ms * 1000, kind, reason: format!("r{seq}"), ..Record::default() }
    }

    fn ack(seq: u64, ms: u64, decision: u64) -> Record {
        Record { decision: Some(decision), gateway: Some("edge".to_owned()), ..record(seq, ms, "pushAcked") }
    }

    fn told(spans: &mut Spans, ms: u64) -> Vec<String> {
        let short = |it: &Span| {
            let parent = if it.parent_span_id.is_empty() { "" } else { " below" };
            format!(
                "{} {} ms{parent}",
                it.name,
                (it.end_time_unix_nano - it.start_time_unix_nano) / 1_000_000
            )
        };
        spans.whole(ms * 1000).iter().map(short).collect()
    }

    #[test]
    fn a_change_its_decision_and_each_gateway_that_has_it_are_one_trace() {
        let mut spans = Spans::new(7);
        for record in
            [record(1, 100, "endpointChanged"), record(2, 100, "poolChanged"), record(3, 100, "planChanged")]
        {
            spans.take(record);
        }
        spans.take(ack(4, 104, 3));
        spans.take(ack(5, 109, 3));
        assert_eq!(told(&mut spans, 2_000), Vec::<String>::new(), "another gateway may still tell");
        let all = spans.whole(2_109_000);
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|it| it.trace_id == all[0].trace_id && it.trace_id.len() == 16));
        assert!(all[1..].iter().all(|it| it.parent_span_id == all[0].span_id));
        let names: Vec<&str> = all[0].events.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["endpointChanged", "poolChanged", "planChanged"]);
        assert_eq!(all[0].end_time_unix_nano - all[0].start_time_unix_nano, 9_000_000);
        assert_eq!(told(&mut spans, 9_000), Vec::<String>::new(), "it is told once");
    }

    #[test]
    fn each_ack_belongs_to_its_own_decision() {
        let mut spans = Spans::new(7);
        spans.take(record(1, 100, "planChanged"));
        spans.take(record(2, 200, "planChanged"));
        spans.take(ack(3, 210, 2));
        spans.take(ack(4, 260, 1));
        let told = told(&mut spans, 5_000);
        assert_eq!(
            told,
            [
                "decide planChanged 160 ms",
                "push edge 160 ms below",
                "decide planChanged 10 ms",
                "push edge 10 ms below"
            ]
        );
    }

    #[test]
    fn what_decides_nothing_is_no_trace_and_what_is_open_is_bounded() {
        let mut spans = Spans::new(7);
        spans.take(record(1, 100, "endpointChanged"));
        assert_eq!(told(&mut spans, 9_000), Vec::<String>::new());
        for seq in 2..=(MAX_OPEN as u64 + 12) {
            spans.take(record(seq, 10_000 + seq, "shiftChanged"));
        }
        assert_eq!(told(&mut spans, 10_300).len(), 11, "the oldest are taken for whole");
        let mut many = Spans::new(7);
        for seq in 1..=300 {
            many.take(record(seq, 100, "planChanged"));
        }
        let all = many.whole(9_000_000);
        assert_eq!((all[0].events.len(), all[0].dropped_events_count), (128, 172));
    }
}
