//! Holds the document against the routes: each is in it, with its parameters and methods, and nothing else is.

use super::openapi;
use crate::api::*;
use crate::metrics;
use crate::model::{ConnectionInfo, SlowConsumer};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_slice(&openapi("")).unwrap()
}

/// One operation of the document.
struct Operation {
    path: String,
    /// In capitals.
    method: String,
    operation: Value,
    /// Those of the operation and of its path.
    parameters: Vec<Value>,
}

impl Operation {
    fn id(&self) -> &str {
        self.operation["operationId"].as_str().unwrap()
    }

    fn tag(&self) -> &str {
        self.operation["tags"][0].as_str().unwrap()
    }

    /// The path with an example in place of each parameter.
    fn target(&self) -> String {
        let of_path = self.parameters.iter().filter(|parameter| parameter["in"] == "path");
        of_path.fold(self.path.clone(), |path, parameter| {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            assert!(path.contains(&name), "{path} has no {name}");
            path.replace(&name, parameter["example"].as_str().unwrap())
        })
    }
}

/// What a `$ref` stands for.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(at) => document.pointer(at.trim_start_matches('#')).unwrap_or_else(|| panic!("{at}")),
        None => value,
    }
}

fn operations() -> Vec<Operation> {
    let document = document();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let lists = [&item["parameters"], &operation["parameters"]];
            let parameters = lists.into_iter().filter_map(Value::as_array).flatten();
            found.push(Operation {
                path: path.clone(),
                method: method.to_uppercase(),
                operation: operation.clone(),
                parameters: parameters.map(|parameter| resolved(&document, parameter).clone()).collect(),
            });
        }
    }
    found
}

#[test]
fn every_route_is_an_operation_and_every_operation_a_route() {
    let lines = || ROUTES.iter().filter(|line| line.access != Access::Upgrade);
    assert_eq!(operations().len(), lines().count());
    for operation in operations() {
        let (id, method, target) = (operation.id(), &operation.method, operation.target());
        let line = lines().find(|line| line.operation == id).unwrap_or_else(|| panic!("no {id}"));
        assert_eq!((line.method, line.path), (method.as_str(), operation.path.as_str()), "{id}");
        let found = find(&target).unwrap_or_else(|| panic!("{target} is not found"));
        assert!(found.route(method, None).is_ok(), "{id}: {:?}", found.route(method, None));
        let needs_key = found.access() == Access::Key;
        assert_eq!(operation.operation["security"] != json!([]), needs_key, "{id}: security");
        assert_eq!(operation.operation["responses"]["401"].is_object(), needs_key, "{id}");
        assert!(operation.operation["responses"]["400"].is_object(), "{id}");
    }
    let ids: BTreeSet<&str> = ROUTES.iter().map(|line| line.operation).collect();
    assert_eq!(ids.len(), ROUTES.len(), "an id stands for one operation");
}

/// All values of `$ref` in a part of the document.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let here = fields.get("$ref").and_then(Value::as_str);
            here.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn all_parts_of_the_document_are_there_and_used() {
    let document = document();
    let used: BTreeSet<&str> = references(&document).into_iter().collect();
    for at in &used {
        assert!(document.pointer(at.trim_start_matches('#')).is_some(), "there is no {at}");
    }
    for (kind, parts) in document["components"].as_object().unwrap() {
        for name in parts.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            assert!(used.contains(format!("#/components/{kind}/{name}").as_str()), "{kind} {name} is unused");
        }
    }
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(tags, ROUTES.iter().map(|line| line.tag).collect());
}

#[test]
fn an_operation_has_the_parameters_that_its_route_knows() {
    for operation in operations().iter().filter(|operation| operation.operation["security"] != json!([])) {
        let refusal = route(&operation.method, &operation.target(), Some("no_such_parameter"));
        let of_query = operation.parameters.iter().filter(|parameter| parameter["in"] == "query");
        let told: BTreeSet<_> = of_query.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        // The status pages take what a browser puts there against its cache.
        let Err(refusal) = refusal else {
            assert_eq!((operation.tag(), told.len()), ("node", 0), "{}", operation.path);
            continue;
        };
        let (_, known) = refusal.text.split_once("(known here: ").unwrap();
        let known = known.trim_end_matches(')').split(", ").filter(|name| *name != "none");
        assert_eq!(known.collect::<BTreeSet<_>>(), told, "{} {}", operation.method, operation.path);
    }
}

#[test]
fn limits_and_defaults_are_those_of_the_code() {
    for operation in operations() {
        for parameter in operation.parameters.iter().filter(|parameter| parameter["name"] == "limit") {
            let (default, most) = match operation.id() {
                "rooms" => (ROOMS_LIMIT_DEFAULT, ROOMS_LIMIT_MAX),
                "members" => (MEMBERS_LIMIT_DEFAULT, MEMBERS_LIMIT_MAX),
                "messages" => (MESSAGES_LIMIT_DEFAULT, MESSAGES_LIMIT_MAX),
                "connections" | "debugConnections" => (CONNECTIONS_LIMIT_DEFAULT, CONNECTIONS_LIMIT_MAX),
                "users" => (USERS_LIMIT_DEFAULT, USERS_LIMIT_MAX),
                "slow" => (SLOW_LIMIT_DEFAULT, SLOW_LIMIT_MAX),
                other => panic!("{other} has a limit"),
            };
            let schema = &parameter["schema"];
            assert_eq!((&schema["default"], &schema["maximum"]), (&json!(default), &json!(most)));
            assert_eq!(schema["minimum"], 1);
        }
    }
    let document = document();
    assert_eq!(document["components"]["schemas"]["PublishBatch"]["maxItems"], BATCH_MAX);
    let list = &document["components"]["schemas"]["UserList"]["properties"]["users"];
    assert_eq!(list["maxItems"], USERS_LIMIT_MAX);
    assert_eq!(document["components"]["schemas"]["UsersCursor"]["maxLength"], UsersCursor::CHARS_MAX);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let page = &document["components"]["responses"]["Metrics"]["content"];
    for form in [metrics::OPEN_METRICS, metrics::TEXT] {
        assert!(page[form].is_object(), "{page}");
    }
}

/// The fields of a schema: all of them, and those that are always there.
fn fields(schema: &str) -> [BTreeSet<String>; 2] {
    let document = document();
    let schema = &document["components"]["schemas"][schema];
    assert_eq!(schema["additionalProperties"], false);
    let required = schema["required"].as_array().unwrap().iter();
    [
        schema["properties"].as_object().unwrap().keys().cloned().collect(),
        required.map(|name| name.as_str().unwrap().to_owned()).collect(),
    ]
}

fn check<T: serde::Serialize>(schema: &str, full: &T, bare: &T) {
    let keys = |answer: &T| -> BTreeSet<String> {
        serde_json::to_value(answer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(fields(schema), [keys(full), keys(bare)], "{schema}");
}

fn same<T: serde::Serialize>(schema: &str, answer: &T) {
    check(schema, answer, answer);
}

#[test]
fn answers_have_the_fields_of_their_schemas() {
    let text = || Some(String::new());
    let bare = Delivered::default();
    check("Delivered", &Delivered { offset: Some(1), epoch: text(), ..bare.clone() }, &bare);
    same("BatchDelivered", &BatchDelivered::default());
    same("Health", &Health::new(0, 0));
    check("Ready", &Ready::no(""), &Ready::yes());
    let raw = || Some(serde_json::value::RawValue::from_string("{}".to_owned()).unwrap());
    let history = HistoryInfo { epoch: String::new(), offset: 0, messages: 0, bytes: 0 };
    same("HistoryInfo", &history);
    let bare = RoomInfo::new(String::new(), 0);
    let full = RoomInfo {
        metadata: raw(),
        created_at: Some(0),
        last_activity: Some(0),
        history: Some(history),
        ..bare.clone()
    };
    check("RoomInfo", &full, &bare);
    let bare = RoomStats {
        room: String::new(),
        members: 0,
        users: None,
        messages: 0,
        created_at: None,
        last_activity: None,
    };
    check("RoomStats", &RoomStats { created_at: Some(0), last_activity: Some(0), ..bare.clone() }, &bare);
    same("RoomList", &RoomList { rooms: Vec::new(), cursor: None });
    same("RoomPut", &RoomPut { created: true });
    same("RoomRemoved", &RoomRemoved { registered: true, members: 0 });
    let members = RoomMembers { room: String::new(), client_count: 0, members: Vec::new(), cursor: None };
    same("RoomMembers", &members);
    let bare = RoomMessage { offset: 1, event: String::new(), data: None, client_id: None, timestamp: 0 };
    check("RoomMessage", &RoomMessage { data: raw(), client_id: text(), ..bare.clone() }, &bare);
    let messages =
        RoomMessages { room: String::new(), epoch: String::new(), offset: 0, messages: Vec::new() };
    same("RoomMessages", &messages);
    same("Stats", &Stats::default());
    same("ShardStats", &ShardStats::default());
    same("Percentiles", &metrics::Percentiles::default());
    same("Closed", &Closed { closed: 0 });
    same("Put", &Put { members: 0 });
    same("Taken", &Taken { was_member: true });
    let stats = StatusCounts { total_clients: 0, total_channels: 0, channel_breakdown: Default::default() };
    same("StatusCounts", &stats);
    let by = ConnectionStats { total: 0, by_tenant: Default::default(), by_channel: Default::default() };
    same("ConnectionStats", &by);
    same("Status", &Status { stats, timestamp: String::new() });
}

#[test]
fn what_is_told_of_connections_has_the_fields_of_its_schemas() {
    let bare = SlowConsumer {
        client_id: String::new(),
        ip: None,
        dialect: "rooms",
        user: None,
        user_agent: None,
        rooms: Vec::new(),
        backlog_bytes: 0,
        backlog_messages: 0,
        since_unix_ms: 0,
        age_ms: 0,
    };
    let text = || Some(String::new());
    check("SlowConsumer", &SlowConsumer { user: text(), user_agent: text(), ..bare.clone() }, &bare);
    same("SlowList", &SlowList { slow: Vec::new() });
    let bare = ConnectionInfo {
        id: String::new(),
        user: None,
        tenant: None,
        roles: Vec::new(),
        dialect: "rooms",
        rooms: Vec::new(),
        room_count: 0,
        ip: None,
        user_agent: None,
        connected_at: 0,
        last_activity: 0,
        backlog_bytes: 0,
    };
    let full = ConnectionInfo {
        user: text(),
        tenant: text(),
        roles: vec![String::new()],
        user_agent: text(),
        ..bare.clone()
    };
    check("ConnectionInfo", &full, &bare);
    same("ConnectionList", &ConnectionList { connections: Vec::new(), cursor: None });
    let tracked = TrackedConnection::from(bare);
    check("TrackedConnection", &TrackedConnection::from(full.clone()), &tracked);
    check("Metadata", &TrackedConnection::from(full).metadata, &tracked.metadata);
    same("TrackedList", &TrackedList { connections: Vec::new(), cursor: None });
    same("UserInfo", &UserInfo { user: String::new(), online: true, connections: Vec::new() });
    let bare = UserEntry { user: String::new(), tenant: None, connections: 1 };
    check("UserEntry", &UserEntry { tenant: text(), ..bare.clone() }, &bare);
    same("UserList", &UserList { users: vec![bare], cursor: None });
    let error: Value = serde_json::from_str(&ApiError::not_found("").to_json()).unwrap();
    same("Error", &error);
}

#[test]
fn the_document_tells_what_stands_before_its_paths() {
    assert_eq!(document()["servers"], json!([{"url": "/"}]));
    let below: Value = serde_json::from_slice(&openapi("/real\"time")).unwrap();
    assert_eq!(below["servers"], json!([{"url": "/real\"time"}]));
    assert_eq!(below["paths"], document()["paths"]);
}
