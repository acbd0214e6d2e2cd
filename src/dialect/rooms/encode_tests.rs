use super::super::Rooms;
use super::*;
use crate::dialect::{DecodeLimits, Dialect};
use crate::model::{Changed, Command, ConnectionId, CountOf, NamedMembers};
use proptest::prelude::*;
use serde_json::{Value, json};

const UUID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";
const MS: u64 = 1_234_567_890_123;

fn uuid() -> ConnectionId {
    ConnectionId::parse(UUID).unwrap()
}

fn written(given: &Answer<'_>) -> String {
    let mut out = Vec::new();
    answer(given, MS, &mut out);
    String::from_utf8(out).unwrap()
}

fn published(given: &Publication<'_>) -> String {
    let mut out = Vec::new();
    publication(given, &mut out);
    String::from_utf8(out).unwrap()
}

/// The document's text with its layout taken out, which leaves its order of keys.
fn compact(text: &str) -> String {
    text.replace(['\n', ' '], "").replace('~', " ")
}

#[test]
fn answers_are_the_documents() {
    let room = "room-name";
    let cases = [
        (
            Answer::Connected { client_id: uuid(), user: None, available: &[] },
            r#"{
              "type": "connected",
              "data": {
                "client_id": "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617",
                "message": "Connected~to~WebSocket~server"
              },
              "timestamp": 1234567890123
            }"#,
        ),
        (
            Answer::Subscribed { room, client_count: 5, position: None, recovered: None, id: None },
            r#"{
              "type": "subscribed",
              "room": "room-name",
              "data": { "room": "room-name", "client_count": 5 },
              "timestamp": 1234567890123
            }"#,
        ),
        (
            Answer::Unsubscribed { room, id: None },
            r#"{
              "type": "unsubscribed",
              "room": "room-name",
              "data": { "room": "room-name" },
              "timestamp": 1234567890123
            }"#,
        ),
        (
            Answer::Error { refusal: None, text: "error description", original: None, id: None },
            r#"{ "type": "error", "error": "error~description", "timestamp": 1234567890123 }"#,
        ),
        (Answer::Pong { id: None }, r#"{ "type": "pong", "timestamp": 1234567890123 }"#),
    ];
    for (given, document) in cases {
        let text = written(&given);
        assert_eq!(text, compact(document));
        let document = serde_json::from_str::<Value>(&document.replace('~', " ")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }
}

#[test]
fn a_message_is_the_documents() {
    let given = Publication {
        event: "message",
        room: Some("room-name"),
        data: Some(r#"{ "any": "payload" }"#),
        whole: None,
        sender: Some(uuid().into()),
        unix_ms: MS,
        offset: None,
    };
    let text = published(&given);
    let expected = concat!(
        r#"{"type":"message","room":"room-name","data":{ "any": "payload" },"#,
        r#""client_id":"5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617","timestamp":1234567890123}"#
    );
    assert_eq!(text, expected);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({"type": "message", "room": "room-name", "data": {"any": "payload"},
               "client_id": UUID, "timestamp": MS})
    );
    let bare = Publication {
        event: "notice",
        room: None,
        data: None,
        whole: None,
        sender: None,
        unix_ms: 7,
        offset: None,
    };
    assert_eq!(published(&bare), r#"{"type":"notice","timestamp":7}"#);
}

#[test]
fn an_id_stands_before_the_timestamp() {
    let id = Some("\"q-1\"");
    let cases = [
        (
            Answer::Subscribed { room: "r", client_count: 1, position: None, recovered: None, id },
            r#"{"type":"subscribed","room":"r","data":{"room":"r","client_count":1},"id":"q-1","timestamp":1234567890123}"#,
        ),
        (
            Answer::Unsubscribed { room: "r", id },
            r#"{"type":"unsubscribed","room":"r","data":{"room":"r"},"id":"q-1","timestamp":1234567890123}"#,
        ),
        (
            Answer::Published { room: Some("r"), offset: None, id },
            r#"{"type":"published","room":"r","id":"q-1","timestamp":1234567890123}"#,
        ),
        (
            Answer::Published { room: None, offset: None, id },
            r#"{"type":"published","id":"q-1","timestamp":1234567890123}"#,
        ),
        (Answer::Pong { id: Some("7") }, r#"{"type":"pong","id":7,"timestamp":1234567890123}"#),
        (
            Answer::Error { refusal: None, text: "no \"x\"", original: None, id },
            r#"{"type":"error","error":"no \"x\"","id":"q-1","timestamp":1234567890123}"#,
        ),
        (
            Answer::Event { event: "user_data", data: Some("[1]"), id },
            r#"{"type":"user_data","data":[1],"id":"q-1","timestamp":1234567890123}"#,
        ),
    ];
    for (given, text) in cases {
        assert_eq!(written(&given), text);
    }
}

#[test]
fn losses_and_presence_are_told() {
    let (ids, changed) = ([uuid(), uuid()], |ids, count| Changed { named: NamedMembers::Ids(ids), count });
    let cases = [
        (
            Answer::Gap { room: "a\"b", lost: 18_446_744_073_709_551_615 },
            r#"{"type":"gap","room":"a\"b","data":{"lost":18446744073709551615},"timestamp":1234567890123}"#
                .to_owned(),
        ),
        (
            Answer::Presence {
                room: "r",
                counted: CountOf::Connections,
                count: 7,
                named: NamedMembers::Ids(&ids),
                id: Some("1"),
            },
            format!(
                r#"{{"type":"presence","room":"r","data":{{"client_count":7,"clients":["{UUID}","{UUID}"]}},"id":1,"timestamp":{MS}}}"#
            ),
        ),
        (
            Answer::PresenceChange {
                room: "r",
                joined: changed(&ids[..1], 1),
                left: changed(&[], 0),
                counted: CountOf::Connections,
                count: 7,
            },
            format!(
                r#"{{"type":"presence_change","room":"r","data":{{"joined":["{UUID}"],"left":[],"client_count":7}},"timestamp":{MS}}}"#
            ),
        ),
        (
            Answer::PresenceChange {
                room: "r",
                joined: changed(&[], 3),
                left: changed(&ids, 500),
                counted: CountOf::Connections,
                count: 0,
            },
            format!(
                r#"{{"type":"presence_change","room":"r","data":{{"joined":[],"left":["{UUID}","{UUID}"],"client_count":0,"joined_count":3,"left_count":500}},"timestamp":{MS}}}"#
            ),
        ),
    ];
    for (given, text) in cases {
        assert_eq!(written(&given), text);
    }
}

#[test]
fn encoders_append() {
    let mut out = b"header".to_vec();
    Rooms.encode_answer(&Answer::Pong { id: None }, 1, &mut out);
    assert_eq!(out, b"header{\"type\":\"pong\",\"timestamp\":1}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_published_is_received(data in any_json(), room in "\\PC{1,60}", pretty in any::<bool>()) {
        let raw = if pretty { serde_json::to_string_pretty(&data) } else { serde_json::to_string(&data) }.unwrap();
        let name = serde_json::to_string(&room).unwrap();
        let request = format!(r#"{{"type":"publish","room":{name},"data":{raw}}}"#);
        let command = Rooms.decode(&request, &DecodeLimits { json_depth_max: 32 }).unwrap();
        let Command::Publish { room: read, event, data: passed, .. } = command else { panic!("{request}") };
        let given =
            Publication { event: &event, room: Some(&read), data: passed, whole: None,
                sender: Some(uuid().into()), unix_ms: MS, offset: None };
        let text = published(&given);
        let received = serde_json::from_str::<Value>(&text).unwrap();
        prop_assert_eq!(&received["data"], &data);
        prop_assert_eq!(&received["room"], &Value::from(room));
        prop_assert!(text.contains(&raw));
    }
}
