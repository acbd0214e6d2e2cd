//! What waits for the members of a wide room, and the walk that brings it to them.

use crate::hub::{Loss, RoomShared};
use crate::shard::fanout::bundle::Ready;
use crate::shard::fanout::frame_batch::NOBODY;
use crate::shard::fanout::mail::{OrderedFrames, Target};
use crate::shard::fanout::select::Filter;
use crate::shard::output::palette::{Kind, Palette, Tag};
use crate::wire::TextAt;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub struct Line {
    pub target: Target,
    /// `None` for all connections of the node.
    pub room: Option<Arc<RoomShared>>,
    pub waiting: VecDeque<Item>,
    pub walk: Option<Walk>,
}

#[derive(Debug)]
pub struct Item {
    pub content: Content,
    pub except: u32,
    /// Who of the members it is for, if not for all.
    pub filter: Option<Arc<Filter>>,
    /// Whether it is for those alone that belong to no tenant.
    pub tenantless: bool,
}

#[derive(Debug)]
pub enum Content {
    Frame { bytes: Box<[u8]>, text_at: TextAt, encodings: u32, accepted_us: u64, loss: Loss },
    Ordered(Arc<OrderedFrames>),
}

/// Frames on their way to a target's members.
#[derive(Debug, Default)]
pub struct Walk {
    pub bytes: Vec<u8>,
    pub frames: Vec<Frame>,
    /// Bit of an encoding, and the connections with it that are still to get their frames.
    pub groups: Vec<(u32, Slots)>,
}

#[derive(Debug, Clone)]
pub struct Frame {
    pub range: Range<usize>,
    pub text_at: TextAt,
    pub encodings: u32,
    pub except: u32,
    pub accepted_us: u64,
    pub loss: Loss,
    /// Has a place in the room's order.
    pub ordered: bool,
}

impl Frame {
    /// Before its message is added to a walk.
    pub const NOWHERE: Self = Self {
        range: 0..0,
        text_at: TextAt::None,
        encodings: 0,
        except: NOBODY,
        accepted_us: 0,
        loss: Loss::Never,
        ordered: false,
    };
}

/// A set of the slots that there are.
#[derive(Debug, Default)]
pub struct Slots {
    pub words: Vec<u64>,
    /// No word before this one has a bit.
    pub next: usize,
}

impl Line {
    pub fn forget(&mut self, slot: u32) {
        for (_, slots) in self.walk.iter_mut().flat_map(|walk| &mut walk.groups) {
            slots.remove(slot);
        }
    }
}

impl Content {
    pub fn len(&self) -> usize {
        match self {
            Self::Frame { bytes, .. } => bytes.len(),
            Self::Ordered(frames) => frames.by_encoding.len_bytes(),
        }
    }

    pub fn ticket(&self) -> u64 {
        if let Self::Ordered(frames) = self { frames.ticket } else { 0 }
    }
}

impl Walk {
    /// Adds a message; where it lies among the walk's bytes is found here.
    pub fn add(&mut self, message: Ready<'_>, frame: Frame) {
        let start = self.bytes.len();
        let text_at = message.append(&mut self.bytes);
        self.frames.push(Frame { range: start..self.bytes.len(), text_at, ..frame });
    }

    /// Puts one of its frames into the palette.
    pub fn put(&self, frame: &Frame, target: Target, accepted_us: Option<u64>, palette: &mut Palette) -> u32 {
        let message = Ready { bytes: &self.bytes[frame.range.clone()], text_at: frame.text_at };
        let entry = palette.push(accepted_us, |out| message.append(out));
        if frame.loss.may_be()
            && let Target::Room { local, id } = target
        {
            palette.set_kind(entry, Kind::MayBeLost(Tag { local, id, loss: frame.loss }));
        }
        entry
    }
}

impl Slots {
    pub fn insert(&mut self, slot: u32) {
        if let Some(word) = self.words.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Whether it was in the set.
    pub fn remove(&mut self, slot: u32) -> bool {
        let Some(word) = self.words.get_mut(slot as usize / 64) else { return false };
        let bit = 1 << (slot % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }

    /// Moves up to `count` slots from the set to `out`.
    pub fn take(&mut self, count: usize, out: &mut Vec<u32>) {
        while out.len() < count
            && let Some(word) = self.words.get_mut(self.next)
        {
            if *word == 0 {
                self.next += 1;
            } else {
                out.push(self.next as u32 * 64 + word.trailing_zeros());
                *word &= *word - 1;
            }
        }
    }

    pub fn is_empty(&mut self) -> bool {
        while self.words.get(self.next) == Some(&0) {
            self.next += 1;
        }
        self.next >= self.words.len()
    }
}
