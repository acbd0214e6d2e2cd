//! Reads the routes about rooms, their members and their histories.

use super::{Given, Route};
use crate::api::ApiError;
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

pub(super) fn rooms(given: &Given<'_>) -> Result<Route, ApiError> {
    let query = &given.query;
    // An empty text sets no bound, as if it were not given.
    let text = |name| Ok(query.text(name, RoomName::BYTES_MAX)?.filter(|text| !text.is_empty()));
    Ok(Route::Rooms {
        prefix: text("prefix")?,
        cursor: text("cursor")?,
        limit: query.limit("limit", ROOMS_LIMIT_DEFAULT, ROOMS_LIMIT_MAX)?,
    })
}

pub(super) fn room(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Room { name: given.room()? })
}

pub(super) fn put(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::PutRoom { name: given.room()? })
}

pub(super) fn remove(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::RemoveRoom { name: given.room()? })
}

pub(super) fn members(given: &Given<'_>) -> Result<Route, ApiError> {
    let limit = given.query.limit("limit", MEMBERS_LIMIT_DEFAULT, MEMBERS_LIMIT_MAX)?;
    Ok(Route::Members { name: given.room()?, cursor: given.cursor()?, limit })
}

pub(super) fn messages(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::Messages {
        name: given.room()?,
        offset: given.query.number("offset")?,
        limit: given.query.limit("limit", MESSAGES_LIMIT_DEFAULT, MESSAGES_LIMIT_MAX)?,
    })
}

pub(super) fn stats(given: &Given<'_>) -> Result<Route, ApiError> {
    Ok(Route::RoomStats { name: given.room()? })
}
