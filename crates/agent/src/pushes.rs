//! Which gateway took in which decision, and when: from the batches of changes that pushes carried to records of the timeline. Pure.
//!
//! A batch of changes counts as a decision's when plans, shifts or drills changed with it, or so little before that a large
//! fleet's gateways are still told service by service. A gateway tells that it has a batch by the ACK of the response that carried
//! it; one that subscribes to nothing of it is not told of it, and says nothing.

use crate::timeline::Record;
use std::{collections::VecDeque, time::Duration};
use tidegate_model::Time;
use tidegate_xds::{NodeInfo, ResourceType};

/// An ACK that comes later than this after its batch says that a gateway was away or overloaded, not how long a push takes. A large
/// fleet's gateways are told of a decision within it, too.
const LATEST: Duration = Duration::from_secs(30);
/// Batches whose ACKs are awaited; of more, the oldest are forgotten.
const MAX_BATCHES: usize = 1024;
/// So many records are written in a second; more would push the decisions themselves out of the timeline.
const MAX_RECORDS: u32 = 100;

/// What gateways are to take in.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    waiting: VecDeque<Push>,
    /// The last decision: its record's number, and when.
    decided: Option<(u64, Time)>,
    /// Since when records are counted, and how many there were.
    counted: (Time, u32),
}

#[derive(Debug)]
struct Push {
    batch: u64,
    decision: u64,
    decided: Time,
}

impl Pushes {
    /// Takes in what was decided: its records, of which the last has the number `last`.
    pub(crate) fn decide(&mut self, records: &[Record], last: u64, now: Time) {
        let decides =
            |record: &Record| matches!(record.kind, "planChanged" | "shiftChanged" | "drillChanged");
        if records.iter().any(decides) {
            self.decided = Some((last, now));
        }
    }

    /// Takes in that a batch was handed to the gateways.
    pub(crate) fn push(&mut self, batch: u64, now: Time) {
        let Some((decision, decided)) = self.decided.filter(|(_, at)| now.since(*at) < LATEST) else {
            return;
        };
        if self.waiting.len() >= MAX_BATCHES {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Push { batch, decision, decided });
    }

    /// What the timeline says of an ACK that came with these batches; nothing if they decide nothing.
    pub(crate) fn acked(
        &mut self,
        node: &NodeInfo,
        kind: ResourceType,
        version: String,
        batches: &[u64],
        now: Time,
    ) -> Option<Record> {
        while self.waiting.front().is_some_and(|push| now.since(push.decided) >= LATEST) {
            self.waiting.pop_front();
        }
        let newest = self.waiting.iter().rev().find(|push| batches.binary_search(&push.batch).is_ok())?;
        if now.since(self.counted.0) >= Duration::from_secs(1) {
            self.counted = (now, 0);
        }
        if self.counted.1 >= MAX_RECORDS {
            return None;
        }
        self.counted.1 += 1;
        let took = now.since(newest.decided).as_secs_f64() * 1e3;
        Some(Record {
            kind: "pushAcked",
            gateway: Some(node.id.clone()),
            reason: format!(
                "gateway {} has it, {took:.1} ms after the decision: {kind} version {version}",
                node.id
            ),
            version: Some(version),
            decision: Some(newest.decision),
            ..Record::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn acked(pushes: &mut Pushes, batches: &[u64], ms: u64) -> Option<u64> {
        let node = NodeInfo { id: "edge".to_owned(), ..NodeInfo::default() };
        pushes.acked(&node, ResourceType::Endpoint, "v".to_owned(), batches, at(ms))?.decision
    }

    fn decided() -> [Record; 1] {
        [Record { kind: "planChanged", ..Record::default() }]
    }

    #[test]
    fn an_ack_names_the_newest_decision_that_it_carried() {
        let mut pushes = Pushes::default();
        pushes.push(1, at(0));
        assert_eq!(acked(&mut pushes, &[1], 5), None, "nothing was decided with it");
        pushes.decide(&decided(), 7, at(10));
        pushes.push(2, at(10));
        pushes.decide(&[Record { kind: "endpointChanged", ..Record::default() }], 8, at(20));
        pushes.push(3, at(20));
        pushes.decide(&decided(), 9, at(30));
        pushes.push(4, at(30));
        assert_eq!(acked(&mut pushes, &[2], 31), Some(7));
        assert_eq!(acked(&mut pushes, &[3], 32), Some(7), "what follows a decision belongs to it");
        assert_eq!(acked(&mut pushes, &[2, 3, 4], 33), Some(9));
        assert_eq!(acked(&mut pushes, &[5], 34), None);
        assert_eq!(acked(&mut pushes, &[4], 31_000), None, "that long says nothing of the push");
    }

    #[test]
    fn there_are_limits() {
        let mut pushes = Pushes::default();
        pushes.decide(&decided(), 1, at(0));
        (1..=2000).for_each(|batch| pushes.push(batch, at(0)));
        assert_eq!(pushes.waiting.len(), MAX_BATCHES);
        let told = (0..200).filter(|_| acked(&mut pushes, &[2000], 10).is_some()).count();
        assert_eq!(told, 100);
        assert_eq!(acked(&mut pushes, &[2000], 2000), Some(1));
    }
}
