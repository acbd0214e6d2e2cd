//! What of the queue goes ahead: all of it when a held connection may be written to, and what waits of a room when an
//! answer about the room must not come first.
//!
//! A held connection is sent what is `ahead` alone; what is in the queue waits to be released, and is put ahead then.

use super::chunk::{Chunk, NO_ROOM};
use super::loss::{LOSSY_BYTES, ROOM_BYTES};
use super::{Backlog, charge};
use crate::model::RoomName;
use crate::shard::fanout::bundle::Bundle;
use crate::wire;
use std::rc::Rc;

/// Bytes of texts over which an array of them ends, so that the copy that it is made of stays small beside the
/// bound of an outbox.
const ARRAY_BYTES: usize = 64 * 1024;

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
    pub(in crate::shard) fn release(
        &mut self,
        encode: impl Fn(&RoomName, u64) -> Rc<Bundle>,
    ) -> (usize, usize) {
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
    pub(in crate::shard) fn hasten(
        &mut self,
        room: u64,
        encode: impl Fn(&RoomName, u64) -> Rc<Bundle>,
    ) -> (usize, usize) {
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
        encode: &impl Fn(&RoomName, u64) -> Rc<Bundle>,
        moved: &mut Moved,
    ) {
        if chunk.is_notice() {
            let Some(waiting) = self.rooms.get(chunk.room) else { return };
            let bundle = encode(&waiting.name, waiting.lost);
            moved.charged += charge(bundle.len());
            self.frames += 1;
            chunk = Chunk { bundle: Some(bundle), frames: 1, ..Chunk::HOLE };
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

    /// Makes arrays of the messages ahead that nothing has been sent of: each run of texts becomes one frame
    /// with a JSON array of their texts, or some, where they are long. Other messages stay as they are. Returns what
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
            let Some(bundle) = &chunk.bundle else { continue };
            for (message, text_at) in bundle.messages() {
                let message = &bundle.bytes()[message];
                if let Some(text) = text_at.text_of(message) {
                    if run.bytes + message.len() > ARRAY_BYTES {
                        self.push_array(&mut run);
                    }
                    run.bytes += message.len();
                    run.texts.push(text);
                } else {
                    self.push_array(&mut run);
                    self.push_ahead(Rc::new(Bundle::one(message, text_at)));
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
        let texts = std::mem::take(&mut run.texts);
        if texts.is_empty() {
            return;
        }
        let mut array = Vec::with_capacity(run.bytes + 16);
        run.bytes = 0;
        let text_at = wire::text_frame(&mut array, |out| {
            for (index, text) in texts.into_iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                out.extend_from_slice(text);
            }
            out.push(b']');
        });
        self.push_ahead(Rc::new(Bundle::one(array, text_at)));
    }
}

/// What putting ahead is charged, and the charge that it gives back.
#[derive(Default)]
struct Moved {
    charged: usize,
    given: usize,
}

/// Texts of messages one after the other, and the bytes of these messages.
#[derive(Default)]
struct Run<'a> {
    texts: Vec<&'a [u8]>,
    bytes: usize,
}
