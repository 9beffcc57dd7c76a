//! What the status of drills and their schedules says of runs, without I/O.

use super::condition;
use crate::{
    drills::{Picture, Runs},
    view::DrillView,
};
use serde_json::{Value, json};
use tidegate_api::time_text;

/// The longest message.
const LONGEST: usize = 1_000;

/// Adds what is known of a drill to the status of its object. A name is `NAMESPACE/NAME`.
pub(super) fn drill(status: &mut Value, name: &str, generation: Option<i64>, picture: &Picture) {
    let report = picture.reports.iter().find(|it| it.drill == name);
    if let Some(report) = report {
        let (result, why) = outcome(report);
        add(status, condition("Passed", report.passed, (result, &why), generation));
    }
    let runs = picture.runs.as_ref().filter(|it| it.drill == name);
    if let Some(run) = runs.map(running).or_else(|| report.map(ended)) {
        status["lastRun"] = run;
    }
}

/// The same of a schedule.
pub(super) fn schedule(status: &mut Value, name: &str, generation: Option<i64>, picture: &Picture) {
    let next = picture.schedules.iter().find(|it| it.schedule == name).and_then(|it| it.next);
    if let Some(next) = next {
        status["nextRunAt"] = time_text(next).into();
    }
    let mut slots = picture.slots.iter().rev().filter(|it| it.schedule == name).peekable();
    if let Some(last) = slots.peek() {
        let told = match &last.skipped {
            Some(why) => condition("Ran", false, ("Skipped", &short(why)), generation),
            None => condition("Ran", true, ("Begun", ""), generation),
        };
        add(status, told);
    }
    let run = slots.find_map(|slot| {
        let id = slot.id.as_deref()?;
        let runs = picture.runs.as_ref().filter(|it| it.id == id).map(running);
        let report = || picture.reports.iter().find(|it| it.id == id).map(ended);
        let left = || {
            let why = slot.ended.as_deref()?;
            Some(json!({"id": id, "result": "Broken", "startedAt": time_text(slot.due), "message": short(why)}))
        };
        runs.or_else(report).or_else(left)
    });
    if let Some(run) = run {
        status["lastRun"] = run;
    }
}

fn add(status: &mut Value, condition: Value) {
    if let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        list.push(condition);
    }
}

fn running(run: &Runs) -> Value {
    json!({"id": run.id, "result": "Running", "startedAt": time_text(run.started_at)})
}

fn ended(report: &DrillView) -> Value {
    let (result, why) = outcome(report);
    // One that was not started began and ended as it was signed.
    let started = if report.started_at.is_empty() { &report.signed_at } else { &report.started_at };
    let mut run = json!({
        "id": report.id,
        "result": result,
        "startedAt": started,
        "endedAt": report.signed_at,
    });
    if !why.is_empty() {
        run["message"] = why.into();
    }
    run
}

/// How a run ended, in a word and a sentence.
pub(crate) fn outcome(report: &DrillView) -> (&'static str, String) {
    let DrillView { objectives, objectives_met, .. } = report;
    let kept = match objectives {
        0 => String::new(),
        all => format!("{objectives_met} of {all} objectives met"),
    };
    let result = match &*report.ending {
        _ if report.passed => "Passed",
        "completed" => "Failed",
        "stopped" => "Stopped",
        _ => "Broken",
    };
    let said: Vec<&str> =
        report.why.as_deref().into_iter().chain([&*kept]).filter(|it| !it.is_empty()).collect();
    (result, short(&said.join("; ")))
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drills::{Slot, Upcoming};

    fn report(id: &str, ending: &str, passed: bool) -> DrillView {
        DrillView {
            id: id.into(),
            drill: "shop/leave".into(),
            started_at: "2026-11-01T12:00:00Z".into(),
            signed_at: "2026-11-01T12:05:00Z".into(),
            ending: ending.into(),
            passed,
            objectives: 3,
            objectives_met: if passed { 3 } else { 1 },
            ..DrillView::default()
        }
    }

    fn slot(slot: u64, id: Option<&str>, skipped: Option<&str>, ended: Option<&str>) -> Slot {
        Slot {
            schedule: "shop/nightly".into(),
            drill: "shop/leave".into(),
            slot,
            due: slot,
            skipped: skipped.map(Into::into),
            id: id.map(Into::into),
            ended: ended.map(Into::into),
        }
    }

    fn told(of: fn(&mut Value, &str, Option<i64>, &Picture), name: &str, picture: &Picture) -> Value {
        let mut status = json!({"conditions": []});
        of(&mut status, name, Some(2), picture);
        status
    }

    #[test]
    fn a_drill_says_how_its_last_run_ended_and_that_one_runs() {
        let mut picture = Picture {
            reports: vec![report("b", "completed", false), report("a", "completed", true)],
            ..Picture::default()
        };
        assert_eq!(told(drill, "shop/other", &picture), json!({"conditions": []}));
        let status = told(drill, "shop/leave", &picture);
        assert_eq!((&status["lastRun"]["id"], &status["lastRun"]["result"]), (&json!("b"), &json!("Failed")));
        assert_eq!(status["lastRun"]["message"], "1 of 3 objectives met");
        let passed = &status["conditions"][0];
        assert_eq!((&passed["type"], &passed["status"]), (&json!("Passed"), &json!("False")));
        assert_eq!((&passed["reason"], &passed["observedGeneration"]), (&json!("Failed"), &json!(2)));
        picture.runs =
            Some(Runs { id: "c".into(), drill: "shop/leave".into(), started_at: 60, schedule: None });
        let status = told(drill, "shop/leave", &picture);
        let run = json!({"id": "c", "result": "Running", "startedAt": "1970-01-01T00:01:00Z"});
        assert_eq!((&status["lastRun"], &status["conditions"][0]["status"]), (&run, &json!("False")));
    }

    #[test]
    fn a_schedule_says_what_is_next_what_ran_and_what_was_skipped() {
        let mut picture = Picture {
            schedules: vec![Upcoming { schedule: "shop/nightly".into(), next: Some(120) }],
            ..Picture::default()
        };
        let status = told(schedule, "shop/nightly", &picture);
        assert_eq!(status, json!({"conditions": [], "nextRunAt": "1970-01-01T00:02:00Z"}));
        picture.reports = vec![report("a", "stopped", false)];
        picture.slots = vec![slot(1, Some("a"), None, None), slot(2, None, Some("another one runs"), None)];
        let status = told(schedule, "shop/nightly", &picture);
        let ran = &status["conditions"][0];
        assert_eq!((&ran["reason"], &ran["message"]), (&json!("Skipped"), &json!("another one runs")));
        assert_eq!(status["lastRun"]["result"], "Stopped", "what was skipped is no run");
        picture.slots.push(slot(3, Some("gone"), None, Some("the hub was killed")));
        let status = told(schedule, "shop/nightly", &picture);
        assert_eq!(status["lastRun"]["result"], "Broken");
        assert_eq!(status["conditions"][0]["reason"], "Begun");
    }
}
