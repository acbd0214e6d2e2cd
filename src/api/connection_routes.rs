//! The routes about connections and users, and the status pages of the documents.

use super::query::{Params, percent_decode};
use super::route::{READ, Route, cursor, no_params, on, room_name};
use super::{ApiError, MembersCursor, NoCursor, USERS_LIMIT_DEFAULT, USERS_LIMIT_MAX, UsersCursor, Which};
use crate::model::{ConnectionId, Identity, RoomName};

/// Connections in one page where the request does not say.
pub const CONNECTIONS_LIMIT_DEFAULT: u32 = 100;

/// Most connections in one page.
pub const CONNECTIONS_LIMIT_MAX: u32 = 1000;

/// Longest reason of a disconnect, in bytes: what a close frame has place for (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Seconds without a message after which a cleanup closes where the request does not say.
const IDLE_S_DEFAULT: u64 = 300;

/// The route of a path about connections; `None` if it is none of these.
pub(super) fn route(method: &str, path: &str, query: Option<&str>) -> Option<Result<Route, ApiError>> {
    Some(match path {
        "/v1/connections" => on(method, READ)
            .and_then(|()| connections(query))
            .map(|Asked { which, cursor, limit }| Route::Connections { which, cursor, limit }),
        "/v1/users" => on(method, READ).and_then(|()| users(query)),
        "/v1/stats/connections" => {
            on(method, READ).and_then(|()| no_params(query)).map(|()| Route::ConnectionStats)
        }
        "/v1/cleanup" => on(method, "POST").and_then(|()| cleanup(query)),
        "/ws/status" => on(method, READ).map(|()| Route::Status),
        "/api/v1/debug/websocket/connections" => on(method, READ)
            .and_then(|()| connections(query))
            .map(|Asked { which, cursor, limit }| Route::DebugConnections { which, cursor, limit }),
        "/api/v1/debug/websocket/channels" => on(method, READ).map(|()| Route::Status),
        _ => {
            if let Some(user) = path.strip_prefix("/v1/users/").filter(|user| !user.contains('/')) {
                return Some(self::user(method, user, query));
            }
            let (id, rest) = path
                .strip_prefix("/v1/connections/")
                .map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
            match rest.strip_prefix("rooms/") {
                Some(room) if !room.is_empty() && !room.contains('/') => membership(method, id, room, query),
                None if rest.is_empty() && !path.ends_with('/') => connection(method, id, query),
                _ => return None,
            }
        }
    })
}

/// A page of connections that is asked for.
struct Asked {
    which: Which,
    cursor: MembersCursor,
    limit: u32,
}

fn connections(query: Option<&str>) -> Result<Asked, ApiError> {
    let params = Params::parse(query, ["user", "tenant", "room", "idle_s", "cursor", "limit"])?;
    let name = |name| params.text(name, Identity::NAME_BYTES_MAX);
    let room = params.text("room", RoomName::BYTES_MAX)?;
    let idle_ms = params.number("idle_s")?.map(|seconds| seconds.saturating_mul(1000));
    Ok(Asked {
        which: Which { user: name("user")?, tenant: name("tenant")?, room, idle_ms },
        cursor: cursor(&params)?,
        limit: params.limit("limit", CONNECTIONS_LIMIT_DEFAULT, CONNECTIONS_LIMIT_MAX)?,
    })
}

fn users(query: Option<&str>) -> Result<Route, ApiError> {
    let params = Params::parse(query, ["tenant", "cursor", "limit"])?;
    let cursor = match params.text("cursor", UsersCursor::BYTES_MAX)?.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|error: NoCursor| ApiError::bad_request(error.to_string()))?,
        None => UsersCursor::default(),
    };
    Ok(Route::Users {
        tenant: params.text("tenant", Identity::NAME_BYTES_MAX)?,
        cursor,
        limit: params.limit("limit", USERS_LIMIT_DEFAULT, USERS_LIMIT_MAX)?,
    })
}

fn cleanup(query: Option<&str>) -> Result<Route, ApiError> {
    let params = Params::parse(query, ["idle_s"])?;
    Ok(Route::Cleanup { idle_s: params.number("idle_s")?.unwrap_or(IDLE_S_DEFAULT) })
}

fn connection(method: &str, id: &str, query: Option<&str>) -> Result<Route, ApiError> {
    on(method, "GET, HEAD, DELETE")?;
    if method == "DELETE" {
        let params = Params::parse(query, ["reason"])?;
        return Ok(Route::Disconnect { id: connection_id(id)?, reason: reason(&params)? });
    }
    no_params(query)?;
    Ok(Route::Connection { id: connection_id(id)? })
}

fn membership(method: &str, id: &str, room: &str, query: Option<&str>) -> Result<Route, ApiError> {
    on(method, "PUT, DELETE")?;
    no_params(query)?;
    let (id, room) = (connection_id(id)?, room_name(room)?);
    Ok(if method == "PUT" { Route::Join { id, room } } else { Route::Leave { id, room } })
}

fn user(method: &str, encoded: &str, query: Option<&str>) -> Result<Route, ApiError> {
    on(method, "GET, HEAD, DELETE")?;
    let user = percent_decode(encoded, false, Identity::NAME_BYTES_MAX, "user")?;
    if !Identity::is_name(&user) {
        return Err(ApiError::bad_request("user is empty or has control characters"));
    }
    let which = |tenant| Which { user: Some(user.clone()), tenant, ..Which::default() };
    if method == "DELETE" {
        let params = Params::parse(query, ["tenant", "reason"])?;
        let tenant = params.text("tenant", Identity::NAME_BYTES_MAX)?;
        return Ok(Route::DisconnectUser { which: which(tenant), reason: reason(&params)? });
    }
    let params = Params::parse(query, ["tenant"])?;
    Ok(Route::User { which: which(params.text("tenant", Identity::NAME_BYTES_MAX)?), user })
}

fn reason<const N: usize>(params: &Params<'_, N>) -> Result<Option<String>, ApiError> {
    params.text("reason", REASON_BYTES_MAX)
}

fn connection_id(text: &str) -> Result<ConnectionId, ApiError> {
    // What is no id is the id of no connection.
    ConnectionId::parse(text).ok_or_else(|| ApiError::not_found("no such connection"))
}

#[cfg(test)]
mod tests {
    use super::super::route;
    use super::*;

    const ID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";

    fn found(method: &str, target: &str) -> Result<Route, ApiError> {
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        route(method, path, query)
    }

    #[test]
    fn every_route_is_found() {
        let id = ConnectionId::parse(ID).unwrap();
        let room = RoomName::new("a/b").unwrap();
        let all = |which, limit| Route::Connections { which, cursor: MembersCursor::START, limit };
        let of = |user: &str| Which { user: Some(user.to_owned()), ..Which::default() };
        let bye = Some("bye bye".to_owned());
        for (method, target, expected) in [
            ("GET", "/v1/connections", all(Which::default(), CONNECTIONS_LIMIT_DEFAULT)),
            ("GET", "/v1/connections?user=u%201&limit=7", all(of("u 1"), 7)),
            (
                "GET",
                "/v1/connections?idle_s=2&room=r&tenant=t",
                all(
                    Which {
                        idle_ms: Some(2000),
                        room: Some("r".into()),
                        tenant: Some("t".into()),
                        ..Which::default()
                    },
                    CONNECTIONS_LIMIT_DEFAULT,
                ),
            ),
            (
                "GET",
                "/api/v1/debug/websocket/connections?user=u&limit=8",
                Route::DebugConnections { which: of("u"), cursor: MembersCursor::START, limit: 8 },
            ),
            ("GET", "/api/v1/debug/websocket/channels", Route::Status),
            ("HEAD", "/ws/status", Route::Status),
            ("GET", "/v1/stats/connections", Route::ConnectionStats),
            ("POST", "/v1/cleanup", Route::Cleanup { idle_s: 300 }),
            ("POST", "/v1/cleanup?idle_s=0", Route::Cleanup { idle_s: 0 }),
            ("GET", &format!("/v1/connections/{ID}"), Route::Connection { id }),
            ("DELETE", &format!("/v1/connections/{ID}"), Route::Disconnect { id, reason: None }),
            (
                "DELETE",
                &format!("/v1/connections/{ID}?reason=bye+bye"),
                Route::Disconnect { id, reason: bye.clone() },
            ),
            ("PUT", &format!("/v1/connections/{ID}/rooms/a%2Fb"), Route::Join { id, room: room.clone() }),
            ("DELETE", &format!("/v1/connections/{ID}/rooms/a%2Fb"), Route::Leave { id, room }),
            (
                "GET",
                "/v1/users",
                Route::Users { tenant: None, cursor: UsersCursor::default(), limit: USERS_LIMIT_DEFAULT },
            ),
            (
                "HEAD",
                "/v1/users?tenant=t&cursor=7/ann%2Ft&limit=1000",
                Route::Users { tenant: Some("t".into()), cursor: "7/ann/t".parse().unwrap(), limit: 1000 },
            ),
            ("GET", "/v1/users/u%2F1", Route::User { which: of("u/1"), user: "u/1".into() }),
            ("DELETE", "/v1/users/u?reason=bye+bye", Route::DisconnectUser { which: of("u"), reason: bye }),
        ] {
            let route = found(method, target).unwrap();
            assert_eq!(route, expected, "{method} {target}");
            assert!(route.needs_key(), "{target}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = format!("/v1/connections/{ID}?reason={}", "a".repeat(124));
        for (method, target, status) in [
            ("POST", "/v1/connections", 405),
            ("GET", "/v1/cleanup", 405),
            ("GET", "/v1/stats/connections?x=1", 400),
            ("POST", "/ws/status", 405),
            ("POST", &format!("/v1/connections/{ID}/rooms/a"), 405),
            ("GET", "/v1/connections/none", 404),
            ("GET", "/v1/connections/", 404),
            ("PUT", &format!("/v1/connections/{ID}/rooms/"), 404),
            ("PUT", &format!("/v1/connections/{ID}/rooms/a/b"), 404),
            ("PUT", &format!("/v1/connections/{ID}/room/a"), 404),
            ("GET", "/v1/users/a/b", 404),
            ("GET", "/v1/users/", 400),
            ("POST", "/v1/users", 405),
            ("GET", "/v1/users?limit=0", 400),
            ("GET", "/v1/users?limit=1001", 400),
            ("GET", "/v1/users?user=x", 400),
            ("GET", "/v1/users?cursor=0/", 400),
            ("GET", "/v1/users?cursor=0/%00", 400),
            ("GET", "/v1/users/%00", 400),
            ("PUT", &format!("/v1/connections/{ID}/rooms/%00"), 400),
            ("GET", "/v1/connections?limit=1001", 400),
            ("GET", "/v1/connections?name=x", 400),
            ("GET", "/v1/connections?cursor=x", 400),
            ("POST", "/v1/cleanup?idle_s=-1", 400),
            ("DELETE", &long, 400),
        ] {
            assert_eq!(found(method, target).unwrap_err().status, status, "{method} {target}");
        }
    }
}
