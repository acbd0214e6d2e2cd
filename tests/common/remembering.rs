//! Rooms that remember: rules, joining with and without recovery, what is kept.

use super::{Client, Server};
use serde_json::{Value, json};

/// Rooms `h:*` have a history of 1000 messages, `v:*` a last value, `hv:*` both; `short:*` and `brief:*` the same for a
/// second; `few:*` and `small:*` a history with narrow bounds; others nothing.
pub const RULES: &str = r#"--room-rules=[
    {"pattern":"h:*","history_messages":1000},
    {"pattern":"v:*","last_value":true},
    {"pattern":"hv:*","history_messages":3,"last_value":true},
    {"pattern":"few:*","history_messages":3},
    {"pattern":"brief:*","last_value":true,"history_ttl":"1s"},
    {"pattern":"short:*","history_messages":1000,"history_ttl":"1s"},
    {"pattern":"small:*","history_messages":1000,"history_bytes":"1KiB"}
]"#;

/// A server of four shards with [`RULES`].
pub fn server() -> Server {
    Server::start(&["--shards=4", RULES])
}

/// A place in a room's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Of which history.
    pub epoch: String,
    /// What has been seen, up to and with this.
    pub offset: u64,
}

/// Joins; where the order stands.
pub fn join(client: &mut Client, room: &str) -> Seen {
    client.send_text(&json!({"type": "subscribe", "room": room}).to_string());
    let (seen, recovered) = joined(client);
    assert_eq!(recovered, None);
    seen
}

/// Joins and asks for what was missed; where the order stands and whether it could be told.
pub fn recover(client: &mut Client, room: &str, seen: &Seen) -> (Seen, bool) {
    let recover = json!({"epoch": seen.epoch, "offset": seen.offset});
    client.send_text(&json!({"type": "subscribe", "room": room, "recover": recover}).to_string());
    let (seen, recovered) = joined(client);
    (seen, recovered.expect("recovery was asked"))
}

fn joined(client: &mut Client) -> (Seen, Option<bool>) {
    client.expect_json(|answer| {
        assert_eq!(answer["type"], "subscribed", "{answer}");
        let data = &answer["data"];
        let epoch = data["epoch"].as_str().unwrap_or_default().to_owned();
        let seen = Seen { epoch, offset: data["offset"].as_u64().unwrap_or_default() };
        (seen, data.get("recovered").map(|recovered| recovered.as_bool().unwrap()))
    })
}

/// Publishes by the API; the offset.
pub fn publish(server: &Server, room: &str, data: &Value) -> u64 {
    let answer = server.post("/v1/publish", &json!({"room": room, "data": data}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["offset"].as_u64().unwrap_or_default()
}

/// The next message: its offset and data.
pub fn next(client: &mut Client) -> (u64, Value) {
    client.expect_json(|message| {
        assert_eq!(message["type"], "message", "{message}");
        (message["offset"].as_u64().unwrap_or_default(), message["data"].clone())
    })
}

/// The messages that a history keeps: their offsets.
pub fn kept(server: &Server, room: &str, query: &str) -> Vec<u64> {
    let answer = server.get(&format!("/v1/rooms/{room}/messages{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let page = answer.json();
    let messages = page["messages"].as_array().unwrap().iter();
    messages.map(|message| message["offset"].as_u64().unwrap()).collect()
}
