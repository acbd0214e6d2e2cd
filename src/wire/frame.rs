//! The frame parser of a server (RFC 6455 section 5.2).

/// What a frame is for (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of a fragmented message.
    Continuation = 0x0,
    /// UTF-8 text.
    Text = 0x1,
    /// Any bytes.
    Binary = 0x2,
    /// The end.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or is sent unasked.
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: never fragmented, at most 125 bytes, allowed between fragments.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Bounds on what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest message in bytes, all its fragments together.
    pub message_bytes_max: usize,
    /// Most frames of one message.
    pub fragments_max: u32,
    /// Whether permessage-deflate was negotiated, so that messages may be compressed.
    pub compression: bool,
}

/// A frame's header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Last frame of its message.
    pub fin: bool,
    /// First frame of a compressed message (RSV1, RFC 7692 section 6).
    pub compressed: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// Bytes before the payload, the mask key included.
    pub header_len: usize,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// Key that the payload is masked with.
    pub mask: [u8; 4],
}

impl Header {
    /// Whether it is of a text message that has come in one frame, and is not compressed.
    #[inline]
    pub const fn is_whole_text(&self) -> bool {
        matches!(self.opcode, Opcode::Text) && self.fin && !self.compressed
    }
}

/// What the parser found at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A whole frame; its payload follows the header.
    Frame {
        /// The frame's header.
        header: Header,
    },
    /// The frame is not there whole.
    NeedMore {
        /// Bytes with which there is more to say: the frame's length where that is known, before that the end of
        /// the next field of its header. Never more than a right frame has.
        at_least: usize,
    },
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// RFC 6455 section 5.2: RSV bits are 0 unless an extension was negotiated. RFC 7692 section 6: of these RSV1, on
    /// the first frame of a message only.
    #[error("reserved bits are set")]
    ReservedBits,
    /// RFC 6455 section 5.2.
    #[error("unknown opcode")]
    UnknownOpcode,
    /// RFC 6455 section 5.1: a server must close on an unmasked frame.
    #[error("frames of a client must be masked")]
    Unmasked,
    /// RFC 6455 section 5.5.
    #[error("control frames must not be fragmented")]
    FragmentedControl,
    /// RFC 6455 section 5.5.
    #[error("control frames carry at most 125 bytes")]
    LongControl,
    /// RFC 6455 section 5.2: the minimal number of bytes must be used.
    #[error("the length is not encoded in the fewest bytes")]
    LongLength,
    /// RFC 6455 section 5.4.
    #[error("a continuation without a message to continue")]
    UnexpectedContinuation,
    /// RFC 6455 section 5.4.
    #[error("a new message within a fragmented one")]
    InterleavedMessage,
    /// RFC 6455 sections 5.5.1 and 7.4.
    #[error("the close frame's payload is invalid")]
    BadClose,
    /// RFC 6455 section 8.1.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// Over `message_bytes_max`.
    #[error("message too big: send smaller messages")]
    TooBig,
    /// Over `fragments_max`.
    #[error("too many fragments: send fewer, larger ones")]
    TooManyFragments,
    /// RFC 7692 section 7.2.2 names no close code for this. 1002 and not 1007: it is the framing of a message that is
    /// broken; whether what is in it fits the message's type, which is what 1007 is for, nobody can tell.
    #[error("the compressed message is no DEFLATE stream")]
    InvalidDeflate,
}

impl ProtocolError {
    /// The close code that tells the peer (RFC 6455 section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::InvalidUtf8 => 1007,
            Self::TooBig | Self::TooManyFragments => 1009,
            _ => 1002,
        }
    }
}

const FIN: u8 = 0x80;
/// First byte of a text message in one frame that is not compressed.
const WHOLE_TEXT: u8 = FIN | 1;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTROL_BYTES_MAX: usize = 125;

/// Looks at the frame at the start of `bytes`, which comes after fragments of `assembled` bytes of the message under
/// way. A wrong frame is refused at its first wrong byte, and a payload with which the message would be over the bound
/// by its header alone, before any memory is given to it.
///
/// # Errors
/// If the header breaks RFC 6455 or announces too much.
#[inline]
pub fn parse_header(bytes: &[u8], limits: &FrameLimits, assembled: usize) -> Result<Parsed, ProtocolError> {
    match bytes {
        // Nearly all frames of clients are text messages in one frame, which nothing before them bears upon.
        [WHOLE_TEXT, second, ..] if second & MASKED != 0 => {
            let kind = Kind { fin: true, compressed: false, opcode: Opcode::Text };
            parse_rest(bytes, *second, kind, limits.message_bytes_max)
        }
        _ => parse_any(bytes, limits, assembled),
    }
}

/// What the first byte of a frame says.
struct Kind {
    fin: bool,
    compressed: bool,
    opcode: Opcode,
}

/// A frame of any kind. Not inlined, so that the usual one does not pay for it.
#[inline(never)]
fn parse_any(bytes: &[u8], limits: &FrameLimits, assembled: usize) -> Result<Parsed, ProtocolError> {
    let Some(&first) = bytes.first() else { return Ok(Parsed::NeedMore { at_least: 1 }) };
    let compressed = first & RESERVED != 0;
    if compressed && !(limits.compression && first & RESERVED == COMPRESSED && starts_message(first)) {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = Opcode::from_bits(first & 0x0F).ok_or(ProtocolError::UnknownOpcode)?;
    let fin = first & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    // Not six: a wrong second byte may be the last for long.
    let Some(&second) = bytes.get(1) else { return Ok(Parsed::NeedMore { at_least: 2 }) };
    if second & MASKED == 0 {
        return Err(ProtocolError::Unmasked);
    }
    // Another message within a fragmented one is refused for that, whatever its length.
    let before = if opcode == Opcode::Continuation { assembled } else { 0 };
    let payload_max = limits.message_bytes_max.saturating_sub(before);
    parse_rest(bytes, second, Kind { fin, compressed, opcode }, payload_max)
}

/// What follows the first byte of a frame, whose second one says that it is masked.
#[inline(always)]
fn parse_rest(bytes: &[u8], second: u8, kind: Kind, payload_max: usize) -> Result<Parsed, ProtocolError> {
    let Kind { fin, compressed, opcode } = kind;
    let short = usize::from(second & !MASKED);
    if opcode.is_control() && short > CONTROL_BYTES_MAX {
        return Err(ProtocolError::LongControl);
    }
    let (length_len, payload_len) = match short {
        126 => match bytes.get(2..4) {
            Some(word) => (2, u64::from(u16::from_be_bytes([word[0], word[1]]))),
            None => return Ok(Parsed::NeedMore { at_least: 4 }),
        },
        127 => match bytes.get(2..10).and_then(|word| word.try_into().ok()) {
            Some(word) => (8, u64::from_be_bytes(word)),
            None => return Ok(Parsed::NeedMore { at_least: 10 }),
        },
        short => (0, short as u64),
    };
    if length_len == 2 && payload_len < 126 || length_len == 8 && payload_len <= u64::from(u16::MAX) {
        return Err(ProtocolError::LongLength);
    }
    if !opcode.is_control() && payload_len > payload_max as u64 {
        return Err(ProtocolError::TooBig);
    }
    let payload_len = payload_len as usize;
    let header_len = 2 + length_len + 4;
    if bytes.len() < header_len + payload_len {
        return Ok(Parsed::NeedMore { at_least: header_len + payload_len });
    }
    let key = &bytes[header_len - 4..header_len];
    let mask = [key[0], key[1], key[2], key[3]];
    Ok(Parsed::Frame { header: Header { fin, compressed, opcode, header_len, payload_len, mask } })
}

/// Whether a frame with that first byte is the first of a message.
fn starts_message(first: u8) -> bool {
    matches!(Opcode::from_bits(first & 0x0F), Some(Opcode::Text | Opcode::Binary))
}

/// Takes the mask off a payload (RFC 6455 section 5.3), eight bytes at a time.
#[inline]
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits =
        FrameLimits { message_bytes_max: 100_000, fragments_max: 4, compression: false };

    #[test]
    fn wrong_frames_are_refused_at_their_first_wrong_byte() {
        for (bytes, error) in [
            (&[0xC1][..], ProtocolError::ReservedBits),
            (&[0x83], ProtocolError::UnknownOpcode),
            (&[0x8B], ProtocolError::UnknownOpcode),
            (&[0x09], ProtocolError::FragmentedControl),
            (&[0x81, 0x05], ProtocolError::Unmasked),
            (&[0x89, 0xFE], ProtocolError::LongControl),
            (&[0x81, 0xFE, 0, 125], ProtocolError::LongLength),
            (&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], ProtocolError::LongLength),
            (&[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0x86, 0xA1], ProtocolError::TooBig),
            (&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], ProtocolError::TooBig),
        ] {
            assert_eq!(parse_header(bytes, &LIMITS, 0), Err(error), "{bytes:02x?}");
            for cut in 1..bytes.len() {
                let Ok(Parsed::NeedMore { at_least }) = parse_header(&bytes[..cut], &LIMITS, 0) else {
                    panic!("{cut} of {bytes:02x?}");
                };
                assert!(at_least <= bytes.len(), "waits for {at_least} bytes: {bytes:02x?}");
            }
        }
    }

    #[test]
    fn a_frame_and_the_fragments_before_it_have_one_bound() {
        let continued = |length: u16| {
            let [high, low] = length.to_be_bytes();
            [0x80, 0xFE, high, low]
        };
        let limits = FrameLimits { message_bytes_max: 1000, ..LIMITS };
        let parse = |length: u16, assembled| parse_header(&continued(length), &limits, assembled);
        assert_eq!(parse(1000, 0), Ok(Parsed::NeedMore { at_least: 1008 }));
        assert_eq!(parse(600, 400), Ok(Parsed::NeedMore { at_least: 608 }));
        for (length, assembled) in [(1001, 0), (601, 400), (1000, 1), (126, 1000)] {
            assert_eq!(parse(length, assembled), Err(ProtocolError::TooBig), "{length} after {assembled}");
        }
        let ping = parse_header(&[0x89, 0xFD], &limits, 1000);
        assert_eq!(ping, Ok(Parsed::NeedMore { at_least: 131 }), "control frames are of no message");
    }

    #[test]
    fn rsv1_is_for_the_first_frame_of_a_message_where_it_was_negotiated() {
        let limits = FrameLimits { compression: true, ..LIMITS };
        for (first, allowed) in [
            (0xC1, true),
            (0xC2, true),
            (0x41, true),
            (0xC0, false),
            (0x40, false),
            (0xC8, false),
            (0xC9, false),
            (0xCA, false),
            (0xC3, false),
            (0xA1, false),
            (0x91, false),
            (0xE1, false),
            (0xD1, false),
            (0xF1, false),
        ] {
            let frame = [first, 0x80, 0, 0, 0, 0];
            match parse_header(&frame, &limits, 0) {
                Ok(Parsed::Frame { header }) => assert!(allowed && header.compressed, "{first:02x}"),
                Err(error) => assert!(!allowed && error == ProtocolError::ReservedBits, "{first:02x}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(parse_header(&frame, &LIMITS, 0), Err(ProtocolError::ReservedBits));
        }
    }

    #[test]
    fn need_more_never_promises_too_much() {
        for len in [0_usize, 125, 126, 65_535, 65_536, 100_000] {
            let mut frame = vec![0x82];
            match len {
                0..126 => frame.push(0x80 | len as u8),
                126..=65_535 => {
                    frame.push(0xFE);
                    frame.extend((len as u16).to_be_bytes());
                }
                _ => {
                    frame.push(0xFF);
                    frame.extend((len as u64).to_be_bytes());
                }
            }
            frame.extend([1, 2, 3, 4]);
            frame.resize(frame.len() + len, 7);
            let mut have = 0;
            loop {
                match parse_header(&frame[..have], &LIMITS, 0).unwrap() {
                    Parsed::NeedMore { at_least } => {
                        assert!(at_least > have && at_least <= frame.len());
                        have = at_least;
                    }
                    Parsed::Frame { header } => {
                        assert_eq!((header.payload_len, header.mask), (len, [1, 2, 3, 4]));
                        assert_eq!(header.header_len + len, frame.len());
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn unmasking_is_the_definition() {
        for len in 0..40 {
            let plain: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(7)).collect();
            let mask = [0x12, 0x34, 0x56, 0x78];
            let mut masked: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            unmask(&mut masked, mask);
            assert_eq!(masked, plain);
        }
    }
}
