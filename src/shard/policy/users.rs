//! Which users are behind the members of rooms. Nothing here looks at more than [`LOOK_MAX`] members in one go: whoever
//! wants more asks again.
//!
//! A connection of a known user is in the hidden room of its user, whether users have limits or not. All counts are taken
//! there, when somebody asks; nothing is kept for them.

use crate::model::{Encoding, Identity, MembersCursor, RoomName};
use crate::shard::Shard;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// Members that one request looks at.
pub(in crate::shard) const LOOK_MAX: usize = 4096;

/// Where a request about the users of some rooms goes on: the index of the room, and the place in it.
pub type UsersPlace = (usize, MembersCursor);

/// Connections of one user on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPart {
    /// The index of the room that was asked about.
    pub index: usize,
    /// The user's tenant, if it has one.
    pub tenant: Option<Box<str>>,
    /// How many.
    pub connections: u32,
}

impl Shard {
    /// The members of some users' rooms by their tenants, from a place on, and where to go on if there are more. A user of
    /// a tenant may be told in several parts.
    pub(in crate::shard) fn users_here(
        &self,
        rooms: &[RoomName],
        (mut index, mut cursor): UsersPlace,
    ) -> (Vec<UserPart>, Option<UsersPlace>) {
        let (mut parts, mut left) = (Vec::new(), LOOK_MAX);
        while let Some(room) = rooms.get(index) {
            if left == 0 {
                return (parts, Some((index, cursor)));
            }
            let (slots, next) = self.member_slots(room.as_str(), cursor, left);
            // A room without members here costs a look as well.
            left -= slots.len().max(1);
            let mut by_tenant: BTreeMap<Option<&str>, u32> = BTreeMap::new();
            for identity in slots.iter().filter_map(|slot| self.identity_of(*slot)) {
                *by_tenant.entry(identity.tenant.as_deref()).or_default() += 1;
            }
            let counted = by_tenant.into_iter();
            parts.extend(counted.map(|(tenant, connections)| UserPart {
                index,
                tenant: tenant.map(Box::from),
                connections,
            }));
            (index, cursor) = next.map_or((index + 1, MembersCursor::START), |next| (index, next));
        }
        (parts, None)
    }

    /// The users among the members of a room from a place on, each as one number, and where to go on if there are more. A
    /// user with several members may be told several times.
    pub(in crate::shard) fn room_users_here(
        &self,
        room: &str,
        cursor: MembersCursor,
        numbers: &RandomState,
    ) -> (Vec<u64>, Option<MembersCursor>) {
        let (slots, next) = self.member_slots(room, cursor, LOOK_MAX);
        let known = slots.iter().filter_map(|slot| self.identity_of(*slot));
        let named = known.filter_map(|own| Some((own.tenant.as_deref(), own.user.as_deref()?)));
        (named.map(|user| numbers.hash_one(user)).collect(), next)
    }

    fn identity_of(&self, slot: u32) -> Option<&Identity> {
        self.conns.at(slot)?.identity.as_deref()
    }

    /// The slots of up to `limit` (at least 1) members of a room on this shard, and where to go on if there are more.
    pub(in crate::shard) fn member_slots(
        &self,
        room: &str,
        cursor: MembersCursor,
        limit: usize,
    ) -> (Vec<u32>, Option<MembersCursor>) {
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
            found.extend(members[start..end].iter().rev());
            if start > 0 {
                let encoding = encoding.index() as u8;
                return (found, Some(MembersCursor { encoding, before: start as u32, ..cursor }));
            }
        }
        (found, None)
    }
}
