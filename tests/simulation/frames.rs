//! WebSocket frames as a client builds and reads them (RFC 6455 section 5), written apart from the server's own code.

use super::random::Random;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The bit of a message that is compressed (RFC 7692 section 6).
pub const COMPRESSED: u8 = 0x40;

/// A masked frame.
pub fn frame(random: &mut Random, fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![if fin { 0x80 | opcode } else { opcode }];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.extend([0x80 | 126, (len >> 8) as u8, len as u8]);
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let mask = (random.next() as u32).to_le_bytes();
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// A frame that came from the server.
#[derive(Debug)]
pub struct Frame {
    pub opcode: u8,
    pub compressed: bool,
    pub payload: Vec<u8>,
}

/// Cuts a stream of bytes into the frames of a server, which are never masked; ours are never fragmented either.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    pub fn push(&mut self, bytes: impl Iterator<Item = u8>) {
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
        self.bytes.extend(bytes);
    }

    /// Whether part of a frame has come.
    pub fn is_within_a_frame(&self) -> bool {
        self.at < self.bytes.len()
    }

    /// The next whole frame, or what is wrong with it.
    pub fn next(&mut self) -> Result<Option<Frame>, String> {
        let rest = &self.bytes[self.at..];
        let Some((header_len, len)) = header(rest)? else { return Ok(None) };
        if rest.len() < header_len + len {
            return Ok(None);
        }
        let payload = rest[header_len..header_len + len].to_vec();
        let (opcode, compressed) = (rest[0] & 0x0F, rest[0] & COMPRESSED != 0);
        self.at += header_len + len;
        Ok(Some(Frame { opcode, compressed, payload }))
    }
}

/// Lengths of the header and the payload, once they are known.
fn header(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let reserved = if first & 0x08 == 0 { 0x30 } else { 0x70 };
    if first & 0x80 == 0 || first & reserved != 0 {
        return Err(format!("first byte {first:#04x}: not final, or reserved bits"));
    }
    if !matches!(first & 0x0F, TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(format!("first byte {first:#04x}: an opcode that the server has no use for"));
    }
    if first & 0x08 != 0 && second > 125 {
        return Err("a control frame over 125 bytes".into());
    }
    let word = |range: std::ops::Range<usize>| {
        bytes.get(range).map(|word| word.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    };
    let (header_len, len) = match second {
        0..126 => (2, Some(usize::from(second))),
        126 => (4, word(2..4)),
        127 => (10, word(2..10)),
        _ => return Err("a masked frame".into()),
    };
    let Some(len) = len else { return Ok(None) };
    if header_len == 4 && len < 126 || header_len == 10 && len <= 0xFFFF {
        return Err(format!("a length of {len} in too many bytes"));
    }
    Ok(Some((header_len, len)))
}

/// Counts the frames in a stream of a server's bytes without keeping them.
#[derive(Debug, Default)]
pub struct Counter {
    /// Bytes of a header that has not come whole.
    header: Vec<u8>,
    /// Bytes of the present frame's payload that are still to come.
    left: usize,
    /// The first byte of its payload, if that has come.
    first: Option<u8>,
    /// Whether frames are those of the sixth dialect, of which some belong to the one before.
    wrapped: bool,
    /// Bytes of the present entry.
    entry: usize,
    /// Whole entries so far: frames, or several that belong together.
    pub frames: u64,
    /// Pings among them.
    pub pings: u64,
    pub bytes: u64,
    /// The largest entry.
    pub largest: usize,
}

impl Counter {
    pub fn new(wrapped: bool) -> Self {
        Self { wrapped, ..Self::default() }
    }

    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                self.first.get_or_insert(bytes[0]);
                self.left -= step;
                bytes = &bytes[step..];
            } else {
                self.header.push(bytes[0]);
                bytes = &bytes[1..];
                let Some((header_len, len)) = header(&self.header)? else { continue };
                if self.header.len() < header_len {
                    continue;
                }
                self.left = len;
                self.entry += header_len + len;
                self.largest = self.largest.max(self.entry);
            }
            if self.left == 0 {
                let (head, first) = (self.header[0], self.first.take());
                self.header.clear();
                // Its binary frame follows.
                if self.wrapped && head == 0x80 | TEXT && first == Some(b'+') {
                    continue;
                }
                self.frames += 1;
                self.entry = 0;
                let is_beat = self.wrapped && head == 0x80 | BINARY && first == Some(2);
                self.pings += u64::from(head & 0x0F == PING || is_beat);
            }
        }
        Ok(())
    }
}
