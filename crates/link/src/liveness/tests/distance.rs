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
/// A request is sent so often, ms: now and then, or so densely that a window has none without an answer but after a fault.
const SPARSE: usize = 40;
const DENSE: usize = 4;
/// An Envoy is asked to report so often, ms, and is at most so much later, its report's way to us included.
const REPORTS: u64 = 96;
const LATE: u64 = 4;

/// One run: how far the peer is there and back, how much later than full hundreds beats are and than full windows reports, how
/// often requests are sent, and how long windows are.
struct Run {
    rtt: u64,
    beats: u64,
    reports: u64,
    requests: usize,
    window: u64,
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
        let began = now - self.window;
        let mut traffic = Traffic { window: Duration::from_millis(self.window), ..Traffic::default() };
        for sent in (0..now).step_by(self.requests) {
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
            let sent = (self.beats..now).step_by(100).find(|sent| self.answered(*sent) == Some(now));
            if let Some(sent) = sent {
                let rtt = Some(Duration::from_millis(now - sent));
                core.handle_beat(&name, address, Echo { boot: PeerBoot(1), falls: 0, rtt }, at);
            }
            if now >= self.window && now % self.window == self.reports {
                let report = BTreeMap::from([(name.clone(), self.report(now))]);
                core.handle_report(&edge, &report, at, at);
            }
            while let Some(output) = core.poll_output() {
                if let Output::Peer(_, PeerEvent::Unreachable { why }) = output {
                    return Some((now - AT, why));
                }
            }
        }
        None
    }
}

/// All phases of beats and reports, in steps of 10 and 3 ms.
fn phases(rtt: u64, (requests, window): (usize, u64), happens: Happens) -> impl Iterator<Item = Run> {
    let all =
        (0..100).step_by(10).flat_map(|beats| (0..REPORTS).step_by(3).map(move |reports| (beats, reports)));
    all.map(move |(beats, reports)| Run { rtt, beats, reports, requests, window, happens })
}

/// How often requests are sent and how long windows are, where Envoys are in time and where they are late.
fn paces() -> impl Iterator<Item = (usize, u64)> {
    [SPARSE, DENSE]
        .into_iter()
        .flat_map(|requests| [REPORTS, REPORTS + LATE].map(|window| (requests, window)))
}

#[test]
fn a_death_is_seen_within_300_ms_and_a_round_trip_where_requests_go() {
    for (rtt, pace) in
        [1, 4, 10, 20, 80, 300].into_iter().flat_map(|rtt| paces().map(move |pace| (rtt, pace)))
    {
        for run in phases(rtt, pace, Happens::Death) {
            let (after, why) = run.given_up().unwrap();
            assert_eq!(why, Why::Corroborated, "{rtt} {pace:?} {} {}", run.beats, run.reports);
            // One ms by the grain of this test.
            assert!(after <= 301 + rtt, "{rtt} {pace:?} {} {}: {after}", run.beats, run.reports);
        }
    }
}

#[test]
fn a_way_that_becomes_200_ms_longer_at_once_is_no_death() {
    for (rtt, pace) in [40, 150].into_iter().flat_map(|rtt| paces().map(move |pace| (rtt, pace))) {
        for by in [100, 200] {
            for run in phases(rtt, pace, Happens::Longer(by)) {
                assert_eq!(run.given_up(), None, "{rtt} {by} {pace:?} {} {}", run.beats, run.reports);
            }
        }
    }
}
