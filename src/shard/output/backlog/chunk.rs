//! What stands in the lines of a backlog.

use crate::shard::fanout::bundle::Bundle;
use std::num::NonZeroU64;
use std::rc::Rc;

/// Mark of a chunk that belongs to no room's index. Rooms' ids begin at 1.
pub(super) const NO_ROOM: u64 = 0;

/// Whole messages, of which the first `sent` bytes have gone.
///
/// | `bundle` | `room` | |
/// |---|---|---|
/// | some | none | frames that are not lost |
/// | some | one | a frame that may be lost, nothing of it sent |
/// | none | one | notice of the room's loss |
/// | none | none | a hole |
#[derive(Debug)]
pub(super) struct Chunk {
    pub bundle: Option<Rc<Bundle>>,
    pub sent: u32,
    pub frames: u32,
    pub room: u64,
    pub key: Option<NonZeroU64>,
}

impl Chunk {
    pub const HOLE: Self = Self { bundle: None, sent: 0, frames: 0, room: NO_ROOM, key: None };

    pub fn len(&self) -> usize {
        self.bundle.as_ref().map_or(0, |bundle| bundle.len())
    }

    pub fn is_hole(&self) -> bool {
        self.bundle.is_none() && self.room == NO_ROOM
    }

    pub fn is_notice(&self) -> bool {
        self.bundle.is_none() && self.room != NO_ROOM
    }

    /// Gives up the memory of frames that are sent, where that is more than `min` bytes and half of the chunk, or all
    /// of it with 0: they are not charged any more.
    pub fn shed(&mut self, min: usize) {
        let sent = self.sent as usize;
        let Some(bundle) = self.bundle.as_ref().filter(|_| sent > min) else { return };
        if min == 0 || sent * 2 > bundle.len() {
            let border = bundle.message_at(sent).start;
            if border > 0 {
                self.bundle = Some(Rc::new(bundle.copy_from(sent, true)));
                self.sent = (sent - border) as u32;
            }
        }
    }

    /// Whether a part of a frame is sent and the rest of it not.
    pub fn has_begun(&self) -> bool {
        let sent = self.sent as usize;
        let inside = |bundle: &Rc<Bundle>| bundle.message_at(sent).start != sent;
        sent != 0 && self.bundle.as_ref().is_some_and(inside)
    }
}
