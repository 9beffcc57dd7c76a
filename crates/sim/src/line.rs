//! What a line that loses packets does to a TCP connection that carries one small message every now and then, and its
//! answer: what is lost stalls all that follows until it has come through at another try.
//!
//! A model of what Linux does. A later message that comes through, and whose acknowledgement comes back, has everything
//! before it that is missing sent again (RACK, RFC 8985). If nothing of that kind happens, the oldest one is sent again
//! after 200 ms, then after twice as long each time (RFC 6298, with the least wait of Linux). Not modelled: that the rate
//! of a lossy connection is throttled, which needs more data than a message every 100 ms; new connections beside a
//! stalled one, which would only help.

use crate::random::Random;
use std::{collections::BTreeSet, time::Duration};
use tidegate_model::Time;

/// Linux waits at least so long for an acknowledgement.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// It doubles the wait this often at most: a line that was silent for longer is given up by those who use it.
const DOUBLINGS: u32 = 5;

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
struct Way {
    sent: u64,
    /// What was sent and has not come through.
    missing: BTreeSet<u64>,
    /// When the oldest of them is tried again by time alone, and how often it was.
    again: Option<(Time, u32)>,
}

impl Way {
    /// A message is sent, unless there is none; `passes` draws whether a packet comes through. Gives whether anything
    /// new can be read at the other end, which is read in order.
    fn step(&mut self, is_message: bool, now: Time, passes: &mut impl FnMut() -> bool) -> bool {
        let read_before = self.read();
        let mut is_told = false;
        if is_message {
            self.sent += 1;
            if passes() {
                is_told = passes();
            } else {
                self.missing.insert(self.sent);
            }
        }
        if is_told {
            self.missing.retain(|_| !passes());
            self.again = None;
        }
        let Some(oldest) = self.missing.first().copied() else {
            self.again = None;
            return self.read() > read_before;
        };
        let (at, times) = *self.again.get_or_insert((now + FIRST_WAIT, 0));
        if at <= now {
            if passes() {
                self.missing.remove(&oldest);
                self.again = None;
            } else {
                let times = (times + 1).min(DOUBLINGS);
                self.again = Some((now + FIRST_WAIT * 2_u32.pow(times), times));
            }
        }
        self.read() > read_before
    }

    /// The last message that could be read.
    fn read(&self) -> u64 {
        self.missing.first().map_or(self.sent, |oldest| oldest - 1)
    }
}

/// A connection: messages there, an answer to each that was read back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    there: Way,
    back: Way,
}

impl Line {
    /// A message is sent, unless there is none. `lost` is the part of packets that is lost, each way. Gives whether an
    /// answer came that was not there before.
    pub(crate) fn step(&mut self, is_message: bool, lost: f64, luck: &mut Random, now: Time) -> bool {
        // 2^32 draws: one that is below the part is lost.
        let mut passes = || lost <= 0.0 || f64::from(luck.next_u32()) >= lost * 4_294_967_296.0;
        let arrived = self.there.step(is_message, now, &mut passes);
        self.back.step(arrived, now, &mut passes)
    }

    /// Whether an answer is being waited for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.there.missing.is_empty() || !self.back.missing.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, iter, net::SocketAddr, sync::Arc};
    use tidegate_link::{BEAT_INTERVAL, Echo, Liveness, Output, PeerEvent, Traffic};
    use tidegate_model::{ClusterName, PeerBoot};

    /// Envoys are asked to report so often (`asked` in the crate `agent`).
    const REPORT_INTERVAL: Duration = Duration::from_millis(96);
    const HOUR: Duration = Duration::from_secs(3600);
    /// Each hour begins without loss, so that it also has the moments in which the loss is not known yet.
    const WELL: Duration = Duration::from_secs(60);

    /// An observer of one peer over one line, at default settings.
    struct Observer {
        core: Liveness,
        luck: Random,
        peer: ClusterName,
        address: SocketAddr,
        beats: Line,
        requests: Line,
        now: Time,
        next_beat: Time,
    }

    impl Observer {
        fn new(seed: u64) -> Self {
            let (peer, address): (ClusterName, _) = ("west".parse().unwrap(), ([10, 0, 0, 1], 1).into());
            let mut core = Liveness::new();
            core.set_peers(&BTreeMap::from([(peer.clone(), vec![address])]), Time::ZERO);
            let (beats, requests) = Default::default();
            let (now, next_beat) = (Time::ZERO, Time::ZERO + BEAT_INTERVAL);
            Self { core, luck: Random::new(seed), peer, address, beats, requests, now, next_beat }
        }

        fn wait_until(&mut self, end: Time) {
            while let Some((at, _)) = self.core.poll_timeout().filter(|(at, _)| *at <= end) {
                self.core.tick(at);
            }
            self.now = end;
        }

        /// One interval of load reports, with the beats in it. Gives how often the peer became unreachable.
        fn step(&mut self, is_asked: bool, lost: f64) -> usize {
            let end = self.now + REPORT_INTERVAL;
            while self.next_beat <= end {
                let at = self.next_beat;
                self.wait_until(at);
                if self.beats.step(true, lost, &mut self.luck, at) {
                    let echo = Echo { boot: PeerBoot(1), falls: 0, rtt: None };
                    self.core.handle_beat(&self.peer, self.address, echo, at);
                }
                self.next_beat = at + BEAT_INTERVAL;
            }
            self.wait_until(end);
            let answered = self.requests.step(is_asked, lost, &mut self.luck, end);
            let open = u64::from(self.requests.is_waiting());
            let traffic = Traffic {
                window: REPORT_INTERVAL,
                attempts: u64::from(is_asked).max(open),
                open,
                successes: u64::from(answered),
            };
            let report = BTreeMap::from([(self.peer.clone(), traffic)]);
            self.core.handle_report(&Arc::from("edge"), &report, end, end);
            let told = iter::from_fn(|| self.core.poll_output());
            told.filter(|it| matches!(it, Output::Peer(_, PeerEvent::Unreachable { .. }))).count()
        }
    }

    /// How often a peer that is well is called unreachable in each of so many hours in which so many of a hundred packets
    /// are lost. A request is sent in one of `every` intervals.
    fn wrong_in_each_hour(hours: u32, lost_percent: u32, every: u64, seed: u64) -> Vec<usize> {
        let mut observer = Observer::new(seed);
        let hour = |_| {
            let (begin, mut wrong, mut steps) = (observer.now, 0, 0_u64);
            while observer.now < begin + HOUR {
                let lost =
                    if observer.now.since(begin) >= WELL { f64::from(lost_percent) / 100.0 } else { 0.0 };
                wrong += observer.step(steps.is_multiple_of(every), lost);
                steps += 1;
            }
            wrong
        };
        (0..hours).map(hour).collect()
    }

    #[test]
    fn a_line_without_loss_answers_every_message_at_once() {
        assert_eq!(wrong_in_each_hour(1, 0, 1, 1), [0]);
        let (mut line, mut luck) = (Line::default(), Random::new(1));
        assert!((0..1000).all(|ms| line.step(true, 0.0, &mut luck, Time::from_millis(ms * 100))));
        assert!(!line.is_waiting());
        assert!((0..1000).all(|ms| !line.step(true, 1.0, &mut luck, Time::from_millis(100_000 + ms * 100))));
        assert!(line.is_waiting());
    }

    #[test]
    fn with_a_fifth_of_all_packets_lost_a_peer_that_is_well_is_left_at_most_once_an_hour() {
        for (seed, every) in [(1, 1), (2, 2), (3, 4), (4, 20)] {
            let hours = wrong_in_each_hour(12, 20, every, seed);
            println!("20 %, a request in one of {every} intervals: {hours:?}");
            assert!(hours.iter().all(|wrong| *wrong <= 1), "seed {seed}: {hours:?}");
        }
    }

    #[test]
    fn less_loss_makes_no_more_wrong_moves() {
        for lost in [1, 2, 5, 10] {
            let hours = wrong_in_each_hour(6, lost, 2, u64::from(lost));
            println!("{lost} %: {hours:?}");
            assert!(hours.iter().all(|wrong| *wrong <= 1), "{lost} %: {hours:?}");
        }
    }
}
