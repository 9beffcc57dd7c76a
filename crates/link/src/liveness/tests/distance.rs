//! A peer that dies and a way that becomes longer, over all phases of beats and reports: the one is seen within 300 ms and a
//! round trip, the other is not taken for it.

use super::*;

/// What happens to the way between us and the peer.
#[derive(Clone, Copy)]
enum Happens {
    Death,
    /// What passes the middle of the way later is so much later, ms.
    Longer(u64),
}

/// When it happens, ms.
const AT: u64 = 1200;
/// A request is sent so often, ms; an Envoy reports so often, ms, or is a little late each time.
const REQUESTS: usize = 40;
const REPORTS: u64 = 100;
const LATE_REPORTS: u64 = 103;

/// One run: how far the peer is there and back, and how much later than full hundreds beats and reports are.
struct Run {
    rtt: u64,
    beats: u64,
    reports: u64,
    /// From one report to the next, ms.
    interval: u64,
    happens: Happens,
}

impl Run {
    /// When what is sent now is answered; never if the peer is dead when it comes.
    fn answered(&self, sent: u64) -> Option<u64> {
        match self.happens {
            _ if sent + self.rtt / 2 < AT => Some(sent + self.rtt),
            Happens::Death => None,
            Happens::Longer(by) => Some(sent + self.rtt + by),
        }
    }

    /// What an Envoy says of the window that ends now. Requests stay open until they are answered.
    fn report(&self, now: u64) -> Traffic {
        let began = now - self.interval;
        let mut traffic = Traffic { window: Duration::from_millis(self.interval), ..Traffic::default() };
        for sent in (0..now).step_by(REQUESTS) {
            let answer = self.answered(sent);
            let (open, answered) =
                (answer.is_none_or(|at| at > now), answer.is_some_and(|at| at > began && at <= now));
            traffic.attempts += u64::from(sent >= began || open);
            traffic.open += u64::from(open);
            traffic.successes += u64::from(answered);
        }
        traffic
    }

    /// How long after it happened the peer was given up by what requests say, and why.
    fn given_up(&self) -> Option<(u64, Why)> {
        let (name, address, edge) = (peer("west"), gateway(10), Arc::from("edge"));
        let mut core = Liveness::new();
        core.set_peers(&PeerAddresses::from([(name.clone(), vec![address])]), Time::ZERO);
        for now in 0..AT + 850 {
            let at = Time::from_millis(now);
            // One ms of slack: what comes with the deadline comes before it.
            if core.poll_timeout().is_some_and(|(due, _)| due < at) {
                core.tick(at);
            }
            let sent = (self.beats..=now).step_by(100).find(|sent| self.answered(*sent) == Some(now));
            if let Some(sent) = sent {
                let rtt = Some(Duration::from_millis(now - sent));
                core.handle_beat(&name, address, Echo { boot: PeerBoot(1), falls: 0, rtt }, at);
            }
            if now >= self.interval && now % self.interval == self.reports {
                let report = BTreeMap::from([(name.clone(), self.report(now))]);
                core.handle_report(&edge, &report, at, at);
            }
            while let Some(output) = core.poll_output() {
                if let Output::Peer(_, PeerEvent::Unreachable { why }) = output {
                    return now.checked_sub(AT).map(|after| (after, why));
                }
            }
        }
        None
    }
}

/// All phases of beats and reports, in steps of 10 ms.
fn phases(rtt: u64, interval: u64, happens: Happens) -> impl Iterator<Item = Run> {
    let all =
        (0..100).step_by(10).flat_map(|beats| (0..100).step_by(10).map(move |reports| (beats, reports)));
    all.map(move |(beats, reports)| Run { rtt, beats, reports, interval, happens })
}

#[test]
fn a_death_is_seen_within_300_ms_and_a_round_trip_where_requests_go() {
    let ways = [0, 2, 10, 18, 20, 80, 300];
    for (rtt, interval) in ways.into_iter().flat_map(|rtt| [(rtt, REPORTS), (rtt, LATE_REPORTS)]) {
        for run in phases(rtt, interval, Happens::Death) {
            let (after, why) = run.given_up().unwrap();
            assert_eq!(why, Why::Corroborated, "{rtt} {} {}", run.beats, run.reports);
            // One ms by the grain of this test.
            assert!(after <= 301 + rtt, "{rtt} {interval} {} {}: {after}", run.beats, run.reports);
        }
    }
}

#[test]
fn a_way_that_becomes_200_ms_longer_at_once_is_no_death() {
    // On a way of less than 40 ms a step of 200 ms is a death in some phases; one of 190 ms is not.
    for (rtt, by) in [(40, 100), (40, 200), (150, 100), (150, 200), (0, 190), (10, 190)] {
        for run in phases(rtt, REPORTS, Happens::Longer(by)) {
            assert_eq!(run.given_up(), None, "{rtt} {by} {} {}", run.beats, run.reports);
        }
    }
}
