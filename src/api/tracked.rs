//! Connections as the topics document tracks them (its interface `WebSocketConnection`).

use crate::base::iso8601;
use crate::model::ConnectionInfo;
use serde::Serialize;
use std::net::IpAddr;

/// One connection, in the document's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackedConnection {
    /// Its id.
    pub id: String,
    /// Its user, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The first [`crate::model::ROOMS_SHOWN_MAX`] of the rooms that it is in.
    pub channels: Vec<String>,
    /// How many rooms it is in; beyond the document.
    pub channel_count: u64,
    /// When its last message or ping came, in ISO 8601.
    pub last_activity: String,
    /// The rest.
    pub metadata: Metadata,
}

/// What is known of a connection from its handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// What its client calls itself, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Its address; `null` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// When it connected, in ISO 8601.
    pub connected_at: String,
}

/// Answer of `/api/v1/debug/websocket/connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackedList {
    /// The connections, in no order.
    pub connections: Vec<TrackedConnection>,
    /// Where the next page begins; `null` on the last one.
    pub cursor: Option<String>,
}

impl From<ConnectionInfo> for TrackedConnection {
    fn from(info: ConnectionInfo) -> Self {
        let time = |unix_ms| String::from_utf8_lossy(&iso8601(unix_ms)).into_owned();
        Self {
            id: info.id,
            user_id: info.user,
            channels: info.rooms,
            channel_count: info.room_count,
            last_activity: time(info.last_activity),
            metadata: Metadata {
                user_agent: info.user_agent,
                ip: info.ip,
                connected_at: time(info.connected_at),
            },
        }
    }
}
