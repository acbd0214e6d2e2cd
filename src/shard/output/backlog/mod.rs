//! What the kernel did not take: the frames that wait for a blocked socket.
//!
//! Two lines: `ahead` for answers and control frames, and `queue` for publications. What is next is the rest of the
//! frame that has begun, then `ahead`, then `queue`.
//!
//! Frames of rooms that may lose some stand in the same queue, see `loss`.

mod chunk;
mod loss;
mod release;
mod waiting;

pub use loss::Bounds;

use crate::base::{Mutation, mutated};
use crate::shard::fanout::bundle::Bundle;
use chunk::{Chunk, NO_ROOM};
use loss::LOSSY_BYTES;
use std::collections::VecDeque;
use std::rc::Rc;
use waiting::WaitingRooms;

/// Bytes charged for each waiting chunk beside its messages: its place in a line and its bundle, which others may share.
const CHUNK_BYTES: usize = 64;

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
    rooms: WaitingRooms,
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

/// Bytes that are worth a call of their own.
const GATHER_MIN: usize = 16 * 1024;

/// Bytes of short chunks after which no further one is gathered into a call.
const GATHER_MAX: usize = 64 * 1024;

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
            rooms: WaitingRooms::default(),
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
    pub(in crate::shard) fn push(&mut self, bundle: Rc<Bundle>, sent: usize) {
        let chunk = self.count(bundle, sent);
        self.queue.push_back(chunk);
    }

    /// Adds an answer or a control frame, before all publications that wait. Charged as by [`Backlog::push`].
    pub(super) fn push_ahead(&mut self, bundle: Rc<Bundle>) {
        let chunk = self.count(bundle, 0);
        self.ahead.push_back(chunk);
        self.raw += 1;
    }

    fn count(&mut self, bundle: Rc<Bundle>, sent: usize) -> Chunk {
        let frames = bundle.left_after(sent);
        self.bytes += charge(bundle.len() - sent);
        self.frames += frames;
        let mut chunk = Chunk { bundle: Some(bundle), sent: sent as u32, frames, room: NO_ROOM, key: None };
        if sent > 0 {
            chunk.shed(0);
        }
        chunk
    }

    /// Whether `frames` more of `cost` bytes charged are within `bounds`.
    pub fn has_place(&self, cost: usize, frames: u32, bounds: Bounds) -> bool {
        self.bytes + cost <= bounds.bytes_max && self.frames + frames <= bounds.frames_max
    }

    /// The next bytes to send.
    pub fn front(&self) -> Option<&[u8]> {
        let (chunk, to_the_frames_end) = match (self.ahead.front(), self.queue.front()) {
            (Some(_), Some(begun)) if begun.has_begun() => (begun, true),
            (Some(ahead), _) => (ahead, false),
            (None, queue) => (queue?, false),
        };
        let bundle = chunk.bundle.as_ref()?;
        let sent = chunk.sent as usize;
        let end = if to_the_frames_end { bundle.message_at(sent).end } else { bundle.len() };
        Some(&bundle.bytes()[sent..end])
    }

    /// The next bytes to send at once: those of [`Backlog::front`], or, where these are few and others wait behind them, a
    /// copy of both in `gathered`. A call for each of thousands of short answers would hold the shard for tens of
    /// milliseconds. Without `with_queue` what waits in the queue is left, but for a message that has begun.
    #[inline]
    pub fn next<'a>(&'a self, with_queue: bool, gathered: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let front = self.front()?;
        let is_alone = self.ahead.len() + self.queue.len() == 1;
        if is_alone || front.len() >= GATHER_MIN {
            return Some(front);
        }
        self.gather(front, with_queue, gathered);
        Some(if gathered.len() > front.len() { gathered } else { front })
    }

    /// Copies what is next, `front` at first.
    #[inline(never)]
    fn gather(&self, front: &[u8], with_queue: bool, gathered: &mut Vec<u8>) {
        gathered.clear();
        // What goes before all that is ahead: of the queue's first chunk, so that it is gone from there.
        let mut begun = 0;
        if self.queue.front().is_some_and(Chunk::has_begun) {
            gathered.extend_from_slice(front);
            begun = front.len();
        }
        let ahead = self.ahead.iter().zip(std::iter::repeat(0));
        let queue = self.queue.iter().zip(std::iter::once(begun).chain(std::iter::repeat(0)));
        let queue = with_queue.then_some(queue).into_iter().flatten();
        for (chunk, gone) in ahead.chain(queue).filter(|(chunk, _)| !chunk.is_hole()) {
            // The notice of a loss has no bytes before it is told.
            let Some(bundle) = chunk.bundle.as_ref().filter(|_| gathered.len() < GATHER_MAX) else { break };
            gathered.extend_from_slice(&bundle.bytes()[chunk.sent as usize + gone..]);
        }
    }

    /// The kernel took `taken` bytes of [`Backlog::next`]. Returns the charge given back.
    #[inline]
    pub fn advance_all(&mut self, mut taken: usize, now_ms: u64) -> usize {
        let mut given = 0;
        while taken > 0 {
            let Some(part) = self.front().map(|front| front.len().min(taken)) else { break };
            given += self.advance(part, now_ms);
            taken -= part;
        }
        given
    }

    /// The kernel took `taken` bytes of [`Backlog::front`]. Returns the charge given back.
    pub fn advance(&mut self, taken: usize, now_ms: u64) -> usize {
        let from_queue = self.ahead.is_empty() || self.queue.front().is_some_and(Chunk::has_begun);
        let line = if from_queue { &mut self.queue } else { &mut self.ahead };
        let Some(chunk) = line.front_mut() else { return 0 };
        self.progress_ms = now_ms;
        let Some(bundle) = &chunk.bundle else { return 0 };
        chunk.sent += taken as u32;
        let is_sent = chunk.sent as usize == bundle.len();
        let left = if is_sent { 0 } else { bundle.left_after(chunk.sent as usize) };
        self.frames -= chunk.frames - left;
        chunk.frames = left;
        // What has begun is not lost any more.
        let (room, key) = (std::mem::replace(&mut chunk.room, NO_ROOM), chunk.key.take());
        let (mut given, whole) = (taken, charge(bundle.len()) + LOSSY_BYTES);
        if is_sent {
            line.pop_front();
            given += CHUNK_BYTES;
            self.first += u64::from(from_queue);
        }
        if room != NO_ROOM {
            given += LOSSY_BYTES;
            self.rooms.change(room, |waiting| {
                waiting.frames.pop_front();
                waiting.bytes -= whole;
                key.map(|key| waiting.by_key.remove(&key));
            });
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
            let (bundle, sent) = (chunk.bundle.as_ref()?, chunk.sent as usize);
            let begun = (bundle.copy_from(sent, false), sent - bundle.message_at(sent).start);
            (!mutated(Mutation::CutBegunFrame)).then_some(begun)
        });
        self.ahead.clear();
        self.queue.clear();
        self.rooms.clear();
        (self.first, self.holes, self.bytes, self.frames, self.raw) = (0, 0, 0, 0, 0);
        self.cut = true;
        if let Some((message, sent)) = begun {
            self.push(Rc::new(message), sent);
        }
        (frames - self.frames, bytes - self.bytes)
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub(in crate::shard) mod tests;
