//! Which sockets are to be read, in the order of their turns: each stands in the queue once.
//!
//! There are two lanes: one for sockets that have just become readable, and one for those that had their turn and have
//! more, which are busy. They share the time (see [`Shares`]): busy ones have as much of it as all others, and a little
//! where the others have nothing more to say. So a socket with little to say waits for that, however many busy ones there
//! are.

use crate::base::Key;
use std::collections::VecDeque;
use std::time::Duration;

/// Time of a round in which busy sockets are read although no others are left: some of them have their turn, and then
/// what they cause is written and others are looked for.
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
    /// What of each lane belongs to the present round.
    fresh_left: usize,
    again_left: usize,
    shares: Shares,
    /// By slot: the low bits of its key's generation, so that an earlier tenant has no say, and the flags below.
    marks: Vec<u32>,
}

/// How the time of a round is shared between the lanes.
#[derive(Debug, Default)]
struct Shares {
    fresh: Duration,
    again: Duration,
    /// The lane that was served last is `again`.
    was_again: bool,
    /// When that began.
    since: Duration,
}

impl Shares {
    /// Counts what was served last, which has ended now.
    fn count(&mut self, now: Duration) {
        let took = now.saturating_sub(std::mem::replace(&mut self.since, now));
        *(if self.was_again { &mut self.again } else { &mut self.fresh }) += took;
    }

    /// Whether a busy socket is next, where there are others too.
    fn again_is_next(&self) -> bool {
        self.again <= self.fresh
    }

    /// Whether the busy ones have had their time, where there are no others.
    fn again_is_over(&self) -> bool {
        self.again >= self.fresh.max(BUSY_TIME)
    }
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
        self.shares = Shares::default();
    }

    /// Takes the next one of the round, at a time since it began. `None` once it is over.
    pub fn pop(&mut self, now: Duration) -> Option<Readable> {
        self.shares.count(now);
        let is_again = match (self.fresh_left, self.again_left) {
            (0, 0) => return None,
            (0, _) if self.shares.again_is_over() => return None,
            (0, _) => true,
            (_, 0) => false,
            _ => self.shares.again_is_next(),
        };
        self.shares.was_again = is_again;
        let (lane, left) = match is_again {
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
    fn busy_sockets_have_half_of_the_time() {
        let mut queue = ReadQueue::default();
        (0..100).for_each(|slot| queue.push_again(key(slot, 0), false));
        (100..1100).for_each(|slot| queue.push(key(slot, 0), false));
        // A hundred that are dear, and a thousand that say little: as much time for both, by turns.
        let cost = |slot| Duration::from_micros(if slot < 100 { 250 } else { 10 });
        let (order, took) = round(&mut queue, cost);
        let busy: Vec<u32> = order.iter().copied().filter(|slot| *slot < 100).collect();
        assert_eq!(order.len() - busy.len(), 1000, "no other waits for the next round");
        assert!((40..=41).contains(&busy.len()), "{busy:?}");
        assert!(took <= Duration::from_micros(20_250), "{took:?}");
        let longest = order.split(|slot| *slot >= 100).map(<[u32]>::len).max();
        assert_eq!(longest, Some(1), "one with little to say waits for one of them");
        // Where the others say nothing, a round is short, and the next one begins with those that had no turn.
        let (next, took) = round(&mut queue, cost);
        let first = busy.len() as u32;
        assert_eq!(next, (first..first + 4).collect::<Vec<_>>());
        assert_eq!(took, BUSY_TIME);
        // One that is very dear has its turn too.
        let (next, _) = round(&mut queue, |_| Duration::from_millis(30));
        assert_eq!(next.len(), 1);
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
