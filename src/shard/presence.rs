//! Who is in a room: the answer to those who ask, and the notices of who came and went.
//!
//! Notices are kept back for `presence_interval`, so that a storm of joins is one notice of each shard, however many
//! join. What is kept is bounded by the memberships that were there at its begin and those that are there now, as who
//! comes and goes meanwhile is not kept.

use super::commands::Asked;
use super::fanout::NOBODY;
use super::{Now, Shard};
use crate::api::MembersCursor;
use crate::base::{Mutation, mutated};
use crate::config::Action;
use crate::dialect::dialects_in;
use crate::hub::{Loss, Membership, RoomShared};
use crate::model::{Answer, Changed, ConnectionId, Encoding, Refusal};
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Times of notices that are none any more, kept however few others there are.
const STALE_MAX: usize = 1024;

/// Ids of each kind that one notice names; of more it tells the number.
const NAMED_MAX: usize = 100;

/// Joins and leaves that are not told yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By the room's id.
    rooms: HashMap<u64, Change, RandomState>,
    /// Ids of the rooms of which nothing was kept back before the present tick.
    fresh: Vec<u64>,
    /// When each other room's notice is due, in ms of the shard's clock, and its id. In the order of the times, but for
    /// a change of the interval. Some are of no notice any more.
    due: VecDeque<(u64, u64)>,
}

/// One room's.
#[derive(Debug)]
struct Change {
    room: Arc<RoomShared>,
    /// Whether each connection came (or went); not empty. The ids are random already, and nobody chooses them.
    came: HashMap<ConnectionId, bool, FixedState>,
    /// When the notice is due, in ms of the shard's clock; 0 in the tick in which it began.
    due_ms: u64,
}

impl Change {
    /// Some of those who came or went, and their number.
    fn of(&self, came: bool) -> (Vec<ConnectionId>, u32) {
        let all = || self.came.iter().filter(|entry| *entry.1 == came);
        (all().take(NAMED_MAX).map(|entry| *entry.0).collect(), all().count() as u32)
    }
}

impl Changes {
    fn note(&mut self, room: Arc<RoomShared>, id: ConnectionId, came: bool) {
        let room_id = room.id;
        let change = self.rooms.entry(room_id).or_insert_with(|| {
            self.fresh.push(room_id);
            Change { room, came: HashMap::default(), due_ms: 0 }
        });
        // Who comes and goes, or goes and comes, has done nothing.
        if change.came.remove(&id) != Some(!came) {
            change.came.insert(id, came);
        } else if change.came.is_empty() {
            self.rooms.remove(&room_id);
        }
    }

    /// Sets the time of the notices that began in this tick.
    fn set_due(&mut self, due_ms: u64) {
        for id in self.fresh.drain(..) {
            if let Some(change) = self.rooms.get_mut(&id).filter(|change| change.due_ms == 0) {
                change.due_ms = due_ms;
                self.due.push_back((due_ms, id));
            }
        }
        if self.due.len() > 2 * self.rooms.len() + STALE_MAX {
            let rooms = &self.rooms;
            self.due.retain(|(due_ms, id)| rooms.get(id).is_some_and(|change| change.due_ms == *due_ms));
        }
    }

    /// The next change of which the notice is due.
    fn next_due(&mut self, now_ms: u64) -> Option<Change> {
        while let Some((due_ms, id)) = self.due.pop_front_if(|(due_ms, _)| *due_ms <= now_ms) {
            if self.rooms.get(&id).is_some_and(|change| change.due_ms == due_ms) {
                return self.rooms.remove(&id);
            }
        }
        None
    }
}

impl Shard {
    /// A connection became a member.
    pub(super) fn note_join(&mut self, slot: u32, membership: Membership) {
        let Some(room) = self.rooms.get(membership.room) else { return };
        let Some(presence) = &room.shared.presence else { return };
        let Some(conn) = self.conns.at(slot) else { return };
        presence.join(self.index, conn.encoding(), conn.id);
        let (room, id) = (Arc::clone(&room.shared), conn.id);
        self.changes.note(room, id, true);
    }

    /// A connection is about to leave.
    pub(super) fn note_leave(&mut self, encoding: Encoding, membership: Membership) {
        let Some(room) = self.rooms.get(membership.room) else { return };
        let Some(presence) = &room.shared.presence else { return };
        let Some(id) = presence.leave(self.index, encoding, membership.position) else { return };
        let room = Arc::clone(&room.shared);
        if mutated(Mutation::ForgetLeaveNotice) {
            return;
        }
        self.changes.note(room, id, false);
    }

    /// When a notice is due, in ms of the shard's clock.
    pub(super) fn changes_due_ms(&self) -> Option<u64> {
        self.changes.due.front().map(|(due_ms, _)| *due_ms)
    }

    /// Sends the notices that are due.
    pub(super) fn tell_changes(&mut self, now: Now) {
        let interval_ms = self.config.times.presence_interval.as_millis() as u64;
        self.changes.set_due(now.ms() + interval_ms);
        while let Some(change) = self.changes.next_due(now.ms()) {
            let [(joined, joined_count), (left, left_count)] = [change.of(true), change.of(false)];
            let answer = Answer::PresenceChange {
                room: change.room.name.as_str(),
                joined: Changed { ids: &joined, count: joined_count },
                left: Changed { ids: &left, count: left_count },
                client_count: change.room.members(),
            };
            self.announce(now, &change.room, &answer);
        }
    }

    /// Says something to all members of a room. Never lost: a member without place for it is closed.
    fn announce(&mut self, now: Now, room: &RoomShared, answer: &Answer<'_>) {
        for (dialect, wanted) in dialects_in(room.encodings()) {
            let write = |out: &mut Vec<u8>| dialect.encode_answer(answer, now.unix_ms, out);
            let frames = self.encode(now, dialect.id(), wanted, write);
            self.bring_to_members(now, room, &frames, Loss::Notice, NOBODY);
        }
    }

    /// Answers a member that asks who is in a room.
    pub(super) fn presence(&mut self, now: Now, asked: Asked<'_>, room: &str, limit: u32) {
        let Asked { slot, id, .. } = asked;
        if let Err(denial) = self.allowed(slot, room, Action::Presence) {
            return self.deny(now, asked, denial);
        }
        let shared = self.membership(slot, room).and_then(|_| {
            let local = self.rooms.find(room)?;
            Some(Arc::clone(&self.rooms.get(local)?.shared))
        });
        let Some(shared) = shared else { return self.refuse(now, asked, Refusal::NotSubscribed) };
        let Some(presence) = &shared.presence else {
            return self.refuse(now, asked, Refusal::PresenceDisabled);
        };
        let clients = presence.members(limit as usize);
        let client_count = shared.members();
        self.answer(now, slot, &Answer::Presence { room, client_count, clients: &clients, id });
    }

    /// Up to `limit` members of a room on this shard, and where to go on if there are more.
    pub(super) fn members_here(
        &self,
        room: &str,
        cursor: MembersCursor,
        limit: usize,
    ) -> (Vec<ConnectionId>, Option<MembersCursor>) {
        let mut found = Vec::new();
        let Some(room) = self.rooms.find(room).and_then(|local| self.rooms.get(local)) else {
            return (found, None);
        };
        let mut before = cursor.before as usize;
        for encoding in Encoding::all().skip(usize::from(cursor.encoding)) {
            let members = room.members(encoding.bit()).next().unwrap_or_default();
            if encoding.index() > usize::from(cursor.encoding) {
                before = members.len();
            }
            let end = before.min(members.len());
            let start = end.saturating_sub(limit - found.len());
            let ids = members[start..end].iter().rev().filter_map(|slot| self.conns.at(*slot));
            found.extend(ids.map(|conn| conn.id));
            if start > 0 {
                let encoding = encoding.index() as u8;
                return (found, Some(MembersCursor { encoding, before: start as u32, ..cursor }));
            }
        }
        (found, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RoomPolicy, RoomRule};
    use crate::hub::Hub;
    use crate::model::{ConnectionKey, Locator};

    fn id(slot: u32) -> ConnectionId {
        ConnectionId::new(Locator { shard: 0, slot }, [slot as u8; 16], &ConnectionKey::new(7))
    }

    fn hub() -> Hub {
        let pattern = crate::base::Pattern::parse("**").unwrap();
        Hub::new(
            1,
            0,
            &[RoomRule { pattern, policy: RoomPolicy { presence: true, ..RoomPolicy::default() } }],
        )
    }

    #[test]
    fn who_comes_and_goes_leaves_nothing() {
        let (hub, mut changes) = (hub(), Changes::default());
        let begun = hub.directory.attach("stays");
        changes.note(Arc::clone(&begun), id(1), true);
        changes.set_due(500);
        for number in 0..100_000 {
            let room = hub.directory.attach(&format!("room {number}"));
            changes.note(Arc::clone(&room), id(2), true);
            changes.set_due(1000 + number);
            changes.note(Arc::clone(&room), id(2), false);
            hub.directory.detach(&room);
        }
        assert!(changes.rooms.len() == 1 && changes.due.len() <= STALE_MAX + 3, "{}", changes.due.len());
        assert!(changes.next_due(499).is_none());
        let change = changes.next_due(u64::MAX).unwrap();
        assert_eq!((change.of(true), change.of(false).1), ((vec![id(1)], 1), 0));
        assert!(changes.next_due(u64::MAX).is_none() && changes.due.is_empty());
    }

    #[test]
    fn a_change_that_begins_anew_waits_its_own_time() {
        let (hub, mut changes) = (hub(), Changes::default());
        let room = hub.directory.attach("room");
        changes.note(Arc::clone(&room), id(1), true);
        changes.set_due(100);
        changes.note(Arc::clone(&room), id(1), false);
        changes.note(Arc::clone(&room), id(2), false);
        changes.note(Arc::clone(&room), id(1), true);
        changes.set_due(200);
        assert!(changes.next_due(199).is_none());
        let change = changes.next_due(200).unwrap();
        assert_eq!((change.of(true).0, change.of(false).0), (vec![id(1)], vec![id(2)]));
    }
}
