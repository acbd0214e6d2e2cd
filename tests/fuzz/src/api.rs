//! Requests to the HTTP API: routes against a plain reading of path and query, bodies against a grammar of JSON.
//!
//! The input is `METHOD TARGET`, a line end, and the body. It holds that
//! - a path and query lead to the route that a plain reading of them leads to, or to the right refusal;
//! - names come out of their encoding: that of the RFC in paths, that of forms in queries;
//! - a body is accepted exactly where it is an object of the known fields, each once and of its type, within the
//!   bound of nesting; `data` and `message` are slices of it, byte for byte;
//! - a batch is accepted exactly where each of its items is, and asks for what they ask for;
//! - a refusal is JSON, short, and has an `Allow` exactly if it is a 405.

use crate::json::{self, Field, Pairs};
use fanwire::api::{self, ApiError, PublishRequest, Route};
use fanwire::model::{ConnectionId, Selector};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::value::RawValue;

/// Bound of nesting that bodies are held to.
const DEPTH_MAX: u32 = 8;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let head_len = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (head, body) = data.split_at(head_len);
    let body = body.strip_prefix(b"\n").unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let (method, target) = head.split_once(' ').unwrap_or(("GET", &head));
    check_route(method, target);
    check_body(body);
}

/// Pages of the documents of channels and topics.
const STATUS: &str = "/ws/status";
const CHANNELS: &str = "/api/v1/debug/websocket/channels";
const CONNECTIONS: &str = "/api/v1/debug/websocket/connections";

fn check_route(method: &str, target: &str) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let found = api::route(method, path, query);
    if let Err(error) = &found {
        assert_refusal(error);
    }
    let read = matches!(method, "GET" | "HEAD");
    let (allowed, allow) = match path {
        "/echo" => (method == "GET", "GET"),
        "/v1/publish" | "/v1/publish/batch" | "/v1/broadcast" => (method == "POST", "POST"),
        "/health" | "/ready" | "/metrics" | "/v1/stats" | "/v1/slow" | "/v1/rooms" | STATUS | CHANNELS => {
            (read, "GET, HEAD")
        }
        _ if room_of(path).is_some() && read => (true, "GET, HEAD, PUT, DELETE"),
        // What else stands there is held by tests of its own.
        _ if path.starts_with("/v1/") || path == CONNECTIONS || path == "/openapi.json" => return,
        _ => return assert_eq!(status(&found), 404, "{target}"),
    };
    if !allowed {
        assert_eq!(status(&found), 405, "{method} {target}");
        return assert_eq!(found.err().and_then(|error| error.allow), Some(allow));
    }
    assert_eq!(found.as_ref().ok(), expected(path, query).as_ref(), "{target}");
    if found.is_err() {
        assert_eq!(status(&found), 400, "{target}");
    }
    if found.is_ok() {
        let open = ["/echo", "/health", "/ready", "/metrics"];
        let needs_key = api::find(path).is_some_and(|found| found.access() == api::Access::Key);
        assert_eq!(needs_key, !open.contains(&path), "{target}");
    }
}

/// The name, still encoded, of `/v1/rooms/NAME`.
fn room_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/rooms/").filter(|name| !name.is_empty() && !name.contains('/'))
}

/// The route of an allowed method, `None` where path or query are wrong.
fn expected(path: &str, query: Option<&str>) -> Option<Route> {
    Some(match path {
        "/echo" => Route::Echo,
        "/health" => Route::Health,
        "/ready" => Route::Ready,
        "/metrics" => Route::Metrics,
        STATUS | CHANNELS => Route::Status,
        "/v1/publish" => parameters(query, &[]).map(|_| Route::Publish)?,
        "/v1/publish/batch" => parameters(query, &[]).map(|_| Route::PublishBatch)?,
        "/v1/broadcast" => parameters(query, &[]).map(|_| Route::Broadcast)?,
        "/v1/stats" => parameters(query, &[]).map(|_| Route::Stats)?,
        "/v1/slow" => Route::Slow { limit: limit(&parameters(query, &["limit"])?, api::SLOW_LIMIT_DEFAULT)? },
        "/v1/rooms" => {
            let given = parameters(query, &["prefix", "cursor", "limit"])?;
            let [prefix, cursor] = [name(&given, "prefix")?, name(&given, "cursor")?];
            Route::Rooms { prefix, cursor, limit: limit(&given, api::ROOMS_LIMIT_DEFAULT)? }
        }
        _ => {
            parameters(query, &[])?;
            let encoded = room_of(path)?;
            let decoded = percent_decode_str(encoded).decode_utf8().ok().filter(|_| is_encoded(encoded))?;
            Route::Room { name: fanwire::model::RoomName::new(&decoded).ok()? }
        }
    })
}

/// The known parameters, decoded, each at most once.
fn parameters(query: Option<&str>, known: &[&str]) -> Option<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        if !known.contains(&name.as_str()) || pairs.iter().any(|(other, _)| *other == name) {
            return None;
        }
        pairs.push((name, value));
    }
    Some(pairs)
}

/// A text in the form encoding; `None` where it is not one, or not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn raw<'q>(given: &'q [(String, String)], name: &str) -> Option<&'q str> {
    given.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn limit(given: &[(String, String)], default: u32) -> Option<u32> {
    let Some(raw) = raw(given, "limit") else { return Some(default) };
    let number = raw.parse::<u32>().ok().filter(|number| (1..=1000).contains(number))?;
    (!raw.starts_with('+')).then_some(number)
}

/// The outer `None` is an error, the inner one no such parameter.
fn name(given: &[(String, String)], name: &str) -> Option<Option<String>> {
    let Some(text) = raw(given, name) else { return Some(None) };
    let is_fit = text.len() <= 255 && !text.chars().any(char::is_control);
    is_fit.then(|| Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Whether each `%` has its two digits: what the crates leave as it is, is an error here.
fn is_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    })
}

fn check_body(body: &[u8]) {
    let text = std::str::from_utf8(body).ok();
    for publish in [true, false] {
        let parse = if publish { api::parse_publish } else { api::parse_broadcast };
        let parsed = parse(body, DEPTH_MAX);
        if let Err(error) = &parsed {
            assert_refusal(error);
            assert_eq!(error.status, 400);
        }
        let expected = text.and_then(|text| if publish { published(text) } else { broadcasted(text) });
        assert_eq!(parsed.as_ref().ok(), expected.as_ref(), "{text:?}");
        if let (Ok(parsed), Some(text)) = (&parsed, text) {
            for part in parsed.data.iter().chain(&parsed.whole) {
                json::assert_within(part, text);
                json::assert_valid(part);
            }
        }
    }
    check_batch(body, text);
}

/// A batch is what its items are, by themselves.
fn check_batch(body: &[u8], text: Option<&str>) {
    let parsed = api::parse_batch(body, DEPTH_MAX);
    if let Err(error) = &parsed {
        assert_refusal(error);
        assert_eq!(error.status, 400);
    }
    let items = text.and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
    let items = items.filter(|items| (1..=api::BATCH_MAX).contains(&items.len()));
    let expected = items.and_then(|items| items.iter().map(|item| published(item.get())).collect());
    assert_eq!(parsed.ok(), expected, "{text:?}");
    if let Some(text) = text
        && let Some(one) = published(text)
    {
        let batch = format!("[{text},\n{text} ]");
        assert_eq!(
            api::parse_batch(batch.as_bytes(), DEPTH_MAX).ok(),
            Some(vec![one, published(text).expect("twice")])
        );
    }
}

/// What a publish asks for.
fn published(text: &str) -> Option<PublishRequest<'_>> {
    json::depth(text).filter(|depth| *depth <= DEPTH_MAX)?;
    let pairs = json::pairs(text)?;
    let known = ["room", "user", "tenant", "connection", "all", "except", "event", "data", "message"];
    if !pairs.keys().all(|key| known.contains(&key)) {
        return None;
    }
    let all = match pairs.get("all") {
        Field::Absent | Field::Once("false" | "null") => false,
        Field::Once("true") => true,
        _ => return None,
    };
    let name = |key| json::text_or_null(&pairs.get(key)).ok().map(|name| name.map(Into::into));
    let connection = match json::text_or_null(&pairs.get("connection")).ok()? {
        Some(id) => Some(ConnectionId::parse(&id)?),
        None => None,
    };
    let except = match pairs.get("except") {
        Field::Absent | Field::Once("null") => Vec::new(),
        Field::Once(raw) => {
            let ids = serde_json::from_str::<Vec<String>>(raw).ok()?;
            ids.iter().map(|id| ConnectionId::parse(id)).collect::<Option<_>>()?
        }
        Field::Repeated => return None,
    };
    let to =
        Selector { room: name("room")?, user: name("user")?, tenant: name("tenant")?, connection, except };
    if all != to.is_all() || to.check().is_err() {
        return None;
    }
    let kind = json::text_or_null(&pairs.get("event")).ok()?;
    if let Field::Absent | Field::Once("null") = pairs.get("message") {
        let data = Some(once(&pairs, "data")?);
        return Some(PublishRequest { to, event: event(kind)?.into(), data, whole: None });
    }
    let whole = once(&pairs, "message")?;
    let inner = json::pairs(whole).filter(|_| kind.is_none())?;
    let kind = json::text_or_null(&inner.get("type")).ok()??;
    let data = match (pairs.get("data"), inner.get("data")) {
        (Field::Absent, Field::Absent) => None,
        (Field::Absent, Field::Once(data)) => Some(data),
        _ => return None,
    };
    Some(PublishRequest { to, event: event(Some(kind))?.into(), data, whole: Some(whole) })
}

/// What a broadcast asks for.
fn broadcasted(text: &str) -> Option<PublishRequest<'_>> {
    json::depth(text).filter(|depth| *depth <= DEPTH_MAX)?;
    let pairs = json::pairs(text)?;
    let known = ["event", "type", "channel", "organizationId", "userId", "data"];
    if !pairs.keys().all(|key| known.contains(&key)) {
        return None;
    }
    let name = |key| json::text_or_null(&pairs.get(key)).ok();
    let (user, tenant) = (name("userId")?.map(Into::into), name("organizationId")?.map(Into::into));
    let to = Selector { room: name("channel")?.map(Into::into), user, tenant, ..Selector::all() };
    to.check().ok()?;
    let kind = match (name("event")?, name("type")?) {
        (Some(_), Some(_)) => return None,
        (event, kind) => event.or(kind),
    };
    Some(PublishRequest { to, event: event(kind)?.into(), data: Some(once(&pairs, "data")?), whole: None })
}

/// The type name that is published, if it is one.
fn event(given: Option<String>) -> Option<String> {
    let event = given.unwrap_or_else(|| "message".to_owned());
    let is_one = !event.is_empty() && event.len() <= 255 && !event.chars().any(char::is_control);
    is_one.then_some(event)
}

fn once<'a>(pairs: &Pairs<'a>, key: &str) -> Option<&'a str> {
    match pairs.get(key) {
        Field::Once(raw) => Some(raw),
        _ => None,
    }
}

fn status(found: &Result<Route, ApiError>) -> u16 {
    found.as_ref().map_or_else(|error| error.status, |_| 200)
}

fn assert_refusal(error: &ApiError) {
    assert!(matches!(error.status, 400 | 404 | 405), "{error}");
    assert_eq!(error.allow.is_some(), error.status == 405, "{error}");
    assert!(error.text.len() <= 300, "{error}");
    let body: Value = serde_json::from_str(&error.to_json()).expect("a refusal is JSON");
    assert_eq!(body["error"]["code"], error.code);
    assert_eq!(body["error"]["message"], error.text);
}
