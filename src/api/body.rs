use super::ApiError;
use crate::base::json_depth_within;
use crate::model::RoomName;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Type name of a publication whose request gives none.
const EVENT_DEFAULT: &str = "message";

/// Longest type name in bytes.
const EVENT_BYTES_MAX: usize = 255;

/// What is to be published, and to whom.
#[derive(Debug, PartialEq)]
pub struct PublishRequest<'a> {
    /// The room; `None` for all connections of the node.
    pub room: Option<RoomName>,
    /// Type name, 1 to 255 bytes without control characters.
    pub event: Cow<'a, str>,
    /// Valid JSON, byte for byte as it came, bounded in depth.
    pub data: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody<'a> {
    #[serde(borrow, default)]
    room: Option<Text<'a>>,
    #[serde(default)]
    all: bool,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomBody<'a> {
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BroadcastBody<'a> {
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
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

/// Reads the body of `POST /v1/publish`: `{"room":R,"event":E,"data":D}`, or `"all":true` in place of the room.
/// `event` may be left out. `json_depth_max` bounds the nesting of the whole body, its own object counted as 1.
pub fn parse_publish(body: &[u8], json_depth_max: u32) -> Result<PublishRequest<'_>, ApiError> {
    let body: PublishBody<'_> = parse(body, json_depth_max)?;
    let room = match (body.room, body.all) {
        (Some(_), true) => return Err(ApiError::bad_request("give either room or all, not both")),
        (None, false) => return Err(ApiError::bad_request("room is required (or \"all\":true)")),
        (None, true) => None,
        (Some(room), false) => {
            Some(RoomName::new(&room.0).map_err(|error| ApiError::bad_request(error.to_string()))?)
        }
    };
    Ok(PublishRequest { room, event: event(body.event)?, data: data(body.data)? })
}

/// Reads the body of `POST /v1/broadcast`: `{"event":E,"data":D}`, where `event` may be left out.
pub fn parse_broadcast(body: &[u8], json_depth_max: u32) -> Result<PublishRequest<'_>, ApiError> {
    let body: BroadcastBody<'_> = parse(body, json_depth_max)?;
    Ok(PublishRequest { room: None, event: event(body.event)?, data: data(body.data)? })
}

/// Reads the body of `PUT /v1/rooms/{name}`: `{"metadata":{...}}`, an object of at most `bytes_max` bytes; nothing at
/// all is an empty one.
pub fn parse_room(body: &[u8], json_depth_max: u32, bytes_max: usize) -> Result<&str, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok("{}");
    }
    let body: RoomBody<'_> = parse(body, json_depth_max)?;
    let metadata = body.metadata.map_or("{}", RawValue::get);
    if !metadata.starts_with('{') {
        return Err(ApiError::bad_request("metadata must be an object"));
    }
    if metadata.len() > bytes_max {
        return Err(ApiError::bad_request(format!("metadata is longer than {bytes_max} bytes")));
    }
    Ok(metadata)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], json_depth_max: u32) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    // serde reads a struct from an array as well.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(ApiError::bad_request("the body is not a JSON object"));
    }
    // The parser skips over raw values and unknown fields without recursion, so that depth may be looked at after.
    let parsed = serde_json::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("the body is not as it should be: {error}")))?;
    if !json_depth_within(text, json_depth_max) {
        return Err(ApiError::bad_request(format!("the body is nested deeper than {json_depth_max}")));
    }
    Ok(parsed)
}

fn event(given: Option<Text<'_>>) -> Result<Cow<'_, str>, ApiError> {
    let Some(Text(event)) = given else { return Ok(Cow::Borrowed(EVENT_DEFAULT)) };
    if event.is_empty() || event.len() > EVENT_BYTES_MAX || event.chars().any(char::is_control) {
        let text = format!("event must have 1 to {EVENT_BYTES_MAX} bytes and no control characters");
        return Err(ApiError::bad_request(text));
    }
    Ok(event)
}

fn data(given: Option<&RawValue>) -> Result<&str, ApiError> {
    given.map(RawValue::get).ok_or_else(|| ApiError::bad_request("data is required (null will do)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(body: &str) -> Result<PublishRequest<'_>, ApiError> {
        parse_publish(body.as_bytes(), 8)
    }

    #[test]
    fn publications_are_read() {
        let read = publish(r#"{"room":"chat","event":"note","data":{ "a" : 1.0 }}"#).unwrap();
        let room = Some(RoomName::new("chat").unwrap());
        assert_eq!(
            read,
            PublishRequest { room: room.clone(), event: "note".into(), data: r#"{ "a" : 1.0 }"# }
        );
        let read =
            publish(" {\"data\":null,\"room\":\"ch\\u0061t\",\"all\":false,\"event\":null}\n").unwrap();
        assert_eq!(read, PublishRequest { room, event: "message".into(), data: "null" });
    }

    #[test]
    fn all_is_a_broadcast() {
        let expected = || PublishRequest { room: None, event: "message".into(), data: "[1]" };
        assert_eq!(publish(r#"{"all":true,"data":[1]}"#), Ok(expected()));
        assert_eq!(parse_broadcast(br#"{"data":[1]}"#, 8), Ok(expected()));
        let read = parse_broadcast(br#"{"event":"e","data":[1]}"#, 8).unwrap();
        assert_eq!(read.event, "e");
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (body, word) in [
            (r#"{"room":"r","message":{"type":"x"}}"#, "`message`"),
            (r#"{"room":"r","data":1,"except":[]}"#, "`except`"),
            (r#"{"room":"r"}"#, "data"),
            (r#"{"data":1}"#, "room"),
            (r#"{"all":false,"data":1}"#, "room"),
            (r#"{"room":null,"data":1}"#, "room"),
            (r#"{"room":"","data":1}"#, "room"),
            (r#"{"room":"r","all":true,"data":1}"#, "either"),
            (r#"{"room":"a\u0000","data":1}"#, "control"),
            (r#"{"room":"\ud800","data":1}"#, "hex escape"),
            (r#"{"room":5,"data":1}"#, "string"),
            (r#"{"room":"r","all":1,"data":1}"#, "boolean"),
            (r#"{"room":"r","room":"s","data":1}"#, "duplicate"),
            (r#"{"room":"r","data":1,"data":2}"#, "duplicate"),
            (r#"{"room":"r","event":"","data":1}"#, "event"),
            (r#"{"room":"r","event":"a\nb","data":1}"#, "event"),
            (r#"{"room":"r","event":7,"data":1}"#, "string"),
            (r#"{"room":"r","data":1"#, "EOF"),
            (r#"{"room":"r","data":1}}"#, "trailing"),
            (r#"["r",false,"e",1]"#, "object"),
            ("", "object"),
            ("null", "object"),
        ] {
            let error = publish(body).expect_err(body);
            assert_eq!(error.status, 400);
            assert!(error.text.contains(word), "{body}: {error}");
        }
        assert!(parse_broadcast(br#"{"room":"r","data":1}"#, 8).unwrap_err().text.contains("`room`"));
        assert!(parse_publish(b"{\"room\":\"\xff\",\"data\":1}", 8).unwrap_err().text.contains("UTF-8"));
    }

    #[test]
    fn refusals_do_not_grow_with_the_body() {
        let body = format!(r#"{{"{}":1}}"#, "x".repeat(100_000));
        assert!(publish(&body).unwrap_err().text.len() <= 300);
        let body = format!(r#"{{"room":"{}","data":1}}"#, "x".repeat(256));
        assert!(publish(&body).unwrap_err().text.contains("255"));
        let body = format!(r#"{{"room":"r","event":"{}","data":1}}"#, "x".repeat(256));
        assert!(publish(&body).unwrap_err().text.contains("event"));
    }

    #[test]
    fn nesting_is_bounded_and_costs_no_stack() {
        let nested = |levels: usize| {
            format!(r#"{{"room":"r[[[\"[[[[","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        assert!(publish(&nested(7)).is_ok());
        assert!(publish(&nested(8)).unwrap_err().text.contains("nested"));
        assert!(publish(&nested(100_000)).unwrap_err().text.contains("nested"));
        assert_eq!(publish(&"[".repeat(100_000)).unwrap_err().status, 400);
        assert_eq!(publish(&r#"{"data":"#.repeat(100_000)).unwrap_err().status, 400);
    }
}
