//! Members of rooms that may lose publications, and what they hear.

use super::{Client, Server};
use serde_json::Value;
use std::collections::BTreeMap;

pub const RULES: &str = r#"--room-rules=[{"pattern":"ticks:*","overflow":"drop_oldest"},
    {"pattern":"prices:*","overflow":"conflate","conflate_key":"symbol"},
    {"pattern":"latest:*","overflow":"conflate"},
    {"pattern":"log:*","history_messages":10000,"history_bytes":"64MiB","overflow":"drop_oldest","presence":true},
    {"pattern":"quotes:*","history_messages":10000,"history_bytes":"64MiB","last_value":true,"overflow":"conflate",
     "conflate_key":"symbol"},
    {"pattern":"h:*","history_messages":10000}]"#;

/// A server with those rules, which is patient with who reads nothing for as long as a busy machine takes.
pub fn start(flags: &[&str]) -> Server {
    Server::start(&[&[RULES, "--write-wait=10m"], flags].concat())
}

/// A client whose kernel buffers hardly anything.
pub fn slow_client(server: &Server) -> Client {
    Client::connect_with_buffer(server.addr(), 8192, "/ws", &[])
}

/// A publication's text, of `bytes` and some.
pub fn publication(room: &str, number: usize, symbol: &str, bytes: usize) -> String {
    let padding = "x".repeat(bytes);
    format!(
        r#"{{"type":"publish","room":"{room}","data":{{"p":"{padding}","symbol":"{symbol}","n":{number}}}}}"#
    )
}

/// Publishes and reads it back, so that the publisher, a member, keeps up and sees each.
pub fn publish(publisher: &mut Client, room: &str, number: usize, symbol: &str, bytes: usize) {
    publisher.send_text(&publication(room, number, symbol, bytes));
    publisher.expect_json(|message| {
        assert_eq!((&message["room"], &message["data"]["n"]), (&room.into(), &number.into()));
    });
}

/// What one member heard of one room, publications numbered from 0.
#[derive(Debug, Default)]
pub struct Heard {
    pub received: usize,
    pub lost: usize,
    pub last: Option<usize>,
    pub notices: usize,
    pub by_symbol: BTreeMap<String, usize>,
}

impl Heard {
    /// Takes a message of the room in; the order must be that of publishing.
    pub fn take(&mut self, message: &Value) {
        if message["type"] == "gap" {
            let lost = message["data"]["lost"].as_u64().unwrap() as usize;
            assert!(lost > 0 && message["timestamp"].is_u64(), "{message}");
            self.lost += lost;
            self.notices += 1;
            return;
        }
        let number = message["data"]["n"].as_u64().unwrap() as usize;
        assert!(self.last < Some(number), "{number} after {:?}", self.last);
        self.last = Some(number);
        self.received += 1;
        self.by_symbol.insert(message["data"]["symbol"].as_str().unwrap().to_owned(), number);
    }

    /// As `take`, and a notice tells exactly what is missing between its neighbours.
    pub fn take_exactly(&mut self, message: &Value) {
        self.take(message);
        if message["type"] == "message" {
            assert_eq!(self.last, Some(self.received + self.lost - 1), "{self:?}");
        }
    }
}

/// Reads a room up to its publication `last`.
pub fn hear(client: &mut Client, room: &str, last: usize) -> Heard {
    let mut heard = Heard::default();
    while heard.last != Some(last) {
        client.expect_json(|message| {
            assert_eq!(message["room"], room, "{message}");
            heard.take_exactly(&message);
        });
    }
    heard
}

pub fn backlog_of(server: &Server, client: &Client) -> Option<Value> {
    let slow = server.get("/v1/slow").json();
    slow["slow"].as_array().unwrap().iter().find(|entry| entry["client_id"] == client.id.as_str()).cloned()
}

pub fn dropped(server: &Server, reason: &str) -> f64 {
    let by_shard = |shard| {
        server.metric(&format!(r#"fanwire_dropped_frames_total{{shard="{shard}",reason="{reason}"}}"#))
    };
    by_shard(0).unwrap() + by_shard(1).unwrap()
}
