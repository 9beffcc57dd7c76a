//! What a client refused and has not accepted since, by name.
//!
//! A client refuses a response, not a resource. Which one it meant is known when the response held only one, or
//! when the client's words name it, as Envoy's do for clusters, listeners and secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::resource::Version;

/// Refusals kept for one type of one stream. A client that refuses more refuses everything.
const MAX_REFUSALS: usize = 256;
/// How much of a client's words is kept, in bytes.
const MAX_ERROR_BYTES: usize = 4096;
/// How many names of a refused response are told.
pub(super) const MAX_NAMES: usize = 64;

/// One refusal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) version: Version,
    pub(crate) error: Arc<str>,
    /// Milliseconds since 1970
    pub(crate) at_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Arc<str>, Refused>);

impl Refusals {
    pub(super) fn get(&self, name: &str) -> Option<&Refused> {
        self.0.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Refused)> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, name: &Arc<str>, refused: Refused) {
        if self.0.len() < MAX_REFUSALS || self.0.contains_key(name) {
            self.0.insert(Arc::clone(name), refused);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// The client's words, cut to what is kept.
pub(super) fn cut(mut error: String) -> String {
    if error.len() > MAX_ERROR_BYTES {
        let end = (0..=MAX_ERROR_BYTES).rev().find(|i| error.is_char_boundary(*i)).unwrap_or(0);
        error.truncate(end);
        error.push_str(" [...]");
    }
    error
}

/// Those of a refused response that the client's words name; all of them if they name none.
pub(super) fn named<'a, T>(error: &str, items: &'a [(Arc<str>, T)]) -> (Vec<&'a (Arc<str>, T)>, bool) {
    let named: Vec<_> = items.iter().filter(|(name, _)| mentions(error, name)).collect();
    if named.is_empty() { (items.iter().collect(), items.len() == 1) } else { (named, true) }
}

/// Whether a text holds a name as a word of its own, not as a part of a longer name.
fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '@');
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + name.len()..]);
            // A dot or colon ends a name when no name goes on behind it.
            let mut after = after.chars();
            let goes_on = match after.next() {
                Some('.' | ':') => after.next().is_some_and(part),
                Some(c) => part(c),
                None => false,
            };
            !before.ends_with(part) && !goes_on
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_of_its_own() {
        let error = "Error adding/updating cluster(s) shop/web: bad timeout, shop/cart@z1: no hosts. l.1";
        for (name, expected) in [
            ("shop/web", true),
            ("shop/cart@z1", true),
            ("shop/cart", false),
            ("web", false),
            ("hosts", true),
            ("l", false),
            ("l.1", true),
            ("", false),
        ] {
            assert_eq!(mentions(error, name), expected, "{name}");
        }
    }

    #[test]
    fn a_single_resource_or_a_named_one_is_the_culprit() {
        let items = [("a".into(), ()), ("b".into(), ())];
        assert_eq!(named("b is bad", &items), (vec![&items[1]], true));
        assert_eq!(named("bad", &items), (vec![&items[0], &items[1]], false));
        assert_eq!(named("bad", &items[..1]), (vec![&items[0]], true));
    }

    #[test]
    fn long_words_are_cut_between_letters() {
        assert_eq!(cut("short".into()), "short");
        let cut = cut("é".repeat(4000));
        assert!(cut.len() <= MAX_ERROR_BYTES + 6 && cut.ends_with("é [...]"), "{}", cut.len());
    }

    #[test]
    fn refusals_are_limited() {
        let mut refusals = Refusals::default();
        let refused = Refused { version: Version::ABSENT, error: "".into(), at_ms: 0 };
        for i in 0..=MAX_REFUSALS {
            refusals.add(&format!("{i}").into(), refused.clone());
        }
        assert_eq!(refusals.iter().count(), MAX_REFUSALS);
        refusals.remove("0");
        assert!(refusals.get("0").is_none());
    }
}
