//! Which gateway took in which decision, and when: from the batches of changes that pushes carried to records of the timeline. Pure.
//!
//! A batch of changes counts as a decision's when plans, shifts or drills changed with it, or when it follows so soon that a large
//! fleet's gateways are still told service by service. What changes later, as the health of an endpoint, has nothing to do with it. A gateway tells that it has a batch by the ACK of the response that carried
//! it; one that subscribes to nothing of it is not told of it, and says nothing.

use crate::timeline::Record;
use std::{collections::VecDeque, time::Duration};
use tidegate_model::Time;
use tidegate_xds::{NodeInfo, ResourceType};

/// An ACK that comes later than this after its batch says that a gateway was away or overloaded, not how long a push takes. A large
/// fleet's gateways are told of a decision within it, too.
const LATEST: Duration = Duration::from_secs(30);
/// What gateways are told service by service comes 10 ms apart ([`crate::pacing::EVERY`]), or somewhat later on a busy machine. After a
/// longer pause it is something else that they are told.
const FOLLOWS_WITHIN: Duration = Duration::from_millis(100);
/// Batches whose ACKs are awaited; of more, the oldest are forgotten.
const MAX_BATCHES: usize = 1024;
/// So many records are written in a second; more would push the decisions themselves out of the timeline.
const MAX_RECORDS: u32 = 100;

/// What gateways are to take in.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    waiting: VecDeque<Push>,
    /// The last decision, as long as gateways are told of it.
    decided: Option<Decided>,
    /// Since when records are counted, and how many there were.
    counted: (Time, u32),
}

#[derive(Clone, Copy, Debug)]
struct Decided {
    /// Its record's number.
    number: u64,
    at: Time,
    /// When gateways were told something of it last.
    told: Time,
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
            self.decided = Some(Decided { number: last, at: now, told: now });
        }
    }

    /// Takes in that a batch was handed to the gateways.
    pub(crate) fn push(&mut self, batch: u64, now: Time) {
        let is_told = |it: &Decided| now.since(it.told) <= FOLLOWS_WITHIN && now.since(it.at) < LATEST;
        self.decided = self.decided.filter(is_told).map(|it| Decided { told: now, ..it });
        let Some(Decided { number: decision, at: decided, .. }) = self.decided else { return };
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
    fn what_changes_long_after_a_decision_is_none_of_its() {
        let mut pushes = Pushes::default();
        pushes.decide(&decided(), 7, at(0));
        pushes.push(1, at(0));
        pushes.push(2, at(90));
        pushes.push(3, at(180));
        assert_eq!(acked(&mut pushes, &[3], 190), Some(7), "one after the other");
        pushes.decide(&[Record { kind: "endpointChanged", ..Record::default() }], 8, at(7070));
        pushes.push(4, at(7070));
        assert_eq!(acked(&mut pushes, &[4], 7071), None, "it did not take 7 s: it was not told before");
        pushes.push(5, at(7080));
        assert_eq!(acked(&mut pushes, &[5], 7081), None);
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
