//! What the kernel did not take: the frames that wait for a blocked socket.
//!
//! Two lines: `ahead` for answers and control frames, and `queue` for publications. What is next is the rest of the
//! frame that has begun, then `ahead`, then `queue`.
//!
//! Frames of rooms that may lose some ([`Loss`]) stand alone in the queue and in an index by room and key. One that
//! is lost leaves a hole, or, as the first one lost of its room, the notice of the loss, which counts those that
//! follow until it is sent. Holes at the front are taken away at once, others when they are more than half.

mod chunk;
mod parts;
mod release;

#[cfg(test)]
pub use chunk::frame_len;
pub use chunk::frames_after;
pub use parts::{Bounds, Made};
pub use release::payload;

use crate::base::{Mutation, mutated};
use crate::hub::Loss;
use crate::model::RoomName;
use chunk::{Chunk, NO_ROOM, frame_around};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parts::Waiting;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes charged for each waiting chunk beside its frames, about what its bookkeeping costs.
const CHUNK_BYTES: usize = 40;

/// Bytes charged on top for a frame that may be lost: its entries in the index, and its share of the holes.
const LOSSY_BYTES: usize = 88;

/// Bytes charged for a room of which something waits that may be lost: the room's index, and the notice of the loss
/// with a name of which each byte may need an escape.
const ROOM_BYTES: usize = 384 + 2 * RoomName::BYTES_MAX;

/// Holes that are left alone whatever their share.
const HOLES_MIN: usize = 32;

/// The frames that wait for one blocked connection. Chunks are shared with the other connections that wait for the
/// same bytes, but each is charged in full. So the memory is at most what is charged, and for each connection what
/// is sent of the frame that it has begun, or of a chunk that is mostly unsent.
#[derive(Debug)]
pub struct Backlog {
    ahead: VecDeque<Chunk>,
    queue: VecDeque<Chunk>,
    /// Number of the queue's first chunk; that of each is one more than that of the one before.
    first: u64,
    holes: usize,
    rooms: HashMap<u64, Waiting, RandomState>,
    bytes: usize,
    frames: u32,
    cut: bool,
    /// Chunks at the end of `ahead` that have not been looked at by [`Backlog::seal`].
    raw: usize,
    /// Whether the socket has refused bytes and is awaited. Where not, the connection is held.
    pub refused: bool,
    /// When the socket first refused bytes, in ms of the shard's clock.
    pub since_ms: u64,
    /// When it last took some.
    pub progress_ms: u64,
    /// Index in the shard's list of blocked connections.
    pub index: u32,
}

/// Sent bytes of a chunk over which it is worth a copy to be rid of them while it is being sent.
const SHED_BYTES: usize = 16 * 1024;

/// What a chunk is charged.
pub const fn charge(bytes: usize) -> usize {
    bytes + CHUNK_BYTES
}

impl Backlog {
    /// An empty backlog of a socket blocked since `now_ms`.
    pub fn new(now_ms: u64, index: u32) -> Self {
        Self {
            ahead: VecDeque::new(),
            queue: VecDeque::new(),
            first: 0,
            holes: 0,
            rooms: HashMap::default(),
            bytes: 0,
            frames: 0,
            cut: false,
            raw: 0,
            refused: true,
            since_ms: now_ms,
            progress_ms: now_ms,
            index,
        }
    }

    /// An empty backlog of a connection that is held.
    pub fn held(index: u32) -> Self {
        Self { refused: false, ..Self::new(0, index) }
    }

    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames not wholly sent.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.queue.is_empty()
    }

    /// Whether it was cut, so that another cut would free next to nothing.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Adds whole frames of which the first `sent` bytes are already with the kernel. Charged are the bytes that
    /// are left, and [`charge`]'s overhead.
    pub fn push(&mut self, bytes: Rc<[u8]>, sent: usize) {
        let frames = frames_after(&bytes, sent);
        self.push_counted(bytes, sent, frames);
    }

    /// As [`Backlog::push`], where it is known that something is left of `frames` frames.
    pub fn push_counted(&mut self, bytes: Rc<[u8]>, sent: usize, frames: u32) {
        let chunk = self.count(bytes, sent, frames);
        self.queue.push_back(chunk);
    }

    /// Adds an answer or a control frame, before all publications that wait. Charged as by [`Backlog::push`].
    pub fn push_ahead(&mut self, bytes: Rc<[u8]>) {
        let frames = frames_after(&bytes, 0);
        let chunk = self.count(bytes, 0, frames);
        self.ahead.push_back(chunk);
        self.raw += 1;
    }

    fn count(&mut self, bytes: Rc<[u8]>, sent: usize, frames: u32) -> Chunk {
        self.bytes += charge(bytes.len() - sent);
        self.frames += frames;
        let mut chunk = Chunk { bytes: Some(bytes), sent: sent as u32, frames, room: NO_ROOM, key: None };
        if sent > 0 {
            chunk.shed(0);
        }
        chunk
    }

    /// What [`Backlog::push_lossy`] will charge for a frame of `len` bytes.
    pub fn lossy_charge(&self, len: usize, room: u64) -> usize {
        charge(len) + LOSSY_BYTES + if self.rooms.contains_key(&room) { 0 } else { ROOM_BYTES }
    }

    /// Adds one frame of a room that may lose it. [`Backlog::make_place`] comes before it, so that no other of its
    /// key waits.
    pub fn push_lossy(&mut self, bytes: Rc<[u8]>, room: u64, name: &RoomName, loss: Loss) {
        self.bytes += self.lossy_charge(bytes.len(), room);
        self.frames += 1;
        let number = self.first + self.queue.len() as u64;
        let key = if let Loss::ByKey(key) = loss { Some(key) } else { None };
        let waiting = self.rooms.entry(room).or_insert_with(|| Waiting {
            name: name.clone(),
            frames: VecDeque::new(),
            by_key: HashMap::default(),
            notice: None,
            lost: 0,
            bytes: 0,
        });
        waiting.frames.push_back(number);
        waiting.bytes += charge(bytes.len()) + LOSSY_BYTES;
        if let Some(key) = key {
            waiting.by_key.insert(key, number);
        }
        self.queue.push_back(Chunk { bytes: Some(bytes), sent: 0, frames: 1, room, key });
    }

    /// Whether `frames` more of `cost` bytes charged are within `bounds`.
    pub fn has_place(&self, cost: usize, frames: u32, bounds: Bounds) -> bool {
        self.bytes + cost <= bounds.bytes_max && self.frames + frames <= bounds.frames_max
    }

    /// Makes place for a frame of `len` bytes of a room: takes away the one of the same key, then others as
    /// [`Backlog::drop_any`] does, until the frame is within `bounds` or nothing is left that may go. With `silent`
    /// the one of the same key is not told as lost.
    pub fn make_place(&mut self, len: usize, room: u64, loss: Loss, silent: bool, bounds: Bounds) -> Made {
        let mut made = Made::default();
        if let Loss::ByKey(key) = loss
            && let Some(number) = self.rooms.get(&room).and_then(|waiting| waiting.by_key.get(&key))
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
        let oldest = |(room, waiting): (&u64, &Waiting)| {
            waiting.frames.front().map(|number| (waiting.bytes, Reverse(*number), *room))
        };
        let (_, Reverse(number), room) = self.rooms.iter().filter_map(oldest).max()?;
        Some(self.lose(room, number, false))
    }

    /// Number of frames that may be lost.
    pub fn lossy_frames(&self) -> usize {
        self.rooms.values().map(|waiting| waiting.frames.len()).sum()
    }

    /// Loses a frame that may be. The notice of it, unless it is `silent`, stands where the earliest loss is.
    fn lose(&mut self, room: u64, number: u64, silent: bool) -> usize {
        let (first, queue) = (self.first, &mut self.queue);
        let at = |number: u64| (number - first) as usize;
        let Some(waiting) = self.rooms.get_mut(&room) else { return 0 };
        if let Ok(index) = waiting.frames.binary_search(&number) {
            waiting.frames.remove(index);
        }
        let chunk = &mut queue[at(number)];
        let given = charge(chunk.len()) + LOSSY_BYTES;
        if let Some(key) = chunk.key.take() {
            waiting.by_key.remove(&key);
        }
        chunk.bytes = None;
        let told = u64::from(!silent);
        waiting.lost += if mutated(Mutation::MiscountLoss) && waiting.lost > 0 { 0 } else { told };
        waiting.bytes -= given;
        match waiting.notice {
            _ if silent => {
                chunk.room = NO_ROOM;
                self.holes += 1;
            }
            Some(notice) => {
                let later = notice.max(number);
                queue[at(later)].room = NO_ROOM;
                waiting.notice = Some(notice.min(number));
                self.holes += 1;
            }
            None => waiting.notice = Some(number),
        }
        self.bytes -= given;
        self.frames -= 1;
        self.settle();
        given
    }

    /// The loss that is to be told next, if that is next: [`Backlog::tell`] must come before [`Backlog::front`].
    pub fn notice(&self) -> Option<(&RoomName, u64)> {
        let chunk = self.queue.front().filter(|chunk| chunk.is_notice() && self.ahead.is_empty())?;
        self.rooms.get(&chunk.room).map(|waiting| (&waiting.name, waiting.lost))
    }

    /// Makes the notice that is next the frame `bytes`. Returns what that is charged, whatever the bound, as one
    /// notice at a time is told; and the charge given back.
    pub fn tell(&mut self, bytes: Rc<[u8]>) -> (usize, usize) {
        let Some(mut chunk) = self.queue.pop_front() else { return (0, 0) };
        let (room, charged) = (chunk.room, charge(bytes.len()));
        if let Some(waiting) = self.rooms.get_mut(&room) {
            (waiting.notice, waiting.lost) = (None, 0);
        }
        chunk.bytes = Some(bytes);
        (chunk.room, chunk.frames, chunk.sent) = (NO_ROOM, 1, 0);
        self.queue.push_front(chunk);
        self.frames += 1;
        self.bytes += charged;
        (charged, self.forget_if_done(room))
    }

    /// The next bytes to send.
    pub fn front(&self) -> Option<&[u8]> {
        let (chunk, to_the_frames_end) = match (self.ahead.front(), self.queue.front()) {
            (Some(_), Some(begun)) if begun.has_begun() => (begun, true),
            (Some(ahead), _) => (ahead, false),
            (None, queue) => (queue?, false),
        };
        let bytes = chunk.bytes.as_ref()?;
        let sent = chunk.sent as usize;
        let end = if to_the_frames_end { frame_around(bytes, sent).end } else { bytes.len() };
        Some(&bytes[sent..end])
    }

    /// The kernel took `taken` bytes of [`Backlog::front`]. Returns the charge given back.
    pub fn advance(&mut self, taken: usize, now_ms: u64) -> usize {
        let from_queue = self.ahead.is_empty() || self.queue.front().is_some_and(Chunk::has_begun);
        let line = if from_queue { &mut self.queue } else { &mut self.ahead };
        let Some(chunk) = line.front_mut() else { return 0 };
        self.progress_ms = now_ms;
        let Some(bytes) = &chunk.bytes else { return 0 };
        chunk.sent += taken as u32;
        let is_sent = chunk.sent as usize == bytes.len();
        let left = if is_sent { 0 } else { frames_after(bytes, chunk.sent as usize) };
        self.frames -= chunk.frames - left;
        chunk.frames = left;
        // What has begun is not lost any more.
        let (room, key) = (std::mem::replace(&mut chunk.room, NO_ROOM), chunk.key.take());
        let (mut given, whole) = (taken, charge(bytes.len()) + LOSSY_BYTES);
        if is_sent {
            line.pop_front();
            given += CHUNK_BYTES;
            self.first += u64::from(from_queue);
        }
        if room != NO_ROOM {
            given += LOSSY_BYTES;
            if let Some(waiting) = self.rooms.get_mut(&room) {
                waiting.frames.pop_front();
                waiting.bytes -= whole;
                key.map(|key| waiting.by_key.remove(&key));
            }
        }
        self.bytes -= given;
        given += self.forget_if_done(room);
        self.settle();
        if let Some(chunk) = self.queue.front_mut() {
            chunk.shed(SHED_BYTES);
        }
        given
    }

    /// Drops every frame that the peer has seen nothing of, so that a close frame may follow at a frame's border.
    /// Returns the number of frames dropped and the charge given back.
    pub fn cut(&mut self) -> (u32, usize) {
        let (frames, bytes) = (self.frames, self.bytes);
        let fronts = [self.ahead.front(), self.queue.front()];
        let begun = fronts.into_iter().flatten().find(|chunk| chunk.has_begun()).and_then(|chunk| {
            let (bytes, sent) = (chunk.bytes.as_ref()?, chunk.sent as usize);
            let frame = frame_around(bytes, sent);
            let sent = sent - frame.start;
            (!mutated(Mutation::CutBegunFrame)).then(|| (Rc::<[u8]>::from(&bytes[frame]), sent))
        });
        self.ahead.clear();
        self.queue.clear();
        self.rooms.clear();
        (self.first, self.holes, self.bytes, self.frames, self.raw) = (0, 0, 0, 0, 0);
        self.cut = true;
        if let Some((frame, sent)) = begun {
            self.push(frame, sent);
        }
        (frames - self.frames, bytes - self.bytes)
    }

    /// Forgets a room's index when it holds nothing. Returns the charge given back.
    fn forget_if_done(&mut self, room: u64) -> usize {
        let done = |waiting: &Waiting| waiting.frames.is_empty() && waiting.notice.is_none();
        if room == NO_ROOM || !self.rooms.get(&room).is_some_and(done) {
            return 0;
        }
        self.rooms.remove(&room);
        self.bytes -= ROOM_BYTES;
        ROOM_BYTES
    }

    /// Takes holes away: those at the front, and all when they are many.
    fn settle(&mut self) {
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
        for waiting in self.rooms.values_mut() {
            waiting.frames.clear();
        }
        for (number, chunk) in (self.first..).zip(&self.queue) {
            let Some(waiting) = self.rooms.get_mut(&chunk.room) else { continue };
            if chunk.is_notice() {
                waiting.notice = Some(number);
            } else {
                waiting.frames.push_back(number);
                chunk.key.map(|key| waiting.by_key.insert(key, number));
            }
        }
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
