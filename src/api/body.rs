//! What the bodies of publishes ask for. All of a body is checked; `data` and `message` stay slices of it.
//!
//! Bodies as nearly all are get read by one scan, which knows nothing but the right; any other is left to serde, which
//! tells what is wrong with it. Of a batch of 1,000 with 66 bytes each the scan takes 70 ns for one, serde 260 ns; with
//! 360 bytes each 190 and 400 ns.
//!
//! simd-json was tried for batches. It has to be given a copy that it may change, as it unescapes strings in place, and
//! its tape tells neither where a value begins nor where it ends; so `data` would have to be written anew, and numbers
//! such as `1.0` and `1e2`, escapes and keys that come twice would not stay what they were. To build the tape alone,
//! before anything is looked up in it, took 150 and 400 ns, so that it would not pay as a check before the scan either.

use super::ApiError;
use crate::base::{JsonSlice, json_depth_within, json_scan, json_scan_each};
use crate::model::{ConnectionId, Draft, EVENT_BYTES_MAX, EVENT_DEFAULT, Selector};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Publications in one batch: what is published on one shard without others coming in between.
pub const BATCH_MAX: usize = 1000;

/// What is to be published, and to whom.
#[derive(Debug, PartialEq)]
pub struct PublishRequest<'a> {
    /// To whom; right by [`Selector::check`].
    pub to: Selector<'a>,
    /// Type name, 1 to 255 bytes without control characters.
    pub event: Cow<'a, str>,
    /// Valid JSON, byte for byte as it came, bounded in depth. Always there unless `whole` is.
    pub data: Option<&'a str>,
    /// The same of an object whose `type` is the event and whose `data`, if it has one, is the data.
    pub whole: Option<&'a str>,
}

impl PublishRequest<'_> {
    /// What is to be published.
    pub fn draft(&self) -> Draft<'_> {
        Draft { event: &self.event, data: self.data, whole: self.whole }
    }
}

/// The fields of one publish, however they were read.
#[derive(Debug, Default)]
struct Fields<'a> {
    room: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
    tenant: Option<Cow<'a, str>>,
    connection: Option<Cow<'a, str>>,
    all: Option<bool>,
    except: Option<Vec<Cow<'a, str>>>,
    event: Option<Cow<'a, str>>,
    data: Option<&'a str>,
    message: Option<&'a str>,
}

/// The same as serde reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody<'a> {
    #[serde(borrow, default)]
    room: Option<Text<'a>>,
    #[serde(borrow, default)]
    user: Option<Text<'a>>,
    #[serde(borrow, default)]
    tenant: Option<Text<'a>>,
    #[serde(borrow, default)]
    connection: Option<Text<'a>>,
    #[serde(default)]
    all: Option<bool>,
    #[serde(borrow, default)]
    except: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    message: Option<&'a RawValue>,
}

/// The fields of a broadcast: those of this server, and those of the channels document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomBody<'a> {
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BroadcastBody<'a> {
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    channel: Option<Text<'a>>,
    #[serde(borrow, default)]
    organization_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    user_id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// An object that is to be delivered as it is.
#[derive(Debug, PartialEq)]
pub struct Whole<'a> {
    /// Its type: 1 to 255 bytes without control characters.
    pub event: Cow<'a, str>,
    /// Its data, where it has some.
    pub data: Option<&'a str>,
}

/// What is looked at of it.
#[derive(Deserialize)]
struct WholeBody<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// A string, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Keeps `"data":null` apart from no data at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the body of `POST /v1/publish`: `{"room":R,"event":E,"data":D}`, where `event` may be left out, or
/// `"message":{"type":E,...}` in place of event and data. Beside or in place of the room: `user`, `tenant`,
/// `connection`, of which all that are given must hold, or `"all":true` in place of these; and `"except":[...]`.
/// `json_depth_max` bounds the nesting of the whole body, its own object counted as 1.
pub fn parse_publish(body: &[u8], json_depth_max: u32) -> Result<PublishRequest<'_>, ApiError> {
    let text = utf8(body)?;
    let mut fields = Fields::default();
    match json_scan(text, json_depth_max, |key, value| fields.take(key, value)) {
        Some(()) => publish(fields),
        None => parse_item(text, json_depth_max),
    }
}

/// Reads the body of `POST /v1/publish/batch`: an array of 1 to [`BATCH_MAX`] of what a publish is, each held to
/// `json_depth_max` by itself. A refusal of one is a refusal of all, and tells which it is, counted from 0.
pub fn parse_batch<'a>(body: &'a [u8], json_depth_max: u32) -> Result<Vec<PublishRequest<'a>>, ApiError> {
    let text = utf8(body)?;
    let (mut fields, mut requests) = (Fields::default(), Vec::new());
    let scanned = json_scan_each(text, json_depth_max, |field| {
        if let Some((key, value)) = field {
            return fields.take(key, value);
        }
        requests.push(publish(std::mem::take(&mut fields)).ok()?);
        (requests.len() <= BATCH_MAX).then_some(())
    });
    if scanned.is_some() && !requests.is_empty() {
        return Ok(requests);
    }
    if !text.trim_ascii_start().starts_with('[') {
        return Err(ApiError::bad_request("the body is not a JSON array"));
    }
    let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(unlike)?;
    if items.is_empty() || items.len() > BATCH_MAX {
        let text = format!("a batch holds 1 to {BATCH_MAX} publications, not {}", items.len());
        return Err(ApiError::bad_request(text));
    }
    let parse_nth = |(index, item): (usize, &&'a RawValue)| {
        let request = parse_item(item.get(), json_depth_max);
        request.map_err(|error| ApiError::new(error.status, error.code, format!("[{index}]: {}", error.text)))
    };
    items.iter().enumerate().map(parse_nth).collect()
}

/// Reads the body of `POST /v1/broadcast`: `{"event":E,"data":D}` for all, where `event` may be left out; or as the
/// channels document has it, `type` in place of `event`, and `channel`, `organizationId`, `userId`, of which all that
/// are given must hold.
pub fn parse_broadcast(body: &[u8], json_depth_max: u32) -> Result<PublishRequest<'_>, ApiError> {
    let body: BroadcastBody<'_> = parse(utf8(body)?, json_depth_max)?;
    if body.event.is_some() && body.kind.is_some() {
        return Err(ApiError::bad_request("give either type or event, not both"));
    }
    let [room, user, tenant] =
        [body.channel, body.user_id, body.organization_id].map(|field| field.map(|text| text.0));
    let to = Selector { room, user, tenant, ..Selector::all() };
    to.check().map_err(ApiError::bad_request)?;
    let event = event(body.kind.or(body.event).map(|text| text.0))?;
    Ok(PublishRequest { to, event, data: Some(data(body.data.map(RawValue::get))?), whole: None })
}

/// Reads an object that is to be delivered as it is.
///
/// # Errors
/// If it is no object with a text `type` that may be an event's, or nested deeper than `json_depth_max`.
pub fn parse_whole(text: &str, json_depth_max: u32) -> Result<Whole<'_>, ApiError> {
    let (mut kind, mut data) = (None, None);
    let scanned = json_scan(text, json_depth_max, |key, value| {
        let twice = match key {
            b"type" => kind.replace(value.text()?).is_some(),
            b"data" => data.replace(value.raw()?).is_some(),
            _ => false,
        };
        (!twice).then_some(())
    });
    let (kind, data) = match scanned {
        Some(()) => (kind.map(Cow::Borrowed), data),
        None => {
            let body: WholeBody<'_> = parse(text, json_depth_max)?;
            (body.kind.map(|text| text.0), body.data.map(RawValue::get))
        }
    };
    let Some(kind) = kind else { return Err(ApiError::bad_request("message needs a type")) };
    Ok(Whole { event: event(Some(kind))?, data })
}

impl<'a> Fields<'a> {
    /// Takes one field as nearly all are: known, not twice, no null but for data, no escapes. `None` for any other.
    #[inline(always)]
    fn take(&mut self, key: &[u8], value: JsonSlice<'a>) -> Option<()> {
        let text = |field: &mut Option<Cow<'a, str>>| {
            let before = field.replace(Cow::Borrowed(value.text()?));
            before.is_none().then_some(())
        };
        let twice = match key {
            b"room" => return text(&mut self.room),
            b"event" => return text(&mut self.event),
            b"user" => return text(&mut self.user),
            b"tenant" => return text(&mut self.tenant),
            b"connection" => return text(&mut self.connection),
            b"data" => self.data.replace(value.raw()?).is_some(),
            b"message" => self.message.replace(value.raw()?).is_some(),
            b"all" => {
                let is_all =
                    [("true", true), ("false", false)].into_iter().find(|it| Some(it.0) == value.raw())?;
                self.all.replace(is_all.1).is_some()
            }
            b"except" => {
                let ids: Vec<&str> = serde_json::from_str(value.raw()?).ok()?;
                self.except.replace(ids.into_iter().map(Cow::Borrowed).collect()).is_some()
            }
            _ => return None,
        };
        (!twice).then_some(())
    }
}

impl<'a> From<PublishBody<'a>> for Fields<'a> {
    fn from(body: PublishBody<'a>) -> Self {
        let text = |field: Option<Text<'a>>| field.map(|text| text.0);
        Self {
            room: text(body.room),
            user: text(body.user),
            tenant: text(body.tenant),
            connection: text(body.connection),
            all: body.all,
            except: body.except.map(|ids| ids.into_iter().map(|text| text.0).collect()),
            event: text(body.event),
            data: body.data.map(RawValue::get),
            message: body.message.map(RawValue::get),
        }
    }
}

/// Reads the body of `PUT /v1/rooms/{name}`: `{"metadata":{...}}`, an object of at most `bytes_max` bytes; nothing at
/// all is an empty one.
pub fn parse_room(body: &[u8], json_depth_max: u32, bytes_max: usize) -> Result<&str, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok("{}");
    }
    let body: RoomBody<'_> = parse(utf8(body)?, json_depth_max)?;
    let metadata = body.metadata.map_or("{}", RawValue::get);
    if !metadata.starts_with('{') {
        return Err(ApiError::bad_request("metadata must be an object"));
    }
    if metadata.len() > bytes_max {
        return Err(ApiError::bad_request(format!("metadata is longer than {bytes_max} bytes")));
    }
    Ok(metadata)
}

#[cold]
fn parse_item(text: &str, json_depth_max: u32) -> Result<PublishRequest<'_>, ApiError> {
    publish(parse::<PublishBody<'_>>(text, json_depth_max)?.into())
}

fn utf8(body: &[u8]) -> Result<&str, ApiError> {
    simdutf8::basic::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))
}

fn unlike(error: serde_json::Error) -> ApiError {
    ApiError::bad_request(format!("the body is not as it should be: {error}"))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str, json_depth_max: u32) -> Result<T, ApiError> {
    // serde reads a struct from an array as well.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ApiError::bad_request("the body is not a JSON object"));
    }
    // The parser skips over raw values and unknown fields without recursion, so that depth may be looked at after.
    let parsed = serde_json::from_str(text).map_err(unlike)?;
    if !json_depth_within(text, json_depth_max) {
        return Err(ApiError::bad_request(format!("the body is nested deeper than {json_depth_max}")));
    }
    Ok(parsed)
}

/// What one publish asks for. Its depth has been looked at.
fn publish(fields: Fields<'_>) -> Result<PublishRequest<'_>, ApiError> {
    let Fields { room, user, tenant, connection, all, except, event: kind, data: given, message } = fields;
    let connection = connection.as_deref().map(connection_id).transpose()?;
    let except = except.unwrap_or_default().iter().map(|id| connection_id(id)).collect::<Result<_, _>>()?;
    let to = Selector { room, user, tenant, connection, except };
    match (all.unwrap_or(false), to.is_all()) {
        (true, false) => {
            return Err(ApiError::bad_request("give either all, or room, user, tenant or connection"));
        }
        (false, true) => {
            let text = "room is required (or user, tenant, connection, or \"all\":true)";
            return Err(ApiError::bad_request(text));
        }
        _ => to.check().map_err(ApiError::bad_request)?,
    }
    let Some(message) = message.filter(|message| *message != "null") else {
        return Ok(PublishRequest { to, event: event(kind)?, data: Some(data(given)?), whole: None });
    };
    if kind.is_some() || given.is_some() {
        return Err(ApiError::bad_request("give either message, or event and data"));
    }
    let Whole { event, data } = parse_whole(message, u32::MAX)?;
    Ok(PublishRequest { to, event, data, whole: Some(message) })
}

fn connection_id(text: &str) -> Result<ConnectionId, ApiError> {
    ConnectionId::parse(text)
        .ok_or_else(|| ApiError::bad_request("a connection id is a UUID of 36 characters"))
}

/// Whether `event` can be the type of a message: 1 to [`EVENT_BYTES_MAX`] bytes, no control characters.
pub fn is_event(event: &str) -> bool {
    (1..=EVENT_BYTES_MAX).contains(&event.len()) && !event.chars().any(char::is_control)
}

fn event(given: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, ApiError> {
    let Some(event) = given else { return Ok(Cow::Borrowed(EVENT_DEFAULT)) };
    if !is_event(&event) {
        let text = format!("event must have 1 to {EVENT_BYTES_MAX} bytes and no control characters");
        return Err(ApiError::bad_request(text));
    }
    Ok(event)
}

fn data(given: Option<&str>) -> Result<&str, ApiError> {
    given.ok_or_else(|| ApiError::bad_request("data is required (null will do)"))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
