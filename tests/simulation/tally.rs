//! What the counters must say.

use fanwire::model::CloseReason;

/// A number that is known but for what limbo leaves open.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub low: u64,
    pub high: u64,
}

impl Span {
    pub fn add(&mut self, n: u64, sure: bool) {
        self.high += n;
        self.low += if sure { n } else { 0 };
    }

    pub fn has(self, n: u64) -> bool {
        (self.low..=self.high).contains(&n)
    }
}

/// What a shard must have counted.
#[derive(Debug, Default)]
pub struct Tally {
    pub publications: u64,
    pub closes: [u64; CloseReason::ALL.len()],
    pub refusals: Span,
    pub rate_limited: Span,
    pub protocol_errors: Span,
    /// Frames owed, but for pings.
    pub owed: Span,
}
