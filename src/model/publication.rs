use super::ConnectionId;

/// Index of a dialect in the dialect table; also its bit in a room's interest mask (so below 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DialectId(pub u8);

impl DialectId {
    /// This dialect's bit in an interest mask.
    pub const fn bit(self) -> u8 {
        1 << self.0
    }
}

/// One message on its way to the members of a room, or to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Type name; `message` unless the publisher said otherwise.
    pub event: &'a str,
    /// The room; `None` for a broadcast to all connections.
    pub room: Option<&'a str>,
    /// One valid JSON value, passed through byte for byte; `None` where the publisher gave no data.
    pub data: Option<&'a str>,
    /// The publishing connection; `None` for publications by the API or the embedding program.
    pub sender: Option<ConnectionId>,
    /// When it was accepted, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Its place in the order of a room with history.
    pub offset: Option<u64>,
}
