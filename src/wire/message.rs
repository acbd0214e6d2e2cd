//! From frames to messages (RFC 6455 sections 5.4 to 5.6).

use super::frame::{FrameLimits, Header, Opcode, ProtocolError};
use crate::base::{Mutation, mutated};

/// What a frame means to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A part of a message that is not whole yet.
    Fragment,
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A compressed message: [`Inflater::inflate`](super::Inflater::inflate) makes one of the former of it.
    Compressed {
        /// Whether it is text.
        text: bool,
        /// Its bytes on the wire.
        payload: &'a [u8],
    },
    /// Answer with a pong of the same payload.
    Ping(&'a [u8]),
    /// A sign of life.
    Pong(&'a [u8]),
    /// The peer ends the connection.
    Close {
        /// Its code, if it gave one.
        code: Option<u16>,
        /// Its reason.
        reason: &'a str,
    },
}

impl Event<'_> {
    /// Bytes of a whole message that is not compressed; 0 of all else.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Whether it is no whole message, or an empty one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A fragmented message under way. A connection has one only between a message's first and last frame.
#[derive(Debug)]
pub struct Assembler {
    bytes: Vec<u8>,
    text: bool,
    /// Inflated when it is whole, since a part of it may say nothing yet.
    compressed: bool,
    frames: u32,
    /// Bytes known to be UTF-8.
    valid: usize,
    done: bool,
}

/// Takes a frame whose payload is unmasked. `assembler` holds the connection's fragmented message, if one is under
/// way; call [`finish`] when the event has been handled.
///
/// # Errors
/// If the frame does not fit what came before, or the message is too big or not UTF-8.
#[inline]
pub fn accept<'a>(
    assembler: &'a mut Option<Box<Assembler>>,
    header: &Header,
    payload: &'a [u8],
    limits: &FrameLimits,
) -> Result<Event<'a>, ProtocolError> {
    if assembler.is_none() && header.is_whole_text() {
        return whole_text(payload);
    }
    accept_any(assembler, header, payload, limits)
}

/// Takes the payload of a message for which [`Header::is_whole_text`] holds, where no other is under way: what
/// [`accept`] makes of it.
///
/// # Errors
/// If it is not UTF-8.
#[inline]
pub fn whole_text(payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    text(payload).map(Event::Text)
}

/// A frame of any other kind than [`Header::is_whole_text`]. Not inlined, so that those do not pay for it.
#[inline(never)]
fn accept_any<'a>(
    assembler: &'a mut Option<Box<Assembler>>,
    header: &Header,
    payload: &'a [u8],
    limits: &FrameLimits,
) -> Result<Event<'a>, ProtocolError> {
    match header.opcode {
        Opcode::Binary if header.fin && assembler.is_none() && !header.compressed => {
            Ok(Event::Binary(payload))
        }
        Opcode::Text | Opcode::Binary if header.fin && assembler.is_none() => {
            Ok(Event::Compressed { text: header.opcode == Opcode::Text, payload })
        }
        Opcode::Text | Opcode::Binary => {
            if assembler.is_some() {
                return Err(ProtocolError::InterleavedMessage);
            }
            let text = header.opcode == Opcode::Text;
            let compressed = header.compressed;
            let started = Assembler { bytes: Vec::new(), text, compressed, frames: 0, valid: 0, done: false };
            assembler.insert(Box::new(started)).push(header, payload, limits)
        }
        Opcode::Continuation => match assembler {
            Some(assembler) => assembler.push(header, payload, limits),
            None => Err(ProtocolError::UnexpectedContinuation),
        },
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        Opcode::Close => close(payload),
    }
}

/// Frees the memory of a fragmented message that was whole at the last [`accept`].
#[inline]
pub fn finish(assembler: &mut Option<Box<Assembler>>) {
    if assembler.as_ref().is_some_and(|assembler| assembler.done) {
        *assembler = None;
    }
}

impl Assembler {
    /// Bytes of the message that have come.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no byte of it has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory held for the message, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn push(
        &mut self,
        header: &Header,
        payload: &[u8],
        limits: &FrameLimits,
    ) -> Result<Event<'_>, ProtocolError> {
        self.frames += 1;
        if mutated(Mutation::ForgetFragments) {
            self.bytes.clear();
            self.valid = 0;
        }
        if self.frames > limits.fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        if payload.len() > limits.message_bytes_max - self.bytes.len().min(limits.message_bytes_max) {
            return Err(ProtocolError::TooBig);
        }
        self.bytes.extend_from_slice(payload);
        self.done = header.fin;
        if self.text && !self.compressed {
            self.check_utf8()?;
        }
        Ok(match (self.done, self.text) {
            (false, _) => Event::Fragment,
            (true, text) if self.compressed => Event::Compressed { text, payload: &self.bytes },
            (true, false) => Event::Binary(&self.bytes),
            (true, true) => Event::Text(text(&self.bytes)?),
        })
    }

    /// Looks at the new bytes only, so that a message in many fragments costs no more than in one. A character may
    /// be cut by the end of a fragment, but not by the end of the message.
    fn check_utf8(&mut self) -> Result<(), ProtocolError> {
        match simdutf8::compat::from_utf8(&self.bytes[self.valid..]) {
            Ok(_) => self.valid = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !self.done => self.valid += error.valid_up_to(),
            Err(_) => return Err(ProtocolError::InvalidUtf8),
        }
        Ok(())
    }
}

pub(super) fn text(payload: &[u8]) -> Result<&str, ProtocolError> {
    simdutf8::basic::from_utf8(payload).map_err(|_| ProtocolError::InvalidUtf8)
}

fn close(payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    match payload {
        [] => Ok(Event::Close { code: None, reason: "" }),
        [_] => Err(ProtocolError::BadClose),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            // RFC 6455 section 7.4.1 and the registry it set up; 1004 to 1006 and 1015 never stand in a frame.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(ProtocolError::BadClose);
            }
            Ok(Event::Close { code: Some(code), reason: text(reason)? })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits = FrameLimits { message_bytes_max: 8, fragments_max: 3, compression: false };

    /// Feeds frames written as (fin, opcode, payload) and collects what they mean.
    fn check(frames: &[(bool, Opcode, &[u8])], expected: &[&str]) {
        check_compressed(&vec![false; frames.len()], frames, expected);
    }

    /// The same, and which frames have RSV1 set.
    fn check_compressed(rsv1: &[bool], frames: &[(bool, Opcode, &[u8])], expected: &[&str]) {
        let mut assembler = None;
        let mut events = Vec::new();
        for (&(fin, opcode, payload), &compressed) in frames.iter().zip(rsv1) {
            let (header_len, payload_len) = (6, payload.len());
            let header = Header { fin, compressed, opcode, header_len, payload_len, mask: [0; 4] };
            let event = accept(&mut assembler, &header, payload, &LIMITS);
            let failed = event.is_err();
            events.push(match event {
                Ok(event) => format!("{event:?}"),
                Err(error) => format!("{} {error:?}", error.close_code()),
            });
            finish(&mut assembler);
            if failed {
                break;
            }
        }
        assert_eq!(events, expected);
    }

    #[test]
    fn messages_come_whole_and_in_fragments() {
        use Opcode::*;
        check(&[(true, Text, b"hi"), (true, Binary, b"\xff")], &["Text(\"hi\")", "Binary([255])"]);
        check(
            &[
                (false, Text, b"a"),
                (true, Ping, b"p"),
                (false, Continuation, b"b"),
                (true, Continuation, b"c"),
            ],
            &["Fragment", "Ping([112])", "Fragment", "Text(\"abc\")"],
        );
        check(
            &[(false, Text, b"a"), (true, Continuation, b""), (true, Text, b"b")],
            &["Fragment", "Text(\"a\")", "Text(\"b\")"],
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        use Opcode::*;
        check(&[(true, Continuation, b"a")], &["1002 UnexpectedContinuation"]);
        check(&[(false, Text, b"a"), (true, Text, b"b")], &["Fragment", "1002 InterleavedMessage"]);
        check(&[(false, Binary, b"12345"), (true, Continuation, b"6789")], &["Fragment", "1009 TooBig"]);
        check(
            &[
                (false, Text, b""),
                (false, Continuation, b""),
                (false, Continuation, b""),
                (true, Continuation, b""),
            ],
            &["Fragment", "Fragment", "Fragment", "1009 TooManyFragments"],
        );
    }

    #[test]
    fn utf8_is_checked_as_it_comes() {
        use Opcode::*;
        check(&[(false, Text, b"\xe2\x82"), (true, Continuation, b"\xac")], &["Fragment", "Text(\"€\")"]);
        check(&[(false, Text, b"a\xff")], &["1007 InvalidUtf8"]);
        check(&[(false, Text, b"\xe2"), (false, Continuation, b"a")], &["Fragment", "1007 InvalidUtf8"]);
        check(&[(false, Text, b"a"), (true, Continuation, b"\xe2\x82")], &["Fragment", "1007 InvalidUtf8"]);
        check(&[(true, Text, b"\xed\xa0\x80")], &["1007 InvalidUtf8"]);
    }

    #[test]
    fn compressed_messages_are_left_to_the_inflater() {
        use Opcode::*;
        check_compressed(
            &[true, true, false],
            &[(true, Text, b"\xff"), (true, Binary, b"b"), (true, Text, b"plain")],
            &[
                "Compressed { text: true, payload: [255] }",
                "Compressed { text: false, payload: [98] }",
                "Text(\"plain\")",
            ],
        );
        check_compressed(
            &[true, false, false, false],
            &[
                (false, Text, b"\xff"),
                (true, Ping, b"p"),
                (false, Continuation, b"\xfe"),
                (true, Continuation, b"c"),
            ],
            &["Fragment", "Ping([112])", "Fragment", "Compressed { text: true, payload: [255, 254, 99] }"],
        );
        check_compressed(
            &[true, false],
            &[(false, Binary, b"12345"), (true, Continuation, b"6789")],
            &["Fragment", "1009 TooBig"],
        );
        check_compressed(
            &[true, true],
            &[(false, Text, b"a"), (true, Text, b"b")],
            &["Fragment", "1002 InterleavedMessage"],
        );
    }

    #[test]
    fn close_payloads_are_checked() {
        use Opcode::Close;
        check(&[(true, Close, b"")], &["Close { code: None, reason: \"\" }"]);
        check(&[(true, Close, b"\x03\xe8bye")], &["Close { code: Some(1000), reason: \"bye\" }"]);
        for bad in
            [&b"\x03"[..], b"\x03\xec", b"\x03\xed", b"\x03\xee", b"\x03\xf7", b"\x03\xe7", b"\x13\x88"]
        {
            check(&[(true, Close, bad)], &["1002 BadClose"]);
        }
        check(&[(true, Close, b"\x03\xe8\xff")], &["1007 InvalidUtf8"]);
    }
}
