//! What each document says of a text.

use crate::json::{self, Field, Pairs};
use crate::rooms::{id, limit, position};
use fanwire::dialect::Rejected;
use fanwire::model::{Command, Position, Refusal, RequestId};
use std::borrow::Cow;

/// A protocol: the fields that may come only once, and what an object with a fitting `id` asks for.
pub struct Protocol {
    known: &'static [&'static str],
    command: for<'a> fn(&Pairs<'a>, RequestId<'a>) -> Result<Command<'a>, Refusal>,
}

const CHANNEL_FIELDS: [&str; 7] = ["id", "type", "channel", "data", "recover", "limit", "token"];

pub static CHANNELS: Protocol = Protocol { known: &CHANNEL_FIELDS, command: channels };
pub static TOPICS: Protocol = Protocol { known: &CHANNEL_FIELDS, command: topics };
pub static TENANTS: Protocol = Protocol { known: &["id", "type", "data"], command: tenants };

/// Compares what was read of a text with what it says.
pub fn compare(decoded: &Result<Command<'_>, Rejected<'_>>, text: &str, depth_max: u32, protocol: &Protocol) {
    let rejected = |refusal, id| Err(Rejected { refusal, id });
    let Some(depth) = json::depth(text) else {
        // Too deep a text need not be read to its end: either word will do, and no id can be trusted.
        let error = decoded.as_ref().expect_err("no JSON, and yet a command");
        assert!(matches!(error.refusal, Refusal::InvalidJson | Refusal::TooDeep), "{error:?}");
        return assert_eq!(error.id, None);
    };
    if depth > depth_max {
        return assert_eq!(decoded, &rejected(Refusal::TooDeep, None), "{text}");
    }
    let Some(pairs) = json::pairs(text) else {
        return assert_eq!(decoded, &rejected(Refusal::InvalidJson, None), "{text}");
    };
    let id = id(&pairs);
    let twice = protocol.known.iter().any(|key| matches!(pairs.get(key), Field::Repeated));
    let expected = match id {
        _ if twice => rejected(Refusal::InvalidJson, id.unwrap_or(None)),
        Err(()) => rejected(Refusal::InvalidJson, None),
        Ok(id) => (protocol.command)(&pairs, id).map_err(|refusal| Rejected { refusal, id }),
    };
    assert_eq!(decoded, &expected, "{text}");
}

/// What nobody but the server says.
const RESERVED: &str = "authenticated connected error gap health identity_ends initial_data notifications_subscribed \
    pong presence presence_change published status subscribed unsubscribed welcome channel_joined channel_left \
    channel_message connection AUTHENTICATED CHANNEL_GAP CHANNEL_JOINED CHANNEL_LEFT CHANNEL_PRESENCE \
    CHANNEL_PRESENCE_CHANGE ERROR IDENTITY_ENDS NOTIFICATIONS_SUBSCRIBED PONG PUBLISHED";

fn channels<'a>(pairs: &Pairs<'a>, id: RequestId<'a>) -> Result<Command<'a>, Refusal> {
    let (kind, channel) = (text(pairs, "type")?.unwrap_or_default(), text(pairs, "channel")?);
    match (kind.as_str(), channel) {
        ("", _) => Err(Refusal::InvalidJson),
        ("JOIN_CHANNEL", channel) => {
            let recover = recover(pairs)?;
            Ok(Command::Subscribe { room: room(channel)?, recover, id })
        }
        ("LEAVE_CHANNEL", channel) => Ok(Command::Unsubscribe { room: room(channel)?, id }),
        ("GET_PRESENCE", channel) => {
            let limit = limit(&pairs.get("limit")).map_err(|()| Refusal::InvalidJson)?;
            Ok(Command::Presence { room: room(channel)?, limit, id })
        }
        (_, Some(channel)) => {
            let room = room(Some(channel))?;
            let reserved = RESERVED.split_whitespace().any(|name| name == kind);
            if reserved || kind.len() > 255 || kind.chars().any(char::is_control) {
                return Err(Refusal::UnknownType);
            }
            Ok(Command::Publish { room, event: Cow::Owned(kind), data: data(pairs), id })
        }
        ("PING", None) => Ok(Command::Ping { id }),
        ("GET_STATUS", None) => Ok(Command::Status { id }),
        ("AUTH", None) => Ok(Command::Authenticate { token: token(pairs)?, id }),
        (_, None) => Ok(Command::Custom { event: Cow::Owned(kind), data: data(pairs), id }),
    }
}

fn topics<'a>(pairs: &Pairs<'a>, id: RequestId<'a>) -> Result<Command<'a>, Refusal> {
    let kind = text(pairs, "type")?.unwrap_or_default();
    let channel = || room(text(pairs, "channel")?);
    Ok(match kind.as_str() {
        "" => return Err(Refusal::InvalidJson),
        "subscribe" => {
            let recover = recover(pairs)?;
            Command::Subscribe { room: channel()?, recover, id }
        }
        "unsubscribe" => Command::Unsubscribe { room: channel()?, id },
        "publish" => Command::Publish { room: channel()?, event: "message".into(), data: data(pairs), id },
        "presence" => {
            let limit = limit(&pairs.get("limit")).map_err(|()| Refusal::InvalidJson)?;
            Command::Presence { room: channel()?, limit, id }
        }
        "ping" => Command::Ping { id },
        "get_status" => Command::Status { id },
        "auth" => Command::Authenticate { token: token(pairs)?, id },
        _ => Command::Custom { event: Cow::Owned(kind), data: data(pairs), id },
    })
}

fn tenants<'a>(pairs: &Pairs<'a>, id: RequestId<'a>) -> Result<Command<'a>, Refusal> {
    // A type that is no text is one that nobody knows.
    let kind = text(pairs, "type").unwrap_or_default().unwrap_or_default();
    match kind.as_str() {
        "" => return Err(Refusal::UnknownType),
        "ping" => return Ok(Command::Ping { id }),
        "get_status" => return Ok(Command::Status { id }),
        "join_channel"
        | "leave_channel"
        | "send_message"
        | "get_presence"
        | "subscribe_notifications"
        | "auth" => {}
        _ => return Ok(Command::Custom { event: Cow::Owned(kind), data: data(pairs), id }),
    }
    let inner = data(pairs).and_then(json::pairs).ok_or(Refusal::InvalidJson)?;
    let known = ["channel", "message", "types", "recover", "limit", "token"];
    if known.iter().any(|key| matches!(inner.get(key), Field::Repeated)) {
        return Err(Refusal::InvalidJson);
    }
    let channel = || room(text(&inner, "channel")?);
    Ok(match kind.as_str() {
        "join_channel" => Command::Subscribe { room: channel()?, recover: recover(&inner)?, id },
        "leave_channel" => Command::Unsubscribe { room: channel()?, id },
        "send_message" => {
            let data = if let Field::Once(raw) = inner.get("message") { Some(raw) } else { None };
            Command::Publish { room: channel()?, event: "message".into(), data, id }
        }
        "get_presence" => {
            let room = channel()?;
            let limit = limit(&inner.get("limit")).map_err(|()| Refusal::InvalidJson)?;
            Command::Presence { room, limit, id }
        }
        "auth" => Command::Authenticate { token: token(&inner)?, id },
        _ => {
            let Field::Once(raw) = inner.get("types") else { return Err(Refusal::InvalidJson) };
            let types: Vec<String> = serde_json::from_str(raw).map_err(|_| Refusal::InvalidJson)?;
            if types.len() > 64 {
                return Err(Refusal::InvalidJson);
            }
            Command::Notifications { types: types.into_iter().map(Cow::Owned).collect(), raw }
        }
    })
}

fn text(pairs: &Pairs<'_>, key: &str) -> Result<Option<String>, Refusal> {
    json::text_or_null(&pairs.get(key)).map_err(|()| Refusal::InvalidJson)
}

fn data<'a>(pairs: &Pairs<'a>) -> Option<&'a str> {
    if let Field::Once(raw) = pairs.get("data") { Some(raw) } else { None }
}

fn token(pairs: &Pairs<'_>) -> Result<Cow<'static, str>, Refusal> {
    text(pairs, "token")?.map(Cow::Owned).ok_or(Refusal::InvalidJson)
}

fn recover(pairs: &Pairs<'_>) -> Result<Option<Position>, Refusal> {
    match pairs.get("recover") {
        Field::Once(raw) if raw != "null" => position(raw).map(Some).map_err(|()| Refusal::InvalidJson),
        _ => Ok(None),
    }
}

fn room(name: Option<String>) -> Result<Cow<'static, str>, Refusal> {
    let name = name.unwrap_or_default();
    if name.is_empty() {
        Err(Refusal::RoomRequired)
    } else if name.len() > 255 || name.chars().any(char::is_control) {
        Err(Refusal::RoomInvalid)
    } else {
        Ok(Cow::Owned(name))
    }
}
