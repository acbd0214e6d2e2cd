//! Messages of several frames that belong together, such as a text and its binary attachments.

use super::build::{TextAt, frame_in_place};
use super::frame::Opcode;
use crate::base::{Mutation, mutated};
use smallvec::SmallVec;

/// Which frames the payload is that an encoder has appended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Layout {
    /// One text frame. Without bytes nothing is said.
    #[default]
    Text,
    /// Frames that belong together, in this order. They are sent, lost, replaced and counted as one message, and they are
    /// not compressed.
    Frames(SmallVec<[Part; 4]>),
}

/// The payload of one frame among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it ends, from the beginning of the message; it begins where the one before ends.
    pub end: usize,
    /// Whether the frame is binary, and no text.
    pub binary: bool,
}

/// Appends the payloads of several frames, and remembers where each ends.
#[derive(Debug)]
pub struct Parts<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    parts: SmallVec<[Part; 4]>,
}

impl<'o> Parts<'o> {
    /// A message that begins at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { start: out.len(), out, parts: SmallVec::new() }
    }

    /// Adds a text that `write` appends.
    pub fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.out);
        self.end(false);
    }

    /// Adds a binary payload.
    pub fn binary(&mut self, payload: &[u8]) {
        self.out.extend_from_slice(payload);
        self.end(true);
    }

    /// The layout of all that was added.
    pub fn finish(self) -> Layout {
        Layout::Frames(self.parts)
    }

    fn end(&mut self, binary: bool) {
        self.parts.push(Part { end: self.out.len() - self.start, binary });
    }
}

/// Appends the frames of a message whose payload `body` appends.
#[inline]
pub fn message(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> Layout) -> TextAt {
    let start = out.len();
    let (header_len, layout) = frame_in_place(out, Opcode::Text, body);
    match layout {
        Layout::Text => TextAt::Plain(header_len as u8),
        Layout::Frames(parts) => {
            let payload = out.split_off(start + header_len);
            out.truncate(start);
            frames(out, &payload, &parts)
        }
    }
}

/// Appends a frame for each part of `payload`.
pub fn frames(out: &mut Vec<u8>, payload: &[u8], parts: &[Part]) -> TextAt {
    let start = out.len();
    let (mut from, mut text_at) = (0, TextAt::None);
    for (index, Part { end, binary }) in parts.iter().copied().enumerate() {
        if index > 0 && mutated(Mutation::ForgetAttachments) {
            break;
        }
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        let before = out.len() - start;
        let (header_len, ()) = frame_in_place(out, opcode, |out| out.extend_from_slice(&payload[from..end]));
        if !binary && text_at == TextAt::None {
            // Payloads are bounded by an outbox or a tick, far below 4 GiB.
            text_at = TextAt::Among { at: (before + header_len) as u32, len: (end - from) as u32 };
        }
        from = end;
    }
    text_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tungstenite::protocol::Role;
    use tungstenite::{Message, WebSocket};

    proptest! {
        #[test]
        fn an_independent_client_reads_each_frame(
            payloads in prop::collection::vec((any::<bool>(), prop_oneof![0..300usize, Just(70_000)]), 1..6),
        ) {
            let mut out = b"before".to_vec();
            let text_at = message(&mut out, |out| {
                let mut parts = Parts::new(out);
                for (binary, len) in &payloads {
                    match binary {
                        true => parts.binary(&vec![7; *len]),
                        false => parts.text(|out| out.extend(vec![b'x'; *len])),
                    }
                }
                parts.finish()
            });
            let sent = out.split_off(6);
            prop_assert_eq!(out, b"before");
            let first = payloads.iter().find(|(binary, _)| !binary).map(|(_, len)| vec![b'x'; *len]);
            prop_assert_eq!(text_at.readable(&sent).map(<[u8]>::to_vec), first);
            prop_assert_eq!(text_at.text_of(&sent), None, "no text of its own for an array");
            let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(sent), Role::Client, None);
            for (binary, len) in payloads {
                let expected = match binary {
                    true => Message::binary(vec![7; len]),
                    false => Message::text("x".repeat(len)),
                };
                prop_assert_eq!(client.read().unwrap(), expected);
            }
            prop_assert!(client.read().is_err(), "nothing follows");
        }
    }

    #[test]
    fn one_text_is_a_text_frame() {
        let mut out = Vec::new();
        let text_at = message(&mut out, |out| {
            out.extend_from_slice(b"hello");
            Layout::Text
        });
        assert_eq!((&out[..], text_at), (&b"\x81\x05hello"[..], TextAt::Plain(2)));
    }
}
