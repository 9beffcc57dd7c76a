//! What agents' timelines say of a recovery, on the drill's own clock. Pure.
//!
//! Records have the wall clock of their agent's machine. How far that is from ours is measured, before and after: an agent is asked for
//! its time several times, and the fastest answer counts. It was made somewhere between question and answer, so its offset is taken from
//! the middle, and half of the round trip is the uncertainty (Cristian, 1989). Where the offset moved meanwhile, by so much more.

mod breakdown;
mod traffic;

pub use breakdown::{DecisionLine, GatewayAck};
pub use traffic::{Capacity, InForce, PoolTraffic, PoolUse, Told, ToldPool, ToldTarget, TrafficPart};

use crate::{clock::Clock, course::Moments};
use breakdown::Seen;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_api::DrillTarget;

/// How far an agent's clock is ahead of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// In microseconds; negative: it is behind.
    pub ahead_us: i64,
    /// It may be so much more or less, in microseconds.
    pub uncertainty_us: i64,
}

/// A record of an agent's timeline, as far as it is needed here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// When, by the agent's clock, in microseconds since 1970.
    pub unix_micros: u64,
    /// `poolChanged`, `planChanged` and so on.
    pub kind: String,
    /// The service it is about.
    pub service: Option<String>,
    /// Of a plan: its source.
    pub source: Option<String>,
    /// Of a plan: the shares before, in 1/10000 by target.
    pub before: BTreeMap<String, u32>,
    /// Of a plan: the shares now.
    pub after: BTreeMap<String, u32>,
    /// The zone, the endpoint, the peer, and what became of it.
    pub zone: Option<String>,
    /// See `zone`.
    pub endpoint: Option<String>,
    /// See `zone`.
    pub peer: Option<String>,
    /// See `zone`.
    pub state: Option<String>,
    /// Of an ACK: the gateway.
    pub gateway: Option<String>,
    /// Of an ACK: the version.
    pub version: Option<String>,
    /// Of an ACK: the number of the newest record whose decision it carried.
    pub decision: Option<u64>,
    /// Why, for people.
    pub reason: String,
}

/// What an agent told.
#[derive(Clone, Debug)]
pub struct AgentTold {
    /// Its admin address; at the hub, its cluster.
    pub agent: String,
    /// Its clock before the fault, and after the drill; `None` if it did not answer.
    pub before: Option<Offset>,
    /// See `before`.
    pub after: Option<Offset>,
    /// Its records since before the fault, or why there are none.
    pub events: Result<Vec<Event>, String>,
    /// What is in force there, or why it did not say.
    pub in_force: Result<InForce, String>,
    /// What it told of traffic, each second, in order; or why it never did.
    pub traffic: Result<Vec<Told>, String>,
}

impl AgentTold {
    /// What is in force there, if it said so.
    fn own(&self) -> Option<&InForce> {
        self.in_force.as_ref().ok()
    }

    /// What it told of traffic.
    fn traffic(&self) -> &[Told] {
        self.traffic.as_deref().unwrap_or_default()
    }

    /// What it did not tell, and why; of one that told nothing of its records, that says it.
    fn missing(&self) -> Vec<String> {
        if self.events.is_err() {
            return Vec::new();
        }
        let traffic = self.traffic.as_ref().err().map(|why| format!("what went where: {why}"));
        let in_force = self.in_force.as_ref().err().map(|why| format!("what is in force: {why}"));
        traffic.into_iter().chain(in_force).collect()
    }
}

/// What agents told of a drill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentsPart {
    /// From the fault to the first agent's noticing, in milliseconds; `None` if none noticed anything.
    pub detect_ms: Option<f64>,
    /// From there to the first plan that changed.
    pub decide_ms: Option<f64>,
    /// The times above may be so much more or less, in milliseconds: the clock of the agent that was first.
    pub uncertainty_ms: Option<f64>,
    /// From the first plan that changed to the first gateway that had it.
    #[serde(default)]
    pub push_first_ms: Option<f64>,
    /// From there to when every gateway that was told had it.
    #[serde(default)]
    pub push_last_ms: Option<f64>,
    /// From when every gateway had it to the last request that still went to what was broken; 0 if that was before.
    #[serde(default)]
    pub drain_ms: Option<f64>,
    /// That may have been so much earlier: the time between two reports of a gateway, and the clock.
    #[serde(default)]
    pub drain_uncertainty_ms: Option<f64>,
    /// From mending to the first plan that changed, of all agents.
    #[serde(default)]
    pub first_failback_ms: Option<f64>,
    /// From mending to the last plan that changed, of all agents.
    pub stable_failback_ms: Option<f64>,
    /// How often the traffic of one service and source moved, away and back, from the fault to the end: the most of any. Steps of a
    /// ramp are one move. `None` if no agent told.
    #[serde(default)]
    pub moves: Option<u64>,
    /// How busy the busiest pool was that stood in, while the fault was on: a part of what its healthy endpoints can take; `None` if
    /// no capacity is declared.
    #[serde(default)]
    pub utilisation: Option<f64>,
    /// Each of them.
    pub agents: Vec<AgentPart>,
    /// Who served over time.
    #[serde(default)]
    pub traffic: Option<TrafficPart>,
    /// What they decided and why, in order, from the fault on.
    #[serde(default)]
    pub decisions: Vec<DecisionLine>,
    /// Decisions that are not in the list because there was no more room.
    #[serde(default)]
    pub decisions_left_out: u64,
}

/// What one agent told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPart {
    /// Its admin address; at the hub, its cluster.
    pub agent: String,
    /// How far its clock is ahead of the runner's, in milliseconds.
    pub clock_ahead_ms: Option<f64>,
    /// That may be so much more or less, and all its times.
    pub uncertainty_ms: Option<f64>,
    /// From the fault to its first record of a pool, endpoint, peer, place or shift.
    pub detect_ms: Option<f64>,
    /// From the fault to the first plan that changed.
    pub decide_ms: Option<f64>,
    /// Plans that changed before mending began.
    pub moves: u64,
    /// Plans that changed after it.
    pub moves_back: u64,
    /// From the fault to the first gateway that had the first plan that changed.
    #[serde(default)]
    pub push_first_ms: Option<f64>,
    /// From the fault to when all gateways that were told had it.
    #[serde(default)]
    pub push_last_ms: Option<f64>,
    /// Each of its gateways that had it.
    #[serde(default)]
    pub gateways: Vec<GatewayAck>,
    /// From the fault to the last request before mending that still went to what was broken, as far as this agent's gateways
    /// reported; `None` if none did, or they never left.
    #[serde(default)]
    pub drain_ms: Option<f64>,
    /// It may have been so much earlier.
    #[serde(default)]
    pub drain_uncertainty_ms: Option<f64>,
    /// From mending to the first plan that changed.
    #[serde(default)]
    pub first_failback_ms: Option<f64>,
    /// From mending to the last plan that changed.
    pub stable_failback_ms: Option<f64>,
    /// What is in force there.
    #[serde(default)]
    pub in_force: Option<InForce>,
    /// What it did not tell, and why: an agent may be older than who asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Why it told nothing.
    pub error: Option<String>,
}

impl AgentPart {
    /// Its cluster and address, as far as they are known.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.in_force {
            // The hub knows agents by their clusters; replicas also by their lives.
            Some(it) if self.agent.split('/').next() == Some(it.cluster.as_str()) => self.agent.clone(),
            Some(it) => format!("{} at {}", it.cluster, self.agent),
            None => self.agent.clone(),
        }
    }
}

/// The offset by several questions, each as (asked, its time, answered), in microseconds since 1970; the first and the last by our clock.
#[must_use]
pub fn offset(asked: &[(u64, u64, u64)]) -> Option<Offset> {
    let (sent, its, heard) =
        asked.iter().copied().min_by_key(|(sent, _, heard)| heard.saturating_sub(*sent))?;
    let round_trip = heard.saturating_sub(sent);
    let ours = i64::try_from(sent + round_trip / 2).ok()?;
    let uncertainty_us = i64::try_from(round_trip.div_ceil(2)).ok()?;
    Some(Offset { ahead_us: i64::try_from(its).ok()? - ours, uncertainty_us })
}

/// One offset for the whole drill: the surer of both, and as unsure as they differ.
fn both(before: Option<Offset>, after: Option<Offset>) -> Option<Offset> {
    let (Some(one), Some(other)) = (before, after) else { return before.or(after) };
    let surer = if one.uncertainty_us <= other.uncertainty_us { one } else { other };
    let moved = (one.ahead_us - other.ahead_us).abs();
    Some(Offset { uncertainty_us: surer.uncertainty_us.max(moved), ..surer })
}

/// What they told, on the drill's clock.
#[must_use]
pub fn agents_part(told: &[AgentTold], target: &DrillTarget, clock: &Clock, moments: Moments) -> AgentsPart {
    let all: Vec<&InForce> = told.iter().filter_map(AgentTold::own).collect();
    let agents: Vec<AgentPart> = told.iter().map(|told| part(told, target, &all, clock, moments)).collect();
    let first = agents.iter().filter(|it| it.detect_ms.is_some());
    let first = first.min_by(|a, b| a.detect_ms.unwrap_or(0.0).total_cmp(&b.detect_ms.unwrap_or(0.0)));
    let least = |of: fn(&AgentPart) -> Option<f64>| agents.iter().filter_map(of).min_by(f64::total_cmp);
    let most = |of: fn(&AgentPart) -> Option<f64>| agents.iter().filter_map(of).max_by(f64::total_cmp);
    let after = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(a, b)| (a - b).max(0.0));
    let detect_ms = first.and_then(|it| it.detect_ms);
    let decided = least(|it| it.decide_ms);
    let (push_first, push_last) = (least(|it| it.push_first_ms), most(|it| it.push_last_ms));
    let slowest = agents.iter().filter(|it| it.drain_ms.is_some());
    let slowest = slowest.max_by(|a, b| a.drain_ms.unwrap_or(0.0).total_cmp(&b.drain_ms.unwrap_or(0.0)));
    let traffic = traffic::traffic(told, target, clock, moments);
    let stood_in = traffic.iter().flat_map(|it| &it.utilisation).filter(|it| !it.broken);
    let (decisions, decisions_left_out) = breakdown::decisions(told, clock, moments);
    AgentsPart {
        detect_ms,
        decide_ms: after(decided, detect_ms),
        uncertainty_ms: first.and_then(|it| it.uncertainty_ms),
        push_first_ms: after(push_first, decided),
        push_last_ms: after(push_last, push_first),
        drain_ms: after(slowest.and_then(|it| it.drain_ms), push_last),
        drain_uncertainty_ms: slowest.and_then(|it| it.drain_uncertainty_ms),
        first_failback_ms: least(|it| it.first_failback_ms),
        stable_failback_ms: most(|it| it.stable_failback_ms),
        moves: breakdown::moves(told, clock, moments),
        utilisation: stood_in.filter_map(|it| it.most).max_by(f64::total_cmp),
        agents,
        traffic,
        decisions,
        decisions_left_out,
    }
}

fn part(
    told: &AgentTold,
    target: &DrillTarget,
    all: &[&InForce],
    clock: &Clock,
    moments: Moments,
) -> AgentPart {
    let offset = both(told.before, told.after);
    let none = Vec::new();
    let (events, error) = match &told.events {
        Ok(events) => (events, None),
        Err(why) => (&none, Some(why.clone())),
    };
    let seen = Seen::new(events, offset, clock, moments);
    let away = || seen.away().filter_map(|event| seen.since_fault(event));
    let back = || seen.back().filter_map(|event| seen.since_mended(event));
    let gateways = seen.gateways();
    let drain = told.own().and_then(|own| {
        let is_broken = traffic::broken(target, own, all);
        traffic::drain(told, &is_broken, clock, moments)
    });
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    AgentPart {
        agent: told.agent.clone(),
        clock_ahead_ms: offset.map(|it| ms(it.ahead_us)),
        uncertainty_ms: offset.map(|it| ms(it.uncertainty_us)),
        detect_ms: seen.noticed().filter_map(|event| seen.since_fault(event)).min_by(f64::total_cmp),
        decide_ms: away().min_by(f64::total_cmp),
        moves: count(away().count()),
        moves_back: count(back().count()),
        push_first_ms: gateways.iter().map(|it| it.first_ms).min_by(f64::total_cmp),
        push_last_ms: gateways.iter().map(|it| it.first_ms).max_by(f64::total_cmp),
        gateways,
        drain_ms: drain.map(|(at, _)| ms(at)),
        drain_uncertainty_ms: drain.map(|(_, slack)| ms(slack)),
        first_failback_ms: back().min_by(f64::total_cmp),
        stable_failback_ms: back().max_by(f64::total_cmp),
        in_force: told.own().cloned(),
        missing: told.missing(),
        error,
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a drill are far below 2^52")]
fn ms(us: i64) -> f64 {
    us as f64 / 1e3
}

#[cfg(test)]
mod tests;
