//! Which frames of a tick have gone to all connections that they are for.
//!
//! Connections that are owed something are written to in rounds over several turns, while more frames come. A frame is
//! over when the writes have come to where the dirty list ended when it was owed: all connections that it is for stand
//! before that.

use std::collections::VecDeque;
use std::ops::Range;

/// The ends of a tick's turns.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Length of the dirty list and number of frames at the end of each turn, ascending in both.
    ends: VecDeque<(usize, usize)>,
    /// Frames that are over.
    over: usize,
}

impl Rounds {
    /// A turn has ended with so many frames in the tick, for connections of the dirty list's first `dirty` entries.
    pub fn mark(&mut self, dirty: usize, frames: usize) {
        if self.ends.back().map_or(self.over, |(_, frames)| *frames) < frames {
            self.ends.push_back((dirty, frames));
        }
    }

    /// The frames that are over now that the first `written` entries have been written to. Each is told once.
    pub fn over(&mut self, written: usize) -> Range<usize> {
        let before = self.over;
        while let Some((_, frames)) = self.ends.pop_front_if(|(dirty, _)| *dirty <= written) {
            self.over = frames;
        }
        before..self.over
    }

    /// Begins the next tick.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.over = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_over_when_all_are_written_to_that_it_was_owed_to() {
        let mut rounds = Rounds::default();
        rounds.mark(100, 2);
        assert_eq!(rounds.over(99), 0..0);
        rounds.mark(160, 2);
        rounds.mark(160, 3);
        assert_eq!(rounds.over(100), 0..2);
        assert_eq!(rounds.over(159), 2..2);
        rounds.mark(200, 5);
        assert_eq!(rounds.over(200), 2..5);
        rounds.clear();
        rounds.mark(1, 1);
        assert_eq!(rounds.over(1), 0..1);
    }
}
