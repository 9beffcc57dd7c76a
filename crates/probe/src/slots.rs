//! The targets, by ticket and by key. Pure: no clock, no I/O.
//!
//! There may be a hundred thousand of them, and they stay: so they lie side by side in pieces that never move, and the index
//! by key is four bytes for each, not a copy of the key.

use crate::schedule::Ticket;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash, RandomState};

/// So many are made room for at once. With one vector for all, growth would leave up to half of it empty, and copy it.
const PIECE: usize = 256;

/// Values with a key, each under a ticket of its own that is never given again.
pub(crate) struct Slots<K, T> {
    pieces: Vec<Vec<Slot<K, T>>>,
    /// Slots by the hashes of their keys.
    by_key: HashTable<u32>,
    hasher: RandomState,
    free: Vec<u32>,
}

struct Slot<K, T> {
    /// Which life of the slot this is: a ticket of an earlier one finds nobody.
    life: u32,
    held: Option<(K, T)>,
}

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), by_key: HashTable::new(), hasher: RandomState::new(), free: Vec::new() }
    }
}

/// The slot's number and the life that a ticket is for.
const fn parts(ticket: Ticket) -> (usize, u32) {
    // Both halves fit by construction.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of what `ticket` put together")]
    let parts = ((ticket & 0xffff_ffff) as usize, (ticket >> 32) as u32);
    parts
}

fn ticket(slot: u32, life: u32) -> Ticket {
    Ticket::from(life) << 32 | Ticket::from(slot)
}

impl<K: Hash + Eq, T> Slots<K, T> {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn slot(&self, number: usize) -> Option<&Slot<K, T>> {
        self.pieces.get(number / PIECE)?.get(number % PIECE)
    }

    fn slot_mut(&mut self, number: usize) -> Option<&mut Slot<K, T>> {
        self.pieces.get_mut(number / PIECE)?.get_mut(number % PIECE)
    }

    /// The ticket of a key.
    pub(crate) fn ticket(&self, key: &K) -> Option<Ticket> {
        let same = |it: &u32| {
            self.slot(*it as usize).and_then(|it| it.held.as_ref()).is_some_and(|(it, _)| it == key)
        };
        let slot = *self.by_key.find(self.hasher.hash_one(key), same)?;
        Some(ticket(slot, self.slot(slot as usize)?.life))
    }

    /// What a ticket is for; `None` once it was removed.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<&T> {
        let (number, life) = parts(ticket);
        let slot = self.slot(number).filter(|slot| slot.life == life)?;
        slot.held.as_ref().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let (number, life) = parts(ticket);
        let slot = self.slot_mut(number).filter(|slot| slot.life == life)?;
        slot.held.as_mut().map(|(_, value)| value)
    }

    /// The key of a ticket.
    pub(crate) fn key(&self, ticket: Ticket) -> Option<&K> {
        let (number, life) = parts(ticket);
        let slot = self.slot(number).filter(|slot| slot.life == life)?;
        slot.held.as_ref().map(|(key, _)| key)
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.get(ticket).is_some()
    }

    /// The tickets of all keys that `wanted` is true of.
    pub(crate) fn tickets(&self, wanted: impl Fn(&K) -> bool) -> Vec<Ticket> {
        let slots = self.pieces.iter().flatten().zip(0_u32..);
        let held = slots.filter_map(|(slot, number)| Some((slot.held.as_ref()?, ticket(number, slot.life))));
        held.filter(|((key, _), _)| wanted(key)).map(|(_, ticket)| ticket).collect()
    }

    /// Puts in a value under a key that has none. `None` when there are 2^32 already.
    pub(crate) fn insert(&mut self, key: K, value: T) -> Option<Ticket> {
        debug_assert!(self.ticket(&key).is_none(), "a key has one ticket");
        let number = match self.free.pop() {
            Some(number) => number,
            None => self.grow()?,
        };
        let hash = self.hasher.hash_one(&key);
        let slot = self.slot_mut(number as usize)?;
        slot.held = Some((key, value));
        let ticket = ticket(number, slot.life);
        let (pieces, hasher) = (&self.pieces, &self.hasher);
        self.by_key.insert_unique(hash, number, |it| {
            let held = &pieces[*it as usize / PIECE][*it as usize % PIECE].held;
            held.as_ref().map_or(0, |(key, _)| hasher.hash_one(key))
        });
        Some(ticket)
    }

    /// A slot that was never used.
    fn grow(&mut self) -> Option<u32> {
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let before = (self.pieces.len() - 1) * PIECE;
        let last = self.pieces.last_mut()?;
        let number = u32::try_from(before + last.len()).ok()?;
        last.push(Slot { life: 0, held: None });
        Some(number)
    }

    /// Takes out what a ticket is for.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<(K, T)> {
        let (number, life) = parts(ticket);
        let hash = self.hasher.hash_one(self.key(ticket)?);
        let slot = self.slot_mut(number).filter(|slot| slot.life == life)?;
        let held = slot.held.take()?;
        slot.life = slot.life.wrapping_add(1);
        let number = u32::try_from(number).ok()?;
        if let Ok(entry) = self.by_key.find_entry(hash, |it| *it == number) {
            entry.remove();
        }
        self.free.push(number);
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_of_an_earlier_life_finds_nobody() {
        let mut slots = Slots::default();
        let first = slots.insert("a", 1).unwrap();
        assert_eq!(
            (slots.ticket(&"a"), slots.get(first), slots.key(first)),
            (Some(first), Some(&1), Some(&"a"))
        );
        assert_eq!(slots.remove(first), Some(("a", 1)));
        assert_eq!(slots.remove(first), None);
        assert_eq!((slots.ticket(&"a"), slots.get(first)), (None, None));
        let second = slots.insert("b", 2).unwrap();
        assert_ne!(first, second);
        assert_eq!((slots.get(first), slots.get(second), slots.len()), (None, Some(&2), 1));
    }

    #[test]
    fn keys_are_found_while_many_come_and_go() {
        let mut slots = Slots::default();
        let tickets: Vec<_> = (0..3000_u64).map(|key| slots.insert(key, key * 2).unwrap()).collect();
        for ticket in tickets.iter().step_by(3) {
            slots.remove(*ticket);
        }
        for (key, ticket) in (0_u64..).zip(&tickets) {
            let there = key % 3 != 0;
            assert_eq!(slots.ticket(&key), there.then_some(*ticket));
            assert_eq!(slots.get(*ticket), there.then_some(&(key * 2)));
        }
        let even = slots.tickets(|key| key % 2 == 0);
        assert_eq!(even.len(), 1000);
        for key in 3000..4500_u64 {
            slots.insert(key, 0).unwrap();
        }
        assert_eq!((slots.len(), slots.pieces.len()), (3500, 14));
        assert!((3000..4500).all(|key| slots.ticket(&key).is_some()));
    }
}
