//! Publications to very many members, in steps: what would make one tick long is spread over many, so that the
//! messages of other rooms go out between.
//!
//! A publication to a target with at least [`WIDE_MEMBERS`] members on this shard is not owed to them at once. It waits
//! in the target's line, as if it were still in the mailbox. A walk takes what waits, notes for which members it is (one bit
//! per connection), and each tick owes it to the next few of them. Then the next walk takes what has come meanwhile.
//! A member that leaves before the walk has come to it gets nothing of it, and one that joins after its start neither.
//!
//! # Invariants
//! - While a target has something in its line, all that is published to it goes there, so its order holds.
//! - A walk owes its frames to each of its members once, unless the member leaves first.
//! - The order of a room that remembers has been reached when the walk starts; a member that asks meanwhile where it
//!   stands is caught up first.
//! - Bytes in the line of a room are counted in [`RoomShared::waiting`] until their walk starts, and publishers are
//!   held while that is over [`WAITING_BYTES_MAX`].

mod walk;

use crate::base::{Mutation, mutated};
use crate::hub::{Loss, RoomShared};
use crate::shard::Shard;
use crate::shard::conn::Conn;
use crate::shard::fanout::bundle::Ready;
use crate::shard::fanout::frame_batch::{Delivery, NOBODY};
use crate::shard::fanout::mail::{Ordered, OrderedFrames, SelectedFrames, Target};
use crate::shard::fanout::select::Filter;
use crate::shard::output::palette::{EMPTY, ListId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use walk::{Content, Frame, Item, Line, Slots, Walk};

/// Members on one shard from which on a publication is walked in steps. Well below what a turn writes to, so that
/// rooms just under it still have a turn's publications in one write for each member.
pub const WIDE_MEMBERS: usize = 2048;

/// Members that a tick's steps come to at the most.
pub const STEP_MEMBERS: usize = 1024;

/// Bytes that a tick's steps hand to the kernel, but for [`STEP_MEMBERS_MIN`].
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// Members that a step comes to however long the walk's frames are.
const STEP_MEMBERS_MIN: usize = 16;

/// Bytes that one walk takes along at the most, unless a single frame is longer.
const WALK_BYTES: usize = 64 * 1024;

/// Bytes that wait for one target over which its publishers are not read.
pub const WAITING_BYTES_MAX: usize = 256 * 1024;

/// The lines of a shard.
#[derive(Debug, Default)]
pub(in crate::shard) struct Wide {
    lines: VecDeque<Line>,
    /// Members of the present step.
    pub step: Vec<u32>,
}

impl Wide {
    /// Whether nothing waits and no walk is under way.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn has(&self, target: Target) -> bool {
        self.lines.iter().any(|line| line.target == target)
    }

    /// A connection has left the room in slot `local`.
    pub fn leave(&mut self, local: u32, slot: u32) {
        if mutated(Mutation::WalkToLeavers) {
            return;
        }
        let of_room = |line: &&mut Line| matches!(line.target, Target::Room { local: at, .. } if at == local);
        self.lines.iter_mut().filter(of_room).for_each(|line| line.forget(slot));
    }

    /// A connection gets no publications any more.
    pub fn forget(&mut self, slot: u32) {
        self.lines.iter_mut().for_each(|line| line.forget(slot));
    }

    /// The line of a target.
    fn line(&mut self, target: Target, room: impl FnOnce() -> Option<Arc<RoomShared>>) -> &mut Line {
        let at = self.lines.iter().position(|line| line.target == target).unwrap_or_else(|| {
            self.lines.push_back(Line { target, room: room(), waiting: VecDeque::new(), walk: None });
            self.lines.len() - 1
        });
        &mut self.lines[at]
    }
}

impl Shard {
    /// Connections of this shard that a publication may be for.
    pub(super) fn receivers_here(&self, target: Target) -> usize {
        match target {
            Target::Room { local, id } => {
                let room = self.rooms.get(local).filter(|room| room.shared.id == id);
                room.map_or(0, |room| room.members(u32::MAX).map(<[u32]>::len).sum())
            }
            Target::All | Target::Tenantless => self.conns.len(),
        }
    }

    /// Whether a publication has so many receivers here that it is walked, or one before it still is.
    pub(super) fn is_wide(&self, target: Target, members: usize) -> bool {
        members >= self.turn.steps.members_min || (!self.wide.is_empty() && self.wide.has(line_of(target)))
    }

    /// Puts a frame of the palette into its target's line.
    #[cold]
    pub(super) fn put_wide(&mut self, entry: u32, delivery: &Delivery) {
        let Delivery { target, encodings, loss, except, .. } = *delivery;
        let accepted_us = self.palette.entry_accepted_us(entry);
        let Ready { bytes, text_at } = self.palette.message(entry);
        let content = Content::Frame { bytes: bytes.into(), text_at, encodings, accepted_us, loss };
        let tenantless = target == Target::Tenantless;
        self.put_item(target, Item { content, except, filter: None, tenantless });
    }

    /// Puts a publication of a room that remembers into the room's line.
    pub(super) fn put_wide_ordered(&mut self, target: Target, ordered: &Ordered) {
        let content = Content::Ordered(ordered.frames.clone());
        let filter = ordered.frames.filter.clone();
        self.put_item(target, Item { content, except: ordered.except, filter, tenantless: false });
    }

    /// Puts a frame that is for a part of a target into its line.
    pub(super) fn put_wide_selected(
        &mut self,
        target: Target,
        encodings: u32,
        message: Ready<'_>,
        frames: &SelectedFrames,
    ) {
        let SelectedFrames { accepted_us, loss, ref filter, .. } = *frames;
        let Ready { bytes, text_at } = message;
        let content = Content::Frame { bytes: bytes.into(), text_at, encodings, accepted_us, loss };
        let filter = Some(filter.clone());
        self.put_item(target, Item { content, except: NOBODY, filter, tenantless: false });
    }

    fn put_item(&mut self, target: Target, item: Item) {
        let target = line_of(target);
        let Self { wide, rooms, hub, .. } = self;
        // Asked for when the line begins: later the slot may have changed hands, and what waits is counted where it is
        // taken off again.
        let line = wide.line(target, || match target {
            Target::Room { local, .. } => rooms.get(local).map(|room| room.shared.clone()),
            Target::All | Target::Tenantless => None,
        });
        let bytes = item.content.len();
        hub.waiting.fetch_add(bytes, Ordering::Relaxed);
        if let Some(room) = &line.room {
            room.waiting.fetch_add(bytes, Ordering::Relaxed);
        }
        line.waiting.push_back(item);
    }

    /// Owes the next members of the walks what these have for them. One line after the other gets its step.
    pub(in crate::shard) fn step_wide(&mut self) {
        let mut left = self.turn.steps.step_members;
        for _ in 0..self.wide.lines.len() {
            if left == 0 {
                break;
            }
            // Out of the shard for as long as its frames are owed.
            let Some(mut line) = self.wide.lines.pop_front() else { break };
            let taken = self.step_line(&mut line, left);
            left = left.saturating_sub(taken.max(1));
            if line.walk.is_some() || !line.waiting.is_empty() {
                self.wide.lines.push_back(line);
            }
        }
        self.wide.step.clear();
    }

    /// Returns the members that it came to, `left` at the most; each counts more where the frames are long.
    fn step_line(&mut self, line: &mut Line, left: usize) -> usize {
        let mut taken = 0;
        while taken < left {
            if line.walk.is_none() && !self.begin_walk(line) {
                break;
            }
            let Some(walk) = &mut line.walk else { break };
            let by_bytes = (STEP_BYTES / walk.bytes.len().max(1)).clamp(STEP_MEMBERS_MIN, STEP_MEMBERS);
            let weight = STEP_MEMBERS / by_bytes;
            let members = ((left - taken) / weight).max(1);
            let mut encoding = 0;
            self.wide.step.clear();
            for (bit, slots) in &mut walk.groups {
                slots.take(members, &mut self.wide.step);
                encoding = *bit;
                if !self.wide.step.is_empty() {
                    break;
                }
            }
            taken += self.wide.step.len() * weight;
            let is_over = walk.groups.iter_mut().all(|(_, slots)| slots.is_empty());
            let mut frames = Vec::with_capacity(walk.frames.len());
            for frame in walk.frames.iter().filter(|frame| frame.encodings & encoding != 0) {
                // Counted once, when the last member's write is due.
                let accepted_us = is_over.then_some(frame.accepted_us);
                let entry = walk.put(frame, line.target, accepted_us, &mut self.palette);
                frames.push((entry, frame.except, frame.loss));
            }
            self.owe_step(line.target, &frames);
            if is_over {
                line.walk = None;
            }
            if self.palette.is_full() {
                break;
            }
        }
        taken
    }

    /// Makes the members of the present step owe frames of a target, given with the slot that each is not for: what fan-outs do
    /// one frame after the other. Members that are owed the same before are owed the same after.
    pub(super) fn owe_step(&mut self, target: Target, frames: &[(u32, u32, Loss)]) {
        let Self { owed, palette, wide, .. } = self;
        let excepts = frames.iter().map(|(_, except, _)| *except);
        let excepts: Vec<u32> = excepts.filter(|it| *it != NOBODY).collect();
        let mut blocked = Vec::new();
        // No list has the first of these ids.
        let (mut from, mut to) = (ListId::MAX, EMPTY);
        for &slot in &wide.step {
            let is_owed = owed.change(slot, |list| {
                if !excepts.is_empty() && excepts.contains(&slot) {
                    let own = frames.iter().filter(|(_, except, _)| *except != slot);
                    return own.fold(list, |list, (entry, ..)| palette.extend(list, *entry));
                }
                if list != from {
                    to = frames.iter().fold(list, |list, (entry, ..)| palette.extend(list, *entry));
                    from = list;
                }
                to
            });
            if !is_owed {
                blocked.push(slot);
            }
        }
        for (entry, except, loss) in frames.iter().filter(|_| !blocked.is_empty()) {
            if mutated(Mutation::WalkPastBacklog) {
                blocked.iter().for_each(|slot| self.answer_blocked(*slot, *entry));
                continue;
            }
            self.blocked.met.extend(blocked.iter().filter(|slot| *slot != except));
            self.owe_blocked(*entry, target, *loss);
        }
    }

    /// Takes what waits in a line. `false` if there is nothing for anybody.
    fn begin_walk(&mut self, line: &mut Line) -> bool {
        let mut walk = Walk::default();
        // Members who know of the first publication already are left out, so it goes alone.
        let (mut ahead_of, mut reached) = (None, None);
        // What is for a part of them goes alone as well.
        let mut filter: Option<Arc<Filter>> = None;
        // So does what is not for tenants from what is for all, where there are tenants.
        let (mut tenantless, has_tenants) = (false, self.policy.audiences.has_tenants());
        while let Some(next) = line.waiting.front() {
            let (len, ticket) = (next.content.len(), next.content.ticket());
            // Nor may those members miss what is not in the room's order.
            let has_ahead = |target| match target {
                Target::Room { local, .. } => {
                    self.rooms.get(local).is_some_and(|room| room.has_ahead(ticket))
                }
                Target::All | Target::Tenantless => false,
            };
            let alone = ahead_of.is_some()
                || has_ahead(line.target) && !mutated(Mutation::WalkWithoutAhead)
                || filter.is_some()
                || next.filter.is_some()
                || has_tenants && next.tenantless != tenantless;
            if !walk.frames.is_empty() && (walk.bytes.len() + len > WALK_BYTES || alone) {
                break;
            }
            let Some(item) = line.waiting.pop_front() else { break };
            let Item { content, except, .. } = item;
            (filter, tenantless) = (item.filter, item.tenantless);
            self.hub.waiting.fetch_sub(len, Ordering::Relaxed);
            if let Some(room) = &line.room {
                room.waiting.fetch_sub(len, Ordering::Relaxed);
            }
            match content {
                Content::Frame { bytes, text_at, encodings, accepted_us, loss } => {
                    let (message, ordered) = (Ready { bytes: &bytes, text_at }, false);
                    walk.add(
                        message,
                        Frame { encodings, except, accepted_us, loss, ordered, ..Frame::NOWHERE },
                    );
                }
                Content::Ordered(frames) => {
                    let Target::Room { local, id } = line.target else { continue };
                    // All members may have come to know of it by their answers.
                    if !self.rooms.awaits(local, id, ticket) {
                        continue;
                    }
                    if self.rooms.get(local).is_some_and(|room| room.has_ahead(ticket)) {
                        ahead_of = Some(ticket);
                    }
                    reached = Some(ticket);
                    let OrderedFrames { accepted_us, loss, .. } = *frames;
                    for (encodings, message) in frames.by_encoding.iter() {
                        let frame =
                            Frame { encodings, except, accepted_us, loss, ordered: true, ..Frame::NOWHERE };
                        walk.add(message, frame);
                    }
                }
            }
        }
        let encodings = walk.frames.iter().fold(0, |mask, frame| mask | frame.encodings);
        let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| encodings & bit != 0);
        for bit in bits {
            let mut slots = Slots { words: vec![0; self.owed.slots() / 64 + 1], next: 0 };
            if let Some(filter) = &filter {
                let room = match line.target {
                    Target::Room { local, .. } => self.rooms.get(local),
                    Target::All | Target::Tenantless => None,
                };
                for slot in self.selected(line.target, bit, filter) {
                    if ahead_of.is_none_or(|at| room.is_some_and(|room| !room.is_ahead(slot, at))) {
                        slots.insert(slot);
                    }
                }
                walk.groups.push((bit, slots));
                continue;
            }
            match line.target {
                Target::Room { local, id } => {
                    let room = self.rooms.get(local).filter(|room| room.shared.id == id);
                    for slot in room.iter().flat_map(|room| room.members(bit)).flatten() {
                        if ahead_of.is_none_or(|at| room.is_some_and(|room| !room.is_ahead(*slot, at))) {
                            slots.insert(*slot);
                        }
                    }
                }
                Target::All | Target::Tenantless => {
                    let is_in =
                        |conn: &Conn| conn.is_open() && !conn.echo && !(tenantless && conn.has_tenant());
                    self.conns
                        .iter()
                        .filter(|(_, conn)| is_in(conn) && conn.encoding().bit() == bit)
                        .for_each(|(key, _)| slots.insert(key.slot));
                }
            }
            walk.groups.push((bit, slots));
        }
        if let (Target::Room { local, id }, Some(reached)) = (line.target, reached) {
            self.rooms.set_reached(local, id, reached);
        }
        let found = !walk.frames.is_empty();
        line.walk = found.then_some(walk);
        found
    }

    /// Has a member that a walk has not come to yet told now what the walk has for it, with `drop` without what is in
    /// the room's order, because it is told that in another way.
    pub(in crate::shard) fn leave_walk(&mut self, slot: u32, local: u32, drop: bool) {
        let Self { wide, palette, .. } = self;
        let mut owed = Vec::new();
        let mut of = Target::All;
        for line in wide.lines.iter_mut() {
            if !matches!(line.target, Target::Room { local: at, .. } if at == local) {
                continue;
            }
            let Some(walk) = &mut line.walk else { continue };
            let awaiting =
                walk.groups.iter_mut().filter_map(|(bit, slots)| slots.remove(slot).then_some(*bit));
            let encodings = awaiting.fold(0, |mask, bit| mask | bit);
            let has_it = |it: &&Frame| drop && (it.ordered || mutated(Mutation::LeaveWalkWhole));
            let frames = walk.frames.iter().filter(|it| it.encodings & encodings != 0 && !has_it(it));
            of = line.target;
            let put = |frame: &Frame| (walk.put(frame, of, None, palette), frame.except, frame.loss);
            owed.extend(frames.map(put));
        }
        if !owed.is_empty() {
            self.wide.step.push(slot);
            self.owe_step(of, &owed);
            self.wide.step.clear();
        }
    }
}

/// The target in whose line a publication waits. All that is for no room is in one line, so that its order holds.
fn line_of(target: Target) -> Target {
    match target {
        Target::Tenantless => Target::All,
        target => target,
    }
}
