//! When an object is told what became of it, without I/O. Mostly a change is in force a moment later, and one write says all; and a
//! hub that has just started knows nothing of clusters that are about to connect, which is no news of them.

use serde_json::Value;
use std::{collections::BTreeMap, mem, time::Duration};
use tidegate_model::Time;
use tidegate_status::writer::Object;

/// What waits for clusters is told only if it still does after this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// Agents are back with a hub that was restarted within this time: they wait 9 s at most before they try again.
const RETURN: Duration = Duration::from_secs(15);

/// What an object is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) object: Object,
    /// Without times.
    pub(super) status: Value,
    /// Whether it waits for nobody.
    pub(super) settled: bool,
}

/// What there is to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct News {
    /// What is told now.
    pub(super) told: Vec<(Object, Value)>,
    /// What there is no more.
    pub(super) gone: Vec<Object>,
}

/// What each object was told.
#[derive(Debug, Default)]
pub(super) struct Settled(BTreeMap<Object, One>);

#[derive(Debug, Default)]
struct One {
    told: Option<Value>,
    /// Since when it waits for clusters.
    waits: Option<Time>,
}

impl Settled {
    /// Takes in what all objects are to be told. `now` counts from the start of the hub.
    pub(super) fn take(&mut self, now: Time, wanted: Vec<Wanted>) -> News {
        let mut before = mem::take(&mut self.0);
        let mut news = News::default();
        for Wanted { object, status, settled } in wanted {
            let mut one = before.remove(&object).unwrap_or_default();
            one.waits = (!settled).then(|| one.waits.unwrap_or(now));
            let due =
                one.waits.is_none_or(|since| now.since(since) >= PATIENCE && now.since_origin() >= RETURN);
            if due && one.told.as_ref() != Some(&status) {
                news.told.push((object.clone(), status.clone()));
                one.told = Some(status);
            }
            self.0.insert(object, one);
        }
        news.gone = before.into_keys().collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, status: &str, settled: bool) -> Wanted {
        let object = Object {
            api_version: "v1".into(),
            kind: "FailoverPolicy".into(),
            plural: "failoverpolicies".into(),
            namespace: None,
            name: name.into(),
        };
        Wanted { object, status: status.into(), settled }
    }

    fn told(settled: &mut Settled, ms: u64, wanted: Wanted) -> Vec<Value> {
        let news = settled.take(Time::from_millis(ms), vec![wanted]);
        news.told.into_iter().map(|(_, status)| status).collect()
    }

    #[test]
    fn what_is_in_force_at_once_is_told_once() {
        let mut it = Settled::default();
        assert_eq!(told(&mut it, 20_000, wanted("a", "waits", false)), [""; 0]);
        assert_eq!(told(&mut it, 21_000, wanted("a", "in force", true)), ["in force"]);
        assert_eq!(told(&mut it, 22_000, wanted("a", "in force", true)), [""; 0]);
    }

    #[test]
    fn what_waits_is_told_after_a_while_and_then_each_change_of_it() {
        let mut it = Settled::default();
        assert_eq!(told(&mut it, 20_000, wanted("a", "waits for b, c", false)), [""; 0]);
        assert_eq!(told(&mut it, 23_000, wanted("a", "waits for b, c", false)), ["waits for b, c"]);
        assert_eq!(told(&mut it, 23_100, wanted("a", "waits for b", false)), ["waits for b"]);
        assert_eq!(told(&mut it, 23_200, wanted("a", "in force", true)), ["in force"]);
        // The next change waits anew.
        assert_eq!(told(&mut it, 23_300, wanted("a", "waits for b", false)), [""; 0]);
    }

    #[test]
    fn a_hub_that_has_just_started_does_not_tell_that_it_waits() {
        let mut it = Settled::default();
        assert_eq!(told(&mut it, 0, wanted("a", "waits", false)), [""; 0]);
        assert_eq!(told(&mut it, 14_999, wanted("a", "waits", false)), [""; 0]);
        assert_eq!(told(&mut it, 15_000, wanted("a", "waits", false)), ["waits"]);
        assert_eq!(told(&mut Settled::default(), 0, wanted("a", "is wrong", true)), ["is wrong"]);
    }

    #[test]
    fn what_is_gone_is_told_once() {
        let mut it = Settled::default();
        let a = wanted("a", "in force", true);
        it.take(Time::ZERO, vec![a.clone()]);
        assert_eq!(it.take(Time::ZERO, Vec::new()).gone, [a.object]);
        assert_eq!(it.take(Time::ZERO, Vec::new()), News::default());
    }
}
