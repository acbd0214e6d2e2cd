use super::ConnectionId;

/// Index of a dialect in the table of dialects (so below 8, see [`Encoding`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialectId(pub u8);

impl DialectId {
    /// The native protocol, the first of the table.
    pub const NATIVE: Self = Self(0);

    /// The bits of all encodings of this dialect in a mask of encodings.
    pub const fn encodings(self) -> u32 {
        Encoding::new(self, Compression::None).bit() * ((1 << Compression::ALL.len()) - 1)
    }
}

/// How the messages that a connection is sent may be compressed (RFC 7692): the window that the client keeps.
///
/// Three sizes and not seven, so that a publication is compressed at most three times: 32 KiB is what browsers and
/// most libraries ask for, 512 bytes the least that zlib does, 4 KiB stands between them for whoever saves memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    None,
    /// For a window of 512 bytes.
    Window9,
    /// For a window of 4 KiB.
    Window12,
    /// For a window of 32 KiB.
    Window15,
}

impl Compression {
    /// All of them, each at its index, by growing window.
    pub const ALL: [Self; 4] = [Self::None, Self::Window9, Self::Window12, Self::Window15];

    /// The largest whose window has at most that many bits; none below 9.
    pub const fn within(window_bits: u8) -> Self {
        match window_bits {
            0..9 => Self::None,
            9..12 => Self::Window9,
            12..15 => Self::Window12,
            15.. => Self::Window15,
        }
    }

    /// Base-2 logarithm of the window's bytes; 0 where nothing is compressed.
    pub const fn window_bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Window9 => 9,
            Self::Window12 => 12,
            Self::Window15 => 15,
        }
    }
}

/// The form in which a connection gets publications: its dialect and its compression. All connections of one
/// encoding are sent the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding(u8);

impl Encoding {
    /// Number of encodings at the most: a mask of them is a `u32`.
    pub const COUNT: usize = 32;

    /// The encoding of a dialect and a compression.
    pub const fn new(dialect: DialectId, compression: Compression) -> Self {
        Self(dialect.0 * Compression::ALL.len() as u8 + compression as u8)
    }

    /// All encodings that may be, by growing [`Encoding::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Self)
    }

    /// Its place among all encodings, below [`Encoding::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Its bit in a mask of encodings.
    pub const fn bit(self) -> u32 {
        1 << self.0
    }
}

/// Type name of a publication whose publisher chose none, or may choose none.
pub const EVENT_DEFAULT: &str = "message";

/// Longest type name that a publisher may choose, in bytes: members of all dialects get it.
pub const EVENT_BYTES_MAX: usize = 255;

/// The connection that published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// Its user, where it is known.
    pub user: Option<&'a str>,
}

impl From<ConnectionId> for Sender<'_> {
    /// A connection of which nobody knows the user.
    fn from(id: ConnectionId) -> Self {
        Self { id, user: None }
    }
}

/// One message on its way to the members of a room, or to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Type name; [`EVENT_DEFAULT`] unless the publisher said otherwise.
    pub event: &'a str,
    /// The room; `None` for a broadcast to all connections.
    pub room: Option<&'a str>,
    /// One valid JSON value, passed through byte for byte; `None` where the publisher gave no data.
    pub data: Option<&'a str>,
    /// The object that a backend gave to be delivered as it is: one valid JSON object. Its `type` is `event`, and
    /// its `data`, if it has one, is `data`. Dialects whose members get objects as they are give this.
    pub whole: Option<&'a str>,
    /// Who published; `None` for publications by the API or the embedding program.
    pub sender: Option<Sender<'a>>,
    /// When it was accepted, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Its place in the order of a room with history.
    pub offset: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_its_bit() {
        let mut seen = 0_u32;
        for dialect in (0..8).map(DialectId) {
            let mut own = 0;
            for compression in Compression::ALL {
                let encoding = Encoding::new(dialect, compression);
                assert!(encoding.index() < Encoding::COUNT);
                assert_eq!(seen & encoding.bit(), 0);
                seen |= encoding.bit();
                own |= encoding.bit();
            }
            assert_eq!(dialect.encodings(), own);
        }
        assert_eq!(seen, u32::MAX);
        assert!(Encoding::all().map(Encoding::index).eq(0..Encoding::COUNT));
    }

    #[test]
    fn a_connection_keeps_one_byte() {
        assert_eq!(size_of::<Compression>(), 1);
    }

    #[test]
    fn a_window_is_never_larger_than_asked_for() {
        for asked in 8..=15 {
            let window = Compression::within(asked).window_bits();
            assert!(window <= asked && (window >= 9 || asked == 8), "{asked}");
        }
        for compression in Compression::ALL {
            assert_eq!(Compression::within(compression.window_bits()), compression);
        }
    }
}
