//! The request that asks or tells a backend something.

use crate::model::hook::{Question, Subject, What};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The body of the request. `id` names the delivery, `unix_ms` is when it happened, in Unix milliseconds: both are
/// the same each time that a notice is sent.
pub fn body(question: &Question, id: &str, unix_ms: u64) -> String {
    let Subject { connection, identity, ip, dialect } = &question.subject;
    let identity = identity.as_deref();
    let mut body = Body {
        event: question.what.event().name(),
        id,
        time: unix_ms,
        connection_id: connection.map(|id| id.to_string()),
        user_id: identity.and_then(|identity| identity.user.as_deref()),
        tenant_id: identity.and_then(|identity| identity.tenant.as_deref()),
        roles: identity.into_iter().flat_map(|i| &i.roles).map(AsRef::as_ref).collect(),
        ip: *ip,
        dialect,
        path: None,
        query: None,
        headers: None,
        room: None,
        kind: None,
        data: None,
        reason: None,
        rooms: None,
    };
    match &question.what {
        What::Connect { path, query, headers } => {
            body.path = Some(path);
            body.query = query.as_deref();
            body.headers = Some(map(headers));
        }
        What::Join { room, .. } | What::Leave { room } => body.room = Some(room),
        What::Publish { room, event, data } => {
            body.room = room.as_deref();
            body.kind = Some(event);
            body.data = raw(data.as_deref());
        }
        What::Disconnect { reason } => body.reason = Some(reason),
        What::Message { event, data, rooms } => {
            body.kind = Some(event);
            body.data = raw(data.as_deref());
            body.rooms = Some(rooms);
        }
    }
    // Fails only for maps whose keys are no strings and for a `Serialize` that gives up; the body is neither.
    serde_json::to_string(&body).unwrap_or_default()
}
/// The text as JSON that is passed through. It was checked when it came in, so that it is never `None` for `Some`.
fn raw(data: Option<&str>) -> Option<&RawValue> {
    data.and_then(|data| serde_json::from_str(data).ok())
}

/// Fields that came several times are one, as RFC 9110 section 5.3 has it.
fn map(pairs: &[(String, String)]) -> BTreeMap<&str, Cow<'_, str>> {
    let mut map = BTreeMap::<&str, Cow<'_, str>>::new();
    for (name, value) in pairs {
        map.entry(name)
            .and_modify(|known| *known = format!("{known}, {value}").into())
            .or_insert(Cow::Borrowed(value));
    }
    map
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    event: &'static str,
    id: &'a str,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    dialect: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'a str, Cow<'a, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [String]>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hook::Unjoined;
    use crate::model::{Identity, Life};
    use std::sync::Arc;

    fn question(what: What) -> Question {
        let identity = Some(Arc::new(Identity {
            user: Some("ann \"a\"".into()),
            tenant: Some("t".into()),
            roles: ["admin".into()].into_iter().collect(),
            info: None,
            life: Some(Life::new(0, 1)),
            token: None,
        }));
        let subject =
            Subject { connection: None, identity, ip: Some([127, 0, 0, 1].into()), dialect: "rooms" };
        Question { subject, what }
    }

    const WHO: &str =
        r#""userId":"ann \"a\"","tenantId":"t","roles":["admin"],"ip":"127.0.0.1","dialect":"rooms""#;

    #[test]
    fn each_event_has_its_fields() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let cases = [
            (
                What::Connect {
                    path: "/ws".into(),
                    query: Some("a=1".into()),
                    headers: vec![pair("cookie", "a"), pair("origin", "o"), pair("cookie", "b")],
                },
                r#""path":"/ws","query":"a=1","headers":{"cookie":"a, b","origin":"o"}"#,
            ),
            (What::Join { room: "a\"b".into(), publishes: None }, r#""room":"a\"b""#),
            (
                What::Join { room: "r".into(), publishes: Some(Unjoined { event: "m".into(), data: None }) },
                r#""room":"r""#,
            ),
            (
                What::Publish { room: Some("r".into()), event: "m".into(), data: Some(r#"{"n": 1}"#.into()) },
                r#""room":"r","type":"m","data":{"n": 1}"#,
            ),
            (What::Publish { room: None, event: "m".into(), data: None }, r#""type":"m""#),
            (What::Leave { room: "r".into() }, r#""room":"r""#),
            (What::Disconnect { reason: "idle" }, r#""reason":"idle""#),
            (
                What::Message { event: "cancel_report".into(), data: Some("1".into()), rooms: Vec::new() },
                r#""type":"cancel_report","data":1,"rooms":[]"#,
            ),
        ];
        for (what, fields) in cases {
            let question = question(what);
            let name = question.what.event().name();
            let body = body(&question, "d", 5);
            assert_eq!(body, format!(r#"{{"event":"{name}","id":"d","time":5,{WHO},{fields}}}"#));
            assert!(question.len_bytes() > body.len());
        }
    }

    #[test]
    fn who_is_not_known_has_no_fields() {
        let subject = Subject { dialect: "rooms", ..Subject::default() };
        let question = Question { subject, what: What::Join { room: "r".into(), publishes: None } };
        assert_eq!(
            body(&question, "d", 5),
            r#"{"event":"join","id":"d","time":5,"dialect":"rooms","room":"r"}"#
        );
    }

    #[test]
    fn what_waits_is_charged_with_what_it_holds() {
        let small = question(What::Publish { room: None, event: "m".into(), data: None });
        let data = Some("x".repeat(100_000));
        let unjoined = Unjoined { event: "m".into(), data: data.clone() };
        for what in [
            What::Publish { room: None, event: "m".into(), data },
            What::Join { room: String::new(), publishes: Some(unjoined) },
        ] {
            assert!(question(what).len_bytes() - small.len_bytes() >= 200_000, "the question and its body");
        }
    }
}
