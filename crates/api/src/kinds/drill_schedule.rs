//! `DrillSchedule`: when drills run by themselves. The hub works out when that is.

use crate::{
    drill_schedule::{BlockedTime, DrillSchedule},
    fields::{Field, Fields, Issues, Wrong},
    object::Meta,
    read, time,
    yaml::Node,
};
use std::time::Duration;

/// The longest time by which a run may be put off.
const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

/// The most blocked times of a schedule.
const MAX_BLOCKED: usize = 64;

/// The fields of cron: their names, least and greatest values.
const CRON: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7)];

/// What a `DrillSchedule` says.
#[derive(Debug, PartialEq)]
pub(crate) struct ScheduleSpec {
    /// The `Drill`, as `NAMESPACE/NAME`.
    pub(crate) drill: Field<String>,
    pub(crate) schedule: DrillSchedule,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<ScheduleSpec> {
    let hint = "add `spec: {drill: NAME, cron: \"0 10 * * 2\", timeZone: Europe/Berlin}`";
    let mut spec = fields.required_map("spec", hint, issues)?;
    let drill = spec.required_value("drill", "name a Drill of the same namespace", issues, read::object_name);
    let hint = "say when: `cron: \"0 10 * * 2\"` is Tuesdays at ten";
    let cron = spec.required_value("cron", hint, issues, cron);
    let hint = "say whose ten o'clock: `timeZone: Europe/Berlin`, or UTC";
    let zone = spec.required_value("timeZone", hint, issues, time_zone);
    let jitter = spec.value("jitter", issues, read::duration(Duration::ZERO..=MAX_JITTER));
    let suspend = spec.value("suspend", issues, read::boolean);
    let blocked = spec.maps_up_to(MAX_BLOCKED, "blocked", issues);
    let blocked = blocked.into_iter().filter_map(|it| read_blocked(it, issues)).collect();
    spec.finish(issues);
    let (drill, cron, zone) = (drill?, cron?, zone?);
    let drill = Field { value: format!("{}/{}", meta.namespace, drill.value), at: drill.at };
    let schedule = DrillSchedule {
        name: format!("{}/{}", meta.namespace, meta.name),
        drill: drill.value.clone(),
        cron: cron.value,
        time_zone: zone.value,
        jitter: jitter.map_or(Duration::ZERO, |it| it.value),
        suspend: suspend.is_some_and(|it| it.value),
        blocked,
    };
    Some(ScheduleSpec { drill, schedule })
}

/// One end of a blocked time.
#[derive(PartialEq, PartialOrd)]
enum End {
    Day(String),
    Moment(u64),
}

fn read_blocked(mut blocked: Fields<'_>, issues: &mut Issues) -> Option<BlockedTime> {
    let hint = "write both as days, {from: 2026-12-20, until: 2027-01-06}, or both as times, {from: 2026-11-27T00:00:00Z, ...}";
    let at = blocked.at;
    let from = blocked.required_value("from", hint, issues, end);
    let until = blocked.required_value("until", hint, issues, end);
    blocked.finish(issues);
    match (from?.value, until?.value) {
        (End::Day(from), End::Day(until)) if from <= until => Some(BlockedTime::Days { from, until }),
        (End::Moment(from), End::Moment(until)) if from < until => Some(BlockedTime::Window { from, until }),
        _ => {
            issues.error(at, "a blocked time ends after it begins, in the same form", hint);
            None
        }
    }
}

fn end(node: &Node) -> Result<End, Wrong> {
    let text = read::text(node)?;
    let day = time::unix_seconds(&format!("{text}T00:00:00Z"));
    match (day, time::unix_seconds(&text)) {
        // As it is written by the calendar, so that days compare as texts.
        (Some(midnight), _) => Ok(End::Day(time::text(midnight).chars().take(10).collect())),
        (None, Some(moment)) => Ok(End::Moment(moment)),
        (None, None) => {
            Err(Wrong::new("a day or a time", "write for example 2026-12-20, or 2026-12-20T09:00:00Z"))
        }
    }
}

/// Five fields of numbers, ranges, lists and steps.
fn cron(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let expected = "five fields: minute, hour, day of month, month, day of week";
    if fields.len() != CRON.len() {
        return Err(Wrong::new(expected, "write for example \"0 10 * * 2\": Tuesdays at ten"));
    }
    for (field, (name, least, most)) in fields.into_iter().zip(CRON) {
        if !field.split(',').all(|part| is_part(part, least, most)) {
            let hint = format!("the {name} is *, or numbers from {least} to {most} as 1, 1-5, 1,3 or */15");
            return Err(Wrong::new(expected, hint));
        }
    }
    Ok(text)
}

fn is_part(part: &str, least: u32, most: u32) -> bool {
    let (range, step) = part.split_once('/').unwrap_or((part, "1"));
    let number = |text: &str| text.parse::<u32>().ok().filter(|it| (least..=most).contains(it));
    let range_fits = match range.split_once('-') {
        _ if range == "*" => true,
        Some((from, to)) => matches!((number(from), number(to)), (Some(from), Some(to)) if from <= to),
        None => number(range).is_some(),
    };
    range_fits && step.parse::<u32>().is_ok_and(|step| (1..=most).contains(&step))
}

/// As the names of the time zone database look; whether there is such a zone is known where it is used.
fn time_zone(node: &Node) -> Result<String, Wrong> {
    let text = read::text(node)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if text == "UTC" || (text.contains('/') && text.len() <= 64 && text.chars().all(good)) {
        return Ok(text);
    }
    Err(Wrong::new("a time zone", "write for example Europe/Berlin, or UTC"))
}
