//! The native protocol against a grammar of JSON, and its encoders against both.
//!
//! The first byte chooses the bound of nesting, the rest is a client's text. It holds that
//! - a text is refused exactly where it is no JSON object, nests too deep, has a field twice or of a wrong type;
//! - what is read is what `serde_json` finds in the object: type, room, what a `subscribe` is to recover, how many a
//!   `presence` is to name, the token of an `auth`, and the `id` that a refusal carries;
//! - `data` and `id` are slices of the text, equal to it byte for byte;
//! - what is encoded of it is a JSON object with exactly these fields, and `data` byte for byte.

use crate::json::{self, Field, Pairs};
use fanwire::dialect::{DecodeLimits, Dialect, Rejected, Rooms};
use fanwire::model::{
    Answer, Changed, Command, ConnectionId, ConnectionKey, CountOf, Epoch, Locator, NamedMembers, NodeId,
    Position, Publication, Refusal, RequestId,
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// Longest `id` in bytes, as the protocol has it.
const ID_BYTES_MAX: usize = 128;

/// Most members that an answer names, as the protocol has it.
const LIMIT_MAX: u64 = 1000;

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
    // Known, so it may come only once; what it says is looked at in a `subscribe` alone.
    let recover = match pairs.get("recover") {
        Field::Absent | Field::Once("null") => Ok(None),
        Field::Once(raw) => position(raw).map(Some),
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
        "subscribe" => match recover {
            Ok(recover) => room().map(|room| Command::Subscribe { room, recover, id }),
            Err(()) => invalid(id),
        },
        "unsubscribe" => room().map(|room| Command::Unsubscribe { room, id }),
        "publish" => room().map(|room| Command::Publish { room, event, data, id }),
        "presence" => match limit(&pairs.get("limit")) {
            Ok(limit) => room().map(|room| Command::Presence { room, limit, id }),
            Err(()) => invalid(id),
        },
        "broadcast" => Ok(Command::Broadcast { event, data, id }),
        "ping" => Ok(Command::Ping { id }),
        kind @ "auth" => match json::text_or_null(&pairs.get("token")) {
            Ok(Some(token)) => Ok(Command::Authenticate { token: Cow::Owned(token), id }),
            Ok(None) => Ok(Command::Custom { event: Cow::Owned(kind.to_owned()), data, id }),
            Err(()) => invalid(id),
        },
        kind => Ok(Command::Custom { event: Cow::Owned(kind.to_owned()), data, id }),
    }
}

/// The `id` of an object, or that it is none.
pub(crate) fn id<'a>(pairs: &Pairs<'a>) -> Result<RequestId<'a>, ()> {
    match pairs.get("id") {
        Field::Absent | Field::Once("null") => Ok(None),
        Field::Once(raw) => {
            let scalar = raw.starts_with('"') || raw.parse::<f64>().is_ok();
            if scalar && raw.len() <= ID_BYTES_MAX { Ok(Some(raw)) } else { Err(()) }
        }
        Field::Repeated => Err(()),
    }
}

/// The position that a `recover` tells: an object with a text `epoch` and a whole number `offset`.
pub(crate) fn position(raw: &str) -> Result<Position, ()> {
    let pairs = json::pairs(raw).ok_or(())?;
    let epoch = json::text_or_null(&pairs.get("epoch"))?.ok_or(())?;
    let Field::Once(offset) = pairs.get("offset") else { return Err(()) };
    Ok(Position { epoch: Epoch::parse(&epoch), offset: whole_number(offset)? })
}

/// How many members a `presence` is to name: the most where it does not say.
pub(crate) fn limit(field: &Field<'_>) -> Result<u32, ()> {
    let limit = match field {
        Field::Absent | Field::Once("null") => LIMIT_MAX,
        Field::Once(raw) => whole_number(raw)?,
        Field::Repeated => return Err(()),
    };
    if (1..=LIMIT_MAX).contains(&limit) { Ok(limit as u32) } else { Err(()) }
}

/// A JSON number without sign, point and exponent that a `u64` holds.
fn whole_number(raw: &str) -> Result<u64, ()> {
    if raw.bytes().all(|byte| byte.is_ascii_digit()) { raw.parse().map_err(drop) } else { Err(()) }
}

/// Encodes what a command says, and reads it back.
fn encode(command: &Command<'_>, text: &str) {
    let (room, event, data, id) = match command {
        Command::Publish { room, event, data, id } => (Some(&**room), &**event, *data, *id),
        Command::Broadcast { event, data, id } | Command::Custom { event, data, id } => {
            (None, &**event, *data, *id)
        }
        Command::Subscribe { room, id, .. }
        | Command::Unsubscribe { room, id }
        | Command::Presence { room, id, .. } => (Some(&**room), "message", None, *id),
        Command::Status { .. } | Command::Notifications { .. } => {
            panic!("this protocol cannot say that: {command:?}")
        }
        Command::Ping { id } | Command::Authenticate { id, .. } => (None, "message", None, *id),
    };
    let position = if let Command::Subscribe { recover, .. } = command { *recover } else { None };
    let offset = position.map(|position| position.offset);
    data.into_iter().chain(id).for_each(|raw| json::assert_within(raw, text));
    for sender in [None, Some(client(2))] {
        let publication = Publication {
            event,
            room,
            data,
            whole: None,
            sender: sender.map(Into::into),
            unix_ms: 7,
            offset,
        };
        let mut out = b"before".to_vec();
        Rooms.encode_publication(&publication, &mut out);
        let sender = sender.map(|sender| sender.to_string());
        let fields = Fields { kind: event, room, data, sender, offset, ..Fields::default() };
        fields.assert(&out);
    }
    if let Some(room) = room {
        answers(room, id, text);
        answer(
            &Answer::Published { room: Some(room), offset, id },
            Fields { kind: "published", room: Some(room), offset, id, ..Fields::default() },
        );
        joined(room, position, id);
    }
    answers(event, id, text);
    answer(&Answer::Event { event, data, id }, Fields { kind: event, data, id, ..Fields::default() });
}

/// The answers that tell where a room's order stands.
fn joined(room: &str, position: Option<Position>, id: RequestId<'_>) {
    for recovered in [None, Some(false), Some(true)] {
        let mut inner = json!({ "room": room, "client_count": u32::MAX });
        if let Some(Position { epoch, offset }) = position {
            inner["epoch"] = epoch.to_string().into();
            inner["offset"] = offset.into();
        }
        if let Some(recovered) = recovered {
            inner["recovered"] = recovered.into();
        }
        answer(
            &Answer::Subscribed { room, client_count: u32::MAX, position, recovered, id },
            Fields { inner, ..Fields::of("subscribed", room, id) },
        );
    }
}

/// Every answer that holds a text.
fn answers(word: &str, id: RequestId<'_>, text: &str) {
    id.into_iter().for_each(|raw| json::assert_within(raw, text));
    let bare = |kind| Fields { kind, id, ..Fields::default() };
    joined(word, None, id);
    answer(
        &Answer::Unsubscribed { room: word, id },
        Fields { inner: json!({ "room": word }), ..Fields::of("unsubscribed", word, id) },
    );
    answer(&Answer::Published { room: Some(word), offset: None, id }, Fields::of("published", word, id));
    answer(&Answer::Published { room: None, offset: None, id }, bare("published"));
    answer(&Answer::Pong { id }, bare("pong"));
    answer(
        &Answer::Error { refusal: None, text: word, original: None, id },
        Fields { error: Some(word), ..bare("error") },
    );
    answer(
        &Answer::Connected { client_id: client(2), user: None, available: &[] },
        Fields {
            inner: json!({ "client_id": client(2).to_string(), "message": "Connected to WebSocket server" }),
            kind: "connected",
            ..Fields::default()
        },
    );
    answer(
        &Answer::Gap { room: word, lost: u64::MAX },
        Fields { inner: json!({ "lost": u64::MAX }), ..Fields::of("gap", word, None) },
    );
    for count in 0..=2 {
        present(word, count, id);
    }
}

/// What tells who is in a room, `count` of them named.
fn present(room: &str, count: u32, id: RequestId<'_>) {
    let ids: Vec<_> = (0..count).map(client).collect();
    let named: Vec<_> = ids.iter().map(ToString::to_string).collect();
    answer(
        &Answer::Presence {
            room,
            counted: CountOf::Connections,
            count: 9,
            named: NamedMembers::Ids(&ids),
            id,
        },
        Fields { inner: json!({ "client_count": 9, "clients": named }), ..Fields::of("presence", room, id) },
    );
    // All who joined are named, and not all who left.
    let (joined, left) = (
        Changed { named: NamedMembers::Ids(&ids), count },
        Changed { named: NamedMembers::Ids(&ids), count: count + 1 },
    );
    let inner = json!({ "joined": named, "left": named, "left_count": count + 1, "client_count": 9 });
    answer(
        &Answer::PresenceChange { room, joined, left, counted: CountOf::Connections, count: 9 },
        Fields { inner, ..Fields::of("presence_change", room, None) },
    );
}

fn answer(answer: &Answer<'_>, fields: Fields<'_>) {
    let mut out = b"before".to_vec();
    Rooms.encode_answer(answer, 7, &mut out);
    fields.assert(&out);
}

pub(crate) fn client(slot: u32) -> ConnectionId {
    ConnectionId::new(Locator { node: NodeId::ALONE, shard: 1, slot }, [0xA5; 16], &ConnectionKey::new(3))
}

/// What an encoded object must say.
#[derive(Default)]
struct Fields<'a> {
    kind: &'a str,
    room: Option<&'a str>,
    /// Passed on byte for byte.
    data: Option<&'a str>,
    /// `data` of the server's own words; null: none.
    inner: Value,
    sender: Option<String>,
    offset: Option<u64>,
    error: Option<&'a str>,
    id: RequestId<'a>,
}

impl<'a> Fields<'a> {
    fn of(kind: &'a str, room: &'a str, id: RequestId<'a>) -> Self {
        Self { kind, room: Some(room), id, ..Self::default() }
    }

    fn assert(&self, out: &[u8]) {
        let out = std::str::from_utf8(out).expect("UTF-8 of UTF-8");
        let text = out.strip_prefix("before").expect("encoders only append");
        let depth = json::assert_valid(text);
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
        assert_eq!(raw("offset").map(str::to_owned), self.offset.map(|offset| offset.to_string()));
        let nested = raw("data").and_then(json::depth).unwrap_or(0);
        assert_eq!(depth, 1 + nested, "{text}");
        if self.inner.is_null() {
            assert_eq!(raw("data"), self.data, "data must pass byte for byte");
        } else {
            let inner = raw("data").map(|data| serde_json::from_str(data).expect("JSON of JSON"));
            assert_eq!(inner.as_ref(), Some(&self.inner), "{text}");
        }
    }
}
