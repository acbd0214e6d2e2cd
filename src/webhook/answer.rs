//! Reads the answers of a backend.

use super::ANSWER_BYTES_MAX;
use crate::base::is_json_object;
use crate::model::hook::{Decision, HookMessage, HookReply, MESSAGES_MAX, REASON_BYTES_MAX};
use crate::model::{Identity, Info, Refusal};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of the type of such a message.
const TYPE_BYTES_MAX: usize = 255;

/// An answer that makes no sense: counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the answer of the backend makes no sense: {0}")]
pub struct Garbage(&'static str);

/// Reads the answer to a decision: `{"allow":true}`, or `{"allow":false,"reason":"text"}`. For `connect` a `userId`, a
/// `tenantId`, `roles` and `info` (an object that other members of a room may see) may stand beside `allow`. Fields that are not known are passed over.
///
/// # Errors
/// If it is anything else: nothing but a clear yes is a yes.
pub fn read_decision(body: &[u8]) -> Result<Decision, Garbage> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(Garbage("it is too large"));
    }
    let body: DecisionBody<'_> = object(body).ok_or(Garbage("no JSON object with a boolean `allow`"))?;
    if !body.allow {
        return Ok(Decision::Refuse { reason: reason(body.reason.as_deref()) });
    }
    let name = |value: Option<Name>| match value.map(Name::into_text) {
        Some(name) if !Identity::is_name(&name) => {
            Err(Garbage("a name that is empty, too long or not printable"))
        }
        name => Ok(name.map(String::into_boxed_str)),
    };
    let roles = body.roles.unwrap_or_default();
    if roles.len() > Identity::ROLES_MAX {
        return Err(Garbage("too many roles"));
    }
    if !roles.iter().all(|role| Identity::is_name(role)) {
        return Err(Garbage("a role that is empty, too long or not printable"));
    }
    let identity = Identity {
        user: name(body.user_id)?,
        tenant: name(body.tenant_id)?,
        roles: roles.into_iter().map(String::into_boxed_str).collect(),
        info: info(body.info)?.map(Info::from),
        ..Identity::default()
    };
    Ok(Decision::Allow { identity: (identity != Identity::default()).then_some(identity) })
}

/// The `reason` of an answer whose status is a no: where its body is no JSON object with such a text, a plain one.
pub fn read_reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct ReasonBody {
        reason: Option<String>,
    }
    let said = Some(body).filter(|body| body.len() <= ANSWER_BYTES_MAX);
    reason(said.and_then(|body| object::<ReasonBody>(body)?.reason).as_deref())
}

/// What a client is told of a no in these words: at most [`REASON_BYTES_MAX`] bytes, no control characters.
pub fn reason_in_words(said: &str) -> String {
    reason(Some(said))
}

/// What a client is told of a no.
fn reason(said: Option<&str>) -> String {
    let said = said.map(printable).filter(|said| !said.is_empty());
    said.unwrap_or_else(|| Refusal::Backend.text().to_owned())
}

/// A JSON object. A body may begin with a byte order mark.
fn object<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Option<T> {
    let body = without_bom(body);
    if is_json_object(body) { serde_json::from_slice(body).ok() } else { None }
}

/// Some programs put a byte order mark before JSON, which a reader may pass over (RFC 8259 section 8.1).
fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

/// Reads the answer to a forwarded message: nothing, or `{"messages":[{"type":"name","data":...}],"error":"text"}`, of
/// which both may be missing.
///
/// # Errors
/// If it is anything else.
pub fn read_reply(body: &[u8]) -> Result<HookReply, Garbage> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(Garbage("it is too large"));
    }
    let body = without_bom(body);
    if body.trim_ascii().is_empty() {
        return Ok(HookReply::default());
    }
    let body: ReplyBody<'_> = object(body).ok_or(Garbage("no JSON object of messages"))?;
    let messages = body.messages.unwrap_or_default();
    if messages.len() > MESSAGES_MAX {
        return Err(Garbage("too many messages"));
    }
    let messages: Option<Vec<ReplyMessage<'_>>> =
        messages.into_iter().map(|message| object(message.get().as_bytes())).collect();
    let messages = messages.ok_or(Garbage("a message that is no JSON object with a `type`"))?;
    if messages.iter().any(|message| message.event.is_empty() || message.event.len() > TYPE_BYTES_MAX) {
        return Err(Garbage("a type that is empty or too long"));
    }
    let messages = messages.into_iter().map(|message| HookMessage {
        event: message.event,
        data: message.data.map(|data| data.get().to_owned()),
    });
    Ok(HookReply { messages: messages.collect(), error: body.error.as_deref().map(printable) })
}

/// What others may know of a user: an object.
fn info(info: Option<&RawValue>) -> Result<Option<Box<str>>, Garbage> {
    let Some(info) = info.map(RawValue::get).filter(|info| *info != "null") else { return Ok(None) };
    if !info.starts_with('{') || info.len() > Identity::INFO_BYTES_MAX {
        return Err(Garbage("an `info` that is no object or longer than 512 bytes"));
    }
    Ok(Some(info.into()))
}

#[derive(Deserialize)]
struct DecisionBody<'a> {
    allow: bool,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    reason: Option<String>,
    #[serde(rename = "userId")]
    user_id: Option<Name>,
    #[serde(rename = "tenantId")]
    tenant_id: Option<Name>,
    roles: Option<Vec<String>>,
}

/// Many databases count their users.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

impl Name {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct ReplyBody<'a> {
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct ReplyMessage<'a> {
    #[serde(rename = "type")]
    event: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The text without control characters, cut at [`REASON_BYTES_MAX`].
fn printable(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(REASON_BYTES_MAX)];
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(reason: &str) -> Result<Decision, Garbage> {
        Ok(Decision::Refuse { reason: reason.to_owned() })
    }

    #[test]
    fn a_backend_may_say_what_others_see_of_a_user() {
        let info = |info: &str| match read_decision(format!(r#"{{"allow":true,"info":{info}}}"#).as_bytes()) {
            Ok(Decision::Allow { identity }) => {
                Ok(identity.and_then(|identity| identity.info.as_deref().map(str::to_owned)))
            }
            Ok(refused) => panic!("{refused:?}"),
            Err(Garbage(why)) => Err(why),
        };
        assert_eq!(info(r#"{"name":"A"}"#), Ok(Some(r#"{"name":"A"}"#.to_owned())));
        assert_eq!(info("null"), Ok(None));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(Identity::INFO_BYTES_MAX));
        for wrong in ["1", "[]", "\"{}\"", &long] {
            assert!(info(wrong).is_err(), "{wrong:.20}");
        }
    }

    #[test]
    fn a_decision_is_a_clear_yes_or_no() {
        let yes = Ok(Decision::Allow { identity: None });
        assert_eq!(read_decision(br#"{"allow":true}"#), yes);
        assert_eq!(read_decision(br#" {"more":[1],"allow":true,"reason":null} "#), yes);
        assert_eq!(read_decision(br#"{"allow":false,"reason":"not today"}"#), refuse("not today"));
        assert_eq!(read_decision("\u{feff}{\"allow\":true}".as_bytes()), yes);
        assert_eq!(read_decision(br#"{"allow":false}"#), refuse("refused by the backend"));
        assert_eq!(
            read_decision(br#"{"allow":false,"reason":"\u0000\n"}"#),
            refuse("refused by the backend")
        );
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "é".repeat(200));
        assert_eq!(read_decision(long.as_bytes()), refuse(&"é".repeat(128)));
        for garbage in [
            &b""[..],
            b"OK",
            b"true",
            b"null",
            b"[]",
            b"{}",
            b"<html>",
            b"[true,null,null,null,null]",
            br#"{"allow":1}"#,
            br#"{"allow":"true"}"#,
            br#"{"allow":null}"#,
            br#"{"allow":true"#,
            br#"{"allow":true}{"allow":true}"#,
            br#"{"allow":true,"allow":false}"#,
            br#"{"allow":false,"reason":7}"#,
            b"{\"allow\":true,\"reason\":\"\xff\"}",
        ] {
            assert!(read_decision(garbage).is_err(), "{}", String::from_utf8_lossy(garbage));
        }
        let deep = [b"{\"allow\":true,\"x\":".as_slice(), &[b'['; 60_000]].concat();
        assert!(read_decision(&deep).is_err());
        let large = [br#"{"allow":true}"#.as_slice(), &vec![b' '; ANSWER_BYTES_MAX]].concat();
        assert!(read_decision(&large).is_err());
    }

    #[test]
    fn a_yes_may_say_who_it_is() {
        let said = read_decision(br#"{"allow":true,"userId":"ann","tenantId":7,"roles":["admin","dev"]}"#);
        let Ok(Decision::Allow { identity: Some(identity) }) = said else { panic!("{said:?}") };
        assert_eq!((identity.user.as_deref(), identity.tenant.as_deref()), (Some("ann"), Some("7")));
        assert!(identity.has_role("admin") && identity.has_role("dev") && identity.life.is_none());
        let long = format!(r#"{{"allow":true,"userId":"{}"}}"#, "u".repeat(129));
        let many = format!(r#"{{"allow":true,"roles":[{}]}}"#, vec![r#""r""#; 33].join(","));
        for garbage in [
            r#"{"allow":true,"userId":""}"#,
            r#"{"allow":true,"userId":1.5}"#,
            r#"{"allow":true,"userId":["a"]}"#,
            r#"{"allow":true,"userId":"a\u0000"}"#,
            r#"{"allow":true,"tenantId":{}}"#,
            r#"{"allow":true,"roles":"admin"}"#,
            r#"{"allow":true,"roles":[1]}"#,
            r#"{"allow":true,"roles":[""]}"#,
            &long,
            &many,
        ] {
            assert!(read_decision(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }

    #[test]
    fn a_reply_is_nothing_or_messages() {
        assert_eq!(read_reply(b""), Ok(HookReply::default()));
        assert_eq!(read_reply(b" \n"), Ok(HookReply::default()));
        assert_eq!(read_reply(b"\xef\xbb\xbf"), Ok(HookReply::default()));
        assert_eq!(read_reply(b"{}"), Ok(HookReply::default()));
        let reply = read_reply(br#"{"messages":[{"type":"a","data":{"n": 1}},{"type":"b"}],"error":"x\ny"}"#)
            .unwrap();
        assert_eq!(reply.error.as_deref(), Some("xy"));
        assert_eq!(reply.messages[0], HookMessage { event: "a".into(), data: Some(r#"{"n": 1}"#.into()) });
        assert_eq!(reply.messages[1], HookMessage { event: "b".into(), data: None });
        let many = format!(r#"{{"messages":[{}]}}"#, vec![r#"{"type":"a"}"#; MESSAGES_MAX + 1].join(","));
        for garbage in [
            "OK",
            "[]",
            r#"{"messages":{}}"#,
            r#"{"messages":[{}]}"#,
            r#"{"messages":[{"type":""}]}"#,
            "[[],null]",
            r#"{"messages":[["a",1]]}"#,
            &many,
        ] {
            assert!(read_reply(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}
