//! One peer: the verdict over all its links.

use super::{
    AGENT_SILENT_AFTER, BEAT_INTERVAL, EXCUSED_RESTARTS, LATE_DOUBTS, LATE_FOR, LATE_ROUGH, MOST_PATIENCE,
    PeerEvent, QUICK_RETURN_WITHIN, ROUGH_UNREACHABLE_AFTER, RTT_TOLD_EVERY, SUSPECT_AFTER,
    UNREACHABLE_AFTER, VERDICT_TAKES, Wake,
    evidence::{Evidence, Traffic},
    link::Link,
    view::{PeerView, Reach, Why},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, PeerBoot, Time};

/// Lives of a peer's agents that are remembered: its replicas, and the ones before a restart.
const LIVES: usize = 8;

/// One life of an agent of the peer, as its beats told it.
#[derive(Debug)]
struct Life {
    boot: PeerBoot,
    falls: u64,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) links: BTreeMap<SocketAddr, Link>,
    reach: Reach,
    reach_since: Time,
    /// Since when it is silent: the last answer, or later where our own absence was excused.
    silent_from: Time,
    /// The same for beats alone: a gateway may answer while the agent behind it does not.
    beatless_from: Time,
    /// How often this silence was counted anew because we were away.
    restarts: u8,
    /// The last sign of life that counted as contact. Unlike `silent_from` it is never moved.
    last_contact: Option<Time>,
    agent_down: bool,
    /// The newest last.
    lives: Vec<Life>,
    evidence: Evidence,
    /// When beats came that were late, one entry for each of them, the newest last.
    late: VecDeque<Time>,
    rtt_told: Option<Time>,
}

impl Peer {
    pub(super) fn new(now: Time) -> Self {
        Self {
            links: BTreeMap::new(),
            reach: Reach::Unheard,
            reach_since: now,
            silent_from: now,
            beatless_from: now,
            restarts: 0,
            last_contact: None,
            agent_down: false,
            lives: Vec::new(),
            evidence: Evidence::default(),
            late: VecDeque::new(),
            rtt_told: None,
        }
    }

    fn turn(&mut self, reach: Reach, now: Time) {
        self.reach = reach;
        self.reach_since = now;
    }

    /// Its gateways answer, or did until a moment ago; whether its agent was ever heard is another matter.
    const fn is_in_contact(&self) -> bool {
        matches!(self.reach, Reach::Reachable | Reach::Suspect) || self.is_answered_for()
    }

    /// Only its gateways were heard yet, in place of its agent.
    const fn is_answered_for(&self) -> bool {
        matches!(self.reach, Reach::Unheard) && self.last_contact.is_some()
    }

    /// Since when a peer that is in contact has been silent; nothing of one that is not.
    pub(super) fn silence_began(&self) -> Option<Time> {
        self.is_in_contact().then_some(self.silent_from)
    }

    fn contact(&mut self, now: Time, out: &mut Vec<PeerEvent>) {
        if self.last_contact.is_some() {
            self.note_late(now.since(self.silent_from), now);
        }
        self.last_contact = Some(now);
        self.silent_from = now;
        self.restarts = 0;
        if self.reach == Reach::Suspect {
            self.turn(Reach::Reachable, now);
            out.push(PeerEvent::Cleared);
        }
    }

    /// How many beats were late before the silence, as far as that counts.
    fn late_beats(&self) -> usize {
        self.late.iter().filter(|at| self.silent_from.since(**at) <= LATE_FOR).count()
    }

    fn is_rough(&self) -> bool {
        self.late_beats() >= LATE_ROUGH
    }

    /// The silence that makes it unreachable, whatever else is known.
    fn patience(&self) -> Duration {
        if self.is_rough() { ROUGH_UNREACHABLE_AFTER } else { UNREACHABLE_AFTER }
    }

    /// The silence that makes it unreachable when data traffic says the same. A death is to be seen within 300 ms and a round
    /// trip. The last answer took half of that to come; what is left of the other half is patience with a way that
    /// became longer. It is the shortest round trip that was measured: queues buy no time.
    fn corroborated_after(&self) -> Duration {
        let distance = self.links.values().filter_map(|link| link.rtt).map(|rtt| rtt.min).min();
        let left = (distance.unwrap_or_default() / 2).saturating_sub(VERDICT_TAKES).min(MOST_PATIENCE);
        SUSPECT_AFTER + left
    }

    /// Something came after `silence`: notes the beats that should have come before it. One silence alone, which may be a
    /// fault that was mended, makes no rough line.
    fn note_late(&mut self, silence: Duration, now: Time) {
        let missed = (silence.as_millis() / BEAT_INTERVAL.as_millis()).saturating_sub(1);
        for _ in 0..missed.min(LATE_ROUGH as u128 - 1) {
            if self.late.len() == LATE_ROUGH {
                self.late.pop_front();
            }
            self.late.push_back(now);
        }
    }

    /// Its agent was heard.
    pub(super) fn beat(&mut self, boot: PeerBoot, falls: u64, now: Time, out: &mut Vec<PeerEvent>) {
        let first = self.lives.is_empty();
        let life = self.lives.iter().find(|life| life.boot == boot);
        match self.reach {
            Reach::Unheard | Reach::Unreachable(_) => {
                let recent = self.last_contact.is_some_and(|at| now.since(at) <= QUICK_RETURN_WITHIN);
                let quick = recent && life.is_some_and(|life| life.falls == falls);
                self.turn(Reach::Reachable, now);
                out.push(PeerEvent::Reachable { quick, first });
            }
            Reach::Reachable | Reach::Suspect => {
                if life.is_none() {
                    out.push(PeerEvent::Restarted);
                }
            }
        }
        self.contact(now, out);
        self.beatless_from = now;
        if self.agent_down {
            self.agent_down = false;
            out.push(PeerEvent::AgentBack);
        }
        self.lives.retain(|life| life.boot != boot);
        if self.lives.len() == LIVES {
            self.lives.remove(0);
        }
        self.lives.push(Life { boot, falls });
    }

    /// A gateway answered in place of the agent. That keeps a peer from being given up, also one that was not heard yet: that
    /// we are new says nothing of it. It brings none back: what the peer has to offer only its agent can say.
    pub(super) fn answer(&mut self, now: Time, out: &mut Vec<PeerEvent>) {
        if !matches!(self.reach, Reach::Unreachable(_)) {
            self.contact(now, out);
        }
    }

    pub(super) fn traffic(&mut self, by: &Arc<str>, traffic: Traffic, at: Time) {
        self.evidence.report(by, traffic, self.silent_from, at);
    }

    /// We were away for `lateness` until now: that time is no silence of theirs. An absence in which
    /// beats were missed for certain starts the count anew, but only so often in one silence: an
    /// observer that is always late must come to a verdict too.
    pub(super) fn excuse(&mut self, lateness: Duration, now: Time) {
        let anew = lateness >= SUSPECT_AFTER && self.restarts < EXCUSED_RESTARTS;
        self.restarts += u8::from(anew);
        for from in [&mut self.silent_from, &mut self.beatless_from] {
            *from = if anew { now } else { now.min(*from + lateness) };
        }
    }

    /// What follows from the time that has passed. `fell_together` says whether those who fell silent
    /// with this peer are so many that we had better doubt ourselves.
    pub(super) fn evaluate(
        &mut self,
        now: Time,
        fell_together: impl FnOnce(Time) -> bool,
        out: &mut Vec<PeerEvent>,
    ) {
        let silence = now.since(self.silent_from);
        if self.reach == Reach::Reachable && silence >= SUSPECT_AFTER {
            self.turn(Reach::Suspect, now);
            out.push(PeerEvent::Suspect);
        }
        let is_answering =
            self.reach == Reach::Reachable || (self.is_answered_for() && silence < SUSPECT_AFTER);
        if is_answering && !self.agent_down && now.since(self.beatless_from) >= AGENT_SILENT_AFTER {
            self.agent_down = true;
            out.push(PeerEvent::AgentDown);
        }
        let Some(why) = self.given_up(silence, fell_together) else { return };
        self.turn(Reach::Unreachable(why), now);
        self.agent_down = false;
        out.push(PeerEvent::Unreachable { why });
    }

    /// Why it is to be given up after this silence, if it is.
    fn given_up(&self, silence: Duration, fell_together: impl FnOnce(Time) -> bool) -> Option<Why> {
        if !self.is_in_contact() {
            return (self.reach == Reach::Unheard && silence >= UNREACHABLE_AFTER).then_some(Why::NeverHeard);
        }
        if silence >= self.patience() {
            return Some(if self.is_rough() { Why::SilentForLong } else { Why::Silent });
        }
        let is_corroborated = silence >= self.corroborated_after()
            && self.late_beats() < LATE_DOUBTS
            && self.evidence.corroborates(self.silent_from)
            && !fell_together(self.silent_from);
        is_corroborated.then_some(Why::Corroborated)
    }

    /// The moments after `evaluated` at which time alone may change the verdict.
    pub(super) fn wakes(&self, evaluated: Time) -> impl Iterator<Item = (Time, Wake)> {
        let given_up = || Some(self.silent_from + self.patience());
        let corroborated = || Some(self.silent_from + self.corroborated_after());
        // That an agent is down is told once.
        let beatless = (!self.agent_down).then(|| self.beatless_from + AGENT_SILENT_AFTER);
        let (suspect, out, beatless) = match self.reach {
            Reach::Unreachable(_) => (None, None, None),
            Reach::Suspect => (corroborated(), given_up(), None),
            Reach::Unheard if !self.is_answered_for() => (None, given_up(), None),
            // One that was not heard becomes no suspect, but what traffic says of it counts from there on.
            Reach::Unheard => (corroborated(), given_up(), beatless),
            Reach::Reachable => (Some(self.silent_from + SUSPECT_AFTER), None, beatless),
        };
        [(suspect, Wake::Suspect), (out, Wake::Unreachable), (beatless, Wake::AgentSilent)]
            .into_iter()
            .filter_map(|(at, wake)| Some((at?, wake)))
            .filter(move |(at, _)| *at > evaluated)
    }

    /// The round trip of its nearest beating link, once in a while.
    pub(super) fn rtt_news(&mut self, now: Time) -> Option<PeerEvent> {
        if self.rtt_told.is_some_and(|told| now.since(told) < RTT_TOLD_EVERY) {
            return None;
        }
        let nearest = self
            .links
            .values()
            .filter(|link| link.is_beating(now))
            .filter_map(|link| link.rtt)
            .min_by_key(|rtt| rtt.smoothed)?;
        self.rtt_told = Some(now);
        Some(PeerEvent::Rtt(nearest))
    }

    pub(super) fn view(&self, cluster: &ClusterName, now: Time) -> PeerView {
        PeerView {
            cluster: cluster.clone(),
            reach: self.reach,
            reach_age: now.since(self.reach_since),
            agent_down: self.agent_down,
            boot: self.lives.last().map(|life| life.boot),
            heard_ago: self.last_contact.map(|at| now.since(at)),
            links: self.links.iter().map(|(address, link)| link.view(*address, now)).collect(),
        }
    }
}
