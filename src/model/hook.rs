//! What a backend, or the embedding program, is asked and told about clients, and what comes back.

use super::{ConnectionId, HookEvent, HookEvents, Identity};
use std::net::IpAddr;
use std::sync::Arc;

/// Rooms of a connection that a question names: enough for what a backend decides by, few enough to be small.
pub const ROOMS_MAX: usize = 64;

/// Bytes of a request beside what varies: names of fields, ids, times.
const BYTES_FIXED: usize = 512;

/// Bytes of the backend's words to a client; what is longer is cut.
pub const REASON_BYTES_MAX: usize = 256;

/// Messages in the answer to one forwarded message.
pub const MESSAGES_MAX: usize = 64;

/// Whom a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The connection, once there is one.
    pub connection: Option<ConnectionId>,
    /// Who that is, as far as is known.
    pub identity: Option<Arc<Identity>>,
    /// Where it comes from.
    pub ip: Option<IpAddr>,
    /// Name of what it speaks.
    pub dialect: &'static str,
}

/// What a backend is asked or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whom it is about.
    pub subject: Subject,
    /// What happens.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A client wants to connect.
    Connect {
        /// The path asked for, without prefix.
        path: String,
        /// Its query.
        query: Option<String>,
        /// The fields of its head that are configured, names in lower case.
        headers: Vec<(String, String)>,
    },
    /// A connection wants to join a room, or to publish there without having joined.
    Join {
        /// The room.
        room: String,
        /// What it wants to publish there, if that is it. The backend is not told.
        publishes: Option<Unjoined>,
    },
    /// A connection wants to publish.
    Publish {
        /// The room; `None` for all connections.
        room: Option<String>,
        /// Type name.
        event: String,
        /// Valid JSON.
        data: Option<String>,
    },
    /// A connection has left a room.
    Leave {
        /// The room.
        room: String,
    },
    /// A connection has ended.
    Disconnect {
        /// Label of the reason.
        reason: &'static str,
    },
    /// A message that only the backend knows.
    Message {
        /// Type name.
        event: String,
        /// Valid JSON.
        data: Option<String>,
        /// Rooms that the sender is in, some of them.
        rooms: Vec<String>,
    },
}

/// What a connection wants to publish to a room that it is no member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjoined {
    /// Type name.
    pub event: String,
    /// Valid JSON.
    pub data: Option<String>,
}

impl What {
    /// Which event it is.
    pub fn event(&self) -> HookEvent {
        match self {
            Self::Connect { .. } => HookEvent::Connect,
            Self::Join { .. } => HookEvent::Join,
            Self::Publish { .. } => HookEvent::Publish,
            Self::Leave { .. } => HookEvent::Leave,
            Self::Disconnect { .. } => HookEvent::Disconnect,
            Self::Message { .. } => HookEvent::Message,
        }
    }
}

impl Question {
    /// Memory that it stands for while it waits, in bytes: itself and the request made of it.
    pub fn len_bytes(&self) -> usize {
        let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>();
        let rooms = |rooms: &[String]| rooms.iter().map(String::len).sum::<usize>();
        let data = |data: &Option<String>| data.as_ref().map_or(0, String::len);
        let varies = match &self.what {
            What::Connect { path, query, headers } => path.len() + data(query) + pairs(headers),
            What::Join { room, publishes } => {
                let publishes = publishes.as_ref().map_or(0, |it| it.event.len() + data(&it.data));
                room.len() + publishes
            }
            What::Publish { room, event, data: raw } => data(room) + event.len() + data(raw),
            What::Leave { room } => room.len(),
            What::Disconnect { .. } => 0,
            What::Message { event, data: raw, rooms: all } => event.len() + data(raw) + rooms(all),
        };
        size_of::<Self>() + BYTES_FIXED + 2 * varies
    }
}

/// What the backend decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow {
        /// Who the connection is, where a `connect` was asked about and the answer says so.
        identity: Option<Identity>,
    },
    /// No.
    Refuse {
        /// The text for the client: at most [`REASON_BYTES_MAX`] bytes, no control characters.
        reason: String,
    },
}

/// What the backend says to a forwarded message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookReply {
    /// For the client that sent it, in this order; at most [`MESSAGES_MAX`].
    pub messages: Vec<HookMessage>,
    /// The text of an error, as [`Decision::Refuse`] has it.
    pub error: Option<String>,
}

/// A message of the backend to one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookMessage {
    /// Type name, 1 to 255 bytes.
    pub event: String,
    /// Valid JSON.
    pub data: Option<String>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The backend decided, or the configuration in its place.
    Decided(Decision),
    /// The backend has a notice.
    Replied(HookReply),
    /// The backend is away: a decision is a no, a notice was not delivered.
    Failed,
    /// The backend answered this request with an error, or with what is no answer. That is a no as well.
    Unusable,
}

/// Gives a question back with what came of it; called once, on any thread, and must not block.
pub type HookAnswer = Box<dyn FnOnce(Question, Verdict) + Send>;

/// What has a say, beside the rules for access, in what clients may do, and is told of what they have done: the backend
/// by its hook, callbacks of the embedding program, or both.
pub trait Decider: Send + Sync {
    /// What it is asked and told.
    fn events(&self) -> HookEvents;

    /// Asks or tells something of these. It must not block. `answer` is called once, on any thread, perhaps before this
    /// returns.
    fn ask(&self, question: Question, answer: HookAnswer);
}
