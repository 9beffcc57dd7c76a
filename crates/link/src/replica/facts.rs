//! What a replica says of itself: facts by name, and what of them a listener still lacks. Pure.
//!
//! As with the pools of a peer link, a listener is told by version: whoever has version v is told what changed after v,
//! with the newest value. One index by version serves all listeners, and nothing is kept for any of them.

use crate::{
    lasting::{Lasting, LastingWord},
    proto,
};
use std::collections::BTreeMap;
use tidegate_model::Time;

/// Facts that one word holds at most: a word of a hundred thousand would hold up the next beat.
const FACTS_PER_WORD: usize = 10_000;
/// Facts that are so no more and that are remembered as that. When there are more all are forgotten, and whoever was not told
/// of them is told everything.
const MAX_GONE: usize = 10_000;

/// What is so, by name.
#[derive(Debug, Default)]
pub(super) struct Facts {
    version: u64,
    facts: BTreeMap<String, (Option<Vec<u8>>, u64)>,
    /// The name of the fact that changed with a version last.
    by_version: BTreeMap<u64, String>,
    gone: usize,
    lasting: Lasting,
    /// Whoever is behind this may miss something that is gone.
    forgotten: u64,
}

/// How far a listener was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    /// The version that it has heard of.
    version: u64,
    /// The version at which its first word was begun: of what was gone before that it never heard.
    began: u64,
}

/// What a listener lacks.
#[derive(Debug, PartialEq)]
pub(super) struct Lack {
    /// How far it is told with this.
    pub(super) told: Told,
    /// Whether it is to forget what it heard before.
    pub(super) full: bool,
    pub(super) facts: Vec<proto::Fact>,
    pub(super) lasting: Vec<proto::LastingWord>,
    /// Whether there is more than one word can hold.
    pub(super) more: bool,
}

impl Facts {
    /// This is so now (`None`: no more). Whether that is news.
    pub(super) fn set(&mut self, name: &str, value: Option<Vec<u8>>) -> bool {
        match self.facts.get(name) {
            Some((before, _)) if *before == value => return false,
            None if value.is_none() => return false,
            Some((before, version)) => {
                self.gone -= usize::from(before.is_none());
                self.by_version.remove(version);
            }
            None => {}
        }
        self.version += 1;
        self.gone += usize::from(value.is_none());
        self.by_version.insert(self.version, name.to_owned());
        self.facts.insert(name.to_owned(), (value, self.version));
        if self.gone > MAX_GONE {
            self.forget();
        }
        true
    }

    /// This word lasts from now on.
    pub(super) fn set_lasting(&mut self, name: String, word: LastingWord, now: Time) {
        self.version += 1;
        self.lasting.set(name, word, self.version, now);
    }

    fn forget(&mut self) {
        let by_version = &mut self.by_version;
        self.facts.retain(|_, (value, version)| {
            if value.is_none() {
                by_version.remove(version);
            }
            value.is_some()
        });
        self.gone = 0;
        self.forgotten = self.version;
    }

    /// What a listener lacks that was told so far; everything if it was told nothing. A word may be cut short, and what remains
    /// comes with the next ones.
    pub(super) fn lack(&self, told: Option<Told>, now: Time) -> Lack {
        let told = told.filter(|it| it.version.max(it.began) >= self.forgotten);
        let full = told.is_none();
        let mut told = told.unwrap_or(Told { version: 0, began: self.version });
        let before = if full { 0 } else { told.version };
        let (mut facts, mut more) = (Vec::new(), false);
        for (version, name) in self.by_version.range(told.version + 1..) {
            if facts.len() == FACTS_PER_WORD {
                more = true;
                break;
            }
            told.version = *version;
            let value = self.facts.get(name).and_then(|(value, _)| value.clone());
            // Who begins has nothing to forget.
            if value.is_some() || !full {
                facts.push(proto::Fact { name: name.clone(), value });
            }
        }
        if !more {
            told.version = self.version;
        }
        // They are few: in a word that is cut short some come too early, and once more.
        let lasting = self.lasting.after(before, now);
        Lack { told, full, facts, lasting, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lack: &Lack) -> Vec<(&str, Option<&[u8]>)> {
        lack.facts.iter().map(|fact| (fact.name.as_str(), fact.value.as_deref())).collect()
    }

    #[test]
    fn a_listener_is_told_the_newest_of_what_it_missed_and_what_is_gone() {
        let mut facts = Facts::default();
        assert!(facts.set("a", Some(b"1".to_vec())) && facts.set("b", Some(b"1".to_vec())));
        assert!(!facts.set("a", Some(b"1".to_vec())) && !facts.set("c", None));
        let first = facts.lack(None, Time::ZERO);
        assert!(first.full && told(&first) == [("a", Some(&b"1"[..])), ("b", Some(b"1"))]);
        assert!(facts.set("a", Some(b"2".to_vec())) && facts.set("a", Some(b"3".to_vec())));
        assert!(facts.set("b", None));
        let next = facts.lack(Some(first.told), Time::ZERO);
        assert!(!next.full && told(&next) == [("a", Some(&b"3"[..])), ("b", None)]);
        assert!(facts.lack(Some(next.told), Time::ZERO).facts.is_empty());
        assert_eq!(
            told(&facts.lack(None, Time::ZERO)),
            [("a", Some(&b"3"[..]))],
            "who begins hears only what is so"
        );
    }

    #[test]
    fn a_first_word_is_cut_and_the_next_go_on_with_it() {
        let mut facts = Facts::default();
        for n in 0..25_000 {
            facts.set(&format!("{n:05}"), Some(Vec::new()));
        }
        let (mut lack, mut heard, mut words) = (facts.lack(None, Time::ZERO), Vec::new(), 0);
        loop {
            words += 1;
            assert!(lack.full == (words == 1) && lack.facts.len() <= FACTS_PER_WORD);
            heard.extend(lack.facts.iter().map(|fact| fact.name.clone()));
            if !lack.more {
                break;
            }
            lack = facts.lack(Some(lack.told), Time::ZERO);
        }
        heard.dedup();
        assert_eq!((words, heard.len()), (3, 25_000));
    }

    #[test]
    fn what_is_forgotten_while_a_first_word_is_told_cuts_nothing_off() {
        let mut facts = Facts::default();
        for n in 0..=FACTS_PER_WORD {
            facts.set(&format!("{n:05}"), Some(Vec::new()));
        }
        facts.set("gone", Some(Vec::new()));
        facts.set("gone", None);
        facts.forget();
        let first = facts.lack(None, Time::ZERO);
        assert!(first.more);
        let rest = facts.lack(Some(first.told), Time::ZERO);
        assert!(!rest.full && rest.facts.len() == 1, "the oldest version is told, however old");
    }

    #[test]
    fn what_is_gone_is_remembered_within_a_limit() {
        let mut facts = Facts::default();
        facts.set("stays", Some(Vec::new()));
        let early = facts.lack(None, Time::ZERO).told;
        for n in 0..=MAX_GONE {
            facts.set(&n.to_string(), Some(Vec::new()));
            facts.set(&n.to_string(), None);
        }
        assert_eq!((facts.facts.len(), facts.by_version.len(), facts.gone), (1, 1, 0));
        let lack = facts.lack(Some(early), Time::ZERO);
        assert!(lack.full && told(&lack) == [("stays", Some(&b""[..]))]);
        assert!(!facts.lack(Some(lack.told), Time::ZERO).full);
    }
}
