//! What agents' timelines say of a recovery, on the drill's own clock. Pure.
//!
//! Records have the wall clock of their agent's machine. How far that is from ours is measured, before and after: an agent is asked for
//! its time several times, and the fastest answer counts. It was made somewhere between question and answer, so its offset is taken from
//! the middle, and half of the round trip is the uncertainty (Cristian, 1989). Where the offset moved meanwhile, by so much more.

use crate::{clock::Clock, course::Moments};
use serde::{Deserialize, Serialize};

/// How far an agent's clock is ahead of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// In microseconds; negative: it is behind.
    pub ahead_us: i64,
    /// It may be so much more or less, in microseconds.
    pub uncertainty_us: i64,
}

/// A record of an agent's timeline, as far as it is needed here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// When, by the agent's clock, in microseconds since 1970.
    pub unix_micros: u64,
    /// `poolChanged`, `planChanged` and so on.
    pub kind: String,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
}

/// What an agent told.
#[derive(Clone, Debug)]
pub struct AgentTold {
    /// Its admin address.
    pub agent: String,
    /// Its clock before the fault, and after the drill; `None` if it did not answer.
    pub before: Option<Offset>,
    /// See `before`.
    pub after: Option<Offset>,
    /// Its records since before the fault, or why there are none.
    pub events: Result<Vec<Event>, String>,
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
    /// From mending to the last plan that changed, of all agents.
    pub stable_failback_ms: Option<f64>,
    /// Each of them.
    pub agents: Vec<AgentPart>,
}

/// What one agent told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPart {
    /// Its admin address.
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
    /// From mending to the last plan that changed.
    pub stable_failback_ms: Option<f64>,
    /// Why it told nothing.
    pub error: Option<String>,
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
pub fn agents_part(told: &[AgentTold], clock: &Clock, moments: Moments) -> AgentsPart {
    let agents: Vec<AgentPart> = told.iter().map(|told| part(told, clock, moments)).collect();
    let first = agents.iter().filter(|it| it.detect_ms.is_some());
    let first = first.min_by(|a, b| a.detect_ms.unwrap_or(0.0).total_cmp(&b.detect_ms.unwrap_or(0.0)));
    let detect_ms = first.and_then(|it| it.detect_ms);
    let decided = agents.iter().filter_map(|it| it.decide_ms).min_by(f64::total_cmp);
    AgentsPart {
        detect_ms,
        decide_ms: decided.zip(detect_ms).map(|(decided, noticed)| (decided - noticed).max(0.0)),
        uncertainty_ms: first.and_then(|it| it.uncertainty_ms),
        stable_failback_ms: agents.iter().filter_map(|it| it.stable_failback_ms).max_by(f64::total_cmp),
        agents,
    }
}

fn part(told: &AgentTold, clock: &Clock, moments: Moments) -> AgentPart {
    let offset = both(told.before, told.after);
    let none = Vec::new();
    let (events, error) = match &told.events {
        Ok(events) => (events, None),
        Err(why) => (&none, Some(why.clone())),
    };
    let ahead = offset.map_or(0, |it| it.ahead_us);
    let slack = offset.map_or(0, |it| it.uncertainty_us);
    let fault = moments.fault.map(|at| clock.unix_micros(at));
    let at = |event: &Event| i64::try_from(event.unix_micros).unwrap_or(i64::MAX).saturating_sub(ahead);
    // After the fault for certain, or so little before that clocks may be wrong.
    let since = |moment: Option<u64>, event: &Event| {
        let moment = i64::try_from(moment?).ok()?;
        let since = at(event) - moment;
        (since >= -slack).then(|| ms(since.max(0)))
    };
    let until_mending = |event: &&Event| {
        let mending = moments.mending.map(|at| clock.unix_micros(at)).and_then(|at| i64::try_from(at).ok());
        mending.is_none_or(|mending| at(event) < mending)
    };
    let mended = moments.mended.map(|at| clock.unix_micros(at));
    let plans = || events.iter().filter(|event| event.kind == "planChanged");
    let away = || plans().filter(until_mending).filter_map(|event| since(fault, event));
    let back = || plans().filter(|event| !until_mending(event)).filter_map(|event| since(mended, event));
    let notices =
        ["poolChanged", "endpointChanged", "peerChanged", "locationChanged", "shiftChanged", "planChanged"];
    let noticed = events.iter().filter(|event| notices.contains(&event.kind.as_str())).filter(until_mending);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    AgentPart {
        agent: told.agent.clone(),
        clock_ahead_ms: offset.map(|it| ms(it.ahead_us)),
        uncertainty_ms: offset.map(|it| ms(it.uncertainty_us)),
        detect_ms: noticed.filter_map(|event| since(fault, event)).min_by(f64::total_cmp),
        decide_ms: away().min_by(f64::total_cmp),
        moves: count(away().count()),
        moves_back: count(back().count()),
        stable_failback_ms: back().max_by(f64::total_cmp),
        error,
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a drill are far below 2^52")]
fn ms(us: i64) -> f64 {
    us as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_model::Time;

    #[test]
    fn the_fastest_answer_says_the_offset_best() {
        // The agent is 5 s ahead.
        let asked = [(1_000_000, 6_004_000, 1_010_000), (2_000_000, 7_000_900, 2_002_000)];
        assert_eq!(offset(&asked), Some(Offset { ahead_us: 4_999_900, uncertainty_us: 1000 }));
        assert_eq!(offset(&[]), None);
    }

    #[test]
    fn times_of_an_agent_are_told_on_the_drills_clock_with_their_uncertainty() {
        let clock = Clock::start();
        let at = Time::from_millis;
        let moments = Moments {
            fault: Some(at(1000)),
            mending: Some(at(5000)),
            mended: Some(at(5100)),
            ..Moments::default()
        };
        // Its clock is 2 s ahead.
        let event = |seq, ms: u64, kind: &str| Event {
            seq,
            unix_micros: clock.unix_micros(at(ms + 2000)),
            kind: kind.to_owned(),
            reason: String::new(),
        };
        let events = vec![
            event(1, 500, "planChanged"),
            event(2, 1000, "drillChanged"),
            event(3, 1300, "poolChanged"),
            event(4, 1350, "planChanged"),
            event(5, 6100, "planChanged"),
            event(6, 9100, "planChanged"),
        ];
        let clock_at = |ahead_us| Some(Offset { ahead_us, uncertainty_us: 400 });
        let told = AgentTold {
            agent: "a".to_owned(),
            before: clock_at(2_000_000),
            after: clock_at(2_001_500),
            events: Ok(events),
        };
        let silent =
            AgentTold { agent: "b".to_owned(), before: None, after: None, events: Err("gone".to_owned()) };
        let part = agents_part(&[told, silent], &clock, moments);
        assert_eq!((part.detect_ms, part.decide_ms), (Some(300.0), Some(50.0)));
        assert_eq!(
            (part.uncertainty_ms, part.stable_failback_ms),
            (Some(1.5), Some(4000.0)),
            "the clock moved"
        );
        assert_eq!((part.agents[0].moves, part.agents[0].moves_back), (1, 2));
        assert_eq!(part.agents[1].error.as_deref(), Some("gone"));
    }
}
