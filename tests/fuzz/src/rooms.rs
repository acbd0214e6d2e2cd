//! The native protocol against a grammar of JSON, and its encoders against both.
//!
//! The first byte chooses the bound of nesting, the rest is a client's text. It holds that
//! - a text is refused exactly where it is no JSON object, nests too deep, has a field twice or of a wrong type;
//! - what is read is what `serde_json` finds in the object: type, room, and the `id` that a refusal carries;
//! - `data` and `id` are slices of the text, equal to it byte for byte;
//! - what is encoded of it is a JSON object with exactly these fields, and `data` byte for byte.

use crate::json::{self, Field, Pairs};
use fanwire::dialect::{DecodeLimits, Dialect, Rejected, Rooms};
use fanwire::model::{Answer, Command, ConnectionId, Locator, Publication, Refusal, RequestId};
use std::borrow::Cow;

/// Longest `id` in bytes, as the protocol has it.
const ID_BYTES_MAX: usize = 128;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let limits = DecodeLimits { json_depth_max: [2, 3, 8, 64][usize::from(choice & 3)] };
    let decoded = Rooms.decode(&text, &limits);
    assert_eq!(decoded, expected(&text, limits.json_depth_max), "{text}");
    match &decoded {
        Ok(command) => encode(command, &text),
        Err(rejected) => answers(rejected.refusal.text(), rejected.id, &text),
    }
}

/// What the document says of a text.
fn expected(text: &str, depth_max: u32) -> Result<Command<'_>, Rejected<'_>> {
    let invalid = |id| Err(Rejected { refusal: Refusal::InvalidJson, id });
    let Some(depth) = json::depth(text) else {
        // Too deep a text need not be read to its end: either word will do, and no id can be trusted.
        let refusal =
            Rooms.decode(text, &DecodeLimits { json_depth_max: depth_max }).map_err(|it| it.refusal);
        let refusal = refusal.expect_err("no JSON, and yet a command");
        assert!(matches!(refusal, Refusal::InvalidJson | Refusal::TooDeep), "{refusal:?}");
        return Err(Rejected { refusal, id: None });
    };
    if depth > depth_max {
        return Err(Rejected { refusal: Refusal::TooDeep, id: None });
    }
    let Some(pairs) = json::pairs(text) else { return invalid(None) };
    let id = id(&pairs);
    let salvaged = id.unwrap_or(None);
    let (Ok(kind), Ok(room)) =
        (json::text_or_null(&pairs.get("type")), json::text_or_null(&pairs.get("room")))
    else {
        return invalid(salvaged);
    };
    let data = match pairs.get("data") {
        Field::Absent => None,
        Field::Once(raw) => Some(raw),
        Field::Repeated => return invalid(salvaged),
    };
    let Ok(id) = id else { return invalid(None) };
    let room = || match room.clone().unwrap_or_default() {
        room if room.is_empty() => Err(Rejected { refusal: Refusal::RoomRequired, id }),
        room if room.len() > 255 || room.chars().any(char::is_control) => {
            Err(Rejected { refusal: Refusal::RoomInvalid, id })
        }
        room => Ok(Cow::Owned(room)),
    };
    let event = Cow::Borrowed("message");
    match kind.unwrap_or_default().as_str() {
        "" => Err(Rejected { refusal: Refusal::UnknownType, id }),
        "subscribe" => room().map(|room| Command::Subscribe { room, id }),
        "unsubscribe" => room().map(|room| Command::Unsubscribe { room, id }),
        "publish" => room().map(|room| Command::Publish { room, event, data, id }),
        "broadcast" => Ok(Command::Broadcast { event, data, id }),
        "ping" => Ok(Command::Ping { id }),
        kind => Ok(Command::Custom { event: Cow::Owned(kind.to_owned()), data, id }),
    }
}

/// The `id` of an object, or that it is none.
fn id<'a>(pairs: &Pairs<'a>) -> Result<RequestId<'a>, ()> {
    match pairs.get("id") {
        Field::Absent | Field::Once("null") => Ok(None),
        Field::Once(raw) => {
            let scalar = raw.starts_with('"') || raw.parse::<f64>().is_ok();
            if scalar && raw.len() <= ID_BYTES_MAX { Ok(Some(raw)) } else { Err(()) }
        }
        Field::Repeated => Err(()),
    }
}

/// Encodes what a command says, and reads it back.
fn encode(command: &Command<'_>, text: &str) {
    let (room, event, data, id) = match command {
        Command::Publish { room, event, data, id } => (Some(&**room), &**event, *data, *id),
        Command::Broadcast { event, data, id } | Command::Custom { event, data, id } => {
            (None, &**event, *data, *id)
        }
        Command::Subscribe { room, id } | Command::Unsubscribe { room, id } => {
            (Some(&**room), "message", None, *id)
        }
        Command::Ping { id } => (None, "message", None, *id),
    };
    data.into_iter().chain(id).for_each(|raw| json::assert_within(raw, text));
    for sender in [None, Some(client())] {
        let publication = Publication { event, room, data, sender, unix_ms: 7 };
        let mut out = b"before".to_vec();
        Rooms.encode_publication(&publication, &mut out);
        let sender = sender.map(|sender| sender.to_string());
        let fields = Fields { kind: event, room, data, sender, ..Fields::default() };
        fields.assert(&out, data);
    }
    if let Some(room) = room {
        answers(room, id, text);
    }
    answers(event, id, text);
    answer(&Answer::Event { event, data, id }, Fields { kind: event, data, id, ..Fields::default() }, data);
}

/// Every answer that holds a text.
fn answers(word: &str, id: RequestId<'_>, text: &str) {
    id.into_iter().for_each(|raw| json::assert_within(raw, text));
    let of = |kind| Fields { kind, id, ..Fields::default() };
    let room = Some(word);
    answer(
        &Answer::Subscribed { room: word, client_count: u32::MAX, id },
        Fields { room, ..of("subscribed") },
        None,
    );
    answer(&Answer::Unsubscribed { room: word, id }, Fields { room, ..of("unsubscribed") }, None);
    answer(&Answer::Published { room, id }, Fields { room, ..of("published") }, None);
    answer(&Answer::Published { room: None, id }, of("published"), None);
    answer(&Answer::Pong { id }, of("pong"), None);
    answer(&Answer::Error { text: word, id }, Fields { error: room, ..of("error") }, None);
    answer(
        &Answer::Connected { client_id: client() },
        Fields { kind: "connected", ..Fields::default() },
        None,
    );
}

fn answer(answer: &Answer<'_>, fields: Fields<'_>, data: Option<&str>) {
    let mut out = b"before".to_vec();
    Rooms.encode_answer(answer, 7, &mut out);
    fields.assert(&out, data);
}

fn client() -> ConnectionId {
    ConnectionId::new(Locator { shard: 1, slot: 2 }, [0xA5; 16], 3)
}

/// What an encoded object must say.
#[derive(Default)]
struct Fields<'a> {
    kind: &'a str,
    room: Option<&'a str>,
    data: Option<&'a str>,
    sender: Option<String>,
    error: Option<&'a str>,
    id: RequestId<'a>,
}

impl Fields<'_> {
    fn assert(&self, out: &[u8], nested: Option<&str>) {
        let out = std::str::from_utf8(out).expect("UTF-8 of UTF-8");
        let text = out.strip_prefix("before").expect("encoders only append");
        let depth = json::assert_valid(text);
        assert!(depth <= 2.max(1 + nested.and_then(json::depth).unwrap_or(0)), "{text}");
        let pairs = json::pairs(text).expect("an object");
        assert_eq!(json::text_or_null(&pairs.get("type")), Ok(Some(self.kind.to_owned())));
        assert_eq!(json::text_or_null(&pairs.get("room")), Ok(self.room.map(str::to_owned)));
        assert_eq!(json::text_or_null(&pairs.get("client_id")), Ok(self.sender.clone()));
        assert_eq!(json::text_or_null(&pairs.get("error")), Ok(self.error.map(str::to_owned)));
        let raw = |key| match pairs.get(key) {
            Field::Absent => None,
            Field::Once(raw) => Some(raw),
            Field::Repeated => panic!("{key} twice: {text}"),
        };
        assert_eq!(raw("id"), self.id);
        assert_eq!(raw("timestamp"), Some("7"));
        if self.data.is_some() {
            assert_eq!(raw("data"), self.data, "data must pass byte for byte");
        }
    }
}
