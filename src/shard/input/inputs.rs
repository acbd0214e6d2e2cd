//! Messages of clients that have not come whole: how long each may take, and what all of them hold together.
//!
//! A message under way is memory that its sender pins for nothing, so it has three bounds: `message_bytes_max` for
//! itself, checked by the header of each frame; `message_timeout` from its first byte to its last; and
//! `inputs_bytes_max` for all of the node, charged by what is held after each read. When that is passed the largest of
//! the node goes: if it is on this shard, at once; if another shard has told a larger one, that shard is asked. So the
//! bound is passed by what is read meanwhile, an eighth of it at the most, and one read on each shard.
//!
//! Charged, too, is what waits with a connection that is not read on for now (see [`crate::shard::Reading`]): it can hold the
//! rest of one read, and a request for the past that waits. Its time does not run, as it waits for the server.

use crate::base::{Mutation, mutated};
use crate::model::CloseReason;
use crate::shard::conn::Conn;
use crate::shard::fanout::mail::{Mail, Request};
use crate::shard::input::look::Look;
use crate::shard::input::talk::Talk;
use crate::shard::{Now, Reading, Shard, Sockets};
use crate::wire::Inflater;
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// What an unfinished message costs beside its bytes: its entries here, in the timer wheel, and its two boxes.
pub(super) const UNFINISHED_BYTES: usize = 256;

/// Share of the bound by which it may be passed while another shard is asked: one in so many.
const LATE_SHARE: usize = 8;

/// The unfinished messages of one shard.
#[derive(Debug, Default)]
pub(in crate::shard) struct Inputs {
    by_slot: HashMap<u32, Unfinished>,
    /// By bytes, then slot: the largest is the last.
    by_size: BTreeSet<(usize, u32)>,
    /// Something was left unfinished by the read that is being handled.
    pub left: bool,
    /// A message was finished by it.
    pub finished: bool,
    /// The request that was unfinished before it still is, of a connection whose dialect has requests of several messages.
    pub goes_on: bool,
    /// Bytes of the largest, as the other shards were told.
    stated: usize,
    /// Another shard has been asked in this turn to have its largest go.
    asked: bool,
    /// Bytes that clients have given back since that was last asked for.
    freed_bytes: usize,
    pub inflater: Inflater,
}

/// What one connection has begun to send.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    bytes: usize,
    /// When its first byte came, in tenths of a second of the shard's clock.
    since_ds: u32,
}

impl Inputs {
    /// How many bytes of unfinished messages clients have given back since this was last asked.
    pub fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed_bytes)
    }

    /// When the first byte of a connection's unfinished message came, if it has one.
    #[inline]
    pub fn since_ds(&self, slot: u32) -> Option<u32> {
        if self.by_slot.is_empty() { None } else { self.by_slot.get(&slot).map(|held| held.since_ds) }
    }

    /// The largest, and whose it is.
    fn largest(&self) -> Option<(usize, u32)> {
        self.by_size.last().copied()
    }

    /// States what a connection holds, 0 for nothing; `begins` at a time if it is another message than before. Returns
    /// what it held before.
    fn set(&mut self, slot: u32, bytes: usize, begins_ds: Option<u32>) -> usize {
        let before = self.by_slot.get(&slot).copied();
        let since_ds = begins_ds.or(before.map(|held| held.since_ds)).unwrap_or(0);
        let held = before.map_or(0, |held| held.bytes);
        if held != bytes {
            self.by_size.remove(&(held, slot));
            if bytes != 0 {
                self.by_size.insert((bytes, slot));
            }
        }
        if bytes != 0 {
            self.by_slot.insert(slot, Unfinished { bytes, since_ds });
        } else if before.is_some() {
            self.by_slot.remove(&slot);
        }
        if self.by_slot.is_empty() && self.by_slot.capacity() > SPARE_ENTRIES {
            self.by_slot = HashMap::new();
        }
        held
    }
}

/// Entries of an empty table that are not given back.
const SPARE_ENTRIES: usize = 64;

impl Conn {
    /// What is charged for its unfinished message, if it has one.
    pub fn input_charge(&self) -> usize {
        let held = self.input_bytes();
        if self.has_unfinished() { held + UNFINISHED_BYTES } else { 0 }
    }

    /// Whether something that it has sent is still held: the start of a message, or a request that waits.
    #[inline]
    pub fn has_unfinished(&self) -> bool {
        self.input.is_some() || self.assembler.is_some() || self.look().is_some() || self.talk_bytes() > 0
    }

    /// Memory that its dialect's state holds of a request that has not come whole, in bytes.
    #[inline]
    pub fn talk_bytes(&self) -> usize {
        self.talk().map_or(0, Talk::held_bytes)
    }

    fn look(&self) -> Option<&Look> {
        self.terms.as_ref()?.look.as_deref()
    }

    /// Memory that holds its unfinished message, in bytes.
    pub fn input_bytes(&self) -> usize {
        self.input.as_ref().map_or(0, |input| input.buffer.capacity())
            + self.assembler.as_ref().map_or(0, |assembler| assembler.capacity())
            + self.look().map_or(0, Look::len_bytes)
            + self.talk_bytes()
    }
}

impl Shard {
    /// Counts what a read has left unfinished of a connection's message, or finished. `anew`: its time begins now, as
    /// nothing was read of it before.
    pub(super) fn settle_input(&mut self, now: Now, slot: u32, anew: bool, sockets: &mut impl Sockets) {
        let charge = self.conns.at(slot).map_or(0, Conn::input_charge);
        let is_new = anew || self.inputs.since_ds(slot).is_none();
        let before = self.charge_input(slot, charge, is_new.then_some(now.ds()));
        if charge != 0 && is_new {
            self.arm(now, slot);
        }
        if charge > before {
            self.shed_inputs(now, sockets);
        }
    }

    /// Gives back what is charged for a connection's unfinished message, which is there no more.
    pub(in crate::shard) fn release_input(&mut self, slot: u32) {
        if self.inputs.since_ds(slot).is_some() {
            self.charge_input(slot, 0, None);
        }
    }

    /// Counts what is left of a connection's unfinished message after a part of it was dropped.
    pub(in crate::shard) fn recharge_input(&mut self, slot: u32) {
        if self.inputs.since_ds(slot).is_some() {
            let charge = self.conns.at(slot).map_or(0, Conn::input_charge);
            self.charge_input(slot, charge, None);
        }
    }

    /// Takes and gives back what a connection's unfinished message holds now. Returns what it held before.
    fn charge_input(&mut self, slot: u32, charge: usize, begins_ds: Option<u32>) -> usize {
        let before = self.inputs.set(slot, charge, begins_ds);
        if charge > before {
            self.hub.inputs.force(charge - before);
        } else if charge < before && !mutated(Mutation::KeepInput) {
            self.hub.inputs.give(before - charge);
            self.inputs.freed_bytes += before - charge;
        }
        self.metrics.input_bytes.add(charge as u64);
        self.metrics.input_bytes.sub(before as u64);
        let largest = self.inputs.largest().map_or(0, |(bytes, _)| bytes);
        if std::mem::replace(&mut self.inputs.stated, largest) != largest {
            self.hub.inputs.set_largest(self.mailer.here(), largest);
        }
        before
    }

    /// Has the largest unfinished messages go until the node's bound holds, or asks the shard that has them.
    fn shed_inputs(&mut self, now: Now, sockets: &mut impl Sockets) {
        let bound = self.config.limits.inputs_bytes_max;
        while self.hub.inputs.bytes() > bound {
            let Some((_, victim)) = self.inputs.largest() else { return };
            let shard = self.hub.inputs.largest_shard();
            if shard != self.mailer.here() && self.hub.inputs.bytes() <= bound + bound / LATE_SHARE {
                if !std::mem::replace(&mut self.inputs.asked, true) {
                    self.mailer.post(shard, Mail::Request(Request::EvictLargestInput));
                }
                return;
            }
            self.cut_input(now, victim, CloseReason::InputsFull, sockets);
        }
    }

    /// Another shard has come over the node's bound and knows of a larger message here.
    pub(super) fn evict_largest_input(&mut self, now: Now, sockets: &mut impl Sockets) {
        if self.hub.inputs.bytes() > self.config.limits.inputs_bytes_max
            && let Some((_, victim)) = self.inputs.largest()
        {
            self.cut_input(now, victim, CloseReason::InputsFull, sockets);
        }
    }

    /// Closes a connection because of its unfinished message, which is dropped. Where its next frame would begin is not
    /// known then, so that it is not listened to any more.
    pub(in crate::shard) fn cut_input(
        &mut self,
        now: Now,
        slot: u32,
        reason: CloseReason,
        sockets: &mut impl Sockets,
    ) {
        let Some(conn) = self.conns.at(slot) else { return };
        if conn.is_open() {
            tracing::info!(
                connection = %conn.id,
                peer = conn.socket_addr().map(tracing::field::display),
                input_bytes = conn.input_bytes(),
                reason = reason.label(),
                "unfinished message dropped"
            );
            self.close(now, slot, reason, sockets);
        }
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.input = None;
            conn.assembler = None;
        }
        self.release_input(slot);
        self.turn_deaf(slot, sockets);
    }

    /// Ends the turn for the bound of unfinished messages.
    #[inline]
    pub(in crate::shard) fn end_inputs_turn(&mut self) {
        if self.inputs.asked {
            self.inputs.asked = false;
        }
    }

    /// When the time of a connection's unfinished message is over, in tenths of a second of the shard's clock, if it
    /// has one and is read.
    #[inline]
    pub(in crate::shard) fn input_due_ds(&self, slot: u32, conn: &Conn) -> Option<u32> {
        if mutated(Mutation::ForgetMessageTimeout) {
            return None;
        }
        let timeout = self.config.times.message_timeout;
        let since_ds =
            self.inputs.since_ds(slot).filter(|_| !timeout.is_zero() && conn.reading == Reading::On)?;
        Some(
            since_ds
                .max(self.timers.awake_ds())
                .saturating_add(crate::shard::life::closing::deciseconds(timeout)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_known_whatever_changes() {
        let mut inputs = Inputs::default();
        assert_eq!((inputs.largest(), inputs.since_ds(1)), (None, None));
        assert_eq!(inputs.set(1, 500, Some(10)), 0);
        assert_eq!(inputs.set(2, 700, Some(11)), 0);
        assert_eq!(inputs.largest(), Some((700, 2)));
        assert_eq!(inputs.set(1, 900, None), 500);
        assert_eq!(inputs.largest(), Some((900, 1)));
        assert_eq!(inputs.since_ds(1), Some(10), "the same message");
        assert_eq!(inputs.set(1, 300, Some(13)), 900);
        assert_eq!(inputs.since_ds(1), Some(13), "another message");
        assert_eq!(inputs.set(2, 0, None), 700);
        assert_eq!(inputs.set(2, 0, None), 0);
        assert_eq!((inputs.largest(), inputs.since_ds(2)), (Some((300, 1)), None));
    }
}
