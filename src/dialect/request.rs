//! What the dialects that speak JSON share when they read a request.

use super::{DecodeLimits, Rejected, all};
use crate::base::{json_depth_within, json_scan, json_text};
use crate::model::{
    EVENT_BYTES_MAX, Epoch, PRESENCE_LIMIT_MAX, Position, Refusal, RequestId, RoomName, RoomNameError,
};
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Longest `id` as written, quotes included: an id is echoed, so it must not be a way to make answers grow.
const ID_BYTES_MAX: usize = 128;

/// Where in [`Fields`] the `id` of a request stands.
pub(super) const ID: usize = 0;

/// The known fields of an object as they stand in the text, each at its place; none where it is missing.
pub(super) type Fields<'a, const N: usize> = [Option<&'a str>; N];

/// The fields of the object `text`. `place` tells where each known one belongs, by its key; others are skipped. Known
/// ones may come only once.
///
/// A refusal carries the `id` whenever `text` is an object whose `id` can be read; only `TooDeep` never does, because
/// such a text is not parsed at all.
#[inline(always)]
pub(super) fn fields<'a, const N: usize>(
    text: &'a str,
    limits: &DecodeLimits,
    place: impl Fn(&[u8]) -> Option<usize>,
) -> Result<Fields<'a, N>, Rejected<'a>> {
    match scanned(text, limits, &place) {
        Some(fields) => Ok(fields),
        None => parsed(text, limits, &place),
    }
}

/// [`fields`] of a text as nearly all are. `None` for any other, of which [`parsed`] tells what it is; where this tells
/// something, it is what [`parsed`] would, for a fraction of the work.
#[inline(always)]
fn scanned<'a, const N: usize>(
    text: &'a str,
    limits: &DecodeLimits,
    place: &impl Fn(&[u8]) -> Option<usize>,
) -> Option<Fields<'a, N>> {
    let mut fields = [None; N];
    json_scan(text, limits.json_depth_max, |key, value| {
        let Some(place) = place(key) else { return Some(()) };
        let before = fields.get_mut(place)?.replace(value.raw()?);
        before.is_none().then_some(())
    })?;
    Some(fields)
}

/// [`fields`] of any text.
#[cold]
#[inline(never)]
fn parsed<'a, const N: usize>(
    text: &'a str,
    limits: &DecodeLimits,
    place: &impl Fn(&[u8]) -> Option<usize>,
) -> Result<Fields<'a, N>, Rejected<'a>> {
    if !json_depth_within(text, limits.json_depth_max) {
        return Err(Rejected { refusal: Refusal::TooDeep, id: None });
    }
    let invalid = |id| Rejected { refusal: Refusal::InvalidJson, id };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let visitor = Object { fields: [None; N], twice: None, place };
    let read = deserializer.deserialize_map(visitor).and_then(|read| deserializer.end().map(|()| read));
    match read.map_err(|_| invalid(None))? {
        (fields, None) => Ok(fields),
        (_, Some(ID)) => Err(invalid(None)),
        (fields, Some(_)) => Err(invalid(fields[ID].and_then(checked_id))),
    }
}

/// Reads an object.
struct Object<'a, 'p, const N: usize, P> {
    fields: Fields<'a, N>,
    /// A known field that came twice; the `id` rather than another.
    twice: Option<usize>,
    place: &'p P,
}

impl<'a, const N: usize, P: Fn(&[u8]) -> Option<usize>> Visitor<'a> for Object<'a, '_, N, P> {
    type Value = (Fields<'a, N>, Option<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<Self::Value, M::Error> {
        while let Some(key) = map.next_key::<Text<'a>>()? {
            let Some(place) = (self.place)(key.0.as_bytes()) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let before = self.fields[place].replace(map.next_value::<&RawValue>()?.get());
            if before.is_some() && self.twice != Some(ID) {
                self.twice = Some(place);
            }
        }
        Ok((self.fields, self.twice))
    }
}

/// A string, borrowed unless it has escapes. The newtype is needed because serde borrows a `Cow` only where it is
/// the field itself, not inside an `Option`.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The string that a field holds; none where it is missing or `null`.
///
/// # Errors
/// [`Refusal::InvalidJson`] for any other value.
#[inline]
pub(super) fn text(field: Option<&str>) -> Result<Option<Cow<'_, str>>, Refusal> {
    match field {
        None | Some("null") => Ok(None),
        Some(raw) => json_text(raw).map(Some).ok_or(Refusal::InvalidJson),
    }
}

/// The `id` that a field holds.
///
/// # Errors
/// [`Refusal::InvalidJson`] if it is no short string or number.
#[inline]
pub(super) fn id(field: Option<&str>) -> Result<RequestId<'_>, Rejected<'_>> {
    match field {
        None | Some("null") => Ok(None),
        Some(raw) => match checked_id(raw) {
            None => Err(Rejected { refusal: Refusal::InvalidJson, id: None }),
            id => Ok(id),
        },
    }
}

/// The `limit` that a field holds: 1 to [`PRESENCE_LIMIT_MAX`], which is also what holds without it.
///
/// # Errors
/// [`Refusal::InvalidJson`] for any other value.
pub(super) fn limit(field: Option<&str>) -> Result<u32, Refusal> {
    match field {
        None | Some("null") => Ok(PRESENCE_LIMIT_MAX),
        Some(raw) => {
            let limit = raw.parse().ok().filter(|limit| (1..=PRESENCE_LIMIT_MAX).contains(limit));
            limit.ok_or(Refusal::InvalidJson)
        }
    }
}

/// The `recover` that a field holds.
///
/// # Errors
/// [`Refusal::InvalidJson`] for anything but an object with `epoch` and `offset`.
pub(super) fn recover(field: Option<&str>) -> Result<Option<Position>, Refusal> {
    field.filter(|raw| *raw != "null").map(seen).transpose()
}

/// The token that a field holds.
///
/// # Errors
/// [`Refusal::InvalidJson`] if it is no string, or missing.
pub(super) fn token(field: Option<&str>) -> Result<Cow<'_, str>, Refusal> {
    text(field)?.ok_or(Refusal::InvalidJson)
}

/// Whether a client may publish with this type name: one that is short and printable and that no dialect has for an
/// answer of the server.
#[inline]
pub(super) fn is_event(name: &str) -> bool {
    name.len() <= EVENT_BYTES_MAX
        && !name.chars().any(char::is_control)
        && !all().any(|dialect| dialect.reserved.contains(&name))
}

/// A room name that is there and valid.
#[inline]
pub(super) fn required<'a>(
    room: Option<Cow<'a, str>>,
    id: RequestId<'a>,
) -> Result<Cow<'a, str>, Rejected<'a>> {
    let room = room.unwrap_or_default();
    match RoomName::check(&room) {
        Ok(()) => Ok(room),
        Err(RoomNameError::Empty) => Err(Rejected { refusal: Refusal::RoomRequired, id }),
        Err(_) => Err(Rejected { refusal: Refusal::RoomInvalid, id }),
    }
}

/// What the client has seen of a room.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    epoch: Text<'a>,
    offset: u64,
}

/// What a `recover` says. Any text may be an epoch: one that is none is of a history that is not there.
pub(super) fn seen(raw: &str) -> Result<Position, Refusal> {
    if !raw.starts_with('{') {
        return Err(Refusal::InvalidJson);
    }
    let Seen { epoch, offset } = serde_json::from_str(raw).map_err(|_| Refusal::InvalidJson)?;
    Ok(Position { epoch: Epoch::parse(&epoch.0), offset })
}

/// The raw `id`, if it is a string or a number and short.
pub(super) fn checked_id(raw: &str) -> Option<&str> {
    let first = raw.as_bytes().first()?;
    let fits = raw.len() <= ID_BYTES_MAX && matches!(first, b'"' | b'-' | b'0'..=b'9');
    fits.then_some(raw)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
