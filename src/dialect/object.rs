//! The objects that answers are: fields one after another.

use super::json::push_time;
use super::json::{push_id, push_named, push_number, push_string, push_strings};
use crate::base::{json_depth_within, json_field, json_text};
use crate::model::{Changed, ConnectionId, CountOf, NamedMembers, Position, RequestId, RoomName};
use serde_json::Value;

/// Deepest nesting of a refused message that is shown as JSON: what parses an error must not be stopped by it.
const ORIGINAL_DEPTH_MAX: u32 = 32;

/// An object that is being written. Values are taken as they are; names are plain and need no escapes.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Begins one with its `type`.
    pub fn typed(kind: &str, out: &'o mut Vec<u8>) -> Self {
        let mut object = Self { out, empty: true };
        object.out.push(b'{');
        object.text("type", kind);
        object
    }

    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A field that is an object, which `write` fills.
    pub fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        let out = self.name(name);
        out.push(b'{');
        write(&mut Object { out, empty: true });
        self.out.push(b'}');
    }

    /// As [`Object::object`], but nothing where `write` writes nothing.
    pub fn object_if_any(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        let (start, was_empty) = (self.out.len(), self.empty);
        let out = self.name(name);
        out.push(b'{');
        let mut object = Object { out, empty: true };
        write(&mut object);
        if object.empty {
            self.out.truncate(start);
            self.empty = was_empty;
        } else {
            self.out.push(b'}');
        }
    }

    pub fn text(&mut self, name: &str, value: &str) {
        push_string(value, self.name(name));
    }

    /// A text that may not be known: `null` then.
    pub fn text_or_null(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.raw(name, "null"),
        }
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, name: &str, value: &str) {
        self.name(name).extend_from_slice(value.as_bytes());
    }

    /// As [`Object::raw`], if there is one.
    pub fn raw_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.raw(name, value);
        }
    }

    pub fn number(&mut self, name: &str, value: u64) {
        push_number(value, self.name(name));
    }

    pub fn number_if(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// A time, given as Unix time in milliseconds.
    pub fn time(&mut self, name: &str, unix_ms: u64) {
        push_time(unix_ms, self.name(name));
    }

    /// The id of a connection.
    pub fn id(&mut self, name: &str, id: ConnectionId) {
        push_id(id, self.name(name));
    }

    /// How many members or users are in a room.
    pub fn members(&mut self, counted: CountOf, count: u32) {
        let name = match counted {
            CountOf::Connections => "members",
            CountOf::Users => "userCount",
        };
        self.number(name, count.into());
    }

    /// Some of the members or users of a room.
    pub fn present(&mut self, counted: CountOf, named: NamedMembers<'_>) {
        let name = match counted {
            CountOf::Connections => "connections",
            CountOf::Users => "users",
        };
        push_named(named, self.name(name));
    }

    fn named(&mut self, name: &str, named: NamedMembers<'_>) {
        push_named(named, self.name(name));
    }

    pub fn texts<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        push_strings(values, self.name(name));
    }

    /// The names of rooms.
    pub fn rooms(&mut self, name: &str, rooms: &[RoomName]) {
        self.texts(name, rooms.iter().map(RoomName::as_str));
    }

    /// What a client that joined a room with history goes on from, and whether it got what it missed.
    pub fn position(&mut self, position: Option<Position>, recovered: Option<bool>) {
        if let Some(Position { epoch, offset }) = position {
            self.text("epoch", &epoch.to_string());
            self.number("offset", offset);
        }
        if let Some(recovered) = recovered {
            self.raw("recovered", if recovered { "true" } else { "false" });
        }
    }

    /// Who joined and left, and how many they are where the lists do not tell.
    pub fn changed(&mut self, joined: Changed<'_>, left: Changed<'_>) {
        self.named("joined", joined.named);
        self.named("left", left.named);
        for (name, changed) in [("joinedCount", joined), ("leftCount", left)] {
            if changed.count as usize > changed.named.len() {
                self.number(name, changed.count.into());
            }
        }
    }

    /// A message that was refused: as the JSON that it is, or else as text.
    pub fn original(&mut self, name: &str, text: &str) {
        let is_json =
            json_depth_within(text, ORIGINAL_DEPTH_MAX) && serde_json::from_str::<Value>(text).is_ok();
        if is_json { self.raw(name, text.trim()) } else { self.text(name, text) }
    }

    /// The mark that a request bore.
    pub fn mark(&mut self, id: RequestId<'_>) {
        self.raw_if("id", id);
    }

    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// The words for a type that nobody knows, with what JavaScript puts in place of the refused message's `type`.
pub(super) fn unknown_type(original: Option<&str>) -> String {
    let raw = original.and_then(|text| json_field(text, "type")).unwrap_or("undefined");
    let shown = match raw.as_bytes().first() {
        Some(b'{') => "[object Object]".into(),
        // One that was cut off is shown as it stands.
        _ => json_text(raw).unwrap_or_else(|| raw.trim_start_matches('"').into()),
    };
    format!("Unknown message type: {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_is_shown_as_json_where_it_is_some() {
        let shown = |text: &str| {
            let mut out = Vec::new();
            let mut object = Object::typed("t", &mut out);
            object.original("o", text);
            object.end();
            let value: Value = serde_json::from_slice(&out).unwrap();
            value["o"].clone()
        };
        assert_eq!(shown(" {\"a\":[1]}\n"), serde_json::json!({"a": [1]}));
        assert_eq!(shown("5"), 5);
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for text in ["", "{", "{\"a\":1}x", "\"\\ud800\"", "\0é", "1e999", deep.as_str()] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn an_unknown_type_is_named_as_javascript_does() {
        for (original, shown) in [
            (r#"{"type":"dance"}"#, "dance"),
            (r#"{"data":{"type":1},"type":"d\u00e9\"" }"#, "dé\""),
            (r#"{"type":5}"#, "5"),
            (r#"{"type":null}"#, "null"),
            (r#"{"type":{"a":1}}"#, "[object Object]"),
            (r#"{"type":"cut of"#, "cut of"),
            ("{}", "undefined"),
            ("5", "undefined"),
        ] {
            assert_eq!(unknown_type(Some(original)), format!("Unknown message type: {shown}"));
        }
        assert_eq!(unknown_type(None), "Unknown message type: undefined");
    }
}
