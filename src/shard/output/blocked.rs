//! The connections whose backlogs wait, and which of them gives way when the node's bound on all backlogs is spent.

use crate::shard::Now;
use std::collections::BinaryHeap;

/// Time between two statements of the shard's largest backlog, in ms: finding it looks at every blocked connection.
const CENSUS_MS: u64 = 10;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::shard) struct Blocked {
    /// Slots, in no order. A backlog knows its place here.
    slots: Vec<u32>,
    /// Backlogs by size while the node's bound is spent, for this tick.
    victims: BinaryHeap<(usize, u32)>,
    /// When the largest backlog is next told to the other shards, in ms.
    census_ms: u64,
    /// The shard that has the node's largest backlog, if that one must give way.
    elsewhere: Option<usize>,
    /// Blocked members that a fan-out has met; kept for its allocation.
    pub met: Vec<u32>,
}

impl Blocked {
    /// Adds a connection. Returns its place.
    pub fn add(&mut self, slot: u32) -> u32 {
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }

    /// Takes the connection at a place off the list. Returns the connection that has come to this place, if one has.
    pub fn remove(&mut self, place: u32) -> Option<u32> {
        self.slots.swap_remove(place as usize);
        self.slots.get(place as usize).copied()
    }

    /// Whether no backlog waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All slots.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied()
    }

    /// The next connection to evict in this tick: the largest backlog first, if it is larger than so much. One look at
    /// all of them serves for the whole tick; what they gain meanwhile is the same few frames for all.
    pub fn next_victim(&mut self, larger_than: usize, bytes_of: impl Fn(u32) -> usize) -> Option<u32> {
        if self.victims.is_empty() {
            self.victims = self.slots.iter().map(|slot| (bytes_of(*slot), *slot)).collect();
        }
        while let Some((bytes, slot)) = self.victims.pop() {
            if bytes <= larger_than {
                self.victims.clear();
                return None;
            }
            if bytes_of(slot) >= bytes {
                return Some(slot);
            }
        }
        None
    }

    /// Considers a victim again that has given some of its bytes and now has so many.
    pub fn put_back_victim(&mut self, slot: u32, bytes: usize) {
        self.victims.push((bytes, slot));
    }

    /// Forgets the sizes of backlogs, since the tick is over.
    pub fn forget_victims(&mut self) {
        self.victims.clear();
    }

    /// Whether the largest backlog must be told to the other shards now. It is told at most once in [`CENSUS_MS`].
    pub fn is_census_due(&mut self, now: Now) -> bool {
        let is_due = !self.slots.is_empty() && now.ms() >= self.census_ms;
        if is_due {
            self.census_ms = now.ms() + CENSUS_MS;
        }
        is_due
    }

    /// Has another shard asked to evict its largest backlog.
    pub fn ask_elsewhere(&mut self, shard: usize) {
        self.elsewhere = Some(shard);
    }

    /// The shard to ask for that. It is told once.
    pub fn take_elsewhere(&mut self) -> Option<usize> {
        self.elsewhere.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_left_is_taken_by_the_last() {
        let mut blocked = Blocked::default();
        assert_eq!([7, 8, 9].map(|slot| blocked.add(slot)), [0, 1, 2]);
        assert_eq!(blocked.remove(0), Some(9));
        assert_eq!(blocked.remove(1), None);
        assert_eq!(blocked.iter().collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn the_largest_backlog_gives_way_first_and_none_that_has_shrunk() {
        let mut blocked = Blocked::default();
        (0..3).for_each(|slot| _ = blocked.add(slot));
        assert_eq!(blocked.next_victim(10, |slot| [50, 90, 20][slot as usize]), Some(1));
        assert_eq!(
            blocked.next_victim(10, |slot| [30, 90, 20][slot as usize]),
            Some(2),
            "the first has shrunk"
        );
        blocked.put_back_victim(1, 45);
        assert_eq!(blocked.next_victim(60, |_| 45), None, "none is larger than what asks");
    }
}
