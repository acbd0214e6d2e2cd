//! The HTTP interface as pure functions: which route a request is for, what its body asks, and how answers are
//! written. Sockets, keys and the hub belong to the caller.

mod body;
mod client;
mod connections;
mod error;
mod idempotency;
mod openapi;
mod query;
mod routes;
mod tracked;
mod types;
mod users;

pub use body::{
    BATCH_MAX, PublishRequest, Whole, is_event, parse_batch, parse_broadcast, parse_publish, parse_room,
    parse_whole,
};
pub use client::ClientFile;
pub use connections::{
    BREAKDOWN_MAX, Closed, ConnectionList, ConnectionStats, Put, Status, StatusCounts, Taken, UserInfo,
};
pub use error::ApiError;
pub use idempotency::{Claim, Idempotency, Stored, check_key};
pub use openapi::openapi;
pub use query::percent_decode;
pub use routes::{
    Access, CONNECTIONS_LIMIT_DEFAULT, CONNECTIONS_LIMIT_MAX, Found, Line, MEMBERS_LIMIT_DEFAULT,
    MEMBERS_LIMIT_MAX, MESSAGES_LIMIT_DEFAULT, MESSAGES_LIMIT_MAX, PATH_PARAMS, Param, Query, ROOM_USERS_MAX,
    ROOMS_LIMIT_DEFAULT, ROOMS_LIMIT_MAX, ROUTES, Route, SLOW_LIMIT_DEFAULT, SLOW_LIMIT_MAX, StatusAnswer,
    find, route,
};
pub use tracked::{Metadata, TrackedConnection, TrackedList};
pub use types::{
    BatchDelivered, Delivered, Health, HistoryInfo, Ready, RoomInfo, RoomList, RoomMembers, RoomMessage,
    RoomMessages, RoomPut, RoomRemoved, RoomStats, ShardStats, SlowList, Stats, to_json,
};
pub use users::{USERS_LIMIT_DEFAULT, USERS_LIMIT_MAX, UserEntry, UserList, UsersCursor};

/// Media type of every answer but the metrics.
pub const CONTENT_TYPE: &str = "application/json";
