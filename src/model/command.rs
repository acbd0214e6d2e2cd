use super::{Changed, ConnectionId, CountOf, NamedMembers, Position, RoomName};
use std::borrow::Cow;

/// A client's own mark on a request (`id`), echoed in the answer: a raw JSON string or number.
pub type RequestId<'a> = Option<&'a str>;

/// Most notification types that one request names: each is a room.
pub const NOTIFICATION_TYPES_MAX: usize = 64;

/// Most members that one answer names: 1,000 ids are some 40 KB of JSON.
pub const PRESENCE_LIMIT_MAX: u32 = 1000;

/// What a client asks for, in any dialect. Borrowed from the received bytes.
#[derive(Debug, PartialEq)]
pub enum Command<'a> {
    /// Join a room.
    Subscribe {
        /// The room's name, valid by `RoomName::check`.
        room: Cow<'a, str>,
        /// What the client has seen of the room, if what it missed since is to be sent.
        recover: Option<Position>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Leave a room.
    Unsubscribe {
        /// The room's name, valid by `RoomName::check`.
        room: Cow<'a, str>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Send to the members of a room.
    Publish {
        /// The room's name, valid by `RoomName::check`.
        room: Cow<'a, str>,
        /// Type name of the publication.
        event: Cow<'a, str>,
        /// Valid JSON, bounded in depth.
        data: Option<&'a str>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Send to every connection of the node.
    Broadcast {
        /// Type name of the publication.
        event: Cow<'a, str>,
        /// Valid JSON, bounded in depth.
        data: Option<&'a str>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Who is in a room.
    Presence {
        /// The room's name, valid by `RoomName::check`.
        room: Cow<'a, str>,
        /// Most members to name, 1 to [`PRESENCE_LIMIT_MAX`].
        limit: u32,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Application-level ping.
    Ping {
        /// Echoed.
        id: RequestId<'a>,
    },
    /// What the server knows of the connection.
    Status {
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Join the rooms of the client's own notifications.
    Notifications {
        /// Which of them: names, at most [`NOTIFICATION_TYPES_MAX`], each the last segment of a room's name.
        types: Vec<Cow<'a, str>>,
        /// The list as it came: valid JSON.
        raw: &'a str,
    },
    /// Who the client is, said after it connected.
    Authenticate {
        /// A token as a connection may bring it.
        token: Cow<'a, str>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// A type the dialect does not define: for a handler of the embedding program.
    Custom {
        /// The message's type.
        event: Cow<'a, str>,
        /// Valid JSON, bounded in depth.
        data: Option<&'a str>,
        /// Echoed.
        id: RequestId<'a>,
    },
}

/// Bytes of a refused message that an error shows.
pub const ORIGINAL_BYTES_MAX: usize = 1024;

/// Why a request was refused. Each dialect has its own words for it; [`Refusal::text`] are the default ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not JSON, not an object, or a field of the wrong type.
    InvalidJson,
    /// JSON nested deeper than the bound.
    TooDeep,
    /// No handler for the type.
    UnknownType,
    /// The room is missing or empty.
    RoomRequired,
    /// The room's name is too long or has a control character.
    RoomInvalid,
    /// Publishing needs membership.
    NotSubscribed,
    /// The per-room connection limit.
    RoomFull,
    /// The node's connection limit.
    ServerFull,
    /// The bound of rooms per connection.
    TooManyRooms,
    /// A rate limit of the connection.
    RateLimited,
    /// Clients may not broadcast here.
    BroadcastDisabled,
    /// The room's members are not told.
    PresenceDisabled,
    /// The rules let the client not join the room.
    JoinDenied,
    /// The rules let the client not publish to the room, or not know of it.
    Denied,
    /// The message means something only to a client that is known.
    Unauthenticated,
    /// A handler of the embedding program failed.
    Internal,
    /// The backend says no; usually in words of its own.
    Backend,
    /// The backend was to be asked or told, and could not be.
    BackendFailed,
    /// The backend answered this request with an error.
    BackendError,
    /// The bound of connections of one user.
    UserFull,
    /// The bound of connections of one tenant.
    TenantFull,
    /// The bound of memberships of one user.
    TooManyRoomsOfUser,
    /// The bound of memberships of one tenant.
    TooManyRoomsOfTenant,
    /// A rate limit of the user.
    UserRateLimited,
    /// A rate limit of the tenant.
    TenantRateLimited,
    /// The node's bound on what memberships hold.
    MembershipsFull,
    /// The bound of bytes that wait for one user.
    UserOutboxFull,
    /// The bound of bytes that wait for one tenant.
    TenantOutboxFull,
    /// The order of a room that remembers is kept by a broker, which cannot be reached.
    NoOrder,
}

impl Refusal {
    /// All of them, each at its index.
    pub const ALL: &[Self] = &[
        Self::InvalidJson,
        Self::TooDeep,
        Self::UnknownType,
        Self::RoomRequired,
        Self::RoomInvalid,
        Self::NotSubscribed,
        Self::RoomFull,
        Self::ServerFull,
        Self::TooManyRooms,
        Self::RateLimited,
        Self::BroadcastDisabled,
        Self::PresenceDisabled,
        Self::JoinDenied,
        Self::Denied,
        Self::Unauthenticated,
        Self::Internal,
        Self::Backend,
        Self::BackendFailed,
        Self::BackendError,
        Self::UserFull,
        Self::TenantFull,
        Self::TooManyRoomsOfUser,
        Self::TooManyRoomsOfTenant,
        Self::UserRateLimited,
        Self::TenantRateLimited,
        Self::MembershipsFull,
        Self::UserOutboxFull,
        Self::TenantOutboxFull,
        Self::NoOrder,
    ];

    /// Label values in metrics, by [`Refusal::index`].
    pub const LABELS: &[&'static str] = &[
        "invalid_json",
        "too_deep",
        "unknown_type",
        "room_required",
        "room_invalid",
        "not_subscribed",
        "room_full",
        "server_full",
        "too_many_rooms",
        "rate_limited",
        "broadcast_disabled",
        "presence_disabled",
        "join_denied",
        "denied",
        "unauthenticated",
        "internal",
        "backend",
        "backend_failed",
        "backend_error",
        "user_full",
        "tenant_full",
        "too_many_rooms_of_user",
        "too_many_rooms_of_tenant",
        "user_rate_limited",
        "tenant_rate_limited",
        "memberships_full",
        "user_outbox_full",
        "tenant_outbox_full",
        "no_order",
    ];

    /// Position in [`Refusal::LABELS`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The English text, as the `rooms` document has it where it has one.
    pub const fn text(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid JSON format",
            Self::TooDeep => "JSON is nested too deep",
            Self::UnknownType => "unknown message type",
            Self::RoomRequired => "room name is required",
            Self::RoomInvalid => "room name is invalid: at most 255 bytes and no control characters",
            Self::NotSubscribed => "not subscribed to this room",
            Self::RoomFull => "room is at maximum capacity",
            Self::ServerFull => "server is at maximum capacity",
            Self::TooManyRooms => "too many rooms for one connection",
            Self::RateLimited => "rate limit exceeded",
            Self::BroadcastDisabled => "broadcast is disabled",
            Self::PresenceDisabled => "presence is not enabled for this room",
            Self::JoinDenied => "access denied to this room",
            Self::Denied => "permission denied",
            Self::Unauthenticated => "authentication required",
            Self::Internal => "internal error",
            Self::Backend => "refused by the backend",
            Self::BackendFailed => "the backend cannot be asked: try again later",
            Self::BackendError => "the backend answered with an error",
            Self::UserFull => "too many connections of this user",
            Self::TenantFull => "too many connections of this tenant",
            Self::TooManyRoomsOfUser => "too many rooms for one user",
            Self::TooManyRoomsOfTenant => "too many rooms for one tenant",
            Self::UserRateLimited => "rate limit of this user exceeded",
            Self::TenantRateLimited => "rate limit of this tenant exceeded",
            Self::MembershipsFull => "the server holds too many rooms: try again later",
            Self::UserOutboxFull => "too much waits for this user already: read faster",
            Self::TenantOutboxFull => "too much waits for this tenant already: read faster",
            Self::NoOrder => "the room's order cannot be kept now: try again later",
        }
    }
}

/// What the server says to one connection, in any dialect.
#[derive(Debug, Clone, Copy)]
pub enum Answer<'a> {
    /// First message of a connection.
    Connected {
        /// The connection's own id.
        client_id: ConnectionId,
        /// Its user, where it is known.
        user: Option<&'a str>,
        /// Rooms that the server offers to everybody, as configured.
        available: &'a [String],
    },
    /// Answer to [`Command::Status`].
    Status {
        /// The connection's own id.
        client_id: ConnectionId,
        /// Its user, where it is known.
        user: Option<&'a str>,
        /// The rooms that it is in.
        rooms: &'a [RoomName],
        /// When its last message came, Unix time in milliseconds.
        active_unix_ms: u64,
        /// When it connected, Unix time in milliseconds.
        connected_unix_ms: u64,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Answer to [`Command::Notifications`].
    NotificationsJoined {
        /// The list as it was asked: valid JSON.
        types: &'a str,
    },
    /// Answer to [`Command::Authenticate`].
    Authenticated {
        /// The user, where the token names one.
        user: Option<&'a str>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// The connection's identity ends soon: a new token is asked for.
    IdentityEnds {
        /// When, Unix time in seconds.
        at_unix_s: u64,
    },
    /// Joined (or already a member).
    Subscribed {
        /// The room.
        room: &'a str,
        /// Members of the room on this node, the new one included.
        client_count: u32,
        /// From where on the room's publications come, in a room with history.
        position: Option<Position>,
        /// Where recovery was asked: whether all that was missed follows.
        recovered: Option<bool>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Left (or was no member).
    Unsubscribed {
        /// The room.
        room: &'a str,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// A publish or broadcast that carried an `id` was accepted.
    Published {
        /// The room; `None` for a broadcast.
        room: Option<&'a str>,
        /// Its place in the order of a room with history.
        offset: Option<u64>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// Who is in a room.
    Presence {
        /// The room.
        room: &'a str,
        /// What `count` counts.
        counted: CountOf,
        /// Members of the room on this node, or users.
        count: u32,
        /// Some of them, at most [`PRESENCE_LIMIT_MAX`], in no order.
        named: NamedMembers<'a>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// The members that joined a room and those that left it lately. Goes to all members.
    PresenceChange {
        /// The room.
        room: &'a str,
        /// What `count` counts.
        counted: CountOf,
        /// The members that joined.
        joined: Changed<'a>,
        /// The members that left.
        left: Changed<'a>,
        /// Members of the room on this node, or users: as many as the notice before told, and those that joined, less
        /// those that left.
        count: u32,
    },
    /// Publications of a room that the connection did not get, in the place where they would have stood.
    Gap {
        /// The room.
        room: &'a str,
        /// How many.
        lost: u64,
    },
    /// Answer to [`Command::Ping`].
    Pong {
        /// Echoed.
        id: RequestId<'a>,
    },
    /// A request was refused.
    Error {
        /// Why; `None` where a program outside has given its own words.
        refusal: Option<Refusal>,
        /// The text for the client, where its dialect has no other.
        text: &'a str,
        /// The message that was refused, as it came (any text), at most [`ORIGINAL_BYTES_MAX`] of it.
        original: Option<&'a str>,
        /// Echoed.
        id: RequestId<'a>,
    },
    /// A message of the embedding program to this connection.
    Event {
        /// Type name.
        event: &'a str,
        /// Valid JSON.
        data: Option<&'a str>,
        /// Echoed.
        id: RequestId<'a>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_at_its_index() {
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(refusal.index(), index, "{}", Refusal::LABELS[index]);
        }
        assert_eq!(Refusal::ALL.len(), Refusal::LABELS.len());
    }
}
