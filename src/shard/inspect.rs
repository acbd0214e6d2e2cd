use super::Shard;
use crate::model::{CloseReason, ConnectionId};

/// What a test may see of a connection that its client cannot.
#[derive(Debug, Clone, Copy)]
pub struct Inspection {
    /// The connection's id.
    pub id: ConnectionId,
    /// Why it is being closed, if it is.
    pub closing: Option<CloseReason>,
    /// Rooms that it is a member of.
    pub rooms: usize,
    /// Bytes charged for what waits for its socket.
    pub backlog_bytes: usize,
    /// Frames that wait for its socket.
    pub backlog_frames: u32,
    /// Memory held for a message that has not come whole, in bytes.
    pub input_bytes: usize,
    /// What is charged for that.
    pub input_charge: usize,
    /// Whether it had no place for what it was owed, and is evicted at the next event.
    pub doomed: bool,
}

impl Shard {
    /// Looks at the connection in a slot. For tests: nothing in the server needs it.
    #[doc(hidden)]
    pub fn inspect(&self, slot: u32) -> Option<Inspection> {
        self.conns.at(slot).map(|conn| Inspection {
            id: conn.id,
            closing: conn.closing(),
            rooms: conn.memberships.len(),
            backlog_bytes: conn.backlog_bytes(),
            backlog_frames: conn.backlog.as_ref().map_or(0, |backlog| backlog.frames()),
            input_bytes: conn.input_bytes(),
            input_charge: conn.input_charge(),
            doomed: self.conns.key(slot).is_some_and(|key| self.endings.is_doomed(key)),
        })
    }
}
