//! What is told of connections to those who run the server, and what is done on a connection's behalf.
//!
//! Nothing here looks at more than [`SCAN_MAX`] connections in one go: whoever wants more asks again with the cursor.

use crate::base::{Mutation, mutated};
use crate::dialect;
use crate::model::{
    CloseReason, ConnectionId, ConnectionInfo, MembersCursor, ROOMS_SHOWN_MAX, RoomName, Which,
};
use crate::shard::{Now, Shard, Sockets};

/// Slots that one request looks at.
const SCAN_MAX: u32 = 4096;

/// Members put out of a room by one request: each is sent something.
const PUT_OUT_MAX: usize = 1024;

/// A part of a list, and where to go on if there is more.
pub type Page<T> = (Vec<T>, Option<MembersCursor>);

impl Shard {
    /// What is known of an open connection.
    pub(in crate::shard) fn info(&self, now: Now, slot: u32) -> Option<ConnectionInfo> {
        let conn = self.conns.at(slot).filter(|conn| conn.is_open() && !conn.echo)?;
        let identity = conn.identity.as_deref();
        let named = |name: Option<&str>| name.map(str::to_owned);
        let rooms = conn.memberships.iter().take(ROOMS_SHOWN_MAX);
        let rooms = rooms.filter_map(|membership| self.rooms.get(membership.room));
        Some(ConnectionInfo {
            id: conn.id.to_string(),
            user: identity.and_then(|own| named(own.user.as_deref())),
            tenant: identity.and_then(|own| named(own.tenant.as_deref())),
            roles: identity.into_iter().flat_map(|own| &own.roles).map(|role| role.to_string()).collect(),
            dialect: dialect::spec(conn.dialect).name,
            rooms: rooms.map(|room| room.shared.name.to_string()).collect(),
            room_count: conn.memberships.len() as u64,
            ip: conn.ip(),
            user_agent: named(self.newcomers.agents.name(conn.agent)),
            connected_at: self.timers.unix_ms(now, conn.opened_ds),
            last_activity: self.timers.unix_ms(now, conn.message_ds),
            backlog_bytes: conn.backlog_bytes() as u64,
        })
    }

    /// Up to `limit` of the connections of this shard that are asked for.
    pub(super) fn find_connections(
        &self,
        now: Now,
        which: &Which,
        cursor: MembersCursor,
        limit: usize,
    ) -> Page<ConnectionInfo> {
        let (slots, next) = match &which.room {
            Some(room) => {
                let (ids, next) = self.members_here(room, cursor, limit);
                (ids.into_iter().filter_map(|id| self.find(id)).collect(), next)
            }
            None => self.scan(now, which, cursor, limit),
        };
        let fits = |slot: &u32| self.fits(now, which, *slot);
        (slots.into_iter().filter(fits).filter_map(|slot| self.info(now, slot)).collect(), next)
    }

    /// Closes the next connections that fit, from the cursor on: how many, and where to go on. `text` is said to them
    /// in place of the reason's own.
    pub(super) fn close_connections(
        &mut self,
        now: Now,
        which: &Which,
        cursor: MembersCursor,
        reason: CloseReason,
        text: Option<&str>,
        sockets: &mut impl Sockets,
    ) -> (u64, Option<MembersCursor>) {
        let (slots, next) = self.scan(now, which, cursor, usize::MAX);
        for slot in &slots {
            self.close_with(now, *slot, reason, reason.code(), text.unwrap_or(reason.text()), sockets);
        }
        (slots.len() as u64, next)
    }

    /// Slots of connections that fit, from the cursor on, at most `limit` of those looked at.
    fn scan(
        &self,
        now: Now,
        which: &Which,
        cursor: MembersCursor,
        limit: usize,
    ) -> (Vec<u32>, Option<MembersCursor>) {
        let mut found = Vec::new();
        let end = cursor.before.min(self.owed.slots() as u32);
        let start = end.saturating_sub(SCAN_MAX);
        for slot in (start..end).rev() {
            if found.len() == limit {
                return (found, Some(MembersCursor { before: slot + 1, ..cursor }));
            }
            if self.fits(now, which, slot) {
                found.push(slot);
            }
        }
        (found, (start > 0).then_some(MembersCursor { before: start, ..cursor }))
    }

    fn fits(&self, now: Now, which: &Which, slot: u32) -> bool {
        let Some(conn) = self.conns.at(slot).filter(|conn| conn.is_open() && !conn.echo) else {
            return false;
        };
        let identity = conn.identity.as_deref();
        let is = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|name| own == Some(name))
        };
        let idle_ms = now.ms_since_ds(conn.message_ds);
        is(&which.user, identity.and_then(|own| own.user.as_deref()))
            && is(&which.tenant, identity.and_then(|own| own.tenant.as_deref()))
            && which.idle_ms.is_none_or(|least| idle_ms >= least || mutated(Mutation::CleanupAll))
            && which.room.as_deref().is_none_or(|room| self.membership(slot, room).is_some())
    }

    /// Makes a connection a member of a room and tells it, as if it had asked. The members of the room then, or why
    /// not; `None` if there is no such connection.
    pub(super) fn join_for(
        &mut self,
        now: Now,
        to: ConnectionId,
        room: &RoomName,
    ) -> Option<Result<u32, String>> {
        let slot = self.find(to).filter(|slot| self.conns.at(*slot).is_some_and(|conn| !conn.echo))?;
        let joined = self.subscribe(now, slot, room.as_str()).map_err(|denial| denial.words().1.to_owned());
        Some(joined.map(|joined| {
            let members = joined.client_count;
            self.welcome(now, slot, room.as_str(), joined, None, None);
            members
        }))
    }

    /// Ends the memberships of some members of a room and tells them: how many, and whether there are more.
    pub(super) fn put_out(&mut self, now: Now, room: &RoomName) -> (u64, bool) {
        let (ids, next) = self.members_here(room.as_str(), MembersCursor::START, PUT_OUT_MAX);
        for id in &ids {
            if let Some(slot) = self.find(*id) {
                self.leave_and_tell(now, slot, room.as_str(), None);
            }
        }
        (ids.len() as u64, next.is_some())
    }

    /// Ends a connection's membership and tells it. Whether it was a member; `None` if there is no such connection.
    pub(in crate::shard) fn leave_for(
        &mut self,
        now: Now,
        to: ConnectionId,
        room: &RoomName,
    ) -> Option<bool> {
        let slot = self.find(to).filter(|slot| self.conns.at(*slot).is_some_and(|conn| !conn.echo))?;
        Some(self.leave_and_tell(now, slot, room.as_str(), None))
    }
}
