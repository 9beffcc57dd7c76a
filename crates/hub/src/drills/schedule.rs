//! When drills run by themselves: which are due, and which of those are not started and why. Pure; times are passed in, in
//! seconds since 1970.
//!
//! A *slot* is a time that the cron expression names, in the schedule's zone. It is due when its jitter is over: a time between
//! zero and `jitter` that is drawn from the schedule's name and the slot, the same whoever asks and whenever.

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    str::FromStr as _,
    time::Duration,
};
use tidegate_api::{BlockedTime, DrillSchedule};

/// A slot that was due longer ago is not made up for: nobody expects a drill then.
const LATE: u64 = 300;
/// So many slots of one schedule are told of at once, after the hub was away.
const MAX_SLOTS: usize = 20;
/// The runs that are remembered, of all schedules.
const MAX_RUNS: usize = 200;

/// What is kept of schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scheduled {
    /// The slot of each schedule that was last decided, or when it was first seen.
    pub(crate) since: BTreeMap<String, u64>,
    /// What was decided, the oldest first.
    pub(crate) runs: VecDeque<Run>,
}

/// What was decided of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    pub(crate) schedule: String,
    pub(crate) drill: String,
    pub(crate) slot: u64,
    /// When it was due, jitter and all.
    pub(crate) due: u64,
    /// Why nothing was started; `None` if it was.
    pub(crate) skipped: Option<String>,
    /// The drill that was started.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// How it ended, if nobody saw to its end.
    #[serde(default)]
    pub(crate) ended: Option<String>,
}

impl Scheduled {
    /// What was decided of a slot, to be changed.
    pub(crate) fn run(&mut self, schedule: &str, slot: u64) -> Option<&mut Run> {
        self.runs.iter_mut().rev().find(|it| it.schedule == schedule && it.slot == slot)
    }
}

/// What a decision depends on besides the schedules.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'f> {
    pub(crate) now: u64,
    /// The drill that runs in the fleet now.
    pub(crate) running: Option<&'f str>,
    /// Why a drill cannot be started from here, whatever the time.
    pub(crate) unable: &'f dyn Fn(&str) -> Option<String>,
}

/// The cron expression in its zone.
struct Timing {
    cron: croner::Cron,
    zone: TimeZone,
}

impl Timing {
    fn of(schedule: &DrillSchedule) -> Result<Self, String> {
        let cron = croner::Cron::from_str(&schedule.cron);
        let zone = TimeZone::get(&schedule.time_zone);
        Ok(Self {
            cron: cron.map_err(|error| format!("the cron expression {:?}: {error}", schedule.cron))?,
            zone: zone.map_err(|_| format!("there is no time zone {:?}", schedule.time_zone))?,
        })
    }

    /// The first slot after a moment; `None` if there is none, as on February 30.
    fn after(&self, moment: u64) -> Option<u64> {
        let start = Timestamp::from_second(i64::try_from(moment).ok()?).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&start, false).ok()?;
        u64::try_from(next.timestamp().as_second()).ok().filter(|next| *next > moment)
    }
}

/// By how much a slot is put off, in whole seconds from zero to `most`.
fn jitter(name: &str, slot: u64, most: Duration) -> u64 {
    // FNV-1a, and the last steps of SplitMix64 so that near slots are far apart.
    let bytes = name.bytes().chain(slot.to_be_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash ^ (hash >> 31)) % (most.as_secs() + 1)
}

/// Why a schedule itself does not want a drill at this moment.
fn refusal(schedule: &DrillSchedule, zone: &TimeZone, at: u64) -> Option<String> {
    if schedule.suspend {
        return Some("the schedule is suspended".to_owned());
    }
    let moment = Timestamp::from_second(i64::try_from(at).unwrap_or(i64::MAX)).ok()?;
    let day = moment.to_zoned(zone.clone()).date().to_string();
    schedule.blocked.iter().find_map(|blocked| match blocked {
        BlockedTime::Days { from, until } if (from..=until).contains(&&day) => {
            Some(format!("{day} is blocked (from {from} until {until})"))
        }
        BlockedTime::Window { from, until } if (*from..*until).contains(&at) => {
            let text = tidegate_api::time_text;
            Some(format!("this time is blocked (from {} until {})", text(*from), text(*until)))
        }
        _ => None,
    })
}

/// Decides what is due at `facts.now`. What is to be started comes back without a reason; it is one drill at most.
pub(crate) fn decide(state: &mut Scheduled, schedules: &[DrillSchedule], facts: Facts<'_>) -> Vec<Run> {
    state.since.retain(|name, _| schedules.iter().any(|it| it.name == *name));
    let mut due: Vec<Run> = Vec::new();
    for schedule in schedules {
        // What was never seen before has nothing to make up for.
        let since = state.since.entry(schedule.name.clone()).or_insert(facts.now);
        let Ok(timing) = Timing::of(schedule) else { continue };
        for _ in 0..MAX_SLOTS {
            let Some(slot) = timing.after(*since) else { break };
            let at = slot + jitter(&schedule.name, slot, schedule.jitter);
            if at > facts.now {
                break;
            }
            *since = slot;
            let skipped = if facts.now - at > LATE {
                Some("the hub did not run then".to_owned())
            } else {
                refusal(schedule, &timing.zone, at).or_else(|| (facts.unable)(&schedule.drill))
            };
            let (name, drill) = (schedule.name.clone(), schedule.drill.clone());
            due.push(Run { schedule: name, drill, slot, due: at, skipped, id: None, ended: None });
        }
    }
    // Who is due first goes first.
    due.sort_by(|a, b| (a.due, &a.schedule).cmp(&(b.due, &b.schedule)));
    let mut running = facts.running.map(str::to_owned);
    for run in due.iter_mut().filter(|it| it.skipped.is_none()) {
        match &running {
            Some(other) => run.skipped = Some(format!("the drill {other} runs: one at a time in a fleet")),
            None => running = Some(run.drill.clone()),
        }
    }
    state.runs.extend(due.iter().cloned());
    while state.runs.len() > MAX_RUNS {
        state.runs.pop_front();
    }
    due
}

/// The next times at which a schedule is due, with the reason if it is known already that nothing will start.
pub(crate) fn next(
    schedule: &DrillSchedule,
    now: u64,
    count: usize,
) -> Result<Vec<(u64, Option<String>)>, String> {
    let timing = Timing::of(schedule)?;
    let (mut found, mut slot) = (Vec::new(), now.saturating_sub(schedule.jitter.as_secs()));
    // Before the first that counts there are at most those whose jitter is over.
    for _ in 0..count + MAX_SLOTS {
        let Some(at) = timing.after(slot).filter(|_| found.len() < count) else { break };
        slot = at;
        let due = slot + jitter(&schedule.name, slot, schedule.jitter);
        if due > now {
            found.push((due, refusal(schedule, &timing.zone, due)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
