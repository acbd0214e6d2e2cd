//! What of a backlog may be lost: the index of it, how place is made, and the notice of what is gone.
//!
//! Frames of rooms that may lose some ([`Loss`]) stand alone in the queue and in an index by room and key. One that
//! is lost leaves a hole, or, as the first one lost of its room, the notice of the loss, which counts those that
//! follow until it is sent. Holes at the front are taken away at once, others when they are more than half.

use super::chunk::{Chunk, NO_ROOM};
use super::{Backlog, charge};
use crate::base::{Mutation, mutated};
use crate::hub::Loss;
use crate::model::RoomName;
use crate::shard::fanout::bundle::Bundle;
use std::rc::Rc;

/// Bytes charged on top for a frame that may be lost: its entries in the index, and its share of the holes.
pub(super) const LOSSY_BYTES: usize = 88;

/// Bytes charged for a room of which something waits that may be lost: the room's index, and the notice of the loss
/// with a name of which each byte may need an escape.
pub(super) const ROOM_BYTES: usize = 384 + 2 * RoomName::BYTES_MAX;

/// Holes that are left alone whatever their share.
const HOLES_MIN: usize = 32;

/// Bounds of one backlog.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes charged.
    pub bytes_max: usize,
    /// Frames.
    pub frames_max: u32,
}

/// What making place has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Frames replaced by a newer one of their key.
    pub conflated: u32,
    /// Frames dropped as the oldest.
    pub dropped: u32,
    /// Charge given back.
    pub given: usize,
    /// Whether there is place now.
    pub fits: bool,
}

impl Backlog {
    /// What [`Backlog::push_lossy`] will charge for a frame of `len` bytes.
    pub fn lossy_charge(&self, len: usize, room: u64) -> usize {
        charge(len) + LOSSY_BYTES + if self.rooms.contains(room) { 0 } else { ROOM_BYTES }
    }

    /// Adds one frame of a room that may lose it. [`Backlog::make_place`] comes before it, so that no other of its
    /// key waits.
    pub(in crate::shard) fn push_lossy(
        &mut self,
        bundle: Rc<Bundle>,
        room: u64,
        name: &RoomName,
        loss: Loss,
    ) {
        self.bytes += self.lossy_charge(bundle.len(), room);
        self.frames += 1;
        let number = self.first + self.queue.len() as u64;
        let key = if let Loss::ByKey(key) = loss { Some(key) } else { None };
        self.rooms.add(room, name);
        self.rooms.change(room, |waiting| {
            waiting.frames.push_back(number);
            waiting.bytes += charge(bundle.len()) + LOSSY_BYTES;
            key.map(|key| waiting.by_key.insert(key, number));
        });
        self.queue.push_back(Chunk { bundle: Some(bundle), sent: 0, frames: 1, room, key });
    }

    /// The frame of a room that waits and would make place for one of the same key.
    pub(in crate::shard) fn of_key(&self, room: u64, loss: Loss) -> Option<Rc<Bundle>> {
        let Loss::ByKey(key) = loss else { return None };
        let number = self.rooms.get(room)?.by_key.get(&key)?;
        self.queue.get((number - self.first) as usize)?.bundle.clone()
    }

    /// Makes place for a frame of `len` bytes of a room: takes away the one of the same key, then others as
    /// [`Backlog::drop_any`] does, until the frame is within `bounds` or nothing is left that may go. With `silent`
    /// the one of the same key is not told as lost.
    pub fn make_place(&mut self, len: usize, room: u64, loss: Loss, silent: bool, bounds: Bounds) -> Made {
        let mut made = Made::default();
        if let Loss::ByKey(key) = loss
            && let Some(number) = self.rooms.get(room).and_then(|waiting| waiting.by_key.get(&key))
        {
            made.given += self.lose(room, *number, silent);
            made.conflated = 1;
        }
        loop {
            let cost = self.lossy_charge(len, room);
            made.fits = self.has_place(cost, 1, bounds);
            if made.fits {
                return made;
            }
            let Some(given) = self.drop_any() else { return made };
            made.given += given;
            made.dropped += 1;
        }
    }

    /// Drops the oldest frame of the room of which most bytes wait that may be lost, so that one that floods the
    /// member makes place before one that hardly speaks. Returns the charge given back; `None` if there is none.
    pub fn drop_any(&mut self) -> Option<usize> {
        let (room, number) = self.rooms.largest()?;
        Some(self.lose(room, number, false))
    }

    /// Number of frames that may be lost.
    pub fn lossy_frames(&self) -> usize {
        self.rooms.frames()
    }

    /// Loses a frame that may be. The notice of it, unless it is `silent`, stands where the earliest loss is.
    fn lose(&mut self, room: u64, number: u64, silent: bool) -> usize {
        let Self { rooms, queue, first, holes, .. } = self;
        let at = |number: u64| (number - *first) as usize;
        let lost = rooms.change(room, |waiting| {
            if let Ok(index) = waiting.frames.binary_search(&number) {
                waiting.frames.remove(index);
            }
            let chunk = &mut queue[at(number)];
            let given = charge(chunk.len()) + LOSSY_BYTES;
            if let Some(key) = chunk.key.take() {
                waiting.by_key.remove(&key);
            }
            chunk.bundle = None;
            let told = u64::from(!silent);
            waiting.lost += if mutated(Mutation::MiscountLoss) && waiting.lost > 0 { 0 } else { told };
            waiting.bytes -= given;
            match waiting.notice {
                _ if silent => {
                    chunk.room = NO_ROOM;
                    *holes += 1;
                }
                Some(notice) => {
                    let later = notice.max(number);
                    queue[at(later)].room = NO_ROOM;
                    waiting.notice = Some(notice.min(number));
                    *holes += 1;
                }
                None => waiting.notice = Some(number),
            }
            given
        });
        let Some(given) = lost else { return 0 };
        self.bytes -= given;
        self.frames -= 1;
        self.settle();
        given
    }

    /// The loss that is to be told next, if that is next: [`Backlog::tell`] must come before [`Backlog::front`].
    pub fn notice(&self) -> Option<(&RoomName, u64)> {
        let chunk = self.queue.front().filter(|chunk| chunk.is_notice() && self.ahead.is_empty())?;
        self.rooms.get(chunk.room).map(|waiting| (&waiting.name, waiting.lost))
    }

    /// Makes the notice that is next the message `bundle`. Returns what that is charged, whatever the bound, as one
    /// notice at a time is told; and the charge given back.
    pub(in crate::shard) fn tell(&mut self, bundle: Rc<Bundle>) -> (usize, usize) {
        let Some(mut chunk) = self.queue.pop_front() else { return (0, 0) };
        let (room, charged) = (chunk.room, charge(bundle.len()));
        self.rooms.change(room, |waiting| (waiting.notice, waiting.lost) = (None, 0));
        chunk.bundle = Some(bundle);
        (chunk.room, chunk.frames, chunk.sent) = (NO_ROOM, 1, 0);
        self.queue.push_front(chunk);
        self.frames += 1;
        self.bytes += charged;
        (charged, self.forget_if_done(room))
    }

    /// Forgets a room's index when it holds nothing. Returns the charge given back.
    pub(super) fn forget_if_done(&mut self, room: u64) -> usize {
        let done = |waiting: &super::waiting::Waiting| waiting.frames.is_empty() && waiting.notice.is_none();
        if room == NO_ROOM || !self.rooms.get(room).is_some_and(done) {
            return 0;
        }
        self.rooms.remove(room);
        self.bytes -= ROOM_BYTES;
        ROOM_BYTES
    }

    /// Takes holes away: those at the front, and all when they are many.
    pub(super) fn settle(&mut self) {
        while self.queue.front().is_some_and(Chunk::is_hole) {
            self.queue.pop_front();
            self.first += 1;
            self.holes -= 1;
        }
        if self.holes <= HOLES_MIN || self.holes * 2 <= self.queue.len() {
            return;
        }
        self.queue.retain(|chunk| !chunk.is_hole());
        self.holes = 0;
        self.rooms.renumber((self.first..).zip(&self.queue));
    }
}
