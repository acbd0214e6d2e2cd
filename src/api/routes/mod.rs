//! Which route a request is for: the table is in [`table`](ROUTES), a router finds the path, and here is what follows
//! from both.

mod connections;
mod rooms;
mod route;
mod table;

pub use connections::{CONNECTIONS_LIMIT_DEFAULT, CONNECTIONS_LIMIT_MAX, SLOW_LIMIT_DEFAULT, SLOW_LIMIT_MAX};
pub use rooms::{
    MEMBERS_LIMIT_DEFAULT, MEMBERS_LIMIT_MAX, MESSAGES_LIMIT_DEFAULT, MESSAGES_LIMIT_MAX, ROOM_USERS_MAX,
    ROOMS_LIMIT_DEFAULT, ROOMS_LIMIT_MAX,
};
pub use route::Route;
pub use table::{Access, Line, PATH_PARAMS, Param, Query, ROUTES, StatusAnswer};

use super::ApiError;
use super::query::{Params, percent_decode};
use crate::model::{MembersCursor, NoCursor, RoomName};
use std::sync::LazyLock;

/// Longest cursor of a page of members: three numbers.
const CURSOR_BYTES_MAX: usize = 20;

/// What stands at one path of the table.
struct Place {
    lines: Vec<&'static Line>,
    /// The methods of all lines, as `Allow` has them (RFC 9110 section 10.2.1).
    allow: String,
}

static PLACES: LazyLock<matchit::Router<Place>> = LazyLock::new(|| {
    let mut router = matchit::Router::new();
    let mut lines = ROUTES;
    while let Some(first) = lines.first() {
        let (here, rest) = lines.split_at(lines.iter().take_while(|line| line.path == first.path).count());
        let methods: Vec<&str> = here.iter().flat_map(|line| line.methods()).copied().collect();
        let place = Place { lines: here.iter().collect(), allow: methods.join(", ") };
        let inserted = router.insert(first.path, place);
        debug_assert!(inserted.is_ok(), "{}: {inserted:?}", first.path);
        lines = rest;
    }
    router
});

/// A path of the table that a request asks for.
pub struct Found<'p> {
    place: &'static Place,
    segments: matchit::Params<'static, 'p>,
}

/// What path and query of a request say.
struct Given<'r> {
    segments: &'r matchit::Params<'static, 'r>,
    query: Params<'r>,
}

/// Finds a path, which is without query and still percent-encoded, among those of the table. A slash at the end, a
/// doubled one, and another spelling of a fixed segment make it another path.
pub fn find(path: &str) -> Option<Found<'_>> {
    let found = PLACES.at(path).ok()?;
    Some(Found { place: found.value, segments: found.params })
}

/// Finds the route of a request, or the 400, 404 or 405 that answers it.
///
/// # Errors
/// That answer.
pub fn route(method: &str, path: &str, query: Option<&str>) -> Result<Route, ApiError> {
    find(path).ok_or_else(|| ApiError::not_found("no such path"))?.route(method, query)
}

impl Found<'_> {
    /// The callers that the path serves: the same for all of its methods.
    pub fn access(&self) -> Access {
        self.place.lines.first().map_or(Access::Key, |line| line.access)
    }

    /// The route of a request for this path with this method and query. The answer to `HEAD` is the one to `GET` without
    /// its body.
    ///
    /// # Errors
    /// A 405 for a method that the path is not for, and a 400 for a value that is wrong.
    pub fn route(&self, method: &str, query: Option<&str>) -> Result<Route, ApiError> {
        let line = self.place.lines.iter().find(|line| line.methods().contains(&method));
        let line = line.ok_or_else(|| ApiError::method_not_allowed(&self.place.allow))?;
        let query = match line.query {
            Query::Ignored => Params::default(),
            Query::Known(params) => Params::parse(query, params)?,
        };
        (line.read)(&Given { segments: &self.segments, query })
    }
}

impl Given<'_> {
    /// A segment of the path, percent-encoded.
    fn segment(&self, name: &str) -> &str {
        self.segments.get(name).unwrap_or_default()
    }

    fn room(&self) -> Result<RoomName, ApiError> {
        let name = percent_decode(self.segment("room"), RoomName::BYTES_MAX, "room name")?;
        RoomName::new(&name).map_err(|error| ApiError::bad_request(error.to_string()))
    }

    fn cursor(&self) -> Result<MembersCursor, ApiError> {
        match self.query.text("cursor", CURSOR_BYTES_MAX)?.filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map_err(|error: NoCursor| ApiError::bad_request(error.to_string())),
            None => Ok(MembersCursor::START),
        }
    }
}

#[cfg(test)]
mod tests;
