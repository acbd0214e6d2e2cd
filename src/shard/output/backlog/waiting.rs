//! The rooms of which something waits that may be lost, and which of them has the most.

use super::Chunk;
use super::chunk::NO_ROOM;
use crate::model::RoomName;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU64;

/// What of one room may be lost, and has been.
#[derive(Debug)]
pub(super) struct Waiting {
    pub name: RoomName,
    /// Numbers of the frames that may be lost, rising.
    pub frames: VecDeque<u64>,
    pub by_key: HashMap<NonZeroU64, u64, RandomState>,
    /// Number of the notice.
    pub notice: Option<u64>,
    /// What the notice will tell.
    pub lost: u64,
    /// Bytes charged for the frames.
    pub bytes: usize,
}

/// Bytes, the number of the oldest frame, the room.
type Rank = (usize, Reverse<u64>, u64);

/// By room. Each change keeps the ranks, so that the room that is to lose a frame next is found without a look at the
/// others: a member can be in a thousand rooms, and one large message can cost it a thousand frames.
#[derive(Debug, Default)]
pub(super) struct WaitingRooms {
    rooms: HashMap<u64, Waiting, RandomState>,
    /// Of the rooms that have frames.
    ranks: BTreeSet<Rank>,
}

impl WaitingRooms {
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn contains(&self, room: u64) -> bool {
        self.rooms.contains_key(&room)
    }

    pub fn get(&self, room: u64) -> Option<&Waiting> {
        self.rooms.get(&room)
    }

    /// Number of frames that may be lost.
    pub fn frames(&self) -> usize {
        self.rooms.values().map(|waiting| waiting.frames.len()).sum()
    }

    /// The room with the most bytes, and its oldest frame.
    pub fn largest(&self) -> Option<(u64, u64)> {
        self.ranks.last().map(|(_, Reverse(number), room)| (*room, *number))
    }

    /// Adds a room, unless it is there.
    pub fn add(&mut self, room: u64, name: &RoomName) {
        self.rooms.entry(room).or_insert_with(|| Waiting {
            name: name.clone(),
            frames: VecDeque::new(),
            by_key: HashMap::default(),
            notice: None,
            lost: 0,
            bytes: 0,
        });
    }

    /// Changes what there is of a room. `None` if there is no such room.
    pub fn change<T>(&mut self, room: u64, change: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        let waiting = self.rooms.get_mut(&room)?;
        let before = rank(room, waiting);
        let changed = change(waiting);
        let after = rank(room, waiting);
        if before != after {
            before.map(|rank| self.ranks.remove(&rank));
            self.ranks.extend(after);
        }
        Some(changed)
    }

    /// Forgets a room. Whether it was there.
    pub fn remove(&mut self, room: u64) -> bool {
        let Some(waiting) = self.rooms.remove(&room) else { return false };
        rank(room, &waiting).map(|rank| self.ranks.remove(&rank));
        true
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes over the numbers that the chunks of the queue have now.
    pub fn renumber<'c>(&mut self, queue: impl Iterator<Item = (u64, &'c Chunk)>) {
        for waiting in self.rooms.values_mut() {
            waiting.frames.clear();
        }
        for (number, chunk) in queue.filter(|(_, chunk)| chunk.room != NO_ROOM) {
            let Some(waiting) = self.rooms.get_mut(&chunk.room) else { continue };
            if chunk.is_notice() {
                waiting.notice = Some(number);
            } else {
                waiting.frames.push_back(number);
                chunk.key.map(|key| waiting.by_key.insert(key, number));
            }
        }
        self.ranks = self.rooms.iter().filter_map(|(room, waiting)| rank(*room, waiting)).collect();
    }
}

fn rank(room: u64, waiting: &Waiting) -> Option<Rank> {
    waiting.frames.front().map(|number| (waiting.bytes, Reverse(*number), room))
}
