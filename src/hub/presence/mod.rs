//! Rooms with presence: their members, which every shard can read, and what of the changes is not told yet.

mod changes;
mod roll;

pub use changes::{Notice, Take};
pub use roll::Roll;

use crate::config::PresenceMode;
use crate::model::{ConnectionId, Encoding, Identity, Person};
use changes::Changes;
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of the names in the answer to a client that asks for the members: a thousand ids are 39 KB.
const LIST_BYTES_MAX: usize = 64 << 10;

/// The members of a room with presence.
///
/// Each shard writes a list of its own, at every join and leave, so that its lock is all but free; a shard that reads
/// takes the shards' locks one after the other, each for the copy of as many ids as it wants. The changes that are not
/// told yet have one lock for the room, because they are told in one order: it is held for one look-up. Deliveries
/// touch none of it.
#[derive(Debug)]
pub struct Presence {
    mode: PresenceMode,
    shards: Box<[Mutex<Groups>]>,
    changes: Mutex<Changes>,
}

/// The members of one shard by encoding.
type Groups = SmallVec<[Group; 1]>;

/// Members of one encoding, in the order of the shard's own list of members, so that a place there is the place here.
#[derive(Debug)]
struct Group {
    encoding: Encoding,
    ids: Vec<ConnectionId>,
    /// The identity of each; empty where the room names ids alone.
    identities: Vec<Option<Arc<Identity>>>,
}

impl Presence {
    pub(super) fn new(mode: PresenceMode, shards: usize) -> Self {
        let changes = Mutex::new(Changes::new(mode == PresenceMode::Users));
        Self { mode, shards: (0..shards).map(|_| Mutex::default()).collect(), changes }
    }

    /// Whether the room names each user once.
    pub fn by_user(&self) -> bool {
        self.mode == PresenceMode::Users
    }

    /// A connection became the last of the shard's members of its encoding. Returns whether the shard has to tell the
    /// room's changes from now on: until [`Presence::take`] finds none.
    pub fn join(
        &self,
        shard: usize,
        encoding: Encoding,
        id: ConnectionId,
        identity: Option<&Arc<Identity>>,
    ) -> bool {
        let identity = identity.filter(|_| self.mode != PresenceMode::Ids);
        let mut groups = self.lock(shard);
        let group = match groups.iter().position(|group| group.encoding == encoding) {
            Some(index) => &mut groups[index],
            None => {
                groups.push(Group { encoding, ids: Vec::new(), identities: Vec::new() });
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.ids.push(id);
        if self.mode != PresenceMode::Ids {
            group.identities.push(identity.cloned());
        }
        drop(groups);
        self.changes().join(shard, id, identity)
    }

    /// The shard's member at `position` of an encoding left; the last one took its place. Returns as
    /// [`Presence::join`].
    pub fn leave(&self, shard: usize, encoding: Encoding, position: u32) -> bool {
        let position = position as usize;
        let mut groups = self.lock(shard);
        let Some(group) = groups.iter_mut().find(|group| group.encoding == encoding) else { return false };
        if position >= group.ids.len() {
            return false;
        }
        let id = group.ids.swap_remove(position);
        let identity = (position < group.identities.len()).then(|| group.identities.swap_remove(position));
        if group.ids.len() * 4 < group.ids.capacity() {
            let keep = group.ids.len() * 2;
            group.ids.shrink_to(keep);
            group.identities.shrink_to(keep);
        }
        drop(groups);
        self.changes().leave(shard, id, identity.flatten().as_ref())
    }

    /// The shard's member at `position` of an encoding has another identity. Returns as [`Presence::join`].
    pub fn identify(
        &self,
        shard: usize,
        encoding: Encoding,
        position: u32,
        identity: Option<&Arc<Identity>>,
    ) -> bool {
        let mut groups = self.lock(shard);
        let Some(group) = groups.iter_mut().find(|group| group.encoding == encoding) else { return false };
        let position = position as usize;
        let (Some(own), Some(id)) = (group.identities.get_mut(position), group.ids.get(position)) else {
            return false;
        };
        let (before, id) = (std::mem::replace(own, identity.cloned()), *id);
        drop(groups);
        if shown(before.as_deref()) == shown(identity.map(|identity| &**identity)) {
            return false;
        }
        self.changes().identify(shard, id, before.as_ref(), identity)
    }

    /// What is to be told now by the shard that tells the room's changes, see [`Take`]. A user's leaving is told when
    /// `grace` is over, at the latest an eighth later.
    pub fn take(&self, now_ms: u64, grace: Duration) -> Take {
        let grace_ms = if self.by_user() { grace.as_millis() as u64 } else { 0 };
        self.changes().take(self.mode, now_ms, grace_ms)
    }

    /// Has the shard that tells the room's changes tell them no more if the room has no members. Returns whether it
    /// has none.
    pub fn abandon(&self) -> bool {
        self.changes().abandon()
    }

    /// Up to `limit` members, or users, in no order: as many as 64 KiB can name. And how many there are; `None` where
    /// that is the number of the room's members.
    pub fn members(&self, limit: usize) -> (Roll, Option<u32>) {
        let mut roll = Roll::new(self.mode, limit, LIST_BYTES_MAX);
        if self.by_user() {
            let changes = self.changes();
            let _ = changes.users().try_for_each(|person| roll.push(person));
            return (roll, Some(changes.present()));
        }
        for shard in 0..self.shards.len() {
            for group in self.lock(shard).iter() {
                if self.mode == PresenceMode::Ids {
                    if roll.push_ids(&group.ids).is_none() {
                        return (roll, None);
                    }
                    continue;
                }
                for (index, id) in group.ids.iter().enumerate() {
                    let identity = group.identities.get(index).cloned().flatten();
                    if roll.push(Person { client_id: Some(*id), identity }).is_none() {
                        return (roll, None);
                    }
                }
            }
        }
        (roll, None)
    }

    /// A shard that panics ends the process, so a poisoned lock is never read on.
    fn lock(&self, shard: usize) -> MutexGuard<'_, Groups> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others see of an identity.
fn shown(identity: Option<&Identity>) -> Option<(Option<&str>, Option<&str>, Option<&str>)> {
    identity.map(|it| (it.user.as_deref(), it.tenant.as_deref(), it.info.as_deref()))
}

#[cfg(test)]
mod tests;
