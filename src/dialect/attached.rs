//! Binary messages that belong to a text before them.

use super::{Payload, SessionLimits};
use crate::model::CloseReason;
use std::fmt;

/// Binary messages that may belong to one text.
pub const ATTACHMENTS_MAX: usize = 64;

/// A text and the binary messages that have come for it.
#[derive(Debug, Default)]
pub struct Attached {
    text: String,
    bytes: Vec<u8>,
    /// Where each binary message ends in `bytes`.
    ends: Vec<usize>,
    awaited: usize,
}

/// Why a message does not fit those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// A text announces more than [`ATTACHMENTS_MAX`] binary messages.
    TooMany,
    /// A text and what belongs to it are longer than a message may be.
    TooLarge,
    /// No text has announced a binary message.
    Unannounced,
    /// A text comes where a binary message must.
    Missing,
}

impl Misplaced {
    /// The reason to close the connection.
    pub const fn reason(self) -> CloseReason {
        match self {
            Self::TooMany | Self::TooLarge => CloseReason::TooBig,
            Self::Unannounced => CloseReason::Unsupported,
            Self::Missing => CloseReason::ProtocolError,
        }
    }

    /// What the close frame says.
    pub const fn text(self) -> &'static str {
        match self {
            Self::TooMany => "more than 64 binary messages belong to one text",
            Self::TooLarge => "the text and its binary messages are too long",
            Self::Unannounced => "no text announced this binary message",
            Self::Missing => "a binary message must come before the next text",
        }
    }
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Misplaced {}

impl Attached {
    /// Begins a message: `text`, to which `count` binary messages belong, at least one.
    ///
    /// # Errors
    /// If they are too many, or the text is too long already.
    pub fn begin(&mut self, text: &str, count: usize, limits: &SessionLimits) -> Result<(), Misplaced> {
        debug_assert!(self.awaited == 0 && count > 0);
        if count > ATTACHMENTS_MAX {
            return Err(Misplaced::TooMany);
        }
        if text.len() > limits.message_bytes_max {
            return Err(Misplaced::TooLarge);
        }
        *self = Self { text: text.to_owned(), bytes: Vec::new(), ends: Vec::new(), awaited: count };
        Ok(())
    }

    /// Takes a message in. Returns whether it was the last one that was awaited.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn add(&mut self, message: Payload<'_>, limits: &SessionLimits) -> Result<bool, Misplaced> {
        let Payload::Binary(bytes) = message else { return Err(Misplaced::Missing) };
        if self.awaited == 0 {
            return Err(Misplaced::Unannounced);
        }
        if self.text.len() + self.bytes.len() + bytes.len() > limits.message_bytes_max {
            return Err(Misplaced::TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.awaited -= 1;
        Ok(self.awaited == 0)
    }

    /// Whether binary messages are still to come.
    pub fn is_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All bytes of the binary messages, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The binary messages, in order.
    pub fn attachments(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Memory held while binary messages are awaited; 0 if none are.
    pub fn held_bytes(&self) -> usize {
        let held = self.text.capacity() + self.bytes.capacity() + self.ends.capacity() * size_of::<usize>();
        if self.is_awaited() { held.max(1) } else { 0 }
    }

    /// Gives the memory of a message that was whole back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::DecodeLimits;

    const LIMITS: SessionLimits =
        SessionLimits { decode: DecodeLimits { json_depth_max: 4 }, message_bytes_max: 10 };

    #[test]
    fn a_message_is_whole_with_its_last_attachment() {
        let mut attached = Attached::default();
        attached.begin("text", 2, &LIMITS).unwrap();
        assert!(attached.is_awaited() && attached.held_bytes() >= 4);
        assert_eq!(attached.add(Payload::Binary(b"ab"), &LIMITS), Ok(false));
        assert_eq!(attached.add(Payload::Binary(b""), &LIMITS), Ok(true));
        assert_eq!((attached.text(), attached.bytes(), attached.held_bytes()), ("text", &b"ab"[..], 0));
        assert!(attached.attachments().eq([&b"ab"[..], b""]));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut attached = Attached::default();
        assert_eq!(attached.add(Payload::Binary(b"a"), &LIMITS), Err(Misplaced::Unannounced));
        assert_eq!(attached.begin("text", ATTACHMENTS_MAX + 1, &LIMITS), Err(Misplaced::TooMany));
        assert_eq!(attached.begin("eleven bytes", 1, &LIMITS), Err(Misplaced::TooLarge));
        attached.begin("text", 2, &LIMITS).unwrap();
        assert_eq!(attached.add(Payload::Text("a"), &LIMITS), Err(Misplaced::Missing));
        assert_eq!(attached.add(Payload::Binary(b"123456"), &LIMITS), Ok(false), "just as long as it may be");
        assert_eq!(attached.add(Payload::Binary(b"7"), &LIMITS), Err(Misplaced::TooLarge));
        for misplaced in [Misplaced::TooMany, Misplaced::TooLarge, Misplaced::Unannounced, Misplaced::Missing]
        {
            assert_eq!(misplaced.text(), misplaced.to_string());
            assert!(misplaced.text().len() <= 123, "it fits a close frame");
        }
    }
}
