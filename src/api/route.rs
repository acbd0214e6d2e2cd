//! Which route a request is for. Those of rooms and of connections are found in files of their own.

use super::query::{Params, percent_decode};
use super::{ApiError, MembersCursor, NoCursor, UsersCursor, Which, connection_routes, room_routes};
use crate::model::{ConnectionId, RoomName};

/// Slow connections listed where the request does not say.
pub const SLOW_LIMIT_DEFAULT: u32 = 20;
/// Most slow connections listed.
pub const SLOW_LIMIT_MAX: u32 = 1000;

pub(super) const READ: &str = "GET, HEAD";

/// Longest cursor of a page of members: three numbers.
const CURSOR_BYTES_MAX: usize = 20;

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
    /// `GET /openapi.json`: see [`super::openapi`].
    OpenApi,
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

impl Route {
    /// Whether the API key is asked for. Health, readiness and metrics are open to the probes and scrapers that
    /// know no key, the document to all, as it tells nothing of this server; an upgrade has the rules of its endpoint.
    pub fn needs_key(&self) -> bool {
        match self {
            Self::Echo | Self::Health | Self::Ready | Self::Metrics | Self::OpenApi => false,
            Self::Connections { .. }
            | Self::DebugConnections { .. }
            | Self::Connection { .. }
            | Self::Disconnect { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Users { .. }
            | Self::User { .. }
            | Self::DisconnectUser { .. }
            | Self::Cleanup { .. }
            | Self::ConnectionStats
            | Self::Status
            | Self::Publish
            | Self::PublishBatch
            | Self::Broadcast
            | Self::Rooms { .. }
            | Self::Room { .. }
            | Self::PutRoom { .. }
            | Self::RemoveRoom { .. }
            | Self::Members { .. }
            | Self::Messages { .. }
            | Self::RoomStats { .. }
            | Self::Stats
            | Self::Slow { .. } => true,
        }
    }
}

/// Finds the route of a request, or the 400, 404 or 405 that answers it.
///
/// `path` is without query and still percent-encoded. Unknown query parameters are refused under `/v1`, so that a
/// misspelt one does not pass for a default, and ignored elsewhere.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, ApiError> {
    match path {
        "/echo" => on(method, "GET").map(|()| Route::Echo),
        "/health" => on(method, READ).map(|()| Route::Health),
        "/ready" => on(method, READ).map(|()| Route::Ready),
        "/metrics" => on(method, READ).map(|()| Route::Metrics),
        "/openapi.json" => on(method, READ).map(|()| Route::OpenApi),
        "/v1/publish" => on(method, "POST").and_then(|()| no_params(query)).map(|()| Route::Publish),
        "/v1/publish/batch" => {
            on(method, "POST").and_then(|()| no_params(query)).map(|()| Route::PublishBatch)
        }
        "/v1/broadcast" => on(method, "POST").and_then(|()| no_params(query)).map(|()| Route::Broadcast),
        "/v1/stats" => on(method, READ).and_then(|()| no_params(query)).map(|()| Route::Stats),
        "/v1/slow" => on(method, READ).and_then(|()| slow(query)),
        _ => {
            let found = connection_routes::route(method, path, query)
                .or_else(|| room_routes::route(method, path, query));
            found.unwrap_or_else(|| Err(ApiError::not_found("no such path")))
        }
    }
}

pub(super) fn on(method: &str, allow: &'static str) -> Result<(), ApiError> {
    if allow.split(", ").any(|allowed| allowed == method) {
        Ok(())
    } else {
        Err(ApiError::method_not_allowed(allow))
    }
}

pub(super) fn no_params(query: Option<&str>) -> Result<(), ApiError> {
    Params::parse(query, []).map(|_| ())
}

fn slow(query: Option<&str>) -> Result<Route, ApiError> {
    let params = Params::parse(query, ["limit"])?;
    Ok(Route::Slow { limit: params.limit("limit", SLOW_LIMIT_DEFAULT, SLOW_LIMIT_MAX)? })
}

pub(super) fn cursor<const N: usize>(params: &Params<'_, N>) -> Result<MembersCursor, ApiError> {
    match params.text("cursor", CURSOR_BYTES_MAX)?.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|error: NoCursor| ApiError::bad_request(error.to_string())),
        None => Ok(MembersCursor::START),
    }
}

pub(super) fn room_name(encoded: &str) -> Result<RoomName, ApiError> {
    let name = percent_decode(encoded, false, RoomName::BYTES_MAX, "room name")?;
    RoomName::new(&name).map_err(|error| ApiError::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{MEMBERS_LIMIT_DEFAULT, MESSAGES_LIMIT_DEFAULT, ROOMS_LIMIT_DEFAULT};

    fn found(method: &str, target: &str) -> Result<Route, ApiError> {
        match target.split_once('?') {
            Some((path, query)) => route(method, path, Some(query)),
            None => route(method, target, None),
        }
    }

    #[test]
    fn every_route_is_found() {
        let room = |name: &str| Route::Room { name: RoomName::new(name).unwrap() };
        let members_after = |name: &str, cursor, limit| {
            let name = RoomName::new(name).unwrap();
            Route::Members { name, cursor, limit }
        };
        let members = |name, limit| members_after(name, MembersCursor::START, limit);
        let cursor = MembersCursor { shard: 1, encoding: 0, before: 9 };
        let page =
            |name: &str, offset, limit| Route::Messages { name: RoomName::new(name).unwrap(), offset, limit };
        let all = Route::Rooms { prefix: None, cursor: None, limit: ROOMS_LIMIT_DEFAULT };
        for (method, target, expected, key) in [
            ("GET", "/echo?x=1", Route::Echo, false),
            ("GET", "/health", Route::Health, false),
            ("HEAD", "/health?probe=1", Route::Health, false),
            ("GET", "/ready", Route::Ready, false),
            ("GET", "/metrics", Route::Metrics, false),
            ("GET", "/openapi.json", Route::OpenApi, false),
            ("POST", "/v1/publish", Route::Publish, true),
            ("POST", "/v1/publish/batch", Route::PublishBatch, true),
            ("POST", "/v1/broadcast", Route::Broadcast, true),
            ("GET", "/v1/stats", Route::Stats, true),
            ("GET", "/v1/slow", Route::Slow { limit: SLOW_LIMIT_DEFAULT }, true),
            ("GET", "/v1/slow?limit=1000", Route::Slow { limit: 1000 }, true),
            ("GET", "/v1/rooms", all.clone(), true),
            ("GET", "/v1/rooms?prefix=&cursor=", all, true),
            (
                "GET",
                "/v1/rooms?prefix=a%3A&cursor=a%3Ab&limit=7",
                Route::Rooms { prefix: Some("a:".into()), cursor: Some("a:b".into()), limit: 7 },
                true,
            ),
            ("GET", "/v1/rooms/chat", room("chat"), true),
            ("GET", "/v1/rooms/a%2Fb%20c+d%C3%A9", room("a/b c+dé"), true),
            ("HEAD", "/v1/rooms/..", room(".."), true),
            ("GET", "/v1/rooms/members", room("members"), true),
            ("GET", "/v1/rooms/a%2Fb/members", members("a/b", MEMBERS_LIMIT_DEFAULT), true),
            ("GET", "/v1/rooms/members/members?limit=1000&cursor=", members("members", 1000), true),
            ("GET", "/v1/rooms/a/members?limit=5&cursor=1-0-9", members_after("a", cursor, 5), true),
            ("GET", "/v1/rooms/a%2Fb/messages", page("a/b", None, MESSAGES_LIMIT_DEFAULT), true),
            ("HEAD", "/v1/rooms/messages/messages?offset=0&limit=1", page("messages", Some(0), 1), true),
            ("GET", "/v1/rooms/messages", room("messages"), true),
            (
                "GET",
                "/v1/rooms/stats/stats",
                Route::RoomStats { name: RoomName::new("stats").unwrap() },
                true,
            ),
            ("GET", "/v1/rooms/stats", room("stats"), true),
            ("PUT", "/v1/rooms/a%2Fb", Route::PutRoom { name: RoomName::new("a/b").unwrap() }, true),
            ("DELETE", "/v1/rooms/a", Route::RemoveRoom { name: RoomName::new("a").unwrap() }, true),
        ] {
            let route = found(method, target).unwrap();
            assert_eq!(route, expected, "{method} {target}");
            assert_eq!(route.needs_key(), key, "{target}");
        }
    }

    #[test]
    fn unknown_paths_are_404() {
        for target in [
            "/",
            "",
            "*",
            "/ws/",
            "/WS",
            "/healthz",
            "/v1",
            "/v1/",
            "/v1/rooms/",
            "/v1/rooms/a/",
            "/v1/rooms/a/member",
            "/v1/rooms/a/members/",
            "/v1/rooms//members",
            "/v1/rooms//",
            "/v1/rooms//messages",
            "/v1/rooms//stats",
            "/v1/rooms/a/stats/",
            "/v1/rooms/a/messages/",
            "/v1/rooms/a/b/messages",
            "//v1/rooms",
            "/v1/publish/",
            "/v1/publish/batch/",
            "/v1/%70ublish",
            "/v2/rooms",
        ] {
            assert_eq!(found("GET", target).unwrap_err().status, 404, "{target}");
        }
    }

    #[test]
    fn wrong_methods_are_405_and_name_the_right_ones() {
        for (method, target, allow) in [
            ("POST", "/echo", "GET"),
            ("POST", "/health", "GET, HEAD"),
            ("get", "/health", "GET, HEAD"),
            ("", "/health", "GET, HEAD"),
            ("GET,", "/health", "GET, HEAD"),
            ("GET", "/v1/publish", "POST"),
            ("PUT", "/v1/broadcast", "POST"),
            ("GET", "/v1/publish/batch", "POST"),
            ("POST", "/v1/rooms/chat", "GET, HEAD, PUT, DELETE"),
            ("POST", "/v1/rooms/chat/messages", "GET, HEAD"),
            ("DELETE", "/v1/rooms/chat/stats", "GET, HEAD"),
            ("PATCH", "/v1/rooms/%zz", "GET, HEAD, PUT, DELETE"),
            ("OPTIONS", "/v1/rooms", "GET, HEAD"),
        ] {
            let error = found(method, target).unwrap_err();
            assert_eq!((error.status, error.allow), (405, Some(allow)), "{method} {target}");
        }
    }

    #[test]
    fn bad_names_and_parameters_are_400() {
        let long = format!("/v1/rooms/{}", "%61".repeat(256));
        let longest = format!("/v1/rooms/{}", "%61".repeat(255));
        assert!(found("GET", &longest).is_ok());
        let long_prefix = format!("/v1/rooms?prefix={}", "a".repeat(256));
        for target in [
            &long,
            &long_prefix,
            "/v1/rooms/%00",
            "/v1/rooms/a%0Ab",
            "/v1/rooms/%C2%85",
            "/v1/rooms/%",
            "/v1/rooms/%ff",
            "/v1/rooms?limit=0",
            "/v1/rooms?limit=1001",
            "/v1/rooms?limit=10&limit=10",
            "/v1/rooms?prefix=%0A",
            "/v1/rooms?page=2",
            "/v1/rooms/chat?x",
            "/v1/rooms/chat/members?limit=1001",
            "/v1/rooms/%00/members",
            "/v1/rooms/chat/members?cursor=chat",
            "/v1/rooms/chat/members?cursor=1-2-3-4",
            "/v1/rooms/chat/messages?x",
            "/v1/rooms/chat/messages?limit=0",
            "/v1/rooms/chat/messages?limit=1001",
            "/v1/rooms/chat/messages?offset=-1",
            "/v1/rooms/%00/messages",
            "/v1/slow?limit=-1",
            "/v1/stats?x=1",
        ] {
            let error = found("GET", target).unwrap_err();
            assert_eq!(error.status, 400, "{target:.60}");
            assert!(error.text.len() <= 300);
        }
        assert_eq!(found("POST", "/v1/publish?room=a").unwrap_err().status, 400);
    }
}
