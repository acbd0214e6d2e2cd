//! What connections are owed while they are blocked, and what gives way when there is no place for it.
//!
//! # What order clients may rely on
//! Answers and control frames go before publications that wait, as a client that asks should not wait for what it
//! did not ask for. Even so:
//! - answers come in the order of the requests, and the publications of one room in the order in which they were
//!   accepted, with the notice of a loss where the loss is;
//! - nothing of a room comes before its `subscribed`, as publications never go before an answer that is older;
//! - nothing of a room comes after its `unsubscribed`, and nothing that a member of a room with history is told in
//!   its `subscribed` that it has comes after that, as what waits of the room is put before these
//!   ([`Backlog::hasten`]);
//! - in a room with history offsets ascend from what `subscribed` says, and what is missing between two of them is
//!   what a notice tells. What was published before, a replay and the last value, is part of the answer and never lost.
//!
//! An answer may come before a publication that is older than it, and publications of different rooms may change
//! places. A replacement by key takes the newest one's place, not that of the one it replaces, as the room's order is
//! the stronger promise (a client that comes back names the last one it has): so of many keys that change faster
//! than the reader reads, those that change least come first.
//!
//! # Who gives way
//! Where there is no place in the outbox of a connection for what it is owed, or the node's bound is spent, its own
//! publications that may be lost give way, as long as there are any: the oldest of the room of which most bytes wait,
//! so that a room that floods a member costs it nothing of the rooms that hardly speak. Frames of other rooms, answers
//! and what has begun to be sent never do. A room that may lose some so never costs a member its connection by filling
//! the outbox that other rooms share.
//!
//! Where that is not enough for the share of the connection's user or tenant, the largest backlog of these gives way
//! (see `accounts`); where it is not enough for the node's bound, the largest backlog gives way, by half of what it may lose as long
//! as there is such, and else with its connection.

use crate::base::{Mutation, mutated};
use crate::dialect::dialect;
use crate::hub::Loss;
use crate::model::{Answer, DialectId, DropReason, RoomName};
use crate::shard::fanout::bundle::Bundle;
use crate::shard::fanout::mail::Target;
use crate::shard::input::echo;
use crate::shard::output::backlog::{Backlog, Bounds, charge};
use crate::shard::output::hold::Held;
use crate::shard::output::palette::{Kind, ListId, Tag};
use crate::shard::{Now, Shard};
use crate::wire;
use std::rc::Rc;

/// Bytes over its bound that an outbox may hold of answers and control frames, so that these do not fail for the
/// sake of a few bytes; a client that asks on without reading passes this too and is evicted.
const RESERVE_BYTES: usize = 4096;

/// The same as a number of frames.
const RESERVE_FRAMES: u32 = 64;

impl Shard {
    /// Adds a publication to the backlogs of the blocked connections that a fan-out met, evicting those that have no
    /// place for it.
    pub(in crate::shard) fn owe_blocked(&mut self, entry: u32, target: Target, loss: Loss) {
        let met = std::mem::take(&mut self.blocked.met);
        self.filters.next_frame();
        for &slot in &met {
            let waited = if self.conns.at(slot).is_some_and(|conn| conn.terms.is_some()) {
                self.wait_held(slot, entry, target, loss)
            } else {
                self.wait(slot, entry)
            };
            if let Err(reason) = waited {
                self.overflowed(slot, reason, 1);
            }
        }
        self.blocked.met = met;
        self.blocked.met.clear();
    }

    /// Adds an answer or a control frame to a backlog, before the publications that wait there; evicts the connection
    /// if the reserve is spent too.
    pub(in crate::shard) fn answer_blocked(&mut self, slot: u32, entry: u32) {
        if self.conns.at(slot).is_some_and(|conn| conn.terms.is_some()) {
            self.ensure_backlog(slot);
            let backlog = self.conns.at(slot).and_then(|conn| conn.backlog.as_ref());
            if backlog.is_some_and(|backlog| !backlog.refused) {
                self.note(slot);
            }
        }
        if let Err(reason) = self.wait_ahead(slot, entry) {
            self.overflowed(slot, reason, 1);
        }
    }

    /// Adds a publication to what waits for a held connection, if it is for that at all.
    fn wait_held(&mut self, slot: u32, entry: u32, target: Target, loss: Loss) -> Result<(), DropReason> {
        let held = self.held(slot, entry, target, loss);
        if matches!(held, Held::Filtered) {
            return Ok(());
        }
        self.ensure_backlog(slot);
        let Some(conn) = self.conns.at(slot) else { return Ok(()) };
        let (refused, waits) = match (&conn.backlog, &conn.terms) {
            (Some(backlog), Some(_)) => (backlog.refused, self.timers.is_paced(slot)),
            _ => return Ok(()),
        };
        let (tag, silent) = match (held, self.palette.kind(entry)) {
            (Held::Newest(tag), _) => (Some(tag), true),
            // While only the time is awaited, nothing makes place for something newer.
            (_, Kind::MayBeLost(tag)) if refused => (Some(tag), false),
            (_, Kind::MayBeLost(tag)) => (Some(Tag { loss: Loss::Oldest, ..tag }), false),
            _ => (None, false),
        };
        // As long as the socket is awaited it is no use looking at the connection.
        if !refused && !waits {
            self.note(slot);
        }
        match tag.and_then(|tag| Some((tag, self.name_of(tag)?))) {
            Some((tag, name)) => self.wait_lossy(slot, entry, tag, silent, &name),
            None => self.wait_firm(slot, entry),
        }
    }

    /// The name of a room that is still there.
    fn name_of(&self, tag: Tag) -> Option<RoomName> {
        let room = self.rooms.get(tag.local).filter(|room| room.shared.id == tag.id)?;
        Some(room.shared.name.clone())
    }

    /// Adds an answer or a control frame to one backlog.
    fn wait_ahead(&mut self, slot: u32, entry: u32) -> Result<(), DropReason> {
        self.place_in_backlog(slot, charge(self.palette.frame(entry).len()), true)?;
        let bytes = self.palette.keep(entry);
        if let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) {
            backlog.push_ahead(bytes);
        }
        Ok(())
    }

    /// Cuts a backlog that had no place for `frames` more.
    fn overflowed(&mut self, slot: u32, reason: DropReason, frames: u32) {
        self.metrics.drops.add(reason.index(), u64::from(frames));
        self.doom(slot, reason);
    }

    /// Adds a publication to one backlog.
    fn wait(&mut self, slot: u32, entry: u32) -> Result<(), DropReason> {
        if let Kind::MayBeLost(tag) = self.palette.kind(entry)
            && let Some(name) = self.name_of(tag)
        {
            return self.wait_lossy(slot, entry, tag, false, &name);
        }
        self.wait_firm(slot, entry)
    }

    /// Adds a publication that is never lost to one backlog.
    fn wait_firm(&mut self, slot: u32, entry: u32) -> Result<(), DropReason> {
        self.place_in_backlog(slot, charge(self.palette.frame(entry).len()), false)?;
        let bytes = self.palette.keep(entry);
        if let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) {
            backlog.push(bytes, 0);
        }
        Ok(())
    }

    /// Adds a publication of a room that may lose it, in the place of older ones where there is no other. With `silent`
    /// the one of the same key is not told as lost.
    fn wait_lossy(
        &mut self,
        slot: u32,
        entry: u32,
        tag: Tag,
        silent: bool,
        name: &RoomName,
    ) -> Result<(), DropReason> {
        let bounds = self.bounds(slot, false);
        let mut len = self.palette.frame(entry).len();
        let Some(mut backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.take()) else {
            return Ok(());
        };
        let older = if mutated(Mutation::KeepOlder) { backlog.of_key(tag.id, tag.loss) } else { None };
        len = older.as_ref().map_or(len, |older| older.len());
        let made = backlog.make_place(len, tag.id, tag.loss, silent, bounds);
        self.give_budget(slot, made.given);
        let mut dropped = made.dropped;
        let cost = backlog.lossy_charge(len, tag.id);
        let result = loop {
            if !made.fits {
                break Err(DropReason::Outbox);
            }
            if self.try_budget(slot, cost) {
                break Ok(());
            }
            if let Some(given) = backlog.drop_any() {
                self.give_budget(slot, given);
                dropped += 1;
                continue;
            }
            // Nothing left to give: the largest of its user, tenant or node goes, or this one.
            break self.take_budget(slot, cost, backlog.bytes() + cost);
        };
        if result.is_ok() {
            let bytes = older.unwrap_or_else(|| self.palette.keep(entry));
            backlog.push_lossy(bytes, tag.id, name, tag.loss);
        }
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.backlog = Some(backlog);
        }
        self.metrics.drops.add(DropReason::Conflated.index(), u64::from(made.conflated));
        self.metrics.drops.add(DropReason::DropOldest.index(), u64::from(dropped));
        result
    }

    /// Takes `cost` bytes for one frame that is not lost, in the place of publications that may be.
    fn place_in_backlog(&mut self, slot: u32, cost: usize, is_answer: bool) -> Result<(), DropReason> {
        let (bounds, limits) = (self.bounds(slot, is_answer), &self.config.limits);
        let holding = self.policy.holdings.of(slot);
        if let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) {
            let (mut dropped, mut given) = (0, 0);
            while !backlog.has_place(cost, 1, bounds)
                || self.hub.outboxes.bytes().saturating_sub(given) + cost > limits.outboxes_bytes_max
                || holding.is_some_and(|holding| !holding.has_place(limits, cost, given))
            {
                let Some(bytes) = backlog.drop_any() else { break };
                given += bytes;
                dropped += 1;
            }
            self.give_budget(slot, given);
            self.metrics.drops.add(DropReason::DropOldest.index(), dropped);
        }
        self.room_in_backlog(slot, cost, 1, is_answer)
    }

    /// Takes `cost` bytes for a connection's backlog out of its bound and the node's budget.
    pub(super) fn room_in_backlog(
        &mut self,
        slot: u32,
        cost: usize,
        frames: u32,
        is_answer: bool,
    ) -> Result<(), DropReason> {
        let bounds = self.bounds(slot, is_answer);
        let backlog = self.conns.at(slot).and_then(|conn| conn.backlog.as_ref());
        let held = backlog.map_or(0, |backlog| backlog.bytes());
        let counted = if mutated(Mutation::CheckBoundLate) { 0 } else { cost };
        if backlog.is_some_and(|backlog| !backlog.has_place(counted, frames, bounds)) {
            return Err(DropReason::Outbox);
        }
        self.take_budget(slot, cost, held + cost)
    }

    /// The bounds of one backlog. Answers have a reserve.
    fn bounds(&self, slot: u32, is_answer: bool) -> Bounds {
        let limits = &self.config.limits;
        let echo = self.conns.at(slot).is_some_and(|conn| conn.echo);
        let bytes_max = limits.outbox_bytes_max + if echo { echo::OUTBOX_BYTES } else { 0 };
        let frames_max = limits.outbox_messages_max;
        if is_answer {
            Bounds {
                bytes_max: bytes_max + RESERVE_BYTES,
                frames_max: frames_max.saturating_add(RESERVE_FRAMES),
            }
        } else {
            Bounds { bytes_max, frames_max }
        }
    }

    /// The backlog of a connection that has just been blocked, of a list that is not of one kind: frame by frame,
    /// without the first `taken` bytes, each as if the connection had been blocked when it came. Returns the number of
    /// frames that were not wholly taken.
    pub(super) fn wait_for_each(&mut self, now: Now, slot: u32, list: ListId, taken: usize) -> u32 {
        let mut frames = 0;
        let mut outcome: Result<(), DropReason> = Ok(());
        let mut end = 0;
        for entry in self.palette.entries(list) {
            let start = end;
            end += self.palette.frame(entry).len();
            if end <= taken {
                continue;
            }
            frames += 1;
            if let Err(reason) = outcome {
                self.metrics.drops.inc(reason.index());
                continue;
            }
            outcome = match self.palette.kind(entry) {
                _ if start < taken => self.go_on(slot, entry, taken - start),
                Kind::Plain | Kind::MayBeLost(_) => self.wait(slot, entry),
                Kind::Answer => self.wait_ahead(slot, entry),
                Kind::After(room) => {
                    self.hasten(now, slot, room);
                    self.wait_ahead(slot, entry)
                }
            };
            if let Err(reason) = outcome {
                // What has begun goes on even so.
                self.overflowed(slot, reason, u32::from(start >= taken));
            }
        }
        frames
    }

    /// Adds the rest of a frame of which `sent` bytes are with the kernel, whatever the bounds.
    fn go_on(&mut self, slot: u32, entry: u32, sent: usize) -> Result<(), DropReason> {
        let cost = charge(self.palette.frame(entry).len() - sent);
        let outcome = self.room_in_backlog(slot, cost, 1, false);
        if outcome.is_err() {
            self.force_budget(slot, cost);
        }
        let bytes = self.palette.keep(entry);
        if let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) {
            backlog.push(bytes, sent);
        }
        outcome
    }

    /// Puts what waits of a room before the answer that follows.
    pub(in crate::shard) fn hasten(&mut self, now: Now, slot: u32, room: u64) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let dialect = conn.dialect;
        let Some(backlog) = conn.backlog.as_mut().filter(|_| !mutated(Mutation::ForgetHasten)) else {
            return;
        };
        let (charged, given) = backlog.hasten(room, |name, lost| gap(dialect, name, lost, now));
        self.force_budget(slot, charged);
        self.give_budget(slot, given);
    }

    /// Makes the notice of a loss a frame if it is what `backlog` sends next. Returns the frames made: 0 or 1.
    pub(super) fn tell_gap(&mut self, now: Now, slot: u32, dialect: DialectId, backlog: &mut Backlog) -> u32 {
        let Some(bytes) = backlog.notice().map(|(name, lost)| gap(dialect, name, lost, now)) else {
            return 0;
        };
        let (charged, given) = backlog.tell(bytes);
        self.force_budget(slot, charged);
        self.give_budget(slot, given);
        1
    }
}

/// The frame that tells a loss.
pub(in crate::shard) fn gap(id: DialectId, room: &RoomName, lost: u64, now: Now) -> Rc<Bundle> {
    let mut frame = Vec::new();
    let text_at = wire::message(&mut frame, |out| {
        dialect(id).encode_answer(&Answer::Gap { room: room.as_str(), lost }, now.unix_ms, out)
    });
    Rc::new(Bundle::one(frame, text_at))
}
