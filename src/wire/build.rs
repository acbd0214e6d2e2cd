//! Frames of a server: not masked, never fragmented (RFC 6455 section 5.2).

use super::frame::Opcode;
use crate::base::{Mutation, mutated};

const FIN: u8 = 0x80;

/// RSV1: the message is compressed (RFC 7692 section 6).
const COMPRESSED: u8 = 0x40;

/// Header bytes reserved before a payload of unknown length: right for payloads of 126 to 65,535 bytes, which most
/// publications have, so that those never move.
const RESERVED: usize = 4;

/// Longest reason in a close frame: a control frame has 125 bytes and the code takes two.
const REASON_BYTES_MAX: usize = 123;

/// Bytes of a frame without a payload.
pub const EMPTY_FRAME_BYTES: usize = 2;

/// Where the text of a message begins that is ready to be sent, and whether it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextAt {
    /// The message has no text to be read: it is binary or a control frame.
    None,
    /// A text as it is.
    Plain(u8),
    /// A text that is compressed (RFC 7692).
    Compressed(u8),
    /// The first text of a message of several frames.
    Among {
        /// Where it begins.
        at: u32,
        /// Its bytes.
        len: u32,
    },
}

impl TextAt {
    /// The text of a message, if it can be read as it is, whether or not other frames belong to it.
    pub fn readable(self, message: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Among { at, len } => message.get(at as usize..)?.get(..len as usize),
            _ => self.text_of(message),
        }
    }

    /// The text of a message that is nothing else, if it can be read as it is.
    pub fn text_of(self, message: &[u8]) -> Option<&[u8]> {
        if let Self::Plain(at) = self { message.get(usize::from(at)..) } else { None }
    }

    /// The text of a message, if it is compressed.
    pub fn compressed_of(self, message: &[u8]) -> Option<&[u8]> {
        if let Self::Compressed(at) = self { message.get(usize::from(at)..) } else { None }
    }
}

/// Appends a text frame whose payload `body` writes.
pub fn text_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> TextAt {
    // A header has 10 bytes at the most.
    TextAt::Plain(frame_in_place(out, Opcode::Text, body).0 as u8)
}

/// Appends a frame whose payload `body` writes. Returns the length of its header, and what `body` returns.
pub fn frame_in_place<T>(
    out: &mut Vec<u8>,
    opcode: Opcode,
    body: impl FnOnce(&mut Vec<u8>) -> T,
) -> (usize, T) {
    let start = out.len();
    out.extend_from_slice(&[0; RESERVED]);
    let told = body(out);
    let payload_len = out.len() - start - RESERVED;
    let mut header = [0; 10];
    let header_len = write_header(&mut header, FIN | opcode as u8, payload_len);
    let payload = start + RESERVED..out.len();
    if header_len > RESERVED {
        out.resize(out.len() + header_len - RESERVED, 0);
    }
    if header_len != RESERVED {
        out.copy_within(payload, start + header_len);
        out.truncate(start + header_len + payload_len);
    }
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
    (header_len, told)
}

/// Appends a text frame whose payload is compressed already.
pub fn compressed_text_frame(out: &mut Vec<u8>, payload: &[u8]) -> TextAt {
    // A header has 10 bytes at the most.
    TextAt::Compressed(compressed_frame(out, Opcode::Text, payload) as u8)
}

/// Appends a frame with a payload that is compressed already (RFC 7692 section 7.2.1). Returns the length of its header.
pub fn compressed_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) -> usize {
    let mut header = [0; 10];
    let header_len = write_header(&mut header, FIN | COMPRESSED | opcode as u8, payload.len());
    out.extend_from_slice(&header[..header_len]);
    out.extend_from_slice(payload);
    header_len
}

/// Writes the header of an unmasked frame that begins with the byte `first`; returns its length.
fn write_header(header: &mut [u8; 10], first: u8, payload_len: usize) -> usize {
    header[0] = first;
    if payload_len < 126 + usize::from(mutated(Mutation::ShortLength)) {
        header[1] = payload_len as u8;
        2
    } else if let Ok(word) = u16::try_from(payload_len) {
        header[1] = 126;
        header[2..4].copy_from_slice(&word.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    }
}

/// Appends a close frame. A reason over 123 bytes is cut at a character's border.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    out.extend_from_slice(&[FIN | Opcode::Close as u8, 2 + reason.len() as u8]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a ping; of the payload at most 125 bytes are sent.
pub fn write_ping(out: &mut Vec<u8>, payload: &[u8]) {
    write_control(out, Opcode::Ping, payload);
}

/// Appends a pong; of the payload at most 125 bytes are sent, which is all that a ping can hold.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_control(out, Opcode::Pong, payload);
}

fn write_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = &payload[..payload.len().min(125)];
    out.extend_from_slice(&[FIN | opcode as u8, payload.len() as u8]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::Role;
    use tungstenite::{Message, WebSocket};

    /// What an independent client reads from our bytes.
    fn read(bytes: Vec<u8>) -> Message {
        let stream = std::io::Cursor::new(bytes);
        WebSocket::from_raw_socket(stream, Role::Client, None).read().unwrap()
    }

    #[test]
    fn an_independent_client_reads_every_length() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let text = "x".repeat(len);
            let mut out = b"before".to_vec();
            let at = text_frame(&mut out, |out| out.extend_from_slice(text.as_bytes()));
            assert_eq!(at.text_of(&out[6..]), Some(text.as_bytes()));
            assert_eq!(read(out[6..].to_vec()), Message::text(text));
        }
    }

    #[test]
    fn a_compressed_frame_differs_in_one_bit() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![7; len];
            let (mut plain, mut compressed) = (Vec::new(), Vec::new());
            frame_in_place(&mut plain, Opcode::Text, |out| out.extend_from_slice(&payload));
            let at = compressed_text_frame(&mut compressed, &payload);
            assert_eq!((at.compressed_of(&compressed), at.text_of(&compressed)), (Some(&payload[..]), None));
            plain[0] |= 0x40;
            assert_eq!(compressed, plain);
        }
    }

    #[test]
    fn an_independent_client_reads_control_frames() {
        let mut out = Vec::new();
        write_ping(&mut out, b"p");
        assert_eq!(read(out), Message::Ping(b"p"[..].into()));
        let mut out = Vec::new();
        write_pong(&mut out, &[7; 200]);
        assert_eq!(read(out), Message::Pong(vec![7; 125].into()));
        let mut out = Vec::new();
        write_close(&mut out, 4430, &"é".repeat(100));
        let Message::Close(Some(frame)) = read(out) else { panic!("no close frame") };
        assert_eq!((u16::from(frame.code), frame.reason.len()), (4430, 122));
    }
}
