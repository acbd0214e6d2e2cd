use super::super::request::{self, Fields, Text, fields, required};
use super::super::{DecodeLimits, Rejected};
use crate::model::{Command, EVENT_DEFAULT, NOTIFICATION_TYPES_MAX, Refusal, RequestId};
use std::borrow::Cow;

/// Where each known field of a message stands.
#[inline(always)]
fn place(key: &[u8]) -> Option<usize> {
    Some(match key {
        b"id" => request::ID,
        b"type" => 1,
        b"data" => 2,
        _ => return None,
    })
}

/// Where each known field of its `data` stands; the first is nobody's.
#[inline(always)]
fn place_in_data(key: &[u8]) -> Option<usize> {
    Some(match key {
        b"channel" => 1,
        b"message" => 2,
        b"types" => 3,
        b"recover" => 4,
        b"limit" => 5,
        b"token" => 6,
        _ => return None,
    })
}

/// Reads one message. What clients publish has no type name of their choice, so that none can send what looks like an
/// answer of the server.
pub(super) fn decode<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
    let fields: Fields<'a, 3> = fields(text, limits, place)?;
    let [id, kind, data] = fields;
    let id = request::id(id)?;
    // As in the document, a type that is no string is one that nobody knows.
    let kind = request::text(kind).unwrap_or_default().unwrap_or_default();
    match &*kind {
        "send_message"
        | "join_channel"
        | "leave_channel"
        | "subscribe_notifications"
        | "get_presence"
        | "auth" => with_data(&kind, data, id, limits).map_err(|refusal| Rejected { refusal, id }),
        "ping" => Ok(Command::Ping { id }),
        "get_status" => Ok(Command::Status { id }),
        "" => Err(Rejected { refusal: Refusal::UnknownType, id }),
        _ => Ok(Command::Custom { event: kind, data, id }),
    }
}

/// The command of a type whose `data` is an object with known fields.
#[inline]
fn with_data<'a>(
    kind: &str,
    data: Option<&'a str>,
    id: RequestId<'a>,
    limits: &DecodeLimits,
) -> Result<Command<'a>, Refusal> {
    let fields: Fields<'a, 7> =
        fields(data.unwrap_or_default(), limits, place_in_data).map_err(|rejected| rejected.refusal)?;
    let [_, channel, message, types, recover, limit, token] = fields;
    let room = || required(request::text(channel)?, id).map_err(|rejected| rejected.refusal);
    Ok(match kind {
        "send_message" => {
            Command::Publish { room: room()?, event: Cow::Borrowed(EVENT_DEFAULT), data: message, id }
        }
        "join_channel" => Command::Subscribe { room: room()?, recover: request::recover(recover)?, id },
        "leave_channel" => Command::Unsubscribe { room: room()?, id },
        "get_presence" => Command::Presence { room: room()?, limit: request::limit(limit)?, id },
        "auth" => Command::Authenticate { token: request::token(token)?, id },
        _ => notifications(types.ok_or(Refusal::InvalidJson)?)?,
    })
}

/// The command of a list of notification types.
fn notifications(raw: &str) -> Result<Command<'_>, Refusal> {
    let types: Vec<Text<'_>> = serde_json::from_str(raw).map_err(|_| Refusal::InvalidJson)?;
    if types.len() > NOTIFICATION_TYPES_MAX {
        return Err(Refusal::InvalidJson);
    }
    Ok(Command::Notifications { types: types.into_iter().map(|kind| kind.0).collect(), raw })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
