//! What is told of connections.

use serde::Serialize;
use std::net::IpAddr;

/// One connection, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionInfo {
    /// Its id.
    pub id: String,
    /// Its user, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its tenant, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The user's roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Name of its dialect.
    pub dialect: &'static str,
    /// The first [`ROOMS_SHOWN_MAX`] of the rooms that it is in.
    pub rooms: Vec<String>,
    /// How many rooms it is in.
    pub room_count: u64,
    /// Its address; `null` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// What its client calls itself, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When it connected, Unix time in milliseconds.
    pub connected_at: u64,
    /// When its last message or ping came, Unix time in milliseconds.
    pub last_activity: u64,
    /// Bytes that wait for it.
    pub backlog_bytes: u64,
}

/// Rooms named for each connection, so that a page has a bound.
pub const ROOMS_SHOWN_MAX: usize = 32;

/// Which connections are asked for: those that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Of this user.
    pub user: Option<String>,
    /// Of this tenant.
    pub tenant: Option<String>,
    /// In this room.
    pub room: Option<String>,
    /// Without a message for so many milliseconds.
    pub idle_ms: Option<u64>,
}

/// Answer of `/v1/connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConnectionList {
    /// The connections, in no order.
    pub connections: Vec<ConnectionInfo>,
    /// Where the next page begins; `null` on the last one.
    pub cursor: Option<String>,
}

/// Answer of `/v1/users/{user}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserInfo {
    /// The user.
    pub user: String,
    /// Whether it has a connection.
    pub online: bool,
    /// Its connections, the first page of them.
    pub connections: Vec<ConnectionInfo>,
}

/// Answer to what closes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// How many were.
    pub closed: u64,
}

/// Answer to a join on a connection's behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Put {
    /// Members of the room on this node.
    pub members: u64,
}

/// Answer to a leave on a connection's behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Whether it was a member.
    pub was_member: bool,
}

/// Answer of `/ws/status`, as the channels document has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The counts.
    pub stats: StatusCounts,
    /// When, in ISO 8601.
    pub timestamp: String,
}

/// Counts of connections and rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusCounts {
    /// Connections.
    pub total_clients: u64,
    /// Rooms with members.
    pub total_channels: u64,
    /// Members by room: of the first [`BREAKDOWN_MAX`] rooms by name.
    pub channel_breakdown: std::collections::BTreeMap<String, u64>,
}

/// Rooms or tenants listed in a status page.
pub const BREAKDOWN_MAX: usize = 1000;

/// Answer of `/v1/stats/connections`, as the AegisX platform document has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStats {
    /// Connections.
    pub total: u64,
    /// Connections by tenant: of the first [`BREAKDOWN_MAX`] tenants by name.
    pub by_tenant: std::collections::BTreeMap<String, u64>,
    /// Members by room: of the first [`BREAKDOWN_MAX`] rooms by name.
    pub by_channel: std::collections::BTreeMap<String, u64>,
}
