//! The routes as values, with what path and query say.

use crate::api::{ClientFile, UsersCursor};
use crate::model::{ConnectionId, MembersCursor, RoomName, Which};

/// What a request is for. An answer to `HEAD` is that to `GET` without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /echo`: upgrade to a WebSocket that sends everything back, where the configuration has it.
    Echo,
    /// `GET /health`: the process lives.
    Health,
    /// `GET /ready`: new connections are welcome.
    Ready,
    /// `GET /metrics`.
    Metrics,
    /// `GET /openapi.json`: see [`crate::api::openapi`].
    OpenApi,
    /// `GET /fanwire.js` or `GET /fanwire.d.ts`: see [`crate::api::ClientFile`].
    Client(ClientFile),
    /// `GET /docs` and `GET /docs/{page}`: the guide, see [`crate::guide::page`].
    Docs {
        /// The page; empty for the list of chapters.
        page: String,
    },
    /// `POST /v1/publish`.
    Publish,
    /// `POST /v1/publish/batch`.
    PublishBatch,
    /// `POST /v1/broadcast`.
    Broadcast,
    /// `GET /v1/rooms?prefix=&cursor=&limit=`: rooms in the order of their names.
    Rooms {
        /// Only names that start so.
        prefix: Option<String>,
        /// Only names after this one: the `cursor` of the page before.
        cursor: Option<String>,
        /// Most rooms to list.
        limit: u32,
    },
    /// `GET /v1/rooms/{name}`, the name percent-encoded (a slash in it as `%2F`).
    Room {
        /// The room.
        name: RoomName,
    },
    /// `PUT /v1/rooms/{name}` with `{"metadata":{...}}`: register it, or say something else of it.
    PutRoom {
        /// The room.
        name: RoomName,
    },
    /// `DELETE /v1/rooms/{name}`: put its members out, empty its history, forget what was said of it.
    RemoveRoom {
        /// The room.
        name: RoomName,
    },
    /// `GET /v1/rooms/{name}/members?cursor=&limit=`: who is in it.
    Members {
        /// The room.
        name: RoomName,
        /// Where to go on: the `cursor` of the page before.
        cursor: MembersCursor,
        /// Most members to list.
        limit: u32,
    },
    /// `GET /v1/rooms/{name}/messages?limit=&offset=`: what the room's history keeps, in order.
    Messages {
        /// The room.
        name: RoomName,
        /// Only publications after this one; without it the latest.
        offset: Option<u64>,
        /// Most publications to list.
        limit: u32,
    },
    /// `GET /v1/rooms/{name}/stats`: what is counted of it.
    RoomStats {
        /// The room.
        name: RoomName,
    },
    /// `GET /v1/stats`.
    Stats,
    /// `GET /v1/connections?user=&tenant=&room=&idle_s=&cursor=&limit=`.
    Connections {
        /// Which.
        which: Which,
        /// Where to go on: the `cursor` of the page before.
        cursor: MembersCursor,
        /// Most connections to list.
        limit: u32,
    },
    /// `GET /api/v1/debug/websocket/connections`, the same in the topics document's words.
    DebugConnections {
        /// Which.
        which: Which,
        /// Where to go on: the `cursor` of the page before.
        cursor: MembersCursor,
        /// Most connections to list.
        limit: u32,
    },
    /// `GET /v1/connections/{id}`.
    Connection {
        /// The connection.
        id: ConnectionId,
    },
    /// `DELETE /v1/connections/{id}?reason=`: close it.
    Disconnect {
        /// The connection.
        id: ConnectionId,
        /// What it is told.
        reason: Option<String>,
    },
    /// `PUT /v1/connections/{id}/rooms/{room}`: make it a member.
    Join {
        /// The connection.
        id: ConnectionId,
        /// The room.
        room: RoomName,
    },
    /// `DELETE /v1/connections/{id}/rooms/{room}`: end its membership.
    Leave {
        /// The connection.
        id: ConnectionId,
        /// The room.
        room: RoomName,
    },
    /// `GET /v1/users?tenant=&cursor=&limit=`: the users with a connection.
    Users {
        /// Only those of this tenant.
        tenant: Option<String>,
        /// Where to go on: the `cursor` of the page before.
        cursor: UsersCursor,
        /// Most users to list.
        limit: u32,
    },
    /// `GET /v1/users/{user}?tenant=`: whether a user is online, and by which connections.
    User {
        /// Its connections.
        which: Which,
        /// The user.
        user: String,
    },
    /// `DELETE /v1/users/{user}?tenant=&reason=`: close its connections.
    DisconnectUser {
        /// Its connections.
        which: Which,
        /// What they are told.
        reason: Option<String>,
    },
    /// `POST /v1/cleanup?idle_s=`: close the connections without a message for so long.
    Cleanup {
        /// Seconds.
        idle_s: u64,
    },
    /// `GET /v1/stats/connections`: connections by tenant and by room.
    ConnectionStats,
    /// `GET /ws/status` of the channels document, and `GET /api/v1/debug/websocket/channels`.
    Status,
    /// `GET /v1/slow?limit=`: the connections with the largest backlogs.
    Slow {
        /// Most connections to list.
        limit: u32,
    },
}
