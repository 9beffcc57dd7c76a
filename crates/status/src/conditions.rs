//! What a status becomes: conditions as Kubernetes' API conventions have them, without I/O.
//!
//! A status is handed in as JSON. Wherever it holds a list `conditions`, `lastTransitionTime` of each is filled in: when its `status`
//! last changed, as the server remembers it, else now. Everything else is taken as it is. Two statuses that differ in
//! `lastTransitionTime` alone are the same.
//!
//! Two more kinds of lists are known: in a list of what controllers say (`controllerName`), what others say stays; and in one of
//! what clusters say (`cluster`), `reportedAt` stays what it was as long as a cluster says the same. An empty `startedAt` beside a
//! `phase` is since when it is this phase.

use serde_json::{Map, Value};

/// The status to write, if it differs from the one that is there: `wanted` with its transition times. What `present` holds beside
/// it (another writer's conditions and fields) does not count.
#[must_use]
pub fn next(present: &Value, wanted: &Value, now: &str) -> Option<Value> {
    let mut next = wanted.clone();
    let same = fill(present, &mut next, now);
    (!same).then_some(next)
}

/// Fills in the transition times of `wanted`, and tells whether `present` holds all of it already.
fn fill(present: &Value, wanted: &mut Value, now: &str) -> bool {
    match wanted {
        Value::Object(fields) => {
            let mut same = present.is_object();
            begin(present, fields, now);
            for (name, value) in fields {
                let there = present.get(name).unwrap_or(&Value::Null);
                same &= match value {
                    Value::Array(list) if name == "conditions" => conditions(there, list, now),
                    value => fill(there, value, now),
                };
            }
            same
        }
        Value::Array(list) => {
            let there = present.as_array().map_or(&[][..], Vec::as_slice);
            keep_others(there, list);
            keep_reports(there, list);
            let mut same = present.is_array() && there.len() == list.len();
            for (index, value) in list.iter_mut().enumerate() {
                same &= fill(there.get(index).unwrap_or(&Value::Null), value, now);
            }
            same
        }
        value => *value == *present,
    }
}

/// Fills in since when it is this phase.
fn begin(present: &Value, wanted: &mut Map<String, Value>, now: &str) {
    if wanted.get("startedAt").and_then(Value::as_str) != Some("") {
        return;
    }
    let same = present.get("phase") == wanted.get("phase");
    let since = present.get("startedAt").and_then(Value::as_str).filter(|_| same).unwrap_or(now);
    wanted.insert("startedAt".to_owned(), since.into());
}

/// The lists of what several controllers say.
const SHARED: [&str; 2] = ["parents", "ancestors"];

/// What is left of a status when `controller` has nothing to say of the object any more: what others say in lists that are shared;
/// and whether it said anything there. Fields that are its own go by not being applied again.
#[must_use]
pub fn withdrawn(present: &Value, controller: &str) -> (Value, bool) {
    let (mut left, mut said) = (Map::new(), false);
    for name in SHARED {
        let Some(list) = present.get(name).and_then(Value::as_array) else { continue };
        let is_own = |it: &&Value| it.get("controllerName").and_then(Value::as_str) == Some(controller);
        let others: Vec<Value> = list.iter().filter(|it| !is_own(it)).cloned().collect();
        said |= others.len() < list.len();
        // The list belongs to who applied it last: without it, what others say would go, too.
        left.insert(name.to_owned(), others.into());
    }
    (Value::Object(left), said)
}

/// Puts what other controllers say in front.
fn keep_others(there: &[Value], wanted: &mut Vec<Value>) {
    let Some(ours) = wanted.iter().find_map(|it| it.get("controllerName")).cloned() else { return };
    let others = there.iter().filter(|it| it.get("controllerName").is_some_and(|name| *name != ours));
    wanted.splice(0..0, others.cloned().collect::<Vec<_>>());
}

/// Keeps the time of reports that say nothing new.
fn keep_reports(there: &[Value], wanted: &mut [Value]) {
    for report in wanted.iter_mut().filter_map(Value::as_object_mut) {
        let Some(cluster) = report.get("cluster").cloned() else { continue };
        let before = there.iter().filter_map(Value::as_object).find(|it| it.get("cluster") == Some(&cluster));
        let Some(before) = before else { continue };
        let says = |it: &Map<String, Value>| {
            let mut said = it.clone();
            said.remove("reportedAt");
            said
        };
        if let Some(at) = before.get("reportedAt").filter(|_| says(before) == says(report)) {
            report.insert("reportedAt".to_owned(), at.clone());
        }
    }
}

fn conditions(present: &Value, wanted: &mut [Value], now: &str) -> bool {
    let there = present.as_array().map_or(&[][..], Vec::as_slice);
    let mut same = true;
    for condition in wanted.iter_mut().filter_map(Value::as_object_mut) {
        let before = there
            .iter()
            .filter_map(Value::as_object)
            .find(|before| before.get("type") == condition.get("type"));
        let kept = before.filter(|before| before.get("status") == condition.get("status"));
        let since =
            kept.and_then(|before| before.get("lastTransitionTime")).and_then(Value::as_str).unwrap_or(now);
        condition.insert("lastTransitionTime".to_owned(), since.into());
        same &= before.is_some_and(|before| holds(before, condition));
    }
    same
}

/// Whether `before` holds every field of `wanted`.
fn holds(before: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(name, value)| before.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn accepted(status: &str, reason: &str) -> Value {
        json!({"conditions": [{"type": "Accepted", "status": status, "reason": reason, "message": "", "observedGeneration": 1}]})
    }

    #[test]
    fn a_first_status_is_written_with_the_time_and_then_not_again() {
        let written = next(&Value::Null, &accepted("True", "Accepted"), "T1").expect("is new");
        assert_eq!(written["conditions"][0]["lastTransitionTime"], "T1");
        assert_eq!(next(&written, &accepted("True", "Accepted"), "T2"), None);
    }

    #[test]
    fn the_time_of_a_transition_moves_with_the_status_and_not_with_the_reason() {
        let first = next(&Value::Null, &accepted("True", "Accepted"), "T1").expect("is new");
        let second = next(&first, &accepted("True", "Other"), "T2").expect("another reason");
        assert_eq!(second["conditions"][0]["lastTransitionTime"], "T1");
        let third = next(&second, &accepted("False", "Other"), "T3").expect("another status");
        assert_eq!(third["conditions"][0]["lastTransitionTime"], "T3");
    }

    #[test]
    fn what_others_wrote_beside_it_does_not_count() {
        let mut present = next(&Value::Null, &accepted("True", "Accepted"), "T1").expect("is new");
        present["theirs"] = json!(1);
        present["conditions"]
            .as_array_mut()
            .expect("a list")
            .insert(0, json!({"type": "Theirs", "status": "False"}));
        assert_eq!(next(&present, &accepted("True", "Accepted"), "T2"), None);
    }

    #[test]
    fn what_other_controllers_say_in_a_list_stays() {
        let of = |controller: &str, condition: Value| json!({"controllerName": controller, "conditions": [condition]});
        let ours = |status: &str| of("ours", json!({"type": "Accepted", "status": status}));
        let theirs = of("theirs", json!({"type": "Accepted", "status": "False", "lastTransitionTime": "T0"}));
        let present = json!({"parents": [theirs, ours("True")]});
        let first = next(&present, &json!({"parents": [ours("False")]}), "T1").expect("is new");
        assert_eq!((&first["parents"][0], first["parents"].as_array().map(Vec::len)), (&theirs, Some(2)));
        assert_eq!(next(&first, &json!({"parents": [ours("False")]}), "T2"), None);
    }

    #[test]
    fn who_withdraws_takes_what_it_said_and_leaves_what_others_say() {
        let of = |controller: &str| json!({"controllerName": controller, "conditions": []});
        let present = json!({"parents": [of("theirs"), of("ours")], "conditions": [{"type": "Accepted"}]});
        assert_eq!(withdrawn(&present, "ours"), (json!({"parents": [of("theirs")]}), true));
        assert_eq!(withdrawn(&json!({"ancestors": [of("ours")]}), "ours"), (json!({"ancestors": []}), true));
        let theirs = json!({"parents": [of("theirs")]});
        assert_eq!(withdrawn(&theirs, "ours"), (theirs, false));
        assert_eq!(withdrawn(&Value::Null, "ours"), (json!({}), false));
    }

    #[test]
    fn a_phase_keeps_the_time_at_which_it_began() {
        let of = |phase: &str, at: &str| json!({"phase": phase, "startedAt": at});
        let first = next(&Value::Null, &of("Active", ""), "T1").expect("is new");
        assert_eq!(first["startedAt"], "T1");
        assert_eq!(next(&first, &of("Active", ""), "T2"), None);
        assert_eq!(next(&first, &of("Ended", ""), "T3").expect("ended")["startedAt"], "T3");
        assert_eq!(next(&first, &of("Active", "T0"), "T4").expect("is known")["startedAt"], "T0");
    }

    #[test]
    fn a_report_keeps_its_time_while_the_cluster_says_the_same() {
        let of =
            |state: &str, at: &str| json!({"clusters": [{"cluster": "a", "state": state, "reportedAt": at}]});
        let first = next(&Value::Null, &of("Pending", "T1"), "T1").expect("is new");
        assert_eq!(next(&first, &of("Pending", "T2"), "T2"), None);
        let second = next(&first, &of("Applied", "T3"), "T3").expect("says something else");
        assert_eq!(second["clusters"][0]["reportedAt"], "T3");
    }

    #[test]
    fn lists_are_compared_as_a_whole_and_conditions_within_them_keep_their_times() {
        let of = |status: &str| json!({"ancestors": [{"ancestorRef": {"name": "a"}, "conditions": [{"type": "Accepted", "status": status}]}]});
        let first = next(&Value::Null, &of("True"), "T1").expect("is new");
        assert_eq!(first["ancestors"][0]["conditions"][0]["lastTransitionTime"], "T1");
        assert_eq!(next(&first, &of("True"), "T2"), None);
        assert!(next(&first, &json!({"ancestors": []}), "T2").is_some());
        let second = next(&first, &of("False"), "T2").expect("changed");
        assert_eq!(second["ancestors"][0]["conditions"][0]["lastTransitionTime"], "T2");
    }
}
