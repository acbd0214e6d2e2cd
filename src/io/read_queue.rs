//! Which sockets are to be read, in the order of their turns: each stands in the queue once.
//!
//! There are two lanes, and each is served after the other: one for sockets that have just become readable, and one for
//! those that had their turn and have more. So a socket with little to say waits for one turn of a busy one, however many
//! busy ones there are, and these have half of the turns.

use crate::base::Key;
use std::collections::VecDeque;

/// A socket that may have input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readable {
    pub key: Key,
    /// The peer has shut its side down: read until the end, whatever a read returns.
    pub to_the_end: bool,
}

/// The queue. A socket that had its turn and has more goes behind all others.
#[derive(Debug, Default)]
pub(super) struct ReadQueue {
    fresh: VecDeque<Key>,
    again: VecDeque<Key>,
    /// What of each lane belongs to the present round.
    fresh_left: usize,
    again_left: usize,
    /// The lane that was served last is `again`.
    was_again: bool,
    /// By slot: the low bits of its key's generation, so that an earlier tenant has no say, and the flags below.
    marks: Vec<u32>,
}

const QUEUED: u32 = 1;
const TO_THE_END: u32 = 2;
const FLAGS: u32 = QUEUED | TO_THE_END;

const fn tenant(key: Key) -> u32 {
    key.generation << 2
}

impl ReadQueue {
    pub fn len(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sockets that had their turn and have more.
    pub fn busy(&self) -> usize {
        self.again.len()
    }

    /// Puts a socket that has become readable at the end, unless it is in the queue.
    pub fn push(&mut self, key: Key, to_the_end: bool) {
        if self.mark(key, to_the_end) {
            self.fresh.push_back(key);
        }
    }

    /// Puts a socket that had its turn and has more behind all others, unless it is in the queue.
    pub fn push_again(&mut self, key: Key, to_the_end: bool) {
        if self.mark(key, to_the_end) {
            self.again.push_back(key);
        }
    }

    /// Marks a socket as one that is in the queue. Whether it is to be put there.
    fn mark(&mut self, key: Key, to_the_end: bool) -> bool {
        let slot = key.slot as usize;
        if self.marks.len() <= slot {
            self.marks.resize(slot + 1, 0);
        }
        let mark = &mut self.marks[slot];
        if *mark & !FLAGS != tenant(key) {
            *mark = tenant(key);
        }
        *mark |= if to_the_end { TO_THE_END } else { 0 };
        let is_new = *mark & QUEUED == 0;
        *mark |= QUEUED;
        is_new
    }

    /// Begins a round: what is in the queue now is taken once, what is put there meanwhile belongs to the next one.
    pub fn begin_round(&mut self) {
        (self.fresh_left, self.again_left) = (self.fresh.len(), self.again.len());
    }

    /// Takes the next one of the round.
    pub fn pop(&mut self) -> Option<Readable> {
        self.was_again = if self.was_again { self.fresh_left == 0 } else { self.again_left > 0 };
        let (lane, left) = match self.was_again {
            true => (&mut self.again, &mut self.again_left),
            false => (&mut self.fresh, &mut self.fresh_left),
        };
        *left = left.checked_sub(1)?;
        let key = lane.pop_front()?;
        let mark = &mut self.marks[key.slot as usize];
        let own = *mark & !FLAGS == tenant(key);
        if own {
            *mark &= !QUEUED;
        }
        Some(Readable { key, to_the_end: own && *mark & TO_THE_END != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: usize, generation: usize) -> Key {
        Key::from_token(generation << 32 | slot)
    }

    #[test]
    fn each_stands_in_the_queue_once_and_goes_behind_after_its_turn() {
        let mut queue = ReadQueue::default();
        let (a, b) = (key(1, 0), key(2, 0));
        for to_the_end in [false, true, false] {
            queue.push(a, to_the_end);
        }
        queue.push(b, false);
        queue.begin_round();
        assert_eq!(queue.pop(), Some(Readable { key: a, to_the_end: true }));
        queue.push_again(a, false);
        assert_eq!(queue.pop(), Some(Readable { key: b, to_the_end: false }));
        assert_eq!(queue.pop(), None, "its next turn is in the next round");
        queue.begin_round();
        // The end of the peer's side is not forgotten.
        assert_eq!(queue.pop(), Some(Readable { key: a, to_the_end: true }));
        assert!(queue.is_empty());
    }

    #[test]
    fn busy_sockets_have_half_of_the_turns() {
        let mut queue = ReadQueue::default();
        (0..100).for_each(|slot| queue.push_again(key(slot, 0), false));
        (200..203).for_each(|slot| queue.push(key(slot, 0), false));
        let mut order = Vec::new();
        for _ in 0..2 {
            queue.begin_round();
            while let Some(Readable { key, .. }) = queue.pop() {
                order.push(key.slot);
                if order.len() < 50 {
                    queue.push_again(key, false);
                }
            }
        }
        let places: Vec<_> = order.iter().enumerate().filter(|(_, slot)| **slot >= 200).collect();
        assert_eq!(places[..3], [(1, &200), (3, &201), (5, &202)]);
        // All busy ones had a turn before one of them had two.
        assert!(order.iter().filter(|slot| **slot < 100).take(100).copied().eq(0..100), "{order:?}");
        assert!(queue.is_empty());
    }

    #[test]
    fn a_slots_next_tenant_has_its_own_place() {
        let mut queue = ReadQueue::default();
        let (before, after) = (key(1, 0), key(1, 1));
        assert_ne!(before, after);
        queue.push(before, true);
        queue.push(after, false);
        queue.push(after, false);
        assert_eq!(queue.len(), 2);
        queue.begin_round();
        assert_eq!(queue.pop(), Some(Readable { key: before, to_the_end: false }));
        assert_eq!(queue.pop(), Some(Readable { key: after, to_the_end: false }));
    }
}
