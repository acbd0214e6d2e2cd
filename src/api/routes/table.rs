//! The one list of the routes. Matching, the methods of a path (`Allow`, CORS), the need of a key, the query parameters
//! that are known, and the paths of the OpenAPI document follow from it; the chapter `http` of the guide is held against it by a test.

use super::{Given, Route, connections, rooms};
use crate::api::{ApiError, ClientFile};

/// The callers that a path serves, and what it asks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Open to all. Also on the listeners of clients when `admin_only` withdraws the other routes from there.
    Probe,
    /// Open to all: scrapers know no key, and the document tells nothing of this server.
    Open,
    /// An API key is asked for.
    Key,
    /// An upgrade to WebSocket, for which the rules of the way in hold. It has no `HEAD` and is no operation of OpenAPI.
    Upgrade,
}

/// A parameter of a query, of a path or of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name in the request.
    pub name: &'static str,
    /// Its name among the parameters of the OpenAPI document.
    pub component: &'static str,
}

/// What the query of a request can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Anything, and nothing is read from it: probes and browsers add parameters against caches.
    Ignored,
    /// These parameters, each at most once. Any other is refused, so that a misspelt one does not pass for a default.
    Known(&'static [Param]),
}

impl Query {
    /// The known parameters.
    pub const fn params(self) -> &'static [Param] {
        match self {
            Self::Ignored => &[],
            Self::Known(params) => params,
        }
    }
}

/// A status, and the name of the answer among the responses of the OpenAPI document.
pub type StatusAnswer = (u16, &'static str);

/// Reads path and query of a request whose method, path and parameter names are known to be right.
pub(super) type Read = for<'r> fn(&Given<'r>) -> Result<Route, ApiError>;

/// One route: a method of a path.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The method. `GET` implies `HEAD`, except for [`Access::Upgrade`].
    pub method: &'static str,
    /// The path. `{name}` stands for one segment, percent-encoded, not empty.
    pub path: &'static str,
    /// The callers that it serves.
    pub access: Access,
    /// What its query can hold.
    pub query: Query,
    /// The name of its body among the request bodies of the OpenAPI document.
    pub body: Option<&'static str>,
    /// Header fields that it reads beside those of all requests.
    pub fields: &'static [Param],
    /// Its answers, beside the 400 that all have and the 401 of those that need a key.
    pub answers: &'static [StatusAnswer],
    /// The id of the operation, one for each line.
    pub operation: &'static str,
    /// Under which heading the OpenAPI document lists it.
    pub tag: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    pub(super) read: Read,
}

impl Line {
    /// The methods that this line answers.
    pub const fn methods(&self) -> &'static [&'static str] {
        match (self.method.as_bytes(), self.access) {
            (b"GET", Access::Upgrade) => &["GET"],
            (b"GET", _) => &["GET", "HEAD"],
            (b"PUT", _) => &["PUT"],
            (b"POST", _) => &["POST"],
            (b"DELETE", _) => &["DELETE"],
            _ => &[],
        }
    }

    const fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    const fn fields(mut self, fields: &'static [Param]) -> Self {
        self.fields = fields;
        self
    }

    const fn answers(mut self, answers: &'static [StatusAnswer]) -> Self {
        self.answers = answers;
        self
    }

    const fn read(mut self, read: Read) -> Self {
        self.read = read;
        self
    }

    const fn operation(mut self, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        (self.operation, self.tag, self.summary) = (id, tag, summary);
        self
    }
}

const fn line(method: &'static str, path: &'static str, access: Access, query: Query) -> Line {
    let read: Read = |_| Err(ApiError::not_found("no such path"));
    let (operation, tag, summary) = ("", "", "");
    Line { method, path, access, query, body: None, fields: &[], answers: &[], operation, tag, summary, read }
}

const fn get(path: &'static str, access: Access, query: Query) -> Line {
    line("GET", path, access, query)
}

const fn post(path: &'static str, query: Query) -> Line {
    line("POST", path, Key, query)
}

const fn put(path: &'static str, query: Query) -> Line {
    line("PUT", path, Key, query)
}

const fn delete(path: &'static str, query: Query) -> Line {
    line("DELETE", path, Key, query)
}

const fn param(name: &'static str, component: &'static str) -> Param {
    Param { name, component }
}

/// The segments of paths that are values.
pub const PATH_PARAMS: [Param; 4] =
    [param("room", "Room"), param("id", "Connection"), param("user", "User"), param("page", "Page")];

const CURSOR: Param = param("cursor", "Cursor");
const LIMIT: Param = param("limit", "Limit");
const REASON: Param = param("reason", "Reason");
const TENANT: Param = param("tenant", "OfTenant");

use Access::{Key, Open, Probe, Upgrade};
const ANY: Query = Query::Ignored;
const NONE: Query = Query::Known(&[]);
const ROOMS: Query = Query::Known(&[param("prefix", "Prefix"), param("cursor", "RoomsCursor"), LIMIT]);
const MEMBERS: Query = Query::Known(&[CURSOR, LIMIT]);
const MESSAGES: Query = Query::Known(&[param("offset", "Offset"), LIMIT]);
const CONNECTIONS: Query = Query::Known(&[
    param("user", "OfUser"),
    TENANT,
    param("room", "InRoom"),
    param("idle_s", "IdleFor"),
    CURSOR,
    LIMIT,
]);
const USERS: Query = Query::Known(&[TENANT, param("cursor", "UsersCursor"), LIMIT]);
const USER: Query = Query::Known(&[TENANT]);
const USER_GONE: Query = Query::Known(&[TENANT, REASON]);
const GONE: Query = Query::Known(&[REASON]);
const CLEANUP: Query = Query::Known(&[param("idle_s", "CleanupIdle")]);
const SLOW: Query = Query::Known(&[param("limit", "SlowLimit")]);

const ONCE: &[Param] = &[param("Idempotency-Key", "IdempotencyKey")];

const NOT_FOUND: StatusAnswer = (404, "NotFound");
const TIMEOUT: StatusAnswer = (408, "Timeout");
const TOO_LARGE: StatusAnswer = (413, "TooLarge");
const CODED: StatusAnswer = (415, "Coded");
const UNAVAILABLE: StatusAnswer = (503, "Unavailable");

/// The answers of the routes that publish, with the one of success.
macro_rules! published {
    ($answer:literal) => {
        &[(200, $answer), TIMEOUT, (409, "Conflict"), TOO_LARGE, CODED, (422, "Unprocessable"), UNAVAILABLE]
    };
}

/// All routes but the endpoints of WebSocket clients, which are configuration.
#[rustfmt::skip] // A route is three lines: the request, its answers, and its words in the document.
pub static ROUTES: &[Line] = &[
    get("/echo", Upgrade, ANY)
        .answers(&[]).read(|_| Ok(Route::Echo))
        .operation("echo", "node", "A WebSocket that sends every message back"),
    get("/health", Probe, ANY)
        .answers(&[(200, "Health")]).read(|_| Ok(Route::Health))
        .operation("health", "node", "Whether the process lives"),
    get("/ready", Probe, ANY)
        .answers(&[(200, "Ready"), TIMEOUT, (503, "NotReady")]).read(|_| Ok(Route::Ready))
        .operation("ready", "node", "Whether new connections are welcome"),
    get("/metrics", Open, ANY)
        .answers(&[(200, "Metrics")]).read(|_| Ok(Route::Metrics))
        .operation("metrics", "node", "Metrics for Prometheus"),
    get("/openapi.json", Open, ANY)
        .answers(&[(200, "Document")]).read(|_| Ok(Route::OpenApi))
        .operation("openApi", "node", "This document"),
    get("/fanwire.js", Open, ANY)
        .answers(&[(200, "ClientScript"), (304, "NotModified")]).read(|_| Ok(Route::Client(ClientFile::Script)))
        .operation("client", "node", "The client for browsers and others, one ES module"),
    get("/fanwire.d.ts", Open, ANY)
        .answers(&[(200, "ClientTypes"), (304, "NotModified")]).read(|_| Ok(Route::Client(ClientFile::Types)))
        .operation("clientTypes", "node", "The client's types for TypeScript"),
    get("/docs", Open, ANY)
        .answers(&[(200, "Page"), NOT_FOUND]).read(|_| Ok(Route::Docs { page: String::new() }))
        .operation("docs", "node", "The guide, for people"),
    get("/docs/{page}", Open, ANY)
        .answers(&[(200, "Page"), NOT_FOUND]).read(|given| Ok(Route::Docs { page: given.segment("page").to_owned() }))
        .operation("docsPage", "node", "A chapter of the guide, or what its pages load"),
    post("/v1/publish", NONE).body("Publish").fields(ONCE)
        .answers(published!("Delivered")).read(|_| Ok(Route::Publish))
        .operation("publish", "publish", "Publish to a room, user, tenant, connection, or to all"),
    post("/v1/publish/batch", NONE).body("PublishBatch").fields(ONCE)
        .answers(published!("BatchDelivered")).read(|_| Ok(Route::PublishBatch))
        .operation("publishBatch", "publish", "Publish up to 1000, all or none"),
    post("/v1/broadcast", NONE).body("Broadcast").fields(ONCE)
        .answers(published!("Delivered")).read(|_| Ok(Route::Broadcast))
        .operation("broadcast", "publish", "Publish to all, or as the channels document has it"),
    get("/v1/rooms", Key, ROOMS)
        .answers(&[(200, "RoomList")]).read(rooms::rooms)
        .operation("rooms", "rooms", "Rooms in the order of their names"),
    get("/v1/rooms/{room}", Key, NONE)
        .answers(&[(200, "RoomInfo"), NOT_FOUND]).read(rooms::room)
        .operation("room", "rooms", "One room"),
    put("/v1/rooms/{room}", NONE).body("PutRoom")
        .answers(&[(200, "RoomChanged"), (201, "RoomRegistered"), TIMEOUT, TOO_LARGE, CODED, (507, "Full")]).read(rooms::put)
        .operation("putRoom", "rooms", "Register a room, or change what is said of it"),
    delete("/v1/rooms/{room}", NONE)
        .answers(&[(200, "RoomRemoved"), TIMEOUT, UNAVAILABLE]).read(rooms::remove)
        .operation("removeRoom", "rooms", "Put its members out, empty its history, forget what was said of it"),
    get("/v1/rooms/{room}/members", Key, MEMBERS)
        .answers(&[(200, "RoomMembers"), NOT_FOUND, TIMEOUT, UNAVAILABLE]).read(rooms::members)
        .operation("members", "rooms", "The members of a room"),
    get("/v1/rooms/{room}/messages", Key, MESSAGES)
        .answers(&[(200, "RoomMessages"), NOT_FOUND]).read(rooms::messages)
        .operation("messages", "rooms", "What a room's history keeps"),
    get("/v1/rooms/{room}/stats", Key, NONE)
        .answers(&[(200, "RoomStats"), NOT_FOUND, TIMEOUT, UNAVAILABLE]).read(rooms::stats)
        .operation("roomStats", "rooms", "What is counted of a room"),
    get("/v1/connections", Key, CONNECTIONS)
        .answers(&[(200, "ConnectionList"), TIMEOUT, UNAVAILABLE]).read(connections::connections)
        .operation("connections", "connections", "The connections that fit all that is given"),
    get("/v1/connections/{id}", Key, NONE)
        .answers(&[(200, "ConnectionInfo"), NOT_FOUND, TIMEOUT, UNAVAILABLE]).read(connections::connection)
        .operation("connection", "connections", "One connection"),
    delete("/v1/connections/{id}", GONE)
        .answers(&[(200, "Closed"), NOT_FOUND, TIMEOUT, UNAVAILABLE]).read(connections::disconnect)
        .operation("disconnect", "connections", "Close a connection"),
    put("/v1/connections/{id}/rooms/{room}", NONE)
        .answers(&[(200, "Put"), NOT_FOUND, TIMEOUT, (409, "Refused"), UNAVAILABLE]).read(connections::join)
        .operation("join", "connections", "Put a connection into a room"),
    delete("/v1/connections/{id}/rooms/{room}", NONE)
        .answers(&[(200, "Taken"), NOT_FOUND, TIMEOUT, UNAVAILABLE]).read(connections::leave)
        .operation("leave", "connections", "Take a connection out of a room"),
    get("/v1/users", Key, USERS)
        .answers(&[(200, "UserList"), TIMEOUT, UNAVAILABLE]).read(connections::users)
        .operation("users", "connections", "The users with a connection"),
    get("/v1/users/{user}", Key, USER)
        .answers(&[(200, "UserInfo"), TIMEOUT, UNAVAILABLE]).read(connections::user)
        .operation("user", "connections", "Whether a user is online, and by which connections"),
    delete("/v1/users/{user}", USER_GONE)
        .answers(&[(200, "Closed"), TIMEOUT, UNAVAILABLE]).read(connections::disconnect_user)
        .operation("disconnectUser", "connections", "Close all connections of a user"),
    post("/v1/cleanup", CLEANUP)
        .answers(&[(200, "Closed"), TIMEOUT, UNAVAILABLE]).read(connections::cleanup)
        .operation("cleanup", "connections", "Close the connections without a message for so long"),
    get("/v1/stats", Key, NONE)
        .answers(&[(200, "Stats")]).read(|_| Ok(Route::Stats))
        .operation("stats", "node", "Counts and latencies of the node and of each shard"),
    get("/v1/stats/connections", Key, NONE)
        .answers(&[(200, "ConnectionStats")]).read(|_| Ok(Route::ConnectionStats))
        .operation("connectionStats", "node", "Connections by tenant and by room, as the AegisX platform document has it"),
    get("/v1/slow", Key, SLOW)
        .answers(&[(200, "SlowList"), TIMEOUT, UNAVAILABLE]).read(connections::slow)
        .operation("slow", "node", "The connections with the largest backlogs"),
    get("/ws/status", Key, ANY)
        .answers(&[(200, "Status")]).read(|_| Ok(Route::Status))
        .operation("status", "node", "Clients, rooms and members by room, as the channels document has it"),
    get("/api/v1/debug/websocket/channels", Key, ANY)
        .answers(&[(200, "Status")]).read(|_| Ok(Route::Status))
        .operation("debugChannels", "node", "The same, under its name in the topics document"),
    get("/api/v1/debug/websocket/connections", Key, CONNECTIONS)
        .answers(&[(200, "TrackedList"), TIMEOUT, UNAVAILABLE]).read(connections::debug_connections)
        .operation("debugConnections", "connections", "The same list of connections, in the words of the topics document"),
];
