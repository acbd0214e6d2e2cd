//! A transport in memory, and what a client makes of the bytes that came through it.

use fanwire::shard::{Sent, Sockets};

/// The only slot there is.
pub const SLOT: u32 = 0;

/// What one connection's transport has seen.
#[derive(Debug, Default)]
pub struct Outside {
    /// Every byte taken.
    pub bytes: Vec<u8>,
    /// Bytes that it takes before it refuses.
    pub room: usize,
    /// Whether the shard wants to hear when it takes bytes again.
    pub watched: bool,
    /// Our side has ended.
    pub finished: bool,
    /// It is gone.
    pub closed: bool,
    /// The shard's clock in microseconds.
    pub now_us: u64,
}

impl Sockets for Outside {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        assert_eq!(slot, SLOT);
        assert!(!self.closed && !self.finished, "sent after the end");
        assert!(!bytes.is_empty(), "a write of nothing");
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.bytes.extend_from_slice(&bytes[..taken]);
        Sent::Taken(taken)
    }

    fn watch_writable(&mut self, slot: u32, on: bool) {
        assert_eq!(slot, SLOT);
        assert!(!self.closed);
        self.watched = on;
    }

    fn urge(&mut self, slot: u32) {
        assert_eq!(slot, SLOT);
        assert!(!self.closed);
        self.room = self.room.saturating_add(64);
    }

    fn finish(&mut self, slot: u32) {
        assert_eq!(slot, SLOT);
        assert!(!self.closed);
        self.finished = true;
    }

    fn close(&mut self, slot: u32) {
        assert_eq!(slot, SLOT);
        assert!(!self.closed, "closed twice");
        self.closed = true;
    }

    fn now_us(&self) -> u64 {
        self.now_us
    }
}

/// A frame of a server.
#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    Close(u16, &'a str),
}

/// Reads a server's frames by the letter: neither masked nor fragmented, no reserved bit, the fewest bytes for each
/// length, text in UTF-8. What is left at the end is the start of a frame.
pub fn whole_frames(mut bytes: &[u8]) -> (Vec<Frame<'_>>, &[u8]) {
    let mut frames = Vec::new();
    while let Some((first, payload, rest)) = split_frame(bytes) {
        let text = |bytes| std::str::from_utf8(bytes).expect("text is UTF-8");
        let control = |bytes: &[u8]| assert!(bytes.len() <= 125, "a control frame of {} bytes", bytes.len());
        frames.push(match first {
            0x81 => Frame::Text(text(payload)),
            0x82 => Frame::Binary(payload),
            0x89 => Frame::Ping(payload),
            0x8A => Frame::Pong(payload),
            0x88 => Frame::Close(u16::from_be_bytes([payload[0], payload[1]]), text(&payload[2..])),
            first => panic!("no server sends a frame that begins with {first:02x}"),
        });
        if first & 0x08 != 0 {
            control(payload);
        }
        bytes = rest;
    }
    (frames, bytes)
}

/// First byte, payload, and what follows; `None` where the frame is not there whole.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (len, rest) = match second {
        0..126 => (u64::from(*second), rest),
        126 => {
            let (word, rest) = rest.split_first_chunk::<2>()?;
            let len = u64::from(u16::from_be_bytes(*word));
            assert!(len > 125, "a length that needs no more bytes");
            (len, rest)
        }
        127 => {
            let (word, rest) = rest.split_first_chunk::<8>()?;
            let len = u64::from_be_bytes(*word);
            assert!(len > u64::from(u16::MAX), "a length that needs fewer bytes");
            (len, rest)
        }
        _ => panic!("a server's frame is masked"),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).expect("a length in memory"))?;
    Some((*first, payload, rest))
}
