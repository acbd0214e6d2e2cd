//! What each connection is owed in this tick, and the order in which the writes reach the connections.
//!
//! # Invariants
//! - A connection owes nothing to its transport, a list of the palette, or it is *blocked*: it has a backlog, or it is
//!   held. Nothing is written past a blocked connection.
//! - A connection that is owed a list is on the dirty list, behind those that have been written to. The tick, and with
//!   it all its frames and lists, ends when the writes have come to the dirty list's end; several turns may pass till
//!   then, of which each writes to some.

use crate::shard::Sent;
use crate::shard::output::palette::{EMPTY, ListId};
use crate::shard::output::rounds::Rounds;
use std::ops::Range;

/// Stands in the place of a list for a blocked connection.
const BLOCKED: ListId = 1 << 31;

/// Entries of the dirty list from which on a turn writes them all: a connection that has been written to and is owed
/// something again stands there anew.
const DIRTY_MAX: usize = 64 * 1024;

/// What the writes meet next.
pub(in crate::shard) enum Next {
    /// Entries of the dirty list whose connections are owed the same list. They owe nothing any more.
    Run(ListId, Range<usize>),
    /// A blocked connection that was noted.
    Blocked(u32),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::shard) struct Owed {
    /// By slot; apart from the connections because a fan-out touches this and nothing else.
    pending: Vec<ListId>,
    dirty: Vec<u32>,
    /// Entries of the dirty list that have been written to.
    written: usize,
    rounds: Rounds,
    /// How the last writes went; kept for its allocation.
    pub sent: Vec<Sent>,
}

impl Owed {
    /// Number of the slots that have ever been in use.
    pub fn slots(&self) -> usize {
        self.pending.len()
    }

    /// Makes a place for a connection that is owed nothing.
    pub fn open(&mut self, slot: u32) {
        if self.pending.len() <= slot as usize {
            self.pending.resize(slot as usize + 1, EMPTY);
        }
        self.clear(slot);
    }

    /// Has what comes for a connection wait from now on. What it was owed is the caller's.
    pub fn block(&mut self, slot: u32) {
        self.pending[slot as usize] = BLOCKED;
    }

    /// Makes a connection owed nothing, and blocked no more.
    pub fn clear(&mut self, slot: u32) {
        self.pending[slot as usize] = EMPTY;
    }

    /// Makes a connection owed a list again that was taken by [`Owed::next`].
    pub fn restore(&mut self, slot: u32, list: ListId) {
        self.pending[slot as usize] = list;
    }

    /// The list that a connection is owed; none while it is blocked.
    #[inline]
    pub fn list(&self, slot: u32) -> Option<ListId> {
        Some(self.pending[slot as usize]).filter(|list| *list != BLOCKED)
    }

    /// Whether what comes for a connection waits.
    #[inline]
    pub fn is_blocked(&self, slot: u32) -> bool {
        self.pending[slot as usize] == BLOCKED
    }

    /// Whether a connection is owed nothing and not blocked.
    #[inline]
    pub fn is_clear(&self, slot: u32) -> bool {
        self.pending[slot as usize] == EMPTY
    }

    /// Makes a connection owed what `change` makes of the list that it is owed. `false`, and nothing done, if it is
    /// blocked.
    #[inline]
    pub fn change(&mut self, slot: u32, change: impl FnOnce(ListId) -> ListId) -> bool {
        let owed = &mut self.pending[slot as usize];
        if *owed == BLOCKED {
            return false;
        }
        if *owed == EMPTY {
            self.dirty.push(slot);
        }
        *owed = change(*owed);
        true
    }

    /// Has a blocked connection looked at when the writes come to it.
    pub fn note(&mut self, slot: u32) {
        self.dirty.push(slot);
    }

    /// Entries of the dirty list that the writes have not come to.
    pub fn unwritten(&self) -> usize {
        self.dirty.len() - self.written
    }

    /// Whether a tick is under way.
    pub fn is_under_way(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the dirty list is so long that a turn must write all.
    pub fn is_long(&self) -> bool {
        self.dirty.len() >= DIRTY_MAX
    }

    /// Notes that a turn has ended with so many frames in the tick.
    pub fn mark(&mut self, frames: usize) {
        self.rounds.mark(self.dirty.len(), frames);
    }

    /// Takes the next connections to write to, `most` at the most. None at the dirty list's end, or if `most` is zero.
    pub fn next(&mut self, most: usize) -> Option<Next> {
        loop {
            let slot = *self.dirty.get(self.written).filter(|_| most > 0)?;
            match self.pending[slot as usize] {
                EMPTY => self.written += 1,
                BLOCKED => {
                    self.written += 1;
                    return Some(Next::Blocked(slot));
                }
                list => {
                    let from = self.written;
                    self.written = self.take_run(from, list, most);
                    return Some(Next::Run(list, from..self.written));
                }
            }
        }
    }

    /// Takes the entries of the dirty list from `from` on that owe the same list, `most` at the most. Returns where the
    /// others begin.
    fn take_run(&mut self, from: usize, list: ListId, most: usize) -> usize {
        let run = self.dirty[from..].iter().take(most).take_while(|slot| {
            let owed = &mut self.pending[**slot as usize];
            let is_same = *owed == list;
            if is_same {
                *owed = EMPTY;
            }
            is_same
        });
        from + run.count()
    }

    /// The connections of some entries of the dirty list.
    pub fn of(&self, entries: Range<usize>) -> &[u32] {
        &self.dirty[entries]
    }

    /// The connection of one entry of the dirty list.
    #[inline]
    pub fn at(&self, entry: usize) -> u32 {
        self.dirty[entry]
    }

    /// The frames whose last write is over. Each is told once.
    pub fn over(&mut self) -> Range<usize> {
        self.rounds.over(self.written)
    }

    /// Ends the tick if the writes have come to the dirty list's end. Returns whether they have.
    pub fn end_tick(&mut self) -> bool {
        let is_over = self.written == self.dirty.len();
        if is_over {
            self.dirty.clear();
            self.dirty.shrink_to(DIRTY_MAX);
            self.written = 0;
            self.rounds.clear();
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(slots: u32) -> Owed {
        let mut owed = Owed::default();
        (0..slots).for_each(|slot| owed.open(slot));
        owed
    }

    #[test]
    fn connections_that_are_owed_the_same_are_one_run() {
        let mut owed = owed(5);
        for (slot, list) in [(0, 7), (1, 7), (2, 8), (3, 8), (4, 8)] {
            assert!(owed.change(slot, |before| before.max(list)));
        }
        let mut runs = Vec::new();
        while let Some(Next::Run(list, entries)) = owed.next(2) {
            runs.push((list, owed.of(entries).to_vec()));
        }
        assert_eq!(runs, [(7, vec![0, 1]), (8, vec![2, 3]), (8, vec![4])]);
        assert!((0..5).all(|slot| owed.is_clear(slot)));
        assert!(owed.end_tick());
    }

    #[test]
    fn nothing_is_written_past_a_blocked_connection() {
        let mut owed = owed(2);
        owed.block(1);
        assert!(!owed.change(1, |_| panic!("it is blocked")));
        assert_eq!((owed.list(1), owed.unwritten()), (None, 0));
        owed.note(1);
        assert!(!owed.end_tick(), "the writes have not come to it");
        assert!(matches!(owed.next(1), Some(Next::Blocked(1))));
        assert!(owed.end_tick());
    }

    #[test]
    fn a_connection_that_is_owed_something_again_stands_behind_the_others() {
        let mut owed = owed(2);
        owed.change(0, |_| 3);
        owed.change(1, |_| 3);
        assert!(matches!(owed.next(1), Some(Next::Run(3, _))));
        owed.change(0, |_| 4);
        assert!(owed.next(0).is_none());
        let Some(Next::Run(3, entries)) = owed.next(9) else { panic!("slot 1 comes next") };
        assert_eq!(owed.of(entries), [1]);
        let Some(Next::Run(4, entries)) = owed.next(9) else { panic!("then slot 0 again") };
        assert_eq!(owed.of(entries), [0]);
    }
}
