//! What the kernel did not take: the frames that wait for a blocked socket.

use crate::base::{Mutation, mutated};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Bytes charged for each waiting chunk beside its frames, about what its bookkeeping costs.
const CHUNK_BYTES: usize = 40;

/// The frames that wait for one blocked connection. Chunks are shared with the other connections that wait for the
/// same bytes, but each is charged in full, so the memory is at most what is charged.
#[derive(Debug)]
pub struct Backlog {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    frames: u32,
    cut: bool,
    /// When the socket first refused bytes, in ms of the shard's clock.
    pub since_ms: u64,
    /// When it last took some.
    pub progress_ms: u64,
    /// Index in the shard's list of blocked connections.
    pub index: u32,
}

#[derive(Debug)]
struct Chunk {
    bytes: Rc<[u8]>,
    sent: usize,
    frames: u32,
}

/// What a chunk is charged.
pub const fn charge(bytes: usize) -> usize {
    bytes + CHUNK_BYTES
}

impl Backlog {
    /// An empty backlog of a socket blocked since `now_ms`.
    pub fn new(now_ms: u64, index: u32) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            frames: 0,
            cut: false,
            since_ms: now_ms,
            progress_ms: now_ms,
            index,
        }
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
        self.chunks.is_empty()
    }

    /// Whether it was cut, so that another cut would free next to nothing.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Adds whole frames of which the first `sent` bytes are already with the kernel. Charged are the bytes that
    /// are left, and [`charge`]'s overhead.
    pub fn push(&mut self, bytes: Rc<[u8]>, sent: usize) {
        let frames = frames_after(&bytes, sent);
        self.bytes += charge(bytes.len() - sent);
        self.frames += frames;
        self.chunks.push_back(Chunk { bytes, sent, frames });
    }

    /// The next bytes to send.
    pub fn front(&self) -> Option<&[u8]> {
        self.chunks.front().map(|chunk| &chunk.bytes[chunk.sent..])
    }

    /// The kernel took `taken` bytes of [`Backlog::front`]. Returns the charge given back.
    pub fn advance(&mut self, taken: usize, now_ms: u64) -> usize {
        let Some(chunk) = self.chunks.front_mut() else { return 0 };
        self.progress_ms = now_ms;
        chunk.sent += taken;
        let left = if chunk.sent == chunk.bytes.len() { 0 } else { frames_after(&chunk.bytes, chunk.sent) };
        self.frames -= chunk.frames - left;
        chunk.frames = left;
        let mut given = taken;
        if chunk.sent == chunk.bytes.len() {
            self.chunks.pop_front();
            given += CHUNK_BYTES;
        }
        self.bytes -= given;
        given
    }

    /// Drops every frame that the peer has seen nothing of, so that a close frame may follow at a frame's border.
    /// Returns the number of frames dropped and the charge given back.
    pub fn cut(&mut self) -> (u32, usize) {
        let (frames, bytes) = (self.frames, self.bytes);
        let begun = self.chunks.pop_front().and_then(|chunk| {
            let frame = frame_around(&chunk.bytes, chunk.sent);
            let sent = chunk.sent - frame.start;
            (sent != 0 && !mutated(Mutation::CutBegunFrame))
                .then(|| (Rc::<[u8]>::from(&chunk.bytes[frame]), sent))
        });
        self.chunks.clear();
        (self.bytes, self.frames, self.cut) = (0, 0, true);
        if let Some((frame, sent)) = begun {
            self.push(frame, sent);
        }
        (frames - self.frames, bytes - self.bytes)
    }
}

/// Number of frames of which something lies after `offset`. `bytes` starts at a frame's border.
fn frames_after(bytes: &[u8], offset: usize) -> u32 {
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        at += frame_len(&bytes[at..]);
        count += u32::from(at > offset);
    }
    count
}

/// The frame that holds the byte at `offset`. `bytes` starts at a frame's border.
fn frame_around(bytes: &[u8], offset: usize) -> Range<usize> {
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
fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => 10 + bytes[2..10].iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
        len => 2 + usize::from(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: u8) -> Vec<u8> {
        let mut frame = vec![0x81, len];
        frame.extend((0..len).map(|byte| byte + 1));
        frame
    }

    fn frames(lens: &[u8]) -> Rc<[u8]> {
        lens.iter().flat_map(|len| frame(*len)).collect::<Vec<_>>().into()
    }

    #[test]
    fn what_is_charged_is_given_back() {
        let mut backlog = Backlog::new(5, 0);
        backlog.push(frames(&[10, 20]), 4);
        assert_eq!((backlog.bytes(), backlog.frames()), (charge(30), 2));
        assert_eq!(backlog.advance(8, 6), 8);
        assert_eq!((backlog.frames(), backlog.progress_ms), (1, 6));
        assert_eq!(backlog.advance(22, 7), charge(22));
        assert!(backlog.is_empty() && backlog.bytes() == 0 && backlog.frames() == 0);
    }

    #[test]
    fn a_cut_keeps_the_rest_of_a_frame_that_has_begun() {
        let mut backlog = Backlog::new(0, 0);
        backlog.push(frames(&[10, 20]), 15);
        backlog.push(frames(&[30]), 0);
        let (dropped, given) = backlog.cut();
        assert_eq!((dropped, backlog.frames(), backlog.front().unwrap().len()), (1, 1, 19));
        assert_eq!(given + backlog.bytes(), charge(19) + charge(32));
    }

    #[test]
    fn a_cut_at_a_border_drops_all() {
        let mut backlog = Backlog::new(0, 0);
        backlog.push(frames(&[10, 20]), 12);
        assert_eq!(backlog.cut().0, 1);
        assert!(backlog.is_empty() && backlog.bytes() == 0);
    }

    #[test]
    fn a_frame_that_has_begun_survives_another_cut() {
        let mut backlog = Backlog::new(0, 0);
        backlog.push(frames(&[10]), 3);
        backlog.cut();
        assert_eq!(backlog.cut(), (0, 0));
        assert_eq!(backlog.front().unwrap(), &frame(10)[3..]);
        backlog.advance(1, 0);
        assert_eq!(backlog.frames(), 1);
    }
}
