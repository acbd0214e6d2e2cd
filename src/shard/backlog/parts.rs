//! The index of what one room may lose, and the words for making place.

use super::Backlog;
use crate::hub::Loss;
use crate::model::RoomName;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::rc::Rc;

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
    /// The frame of a room that waits and would make place for one of the same key.
    pub fn of_key(&self, room: u64, loss: Loss) -> Option<Rc<[u8]>> {
        let Loss::ByKey(key) = loss else { return None };
        let number = self.rooms.get(&room)?.by_key.get(&key)?;
        self.queue.get((number - self.first) as usize)?.bytes.clone()
    }
}
