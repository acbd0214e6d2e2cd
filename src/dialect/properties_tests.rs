//! What holds of all dialects together: what a client says in one is what members of the others are told.

use super::request::is_event;
use super::{DIALECTS, DecodeLimits};
use crate::base::{json_depth_within, json_field};
use crate::model::{
    Answer, Changed, Command, ConnectionId, CountOf, Epoch, NamedMembers, ORIGINAL_BYTES_MAX, Position,
    Publication, Refusal, RoomName, Sender,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const LIMITS: DecodeLimits = DecodeLimits { json_depth_max: 32 };
const UUID: &str = "5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";

/// A client's message that publishes, as a dialect has it.
fn publish(dialect: &str, room: &str, data: &str) -> String {
    let room = json!(room);
    match dialect {
        "rooms" => format!(r#"{{"type":"publish","room":{room},"data":{data}}}"#),
        "channels" => format!(r#"{{"type":"CHAT_MESSAGE","channel":{room},"data":{data}}}"#),
        "topics" => format!(r#"{{"type":"publish","channel":{room},"data":{data}}}"#),
        _ => format!(r#"{{"type":"send_message","data":{{"channel":{room},"message":{data}}}}}"#),
    }
}

/// The data in what a member of a dialect receives of a client, and the room's name.
fn received<'t>(dialect: &str, text: &'t str) -> (Option<&'t str>, Option<String>) {
    let (object, room, data) = match dialect {
        "rooms" => (text, "room", "data"),
        "tenants" => (json_field(text, "data").unwrap(), "channel", "message"),
        _ => (text, "channel", "data"),
    };
    (json_field(object, data), json_field(object, room).map(|room| serde_json::from_str(room).unwrap()))
}

/// Any JSON, written in one of many ways.
fn data() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|it| it.to_string()),
        any::<f64>().prop_map(|it| json!(it).to_string()),
        any::<i64>().prop_map(|it| it.to_string()),
        Just("1.0E+2".to_owned()),
        Just("100000000000000000000000000000001".to_owned()),
        any::<String>().prop_map(|it| json!(it).to_string()),
        Just(r#""\u00e9\ud83d\ude00\/""#.to_owned()),
    ];
    let blank = prop::sample::select(vec!["", " ", "\n\t"]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), blank.clone())
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(","))),
            (prop::collection::vec(("[a-c\"channel]{0,3}", inner), 0..4), blank.clone()).prop_map(
                |(fields, blank)| {
                    let fields = fields.iter().map(|(key, value)| format!("{}{blank}:{value}", json!(key)));
                    format!("{{{blank}{}}}", fields.collect::<Vec<_>>().join(","))
                }
            ),
        ]
    })
}

fn room() -> impl Strategy<Value = String> {
    any::<String>().prop_filter("a room's name", |name| RoomName::check(name).is_ok())
}

proptest! {
    #[test]
    fn what_one_publishes_is_what_the_others_receive(room in room(), data in data(), offset in any::<Option<u64>>()) {
        for from in &DIALECTS {
            let text = publish(from.name, &room, &data);
            let Ok(Command::Publish { room: named, event, data: Some(read), .. }) = from.codec.decode(&text, &LIMITS)
            else { panic!("{text}") };
            prop_assert_eq!(&named, &room);
            let sender = Some(Sender { id: ConnectionId::parse(UUID).unwrap(), user: Some("u") });
            let publication = Publication {
                event: &event, room: Some(&named), data: Some(read), whole: None, sender, unix_ms: 7, offset,
            };
            for to in &DIALECTS {
                let mut out = Vec::new();
                to.codec.encode_publication(&publication, &mut out);
                let text = std::str::from_utf8(&out).unwrap();
                prop_assert!(serde_json::from_str::<Map<String, Value>>(text).is_ok(), "{}", text);
                prop_assert_eq!(received(to.name, text), (Some(data.as_str()), Some(room.clone())));
                let told = json_field(text, "offset").map(|it| it.parse::<u64>().unwrap());
                prop_assert_eq!(told, offset);
            }
        }
    }

    #[test]
    fn an_object_of_a_backend_is_told_in_all_dialects(
        event in any::<String>(), room in room(), data in data(), named in any::<bool>(), offset in any::<Option<u64>>(),
    ) {
        let rest = if named { r#","channel":"elsewhere""# } else { "" };
        let whole = format!(r#"{{"type":{},"data":{data},"level":"info"{rest} }}"#, json!(event));
        let publication = Publication {
            event: &event, room: Some(&room), data: Some(&data), whole: Some(&whole), sender: None, unix_ms: 7, offset,
        };
        for to in &DIALECTS {
            let mut out = Vec::new();
            to.codec.encode_publication(&publication, &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            let object: Map<String, Value> = serde_json::from_str(text).unwrap();
            prop_assert_eq!(&object["type"], &event);
            prop_assert_eq!(json_field(text, "data"), Some(data.as_str()));
            let whole_goes_through = to.name != "rooms";
            prop_assert_eq!(object.contains_key("level"), whole_goes_through);
            let channel = object.get("channel").and_then(Value::as_str);
            prop_assert_eq!(channel, match (to.name, named) {
                ("rooms", _) | ("tenants", false) => None,
                (_, true) => Some("elsewhere"),
                (_, false) => Some(&*room),
            });
        }
    }

    #[test]
    fn every_answer_is_an_object_with_a_type(
        word in any::<String>(), original in any::<String>(), name in room(), refusal in 0..Refusal::LABELS.len(),
    ) {
        let original = Some(&original[..original.floor_char_boundary(ORIGINAL_BYTES_MAX)]);
        let client_id = ConnectionId::parse(UUID).unwrap();
        let (clients, available, rooms) = ([client_id; 2], [word.clone()], [RoomName::new(&name).unwrap()]);
        let (joined, left) = (Changed { named: NamedMembers::Ids(&clients), count: 2 }, Changed { named: NamedMembers::Ids(&clients), count: 3 });
        let (user, id, room) = (Some(&*word), Some("\"q\""), &*name);
        let position = Some(Position { epoch: Epoch::new(5), offset: u64::MAX });
        let (active_unix_ms, connected_unix_ms) = (u64::MAX, 0);
        let refusal = Refusal::ALL[refusal];
        for dialect in DIALECTS.iter().map(|spec| spec.codec) {
            for answer in [
                Answer::Connected { client_id, user, available: &available },
                Answer::Status { client_id, user, rooms: &rooms, active_unix_ms, connected_unix_ms, id },
                Answer::NotificationsJoined { types: "[]" },
                Answer::Authenticated { user, id },
                Answer::IdentityEnds { at_unix_s: u64::MAX / 1000 },
                Answer::Subscribed { room, client_count: 1, position, recovered: Some(true), id },
                Answer::Unsubscribed { room, id },
                Answer::Published { room: Some(room), offset: None, id },
                Answer::Published { room: None, offset: Some(1), id },
                Answer::Presence { room, counted: CountOf::Connections, count: 1, named: NamedMembers::Ids(&clients), id },
                Answer::PresenceChange { room, joined, left, counted: CountOf::Connections, count: 1 },
                Answer::Gap { room, lost: u64::MAX },
                Answer::Pong { id },
                Answer::Error { refusal: Some(refusal), text: refusal.text(), original, id },
                Answer::Error { refusal: None, text: &word, original: None, id },
                Answer::Event { event: &word, data: Some("[]"), id },
            ] {
                let mut out = b"before".to_vec();
                dialect.encode_answer(&answer, u64::MAX, &mut out);
                let text = std::str::from_utf8(&out).unwrap().strip_prefix("before").unwrap();
                if text.is_empty() {
                    let greets = matches!(answer, Answer::Connected { .. });
                    prop_assert!(greets, "only the greeting may be missing");
                    continue;
                }
                let object: Map<String, Value> = serde_json::from_str(text).unwrap();
                let kind = object["type"].as_str().unwrap();
                prop_assert!(kind == word || kind == "STATUS" || !is_event(kind), "{} can be forged", kind);
                let marked = !matches!(
                    answer,
                    Answer::Connected { .. } | Answer::NotificationsJoined { .. } | Answer::IdentityEnds { .. }
                        | Answer::PresenceChange { .. } | Answer::Gap { .. }
                );
                prop_assert_eq!(object.get("id").cloned(), marked.then(|| json!("q")));
            }
        }
    }

    #[test]
    fn any_text_is_a_command_or_a_refusal(text in any::<String>(), depth in 1..40_usize) {
        let nested = format!("{{\"type\":\"x\",\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        for dialect in DIALECTS.iter().map(|spec| spec.codec) {
            let opens = text.trim_start().starts_with('{');
            prop_assert!(opens || dialect.decode(&text, &LIMITS).is_err());
            let deep = !json_depth_within(&nested, LIMITS.json_depth_max);
            let refusal = dialect.decode(&nested, &LIMITS).err().map(|rejected| rejected.refusal);
            prop_assert_eq!(refusal, deep.then_some(Refusal::TooDeep));
        }
    }
}
