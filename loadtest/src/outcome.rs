//! What a run of members saw: for one thread, and over all.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::SECOND_NS;
use crate::io::Ends;
use crate::tracker::Tally;

/// Copies owed and received by a group of members.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// Members in the group.
    pub members: u64,
    /// Copies they should have got.
    pub expected: u64,
    /// Distinct copies they got.
    pub received: u64,
}

impl Account {
    /// Copies that never came.
    pub fn missing(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    fn merge(&mut self, other: Self) {
        self.members += other.members;
        self.expected += other.expected;
        self.received += other.received;
    }
}

/// The sums of one thread; [`ThreadOutcome::merge`] makes one of all.
pub struct ThreadOutcome {
    /// From the intended send time to the read, of messages due in the window.
    pub latency_ns: Histogram<u64>,
    /// From the intended send time to the send: the load tool's own part of the latency.
    pub lateness_ns: Histogram<u64>,
    /// Arrivals at reading members.
    pub tally: Tally,
    /// Arrivals at stalled members, once they read again.
    pub stalled_tally: Tally,
    /// Reading members that stayed.
    pub healthy: Account,
    /// Reading members whose connection ended before the run did.
    pub gone: Account,
    /// Stalled members.
    pub stalled: Account,
    /// Messages that came to a connection they were not for.
    pub strays: u64,
    /// Messages due at a publisher whose connection was gone.
    pub unsent: u64,
    /// Messages sent that were due in the window.
    pub window_sent: u64,
    /// Copies read in the window.
    pub window_deliveries: u64,
    /// Bytes read in the window by reading members.
    pub window_bytes: u64,
    /// Connections that never joined.
    pub failed: u64,
    /// Why they did not.
    pub failures: Ends,
    /// How joined connections ended.
    pub ends: Ends,
    /// How stalled connections ended.
    pub stalled_ends: Ends,
    /// When the end of a stalled connection was read.
    pub stalled_closes_ns: Vec<u64>,
    /// When a stalled connection's hang-up was seen, by seat.
    pub hang_ups_ns: BTreeMap<u32, u64>,
    /// Which seats of the thread ever joined.
    pub was_joined: Vec<bool>,
}

impl ThreadOutcome {
    /// All zero, for `seats` connections.
    pub fn new(seats: usize) -> Self {
        Self {
            latency_ns: histogram(),
            lateness_ns: histogram(),
            tally: Tally::default(),
            stalled_tally: Tally::default(),
            healthy: Account::default(),
            gone: Account::default(),
            stalled: Account::default(),
            strays: 0,
            unsent: 0,
            window_sent: 0,
            window_deliveries: 0,
            window_bytes: 0,
            failed: 0,
            failures: Ends::new(),
            ends: Ends::new(),
            stalled_ends: Ends::new(),
            stalled_closes_ns: Vec::new(),
            hang_ups_ns: BTreeMap::new(),
            was_joined: vec![false; seats],
        }
    }

    /// Adds another thread's sums.
    pub fn merge(&mut self, other: Self) {
        // Both have the same bounds, so adding cannot fail.
        let _ = self.latency_ns.add(&other.latency_ns);
        let _ = self.lateness_ns.add(&other.lateness_ns);
        self.tally.merge(other.tally);
        self.stalled_tally.merge(other.stalled_tally);
        self.healthy.merge(other.healthy);
        self.gone.merge(other.gone);
        self.stalled.merge(other.stalled);
        self.strays += other.strays;
        self.unsent += other.unsent;
        self.window_sent += other.window_sent;
        self.window_deliveries += other.window_deliveries;
        self.window_bytes += other.window_bytes;
        self.failed += other.failed;
        merge_ends(&mut self.failures, other.failures);
        merge_ends(&mut self.ends, other.ends);
        merge_ends(&mut self.stalled_ends, other.stalled_ends);
        self.stalled_closes_ns.extend(other.stalled_closes_ns);
        self.hang_ups_ns.extend(other.hang_ups_ns);
        self.was_joined.extend(other.was_joined);
    }
}

/// A histogram of nanoseconds up to ten minutes, three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600 * SECOND_NS, 3).expect("the bounds are constant and valid")
}

/// Adds the counts of `more`.
pub fn merge_ends(ends: &mut Ends, more: Ends) {
    for (end, count) in more {
        *ends.entry(end).or_default() += count;
    }
}
