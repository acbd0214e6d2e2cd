//! What clients of an endpoint for admins may ask: to see the node, and to act on it.
//!
//! | message | `data` | answer | its `data` |
//! |---|---|---|---|
//! | `get_stats` | | `stats` | the counts of `/v1/stats`, `/v1/stats/connections` and `/ws/status` |
//! | `list_connections` | `user`, `tenant`, `room`, `idle_s`, `cursor`, `limit`: all may be left out | `connections` | as of `/v1/connections` |
//! | `disconnect` | `connectionId`, `reason` | `disconnected` | `connectionId`, `closed` |
//! | `broadcast` | `message`: an object with a `type`, delivered as it is | `broadcasted` | `delivered` |

use super::shared::{Ended, NodeShared};
use crate::api::{
    self, CONNECTIONS_LIMIT_DEFAULT, CONNECTIONS_LIMIT_MAX, ConnectionList, ConnectionStats, Stats,
    StatusCounts, Whole,
};
use crate::model::{ConnectionId, MembersCursor, Which};
use crate::shard::{CustomRequest, Handlers, Request};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Longest reason of a disconnect, in bytes (RFC 6455 section 5.5).
const REASON_BYTES_MAX: usize = 123;

#[derive(Serialize)]
struct NodeStats {
    #[serde(flatten)]
    stats: Stats,
    #[serde(flatten)]
    status: StatusCounts,
    #[serde(flatten)]
    connections: ConnectionStats,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct List {
    user: Option<String>,
    tenant: Option<String>,
    room: Option<String>,
    idle_s: Option<u64>,
    cursor: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Disconnect {
    connection_id: String,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Disconnected<'a> {
    connection_id: &'a str,
    closed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Broadcast<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

#[derive(Serialize)]
struct Delivered {
    delivered: u32,
}

/// What may be asked.
const MESSAGES: [&str; 4] = ["get_stats", "list_connections", "disconnect", "broadcast"];

/// Adds what admins may ask to the handlers of an embedding program.
pub fn handle_admins(node: &Arc<NodeShared>, handlers: &mut Handlers) {
    for event in MESSAGES {
        let node = node.clone();
        let handler = move |request: CustomRequest| {
            let node = node.clone();
            // A handler runs on its shard's thread, and so in the shard's runtime.
            tokio::task::spawn_local(async move {
                if let Err(text) = answer(&node, &request).await {
                    request.error(&text);
                }
            });
        };
        handlers.set_for_admins(event, Arc::new(handler));
    }
}

/// Answers one message, or says what is wrong with it.
async fn answer(node: &NodeShared, request: &CustomRequest) -> Result<(), String> {
    let ended = |_: Ended| "shutting down".to_owned();
    let replied = match request.event() {
        "get_stats" => {
            let status = node.status_counts();
            let connections = node.connection_stats(status.clone());
            request.reply("stats", &NodeStats { stats: node.stats(), status, connections })
        }
        "list_connections" => {
            let List { user, tenant, room, idle_s, cursor, limit } =
                if request.data() == "null" { List::default() } else { read(request)? };
            let idle_ms = idle_s.map(|seconds| seconds.saturating_mul(1000));
            let cursor = cursor
                .map_or(Ok(MembersCursor::START), |text| text.parse())
                .map_err(|error| error.to_string())?;
            let limit = limit.unwrap_or(CONNECTIONS_LIMIT_DEFAULT).clamp(1, CONNECTIONS_LIMIT_MAX) as usize;
            let which = Which { user, tenant, room, idle_ms };
            let (connections, cursor) = node.connections(&which, cursor, limit).await.map_err(ended)?;
            let cursor = cursor.map(|cursor| cursor.to_string());
            request.reply("connections", &ConnectionList { connections, cursor })
        }
        "disconnect" => {
            let Disconnect { connection_id, reason } = read(request)?;
            if reason.as_ref().is_some_and(|text| text.len() > REASON_BYTES_MAX) {
                return Err(format!("reason is longer than {REASON_BYTES_MAX} bytes"));
            }
            let to = ConnectionId::parse(&connection_id);
            let closed = match to {
                Some(to) => {
                    let ask = |reply| Request::Disconnect { to, reason, reply };
                    node.ask(node.shard_of(to), ask).await.map_err(ended)?
                }
                None => false,
            };
            request.reply("disconnected", &Disconnected { connection_id: &connection_id, closed })
        }
        _ => {
            let Broadcast { message } = read(request)?;
            let whole = message.get();
            let Whole { event, data } = api::parse_whole(whole, u32::MAX).map_err(|error| error.text)?;
            let (event, data) = (event.into_owned(), data.map(str::to_owned));
            let (to, whole) = (Box::default(), Some(whole.to_owned()));
            let ask = |reply| Request::Publish { to, event, data, whole, reply };
            let delivered = node.ask(node.shard_of(request.client()), ask).await.map_err(ended)?;
            request.reply("broadcasted", &Delivered { delivered })
        }
    };
    replied.map_err(|error| error.to_string())
}

/// The `data` of a message.
fn read<'a, T: Deserialize<'a>>(request: &'a CustomRequest) -> Result<T, String> {
    // serde reads a struct from an array as well, and tells its name to who sends something else.
    if !request.data().starts_with('{') {
        return Err("data is not as it should be: it must be an object".to_owned());
    }
    serde_json::from_str(request.data()).map_err(|error| format!("data is not as it should be: {error}"))
}
