//! What was rolled back stays so while the source still says otherwise. Pure.
//!
//! A rollback is made where policy is in force; the source goes on saying what it said. So the hub remembers of each object that
//! it put back what the source says of it, and hands out the former version for as long as the source says just that. Whatever
//! else changes in the source goes out; an object that its author changes, or reverts, is the author's again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_link::hub::{Objects, PolicyObject};

/// By object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RolledBack(pub(crate) BTreeMap<String, Kept>);

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kept {
    /// The text of which nobody wants anything; `None` if the source has it no more.
    said: Option<String>,
    /// What is handed out instead; `None` if nothing is.
    instead: Option<PolicyObject>,
}

impl RolledBack {
    /// From what the source says, as it is in force or was kept back before, to what was in force once.
    pub(crate) fn new(said: &Objects, former: &Objects) -> Self {
        let text = |objects: &Objects, key: &String| objects.get(key).map(|it| it.text.clone());
        let keys: std::collections::BTreeSet<_> = said.keys().chain(former.keys()).collect();
        let differ = keys.into_iter().filter(|key| text(said, key) != text(former, key));
        let kept = |key: &String| Kept { said: text(said, key), instead: former.get(key).cloned() };
        Self(differ.map(|key| (key.clone(), kept(key))).collect())
    }

    /// Turns what is handed out back into what the source says.
    pub(crate) fn restore(&self, objects: &mut Objects) {
        for (key, kept) in &self.0 {
            match (&kept.said, objects.get_mut(key)) {
                (Some(text), Some(object)) => object.text.clone_from(text),
                (Some(text), None) => {
                    let object = PolicyObject { source: String::new(), line: 1, text: text.clone() };
                    objects.insert(key.clone(), object);
                }
                (None, ..) => drop(objects.remove(key)),
            }
        }
    }

    /// What is handed out of what the source says. Forgets what it does not say any more.
    pub(crate) fn apply(&mut self, mut objects: Objects) -> Objects {
        self.0.retain(|key, kept| objects.get(key).map(|it| &it.text) == kept.said.as_ref());
        for (key, kept) in &self.0 {
            match &kept.instead {
                Some(former) => drop(objects.insert(key.clone(), former.clone())),
                None => drop(objects.remove(key)),
            }
        }
        objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(list: &[(&str, &str)]) -> Objects {
        let object = |text: &str| PolicyObject { source: "a".to_owned(), line: 1, text: text.to_owned() };
        list.iter().map(|(key, text)| ((*key).to_owned(), object(text))).collect()
    }

    #[test]
    fn what_was_rolled_back_stays_so_until_the_source_says_something_else() {
        let former = objects(&[("changed", "1"), ("same", "1"), ("removed", "1")]);
        let bad = objects(&[("changed", "2"), ("same", "1"), ("added", "1")]);
        let mut held = RolledBack::new(&bad, &former);
        assert_eq!(held.0.len(), 3);
        assert_eq!(held.apply(bad.clone()), former);
        // What has nothing to do with it goes out, also where it moves the others to other lines.
        let mut more = objects(&[("changed", "2"), ("same", "9"), ("added", "1"), ("new", "1")]);
        more.get_mut("changed").unwrap().line = 7;
        let out = held.apply(more);
        assert_eq!(out, objects(&[("changed", "1"), ("same", "9"), ("removed", "1"), ("new", "1")]));
        // An author who mends one has it back; the others stay.
        let mended = objects(&[("changed", "3"), ("same", "1"), ("added", "1")]);
        assert_eq!(held.apply(mended), objects(&[("changed", "3"), ("same", "1"), ("removed", "1")]));
        // A rollback of a rollback starts from what the source says.
        let mut said = former.clone();
        RolledBack::new(&bad, &former).restore(&mut said);
        let texts =
            |of: &Objects| of.iter().map(|(key, it)| (key.clone(), it.text.clone())).collect::<Vec<_>>();
        assert_eq!(texts(&said), texts(&bad));
        // A revert ends it all.
        assert_eq!(held.apply(former.clone()), former);
        assert!(held.0.is_empty());
    }
}
