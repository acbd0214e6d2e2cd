//! The shard's share of the node's bound on all backlogs together, and which connection goes when it is spent.

use crate::base::{Mutation, Slab, mutated};
use crate::model::DropReason;
use crate::shard::conn::Conn;
use crate::shard::{Now, Shard};

impl Shard {
    /// Takes `bytes` out of the node's bound, at the cost of larger backlogs than the `would_be` bytes that the
    /// asking connection would hold: these lose what they may lose, and are evicted when there is no more of that. So
    /// also, first, out of the shares of its user and tenant.
    ///
    /// # Errors
    /// Which bound is spent, when none of this shard is larger; then nothing is taken.
    pub(super) fn take_budget(&mut self, slot: u32, bytes: usize, would_be: usize) -> Result<(), DropReason> {
        self.take_shares(slot, bytes, would_be)?;
        let bound = self.config.limits.outboxes_bytes_max;
        while !self.hub.outboxes.take(bytes, bound) {
            let shard = self.hub.outboxes.largest_shard();
            if shard != self.mailer.here() {
                self.blocked.ask_elsewhere(shard);
            }
            let conns = &self.conns;
            let Some(victim) = self.blocked.next_victim(would_be, |slot| evictable_bytes(conns, slot)) else {
                self.give_shares(slot, bytes);
                return Err(DropReason::NodeOutboxes);
            };
            if self.shed(victim) {
                self.blocked.put_back_victim(victim, self.evictable_bytes(victim));
            } else {
                self.doom(victim, DropReason::NodeOutboxes);
            }
        }
        if mutated(Mutation::ChargeTwice) {
            self.hub.outboxes.force(bytes);
        }
        self.metrics.backlog_bytes.add(bytes as u64);
        Ok(())
    }

    /// Takes `bytes` if no other backlog must give way for them.
    pub(super) fn try_budget(&mut self, slot: u32, bytes: usize) -> bool {
        if !self.try_shares(slot, bytes) {
            return false;
        }
        if !self.hub.outboxes.take(bytes, self.config.limits.outboxes_bytes_max) {
            self.give_shares(slot, bytes);
            return false;
        }
        self.metrics.backlog_bytes.add(bytes as u64);
        true
    }

    /// Drops the older half of what waits for a connection and may be lost. `false` if nothing may.
    pub(in crate::shard) fn shed(&mut self, slot: u32) -> bool {
        let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) else {
            return false;
        };
        let half = backlog.lossy_frames().div_ceil(2);
        let given = (0..half).filter_map(|_| backlog.drop_any()).sum();
        self.give_budget(slot, given);
        self.metrics.drops.add(DropReason::DropOldest.index(), half as u64);
        half > 0
    }

    /// Takes `bytes` whatever the bound: the rest of a frame that has begun, and close frames.
    pub(in crate::shard) fn force_budget(&mut self, slot: u32, bytes: usize) {
        self.force_shares(slot, bytes);
        self.hub.outboxes.force(bytes);
        self.metrics.backlog_bytes.add(bytes as u64);
    }

    /// Gives `bytes` back.
    pub(in crate::shard) fn give_budget(&mut self, slot: u32, bytes: usize) {
        self.give_shares(slot, bytes);
        self.hub.outboxes.give(bytes);
        self.metrics.backlog_bytes.sub(bytes as u64);
    }

    /// The connection whose eviction frees the most, if that of any frees something.
    pub(in crate::shard) fn largest_blocked(&self) -> Option<u32> {
        let largest = self.blocked.iter().max_by_key(|slot| self.evictable_bytes(*slot));
        largest.filter(|slot| self.evictable_bytes(*slot) > 0)
    }

    /// See [`evictable_bytes`].
    pub(in crate::shard) fn evictable_bytes(&self, slot: u32) -> usize {
        evictable_bytes(&self.conns, slot)
    }

    /// Tells the other shards the size of the largest backlog here, when that may soon matter.
    pub(super) fn state_largest(&mut self, now: Now) {
        self.blocked.forget_victims();
        self.policy.holdings.forget_victims();
        self.end_inputs_turn();
        let matters = self.hub.outboxes.bytes() > self.config.limits.outboxes_bytes_max / 2;
        if matters && self.blocked.is_census_due(now) {
            let largest = self.largest_blocked().map_or(0, |slot| self.evictable_bytes(slot));
            self.hub.outboxes.set_largest(self.mailer.here(), largest);
        }
    }
}

/// Bytes of a backlog that an eviction can free. Nothing of a backlog that was cut, however large the frame is that the
/// peer has seen the start of: to evict a connection again and again for that one frame frees nothing.
fn evictable_bytes(conns: &Slab<Conn>, slot: u32) -> usize {
    let backlog = conns.at(slot).filter(|conn| conn.is_open()).and_then(|conn| conn.backlog.as_ref());
    backlog.filter(|backlog| !backlog.is_cut()).map_or(0, |backlog| backlog.bytes())
}
