//! Which objects every gateway has, without I/O. What the store was given reaches a stream a moment later, so one look is not enough;
//! and what was settled stays so until the object changes: a change of one is no news of the others.

use std::{collections::BTreeMap, mem, time::Duration};
use tidegate_discovery::kube::Subject;
use tidegate_model::Time;

/// A change is told as pending only if gateways have not taken it within this time: mostly they have, and one write says all.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of each object, by its path.
#[derive(Debug, Default)]
pub(super) struct Settled {
    objects: BTreeMap<String, One>,
    /// Gateways had all, in the look before.
    seemed: bool,
}

#[derive(Debug)]
struct One {
    generation: Option<i64>,
    since: Time,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It has just changed.
    New,
    /// Gateways do not have it yet, and that is told.
    Late,
    /// Every gateway has it.
    Everywhere,
}

impl Settled {
    /// Takes in what there is; whether any of it was not there before, or is gone.
    pub(super) fn take(&mut self, now: Time, subjects: &[Subject]) -> bool {
        let mut before = mem::take(&mut self.objects);
        let mut news = false;
        for subject in subjects {
            let kept = before.remove(&subject.path).filter(|one| one.generation == subject.generation);
            news |= kept.is_none();
            let one = kept.unwrap_or(One { generation: subject.generation, since: now, how: How::New });
            self.objects.insert(subject.path.clone(), one);
        }
        // What gateways had was not this.
        self.seemed &= !news;
        news || !before.is_empty()
    }

    /// Takes a look; whether any object stands otherwise than before.
    pub(super) fn look(&mut self, now: Time, gateways_have_all: bool) -> bool {
        let sure = gateways_have_all && mem::replace(&mut self.seemed, gateways_have_all);
        let mut news = false;
        for one in self.objects.values_mut() {
            let how = match one.how {
                How::Everywhere => How::Everywhere,
                _ if sure => How::Everywhere,
                How::New if now.since(one.since) < PATIENCE => How::New,
                _ => How::Late,
            };
            news |= mem::replace(&mut one.how, how) != how;
        }
        news
    }

    /// Whether every gateway has it; `None` while it is too early to say.
    pub(super) fn everywhere(&self, path: &str) -> Option<bool> {
        match self.objects.get(path)?.how {
            How::New => None,
            How::Late => Some(false),
            How::Everywhere => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &str, generation: i64) -> Subject {
        Subject {
            api_version: "v1".into(),
            kind: "HTTPRoute",
            plural: "httproutes",
            namespace: None,
            name: name.into(),
            uid: None,
            generation: Some(generation),
            path: name.into(),
            spec: serde_json::Value::Null,
        }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn an_object_is_everywhere_after_two_looks_and_stays_so_while_others_change() {
        let mut settled = Settled::default();
        assert!(settled.take(at(0), &[subject("a", 1)]));
        assert!(!settled.look(at(0), true));
        assert_eq!(settled.everywhere("a"), None);
        assert!(settled.look(at(500), true));
        assert_eq!(settled.everywhere("a"), Some(true));
        assert!(!settled.look(at(1000), true));
        assert!(settled.take(at(1100), &[subject("a", 1), subject("b", 1)]));
        assert!(!settled.look(at(1500), false));
        assert_eq!((settled.everywhere("a"), settled.everywhere("b")), (Some(true), None));
        assert!(settled.look(at(5000), false));
        assert_eq!(settled.everywhere("b"), Some(false));
    }

    #[test]
    fn what_gateways_had_before_a_change_says_nothing_of_it() {
        let mut settled = Settled::default();
        settled.take(at(0), &[subject("a", 1)]);
        settled.look(at(0), true);
        settled.look(at(500), true);
        assert!(settled.take(at(900), &[subject("a", 2)]));
        assert!(!settled.look(at(1000), true));
        assert_eq!(settled.everywhere("a"), None);
        assert!(settled.look(at(1500), true));
        assert_eq!(settled.everywhere("a"), Some(true));
        assert!(settled.take(at(2000), &[]));
        assert_eq!(settled.everywhere("a"), None);
    }
}
