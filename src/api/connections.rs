//! What is told of connections.

use crate::model::ConnectionInfo;
use serde::Serialize;

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
