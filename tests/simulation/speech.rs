//! What clients say in the dialect `rooms`, and what they must hear for it, word for word, written from the
//! document and apart from the server's own code. A further dialect is one more file like this.

use super::random::Random;
use super::stream::Change;
use serde_json::Value;

/// What a client asks for.
#[derive(Debug, Clone)]
pub enum Ask {
    Join {
        room: usize,
        /// Epoch and offset of what it has seen.
        recover: Option<(String, u64)>,
    },
    Leave(usize),
    Say {
        room: usize,
        data: Option<String>,
    },
    Shout {
        data: Option<String>,
    },
    /// Who is in a room.
    Who(usize),
    Ping,
    /// A type that the embedding program handles.
    Echo {
        data: Option<String>,
    },
    /// A message that is refused whatever the state, with this error.
    Wrong(&'static str),
}

/// A message of a client.
#[derive(Debug, Clone)]
pub struct Request {
    pub ask: Ask,
    /// As it must be echoed.
    pub id: Option<String>,
    pub text: String,
}

/// Names that need escapes, more than one byte per character, or are prefixes of each other.
pub const ROOMS: [&str; 8] = ["a", "a:b", "caf\u{e9}", "q\"uote", "back\\slash", "\u{1f980} crab", "b", "c"];

pub const NOT_SUBSCRIBED: &str = "not subscribed to this room";
pub const ROOM_FULL: &str = "room is at maximum capacity";
pub const TOO_MANY_ROOMS: &str = "too many rooms for one connection";
pub const RATE_LIMITED: &str = "rate limit exceeded";
pub const PRESENCE_DISABLED: &str = "presence is not enabled for this room";
pub const BROADCAST_DISABLED: &str = "broadcast is disabled";
const INVALID: &str = "invalid JSON format";
const ROOM_INVALID: &str = "room name is invalid: at most 255 bytes and no control characters";

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// Puts an ask into words.
pub fn request(random: &mut Random, ask: Ask, id: Option<String>) -> Request {
    let (kind, room, data) = match &ask {
        Ask::Join { room, .. } => ("subscribe", Some(*room), None),
        Ask::Who(room) => ("presence", Some(*room), None),
        Ask::Leave(room) => ("unsubscribe", Some(*room), None),
        Ask::Say { room, data } => ("publish", Some(*room), data.clone()),
        Ask::Shout { data } => ("broadcast", None, data.clone()),
        Ask::Ping => ("ping", None, None),
        Ask::Echo { data } => ("echo", None, data.clone()),
        Ask::Wrong(_) => unreachable!("made by `wrong`"),
    };
    let mut fields = vec![format!("\"type\":\"{kind}\"")];
    fields.extend(room.map(|room| format!("\"room\":{}", quoted(ROOMS[room]))));
    fields.extend(data.map(|data| format!("\"data\": {data}")));
    if let Ask::Join { recover: Some((epoch, offset)), .. } = &ask {
        fields.push(format!("\"recover\":{{\"epoch\":\"{epoch}\", \"offset\":{offset}}}"));
    }
    fields.extend(id.as_ref().map(|id| format!("\"id\":{id}")));
    if random.percent(10) {
        fields.push("\"other\":[1,null]".into());
    }
    random.shuffle(&mut fields);
    let text = format!("{{{}}}", fields.join(if random.percent(20) { " ,\n" } else { "," }));
    Request { ask, id, text }
}

/// A message that is refused.
pub fn wrong(random: &mut Random, depth_max: u32, id: Option<String>) -> Request {
    let field = id.as_ref().map_or(String::new(), |id| format!(",\"id\":{id}"));
    let deep = "[".repeat(depth_max as usize) + &"]".repeat(depth_max as usize);
    let long = "x".repeat(256);
    let (error, id, text) = match random.below(9) {
        0 => (INVALID, None, "{\"type\":\"ping\"".to_owned()),
        1 => (INVALID, None, "[\"ping\"]".to_owned()),
        2 => (INVALID, None, "{\"type\":\"ping\",\"id\":{}}".to_owned()),
        3 => (INVALID, id, format!("{{\"type\":\"publish\",\"room\":7{field}}}")),
        4 => ("JSON is nested too deep", None, format!("{{\"type\":\"ping\",\"data\":{deep}{field}}}")),
        5 => ("room name is required", id, format!("{{\"type\":\"subscribe\"{field}}}")),
        6 => (ROOM_INVALID, id, format!("{{\"type\":\"unsubscribe\",\"room\":\"{long}\"{field}}}")),
        7 => (ROOM_INVALID, id, format!("{{\"type\":\"publish\",\"room\":\"a\\u0007\"{field}}}")),
        _ => ("unknown message type", id, format!("{{\"type\":\"nobody\"{field}}}")),
    };
    Request { ask: Ask::Wrong(error), id, text }
}

fn with_id(id: Option<&str>, unix_ms: u64) -> String {
    id.map_or(String::new(), |id| format!(",\"id\":{id}")) + &format!(",\"timestamp\":{unix_ms}}}")
}

fn with_offset(offset: Option<u64>) -> String {
    offset.map_or(String::new(), |offset| format!(",\"offset\":{offset}"))
}

fn with_data(data: Option<&str>) -> String {
    data.map_or(String::new(), |data| format!(",\"data\":{data}"))
}

pub fn connected(client: &str, unix_ms: u64) -> String {
    format!(
        "{{\"type\":\"connected\",\"data\":{{\"client_id\":\"{client}\",\"message\":\
         \"Connected to WebSocket server\"}},\"timestamp\":{unix_ms}}}"
    )
}

/// What stands before and after the number of members.
pub fn joined(room: usize, id: Option<&str>, unix_ms: u64) -> (String, String) {
    let room = quoted(ROOMS[room]);
    (
        format!("{{\"type\":\"subscribed\",\"room\":{room},\"data\":{{\"room\":{room},\"client_count\":"),
        format!("}}{}", with_id(id, unix_ms)),
    )
}

pub fn left(room: usize, id: Option<&str>, unix_ms: u64) -> String {
    let room = quoted(ROOMS[room]);
    format!(
        "{{\"type\":\"unsubscribed\",\"room\":{room},\"data\":{{\"room\":{room}}}{}",
        with_id(id, unix_ms)
    )
}

pub fn published(room: Option<usize>, offset: Option<u64>, id: Option<&str>, unix_ms: u64) -> String {
    let room = room.map_or(String::new(), |room| format!(",\"room\":{}", quoted(ROOMS[room])));
    format!("{{\"type\":\"published\"{room}{}{}", with_offset(offset), with_id(id, unix_ms))
}

pub fn pong(id: Option<&str>, unix_ms: u64) -> String {
    format!("{{\"type\":\"pong\"{}", with_id(id, unix_ms))
}

pub fn error(text: &str, id: Option<&str>, unix_ms: u64) -> String {
    format!("{{\"type\":\"error\",\"error\":{}{}", quoted(text), with_id(id, unix_ms))
}

/// A message of the embedding program to one connection.
pub fn event(event: &str, data: Option<&str>, id: Option<&str>, unix_ms: u64) -> String {
    format!("{{\"type\":{}{}{}", quoted(event), with_data(data), with_id(id, unix_ms))
}

pub fn publication(
    event: &str,
    room: Option<usize>,
    data: Option<&str>,
    sender: Option<&str>,
    offset: Option<u64>,
    unix_ms: u64,
) -> String {
    let room = room.map_or(String::new(), |room| format!(",\"room\":{}", quoted(ROOMS[room])));
    let sender = sender.map_or(String::new(), |sender| format!(",\"client_id\":\"{sender}\""));
    let (event, data, offset) = (quoted(event), with_data(data), with_offset(offset));
    format!("{{\"type\":{event}{room}{data}{sender}{offset},\"timestamp\":{unix_ms}}}")
}

/// The room and the number of lost publications that a notice of a loss tells.
pub fn gap(text: &str) -> Option<(usize, u64)> {
    let rest = text.strip_prefix("{\"type\":\"gap\",\"room\":")?;
    let is_of = |room: &&str| rest.starts_with(&quoted(room)) && rest[quoted(room).len()..].starts_with(',');
    let room = ROOMS.iter().position(is_of)?;
    let rest = rest[quoted(ROOMS[room]).len()..].strip_prefix(",\"data\":{\"lost\":")?;
    let (lost, rest) = rest.split_once("},\"timestamp\":")?;
    rest.strip_suffix('}')?.parse::<u64>().ok()?;
    Some((room, lost.parse().ok()?))
}

/// Names that stand in a list, sorted.
fn names(list: &Value) -> Option<Vec<String>> {
    let mut names: Vec<_> = list.as_array()?.iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect();
    names.sort_unstable();
    Some(names)
}

/// What a notice of presence tells, and of which room.
pub fn change(text: &str) -> Option<(usize, Change)> {
    text.strip_prefix("{\"type\":\"presence_change\",\"room\":")?;
    let value: Value = serde_json::from_str(text).ok()?;
    let room = ROOMS.iter().position(|room| value["room"] == **room)?;
    let data = &value["data"];
    let (came, went) = (names(&data["joined"])?, names(&data["left"])?);
    let (count, unix_ms) = (data["client_count"].as_u64()?, value["timestamp"].as_u64()?);
    Some((room, Change { came, went, count, unix_ms }))
}

/// Whether a frame answers who is in a room; if not `exact`, some of `expected` may be missing.
pub fn is_presence(
    payload: &[u8],
    room: usize,
    expected: &[String],
    id: Option<&str>,
    unix_ms: u64,
    exact: bool,
) -> bool {
    let Some(text) = std::str::from_utf8(payload).ok() else { return false };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    let named = names(&value["data"]["clients"]).unwrap_or_default();
    let count = value["data"]["client_count"].as_u64() == Some(named.len() as u64);
    let fits = value["type"] == "presence" && value["room"] == ROOMS[room] && count;
    let here = named == expected || !exact && named.iter().all(|name| expected.contains(name));
    fits && here && text.ends_with(&with_id(id, unix_ms))
}
