//! Which rooms there are, and which threads hold members of them.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use hashbrown::HashMap;

/// One room. Never removed: the yardstick runs for one comparison.
#[derive(Debug)]
pub struct Room {
    /// Number in the order of the first joins; index of the threads' own tables.
    pub number: usize,
    /// Its name.
    pub name: Box<[u8]>,
    /// Members on each thread.
    pub members: Vec<AtomicUsize>,
}

/// All rooms by name.
#[derive(Debug)]
pub struct Directory {
    threads: usize,
    rooms: Mutex<HashMap<Box<[u8]>, Arc<Room>>>,
}

impl Directory {
    /// Empty, for so many threads.
    pub fn new(threads: usize) -> Self {
        Self { threads, rooms: Mutex::default() }
    }

    /// The room of this name, made when it is new.
    pub fn room(&self, name: &[u8]) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(room) = rooms.get(name) {
            return room.clone();
        }
        let members = (0..self.threads).map(|_| AtomicUsize::new(0)).collect();
        let room = Arc::new(Room { number: rooms.len(), name: name.into(), members });
        rooms.insert(name.into(), room.clone());
        room
    }
}

/// One thread's members of each room.
#[derive(Debug, Default)]
pub struct LocalRooms {
    thread: usize,
    members: Vec<Vec<usize>>,
}

impl LocalRooms {
    /// For thread number `thread`.
    pub fn new(thread: usize) -> Self {
        Self { thread, members: Vec::new() }
    }

    /// Slots of the members.
    pub fn members(&self, room: &Room) -> &[usize] {
        self.members.get(room.number).map_or(&[], Vec::as_slice)
    }

    /// Adds a member; false when it was one.
    pub fn join(&mut self, room: &Room, slot: usize) -> bool {
        if self.members.len() <= room.number {
            self.members.resize_with(room.number + 1, Vec::new);
        }
        let members = &mut self.members[room.number];
        if members.contains(&slot) {
            return false;
        }
        members.push(slot);
        room.members[self.thread].fetch_add(1, Relaxed);
        true
    }

    /// Removes a member, if it is one.
    pub fn leave(&mut self, room: &Room, slot: usize) {
        let Some(members) = self.members.get_mut(room.number) else { return };
        if let Some(at) = members.iter().position(|member| *member == slot) {
            members.swap_remove(at);
            room.members[self.thread].fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_and_go() {
        let directory = Directory::new(2);
        let (room, other) = (directory.room(b"a"), directory.room(b"b"));
        assert!(Arc::ptr_eq(&room, &directory.room(b"a")) && other.number != room.number);
        let mut local = LocalRooms::new(1);
        assert!(local.join(&room, 7) && !local.join(&room, 7) && local.join(&room, 9));
        assert_eq!(local.members(&room), [7, 9]);
        assert_eq!(local.members(&other), [] as [usize; 0]);
        assert_eq!((room.members[0].load(Relaxed), room.members[1].load(Relaxed)), (0, 2));
        local.leave(&room, 7);
        local.leave(&room, 7);
        local.leave(&other, 7);
        assert_eq!(local.members(&room), [9]);
        assert_eq!(room.members[1].load(Relaxed), 1);
    }
}
