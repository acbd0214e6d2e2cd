use crate::model::{ConnectionId, Encoding};
use smallvec::SmallVec;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who is in a room, for rooms with presence: the ids of the members, which every shard can read.
///
/// Each shard writes a list of its own, at every join and leave, so that its lock is all but free; whoever asks takes
/// the shards' locks one after the other, each for the copy of as many ids as it wants. Deliveries touch none of it.
#[derive(Debug)]
pub struct Presence {
    shards: Box<[Mutex<Groups>]>,
}

/// The members of one shard by encoding, each list in the order of the shard's own list of members, so that a place
/// there is the place here.
type Groups = SmallVec<[(Encoding, Vec<ConnectionId>); 1]>;

impl Presence {
    pub(super) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// A connection became the last of the shard's members of its encoding.
    pub fn join(&self, shard: usize, encoding: Encoding, id: ConnectionId) {
        let mut groups = self.lock(shard);
        match groups.iter_mut().find(|group| group.0 == encoding) {
            Some((_, ids)) => ids.push(id),
            None => groups.push((encoding, vec![id])),
        }
    }

    /// The shard's member at `position` of an encoding left; the last one took its place. Returns the one that left.
    pub fn leave(&self, shard: usize, encoding: Encoding, position: u32) -> Option<ConnectionId> {
        let mut groups = self.lock(shard);
        let (_, ids) = groups.iter_mut().find(|group| group.0 == encoding)?;
        let id = ((position as usize) < ids.len()).then(|| ids.swap_remove(position as usize));
        if ids.len() * 4 < ids.capacity() {
            let keep = ids.len() * 2;
            ids.shrink_to(keep);
        }
        id
    }

    /// Up to `limit` members, in no order.
    pub fn members(&self, limit: usize) -> Vec<ConnectionId> {
        let mut found = Vec::new();
        for shard in 0..self.shards.len() {
            for (_, ids) in self.lock(shard).iter() {
                let wanted = (limit - found.len()).min(ids.len());
                found.extend_from_slice(&ids[..wanted]);
            }
        }
        found
    }

    /// A shard that panics ends the process, so a poisoned lock is never read on.
    fn lock(&self, shard: usize) -> MutexGuard<'_, Groups> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Compression, ConnectionKey, DialectId, Locator};

    #[test]
    fn members_of_all_shards_are_listed_up_to_a_limit() {
        let id =
            |slot| ConnectionId::new(Locator { shard: 0, slot }, [slot as u8; 16], &ConnectionKey::new(7));
        let presence = Presence::new(2);
        let [rooms, other] =
            [Compression::None, Compression::Window15].map(|it| Encoding::new(DialectId(0), it));
        presence.join(0, rooms, id(1));
        presence.join(0, rooms, id(2));
        presence.join(0, other, id(3));
        presence.join(1, rooms, id(4));
        assert_eq!(presence.members(9), [1, 2, 3, 4].map(id));
        assert_eq!(presence.leave(0, rooms, 0), Some(id(1)));
        assert_eq!(presence.leave(0, rooms, 1), None);
        assert_eq!(presence.members(2), [2, 3].map(id));
        assert_eq!(presence.members(0), []);
    }
}
