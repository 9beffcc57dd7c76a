//! Words whose time runs: what operators did, by name, with what remains of each. Pure.
//!
//! What they say is the agents' affair. Each is told with what remains of it at the moment it is told, so that nobody's wall clock
//! matters; when nothing remains it is told no more.

use crate::proto;
use std::{collections::BTreeMap, time::Duration};
use tidegate_model::Time;

/// More than these are not kept, nor taken from a message: twice what an agent keeps in force.
const MAX: usize = 2000;
/// The longest of them: a name and a comment of 2 KiB each, as JSON may write them, and some room.
const MAX_BYTES: usize = 32 << 10;

/// A word, and how long it lasts.
pub type LastingWord = (Vec<u8>, Duration);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// By name: what it says, until when, and with which version it was told.
    words: BTreeMap<String, (Vec<u8>, Time, u64)>,
}

impl Lasting {
    /// This is said from now on under the name, and told with that version.
    pub(crate) fn set(&mut self, name: String, (value, remaining): LastingWord, version: u64, now: Time) {
        self.words.retain(|_, (_, until, _)| now < *until);
        if self.words.len() < MAX || self.words.contains_key(&name) {
            self.words.insert(name, (value, now + remaining, version));
        }
    }

    /// What was told with a later version than `after`.
    pub(crate) fn after(&self, after: u64, now: Time) -> Vec<proto::LastingWord> {
        let later = self.words.iter().filter(|(_, (_, until, version))| *version > after && now < *until);
        let told = later.map(|(name, (value, until, _))| proto::LastingWord {
            name: name.clone(),
            value: value.clone(),
            remaining_ms: u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX),
        });
        told.collect()
    }
}

/// What came over a link; an error says what of it cannot be.
pub(crate) fn decode(words: Vec<proto::LastingWord>) -> Result<Vec<LastingWord>, String> {
    if words.len() > MAX || words.iter().any(|word| word.value.len() > MAX_BYTES) {
        return Err(format!("at most {MAX} words that last are told, each of at most {MAX_BYTES} bytes"));
    }
    let word = |word: proto::LastingWord| (word.value, Duration::from_millis(word.remaining_ms));
    Ok(words.into_iter().map(word).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lasting: &Lasting, after: u64, ms: u64) -> Vec<(String, u64)> {
        let words = lasting.after(after, Time::from_millis(ms)).into_iter();
        words.map(|word| (word.name, word.remaining_ms)).collect()
    }

    #[test]
    fn what_remains_is_told_as_it_is_then_until_nothing_does() {
        let mut lasting = Lasting::default();
        lasting.set("a".to_owned(), (vec![1], Duration::from_secs(10)), 1, Time::ZERO);
        lasting.set("b".to_owned(), (vec![1], Duration::from_secs(60)), 2, Time::from_millis(4000));
        assert_eq!(told(&lasting, 0, 4000), [("a".to_owned(), 6000), ("b".to_owned(), 60_000)]);
        assert_eq!(told(&lasting, 1, 4000), [("b".to_owned(), 60_000)]);
        assert_eq!(told(&lasting, 0, 10_000), [("b".to_owned(), 54_000)]);
        lasting.set("b".to_owned(), (vec![2], Duration::from_secs(1)), 3, Time::from_millis(11_000));
        assert_eq!((told(&lasting, 2, 11_000).len(), lasting.words.len()), (1, 1));
    }

    #[test]
    fn too_many_and_too_long_ones_are_refused() {
        let word = |length| proto::LastingWord { value: vec![0; length], ..proto::LastingWord::default() };
        assert!(decode(vec![word(MAX_BYTES)]).is_ok());
        assert!(decode(vec![word(MAX_BYTES + 1)]).is_err());
        assert!(decode(vec![word(0); MAX + 1]).is_err());
        let mut lasting = Lasting::default();
        for n in 0..=MAX {
            lasting.set(n.to_string(), (vec![], Duration::from_secs(1)), 1, Time::ZERO);
        }
        assert_eq!(lasting.words.len(), MAX);
    }
}
