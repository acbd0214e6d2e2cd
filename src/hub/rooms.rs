use super::directory::{Directory, Interest, NoPlace, RoomShared, SPARE_ENTRIES};
use crate::base::{Mutation, mutated};
use crate::model::{Audience, Encoding, RoomName};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a room is charged on each shard that has a member of it, beside twice its name, in bytes: its part that all
/// shards share, entries in three tables that grow by doubling, lists of members. Measured, see tuning.md.
const ROOM_BYTES: usize = 768;

/// What each membership is charged, in bytes: its entry with the connection, its entry with the room and the way back,
/// in lists that grow by doubling.
const MEMBER_BYTES: usize = 32;

/// What a room of that name is charged on one shard.
const fn room_charge(name: &str) -> usize {
    ROOM_BYTES + 2 * name.len()
}

/// Where a room is on a shard, or that it is not there.
#[derive(Debug, Clone, Copy)]
pub struct Place<'n> {
    name: &'n str,
    /// Its slot, if it has members here.
    pub slot: Option<u32>,
}

/// The rooms that have members on one shard.
#[derive(Debug)]
pub struct Rooms {
    shard: usize,
    by_name: HashMap<RoomName, u32, RandomState>,
    slots: Vec<Option<Room>>,
    free: Vec<u32>,
    /// How many of them are those of audiences.
    audiences: usize,
    /// Bytes given back since [`Rooms::take_freed`].
    freed_bytes: usize,
}

/// One room's members on one shard, grouped by encoding so that a publication walks one plain list per encoding.
#[derive(Debug)]
pub struct Room {
    /// The part that all shards share.
    pub shared: Arc<RoomShared>,
    /// What whoever owns the rooms notes about this one; 0 at first.
    pub note: u64,
    groups: SmallVec<[Group; 1]>,
    /// Where this shard stands in the order of a room that has one.
    order: Option<Box<Order>>,
}

/// How far the order of a room has come on one shard, in tickets: see [`LogGuard::ticket`](super::LogGuard::ticket).
#[derive(Debug, Default)]
struct Order {
    /// Ticket of the last publication delivered here.
    reached: u64,
    /// Members that have been told of publications which this shard may not have delivered yet: up to which ticket.
    /// Emptied as soon as the shard has come that far.
    ahead: HashMap<u32, u64, RandomState>,
    /// The largest ticket in `ahead`.
    ahead_max: u64,
}

/// The members of a room that have one encoding.
#[derive(Debug)]
pub struct Group {
    encoding: Encoding,
    members: Vec<u32>,
    /// For each member, where in its own list of memberships this room stands, so that leaving is O(1).
    backs: Vec<u32>,
}

/// A connection's place in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// Slot of the room.
    pub room: u32,
    /// Index among the members of the connection's encoding.
    pub position: u32,
}

/// A member that took the place of one that left: its membership at `back` now has this `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Slot of the connection.
    pub connection: u32,
    /// Index in the connection's memberships.
    pub back: u32,
    /// Its new position.
    pub position: u32,
}

impl Rooms {
    /// No rooms yet, on the shard of that index.
    pub fn new(shard: usize) -> Self {
        Self {
            shard,
            by_name: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            audiences: 0,
            freed_bytes: 0,
        }
    }

    /// Rooms with members here, those of audiences left out.
    pub fn len(&self) -> usize {
        self.by_name.len() - self.audiences
    }

    /// Whether no room has members here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slot of the room of that name, if it has members here.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The room in a slot.
    pub fn get(&self, slot: u32) -> Option<&Room> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The room in a slot, to note something.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Room> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// How many bytes of memberships were given back since this was last asked, as they are charged.
    pub fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed_bytes)
    }

    /// Looks for the place of a room, for [`Rooms::join_at`] and what is asked before it.
    pub fn place<'n>(&self, name: &'n str) -> Place<'n> {
        Place { name, slot: self.find(name) }
    }

    /// As [`Rooms::join_at`], of a room whose place nobody has looked for.
    ///
    /// # Errors
    /// As [`Rooms::join_at`].
    pub fn join(
        &mut self,
        directory: &Directory,
        name: &str,
        limit: u32,
        encoding: Encoding,
        connection: u32,
        back: u32,
    ) -> Result<(Membership, u32), NoPlace> {
        self.join_at(directory, self.place(name), limit, encoding, connection, back)
    }

    /// Adds a connection as the member of a room. Returns its membership and the room's members on the node. No room may
    /// have come or gone here since its place was looked for.
    ///
    /// # Errors
    /// If the room has `limit` members, or the node's bound on what memberships hold would be passed; rooms of
    /// audiences do not know the latter, as their connections were admitted.
    pub fn join_at(
        &mut self,
        directory: &Directory,
        Place { name, slot: found }: Place<'_>,
        limit: u32,
        encoding: Encoding,
        connection: u32,
        back: u32,
    ) -> Result<(Membership, u32), NoPlace> {
        let charge = MEMBER_BYTES + if found.is_none() { room_charge(name) } else { 0 };
        directory.charge_membership(charge, Audience::is_name(name))?;
        let slot = match found {
            Some(slot) => slot,
            None => self.hold(directory.attach(name)),
        };
        let room = self.slots[slot as usize].as_mut().expect("found or just held");
        let count = match room.shared.join(limit) {
            Ok(count) => count,
            Err(full) => {
                directory.give_membership(MEMBER_BYTES);
                self.release_if_empty(directory, slot);
                return Err(full);
            }
        };
        let group = match room.groups.iter().position(|group| group.encoding == encoding) {
            Some(index) => index,
            None => {
                room.groups.push(Group { encoding, members: Vec::new(), backs: Vec::new() });
                room.groups.len() - 1
            }
        };
        let group = &mut room.groups[group];
        let position = group.members.len() as u32;
        group.members.push(connection);
        group.backs.push(back);
        if position == 0 {
            room.state_interest(self.shard, slot);
        }
        Ok((Membership { room: slot, position }, count))
    }

    /// Takes a connection out of a room. If another member took its place, that one's membership must be told.
    pub fn leave(
        &mut self,
        directory: &Directory,
        encoding: Encoding,
        membership: Membership,
    ) -> Option<Moved> {
        let Membership { room: slot, position } = membership;
        let room = self.slots[slot as usize].as_mut().expect("a membership keeps its room");
        let index = room.groups.iter().position(|group| group.encoding == encoding)?;
        let group = &mut room.groups[index];
        let connection = group.members.swap_remove(position as usize);
        if let Some(order) = &mut room.order {
            order.ahead.remove(&connection);
        }
        group.backs.swap_remove(position as usize);
        let moved = group.members.get(position as usize).map(|&connection| Moved {
            connection,
            back: group.backs[position as usize],
            position,
        });
        if group.members.len() * 4 < group.members.capacity() {
            let keep = group.members.len() * 2;
            group.members.shrink_to(keep);
            group.backs.shrink_to(keep);
        }
        if group.members.is_empty() {
            room.groups.swap_remove(index);
            if !mutated(Mutation::KeepInterest) {
                room.state_interest(self.shard, slot);
            }
        }
        room.shared.leave();
        directory.give_membership(MEMBER_BYTES);
        self.freed_bytes += MEMBER_BYTES;
        if !mutated(Mutation::KeepEmptyRooms) {
            self.release_if_empty(directory, slot);
        }
        moved
    }

    /// A member's own list of memberships changed: its entry for this room now stands at `back`.
    pub fn set_back(&mut self, encoding: Encoding, membership: Membership, back: u32) {
        let room = self.slots[membership.room as usize].as_mut().expect("a membership keeps its room");
        if let Some(group) = room.groups.iter_mut().find(|group| group.encoding == encoding) {
            group.backs[membership.position as usize] = back;
        }
    }

    /// A member has been told all up to `ticket` in another way: what this shard still has to deliver of that is not
    /// for it.
    pub fn set_ahead(&mut self, slot: u32, connection: u32, ticket: u64) {
        let Some(room) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let is_alone = room.groups.iter().map(|group| group.members.len()).sum::<usize>() == 1;
        if let Some(order) = room.order.as_mut()
            && ticket > order.reached
        {
            if is_alone {
                // Then it is for nobody here, and nobody who joins a quiet room later needs an entry.
                order.reached = ticket;
                order.ahead = HashMap::default();
                return;
            }
            order.ahead.insert(connection, ticket);
            order.ahead_max = order.ahead_max.max(ticket);
        }
    }

    /// Whether the publication of that ticket is still to be delivered to some member of the room `id`, if that is the
    /// one in the slot.
    pub fn awaits(&self, slot: u32, id: u64, ticket: u64) -> bool {
        let room = self.get(slot).filter(|room| room.shared.id == id);
        room.and_then(|room| room.order.as_ref()).is_some_and(|order| ticket > order.reached)
    }

    /// This shard has delivered the publication of that ticket to the members of the room `id`, if that is still the
    /// one in the slot.
    pub fn set_reached(&mut self, slot: u32, id: u64, ticket: u64) {
        let room = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
        if let Some(order) = room.filter(|room| room.shared.id == id).and_then(|room| room.order.as_mut()) {
            order.reached = ticket;
            if ticket >= order.ahead_max && !order.ahead.is_empty() {
                order.ahead = HashMap::default();
            }
        }
    }

    fn hold(&mut self, shared: Arc<RoomShared>) -> u32 {
        let name = shared.name.clone();
        let order = shared.log.is_some().then(Box::default);
        self.audiences += usize::from(Audience::is_name(name.as_str()));
        let room = Some(Room { shared, note: 0, groups: SmallVec::new(), order });
        // Slots behind the end were given back.
        let end = self.slots.len() as u32;
        let free = std::iter::from_fn(|| self.free.pop()).find(|slot| *slot < end);
        let slot = match free {
            Some(slot) => {
                self.slots[slot as usize] = room;
                slot
            }
            None => {
                self.slots.push(room);
                self.slots.len() as u32 - 1
            }
        };
        self.by_name.insert(name, slot);
        slot
    }

    fn release_if_empty(&mut self, directory: &Directory, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        if let Some(room) = entry.take_if(|room| room.groups.is_empty()) {
            let name = room.shared.name.as_str();
            self.audiences -= usize::from(Audience::is_name(name));
            self.by_name.remove(name);
            let charge = room_charge(name);
            directory.give_membership(if mutated(Mutation::KeepPlace) { 0 } else { charge });
            self.freed_bytes += charge;
            self.free.push(slot);
            directory.detach(&room.shared);
            self.shrink();
        }
    }

    /// Gives back the memory of tables that were four times as large.
    fn shrink(&mut self) {
        let len = self.by_name.len();
        if self.by_name.capacity() > SPARE_ENTRIES && len * 4 < self.by_name.capacity() {
            self.by_name.shrink_to(len * 2);
        }
        while self.slots.pop_if(|slot| slot.is_none()).is_some() {}
        let end = self.slots.len();
        if self.slots.capacity() > SPARE_ENTRIES && end * 4 < self.slots.capacity() {
            self.slots.shrink_to(end * 2);
        }
        if self.free.len() > SPARE_ENTRIES + 2 * end {
            self.free.retain(|slot| (*slot as usize) < end);
            self.free.shrink_to(2 * end);
        }
    }
}

impl Room {
    /// The members whose encodings are in the mask `encodings`: slots of connections, in no order, one list for each
    /// encoding.
    pub fn members(&self, encodings: u32) -> impl Iterator<Item = &[u32]> {
        let wanted = self.groups.iter().filter(move |group| encodings & group.encoding.bit() != 0);
        wanted.map(|group| group.members.as_slice())
    }

    /// Up to which ticket a member has been told all.
    pub fn reached(&self, connection: u32) -> u64 {
        let ahead = |order: &Order| order.ahead.get(&connection).copied().unwrap_or(0).max(order.reached);
        self.order.as_deref().map_or(0, ahead)
    }

    /// Whether some members have been told of the publication of that ticket already; 0 is one without order.
    pub fn has_ahead(&self, ticket: u64) -> bool {
        ticket != 0
            && self.order.as_ref().is_some_and(|order| ticket <= order.ahead_max && !order.ahead.is_empty())
    }

    /// Whether a member has been told of the publication of that ticket already.
    pub fn is_ahead(&self, connection: u32, ticket: u64) -> bool {
        let told = |order: &Order| order.ahead.get(&connection).is_some_and(|told| *told >= ticket);
        self.order.as_deref().is_some_and(told)
    }

    fn state_interest(&self, shard: usize, local: u32) {
        let encodings = self.groups.iter().fold(0, |mask, group| mask | group.encoding.bit());
        let encodings = if mutated(Mutation::WrongInterestBit) { encodings << 1 } else { encodings };
        self.shared.set_interest(shard, Interest { local, encodings });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;
    use crate::model::{Compression, DialectId};

    const ROOMS: Encoding = Encoding::new(DialectId(0), Compression::None);
    const OTHER: Encoding = Encoding::new(DialectId(0), Compression::Window15);

    fn members(room: &Room, encodings: u32) -> Vec<&[u32]> {
        room.members(encodings).collect()
    }

    #[test]
    fn leaving_moves_the_last_member_into_the_gap() {
        let hub = Hub::new(1, 0, &[]);
        let mut rooms = Rooms::new(0);
        let (first, _) = rooms.join(&hub.directory, "r", 0, ROOMS, 10, 0).unwrap();
        rooms.join(&hub.directory, "r", 0, ROOMS, 11, 3).unwrap();
        let (other, count) = rooms.join(&hub.directory, "r", 0, OTHER, 12, 0).unwrap();
        assert_eq!(count, 3);
        let moved = rooms.leave(&hub.directory, ROOMS, first);
        assert_eq!(moved, Some(Moved { connection: 11, back: 3, position: 0 }));
        let room = rooms.get(first.room).unwrap();
        assert_eq!(members(room, ROOMS.bit()), [[11]]);
        assert_eq!(members(room, OTHER.bit()), [[12]]);
        assert_eq!(members(room, u32::MAX), [[11], [12]]);
        assert_eq!(rooms.leave(&hub.directory, ROOMS, first), None);
        assert_eq!(rooms.leave(&hub.directory, OTHER, other), None);
        assert!(rooms.is_empty() && hub.directory.is_empty());
    }

    #[test]
    fn a_refused_join_leaves_no_trace() {
        let hub = Hub::new(2, 0, &[]);
        let (mut here, mut there) = (Rooms::new(0), Rooms::new(1));
        here.join(&hub.directory, "r", 1, ROOMS, 1, 0).unwrap();
        assert_eq!(there.join(&hub.directory, "r", 1, ROOMS, 1, 0), Err(NoPlace::Room));
        assert!(there.is_empty());
        let room = hub.directory.get("r").unwrap();
        assert_eq!((room.members(), room.interest(1)), (1, None));
    }

    #[test]
    fn memberships_are_charged_and_bounded() {
        let hub = Hub::new(1, 0, &[]);
        let directory = &hub.directory;
        let mut rooms = Rooms::new(0);
        let one = room_charge("room-0") + MEMBER_BYTES;
        directory.set_membership_bytes_max(10 * one);
        let join = |rooms: &mut Rooms, name: &str| rooms.join(directory, name, 0, ROOMS, 7, 0);
        let mut joined: Vec<Membership> =
            (0..10).map(|number| join(&mut rooms, &format!("room-{number}")).unwrap().0).collect();
        assert_eq!(directory.membership_bytes(), 10 * one);
        assert_eq!(join(&mut rooms, "room-x"), Err(NoPlace::Node));
        assert_eq!(
            join(&mut rooms, "room-0"),
            Err(NoPlace::Node),
            "a room that is there costs less, not nothing"
        );
        assert_eq!((directory.membership_bytes(), rooms.len(), directory.len()), (10 * one, 10, 10));
        let audience = join(&mut rooms, &Audience::Tenant.room("t")).expect("audiences know no bound").0;
        rooms.leave(directory, ROOMS, audience);
        for membership in joined.drain(1..) {
            rooms.leave(directory, ROOMS, membership);
        }
        assert_eq!((directory.membership_bytes(), rooms.take_freed() >= 9 * one), (one, true));
        assert!(join(&mut rooms, "room-0").is_ok() && join(&mut rooms, "room-x").is_ok());
    }

    #[test]
    fn tables_shrink_when_rooms_go() {
        let hub = Hub::new(1, 0, &[]);
        let mut rooms = Rooms::new(0);
        let join = |rooms: &mut Rooms, number: u32| {
            rooms.join(&hub.directory, &number.to_string(), 0, ROOMS, number, 0).unwrap().0
        };
        let memberships: Vec<Membership> = (0..10_000).map(|number| join(&mut rooms, number)).collect();
        for membership in &memberships[3..] {
            rooms.leave(&hub.directory, ROOMS, *membership);
        }
        assert!(
            rooms.slots.capacity() < 200 && rooms.by_name.capacity() < 200 && rooms.free.capacity() < 500
        );
        // Slots are given out again, each once.
        let again: Vec<Membership> = (100..200).map(|number| join(&mut rooms, number)).collect();
        let mut slots: Vec<u32> = again.iter().chain(&memberships[..3]).map(|it| it.room).collect();
        slots.sort_unstable();
        slots.dedup();
        assert_eq!((slots.len(), rooms.len()), (103, 103));
        for membership in again.into_iter().chain(memberships[..3].iter().copied()) {
            rooms.leave(&hub.directory, ROOMS, membership);
        }
        assert!(rooms.is_empty() && hub.directory.is_empty());
        assert_eq!(hub.directory.membership_bytes(), 0);
    }

    #[test]
    fn interest_follows_the_members() {
        let hub = Hub::new(1, 0, &[]);
        let mut rooms = Rooms::new(0);
        let (one, _) = rooms.join(&hub.directory, "r", 0, ROOMS, 1, 0).unwrap();
        let (two, _) = rooms.join(&hub.directory, "r", 0, OTHER, 2, 0).unwrap();
        let room = hub.directory.get("r").unwrap();
        assert_eq!(room.interest(0).unwrap().encodings, ROOMS.bit() | OTHER.bit());
        rooms.leave(&hub.directory, ROOMS, one);
        assert_eq!(room.interest(0).unwrap().encodings, OTHER.bit());
        rooms.leave(&hub.directory, OTHER, two);
        assert_eq!(room.interest(0), None);
    }
}
