//! Users of all shards, for those who run the server.

use super::shared::{Ended, NodeShared};
use crate::api::{ROOM_USERS_MAX, RoomStats, UserEntry, UsersCursor};
use crate::hub::RoomShared;
use crate::model::{Audience, MembersCursor, RoomName};
use crate::shard::Request;
use std::collections::{BTreeMap, HashSet};
use std::hash::RandomState;
use std::ops::Bound;
use std::sync::Arc;

/// Connections whose users are in one page; one user alone may have more.
const PAGE_CONNECTIONS_MAX: u64 = 65_536;

/// Rooms, those of users among them, that a page passes over before it ends with what it has found. The part that it is
/// in is looked at as a whole: a 64th of all rooms.
const PAGE_ROOMS_MAX: usize = 65_536;

/// The names of one page, before it is known who has them.
struct Named {
    /// Each with the part that it is in.
    rooms: Vec<(u16, Arc<RoomShared>)>,
    /// Where to go on if there are more.
    rest: Option<UsersCursor>,
}

impl NodeShared {
    /// Up to `limit` (at least 1) of the users with a connection, of one tenant if that is given, from `cursor` on, and
    /// where to go on if there may be more. There may be more where a page has fewer, or none.
    ///
    /// A page looks at a part of the rooms and at the connections of its users, some thousands at a time.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn users(
        &self,
        tenant: Option<&str>,
        cursor: UsersCursor,
        limit: usize,
    ) -> Result<(Vec<UserEntry>, Option<UsersCursor>), Ended> {
        let Named { rooms, rest } = self.named_from(&cursor, limit);
        let names: Arc<[RoomName]> = rooms.iter().map(|(_, room)| room.name.clone()).collect();
        let user_of = |index: usize| Audience::User.name_of(names.get(index)?.as_str());
        let mut found: BTreeMap<(usize, Option<Box<str>>), u64> = BTreeMap::new();
        let mut is_cut = false;
        for shard in 0..self.mailboxes.len() {
            if rooms.iter().all(|(_, room)| room.interest(shard).is_none()) {
                continue;
            }
            let mut next = Some((0, MembersCursor::START));
            while let Some(from) = next {
                let names = names.clone();
                let (parts, more) =
                    self.ask(shard, |reply| Request::Users { rooms: names, from, reply }).await?;
                for part in parts {
                    let own = part.tenant.as_deref();
                    let is_other = tenant.is_some_and(|wanted| own != Some(wanted));
                    if is_other || user_of(part.index).is_none_or(|user| cursor.is_behind(user, own)) {
                        continue;
                    }
                    *found.entry((part.index, part.tenant)).or_default() += u64::from(part.connections);
                    // What is beyond the page stays beyond it, whatever comes: so those that are in it are counted in full.
                    if found.len() > limit {
                        found.pop_last();
                        is_cut = true;
                    }
                }
                next = more;
            }
        }
        let cut = found.last_key_value().filter(|_| is_cut).and_then(|((index, tenant), _)| {
            let part = rooms.get(*index)?.0;
            let tenant = tenant.as_deref().unwrap_or_default().to_owned();
            Some(UsersCursor { part, user: user_of(*index).map(str::to_owned), tenant: Some(tenant) })
        });
        let listed = found.into_iter().filter_map(|((index, tenant), connections)| {
            let user = user_of(index)?.to_owned();
            Some(UserEntry { user, tenant: tenant.map(String::from), connections })
        });
        Ok((listed.collect(), cut.or(rest)))
    }

    /// The rooms of the next users: enough for a page, and not more than it may look at.
    fn named_from(&self, cursor: &UsersCursor, limit: usize) -> Named {
        let (mut rooms, mut connections, mut passed): (Vec<_>, _, _) = (Vec::new(), 0, 0);
        let mut after = match (&cursor.user, &cursor.tenant) {
            (None, _) => Bound::Unbounded,
            (Some(user), None) => Bound::Excluded(user.as_str()),
            (Some(user), Some(_)) => Bound::Included(user.as_str()),
        };
        let mut part = cursor.part;
        loop {
            let wanted = limit - rooms.len();
            let found = self.hub.directory.audiences_in(Audience::User, part.into(), after, wanted);
            let Some((here, rooms_here)) = found else { return Named { rooms, rest: None } };
            let is_full = here.len() == wanted;
            for room in here {
                connections += u64::from(room.members());
                let user = Audience::User.name_of(room.name.as_str()).map(str::to_owned);
                rooms.push((part, room));
                if connections >= PAGE_CONNECTIONS_MAX || (is_full && rooms.len() == limit) {
                    return Named { rooms, rest: Some(UsersCursor { part, user, tenant: None }) };
                }
            }
            passed += rooms_here;
            let Some(next) = part.checked_add(1) else { return Named { rooms, rest: None } };
            (part, after) = (next, Bound::Unbounded);
            if passed >= PAGE_ROOMS_MAX {
                return Named { rooms, rest: Some(UsersCursor::part(part)) };
            }
        }
    }

    /// What is counted of one room. `None` if there is no such room.
    ///
    /// # Errors
    /// If the server ends first.
    pub async fn room_stats(&self, room: &RoomName) -> Result<Option<RoomStats>, Ended> {
        let Some(info) = self.room(room.as_str()) else { return Ok(None) };
        let users = self.users_in(room).await?;
        Ok(Some(RoomStats {
            room: info.room,
            members: info.members,
            users,
            messages: info.messages,
            created_at: info.created_at,
            last_activity: info.last_activity,
        }))
    }

    /// Different users among the members of a room; `None` where there are too many members to look at.
    async fn users_in(&self, room: &RoomName) -> Result<Option<u64>, Ended> {
        let Some(shared) = self.hub.directory.get(room.as_str()) else { return Ok(Some(0)) };
        if shared.members() > ROOM_USERS_MAX {
            return Ok(None);
        }
        // Two users of 100,000 have the same number with a chance of one to some billions.
        let (mut users, numbers) = (HashSet::new(), RandomState::new());
        for shard in (0..self.mailboxes.len()).filter(|shard| shared.interest(*shard).is_some()) {
            let mut next = Some(MembersCursor::START);
            while let Some(cursor) = next {
                let (room, numbers) = (room.clone(), numbers.clone());
                let ask = |reply| Request::RoomUsers { room, cursor, numbers, reply };
                let (here, more) = self.ask(shard, ask).await?;
                users.extend(here);
                next = more;
            }
        }
        Ok(Some(users.len() as u64))
    }
}
