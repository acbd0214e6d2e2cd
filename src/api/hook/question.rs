use crate::api::to_json;
use crate::config::HookEvent;
use crate::model::{ConnectionId, Identity};
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Rooms of a connection that a request names: enough for what a backend decides by, few enough to be small.
pub const ROOMS_MAX: usize = 64;

/// Bytes of a request beside what varies: names of fields, ids, times.
const BYTES_FIXED: usize = 512;

/// Whom a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The connection, once there is one.
    pub connection: Option<ConnectionId>,
    /// Who that is, as far as is known.
    pub identity: Option<Arc<Identity>>,
    /// Where it comes from.
    pub ip: Option<IpAddr>,
    /// Name of what it speaks.
    pub dialect: &'static str,
}

/// What a backend is asked or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whom it is about.
    pub subject: Subject,
    /// What happens.
    pub what: What,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A client wants to connect.
    Connect {
        /// The path asked for, without prefix.
        path: String,
        /// Its query.
        query: Option<String>,
        /// The fields of its head that are configured, names in lower case.
        headers: Vec<(String, String)>,
    },
    /// A connection wants to join a room, or to publish there without having joined.
    Join {
        /// The room.
        room: String,
        /// What it wants to publish there, if that is it. The backend is not told.
        publishes: Option<Unjoined>,
    },
    /// A connection wants to publish.
    Publish {
        /// The room; `None` for all connections.
        room: Option<String>,
        /// Type name.
        event: String,
        /// Valid JSON.
        data: Option<String>,
    },
    /// A connection has left a room.
    Leave {
        /// The room.
        room: String,
    },
    /// A connection has ended.
    Disconnect {
        /// Label of the reason.
        reason: &'static str,
    },
    /// A message that only the backend knows.
    Message {
        /// Type name.
        event: String,
        /// Valid JSON.
        data: Option<String>,
        /// Rooms that the sender is in, some of them.
        rooms: Vec<String>,
    },
}

/// What a connection wants to publish to a room that it is no member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjoined {
    /// Type name.
    pub event: String,
    /// Valid JSON.
    pub data: Option<String>,
}

impl What {
    /// Which event it is.
    pub fn event(&self) -> HookEvent {
        match self {
            Self::Connect { .. } => HookEvent::Connect,
            Self::Join { .. } => HookEvent::Join,
            Self::Publish { .. } => HookEvent::Publish,
            Self::Leave { .. } => HookEvent::Leave,
            Self::Disconnect { .. } => HookEvent::Disconnect,
            Self::Message { .. } => HookEvent::Message,
        }
    }
}

impl Question {
    /// Memory that it stands for while it waits, in bytes: itself and the request made of it.
    pub fn len_bytes(&self) -> usize {
        let pairs = |pairs: &[(String, String)]| pairs.iter().map(|(a, b)| a.len() + b.len()).sum::<usize>();
        let rooms = |rooms: &[String]| rooms.iter().map(String::len).sum::<usize>();
        let data = |data: &Option<String>| data.as_ref().map_or(0, String::len);
        let varies = match &self.what {
            What::Connect { path, query, headers } => path.len() + data(query) + pairs(headers),
            What::Join { room, publishes } => {
                let publishes = publishes.as_ref().map_or(0, |it| it.event.len() + data(&it.data));
                room.len() + publishes
            }
            What::Publish { room, event, data: raw } => data(room) + event.len() + data(raw),
            What::Leave { room } => room.len(),
            What::Disconnect { .. } => 0,
            What::Message { event, data: raw, rooms: all } => event.len() + data(raw) + rooms(all),
        };
        size_of::<Self>() + BYTES_FIXED + 2 * varies
    }

    /// The body of the request. `id` names the delivery, `unix_ms` is when it happened, in Unix milliseconds: both are
    /// the same each time that a notice is sent.
    pub fn body(&self, id: &str, unix_ms: u64) -> String {
        let Subject { connection, identity, ip, dialect } = &self.subject;
        let identity = identity.as_deref();
        let mut body = Body {
            event: self.what.event().name(),
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
        match &self.what {
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
        to_json(&body)
    }
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
    use crate::model::Life;

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
            let body = question.body("d", 5);
            assert_eq!(body, format!(r#"{{"event":"{name}","id":"d","time":5,{WHO},{fields}}}"#));
            assert!(question.len_bytes() > body.len());
        }
    }

    #[test]
    fn who_is_not_known_has_no_fields() {
        let subject = Subject { dialect: "rooms", ..Subject::default() };
        let question = Question { subject, what: What::Join { room: "r".into(), publishes: None } };
        assert_eq!(
            question.body("d", 5),
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
