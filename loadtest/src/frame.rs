//! WebSocket frames as far as a load tool needs them (RFC 6455, section 5.2).
//!
//! The scanner looks at contiguous bytes and says "need more" instead of keeping a state of its own;
//! the connection keeps what is left over until more arrives.

/// Opcodes of RFC 6455, section 5.2.
pub mod opcode {
    /// The next part of a fragmented message.
    pub const CONTINUATION: u8 = 0x0;
    /// A text message.
    pub const TEXT: u8 = 0x1;
    /// A binary message.
    pub const BINARY: u8 = 0x2;
    /// The closing handshake.
    pub const CLOSE: u8 = 0x8;
    /// Asks for a pong.
    pub const PING: u8 = 0x9;
    /// Answers a ping.
    pub const PONG: u8 = 0xa;
}

/// The largest payload taken from a peer, in bytes: beyond it the stream is taken as garbage.
pub const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// One whole frame inside a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Last (or only) frame of its message.
    pub fin: bool,
    /// See [`opcode`].
    pub opcode: u8,
    /// Mask key, when the frame is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes before the payload.
    pub header_len: usize,
    /// Payload bytes.
    pub payload_len: usize,
}

impl Frame {
    /// Bytes of header and payload together.
    pub fn total_len(&self) -> usize {
        self.header_len + self.payload_len
    }
}

/// The peer sent something that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// A reserved bit is set though no extension was agreed.
    ReservedBit,
    /// An opcode that RFC 6455 does not define.
    Opcode,
    /// Longer than [`PAYLOAD_BYTES_MAX`].
    TooLong,
}

/// The first frame of `bytes`; `None` until the whole frame is there.
///
/// # Errors
/// [`BadFrame`] as soon as the header shows it.
pub fn scan(bytes: &[u8]) -> Result<Option<Frame>, BadFrame> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(BadFrame::ReservedBit);
    }
    let opcode = first & 0x0f;
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err(BadFrame::Opcode);
    }
    let (length, length_bytes) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (u64::from_be_bytes(*length), 8),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    if length > PAYLOAD_BYTES_MAX {
        return Err(BadFrame::TooLong);
    }
    let mask = if second & 0x80 != 0 {
        match rest[length_bytes..].first_chunk::<4>() {
            Some(key) => Some(*key),
            None => return Ok(None),
        }
    } else {
        None
    };
    let header_len = 2 + length_bytes + if mask.is_some() { 4 } else { 0 };
    let payload_len = length as usize;
    if bytes.len() < header_len + payload_len {
        return Ok(None);
    }
    Ok(Some(Frame { fin: first & 0x80 != 0, opcode, mask, header_len, payload_len }))
}

/// XORs `payload` with `key` (RFC 6455, section 5.3); the same call masks and unmasks.
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let word = u32::from_ne_bytes(key);
    let wide = (u64::from(word) << 32) | u64::from(word);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut lane = [0; 8];
        lane.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(lane) ^ wide).to_ne_bytes());
    }
    for (byte, key_byte) in chunks.into_remainder().iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key_byte;
    }
}

/// Appends a final, masked frame, as a client must send it (RFC 6455, section 5.1).
/// The payload is given in parts, so that a template needs no buffer of its own.
pub fn push_masked(out: &mut Vec<u8>, opcode: u8, key: [u8; 4], payload: &[&[u8]]) {
    let length = payload.iter().map(|part| part.len()).sum();
    push_header(out, opcode, length, 0x80);
    out.extend_from_slice(&key);
    let start = out.len();
    for part in payload {
        out.extend_from_slice(part);
    }
    apply_mask(&mut out[start..], key);
}

/// Appends a final, unmasked frame, as a server sends it.
pub fn push_unmasked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    push_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

fn push_header(out: &mut Vec<u8>, opcode: u8, length: usize, mask_bit: u8) {
    out.push(0x80 | opcode);
    if length < 126 {
        out.push(mask_bit | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Mask keys: a plain xorshift, for the server's unmasking must do real work but nothing here is secret.
#[derive(Debug)]
pub struct MaskKeys(u32);

impl MaskKeys {
    /// Any seed does.
    pub fn new(seed: u32) -> Self {
        Self(seed | 1)
    }

    /// The next key.
    pub fn next_key(&mut self) -> [u8; 4] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lengths: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            push_unmasked(&mut out, opcode::TEXT, &vec![b'a' + (i % 26) as u8; length]);
        }
        out
    }

    /// Feeds `bytes` in two parts, carrying the rest over as a connection does.
    fn lengths_when_split(bytes: &[u8], at: usize) -> Vec<usize> {
        let (mut carry, mut found) = (Vec::new(), Vec::new());
        for part in [&bytes[..at], &bytes[at..]] {
            carry.extend_from_slice(part);
            let mut pos = 0;
            while let Some(frame) = scan(&carry[pos..]).unwrap() {
                found.push(frame.payload_len);
                pos += frame.total_len();
            }
            carry.drain(..pos);
        }
        assert!(carry.is_empty());
        found
    }

    #[test]
    fn frames_survive_a_split_at_every_byte() {
        let lengths = [0, 1, 125, 126, 127, 300, 65_535, 65_536, 3];
        let bytes = stream(&lengths);
        let near_borders = (0..1_200).chain(bytes.len() - 66_000..bytes.len() - 65_400);
        for at in near_borders.chain(bytes.len() - 20..=bytes.len()) {
            assert_eq!(lengths_when_split(&bytes, at), lengths, "split at {at}");
        }
    }

    #[test]
    fn small_frames_survive_byte_by_byte() {
        let bytes = stream(&[0, 5, 126, 200]);
        for end in 0..bytes.len() {
            let mut pos = 0;
            while let Some(frame) = scan(&bytes[pos..end]).unwrap() {
                pos += frame.total_len();
                assert!(pos <= end);
            }
        }
        assert_eq!(lengths_when_split(&bytes, 7), [0, 5, 126, 200]);
    }

    #[test]
    fn the_example_of_rfc_6455_section_5_7() {
        let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let frame = scan(&bytes).unwrap().unwrap();
        assert_eq!((frame.fin, frame.opcode, frame.header_len, frame.payload_len), (true, 1, 6, 5));
        let mut payload = bytes[6..].to_vec();
        apply_mask(&mut payload, frame.mask.unwrap());
        assert_eq!(payload, b"Hello");
        let mut built = Vec::new();
        push_masked(&mut built, opcode::TEXT, [0x37, 0xfa, 0x21, 0x3d], &[b"He", b"llo"]);
        assert_eq!(built, bytes);
    }

    #[test]
    fn garbage_is_refused() {
        assert_eq!(scan(&[0xc1, 0]), Err(BadFrame::ReservedBit));
        assert_eq!(scan(&[0x83, 0]), Err(BadFrame::Opcode));
        assert_eq!(scan(&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(BadFrame::TooLong));
    }

    #[test]
    fn masking_twice_gives_the_original() {
        let original: Vec<u8> = (0..=255).collect();
        for length in 0..40 {
            let mut bytes = original[..length].to_vec();
            let key = MaskKeys::new(9).next_key();
            apply_mask(&mut bytes, key);
            for (i, byte) in bytes.iter().enumerate() {
                assert_eq!(*byte, original[i] ^ key[i % 4]);
            }
        }
    }
}
