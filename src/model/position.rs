use std::fmt;

/// One life of a room's history. Offsets of different epochs have nothing to do with each other: a history that was
/// forgotten and begun anew counts from 1 again, under another epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

/// A place in the order of a room: what has been seen up to and with this publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Of which history.
    pub epoch: Epoch,
    /// Number of the publication, from 1 on; 0 is before the first.
    pub offset: u64,
}

impl Epoch {
    /// Length of the text form in bytes.
    pub const TEXT_BYTES: usize = 16;

    /// What stands for a text that no history ever had as its epoch. Equal to none of [`Epoch::new`].
    pub const UNKNOWN: Self = Self(0);

    /// An epoch from random bits.
    pub const fn new(random: u64) -> Self {
        Self(if random == 0 { 1 } else { random })
    }

    /// Reads the text form: 16 hex digits in lower case. [`Epoch::UNKNOWN`] for any other text.
    pub fn parse(text: &str) -> Self {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let fine = digits && text.len() == Self::TEXT_BYTES;
        u64::from_str_radix(text, 16).ok().filter(|_| fine).map_or(Self::UNKNOWN, Self)
    }
}

/// The text form: a string and no number, because JSON numbers of 64 bits do not survive every parser.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back() {
        for random in [1, 0x1234, u64::MAX] {
            assert_eq!(Epoch::parse(&Epoch::new(random).to_string()), Epoch::new(random));
        }
        assert_ne!(Epoch::new(0), Epoch::UNKNOWN);
    }

    #[test]
    fn other_texts_are_unknown() {
        for text in ["", "1", "+000000000000001", "00000000000000AB", "00000000000000011", "épépépép"] {
            assert_eq!(Epoch::parse(text), Epoch::UNKNOWN, "{text}");
        }
    }
}
