//! What a dialect keeps of one connection, where a message means something only with those before it: binary messages
//! that belong to a text, a heartbeat of the dialect's own, words at the beginning and at the end.
//!
//! The shard calls a session in this order: [`Session::open`] once, then [`Session::receive`] for each message of the
//! client and [`Session::next`] until that has no further step, [`Session::beat`] when the heartbeat is due, and
//! [`Session::farewell`] once at the most. A session that is lost with its transport is only dropped.

use super::{DecodeLimits, Rejected};
use crate::model::{CloseReason, Command, ConnectionId};
use std::fmt::Debug;
use std::time::Duration;

/// Bytes that a session may take itself, without what it holds of an unfinished message.
pub const SESSION_BYTES_MAX: usize = 256;

/// One whole message, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl Payload<'_> {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One thing that a message of the client asks of the shard.
#[derive(Debug)]
pub enum Step<'a> {
    /// A request.
    Command {
        /// What is asked.
        command: Command<'a>,
        /// What an error shows as the message.
        text: &'a str,
    },
    /// A request that is refused.
    Refused {
        /// Why.
        rejected: Rejected<'a>,
        /// What an error shows as the message.
        text: &'a str,
    },
    /// Said to the client as it stands, before all publications that wait.
    Say(Payload<'a>),
    /// The client has answered the heartbeat.
    Alive,
    /// The message is against the protocol: the connection is closed.
    Close {
        /// The reason, which gives the code.
        reason: CloseReason,
        /// What the close frame says, at most 123 bytes.
        text: &'static str,
    },
}

/// What a session begins with.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// The connection's own id.
    pub id: ConnectionId,
    /// Time between heartbeats as configured; zero switches them off.
    pub ping_interval: Duration,
    /// Time for a sign of life as configured.
    pub pong_wait: Duration,
}

/// When a dialect's heartbeat beats. It takes the place of the pings of RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time from the beginning, and from each answer, to the next beat.
    pub interval: Duration,
    /// Time from a beat to its answer, after which the connection is closed.
    pub timeout: Duration,
}

/// Bounds on what a session takes in.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Bounds on what is decoded.
    pub decode: DecodeLimits,
    /// Bytes of a text and of all that belongs to it, together.
    pub message_bytes_max: usize,
}

/// The state of one connection in its dialect: at most [`SESSION_BYTES_MAX`] bytes, and what
/// [`Session::held_bytes`] tells.
pub trait Session: Debug {
    /// What is said first, before the greeting.
    fn open(&mut self) -> Option<Payload<'_>> {
        None
    }

    /// Takes a message in. Returns its first step.
    fn receive<'a>(&'a mut self, message: Payload<'a>, limits: &SessionLimits) -> Option<Step<'a>>;

    /// The next step of the message that was taken in last. The shard may ask for it much later, when the step before
    /// it is decided; nothing is taken in until then. A session with further steps holds what these need.
    fn next(&mut self, _limits: &SessionLimits) -> Option<Step<'_>> {
        None
    }

    /// Memory held of a message that has not come whole, or whose steps have not all been asked for: never 0 as long as
    /// there is such a message, and always 0 else. The shard counts it as unfinished input, with the same bounds on bytes
    /// and time.
    fn held_bytes(&self) -> usize {
        0
    }

    /// The dialect's own heartbeat, if it has one.
    fn heartbeat(&self) -> Option<Heartbeat> {
        None
    }

    /// What a beat says.
    fn beat(&mut self) -> Option<Payload<'_>> {
        None
    }

    /// What is said before the close frame. Not asked for where the client has closed, or reads too slowly.
    fn farewell(&mut self, _reason: CloseReason) -> Option<Payload<'_>> {
        None
    }
}
