use crate::config::Config;
use crate::hub::{Account, Arrival, Loss, Party};
use crate::model::{
    CloseReason, ConnectionId, ConnectionInfo, Identity, MembersCursor, Position, RoomName, Selector,
    SlowConsumer, Which,
};
use crate::shard::fanout::bundle::Ready;
use crate::shard::fanout::frame_batch::FrameBatch;
use crate::shard::fanout::select::Filter;
use crate::shard::fanout::tally::Tally;
use crate::shard::input::hook::Decided;
use crate::shard::policy::users::{UserPart, UsersPlace};
use crate::wire::TextAt;
use smallvec::SmallVec;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

/// What comes to a shard from other shards and from outside its thread.
pub enum Mail {
    /// Ready frames from another shard.
    Frames(FrameBatch),
    /// A publication of a room that remembers.
    Ordered(Ordered),
    /// A publication for some members of a room, or some connections.
    Selected(Selected),
    /// What a broker brings from other nodes.
    Remote(Box<Arrival>),
    /// A request of the embedding program, the API, or the node.
    Request(Request),
}

impl Mail {
    /// Memory that it stands for, in bytes, as counted against a mailbox's high-water mark.
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Frames(batch) => batch.len_bytes(),
            Self::Ordered(ordered) => size_of::<Self>() + ordered.frames.by_encoding.len_bytes(),
            Self::Selected(selected) => size_of::<Self>() + selected.frames.by_encoding.len_bytes(),
            Self::Remote(arrival) => size_of::<Self>() + arrival.len_bytes(),
            Self::Request(request) => size_of::<Self>() + request.heap_bytes(),
        }
    }
}

/// Hands mail to the shard of an index, which may be the caller's own. Must not block: it is called with a room locked.
/// Mail of all callers must arrive at a shard in the order in which the calls were made.
pub type Post = Arc<dyn Fn(usize, Mail) + Send + Sync>;

/// A publication of a room that remembers, on its way to one shard.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// Slot of the room on the receiving shard.
    pub(in crate::shard) local: u32,
    /// Slot of the connection that it is not for.
    pub(in crate::shard) except: u32,
    pub(in crate::shard) frames: Arc<OrderedFrames>,
    /// Where those that it is for are counted, if it has a filter.
    pub(in crate::shard) tally: Option<Arc<Tally>>,
}

/// The same for all shards: one publication, built for every encoding with members.
#[derive(Debug)]
pub(in crate::shard) struct OrderedFrames {
    /// Id of the room, in case the slot has changed hands.
    pub room: u64,
    /// Its turn at the mailboxes of this node: from 1 on without gaps, whatever number its publication bears.
    pub ticket: u64,
    /// When the publication was accepted, in microseconds of the node's clock.
    pub accepted_us: u64,
    /// What may become of it on its way to a member.
    pub loss: Loss,
    /// Who of the members it is for, if not for all.
    pub filter: Option<Arc<Filter>>,
    pub by_encoding: ByEncoding,
}

/// A publication for a part of a target, on its way to one shard.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The connections among which its receivers are, on the receiving shard.
    pub(in crate::shard) target: Target,
    pub(in crate::shard) frames: Arc<SelectedFrames>,
    /// Where its receivers are counted.
    pub(in crate::shard) tally: Arc<Tally>,
}

/// The same for all shards.
#[derive(Debug)]
pub(in crate::shard) struct SelectedFrames {
    /// When the publication was accepted, in microseconds of the node's clock.
    pub accepted_us: u64,
    /// What may become of it on its way to a member.
    pub loss: Loss,
    pub filter: Arc<Filter>,
    pub by_encoding: ByEncoding,
}

/// The messages of one publication, each with the mask of the encodings that it is for.
#[derive(Debug, Default)]
pub(in crate::shard) struct ByEncoding(SmallVec<[Encoded; 1]>);

#[derive(Debug)]
struct Encoded {
    encodings: u32,
    text_at: TextAt,
    bytes: Box<[u8]>,
}

impl ByEncoding {
    pub fn push(&mut self, encodings: u32, message: Ready<'_>) {
        let Ready { bytes, text_at } = message;
        self.0.push(Encoded { encodings, text_at, bytes: bytes.into() });
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, Ready<'_>)> {
        self.0.iter().map(|one| (one.encodings, Ready { bytes: &one.bytes, text_at: one.text_at }))
    }

    pub fn len_bytes(&self) -> usize {
        self.iter().map(|(_, message)| message.bytes.len()).sum()
    }
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Connections of the node that it is handed to.
    pub delivered: u32,
    /// Its place in the room's order, in a room with history.
    pub position: Option<Position>,
    /// It is not published: a broker keeps the room's order, and cannot be reached.
    pub is_refused: bool,
}

/// Which connections a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Target {
    /// The members of a room: its slot on the receiving shard, and its id, in case the slot has changed hands.
    Room { local: u32, id: u64 },
    /// Every connection.
    All,
    /// Every connection that belongs to no tenant.
    Tenantless,
}

/// Carries an answer back to the caller; called once, on the shard's thread, and must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// A request from outside the shard.
pub enum Request {
    /// Publish; the reply is the number of connections on this node that it is handed to.
    Publish {
        /// For which connections; checked by [`Selector::check`].
        to: Box<Selector<'static>>,
        /// Type name.
        event: String,
        /// Valid JSON.
        data: Option<String>,
        /// See [`crate::model::Publication::whole`].
        whole: Option<String>,
        /// Told when the frames are under way to every shard.
        reply: Reply<u32>,
    },
    /// Send to one connection of this shard; the reply says whether there is such an open connection.
    Send {
        /// The connection.
        to: ConnectionId,
        /// What.
        message: Message,
        /// Told whether the connection exists.
        reply: Reply<bool>,
    },
    /// What is known of one connection of this shard.
    Connection {
        /// The connection.
        of: ConnectionId,
        /// Told what is known, if there is such an open connection.
        reply: Reply<Option<ConnectionInfo>>,
    },
    /// Connections of this shard, at most `limit`.
    Connections {
        /// Which.
        which: Which,
        /// Where to go on.
        cursor: MembersCursor,
        /// Most connections wanted.
        limit: usize,
        /// Told the connections, and where to go on if this shard has more; there may be more where none were found.
        reply: Reply<(Vec<ConnectionInfo>, Option<MembersCursor>)>,
    },
    /// Make one connection a member of a room.
    Join {
        /// The connection.
        to: ConnectionId,
        /// The room.
        room: RoomName,
        /// Told the members of the room or why not, if there is such an open connection.
        reply: Reply<Option<Result<u32, String>>>,
    },
    /// End one connection's membership of a room.
    Leave {
        /// The connection.
        to: ConnectionId,
        /// The room.
        room: RoomName,
        /// Told whether it was a member, if there is such an open connection.
        reply: Reply<Option<bool>>,
    },
    /// End the memberships of some of the members of a room.
    PutOut {
        /// The room.
        room: RoomName,
        /// Told how many, and whether there are more.
        reply: Reply<(u64, bool)>,
    },
    /// Close the connections that fit, some thousands looked at in one go.
    CloseAll {
        /// Which.
        which: Which,
        /// Where to go on.
        cursor: MembersCursor,
        /// Why.
        reason: CloseReason,
        /// What they are told in place of the reason's own text.
        text: Option<String>,
        /// Told how many were closed, and where to go on.
        reply: Reply<(u64, Option<MembersCursor>)>,
    },
    /// Close one connection with code 4440.
    Disconnect {
        /// The connection.
        to: ConnectionId,
        /// What it is told in place of the usual text, at most 123 bytes of it.
        reason: Option<String>,
        /// Told whether the connection exists.
        reply: Reply<bool>,
    },
    /// Give one connection a new identity.
    Identify {
        /// The connection.
        to: ConnectionId,
        /// The identity; `None`: an unknown client.
        identity: Option<Arc<Identity>>,
        /// Told whether the connection exists.
        reply: Reply<bool>,
    },
    /// Connections of this shard that are members of a room, at most `limit`.
    Members {
        /// The room.
        room: RoomName,
        /// Where to go on.
        cursor: MembersCursor,
        /// Most ids wanted.
        limit: usize,
        /// Told the ids, in no order, and where to go on if this shard has more.
        reply: Reply<(Vec<ConnectionId>, Option<MembersCursor>)>,
    },
    /// Which users have connections on this shard: the members of the rooms of some users by their tenants.
    Users {
        /// The rooms of users' audiences.
        rooms: Arc<[RoomName]>,
        /// Where to go on.
        from: UsersPlace,
        /// Told the users, each perhaps in several parts, and where to go on if this shard has more.
        reply: Reply<(Vec<UserPart>, Option<UsersPlace>)>,
    },
    /// The users among the members of a room on this shard.
    RoomUsers {
        /// The room.
        room: RoomName,
        /// Where to go on.
        cursor: MembersCursor,
        /// Makes the same number of the same user on all shards.
        numbers: RandomState,
        /// Told the numbers, one perhaps several times, and where to go on if this shard has more.
        reply: Reply<(Vec<u64>, Option<MembersCursor>)>,
    },
    /// The consumers with the largest backlogs, at most `limit`.
    Slow {
        /// Most entries wanted.
        limit: usize,
        /// Told the entries, largest first.
        reply: Reply<Vec<SlowConsumer>>,
    },
    /// Passes the mailbox and the next tick; the reply says that it did.
    Canary(Reply<()>),
    /// Takes what it may from the shard's largest backlog, or evicts it, because the node's outboxes are near their bound.
    EvictLargest,
    /// Drops the shard's largest unfinished message, because those of the node are over their bound.
    EvictLargestInput,
    /// Has the largest backlog of an account here give way, if it is larger than so many bytes and the share of the
    /// account is still spent.
    EvictLargestOf {
        /// The user or tenant.
        account: Arc<Account>,
        /// Which of the two it is.
        party: Party,
        /// What the backlog would be that needs the place.
        larger_than: usize,
    },
    /// The backend was asked about something of this shard.
    Decided(Box<Decided>),
    /// A handler is done with a request of a connection of this shard.
    Handled(ConnectionId),
    /// Takes a new configuration over.
    Reconfigure(Arc<Config>),
    /// Closes all connections, spread over a time.
    Drain(Duration),
}

impl Request {
    /// Memory behind it, in bytes: what comes from outside can be as large as a message or a body. Not counted is what
    /// is small whatever was asked for.
    fn heap_bytes(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Self::Publish { to, event, data, whole, .. } => {
                to.len_bytes() + event.len() + len(data) + len(whole)
            }
            Self::Send { message, .. } => message.len_bytes(),
            Self::Join { room, .. }
            | Self::Leave { room, .. }
            | Self::PutOut { room, .. }
            | Self::Members { room, .. }
            | Self::RoomUsers { room, .. } => room.as_str().len(),
            Self::Users { rooms, .. } => size_of_val::<[RoomName]>(rooms),
            Self::CloseAll { text: reason, .. } | Self::Disconnect { reason, .. } => len(reason),
            Self::Decided(decided) => size_of::<Decided>() + decided.len_bytes(),
            Self::Connection { .. }
            | Self::Connections { .. }
            | Self::Identify { .. }
            | Self::Slow { .. }
            | Self::Canary(_)
            | Self::Handled(_)
            | Self::EvictLargest
            | Self::EvictLargestInput
            | Self::EvictLargestOf { .. }
            | Self::Reconfigure(_)
            | Self::Drain(_) => 0,
        }
    }
}

/// A message to one connection, said in its dialect.
#[derive(Debug, Clone)]
pub enum Message {
    /// An event with data.
    Event {
        /// Type name.
        event: String,
        /// Valid JSON.
        data: Option<String>,
        /// The request that it answers, if it does.
        id: Option<String>,
    },
    /// An error.
    Error {
        /// Text for the client.
        text: String,
        /// The request that it answers, if it does.
        id: Option<String>,
    },
}

impl Message {
    /// Bytes of its texts.
    fn len_bytes(&self) -> usize {
        let (first, second, id) = match self {
            Self::Event { event, data, id } => (event, data.as_ref(), id),
            Self::Error { text, id } => (text, None, id),
        };
        first.len() + second.map_or(0, String::len) + id.as_ref().map_or(0, String::len)
    }
}
