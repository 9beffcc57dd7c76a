//! What an agent's records say of one recovery: who noticed, what was decided, which gateway had it when, how often traffic moved.
//! Pure.

use super::{AgentTold, Event, Offset, both, ms};
use crate::{
    clock::Clock,
    course::Moments,
    measure::{PlanMove, moves as count_moves},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_model::Time;

/// Decisions that a report holds: what a person reads, and what fits beside the rest in what a hub keeps.
const MAX_LINES: usize = 300;
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

/// When a gateway had what was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAck {
    /// Its node id.
    pub gateway: String,
    /// From the fault to its first ACK of a version with the first plan that changed, or what came in its place.
    pub first_ms: f64,
    /// From the fault to its last ACK of a version with a plan that changed before mending.
    pub last_ms: f64,
    /// The version that it acknowledged first.
    pub version: String,
}

/// A decision, in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionLine {
    /// When, in milliseconds since the load began, by the drill's clock.
    pub at_ms: f64,
    /// The agent's admin address.
    pub agent: String,
    /// `poolChanged`, `planChanged` and so on.
    pub kind: String,
    /// What, and why.
    pub what: String,
}

/// An agent's records on the drill's clock.
pub(super) struct Seen<'a> {
    events: &'a [Event],
    ahead: i64,
    slack: i64,
    fault: Option<i64>,
    mending: Option<i64>,
    mended: Option<i64>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(events: &'a [Event], offset: Option<Offset>, clock: &Clock, moments: Moments) -> Self {
        let unix = |at: Option<Time>| at.and_then(|at| i64::try_from(clock.unix_micros(at)).ok());
        Self {
            events,
            ahead: offset.map_or(0, |it| it.ahead_us),
            slack: offset.map_or(0, |it| it.uncertainty_us),
            fault: unix(moments.fault),
            mending: unix(moments.mending),
            mended: unix(moments.mended),
        }
    }

    fn at(&self, event: &Event) -> i64 {
        i64::try_from(event.unix_micros).unwrap_or(i64::MAX).saturating_sub(self.ahead)
    }

    /// After the moment for certain, or so little before that clocks may be wrong.
    fn since(&self, moment: Option<i64>, event: &Event) -> Option<f64> {
        let since = self.at(event) - moment?;
        (since >= -self.slack).then(|| ms(since.max(0)))
    }

    /// From the fault to it, in milliseconds.
    pub(super) fn since_fault(&self, event: &Event) -> Option<f64> {
        self.since(self.fault, event)
    }

    /// From mending to it.
    pub(super) fn since_mended(&self, event: &Event) -> Option<f64> {
        self.since(self.mended, event)
    }

    fn is_before_mending(&self, event: &Event) -> bool {
        self.mending.is_none_or(|mending| self.at(event) < mending)
    }

    fn plans(&self) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(|event| event.kind == "planChanged")
    }

    /// Plans that changed before mending.
    pub(super) fn away(&self) -> impl Iterator<Item = &'a Event> {
        self.plans().filter(|event| self.is_before_mending(event))
    }

    /// Plans that changed after it.
    pub(super) fn back(&self) -> impl Iterator<Item = &'a Event> {
        self.plans().filter(|event| !self.is_before_mending(event))
    }

    /// What shows that the agent noticed something.
    pub(super) fn noticed(&self) -> impl Iterator<Item = &'a Event> {
        let notices = [
            "poolChanged",
            "endpointChanged",
            "peerChanged",
            "locationChanged",
            "shiftChanged",
            "planChanged",
        ];
        let noticed = self.events.iter().filter(move |event| notices.contains(&event.kind.as_str()));
        noticed.filter(|event| self.is_before_mending(event))
    }

    /// When each gateway had the first plan that changed after the fault.
    pub(super) fn gateways(&self) -> Vec<GatewayAck> {
        let Some(first) = self.away().filter(|it| self.since_fault(it).is_some()).map(|it| it.seq).min()
        else {
            return Vec::new();
        };
        let mut gateways = BTreeMap::<&str, GatewayAck>::new();
        // A record's number says what it followed, whatever clocks do.
        let acks = self.events.iter().filter(|it| it.kind == "pushAcked" && it.decision >= Some(first));
        for ack in acks.filter(|it| self.is_before_mending(it)) {
            let (Some(gateway), Some(at)) = (&ack.gateway, self.since_fault(ack)) else { continue };
            let version = ack.version.clone().unwrap_or_default();
            let new = GatewayAck { gateway: gateway.clone(), first_ms: at, last_ms: at, version };
            gateways.entry(gateway).or_insert(new).last_ms = at;
        }
        gateways.into_values().collect()
    }
}

/// How often the traffic of one service and source moved, the most of any at any agent; `None` if none told.
pub(super) fn moves(told: &[AgentTold], clock: &Clock, moments: Moments) -> Option<u64> {
    let (fault, done) = (moments.fault?, moments.done?);
    let of_agent = |told: &AgentTold| {
        let (events, offset) = (told.events.as_ref().ok()?, both(told.before, told.after));
        let seen = Seen::new(events, offset, clock, moments);
        let mut homes = BTreeMap::new();
        let plans = seen.plans().filter(|event| seen.since_fault(event).is_some());
        let changes: Vec<PlanMove> =
            plans.filter_map(|event| change(event, &seen, fault, &mut homes)).collect();
        let found = count_moves(&changes, fault, done);
        Some(u64::from(found.away) + u64::from(found.back))
    };
    told.iter().filter_map(of_agent).max()
}

/// How much of its traffic goes where it went when the fault struck.
fn change<'a>(
    event: &'a Event,
    seen: &Seen<'_>,
    fault: Time,
    homes: &mut BTreeMap<(&'a str, &'a str), &'a BTreeMap<String, u32>>,
) -> Option<PlanMove> {
    let (service, source) = (event.service.as_deref()?, event.source.as_deref()?);
    let home = *homes.entry((service, source)).or_insert(&event.before);
    let kept = |shares: &BTreeMap<String, u32>| {
        home.iter().map(|(target, part)| shares.get(target).copied().unwrap_or(0).min(*part)).sum()
    };
    let after = std::time::Duration::from_secs_f64(seen.since_fault(event)? / 1e3);
    Some(PlanMove {
        at: fault + after,
        service: service.parse().ok()?,
        source: source.to_owned(),
        home_share_before: kept(&event.before),
        home_share_after: kept(&event.after),
    })
}

/// What all of them decided, in order, and how much there was no room for.
pub(super) fn decisions(told: &[AgentTold], clock: &Clock, moments: Moments) -> (Vec<DecisionLine>, u64) {
    let Some(steady) = moments.steady else { return (Vec::new(), 0) };
    let before_ms = moments.fault.map_or(0.0, |fault| crate::measure::in_ms(fault.since(steady)));
    let mut lines = Vec::new();
    for agent in told {
        let (Ok(events), offset) = (&agent.events, both(agent.before, agent.after)) else { continue };
        let seen = Seen::new(events, offset, clock, moments);
        for event in events.iter().filter(|event| event.kind != "pushAcked") {
            if let Some(since) = seen.since_fault(event) {
                lines.push(DecisionLine {
                    at_ms: before_ms + since,
                    agent: agent.agent.clone(),
                    kind: event.kind.clone(),
                    what: what(event),
                });
            }
        }
    }
    lines.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    let left_out = lines.len().saturating_sub(MAX_LINES);
    lines.truncate(MAX_LINES);
    (lines, u64::try_from(left_out).unwrap_or(u64::MAX))
}

/// The record as a sentence, as the agent's own log has it. A plan's reason names service and source itself.
fn what(event: &Event) -> String {
    let peer = event.peer.as_ref().map(|peer| format!("peer {peer}"));
    let subject = [&event.service, &event.zone, &event.endpoint, &peer, &event.state];
    let subject: Vec<&str> = match event.kind.as_str() {
        "planChanged" => Vec::new(),
        _ => subject.into_iter().flatten().map(String::as_str).collect(),
    };
    let text = if subject.is_empty() {
        event.reason.clone()
    } else {
        format!("{}: {}", subject.join(" "), event.reason)
    };
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
