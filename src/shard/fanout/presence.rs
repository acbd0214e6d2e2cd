//! The answer to a member that asks for the members of a room, and the notices of joins and leaves.
//!
//! Notices are kept back for `presence_interval`, so that a storm of joins is one notice, however many join.

use crate::config::Action;
use crate::dialect::{dialect, dialects_in};
use crate::hub::{Loss, Membership, RoomShared, Take};
use crate::model::{Answer, Changed, ConnectionId, CountOf, Encoding, MembersCursor, Refusal};
use crate::shard::fanout::frame_batch::NOBODY;
use crate::shard::input::commands::Asked;
use crate::shard::{Now, Shard};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rooms whose changes this shard tells although they have no members any more: so many are kept, however few others
/// there are.
const EMPTIED_MAX: usize = 1024;

/// The rooms whose changes this shard tells.
#[derive(Debug, Default)]
pub(in crate::shard) struct Telling {
    /// Those that began in the present tick.
    fresh: Vec<Arc<RoomShared>>,
    /// When each other room's notice is due, in ms of the shard's clock. In the order of the times, but for a change of
    /// the interval.
    due: VecDeque<(u64, Arc<RoomShared>)>,
    /// At most as many of them have no members any more.
    emptied: usize,
}

impl Telling {
    /// Sets the time of the notices that began in this tick.
    fn set_due(&mut self, due_ms: u64) {
        self.due.extend(self.fresh.drain(..).map(|room| (due_ms, room)));
        if self.emptied > self.due.len() / 2 + EMPTIED_MAX {
            self.emptied = 0;
            self.due.retain(|(_, room)| !room.presence.as_ref().is_none_or(|presence| presence.abandon()));
        }
    }

    /// The next room of which a notice is due.
    fn next_due(&mut self, now_ms: u64) -> Option<Arc<RoomShared>> {
        self.due.pop_front_if(|(due_ms, _)| *due_ms <= now_ms).map(|(_, room)| room)
    }
}

impl Shard {
    /// A connection became a member.
    pub(in crate::shard) fn note_join(&mut self, slot: u32, membership: Membership) {
        let Some(room) = self.rooms.get(membership.room) else { return };
        let Some(presence) = &room.shared.presence else { return };
        let Some(conn) = self.conns.at(slot) else { return };
        if presence.join(self.mailer.here(), conn.encoding(), conn.id, conn.identity.as_ref()) {
            self.telling.fresh.push(Arc::clone(&room.shared));
        }
    }

    /// A connection is about to leave.
    pub(in crate::shard) fn note_leave(&mut self, encoding: Encoding, membership: Membership) {
        let Some(room) = self.rooms.get(membership.room) else { return };
        let Some(presence) = &room.shared.presence else { return };
        if presence.leave(self.mailer.here(), encoding, membership.position) {
            self.telling.fresh.push(Arc::clone(&room.shared));
        }
        self.telling.emptied += usize::from(room.shared.members() <= 1);
    }

    /// A connection has another identity than its rooms know.
    pub(in crate::shard) fn note_identity(&mut self, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        for membership in &conn.memberships {
            let Some(room) = self.rooms.get(membership.room) else { continue };
            let Some(presence) = &room.shared.presence else { continue };
            let identity = conn.identity.as_ref();
            if presence.identify(self.mailer.here(), conn.encoding(), membership.position, identity) {
                self.telling.fresh.push(Arc::clone(&room.shared));
            }
        }
    }

    /// When a notice is due, in ms of the shard's clock.
    pub(in crate::shard) fn changes_due_ms(&self) -> Option<u64> {
        self.telling.due.front().map(|(due_ms, _)| *due_ms)
    }

    /// Sends the notices that are due.
    pub(in crate::shard) fn tell_changes(&mut self, now: Now) {
        let interval_ms = self.config.times.presence_interval.as_millis() as u64;
        let grace = self.config.times.presence_grace;
        let next_ms = now.ms() + interval_ms;
        self.telling.set_due(next_ms);
        let mut told = Vec::new();
        while let Some(room) = self.telling.next_due(now.ms()) {
            let Some(presence) = &room.presence else { continue };
            match presence.take(now.ms(), grace) {
                Take::Done => continue,
                Take::Later => {}
                Take::Notice(notice) => {
                    let answer = Answer::PresenceChange {
                        room: room.name.as_str(),
                        counted: counted(presence.by_user()),
                        joined: Changed { named: notice.joined.named(), count: notice.joined_count },
                        left: Changed { named: notice.left.named(), count: notice.left_count },
                        count: notice.count,
                    };
                    self.announce(now, &room, &answer);
                }
            }
            told.push((next_ms, room));
        }
        self.telling.due.extend(told);
    }

    /// Says something to all members of a room. Never lost: a member without place for it is closed.
    pub(super) fn announce(&mut self, now: Now, room: &RoomShared, answer: &Answer<'_>) {
        for (id, wanted) in dialects_in(room.encodings()) {
            let write = |out: &mut Vec<u8>| dialect(id).encode_answer(answer, now.unix_ms, out);
            let frames = self.encode(now, id, wanted, write);
            self.bring_to_members(now, room, &frames, Loss::Notice, NOBODY);
        }
    }

    /// Answers a member that asks who is in a room.
    pub(in crate::shard) fn presence(&mut self, now: Now, asked: Asked<'_>, room: &str, limit: u32) {
        let Asked { slot, id, .. } = asked;
        if let Err(denial) = self.allowed(slot, room, Action::Presence) {
            return self.deny(now, asked, denial);
        }
        let shared = self.membership(slot, room).and_then(|index| {
            let local = self.conns.at(slot)?.memberships.get(index)?.room;
            Some(Arc::clone(&self.rooms.get(local)?.shared))
        });
        let Some(shared) = shared else { return self.refuse(now, asked, Refusal::NotSubscribed) };
        let Some(presence) = &shared.presence else {
            return self.refuse(now, asked, Refusal::PresenceDisabled);
        };
        let (roll, users) = presence.members(limit as usize);
        let count = users.unwrap_or_else(|| shared.members());
        let counted = counted(presence.by_user());
        self.answer(now, slot, &Answer::Presence { room, counted, count, named: roll.named(), id });
    }

    /// Up to `limit` members of a room on this shard, and where to go on if there are more.
    pub(in crate::shard) fn members_here(
        &self,
        room: &str,
        cursor: MembersCursor,
        limit: usize,
    ) -> (Vec<ConnectionId>, Option<MembersCursor>) {
        let (slots, next) = self.member_slots(room, cursor, limit);
        let ids = slots.into_iter().filter_map(|slot| self.conns.at(slot));
        (ids.map(|conn| conn.id).collect(), next)
    }
}

/// What is counted in a room.
fn counted(by_user: bool) -> CountOf {
    if by_user { CountOf::Users } else { CountOf::Connections }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PresenceMode, RoomPolicy, RoomRule};
    use crate::hub::Hub;
    use crate::model::{Compression, ConnectionKey, DialectId, Locator, NodeId};

    #[test]
    fn rooms_that_come_and_go_leave_nothing() {
        let pattern = crate::base::Pattern::parse("**").unwrap();
        let policy = RoomPolicy { presence: PresenceMode::Ids, ..RoomPolicy::default() };
        let hub = Hub::new(1, 0, &[RoomRule { pattern, policy }]);
        let encoding = Encoding::new(DialectId(0), Compression::None);
        let id = ConnectionId::new(
            Locator { node: NodeId::ALONE, shard: 0, slot: 1 },
            [1; 16],
            &ConnectionKey::new(7),
        );
        let mut telling = Telling::default();
        let join = |telling: &mut Telling, name: &str| {
            let room = hub.directory.attach(name);
            assert!(room.presence.as_ref().unwrap().join(0, encoding, id, None));
            telling.fresh.push(Arc::clone(&room));
            room
        };
        join(&mut telling, "stays");
        for number in 0..100_000 {
            let room = join(&mut telling, &format!("room {number}"));
            telling.set_due(1000 + number);
            assert!(!room.presence.as_ref().unwrap().leave(0, encoding, 0));
            telling.emptied += 1;
            hub.directory.detach(&room);
        }
        let kept = telling.due.len();
        assert!(kept <= 2 * EMPTIED_MAX + 4, "{kept} rooms are kept");
        assert_eq!(telling.next_due(u64::MAX).unwrap().name.as_str(), "stays");
    }
}
