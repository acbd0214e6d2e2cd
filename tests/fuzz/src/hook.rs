//! The answers of a backend, against a plain reading of their JSON.
//!
//! The input is a byte, which chooses the event and the status, and the body. It holds that
//! - a decision is a yes by 204, or by another 2xx with an object whose `allow` is true, and names whom that object names;
//!   a no by 401, 403 or 404, or by such an object whose `allow` is false, in the words of its `reason`; all else is
//!   neither, and so is an object with a field that is not of its type, or stands there twice;
//! - the answer to a message is nothing, or an object of messages and an error; that to another notice is its status;
//! - only the statuses that speak of the backend are failures of it, and a notice goes again where its status asks for that;
//! - what is for a client is bounded and can be shown;
//! - a wait in seconds is read as it stands, and no text is too odd for it.

use crate::json::{self, Field, Pairs};
use fanwire::config::HookEvent;
use fanwire::model::Identity;
use fanwire::model::hook::{Decision, HookMessage, HookReply, MESSAGES_MAX, REASON_BYTES_MAX, Verdict};
use fanwire::webhook::{Came, Source, judge, retry_after};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::{Duration, UNIX_EPOCH};

const STATUSES: [u16; 16] = [200, 201, 204, 302, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 599];

/// What a client is told where the backend has no words for it.
const REFUSED: &str = "refused by the backend";

/// What makes an answer none.
struct Wrong;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let status = STATUSES[usize::from(first & 15)];
    let event = HookEvent::ALL[usize::from(first >> 4) % HookEvent::ALL.len()];
    check_wait(&String::from_utf8_lossy(body));
    let came = Came::Answer { status, body: Some(body), retry_after: None };
    let judged = judge(event, came, Source::Delivery("d".into()));
    let speaks_of_backend = matches!(status, 429 | 502..=504);
    assert_eq!(judged.failing.is_some(), speaks_of_backend, "{status}");
    let goes_again = !event.is_decision() && matches!(status, 408 | 429 | 500..);
    assert_eq!(judged.again, goes_again, "{status}");
    check_shown(&judged.verdict);
    let Ok(text) = std::str::from_utf8(body) else {
        // What nobody reads need not be UTF-8, so such a body may be an answer; but it never says what it does not.
        let said = String::from_utf8_lossy(body);
        let is_yes = matches!(judged.verdict, Verdict::Decided(Decision::Allow { .. }));
        return assert!(!is_yes || status == 204 || says_yes(&said), "{said}");
    };
    let expected = if event.is_decision() { decision(status, text) } else { notice(event, status, text) };
    let otherwise = if speaks_of_backend { Verdict::Failed } else { Verdict::Unusable };
    assert_eq!(judged.verdict, expected.unwrap_or(otherwise), "{status} {text}");
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn says_yes(text: &str) -> bool {
    json::pairs(without_mark(text)).is_some_and(|pairs| matches!(pairs.get("allow"), Field::Once("true")))
}

/// What a decision says; `None` if it says nothing.
fn decision(status: u16, text: &str) -> Option<Verdict> {
    let refuse = |reason: Option<String>| {
        let reason = reason.map(|reason| shown(&reason)).filter(|reason| !reason.is_empty());
        Decision::Refuse { reason: reason.unwrap_or_else(|| REFUSED.to_owned()) }
    };
    let pairs = json::pairs(without_mark(text));
    let decided = match status {
        204 => Decision::Allow { identity: None },
        200..=299 => {
            let pairs = pairs?;
            let (reason, identity) = (json::text_or_null(&pairs.get("reason")).ok()?, identity(&pairs).ok()?);
            match pairs.get("allow") {
                Field::Once("true") => Decision::Allow {
                    identity: Some(identity.ok()?).filter(|identity| *identity != Identity::default()),
                },
                Field::Once("false") => refuse(reason),
                _ => return None,
            }
        }
        401 | 403 | 404 => {
            refuse(pairs.and_then(|pairs| json::text_or_null(&pairs.get("reason")).ok().flatten()))
        }
        _ => return None,
    };
    Some(Verdict::Decided(decided))
}

/// Whom an object names, or that it names somebody who cannot be; an error where a field is not of its type.
fn identity(pairs: &Pairs<'_>) -> Result<Result<Identity, Wrong>, Wrong> {
    let [user, tenant] = ["userId", "tenantId"].map(|key| name(&pairs.get(key)));
    let (user, tenant) = (user?, tenant?);
    let roles: Vec<String> = match pairs.get("roles") {
        Field::Absent => Vec::new(),
        Field::Once(raw) => serde_json::from_str::<Option<_>>(raw).map_err(|_| Wrong)?.unwrap_or_default(),
        Field::Repeated => return Err(Wrong),
    };
    let info = match pairs.get("info") {
        Field::Absent | Field::Once("null") => None,
        Field::Once(raw) => Some(raw),
        Field::Repeated => return Err(Wrong),
    };
    let names = user.iter().chain(&tenant).chain(&roles);
    let is_possible = names.into_iter().all(|name| Identity::is_name(name))
        && roles.len() <= Identity::ROLES_MAX
        && info.is_none_or(|info| info.starts_with('{') && info.len() <= Identity::INFO_BYTES_MAX);
    let boxed = |name: Option<String>| name.map(String::into_boxed_str);
    Ok(is_possible
        .then(|| Identity {
            user: boxed(user),
            tenant: boxed(tenant),
            roles: roles.into_iter().map(String::into_boxed_str).collect(),
            info: info.map(Into::into),
            ..Identity::default()
        })
        .ok_or(Wrong))
}

/// A name is a text or a whole number that 64 bits hold.
fn name(field: &Field<'_>) -> Result<Option<String>, Wrong> {
    let raw = match field {
        Field::Absent => return Ok(None),
        Field::Once(raw) => raw,
        Field::Repeated => return Err(Wrong),
    };
    match serde_json::from_str(raw).map_err(|_| Wrong)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.as_i64().ok_or(Wrong)?.to_string())),
        _ => Err(Wrong),
    }
}

/// What the answer to a notice says; `None` if it says nothing.
fn notice(event: HookEvent, status: u16, text: &str) -> Option<Verdict> {
    if !(200..300).contains(&status) {
        return None;
    }
    let text = without_mark(text);
    if event != HookEvent::Message || text.trim_ascii().is_empty() {
        return Some(Verdict::Replied(HookReply::default()));
    }
    let pairs = json::pairs(text)?;
    let error = json::text_or_null(&pairs.get("error")).ok()?.map(|error| shown(&error));
    let messages: Vec<&RawValue> = match pairs.get("messages") {
        Field::Absent => Vec::new(),
        Field::Once(raw) => serde_json::from_str::<Option<_>>(raw).ok()?.unwrap_or_default(),
        Field::Repeated => return None,
    };
    let messages: Option<Vec<HookMessage>> = messages.into_iter().map(|raw| message(raw.get())).collect();
    let messages = messages.filter(|messages| messages.len() <= MESSAGES_MAX)?;
    Some(Verdict::Replied(HookReply { messages, error }))
}

fn message(text: &str) -> Option<HookMessage> {
    let pairs = json::pairs(text)?;
    let event = json::text_or_null(&pairs.get("type")).ok()??;
    let data = match pairs.get("data") {
        Field::Absent | Field::Once("null") => None,
        Field::Once(raw) => Some(raw.to_owned()),
        Field::Repeated => return None,
    };
    (1..=255).contains(&event.len()).then_some(HookMessage { event, data })
}

/// What a client is shown of a text of the backend.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().scan(0, |end, character| {
        *end += character.len_utf8();
        (*end <= REASON_BYTES_MAX).then_some(character)
    }) {
        if !character.is_control() {
            shown.push(character);
        }
    }
    shown
}

fn check_shown(verdict: &Verdict) {
    let words = match verdict {
        Verdict::Decided(Decision::Refuse { reason }) => {
            assert!(!reason.is_empty());
            Some(reason)
        }
        Verdict::Replied(reply) => {
            let data = reply.messages.iter().filter_map(|message| message.data.as_deref());
            data.for_each(|data| assert!(json::depth(data).is_some(), "{data}"));
            reply.error.as_ref()
        }
        _ => None,
    };
    let is_fit = |text: &String| text.len() <= REASON_BYTES_MAX && !text.chars().any(char::is_control);
    assert!(words.is_none_or(is_fit), "{words:?}");
}

fn check_wait(text: &str) {
    let wait = retry_after(text, UNIX_EPOCH);
    let digits = text.trim_ascii();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = digits
            .bytes()
            .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        assert_eq!(wait, Some(Duration::from_secs(seconds)), "{text}");
    }
}
