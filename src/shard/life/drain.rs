//! The paced closing of all connections before the node ends.

use crate::base::{Mutation, mutated};
use crate::model::CloseReason;
use crate::shard::{Now, Shard, Sockets};
use rand::RngExt;
use std::time::Duration;

/// Time between two steps of a drain. Each closes a connection at the least: so few a second are no herd, and a small
/// node need not wait.
const DRAIN_STEP_MS: u64 = 50;

/// Connections closed in one turn, at the most.
const DRAIN_TURN_MAX: usize = 4096;

/// Share of the drain's time, in percent, in which the close frames go out; the rest is for the outboxes.
const DRAIN_PACED_PERCENT: u64 = 75;

/// A drain under way.
#[derive(Debug)]
pub(in crate::shard) struct Drain {
    /// Connections not closed yet.
    queue: Vec<u32>,
    closed: usize,
    began_ms: u64,
    /// Steps over which they are closed evenly.
    steps: u64,
    next_ms: u64,
    /// Clients are told to come back within this time, each at its own moment.
    spread_ms: u64,
}

impl Drain {
    /// Closes a connection too that has come since it began.
    pub fn add(&mut self, slot: u32) {
        self.queue.push(slot);
    }

    /// When the next connections are due, in ms of the shard's clock; none if all are closed.
    pub fn deadline_ms(&self) -> Option<u64> {
        (!self.queue.is_empty()).then_some(self.next_ms)
    }

    /// The connections that are due at a time: of all there are, as many as of the time is over.
    fn batch(&mut self, now_ms: u64) -> Vec<u32> {
        let step = (now_ms - self.began_ms) / DRAIN_STEP_MS + 1;
        let all = self.closed + self.queue.len();
        let due = match step < self.steps && !mutated(Mutation::DrainAtOnce) {
            true => (all as u64 * step / self.steps).max(step) as usize,
            false => all,
        };
        let due = due.saturating_sub(self.closed).min(self.queue.len());
        let len = due.min(DRAIN_TURN_MAX);
        self.closed += len;
        self.next_ms = if len < due { now_ms } else { self.began_ms + step * DRAIN_STEP_MS };
        self.queue.split_off(self.queue.len() - len)
    }
}

impl Shard {
    /// Begins to close all connections, paced over a time.
    pub(in crate::shard) fn start_drain(&mut self, now: Now, over: Duration) {
        let queue: Vec<u32> = self.conns.iter().map(|(key, _)| key.slot).collect();
        let spread_ms = over.as_millis() as u64;
        let steps = (spread_ms * DRAIN_PACED_PERCENT / 100 / DRAIN_STEP_MS).max(1);
        let (began_ms, spread_ms) = (now.ms(), spread_ms.max(1000));
        self.endings.drain = Some(Drain { queue, closed: 0, began_ms, steps, next_ms: began_ms, spread_ms });
    }

    pub(super) fn drain_step(&mut self, now: Now, sockets: &mut impl Sockets) {
        let Some(drain) = self.endings.drain.as_mut().filter(|drain| now.ms() >= drain.next_ms) else {
            return;
        };
        let batch = drain.batch(now.ms());
        let spread_ms = drain.spread_ms;
        for slot in batch {
            // Clients that all come back at the same moment would fell the next node.
            let hint_ms = 500 + self.newcomers.random.random_range(0..spread_ms);
            let text = format!("{}: reconnect in {hint_ms} ms", CloseReason::ShuttingDown.text());
            let code = if mutated(Mutation::CloseAsNormal) { 1000 } else { CloseReason::ShuttingDown.code() };
            self.close_with(now, slot, CloseReason::ShuttingDown, code, &text, sockets);
        }
    }
}
