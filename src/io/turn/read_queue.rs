//! Which sockets are to be read, in the order of their turns: each stands in the queue once.
//!
//! There are two lanes: one for sockets that have just become readable, and one for those that had their turn and have
//! more, which are busy. A round reads one lane, so that what the one causes is written before the other is read: what a
//! socket with little to say has caused does not wait for a busy one. Where both have sockets the lanes take turns, and
//! the busy ones have as much time as the others had; where the others have nothing to say, they have a little at once.

use crate::base::Key;
use std::collections::VecDeque;
use std::time::Duration;

/// Time of a round of busy sockets at the least: some of them have their turn, and then what they cause is written and
/// others are looked for.
const BUSY_TIME: Duration = Duration::from_millis(1);

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
    /// The lane of the present round is `again`.
    is_busy: bool,
    /// What of the lane belongs to the present round.
    left: usize,
    /// Time that the present round has taken, and what rounds of the other lane took before it.
    taken: Duration,
    before: Duration,
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

    /// Begins a round: what is in its lane now is taken once, what is put there meanwhile belongs to the next one.
    pub fn begin_round(&mut self) {
        let was_busy = self.is_busy;
        self.is_busy = match (self.fresh.is_empty(), self.again.is_empty()) {
            (false, false) => !was_busy,
            (is_quiet, _) => is_quiet,
        };
        let taken = std::mem::take(&mut self.taken);
        self.before = if self.is_busy == was_busy { Duration::ZERO } else { taken };
        self.left = if self.is_busy { self.again.len() } else { self.fresh.len() };
    }

    /// Takes the next one of the round, at a time since it began. `None` once it is over.
    pub fn pop(&mut self, now: Duration) -> Option<Readable> {
        self.taken = now;
        if self.is_busy && now >= self.before.max(BUSY_TIME) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let lane = if self.is_busy { &mut self.again } else { &mut self.fresh };
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
        assert_eq!(queue.pop(Duration::ZERO), Some(Readable { key: a, to_the_end: true }));
        queue.push_again(a, false);
        assert_eq!(queue.pop(Duration::ZERO), Some(Readable { key: b, to_the_end: false }));
        assert_eq!(queue.pop(Duration::ZERO), None, "its next turn is in the next round");
        queue.begin_round();
        // The end of the peer's side is not forgotten.
        assert_eq!(queue.pop(Duration::ZERO), Some(Readable { key: a, to_the_end: true }));
        assert!(queue.is_empty());
    }

    /// A round in which each read takes as long as `cost` says; the slots in order, and how long it was.
    fn round(queue: &mut ReadQueue, cost: impl Fn(u32) -> Duration) -> (Vec<u32>, Duration) {
        let (mut order, mut now) = (Vec::new(), Duration::ZERO);
        queue.begin_round();
        while let Some(Readable { key, .. }) = queue.pop(now) {
            now += cost(key.slot);
            order.push(key.slot);
            if key.slot < 100 {
                queue.push_again(key, false);
            }
        }
        (order, now)
    }

    #[test]
    fn busy_sockets_have_half_of_the_time_in_rounds_of_their_own() {
        let mut queue = ReadQueue::default();
        (0..100).for_each(|slot| queue.push_again(key(slot, 0), false));
        (100..1100).for_each(|slot| queue.push(key(slot, 0), false));
        // A hundred that are dear, and a thousand that say little.
        let cost = |slot| Duration::from_micros(if slot < 100 { 250 } else { 10 });
        let mut next = || {
            let (order, took) = round(&mut queue, cost);
            (100..1100).for_each(|slot| queue.push(key(slot, 0), false));
            assert!(order.is_sorted(), "a turn for each");
            (order.len(), order[0], took)
        };
        let ms = Duration::from_millis;
        assert_eq!(next(), (4, 0, BUSY_TIME), "nobody else has had any time");
        assert_eq!(next(), (1000, 100, ms(10)), "those with little to say");
        assert_eq!(next(), (40, 4, ms(10)), "as much time for the busy ones");
        assert_eq!(next(), (1000, 100, ms(10)), "the others again");
        assert_eq!(next(), (40, 44, ms(10)), "the busy ones that had no turn");
        assert_eq!(round(&mut queue, cost).0.len(), 1000, "the others for the last time");
        assert_eq!(round(&mut queue, cost).0.len(), 40, "what is left of the busy ones, and the first again");
        // Where the others say nothing, a round is short, and the next one begins with those that had no turn.
        let (order, took) = round(&mut queue, cost);
        assert_eq!(order, [24, 25, 26, 27]);
        assert_eq!(took, BUSY_TIME);
        // One that is very dear has its turn too, and whoever has little to say comes after it.
        queue.push(key(100, 0), false);
        assert_eq!(round(&mut queue, cost).0, [100]);
        assert_eq!(round(&mut queue, |_| ms(30)).0, [28]);
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
        assert_eq!(queue.pop(Duration::ZERO), Some(Readable { key: before, to_the_end: false }));
        assert_eq!(queue.pop(Duration::ZERO), Some(Readable { key: after, to_the_end: false }));
    }
}
