//! How far declared shifts are, for the status of their objects, without I/O.

use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tidegate_api::{parse_duration, time_text};
use tidegate_discovery::kube::Subject;

/// An end that is worked out from what remains moves by so much from look to look, and is no news.
const SLACK: u64 = 2;

/// The declared shifts, by `NAMESPACE/NAME`: what remains of each that is in force.
pub(crate) type Declared = BTreeMap<String, Option<Duration>>;

/// What is told of each; `None` before the first look.
#[derive(Debug, Default)]
pub(super) struct Shifts(Option<BTreeMap<String, One>>);

/// What a look shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether any shift stands otherwise than before.
    pub(super) news: bool,
    /// The shifts that began or ended since the look before, and which of both.
    pub(super) turned: Vec<(String, Turn)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Began,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum One {
    /// It ends then, in seconds since 1970.
    Active(u64),
    Ended,
}

impl Shifts {
    /// Takes a look at `now`, in seconds since 1970.
    pub(super) fn look(&mut self, now: u64, declared: &Declared) -> Look {
        let nothing = BTreeMap::new();
        let before = self.0.as_ref().unwrap_or(&nothing);
        let one = |(name, remaining): (&String, &Option<Duration>)| {
            let Some(remaining) = remaining else { return (name.clone(), One::Ended) };
            let ends = now + remaining.as_secs();
            let same = |it: &&One| matches!(it, One::Active(before) if before.abs_diff(ends) <= SLACK);
            (name.clone(), before.get(name).filter(same).copied().unwrap_or(One::Active(ends)))
        };
        let next: BTreeMap<String, One> = declared.iter().map(one).collect();
        let active = |of: Option<&One>| matches!(of, Some(One::Active(_)));
        let turn = |(name, one): (&String, &One)| match (active(before.get(name)), active(Some(one))) {
            (false, true) => Some((name.clone(), Turn::Began)),
            (true, false) => Some((name.clone(), Turn::Ended)),
            _ => None,
        };
        // What was so when this began to look is no news to tell.
        let turned = if self.0.is_some() { next.iter().filter_map(turn).collect() } else { Vec::new() };
        let news = *before != next;
        self.0 = Some(next);
        Look { news, turned }
    }

    /// The fields of the status of a shift's object. One that is not `accepted` is not carried out as it is written.
    pub(super) fn status(&self, subject: &Subject, accepted: bool) -> Value {
        let name = format!("{}/{}", subject.namespace.as_deref().unwrap_or_default(), subject.name);
        let text = |field: &str| subject.spec.get(field).and_then(Value::as_str);
        if !accepted {
            return json!({"phase": "Refused"});
        }
        match self.0.as_ref().and_then(|it| it.get(&name)) {
            None => json!({"phase": "Pending"}),
            Some(One::Ended) => json!({"phase": "Ended"}),
            Some(One::Active(ends)) => {
                // What its author wrote is exact; when one of them began is not worked out, but seen.
                let lasts = text("for").and_then(parse_duration).map(|it| it.as_secs());
                let started = lasts.map(|lasts| time_text(ends.saturating_sub(lasts))).unwrap_or_default();
                let ends = text("expiresAt").map_or_else(|| time_text(*ends), str::to_owned);
                json!({"phase": "Active", "startedAt": started, "endsAt": ends})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(spec: Value) -> Subject {
        Subject {
            api_version: "tidegate.dev/v1alpha1".into(),
            kind: "TrafficShift",
            plural: "trafficshifts",
            namespace: Some("shop".into()),
            name: "away".into(),
            uid: None,
            generation: Some(1),
            path: String::new(),
            spec,
        }
    }

    fn declared(remaining: Option<u64>) -> Declared {
        [("shop/away".to_owned(), remaining.map(Duration::from_secs))].into()
    }

    #[test]
    fn a_shift_is_pending_then_active_until_a_time_that_stays_and_then_over() {
        let (mut shifts, spec) = (Shifts::default(), subject(json!({"for": "30m"})));
        assert_eq!(shifts.status(&spec, true), json!({"phase": "Pending"}));
        assert!(!shifts.look(999, &Declared::new()).news);
        let began = shifts.look(1000, &declared(Some(1800)));
        assert_eq!(began, Look { news: true, turned: vec![("shop/away".to_owned(), Turn::Began)] });
        let active = shifts.status(&spec, true);
        assert_eq!(
            active,
            json!({"phase": "Active", "startedAt": "1970-01-01T00:16:40Z", "endsAt": "1970-01-01T00:46:40Z"})
        );
        assert!(!shifts.look(1011, &declared(Some(1788))).news, "rounded otherwise");
        assert_eq!(shifts.status(&spec, true), active);
        let longer = shifts.look(1020, &declared(Some(3600)));
        assert_eq!(longer, Look { news: true, turned: Vec::new() }, "it was prolonged");
        let ended = shifts.look(1030, &declared(None));
        assert_eq!(ended.turned, [("shop/away".to_owned(), Turn::Ended)]);
        assert_eq!(shifts.status(&spec, true), json!({"phase": "Ended"}));
        assert_eq!(shifts.status(&spec, false), json!({"phase": "Refused"}));
    }

    #[test]
    fn an_end_that_was_written_is_told_as_it_was_written() {
        let mut shifts = Shifts::default();
        let first = shifts.look(1000, &declared(Some(7)));
        assert_eq!(first, Look { news: true, turned: Vec::new() }, "it ran before");
        let status = shifts.status(&subject(json!({"expiresAt": "1970-01-01T01:16:47+01:00"})), true);
        assert_eq!(
            (&status["startedAt"], &status["endsAt"]),
            (&json!(""), &json!("1970-01-01T01:16:47+01:00"))
        );
    }
}
