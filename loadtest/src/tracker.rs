//! Loss, duplicates and reorder, judged from sequence numbers.
//!
//! One [`Mark`] of eight bytes per member and publisher: the newest number and a bitmap of the
//! [`WINDOW`] numbers before it. A number older than the bitmap can be a duplicate or a very late
//! arrival; it is counted as reordered, the only guess the memory allows.

/// How many numbers behind the newest can be told apart.
pub const WINDOW: u32 = 32;

/// What one arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before it.
    InOrder,
    /// Not seen before, but older than the newest.
    Reordered,
    /// Seen before.
    Duplicate,
}

/// The state for one member and one publisher. Sequence numbers start at 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    newest: u32,
    /// Bit `i` stands for number `newest - 1 - i`.
    seen: u32,
}

impl Mark {
    /// Notes that `sequence` arrived.
    pub fn note(&mut self, sequence: u32) -> Arrival {
        if sequence > self.newest {
            let step = sequence - self.newest;
            // The old newest becomes bit `step - 1`, if it is still in reach.
            let shifted = if step < WINDOW { self.seen << step } else { 0 };
            let bit = if self.newest > 0 && step <= WINDOW { 1 << (step - 1) } else { 0 };
            self.seen = shifted | bit;
            self.newest = sequence;
            return Arrival::InOrder;
        }
        let behind = self.newest - sequence;
        if behind == 0 {
            return Arrival::Duplicate;
        }
        if behind > WINDOW {
            return Arrival::Reordered;
        }
        let bit = 1 << (behind - 1);
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::Reordered
    }
}

/// Totals over many marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Arrivals that were not duplicates.
    pub distinct: u64,
    /// Arrivals seen before.
    pub duplicates: u64,
    /// Arrivals behind a newer one.
    pub reordered: u64,
}

impl Tally {
    /// Counts one arrival.
    pub fn add(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::InOrder => self.distinct += 1,
            Arrival::Reordered => {
                self.distinct += 1;
                self.reordered += 1;
            }
            Arrival::Duplicate => self.duplicates += 1,
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        self.distinct += other.distinct;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::Arrival::{Duplicate, InOrder, Reordered};
    use super::*;

    fn judge(numbers: &[u32]) -> Vec<Arrival> {
        let mut mark = Mark::default();
        numbers.iter().map(|&number| mark.note(number)).collect()
    }

    #[test]
    fn in_order_with_gaps() {
        assert_eq!(judge(&[1, 2, 5, 100, 101]), [InOrder; 5]);
    }

    #[test]
    fn a_swap_is_one_reorder() {
        assert_eq!(judge(&[1, 3, 2, 4]), [InOrder, InOrder, Reordered, InOrder]);
    }

    #[test]
    fn a_repeat_is_a_duplicate_wherever_it_comes() {
        assert_eq!(judge(&[1, 1, 2, 3, 1, 3]), [InOrder, Duplicate, InOrder, InOrder, Duplicate, Duplicate]);
    }

    #[test]
    fn agrees_with_a_set_inside_the_window() {
        let mut state = 7_u32;
        let (mut mark, mut seen, mut newest) = (Mark::default(), std::collections::BTreeSet::new(), 0_u32);
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (newest + 3).saturating_sub((state >> 16) % 34).max(1);
            let expected = match (seen.insert(number), number > newest) {
                (false, _) => Duplicate,
                (true, true) => InOrder,
                (true, false) => Reordered,
            };
            newest = newest.max(number);
            assert_eq!(mark.note(number), expected, "number {number} after {newest}");
        }
    }

    #[test]
    fn older_than_the_window_is_called_reordered() {
        assert_eq!(judge(&[1, 40, 1]), [InOrder, InOrder, Reordered]);
    }

    #[test]
    fn tally_counts_each_kind() {
        let mut tally = Tally::default();
        judge(&[1, 3, 2, 2]).into_iter().for_each(|arrival| tally.add(arrival));
        assert_eq!(tally, Tally { distinct: 3, duplicates: 1, reordered: 1 });
    }
}
