//! Who can be reached from here. Pure: no sockets, no clock, no randomness.
//!
//! Each peer is a cluster with a link for each of its gateway addresses. The shell tells what it hears
//! through the links ([`Liveness::handle_beat`], [`Liveness::handle_answer`],
//! [`Liveness::handle_failure`]), what the data traffic says ([`Liveness::handle_traffic`]), and calls
//! [`Liveness::tick`] when [`Liveness::poll_timeout`] says so; it carries out what
//! [`Liveness::poll_output`] returns.
//!
//! # The rules (DESIGN section 5)
//! - *Silence* is the time without a response of any kind through any gateway of the peer. A refused or
//!   reset connection is no response. An error that a gateway answers *is* one: the gateway lives, and
//!   with it the way to the peer's services. Then only the agent is down: the peer stays reachable, with
//!   its last known status, for as long as a gateway answers.
//! - After 300 ms of silence the peer is *suspect*. It becomes *unreachable* when data traffic
//!   corroborates it (see [`Traffic`]), or after 0.9 s. On a way of more than 20 ms there and back, traffic is believed only after
//!   300 ms and half of that way less 10 ms, 400 ms at most: a death is still seen within 300 ms and a round trip.
//! - Where packets are lost, a beat that waits for a lost one is late, and requests wait in the same way. So data traffic
//!   is not believed if two beats were missing when they were due in the 10 s before the silence; and if five were, the
//!   line is *rough*: there a silence counts only after 2.5 s.
//! - A peer of which nothing was ever heard has a grace of 0.9 s. That we are new says nothing of it: while its gateways answer
//!   in place of its agent it is not given up, and what was known of it before stands. When they fall silent it is judged as
//!   any other, but for the word *suspect*.
//! - Only a beat makes a peer reachable, first or again.
//! - It is back *quickly* if it returns within 5 s of the last contact, in the same life, and says that
//!   none of its admits fell meanwhile.
//!
//! # Doubting ourselves
//! - If our own loop was late by more than 50 ms, that time is not counted as silence, and no verdict gets
//!   worse for one beat interval, so that what waits in the sockets is read first. If it was so late that
//!   beats were missed for certain (300 ms), silence is counted anew from the moment of waking, at
//!   most three times in one silence. So a verdict comes at the latest after 4 s of being awake.
//! - If at least two peers, and at least half of those in contact, fell silent together, it may be our own
//!   network: corroboration is not believed then, because our data traffic would fail in the same way. The
//!   doubt ends with the second after which each peer is judged alone, or a real double loss would never be declared.
//!   With one peer, or one of two, nobody can be told apart from us by counting, so there is no such doubt.

mod evidence;
mod link;
mod peer;
mod view;

#[cfg(test)]
mod tests;

pub use evidence::Traffic;
pub use view::{LinkFailure, LinkState, LinkView, PeerView, Reach, Why};

use crate::{PeerAddresses, RoundTrip};
use peer::Peer;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tidegate_model::{ClusterName, PeerBoot, Time};

/// How often a beat is sent. Three may be lost before anyone is suspected; a hundred links
/// cost a thousand small messages a second.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(100);
/// Silence after which a peer is suspect: three beats. A way that becomes 200 ms longer is silent for just that long: with 290 ms
/// such a step was taken for a death.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(300);
/// Of the half round trip by which a silence may be longer ([`SUSPECT_AFTER`]) before data traffic is believed, so much is kept
/// for the report that comes last, and for the verdict itself.
const VERDICT_TAKES: Duration = Duration::from_millis(10);
/// The most patience that a long way buys: one more beat. Across the world a round trip takes 300 ms.
const MOST_PATIENCE: Duration = BEAT_INTERVAL;
/// Silence after which a peer is unreachable, whatever else is known. A dead region is to be declared within 1 s of
/// its death: the last beat may have come just then, and a verdict of a busy machine comes late.
pub const UNREACHABLE_AFTER: Duration = Duration::from_millis(900);
/// The same on a rough line. With a fifth of all packets lost, a beat waits longer than this about once in ten hours, and
/// longer than 0.9 s every other minute.
pub const ROUGH_UNREACHABLE_AFTER: Duration = Duration::from_millis(2500);
/// Beats that were missing when they were due count for so long.
const LATE_FOR: Duration = Duration::from_secs(10);
/// From so many of them on, data traffic is not believed to be unanswered for good. One may be the machine's.
const LATE_DOUBTS: usize = 2;
/// From so many of them on a line is rough. With a fifth of all packets lost there are as many in three seconds; a busy
/// machine alone makes fewer.
const LATE_ROUGH: usize = 5;
/// Lateness of our own loop from which on we doubt ourselves: a scheduler's hiccup is shorter.
pub const SELF_DOUBT_AFTER: Duration = Duration::from_millis(50);
/// A peer that returns within this of the last contact may be restored without hold-down.
pub const QUICK_RETURN_WITHIN: Duration = Duration::from_secs(5);

/// Beatless time, while gateways answer, after which the agent counts as down.
const AGENT_SILENT_AFTER: Duration = SUSPECT_AFTER;
/// The loop wakes at least this often, so that its own absence shows.
const PULSE: Duration = Duration::from_millis(50);
/// How often one silence is counted anew because we were away.
const EXCUSED_RESTARTS: u8 = 3;
/// A peer counts as quiet in the count of those who fell together from two missed beats on: when the first
/// of them is suspect, the last of them has missed as many.
const QUIET_AFTER: Duration = Duration::from_millis(200);
/// Peers fell silent together if it happened within this: a beat interval, and the difference of two round trips.
const TOGETHER_WITHIN: Duration = Duration::from_millis(250);
/// How often a round trip is told.
const RTT_TOLD_EVERY: Duration = Duration::from_secs(1);

/// What happened to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// It is heard, for the first time or again after it was unreachable.
    Reachable {
        /// It was merely out of reach: the same life, back within 5 s, and none of its admits fell. It may be
        /// restored without hold-down and counts as no relapse.
        quick: bool,
        /// It was never heard before; there is nothing to fail back from.
        first: bool,
    },
    /// All its gateways have been silent for 300 ms.
    Suspect,
    /// It is heard again before it became unreachable.
    Cleared,
    /// It cannot be reached from here. It may still be well.
    Unreachable {
        /// By which rule.
        why: Why,
    },
    /// Its gateways answer, its agent does not: its status is the last one known, perhaps from before we started.
    AgentDown,
    /// Its agent is heard again behind the gateways that answered all the time.
    AgentBack,
    /// Its agent started anew while it was in contact.
    Restarted,
    /// The round trip of the nearest link, once a second.
    Rtt(RoundTrip),
}

/// What the core tells its shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Something happened to a peer.
    Peer(ClusterName, PeerEvent),
    /// A link changed its state.
    Link(ClusterName, SocketAddr, LinkState, Option<RoundTrip>),
}

/// Why the core wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// To notice whether our own loop is late.
    Pulse,
    /// A silence makes a peer suspect.
    Suspect,
    /// A silence makes a peer unreachable.
    Unreachable,
    /// An agent has been silent behind its gateways.
    AgentSilent,
    /// We stop doubting ourselves.
    Trust,
}

/// A beat that answered ours: it proves both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The life of the peer's agent.
    pub boot: PeerBoot,
    /// How often one of its admits has fallen in this life.
    pub falls: u64,
    /// How long the echo took, if that could be measured.
    pub rtt: Option<Duration>,
}

/// Who can be reached from here, and why not.
#[derive(Debug)]
pub struct Liveness {
    peers: BTreeMap<ClusterName, Peer>,
    /// No verdict gets worse before this.
    held_until: Time,
    pulse: Time,
    /// Up to when the verdicts were drawn: deadlines before it are spent.
    evaluated: Time,
    /// The deadline that the shell was given last.
    due: Option<(Time, Wake)>,
    outputs: VecDeque<Output>,
}

impl Liveness {
    /// Without peers.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            held_until: Time::ZERO,
            pulse: Time::ZERO,
            evaluated: Time::ZERO,
            due: None,
            outputs: VecDeque::new(),
        }
    }

    /// The peers are now these. A peer without addresses is dropped: it cannot be heard, so
    /// nothing can be said of it. Peers and links that stay keep what is known of them.
    pub fn set_peers(&mut self, peers: &PeerAddresses, now: Time) {
        self.observe_clock(now);
        let wanted = |name: &ClusterName| peers.get(name).is_some_and(|addresses| !addresses.is_empty());
        self.peers.retain(|name, _| wanted(name));
        for (name, addresses) in peers.iter().filter(|(name, _)| wanted(name)) {
            let peer = self.peers.entry(name.clone()).or_insert_with(|| Peer::new(now));
            peer.links.retain(|address, _| addresses.contains(address));
            for address in addresses {
                peer.links.entry(*address).or_default();
            }
        }
        if self.due.is_none() {
            self.pulse = now + PULSE;
        }
        self.rearm();
    }

    /// A beat of the peer came through a gateway.
    pub fn handle_beat(&mut self, name: &ClusterName, address: SocketAddr, echo: Echo, now: Time) {
        self.observe_clock(now);
        let mut events = Vec::new();
        if let Some(peer) = self.peers.get_mut(name)
            && let Some(link) = peer.links.get_mut(&address)
        {
            link.beat(echo.rtt, now);
            peer.beat(echo.boot, echo.falls, now, &mut events);
            events.extend(peer.rtt_news(now));
        }
        self.tell(name, events, now);
    }

    /// A gateway of the peer answered in place of its agent; `text` is what it said, if it said anything.
    pub fn handle_answer(
        &mut self,
        name: &ClusterName,
        address: SocketAddr,
        text: Option<String>,
        now: Time,
    ) {
        self.observe_clock(now);
        let mut events = Vec::new();
        if let Some(peer) = self.peers.get_mut(name)
            && let Some(link) = peer.links.get_mut(&address)
        {
            link.answer(text, now);
            peer.answer(now, &mut events);
        }
        self.tell(name, events, now);
    }

    /// A connection to a gateway failed. This is for display: what counts is the silence that follows.
    pub fn handle_failure(
        &mut self,
        name: &ClusterName,
        address: SocketAddr,
        failure: LinkFailure,
        now: Time,
    ) {
        self.observe_clock(now);
        if let Some(link) = self.peers.get_mut(name).and_then(|peer| peer.links.get_mut(&address)) {
            link.fail(failure, now);
        }
        self.tell(name, Vec::new(), now);
    }

    /// What one of our Envoys, `by`, reports of the data traffic to peers in a window that ended at `ended`. A peer that
    /// the report leaves out had none that it knows of.
    pub fn handle_report(
        &mut self,
        by: &Arc<str>,
        report: &BTreeMap<ClusterName, Traffic>,
        ended: Time,
        now: Time,
    ) {
        self.observe_clock(now);
        for (name, peer) in &mut self.peers {
            peer.traffic(by, report.get(name).copied().unwrap_or_default(), ended);
        }
        self.evaluate(now);
        self.rearm();
    }

    /// Time has passed. To be called at the deadline of [`Self::poll_timeout`]: being late is
    /// taken as a sign that we ourselves were away.
    pub fn tick(&mut self, now: Time) {
        self.observe_clock(now);
        self.pulse = now + PULSE;
        self.evaluate(now);
        self.rearm();
    }

    /// When [`Self::tick`] is to be called next, and why; never while there are no peers.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<(Time, Wake)> {
        self.due
    }

    /// The next thing to tell, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// All peers and links, for display.
    #[must_use]
    pub fn view(&self, now: Time) -> Vec<PeerView> {
        self.peers.iter().map(|(name, peer)| peer.view(name, now)).collect()
    }

    /// Every call comes with the time, so the first one after an absence notices it, whichever it is.
    fn observe_clock(&mut self, now: Time) {
        let Some((due, _)) = self.due else { return };
        let lateness = now.since(due);
        if lateness <= SELF_DOUBT_AFTER {
            return;
        }
        self.held_until = now + BEAT_INTERVAL;
        self.pulse = now + PULSE;
        for peer in self.peers.values_mut() {
            peer.excuse(lateness, now);
        }
        self.rearm();
    }

    fn evaluate(&mut self, now: Time) {
        if now < self.held_until {
            return;
        }
        self.evaluated = now;
        let silences: Vec<Time> = self.peers.values().filter_map(Peer::silence_began).collect();
        let fell_together = |began: Time| {
            let quiet = |other: &&Time| {
                now.since(**other) >= QUIET_AFTER
                    && other.since(began).max(began.since(**other)) <= TOGETHER_WITHIN
            };
            let quiet = silences.iter().filter(quiet).count();
            quiet >= 2 && quiet * 2 >= silences.len()
        };
        let mut events = Vec::new();
        for (name, peer) in &mut self.peers {
            peer.evaluate(now, fell_together, &mut events);
            self.outputs.extend(events.drain(..).map(|event| Output::Peer(name.clone(), event)));
            for (address, link) in &mut peer.links {
                if let Some(state) = link.news(now) {
                    self.outputs.push_back(Output::Link(name.clone(), *address, state, link.rtt));
                }
            }
        }
    }

    /// What one peer's news led to. Its links are looked at here too, so that a link that comes back is told at once. A
    /// hundred links bring a thousand beats a second, so the others' deadlines are not looked at again.
    fn tell(&mut self, name: &ClusterName, events: Vec<PeerEvent>, now: Time) {
        self.outputs.extend(events.into_iter().map(|event| Output::Peer(name.clone(), event)));
        if now >= self.held_until
            && let Some(peer) = self.peers.get_mut(name)
        {
            for (address, link) in &mut peer.links {
                if let Some(state) = link.news(now) {
                    self.outputs.push_back(Output::Link(name.clone(), *address, state, link.rtt));
                }
            }
        }
        let wakes = self.peers.get(name).into_iter().flat_map(|peer| peer.wakes(self.evaluated));
        let earliest = wakes.map(|(at, wake)| (at.max(self.held_until), wake)).min();
        self.due = self.due.map(|due| earliest.map_or(due, |earliest| due.min(earliest)));
    }

    /// A deadline that has passed without a [`Self::tick`] stays due: news of one peer must not delay another's verdict.
    fn rearm(&mut self) {
        let trust = (self.held_until > self.evaluated).then_some((self.held_until, Wake::Trust));
        let pulse = (self.pulse, Wake::Pulse);
        self.due = (!self.peers.is_empty()).then(|| {
            let verdicts = self.peers.values().flat_map(|peer| peer.wakes(self.evaluated));
            let verdicts = verdicts.map(|(at, wake)| (at.max(self.held_until), wake));
            verdicts.chain(trust).fold(pulse, std::cmp::Ord::min)
        });
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new()
    }
}
