//! Changes that were refused to somebody who is known, for the audit log: how many records they may make. Pure; times are passed in.
//!
//! The first of somebody to a path is recorded at once. Whoever goes on is counted, and the count recorded when [`EACH`] is over, so a
//! script that tries again and again makes two records in that time and not thousands. Who is not known makes none.

use std::{
    collections::BTreeMap,
    mem::take,
    time::{Duration, Instant},
};

/// The same of somebody is recorded once in so long, and once more with its count.
const EACH: Duration = Duration::from_secs(30);
/// So many paths of somebody are told apart in that time.
const PATHS: usize = 5;
/// What stands for the others.
const OTHERS: &str = "other changes";
/// So many characters of a request are kept.
const MAX_REQUEST: usize = 300;

/// What was refused a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// By who asked, and for what path.
    told: BTreeMap<String, BTreeMap<String, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// So many came since, the last of them for this reason.
    more: u64,
    why: String,
}

/// A record of the audit log: who, and the detail.
pub(crate) type Detail = (String, String);

impl Refused {
    /// It was refused: `path` is the method with the path, `query` the rest of the request. What is to be recorded now, if anything is.
    pub(crate) fn note(
        &mut self,
        who: &str,
        (path, query): (&str, &str),
        why: String,
        now: Instant,
    ) -> Option<Detail> {
        let told = self.told.entry(who.to_owned()).or_default();
        let is_told_apart = told.contains_key(path) || told.len() < PATHS;
        let key = if is_told_apart { path } else { OTHERS };
        if let Some(known) = told.get_mut(key) {
            (known.more, known.why) = (known.more + 1, why);
            return None;
        }
        let request: String = format!("{path}{query}").chars().take(MAX_REQUEST).collect();
        let detail = format!("{request}: {why}");
        told.insert(key.to_owned(), Told { at: now, more: 0, why });
        Some((who.to_owned(), detail))
    }

    /// Counts that are due; all of them if it is `over`.
    pub(crate) fn due(&mut self, now: Instant, over: bool) -> Vec<Detail> {
        let mut due = Vec::new();
        for (who, all) in &mut self.told {
            let (old, new) = take(all)
                .into_iter()
                .partition(|(_, it)| over || now.saturating_duration_since(it.at) >= EACH);
            let old: BTreeMap<String, Told> = old;
            *all = new;
            for (path, Told { more, why, .. }) in old.into_iter().filter(|(_, it)| it.more > 0) {
                let path: String = path.chars().take(MAX_REQUEST).collect();
                due.push((
                    who.clone(),
                    format!("{path}: {more} more in {} s, the last: {why}", EACH.as_secs()),
                ));
            }
        }
        self.told.retain(|_, all| !all.is_empty());
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_recorded_at_once_and_the_others_as_a_count() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let mut note =
            |who: &str, path: &str, at| refused.note(who, (path, "?zone=a"), "viewer".to_owned(), at);
        let (who, detail) = note("vera", "POST /api/v1/shifts", now).unwrap();
        assert_eq!((who.as_str(), detail.as_str()), ("vera", "POST /api/v1/shifts?zone=a: viewer"));
        for _ in 0..1000 {
            assert_eq!(note("vera", "POST /api/v1/shifts", now), None);
        }
        assert!(note("otto", "POST /api/v1/shifts", now).is_some(), "somebody else");
        assert_eq!(refused.due(now + EACH / 2, false), []);
        let text = "POST /api/v1/shifts: 1000 more in 30 s, the last: viewer".to_owned();
        assert_eq!(refused.due(now + EACH, false), [("vera".to_owned(), text)]);
        assert!(refused.told.is_empty());
        assert!(refused.note("vera", ("POST /api/v1/shifts", ""), String::new(), now + EACH).is_some());
    }

    #[test]
    fn however_many_paths_somebody_tries_few_are_recorded() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let tried = (0..10_000).map(|it| format!("DELETE /api/v1/shifts/{it}{}", "x".repeat(4000)));
        let recorded: Vec<Detail> =
            tried.filter_map(|path| refused.note("vera", (&path, ""), "viewer".to_owned(), now)).collect();
        assert_eq!(recorded.len(), PATHS + 1);
        assert!(recorded.iter().all(|(_, detail)| detail.len() < 400));
        let due = refused.due(now, true);
        assert_eq!(due.len(), 1);
        assert!(due[0].1.starts_with("other changes: 9994 more"), "{due:?}");
    }
}
