//! The protocols `channels`, `topics` and `tenants` against a grammar of JSON, and the encoders of all against both.
//!
//! The first byte chooses the bound of nesting, the rest is a client's text. It holds that
//! - a text is refused exactly where it is no JSON object, nests too deep, has a field of the protocol twice or of a
//!   wrong type, and the refusal carries the `id` where there is one;
//! - what is read is what `serde_json` finds in the object, and `data` and `id` are slices of the text;
//! - what it publishes is told to members of every dialect as a JSON object that has `data` byte for byte;
//! - an object that a backend publishes is told with all that it has;
//! - every answer is a JSON object with its type, and an error shows the message that was refused.

mod answers;
mod expected;

use crate::json::{self, Field};
use crate::rooms::client;
use fanwire::dialect::{DIALECTS, DecodeLimits};
use fanwire::model::{Command, Publication};
use fanwire::wire::Layout;

/// The target `channels`.
pub fn channels(data: &[u8]) {
    check("channels", &expected::CHANNELS, data);
}

/// The target `topics`.
pub fn topics(data: &[u8]) {
    check("topics", &expected::TOPICS, data);
}

/// The target `tenants`.
pub fn tenants(data: &[u8]) {
    check("tenants", &expected::TENANTS, data);
}

fn check(name: &str, protocol: &expected::Protocol, data: &[u8]) {
    let dialect = fanwire::dialect::dialect(fanwire::dialect::named(name).expect("a dialect"));
    let Some((&choice, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let limits = DecodeLimits { json_depth_max: [2, 3, 8, 64][usize::from(choice & 3)] };
    let decoded = dialect.decode(&text, &limits);
    expected::compare(&decoded, &text, limits.json_depth_max, protocol);
    match &decoded {
        Ok(command) => {
            published(command, &text);
            answers::check(name, dialect, &text, answers::id_of(command));
        }
        Err(rejected) => answers::check(name, dialect, &text, rejected.id),
    }
}

/// Tells what a command says to members of all dialects, once as it is and once with the text as a backend's object.
fn published(command: &Command<'_>, text: &str) {
    let (room, event, data) = match command {
        Command::Publish { room, event, data, .. } => (Some(&**room), &**event, *data),
        Command::Custom { event, data, .. } => (None, &**event, *data),
        Command::Subscribe { room, .. } | Command::Presence { room, .. } => (Some(&**room), "message", None),
        _ => (None, "message", None),
    };
    data.into_iter().for_each(|raw| json::assert_within(raw, text));
    for sender in [None, Some(client(2).into())] {
        let publication = Publication { event, room, data, whole: None, sender, unix_ms: 7, offset: None };
        for dialect in &DIALECTS {
            let out = encoded(|out| dialect.codec.encode_publication(&publication, out));
            let wrapped = dialect.name == "tenants" && sender.is_some();
            let pairs = json::pairs(&out).expect("an object");
            let (inner, field, kind) = if wrapped {
                (json::pairs(once(&pairs.get("data")).expect("data")), "message", "channel_message")
            } else {
                (Some(pairs), "data", event)
            };
            assert_eq!(once(&inner.expect("an object").get(field)), data, "{out}");
            let pairs = json::pairs(&out).expect("an object");
            assert_eq!(json::text_or_null(&pairs.get("type")), Ok(Some(kind.to_owned())));
        }
    }
    let whole =
        Publication { event, room, data, whole: Some(text), sender: None, unix_ms: 7, offset: Some(3) };
    let given = json::pairs(text).expect("a command is an object");
    for dialect in DIALECTS.iter().filter(|dialect| dialect.name != "rooms") {
        let out = encoded(|out| dialect.codec.encode_publication(&whole, out));
        let pairs = json::pairs(&out).expect("an object");
        let keys: Vec<_> = pairs.keys().collect();
        let given: Vec<_> = given.keys().collect();
        assert_eq!(keys[..given.len()], given, "what it has comes first");
        let has = |key| keys.iter().filter(|other| **other == key).count();
        assert!(has("offset") >= 1);
        for key in &keys[given.len()..] {
            assert_eq!(has(key), 1, "only what is missing is added: {out}");
        }
    }
}

/// What an encoder appends: JSON.
fn encoded(write: impl FnOnce(&mut Vec<u8>) -> Layout) -> String {
    let mut out = b"before".to_vec();
    write(&mut out);
    let out = String::from_utf8(out).expect("UTF-8 of UTF-8");
    let text = out.strip_prefix("before").expect("encoders only append");
    if !text.is_empty() {
        json::assert_valid(text);
    }
    text.to_owned()
}

fn once<'a>(field: &Field<'a>) -> Option<&'a str> {
    match field {
        Field::Absent => None,
        Field::Once(raw) => Some(raw),
        Field::Repeated => panic!("twice"),
    }
}
