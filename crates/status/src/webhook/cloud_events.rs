//! What a webhook is sent, and what is made of its answer, without I/O.
//!
//! The event is a CloudEvent 1.0 in structured mode (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).

use crate::events::Happened;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// What a message is, for HTTP.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// So often one event is tried; with the pauses of [`Verdict::Again`] that is about two minutes.
pub const TRIES: u32 = 8;

/// The longest pause that an answer may ask for (`Retry-After`).
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Something that happened, told to a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// Unique at its source: who gets it twice knows it again.
    pub id: String,
    /// When, in microseconds since 1970.
    pub unix_micros: u64,
    /// What happened, and to what.
    pub happened: Happened,
    /// All that is known of it: a record of the timeline.
    pub record: Value,
}

/// The event. `source` is whose word it is (`/clusters/us-east`), `held_back` how many before it were not told.
#[must_use]
pub fn cloud_event(source: &str, telling: &Telling, held_back: u64) -> Value {
    let Telling { id, unix_micros, happened, record } = telling;
    let time = i64::try_from(*unix_micros).ok().and_then(|it| Timestamp::from_microsecond(it).ok());
    let object = &happened.object;
    let name =
        object.namespace.as_ref().map_or_else(|| object.name.clone(), |it| format!("{it}/{}", object.name));
    json!({
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": format!("dev.tidegate.{}", happened.reason),
        "subject": format!("{} {name}", object.kind),
        "time": time.unwrap_or_default().to_string(),
        "datacontenttype": "application/json",
        "data": {
            "severity": if happened.warning { "warning" } else { "normal" },
            "action": happened.action,
            "message": happened.note,
            "heldBack": held_back,
            "record": record,
        },
    })
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With this status, and the pause in seconds that it asks for.
    Status(u16, Option<u64>),
    /// With none.
    Nothing,
}

/// What is done after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Told,
    /// It is tried again after a pause.
    Again(Duration),
    /// It is given up.
    Lost,
}

/// After the `tries`th try; `random` is anything, and spreads the pauses of many senders over half of their length.
#[must_use]
pub fn judge(answer: Answer, tries: u32, random: u32) -> Verdict {
    let asked = match answer {
        Answer::Status(200..=299, _) => return Verdict::Told,
        // It may work later. Whatever else is wrong with it (a redirection, a path that is not there, a missing token) stays so.
        Answer::Status(408 | 425 | 429 | 500..=599, asked) => asked,
        Answer::Status(..) => return Verdict::Lost,
        Answer::Nothing => None,
    };
    if tries >= TRIES {
        return Verdict::Lost;
    }
    let longest = Duration::from_secs(1 << tries.clamp(1, 6)) / 2;
    let pause = longest.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0);
    Verdict::Again(asked.map_or(pause, |it| Duration::from_secs(it).max(pause)).min(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::Object;

    #[test]
    fn an_event_says_what_happened_to_what_and_when() {
        let object = Object {
            api_version: "v1".into(),
            kind: "Service".into(),
            plural: "services".into(),
            namespace: Some("shop".into()),
            name: "web".into(),
        };
        let happened = Happened {
            object,
            uid: None,
            warning: true,
            reason: "FailedOver",
            action: "Failover",
            note: "zone a to zone b".into(),
        };
        let telling = Telling {
            id: "7-12".into(),
            unix_micros: 1_795_428_000_000_001,
            happened,
            record: json!({"seq": 12}),
        };
        let event = cloud_event("/clusters/us-east", &telling, 3);
        let wanted = json!({
            "specversion": "1.0", "id": "7-12", "source": "/clusters/us-east", "type": "dev.tidegate.FailedOver",
            "subject": "Service shop/web", "time": "2026-11-23T10:00:00.000001Z", "datacontenttype": "application/json",
            "data": {"severity": "warning", "action": "Failover", "message": "zone a to zone b", "heldBack": 3, "record": {"seq": 12}},
        });
        assert_eq!(event, wanted);
    }

    #[test]
    fn what_may_work_later_is_tried_again_with_growing_pauses_and_what_never_will_is_not() {
        assert_eq!(judge(Answer::Status(204, None), 1, 0), Verdict::Told);
        for status in [301, 400, 401, 404, 413] {
            assert_eq!(judge(Answer::Status(status, None), 1, 0), Verdict::Lost, "{status}");
        }
        let pauses = |random| (1..=TRIES).map(move |tries| judge(Answer::Nothing, tries, random));
        let seconds = |it: Verdict| match it {
            Verdict::Again(pause) => pause.as_secs_f64(),
            _ => 0.0,
        };
        let (short, long): (Vec<f64>, Vec<f64>) =
            (pauses(0).map(seconds).collect(), pauses(u32::MAX).map(seconds).collect());
        assert_eq!(short, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 0.0]);
        assert_eq!(long, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0, 0.0]);
        assert_eq!(pauses(0).next_back(), Some(Verdict::Lost));
        assert_eq!(judge(Answer::Status(503, Some(20)), 1, 0), Verdict::Again(Duration::from_secs(20)));
        assert_eq!(judge(Answer::Status(429, Some(86_400)), 1, 0), Verdict::Again(MAX_PAUSE));
    }
}
