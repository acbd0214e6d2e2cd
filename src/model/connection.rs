//! What is told of connections, and which of them are meant.

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

/// A connection that takes its messages more slowly than they come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlowConsumer {
    /// The connection.
    pub client_id: String,
    /// Its address; `null` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// Name of its dialect.
    pub dialect: &'static str,
    /// Its user, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What its client calls itself, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The first of the rooms that it is a member of.
    pub rooms: Vec<String>,
    /// Bytes waiting for it.
    pub backlog_bytes: u64,
    /// Messages waiting for it.
    pub backlog_messages: u64,
    /// Since when something has waited, Unix time in milliseconds.
    pub since_unix_ms: u64,
    /// The same as an age, in milliseconds.
    pub age_ms: u64,
}
