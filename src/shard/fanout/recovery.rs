//! What a new member is told first: where the room's order stands, and what it has missed.
//!
//! The member was counted, and its shard's interest stated, before the room's log is locked here. So what was published
//! before the lock is in the history, and perhaps in this shard's mailbox too, from where it is not for this member any
//! more; what is published after the lock comes through the mailbox alone. Nothing is lost between the two and nothing
//! comes twice. Under the lock the position is read and the publications are taken out as they are; all that depends on
//! their content, which may be long, is done after it, before this shard looks at its mailbox again.

use crate::base::{Mutation, mutated};
use crate::config::Action;
use crate::dialect::dialect;
use crate::hub::{History, Room, RoomLog, Stored};
use crate::model::{Answer, Position, RequestId};
use crate::shard::output::backlog::charge;
use crate::shard::output::palette::{EMPTY, Kind};
use crate::shard::turn::price;
use crate::shard::{Now, Shard};
use crate::wire;
use std::sync::Arc;

/// Share of a connection's outbox, in quarters, that a replay may fill: the rest is for what is published while the
/// client reads it, which would else cost the connection.
const REPLAY_QUARTERS: usize = 3;

/// A membership, new or not.
pub(in crate::shard) struct Joined {
    /// Slot of the room on this shard.
    pub local: u32,
    /// Members of the room on the node.
    pub client_count: u32,
    pub was_member: bool,
}

/// What a replay may take.
pub(in crate::shard) struct Space {
    pub bytes: usize,
    pub frames: usize,
}

impl Space {
    /// As much as there is.
    pub const ALL: Self = Self { bytes: usize::MAX, frames: usize::MAX };
}

/// Publications taken out of a history, with their offsets.
pub(in crate::shard) type Page = Vec<(u64, Arc<Stored>)>;

/// Takes publications out of a locked history.
pub(in crate::shard) fn owned<'h>(publications: impl IntoIterator<Item = (u64, &'h Arc<Stored>)>) -> Page {
    publications.into_iter().map(|(offset, stored)| (offset, stored.clone())).collect()
}

impl Shard {
    /// Answers a `subscribe`, and sends what it asks for of the room's past.
    pub(in crate::shard) fn welcome(
        &mut self,
        now: Now,
        slot: u32,
        room: &str,
        joined: Joined,
        recover: Option<Position>,
        id: RequestId<'_>,
    ) {
        let Joined { local, client_count, was_member } = joined;
        let remembers = |room: &&Room| room.shared.log.is_some();
        let Some(shared) = self.rooms.get(local).filter(remembers).map(|room| room.shared.clone()) else {
            let recovered = recover.map(|_| false);
            let answer = Answer::Subscribed { room, client_count, position: None, recovered, id };
            return self.answer(now, slot, &answer);
        };
        // Who may join but not have the past is answered as if there were none.
        let has_past = (recover.is_some() || shared.policy.last_value)
            && self.allowed(slot, room, Action::History).is_ok();
        // A room with members is in the directory, so it cannot have been forgotten.
        let Some((log, history)) = shared.log.as_ref().and_then(|log| Some((log, log.lock(now.ms())?)))
        else {
            return;
        };
        // What is to be told is chosen under the lock, together with the position; it is filtered and encoded after it.
        let (page, space) = match recover {
            // What is kept may end long before the order that the broker has not told yet.
            _ if !has_past || !history.is_placed() => (None, Space::ALL),
            Some(seen) if log.has_offsets() => (self.missed(slot, &history, seen), self.space(slot)),
            // As any other publication it costs a connection that has no space for it.
            None if shared.policy.last_value && !was_member => (Some(owned(history.last())), Space::ALL),
            _ => (None, Space::ALL),
        };
        let (mut position, ticket) = (history.position(), history.ticket());
        let has_position = log.has_offsets() && history.is_placed();
        drop(history);
        let replay = page.and_then(|page| self.encode_past(now, slot, room, log, page, space));
        if was_member {
            // What a walk has for it comes before the answer, unless the replay has it.
            self.leave_walk(slot, local, replay.is_some());
        }
        let recovered = recover.map(|_| replay.is_some());
        if was_member && replay.is_none() {
            // It goes on with what is on its way to it.
            let reached = self.rooms.get(local).map_or(0, |room| room.reached(slot));
            position.offset = position.offset.saturating_sub(ticket.saturating_sub(reached));
        } else if !mutated(Mutation::ForgetAhead) {
            self.rooms.set_ahead(local, slot, ticket);
        }
        if let Some(recovered) = recovered {
            self.metrics.recoveries.inc(usize::from(!recovered));
        }
        let position = has_position.then_some(position);
        // What still waits for a member comes before the answer, which says that it has that.
        let kind = position.filter(|_| was_member).map(|_| Kind::After(shared.id));
        let answer = Answer::Subscribed { room, client_count, position, recovered, id };
        self.answer_of_kind(now, slot, &answer, kind);
        for entry in replay.into_iter().flatten() {
            self.owe(slot, entry);
        }
    }

    /// All that was published after `seen`. `None` if it cannot all be told, or has no space whatever a filter says.
    pub(in crate::shard) fn missed(&self, slot: u32, history: &History, seen: Position) -> Option<Page> {
        let missed = history.since(seen)?;
        let space = self.space(slot);
        if missed.len() > space.frames {
            return None;
        }
        // Before anything is taken: who asks again and again for too much is not to cost much.
        let text_bytes: usize = history.since(seen)?.map(|(_, stored)| stored.text_bytes()).sum();
        if text_bytes > space.bytes {
            return None;
        }
        Some(owned(missed.skip(usize::from(mutated(Mutation::SkipInReplay)))))
    }

    /// Encodes the publications of a page that a connection's filter lets pass: entries of the palette. `None` if they do
    /// not fit. Not compressed, as no answer is: nobody shares them, and who asks again and again is not to cost much.
    /// Not to be called with the log locked.
    pub(in crate::shard) fn encode_past(
        &mut self,
        now: Now,
        slot: u32,
        room: &str,
        log: &RoomLog,
        page: Page,
        space: Space,
    ) -> Option<Vec<u32>> {
        let page = self.filter_past(now, slot, log, page);
        let dialect = dialect(self.conns.at(slot)?.dialect);
        let Self { palette, turn, .. } = self;
        let mut bytes = 0;
        page.iter()
            .map(|(offset, stored)| {
                let publication = stored.publication(room, log.has_offsets().then_some(*offset));
                let entry = palette.push_answer(|out| {
                    wire::message(out, |out| dialect.encode_publication(&publication, out))
                });
                let len = palette.frame(entry).len();
                turn.charge(price::ENCODED + 2 * len as u64);
                bytes += charge(len);
                (bytes <= space.bytes).then_some(entry)
            })
            .collect()
    }

    /// The publications of a page that a connection's filter lets pass. All of the page is paid for.
    pub(in crate::shard) fn filter_past(&mut self, now: Now, slot: u32, log: &RoomLog, page: Page) -> Page {
        self.spend_past(now, slot, page.iter().map(|(_, stored)| stored.text_charge()).sum());
        let filter = self.conns.at(slot).and_then(|conn| conn.terms.as_ref()?.filter);
        let Some(filter) = filter else { return page };
        let (page, work) = self.filters.pass(filter, log, page);
        self.turn.charge(work);
        page
    }

    /// What a replay may add to a connection's outbox.
    pub(in crate::shard) fn space(&self, slot: u32) -> Space {
        let limits = &self.config.limits;
        let (held_bytes, held_frames) = match self.owed.list(slot) {
            Some(EMPTY) => (0, 0),
            None => self
                .conns
                .at(slot)
                .and_then(|conn| conn.backlog.as_ref())
                .map_or((0, 0), |backlog| (backlog.bytes(), backlog.frames())),
            Some(list) => (self.palette.list_bytes(list), self.palette.frames(list)),
        };
        let node = limits.outboxes_bytes_max.saturating_sub(self.hub.outboxes.bytes());
        let own = (limits.outbox_bytes_max / 4 * REPLAY_QUARTERS).saturating_sub(held_bytes);
        let frames = limits.outbox_messages_max as usize * REPLAY_QUARTERS / 4;
        let share = self.share_space(slot, limits);
        Space { bytes: own.min(node).min(share), frames: frames.saturating_sub(held_frames as usize) }
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
