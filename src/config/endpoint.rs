//! Endpoints: the paths at which clients connect, and what holds for those that come by each.

use super::list::{self, Item, ItemError, ListError};
use super::service::{self, Messages, Snapshot};
use super::value;
use crate::dialect;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most endpoints: each request is compared with all of them.
const ENDPOINTS_MAX: usize = 100;

/// Most segments of a path.
const SEGMENTS_MAX: usize = 16;

/// Most rooms that an endpoint puts a connection into.
const ROOMS_MAX: usize = 16;

/// A path at which clients connect. The first whose path fits counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The path.
    pub path: PathTemplate,
    /// What is spoken where the client does not ask for a dialect by `Sec-WebSocket-Protocol`: the name of one of
    /// [`DIALECTS`](crate::dialect::DIALECTS).
    pub dialect: String,
    /// Dialects that a client can ask for beside that one, by name.
    pub dialects: Vec<String>,
    /// Whether clients say who they are.
    pub auth: Auth,
    /// What becomes of those who may not come in.
    pub auth_failure: AuthFailure,
    /// The role that is asked for.
    pub role: Option<String>,
    /// Whether clients may look at the node and act on it: such an endpoint asks for a role.
    pub admin: bool,
    /// Whether a client's own messages come back to it; none: as the dialect has it.
    pub deliver_to_sender: Option<bool>,
    /// Rooms that a connection is put into, with `{parameter}` of the path, `{user}` and `{tenant}`; those with a
    /// name that is not known are left out.
    pub rooms: Vec<String>,
    /// What a connection is sent at once, and when it asks.
    pub snapshot: Option<Snapshot>,
    /// What its own messages do, by their type. Those that the dialect has are none of these.
    pub messages: Messages,
    /// Whether it only tells that the server is there, and closes.
    pub health: bool,
}

/// Whether clients of an endpoint say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Nobody is asked, and no token is looked at.
    Off,
    /// Who brings no token is anonymous; a bad token is refused.
    #[default]
    Optional,
    /// Only who brings a good token comes in.
    Required,
}

/// What becomes of a client that may not come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthFailure {
    /// 401 or 403 in place of the upgrade.
    #[default]
    Refuse,
    /// The upgrade and then a close with 4401 or 4403, which browsers can see.
    Close,
}

/// A path with parameters, such as `/reports/{id}`: each is one segment that is not empty.
#[derive(Clone, PartialEq, Eq)]
pub struct PathTemplate {
    text: Box<str>,
}

impl PathTemplate {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let segments = text.strip_prefix('/').ok_or("a path begins with a slash")?.split('/');
        let mut names = Vec::new();
        for (index, segment) in segments.enumerate() {
            if index == SEGMENTS_MAX {
                return Err(format!("a path has at most {SEGMENTS_MAX} segments"));
            }
            let inner = parameter(segment).unwrap_or(segment);
            if inner.is_empty() || !inner.bytes().all(allowed) {
                return Err(
                    "a path has segments of letters, digits and -._~, or of such in braces".to_owned()
                );
            }
            if let Some(name) = parameter(segment) {
                if names.contains(&name) || ["user", "tenant"].contains(&name) {
                    return Err(format!("{{{name}}} stands for something else already"));
                }
                names.push(name);
            }
        }
        Ok(Self { text: text.into() })
    }

    /// The parameters of `path`, still percent-encoded, in their order; `None` if it does not fit.
    pub fn parameters<'p>(&'p self, path: &'p str) -> Option<Vec<(&'p str, &'p str)>> {
        let mut parts = path.split('/');
        let mut found = Vec::new();
        for segment in self.text.split('/') {
            let part = parts.next()?;
            match parameter(segment) {
                Some(name) if !part.is_empty() => found.push((name, part)),
                None if segment == part => {}
                _ => return None,
            }
        }
        parts.next().is_none().then_some(found)
    }

    /// The names of its parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.text.split('/').filter_map(parameter)
    }
}

/// The name of a segment in braces.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl Endpoint {
    /// An endpoint that anybody may use, with or without a token.
    ///
    /// # Panics
    /// If `path` is no path.
    pub fn new(path: &str, dialect: &str) -> Self {
        Self {
            path: PathTemplate::parse(path).expect("a path"),
            dialect: dialect.to_owned(),
            dialects: Vec::new(),
            auth: Auth::Optional,
            auth_failure: AuthFailure::Refuse,
            role: None,
            admin: false,
            deliver_to_sender: None,
            rooms: Vec::new(),
            snapshot: None,
            messages: Messages::new(),
            health: false,
        }
    }

    /// Whether a client that is known here must have a user and a tenant, as the document of `tenants` has it.
    pub fn is_of_tenants(&self) -> bool {
        self.dialect == "tenants"
    }

    /// Whether a client can have this dialect here.
    pub fn speaks(&self, dialect: &str) -> bool {
        self.dialect == dialect || self.dialects.iter().any(|other| other == dialect)
    }

    /// Whether it has more to it than its dialect and rooms.
    pub fn has_service(&self) -> bool {
        self.snapshot.is_some() || !self.messages.is_empty()
    }
}

/// An endpoint as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    dialect: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dialects: Vec<String>,
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    auth_failure: AuthFailure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(default, skip_serializing_if = "value::is_false")]
    admin: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deliver_to_sender: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rooms: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
    #[serde(default, skip_serializing_if = "Messages::is_empty")]
    messages: Messages,
    #[serde(default, skip_serializing_if = "value::is_false")]
    health: bool,
}

impl Item for Written {
    type Checked = Endpoint;

    const NAME: &'static str = "endpoint";

    const MAX: usize = ENDPOINTS_MAX;

    fn check(self) -> Result<Endpoint, ItemError> {
        let wrong = ItemError::new;
        let Self { path, dialect, auth, auth_failure, role, admin, deliver_to_sender, rooms, .. } = self;
        let (snapshot, messages, health) = (self.snapshot, self.messages, self.health);
        let path = PathTemplate::parse(&path).map_err(|what| wrong("path", what))?;
        let spoken = || dialect::names().collect::<Vec<_>>().join(", ");
        if dialect::named(&dialect).is_none() {
            return Err(wrong("dialect", format!("it must be one of {}", spoken())));
        }
        if let Some(unknown) = self.dialects.iter().find(|name| dialect::named(name).is_none()) {
            return Err(wrong("dialects", format!("{unknown:.64?} must be one of {}", spoken())));
        }
        let mut dialects = Vec::new();
        for name in self.dialects {
            if name != dialect && !dialects.contains(&name) {
                dialects.push(name);
            }
        }
        if role.is_some() && auth != Auth::Required {
            return Err(wrong("role", "it asks for auth: required".to_owned()));
        }
        if admin && role.is_none() {
            return Err(wrong("admin", "an endpoint for admins asks for a role".to_owned()));
        }
        if rooms.len() > ROOMS_MAX {
            return Err(wrong("rooms", format!("there are more than {ROOMS_MAX} of these")));
        }
        let is_known =
            |name: &str| ["user", "tenant"].contains(&name) || path.names().any(|known| known == name);
        for room in &rooms {
            for name in service::names_in(room).map_err(|what| wrong("rooms", what))? {
                if !is_known(name) {
                    return Err(wrong("rooms", format!("{{{name}}} in {room} is no parameter of the path")));
                }
            }
        }
        service::check(snapshot.as_ref(), &messages, is_known)?;
        if health && (snapshot.is_some() || !messages.is_empty() || !rooms.is_empty()) {
            return Err(wrong("health", "one with health has no rooms, snapshot or messages".to_owned()));
        }
        Ok(Endpoint {
            path,
            dialect,
            dialects,
            auth,
            auth_failure,
            role,
            admin,
            deliver_to_sender,
            rooms,
            snapshot,
            messages,
            health,
        })
    }
}

/// Reads endpoints from YAML or JSON.
///
/// # Errors
/// What is wrong, with the number of the endpoint.
pub(crate) fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, String> {
    list::parse::<Written>(text)
}

/// Reads the endpoints that a key of a file has.
///
/// # Errors
/// What is wrong, with its place and the number of the endpoint.
pub(super) fn parse_endpoints_of(file: &str, key: &str) -> Result<Vec<Endpoint>, ListError> {
    list::parse_key::<Written>(file, key)
}

/// Writes endpoints so that [`parse_endpoints`] reads them back.
pub(super) fn show_endpoints(endpoints: &[Endpoint]) -> String {
    let written = endpoints.iter().cloned().map(|endpoint| {
        let Endpoint { path, dialect, auth, auth_failure, role, admin, deliver_to_sender, rooms, .. } =
            endpoint;
        let (snapshot, messages, health) = (endpoint.snapshot, endpoint.messages, endpoint.health);
        let (path, dialects) = (path.to_string(), endpoint.dialects);
        Written {
            path,
            dialect,
            dialects,
            auth,
            auth_failure,
            role,
            admin,
            deliver_to_sender,
            rooms,
            snapshot,
            messages,
            health,
        }
    });
    serde_json::to_string(&written.collect::<Vec<_>>()).expect("text and booleans are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Act, Past};

    #[test]
    fn a_path_gives_its_parameters() {
        let path = PathTemplate::parse("/reports/{id}/of/{year}").unwrap();
        assert_eq!(path.parameters("/reports/a%2Fb/of/7"), Some(vec![("id", "a%2Fb"), ("year", "7")]));
        for other in
            ["/reports//of/7", "/reports/a/of", "/reports/a/of/7/", "/reports/a/of/7/8", "reports/a/of/7"]
        {
            assert_eq!(path.parameters(other), None, "{other}");
        }
        assert_eq!(PathTemplate::parse("/ws").unwrap().parameters("/ws"), Some(vec![]));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", "ws", "/", "/ws/", "//", "/a b", "/{}", "/{a", "/{a}/{a}", "/{user}", "/a{b}"] {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_come_back_as_they_were_written() {
        let text = r#"
- path: /ws
  dialect: topics
- path: /api/{report}
  dialect: tenants
  dialects: [tenants, rooms, topics, rooms]
  auth: required
  auth_failure: close
  role: admin
  admin: true
  deliver_to_sender: false
  rooms: ["reports:{report}", "user:{user}:reports"]
  snapshot: {room: "reports:{report}", as: history}
  messages:
    refresh: snapshot
    faster: pace
    only: filter
    cancel: forward
    follow:
      join: "more:{tenant}:{field}"
- path: /health
  dialect: topics
  health: true
"#;
        let read = parse_endpoints(text).unwrap();
        assert_eq!(read[0], Endpoint::new("/ws", "topics"));
        assert_eq!((read[1].auth, read[1].auth_failure), (Auth::Required, AuthFailure::Close));
        assert!(read[1].admin && !read[0].admin);
        assert_eq!(parse_endpoints(&show_endpoints(&read)).unwrap(), read);
        // Its own dialect need not be named among those that a client can ask for.
        assert_eq!(read[1].dialects, ["rooms", "topics"]);
        assert!(read[1].speaks("tenants") && read[1].speaks("topics") && !read[1].speaks("channels"));
        assert!(read[0].speaks("topics") && !read[0].speaks("rooms"));
        let snapshot = read[1].snapshot.as_ref().unwrap();
        assert_eq!((snapshot.what, snapshot.kind.as_str()), (Past::History, "initial_data"));
        assert_eq!(read[1].messages["follow"], Act::Join("more:{tenant}:{field}".to_owned()));
        assert!(read[1].has_service() && read[1].messages.len() == 5 && read[2].health);
        assert_eq!(parse_endpoints(" ").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, what) in [
            (r#"[{"path":"/ws","dialect":"Rooms"}]"#, "dialect: it must be one of"),
            (r#"[{"path":"/ws"}]"#, "dialect"),
            (r#"[{"path":"/ws","dialect":"rooms","dialects":["chat"]}]"#, "\"chat\" must be one of rooms,"),
            (r#"[{"path":"/ws","dialect":"rooms","dialects":"topics"}]"#, "expected sequence"),
            (r#"[{"path":"/ws","dialect":"rooms","x":1}]"#, "unknown field"),
            (r#"[{"path":"/ws","dialect":"rooms","role":"admin"}]"#, "auth: required"),
            (r#"[{"path":"/ws","dialect":"rooms","admin":true}]"#, "asks for a role"),
            (r#"[{"path":"/ws","dialect":"rooms","rooms":["a:{b}"]}]"#, "{b} in a:{b}"),
            (r#"[{"path":"/ws","dialect":"rooms","rooms":["a:{b"]}]"#, "not closed"),
            (r#"[{"path":"/ws","dialect":"rooms","snapshot":{"room":"a:{b}"}}]"#, "{b} in a:{b}"),
            (r#"[{"path":"/ws","dialect":"rooms","snapshot":{"as":"last"}}]"#, "room"),
            (r#"[{"path":"/ws","dialect":"rooms","snapshot":{"room":"a","as":"first"}}]"#, "first"),
            (r#"[{"path":"/ws","dialect":"rooms","snapshot":{"room":"a","type":""}}]"#, "1 to 64"),
            (r#"[{"path":"/ws","dialect":"rooms","messages":{"a":"dance"}}]"#, "dance"),
            (r#"[{"path":"/ws","dialect":"rooms","messages":{"":"pace"}}]"#, "1 to 64"),
            (r#"[{"path":"/ws","dialect":"rooms","messages":{"a":{"join":""}}}]"#, "name a room"),
            (r#"[{"path":"/ws","dialect":"rooms","messages":{"a":{"join":"b:{c"}}}]"#, "not closed"),
            (r#"[{"path":"/ws","dialect":"rooms","health":true,"rooms":["a"]}]"#, "health"),
            (r#"[{"path":"ws","dialect":"rooms"}]"#, "endpoint 1: path: a path begins"),
        ] {
            let error = parse_endpoints(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
