//! What of the queue goes ahead: all of it when a held connection may be written to, and what waits of a room when an
//! answer about the room must not come first.
//!
//! A held connection is sent what is `ahead` alone; what is in the queue waits to be released, and is put ahead then.

use super::chunk::{Chunk, NO_ROOM, frame_len};
use super::loss::{LOSSY_BYTES, ROOM_BYTES};
use super::{Backlog, charge};
use crate::model::RoomName;
use crate::wire::{self, Opcode};
use std::ops::Range;
use std::rc::Rc;

/// Bytes of texts over which an array of them ends, so that the copy that it is made of stays small beside the
/// bound of an outbox.
const ARRAY_BYTES: usize = 64 * 1024;

/// First byte of a text frame that is whole and not compressed (RFC 6455 section 5.2).
const TEXT_FRAME: u8 = 0x80 | Opcode::Text as u8;

impl Backlog {
    /// Whether something waits to be released.
    pub fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a held connection is to be sent something: what is ahead, or the rest of a frame that has begun.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty() || self.queue.front().is_some_and(Chunk::has_begun)
    }

    /// Puts all that waits ahead, in its order. `encode` writes the notice of a loss. Returns what that is charged,
    /// whatever the bound, and the charge given back.
    pub fn release(&mut self, encode: impl Fn(&RoomName, u64) -> Rc<[u8]>) -> (usize, usize) {
        let mut moved = Moved::default();
        for chunk in std::mem::take(&mut self.queue) {
            if !chunk.is_hole() {
                self.put_ahead(chunk, &encode, &mut moved);
            }
        }
        moved.given += self.rooms.len() * ROOM_BYTES;
        self.rooms.clear();
        (self.first, self.holes) = (0, 0);
        self.recharge(moved)
    }

    /// Puts all that waits of a room ahead, behind the answers that are there, and with it every frame that is not
    /// lost, as the room's own may be among these. `encode` writes the notice of a loss. Returns what that is
    /// charged, whatever the bound, and the charge given back.
    pub fn hasten(&mut self, room: u64, encode: impl Fn(&RoomName, u64) -> Rc<[u8]>) -> (usize, usize) {
        let mut moved = Moved::default();
        let mut queue = std::mem::take(&mut self.queue);
        for entry in &mut queue {
            if !entry.is_hole() && (entry.room == NO_ROOM || entry.room == room) {
                let chunk = std::mem::replace(entry, Chunk::HOLE);
                self.holes += 1;
                self.put_ahead(chunk, &encode, &mut moved);
            }
        }
        self.queue = queue;
        moved.given += if self.rooms.remove(room) { ROOM_BYTES } else { 0 };
        let changed = self.recharge(moved);
        self.settle();
        changed
    }

    /// Puts a chunk of the queue ahead, where nothing is lost any more: a notice becomes the frame that `encode` makes
    /// of it.
    fn put_ahead(
        &mut self,
        mut chunk: Chunk,
        encode: &impl Fn(&RoomName, u64) -> Rc<[u8]>,
        moved: &mut Moved,
    ) {
        if chunk.is_notice() {
            let Some(waiting) = self.rooms.get(chunk.room) else { return };
            let bytes = encode(&waiting.name, waiting.lost);
            moved.charged += charge(bytes.len());
            self.frames += 1;
            chunk = Chunk { bytes: Some(bytes), frames: 1, ..Chunk::HOLE };
        } else if chunk.room != NO_ROOM {
            moved.given += LOSSY_BYTES;
            (chunk.room, chunk.key) = (NO_ROOM, None);
        }
        if chunk.has_begun() {
            // Its frame goes on before anything else; that the rest of the chunk does too harms nobody.
            self.ahead.push_front(chunk);
        } else {
            self.ahead.push_back(chunk);
            self.raw += 1;
        }
    }

    fn recharge(&mut self, Moved { charged, given }: Moved) -> (usize, usize) {
        self.bytes = self.bytes + charged - given;
        (charged, given)
    }

    /// Makes arrays of the messages ahead that nothing has been sent of: each run of text frames becomes one frame
    /// with a JSON array of their texts, or some, where they are long. Control frames stay as they are. Returns what
    /// that is charged and the charge given back.
    pub fn seal(&mut self) -> (usize, usize) {
        let raw = std::mem::take(&mut self.raw).min(self.ahead.len());
        if raw == 0 {
            return (0, 0);
        }
        let (bytes, frames) = (self.bytes, self.frames);
        let raw = self.ahead.split_off(self.ahead.len() - raw);
        let mut run = Run::default();
        for chunk in &raw {
            self.bytes -= charge(chunk.len());
            self.frames -= chunk.frames;
            let Some(bytes) = &chunk.bytes else { continue };
            let mut at = 0;
            while at < bytes.len() {
                let frame = at..at + frame_len(&bytes[at..]);
                at = frame.end;
                if bytes[frame.start] == TEXT_FRAME {
                    if run.bytes + frame.len() > ARRAY_BYTES {
                        self.push_array(&mut run);
                    }
                    run.bytes += frame.len();
                    run.frames.push((bytes, frame));
                } else {
                    self.push_array(&mut run);
                    self.push_ahead(bytes[frame].into());
                }
            }
        }
        self.push_array(&mut run);
        self.raw = 0;
        let charged = self.bytes + raw.iter().map(|chunk| charge(chunk.len())).sum::<usize>() - bytes;
        debug_assert!(self.frames <= frames);
        (charged, bytes + charged - self.bytes)
    }

    fn push_array(&mut self, run: &mut Run<'_>) {
        let frames = std::mem::take(&mut run.frames);
        if frames.is_empty() {
            return;
        }
        let mut array = Vec::with_capacity(run.bytes + 16);
        run.bytes = 0;
        wire::frame_in_place(&mut array, Opcode::Text, |out| {
            for (index, (bytes, frame)) in frames.into_iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                out.extend_from_slice(payload(&bytes[frame]));
            }
            out.push(b']');
        });
        self.push_ahead(array.into());
    }
}

/// What putting ahead is charged, and the charge that it gives back.
#[derive(Default)]
struct Moved {
    charged: usize,
    given: usize,
}

/// Text frames one after the other, and their bytes.
#[derive(Default)]
struct Run<'a> {
    frames: Vec<(&'a Rc<[u8]>, Range<usize>)>,
    bytes: usize,
}

/// What a frame of ours carries.
pub fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    &frame[header..]
}
