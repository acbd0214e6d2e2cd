//! The frames of a tick from one shard for another.

use crate::hub::Loss;
use crate::shard::fanout::bundle::Ready;
use crate::shard::fanout::mail::Target;
use crate::wire::TextAt;

/// No slot: the fan-out leaves no connection out.
pub(super) const NOBODY: u32 = u32::MAX;

/// A frame that has no place in a room's order.
pub(super) const NO_TICKET: u64 = 0;

/// Which connections of one shard a frame is for, and what may become of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Delivery {
    pub target: Target,
    /// Mask of the encodings that it is for.
    pub encodings: u32,
    pub loss: Loss,
    /// Slot of the connection that it is not for, or [`NOBODY`].
    pub except: u32,
    /// Its place in the room's order, or [`NO_TICKET`]. Members that have been told of it already do not get it.
    pub ticket: u64,
}

/// A tick's frames from one shard for another: bytes back to back, and which connections each is for.
#[derive(Debug, Default)]
pub struct FrameBatch {
    pub(in crate::shard) bytes: Vec<u8>,
    pub(super) items: Vec<FrameItem>,
    /// Items that the receiving shard has handled already.
    pub(in crate::shard) handled: usize,
}

/// One frame of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameItem {
    /// Where it ends in the batch; it starts where the one before ends.
    pub end: usize,
    /// Where its text begins.
    pub text_at: TextAt,
    pub target: Target,
    /// Mask of the encodings that it is for.
    pub encodings: u32,
    /// When its publication was accepted, in microseconds of the node's clock.
    pub accepted_us: u64,
    /// What may become of it on its way to a member.
    pub loss: Loss,
}

impl FrameBatch {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Memory that it stands for, in bytes, as counted against a mailbox's high-water mark.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + self.items.len() * size_of::<FrameItem>()
    }

    /// Adds a frame that leaves no connection out and has no place in a room's order: both are known to its own shard alone.
    pub(in crate::shard) fn push(&mut self, message: Ready<'_>, accepted_us: u64, delivery: &Delivery) {
        let Delivery { target, encodings, loss, .. } = *delivery;
        let text_at = message.append(&mut self.bytes);
        self.items.push(FrameItem { end: self.bytes.len(), text_at, target, encodings, accepted_us, loss });
    }
}
