//! Reads the routes about connections and users.

use super::{Given, Route};
use crate::api::query::percent_decode;
use crate::api::{ApiError, USERS_LIMIT_DEFAULT, USERS_LIMIT_MAX, UsersCursor};
use crate::model::{ConnectionId, Identity, MembersCursor, NoCursor, RoomName, Which};

/// Connections in one page where the request does not say.
pub const CONNECTIONS_LIMIT_DEFAULT: u32 = 100;
/// Most connections in one page.
pub const CONNECTIONS_LIMIT_MAX: u32 = 1000;
/// Slow connections listed where the request does not say.
pub const SLOW_LIMIT_DEFAULT: u32 = 20;
/// Most slow connections listed.
pub const SLOW_LIMIT_MAX: u32 = 1000;

/// Longest reason of a disconnect, in bytes: what a close frame has place for (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Seconds without a message after which a cleanup closes where the request does not say.
const IDLE_S_DEFAULT: u64 = 300;

/// A page of connections that is asked for.
struct Page {
    which: Which,
    cursor: MembersCursor,
    limit: u32,
}

fn page(given: &Given<'_>) -> Result<Page, ApiError> {
    let query = &given.query;
    let name = |name| query.text(name, Identity::NAME_BYTES_MAX);
    let room = query.text("room", RoomName::BYTES_MAX)?;
    let idle_ms = query.number("idle_s")?.map(|seconds| seconds.saturating_mul(1000));
    Ok(Page {
        which: Which { user: name("user")?, tenant: name("tenant")?, room, idle_ms },
        cursor: given.cursor()?,
        limit: query.limit("limit", CONNECTIONS_LIMIT_DEFAULT, CONNECTIONS_LIMIT_MAX)?,
    })
}

pub(super) fn connections(given: &Given<'_>) -> Result<Route, ApiError> {
    page(given).map(|Page { which, cursor, limit }| Route::Connections { which, cursor, limit })
}

pub(super) fn debug_connections(given: &Given<'_>) -> Result<Route, ApiError> {
    page(given).map(|Page { which, cursor, limit }| Route::DebugConnections { which, cursor, limit })
}

pub(super) fn connection(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Connection { id: given.connection()? })
}

pub(super) fn disconnect(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Disconnect { id: given.connection()?, reason: given.reason()? })
}

pub(super) fn join(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Join { id: given.connection()?, room: given.room()? })
}

pub(super) fn leave(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Leave { id: given.connection()?, room: given.room()? })
}

pub(super) fn users(given: &Given<'_>) -> Result<Route, ApiError> {
    let cursor = given.query.text("cursor", UsersCursor::BYTES_MAX)?.filter(|text| !text.is_empty());
    let cursor = match cursor {
        Some(text) => text.parse().map_err(|error: NoCursor| ApiError::bad_request(error.to_string()))?,
        None => UsersCursor::default(),
    };
    Ok(Route::Users {
        tenant: given.tenant()?,
        cursor,
        limit: given.query.limit("limit", USERS_LIMIT_DEFAULT, USERS_LIMIT_MAX)?,
    })
}

pub(super) fn user(given: &Given<'_>) -> Result<Route, ApiError> {
    let user = given.user()?;
    let which = Which { user: Some(user.clone()), tenant: given.tenant()?, ..Which::default() };
    Ok(Route::User { which, user })
}

pub(super) fn disconnect_user(given: &Given<'_>) -> Result<Route, ApiError> {
    let which = Which { user: Some(given.user()?), tenant: given.tenant()?, ..Which::default() };
    Ok(Route::DisconnectUser { which, reason: given.reason()? })
}

pub(super) fn cleanup(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Cleanup { idle_s: given.query.number("idle_s")?.unwrap_or(IDLE_S_DEFAULT) })
}

pub(super) fn slow(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Slow { limit: given.query.limit("limit", SLOW_LIMIT_DEFAULT, SLOW_LIMIT_MAX)? })
}

impl Given<'_> {
    fn connection(&self) -> Result<ConnectionId, ApiError> {
        // A text that is no id is the id of no connection.
        ConnectionId::parse(self.segment("id")).ok_or_else(|| ApiError::not_found("no such connection"))
    }

    fn user(&self) -> Result<String, ApiError> {
        let user = percent_decode(self.segment("user"), Identity::NAME_BYTES_MAX, "user")?;
        if !Identity::is_name(&user) {
            return Err(ApiError::bad_request("user is empty or has control characters"));
        }
        Ok(user)
    }

    fn tenant(&self) -> Result<Option<String>, ApiError> {
        self.query.text("tenant", Identity::NAME_BYTES_MAX)
    }

    fn reason(&self) -> Result<Option<String>, ApiError> {
        self.query.text("reason", REASON_BYTES_MAX)
    }
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
            ("GET", "/v1/users/", 404),
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
