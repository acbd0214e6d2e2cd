//! The routes about rooms, their members and their histories.

use super::ApiError;
use super::query::Params;
use super::route::{READ, Route, cursor, no_params, on, room_name};
use crate::model::RoomName;

/// Rooms in one page of a list where the request does not say.
pub const ROOMS_LIMIT_DEFAULT: u32 = 100;
/// Most rooms in one page: a page is built in memory on every shard.
pub const ROOMS_LIMIT_MAX: u32 = 1000;
/// Members of a room listed where the request does not say.
pub const MEMBERS_LIMIT_DEFAULT: u32 = 100;
/// Most members of a room listed.
pub const MEMBERS_LIMIT_MAX: u32 = 1000;
/// Members of a room up to which its different users are counted: each is looked at.
pub const ROOM_USERS_MAX: u32 = 100_000;
/// Publications in one page of a room's history where the request does not say.
pub const MESSAGES_LIMIT_DEFAULT: u32 = 100;
/// Most publications in one page; their bytes are bounded as well.
pub const MESSAGES_LIMIT_MAX: u32 = 1000;

/// What may be done with a room.
const ROOM: &str = "GET, HEAD, PUT, DELETE";

/// The route of a path about rooms; `None` if it is none of these.
pub(super) fn route(method: &str, path: &str, query: Option<&str>) -> Option<Result<Route, ApiError>> {
    if path == "/v1/rooms" {
        return Some(on(method, READ).and_then(|()| rooms(query)));
    }
    // A bare slash separates the room's name from what stands below it.
    let (name, below) =
        path.strip_prefix("/v1/rooms/").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
    if name.is_empty() || path.ends_with('/') {
        return None;
    }
    Some(match below {
        "" => on(method, ROOM).and_then(|()| no_params(query)).and_then(|()| room(method, name)),
        "members" => on(method, READ).and_then(|()| members(name, query)),
        "messages" => on(method, READ).and_then(|()| messages(name, query)),
        "stats" => on(method, READ)
            .and_then(|()| no_params(query))
            .and_then(|()| Ok(Route::RoomStats { name: room_name(name)? })),
        _ => return None,
    })
}

fn rooms(query: Option<&str>) -> Result<Route, ApiError> {
    let params = Params::parse(query, ["prefix", "cursor", "limit"])?;
    // An empty text sets no bound, as if it were not given.
    let text = |name| Ok(params.text(name, RoomName::BYTES_MAX)?.filter(|text| !text.is_empty()));
    Ok(Route::Rooms {
        prefix: text("prefix")?,
        cursor: text("cursor")?,
        limit: params.limit("limit", ROOMS_LIMIT_DEFAULT, ROOMS_LIMIT_MAX)?,
    })
}

fn room(method: &str, encoded: &str) -> Result<Route, ApiError> {
    let name = room_name(encoded)?;
    Ok(match method {
        "PUT" => Route::PutRoom { name },
        "DELETE" => Route::RemoveRoom { name },
        _ => Route::Room { name },
    })
}

fn members(encoded: &str, query: Option<&str>) -> Result<Route, ApiError> {
    let params = Params::parse(query, ["cursor", "limit"])?;
    let limit = params.limit("limit", MEMBERS_LIMIT_DEFAULT, MEMBERS_LIMIT_MAX)?;
    Ok(Route::Members { name: room_name(encoded)?, cursor: cursor(&params)?, limit })
}

fn messages(encoded: &str, query: Option<&str>) -> Result<Route, ApiError> {
    let params = Params::parse(query, ["limit", "offset"])?;
    Ok(Route::Messages {
        name: room_name(encoded)?,
        offset: params.number("offset")?,
        limit: params.limit("limit", MESSAGES_LIMIT_DEFAULT, MESSAGES_LIMIT_MAX)?,
    })
}
