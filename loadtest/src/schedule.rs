//! The open-loop schedule: every message's send time is fixed before the run begins.
//!
//! A server that stalls does not slow the schedule down, so its stall shows in the latency of every
//! message that was due meanwhile (no coordinated omission). Pure: it owns no clock.

use crate::clock::SECOND_NS;

/// The send times of one worker's share of the publishers.
///
/// Over the whole run message `k` is due at `start + k / rate` and belongs to publisher
/// `k % publishers_total`; a worker walks only those of its own publishers.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    rate_per_s: f64,
    publishers_total: u64,
    own: Vec<u32>,
    round: u64,
    cursor: usize,
}

/// One message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Intended send time, in nanoseconds of the run's clock.
    pub at_ns: u64,
    /// Which of the worker's own publishers sends: an index into the list given to [`Schedule::new`].
    pub own_index: usize,
}

impl Schedule {
    /// `own` holds the numbers (below `publishers_total`) of this worker's publishers.
    /// A rate that is not positive gives an empty schedule.
    pub fn new(start_ns: u64, rate_per_s: f64, publishers_total: usize, mut own: Vec<u32>) -> Self {
        own.sort_unstable();
        Self { start_ns, rate_per_s, publishers_total: publishers_total as u64, own, round: 0, cursor: 0 }
    }

    /// The same schedule with another start.
    pub fn starting_at(self, start_ns: u64) -> Self {
        Self { start_ns, ..self }
    }

    /// The next message, without taking it; `None` when this worker never sends.
    pub fn peek(&self) -> Option<Due> {
        if self.rate_per_s.is_nan() || self.rate_per_s <= 0.0 {
            return None;
        }
        let number = self.round * self.publishers_total + u64::from(*self.own.get(self.cursor)?);
        let offset_ns = number as f64 / self.rate_per_s * SECOND_NS as f64;
        Some(Due { at_ns: self.start_ns.saturating_add(offset_ns as u64), own_index: self.cursor })
    }

    /// Takes the next message when it is due at `now_ns`.
    pub fn take(&mut self, now_ns: u64) -> Option<Due> {
        let due = self.peek().filter(|due| due.at_ns <= now_ns)?;
        self.cursor += 1;
        if self.cursor == self.own.len() {
            self.cursor = 0;
            self.round += 1;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(schedule: &mut Schedule, until_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take(until_ns)).map(|due| due.at_ns).collect()
    }

    #[test]
    fn messages_are_evenly_spaced_from_the_start() {
        let mut schedule = Schedule::new(1_000, 10.0, 1, vec![0]);
        assert_eq!(
            all(&mut schedule, 1_000 + 3 * SECOND_NS / 10),
            [1_000, 100_001_000, 200_001_000, 300_001_000]
        );
    }

    #[test]
    fn nothing_is_due_early() {
        let mut schedule = Schedule::new(500, 1.0, 1, vec![0]);
        assert_eq!(schedule.take(499), None);
        assert_eq!(schedule.take(500), Some(Due { at_ns: 500, own_index: 0 }));
    }

    #[test]
    fn shares_of_the_workers_add_up_to_the_whole() {
        let until = 2 * SECOND_NS;
        let whole = all(&mut Schedule::new(0, 100.0, 5, (0..5).collect()), until);
        let mut parts = all(&mut Schedule::new(0, 100.0, 5, vec![3, 0]), until);
        parts.extend(all(&mut Schedule::new(0, 100.0, 5, vec![1, 2, 4]), until));
        parts.sort_unstable();
        assert_eq!(whole.len(), 201);
        assert_eq!(parts, whole);
    }

    #[test]
    fn a_late_caller_gets_every_missed_message_with_its_intended_time() {
        let mut schedule = Schedule::new(0, 1_000.0, 1, vec![0]);
        let late = all(&mut schedule, SECOND_NS);
        assert_eq!(late.len(), 1_001);
        assert_eq!(late[500], SECOND_NS / 2);
    }

    #[test]
    fn no_rate_or_no_publisher_means_no_message() {
        assert_eq!(Schedule::new(0, 0.0, 1, vec![0]).peek(), None);
        assert_eq!(Schedule::new(0, 5.0, 1, vec![]).peek(), None);
    }
}
