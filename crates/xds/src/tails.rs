//! The ends that many resources have in common, kept once.
//!
//! A fleet's clusters say the same after their names: timeouts, limits, outlier detection. That is most of their bytes, and
//! there is one for each service and zone. Nothing here knows what a resource is: of two messages that came shortly after
//! one another, the bytes at the end that are the same in both become a tail, and what ends with a tail shares it.

use std::collections::VecDeque;
use std::sync::Arc;

/// Less than this is not worth a pointer and a count.
const LEAST: usize = 128;

/// A longer tail is made only if it is so much longer: else every message that happens to have a few more bytes in common
/// with its neighbour would get one of its own.
const WORTH: usize = 64;

/// Tails that are known at once: one for each kind of cluster and policy that are told of in turns.
const TAILS: usize = 16;

/// Messages without a tail that the next ones are compared with.
const LAST: usize = 8;

/// The tails of one type of resource.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    /// Used last comes last.
    known: VecDeque<Arc<[u8]>>,
    last: VecDeque<Box<[u8]>>,
}

impl Tails {
    /// The tail that a message shares with others, if there is one.
    pub(crate) fn of(&mut self, body: &[u8]) -> Option<Arc<[u8]>> {
        let fits = self.known.iter().enumerate().filter(|(_, tail)| body.ends_with(tail));
        let found = fits.max_by_key(|(_, tail)| tail.len()).map(|(at, _)| at);
        let tail = found.and_then(|at| self.known.remove(at)).inspect(|tail| {
            self.known.push_back(Arc::clone(tail));
        });
        let len = tail.as_ref().map_or(0, |tail| tail.len());
        if body.len() - len < LEAST {
            return tail;
        }
        let longest = self.last.iter().map(|other| common_end(body, other)).max().unwrap_or(0);
        if longest < LEAST.max(len + WORTH) {
            self.remember(body);
            return tail;
        }
        let tail: Arc<[u8]> = body[body.len() - longest..].into();
        self.known.push_back(Arc::clone(&tail));
        if self.known.len() > TAILS {
            self.known.pop_front();
        }
        Some(tail)
    }

    fn remember(&mut self, body: &[u8]) {
        self.last.push_back(body.into());
        if self.last.len() > LAST {
            self.last.pop_front();
        }
    }
}

fn common_end(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, end: u8) -> Vec<u8> {
        [name.as_bytes(), &[end; 300]].concat()
    }

    #[test]
    fn what_messages_have_in_common_is_shared_from_the_second_on() {
        let mut tails = Tails::default();
        assert_eq!(tails.of(&message("one", 1)), None);
        let shared = tails.of(&message("two", 1)).unwrap();
        assert_eq!(*shared, [1; 300]);
        // A message between them that ends otherwise changes nothing.
        assert_eq!(tails.of(&message("odd", 2)), None);
        assert!(Arc::ptr_eq(&shared, &tails.of(&message("three", 1)).unwrap()));
        // Nor does a few bytes more in common.
        assert!(Arc::ptr_eq(&shared, &tails.of(&message("see", 1)).unwrap()));
    }

    #[test]
    fn what_is_short_or_different_is_not_shared() {
        let mut tails = Tails::default();
        for number in 0..100_u8 {
            assert_eq!(tails.of(&[number; 500]), None);
            assert_eq!(tails.of(&message("short", number)[..LEAST]), None);
        }
        assert!(tails.last.len() <= LAST && tails.known.is_empty());
    }

    #[test]
    fn tails_are_bounded_and_the_one_used_last_stays() {
        let mut tails = Tails::default();
        tails.of(&message("a", 0));
        let first = tails.of(&message("b", 0)).unwrap();
        for end in 1..=u8::try_from(2 * TAILS).unwrap() {
            tails.of(&message("a", end));
            assert!(tails.of(&message("b", end)).is_some());
            assert!(Arc::ptr_eq(&first, &tails.of(&message("c", 0)).unwrap()));
        }
        assert_eq!(tails.known.len(), TAILS);
    }
}
