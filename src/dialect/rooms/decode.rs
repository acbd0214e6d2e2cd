use super::super::request::{Text, checked_id, required, seen};
use super::super::{DecodeLimits, Rejected};
use crate::base::{json_depth_within, json_scan};
use crate::model::{Command, EVENT_DEFAULT, PRESENCE_LIMIT_MAX, Refusal, RequestId};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A message as it stands. Fields that the document does not have are skipped; known ones may come only once.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    room: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    /// Looked at in a `subscribe` alone: elsewhere it is a field like any other that the document does not have.
    #[serde(borrow, default)]
    recover: Option<&'a RawValue>,
}

/// The `id` alone, for a message whose other fields are wrong.
#[derive(Deserialize)]
struct Marked<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// The `limit` of a request for presence, which is read only there.
#[derive(Deserialize)]
struct Limited {
    #[serde(default)]
    limit: Option<u32>,
}

/// The `token` of a client that says who it is, which is read only there.
#[derive(Deserialize)]
struct Tokened<'a> {
    #[serde(borrow, default)]
    token: Option<Text<'a>>,
}

/// The fields of a message, however it was read.
#[derive(Debug, PartialEq)]
struct Fields<'a> {
    kind: Option<Cow<'a, str>>,
    room: Option<Cow<'a, str>>,
    data: Option<&'a str>,
    id: Option<&'a str>,
    recover: Option<&'a str>,
}

impl<'a> From<Incoming<'a>> for Fields<'a> {
    fn from(incoming: Incoming<'a>) -> Self {
        Self {
            kind: incoming.kind.map(|kind| kind.0),
            room: incoming.room.map(|room| room.0),
            data: incoming.data.map(RawValue::get),
            id: incoming.id.map(RawValue::get),
            recover: incoming.recover.map(RawValue::get),
        }
    }
}

/// Keeps `"data":null` apart from no data at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one message. The document gives clients no way to choose a type name for what they publish, so that none can
/// send what looks like an answer of the server.
///
/// A refusal carries the message's `id` whenever the text is an object whose `id` can be read, even if other fields
/// are wrong; only `TooDeep` never does, because such a message is not parsed at all.
pub(super) fn decode<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
    match scanned(text, limits) {
        Some(fields) => command(fields, text),
        None => rare(text, limits),
    }
}

/// Any message that [`scanned`] leaves to serde.
#[cold]
#[inline(never)]
fn rare<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
    command(parsed(text, limits)?, text)
}

/// What the fields of `text` ask for. Inlined for each way to read them: in what was scanned, nothing is owned.
#[inline(always)]
fn command<'a>(fields: Fields<'a>, text: &'a str) -> Result<Command<'a>, Rejected<'a>> {
    let Fields { kind, room, data, id, recover } = fields;
    let id = match id.map(checked_id) {
        Some(None) => return Err(Rejected { refusal: Refusal::InvalidJson, id: None }),
        Some(id) => id,
        None => None,
    };
    let kind = kind.unwrap_or_default();
    match &*kind {
        "publish" => required(room, id).map(|room| Command::Publish {
            room,
            event: Cow::Borrowed(EVENT_DEFAULT),
            data,
            id,
        }),
        "subscribe" => {
            let recover = recover.map(seen).transpose();
            let recover = recover.map_err(|refusal| Rejected { refusal, id })?;
            required(room, id).map(|room| Command::Subscribe { room, recover, id })
        }
        "unsubscribe" => required(room, id).map(|room| Command::Unsubscribe { room, id }),
        "presence" => {
            let limit = presence_limit(text).ok_or(Rejected { refusal: Refusal::InvalidJson, id })?;
            required(room, id).map(|room| Command::Presence { room, limit, id })
        }
        "broadcast" => Ok(Command::Broadcast { event: Cow::Borrowed(EVENT_DEFAULT), data, id }),
        "ping" => Ok(Command::Ping { id }),
        "auth" => match token(text).map_err(|refusal| Rejected { refusal, id })? {
            Some(token) => Ok(Command::Authenticate { token, id }),
            // The document leaves this name to handlers of the embedding program.
            None => Ok(Command::Custom { event: kind, data, id }),
        },
        "" => Err(Rejected { refusal: Refusal::UnknownType, id }),
        _ => Ok(Command::Custom { event: kind, data, id }),
    }
}

/// The fields of a message as nearly all are: valid, no known field twice or null (but `data`), and no escapes in
/// keys, type and room. `None` for any other text, of which [`parsed`] tells what it is; where this tells something,
/// it is what [`parsed`] would, for a fraction of the work.
#[inline(always)]
fn scanned<'a>(text: &'a str, limits: &DecodeLimits) -> Option<Fields<'a>> {
    let (mut kind, mut room, mut data, mut id, mut recover) = (None, None, None, None, None);
    json_scan(text, limits.json_depth_max, |key, value| {
        let twice = match key {
            b"type" => kind.replace(value.text()?).is_some(),
            b"room" => room.replace(value.text()?).is_some(),
            b"data" => data.replace(value.raw()?).is_some(),
            b"id" => id.replace(value.raw().and_then(not_null)?).is_some(),
            b"recover" => recover.replace(value.raw().and_then(not_null)?).is_some(),
            _ => false,
        };
        (!twice).then_some(())
    })?;
    Some(Fields { kind: kind.map(Cow::Borrowed), room: room.map(Cow::Borrowed), data, id, recover })
}

fn not_null(raw: &str) -> Option<&str> {
    (raw != "null").then_some(raw)
}

/// The fields of any message, or why it is none.
fn parsed<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Fields<'a>, Rejected<'a>> {
    if !json_depth_within(text, limits.json_depth_max) {
        return Err(Rejected { refusal: Refusal::TooDeep, id: None });
    }
    // serde reads a struct from an array as well.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Rejected { refusal: Refusal::InvalidJson, id: None });
    }
    match serde_json::from_str::<Incoming<'a>>(text) {
        Ok(incoming) => Ok(incoming.into()),
        Err(_) => Err(Rejected { refusal: Refusal::InvalidJson, id: salvage_id(text) }),
    }
}

/// The `limit` of a request for presence: 1 to [`PRESENCE_LIMIT_MAX`], which is also what holds without it.
fn presence_limit(text: &str) -> Option<u32> {
    let limit = serde_json::from_str::<Limited>(text).ok()?.limit.unwrap_or(PRESENCE_LIMIT_MAX);
    (1..=PRESENCE_LIMIT_MAX).contains(&limit).then_some(limit)
}

/// The `token` of a message, if it has one.
#[cold]
fn token(text: &str) -> Result<Option<Cow<'_, str>>, Refusal> {
    let tokened = serde_json::from_str::<Tokened<'_>>(text).map_err(|_| Refusal::InvalidJson)?;
    Ok(tokened.token.map(|token| token.0))
}

/// The `id` of an object that is no valid message.
#[cold]
fn salvage_id(text: &str) -> RequestId<'_> {
    serde_json::from_str::<Marked<'_>>(text).ok()?.id.and_then(|raw| checked_id(raw.get()))
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
