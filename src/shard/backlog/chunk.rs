//! What stands in the lines of a backlog, and where frames begin and end in it.

use std::num::NonZeroU64;
use std::ops::Range;
use std::rc::Rc;

/// Mark of a chunk that belongs to no room's index. Rooms' ids begin at 1.
pub(super) const NO_ROOM: u64 = 0;

/// Whole frames, of which the first `sent` bytes have gone.
///
/// | `bytes` | `room` | |
/// |---|---|---|
/// | some | none | frames that are not lost |
/// | some | one | a frame that may be lost, nothing of it sent |
/// | none | one | notice of the room's loss |
/// | none | none | a hole |
#[derive(Debug)]
pub(super) struct Chunk {
    pub bytes: Option<Rc<[u8]>>,
    pub sent: u32,
    pub frames: u32,
    pub room: u64,
    pub key: Option<NonZeroU64>,
}

impl Chunk {
    pub const HOLE: Self = Self { bytes: None, sent: 0, frames: 0, room: NO_ROOM, key: None };

    pub fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len())
    }

    pub fn is_hole(&self) -> bool {
        self.bytes.is_none() && self.room == NO_ROOM
    }

    pub fn is_notice(&self) -> bool {
        self.bytes.is_none() && self.room != NO_ROOM
    }

    /// Gives up the memory of frames that are sent, where that is more than `min` bytes and half of the chunk, or all
    /// of it with 0: they are not charged any more.
    pub fn shed(&mut self, min: usize) {
        let sent = self.sent as usize;
        let Some(bytes) = self.bytes.as_ref().filter(|_| sent > min) else { return };
        if min == 0 || sent * 2 > bytes.len() {
            let border = frame_around(bytes, sent).start;
            if border > 0 {
                self.bytes = Some(bytes[border..].into());
                self.sent = (sent - border) as u32;
            }
        }
    }

    /// Whether a part of a frame is sent and the rest of it not.
    pub fn has_begun(&self) -> bool {
        let sent = self.sent as usize;
        let inside = |bytes: &Rc<[u8]>| frame_around(bytes, sent).start != sent;
        sent != 0 && self.bytes.as_ref().is_some_and(inside)
    }
}

/// Number of frames of which something lies after `offset`. `bytes` starts at a frame's border.
#[inline]
pub fn frames_after(bytes: &[u8], offset: usize) -> u32 {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        at += frame_len(&bytes[at..]);
        count += u32::from(at > offset);
    }
    count
}

/// The frame that holds the byte at `offset`. `bytes` starts at a frame's border.
pub fn frame_around(bytes: &[u8], offset: usize) -> Range<usize> {
    let mut start = 0;
    loop {
        let end = start + frame_len(&bytes[start..]);
        if offset < end {
            return start..end;
        }
        start = end;
    }
}

/// Length of the frame at the start of `bytes`: one of our own, so whole and not masked (RFC 6455 section 5.2).
#[inline]
pub fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => 10 + bytes[2..10].iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
        len => 2 + usize::from(len),
    }
}
