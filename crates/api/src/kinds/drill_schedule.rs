//! `DrillSchedule`: when drills run by themselves. It is read and checked; the hub does not run it yet.

use crate::{
    fields::{Field, Fields, Issues, Wrong},
    object::Meta,
    read,
    yaml::Node,
};
use std::time::Duration;

/// The longest time by which a run may be put off.
const MAX_JITTER: Duration = Duration::from_secs(24 * 3600);

/// The fields of cron: their names, least and greatest values.
const CRON: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7)];

/// What a `DrillSchedule` says.
#[derive(Debug, PartialEq)]
pub(crate) struct ScheduleSpec {
    /// The `Drill`, as `NAMESPACE/NAME`.
    pub(crate) drill: Field<String>,
}

pub(super) fn read(fields: &mut Fields<'_>, meta: &Meta, issues: &mut Issues) -> Option<ScheduleSpec> {
    let hint = "add `spec: {drill: NAME, cron: \"0 10 * * 2\", timeZone: Europe/Berlin}`";
    let mut spec = fields.required_map("spec", hint, issues)?;
    let drill = spec.required_value("drill", "name a Drill of the same namespace", issues, read::object_name);
    let hint = "say when: `cron: \"0 10 * * 2\"` is Tuesdays at ten";
    let cron = spec.required_value("cron", hint, issues, cron);
    let hint = "say whose ten o'clock: `timeZone: Europe/Berlin`, or UTC";
    let zone = spec.required_value("timeZone", hint, issues, time_zone);
    spec.value("jitter", issues, read::duration(Duration::ZERO..=MAX_JITTER));
    spec.value("suspend", issues, read::boolean);
    spec.finish(issues);
    cron?;
    zone?;
    let drill = drill?;
    Some(ScheduleSpec { drill: Field { value: format!("{}/{}", meta.namespace, drill.value), at: drill.at } })
}

/// Five fields of numbers, ranges, lists and steps.
fn cron(node: &Node) -> Result<(), Wrong> {
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
    Ok(())
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
fn time_zone(node: &Node) -> Result<(), Wrong> {
    let text = read::text(node)?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if text == "UTC" || (text.contains('/') && text.len() <= 64 && text.chars().all(good)) {
        return Ok(());
    }
    Err(Wrong::new("a time zone", "write for example Europe/Berlin, or UTC"))
}
