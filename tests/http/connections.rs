//! Connections as those who run the server see them: listed, looked up, put into rooms, closed, cleaned up.

use crate::common::token::{SECRET_VARIABLE, sign};
use crate::common::{Client, Server, request};
use serde_json::Value;
use std::collections::HashSet;

fn call(server: &Server, method: &str, path: &str) -> (u16, Value) {
    let answer = request(server.addr(), method, path, &[], b"");
    let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
    (answer.status, body)
}

#[test]
fn a_connection_is_told_with_all_that_is_known_of_it() {
    let server = Server::start(&["--shards=2"]);
    let mut client = Client::connect_with(server.addr(), "/ws", &[("User-Agent", "the client/1.0")]);
    client.subscribe("a");
    client.subscribe("b");
    let (status, found) = call(&server, "GET", &format!("/v1/connections/{}", client.id));
    assert_eq!(status, 200);
    assert_eq!(found["id"], Value::from(client.id.as_str()));
    assert_eq!(found["rooms"], serde_json::json!(["a", "b"]));
    assert_eq!((&found["room_count"], &found["dialect"]), (&2.into(), &"rooms".into()));
    assert_eq!((&found["user_agent"], &found["ip"]), (&"the client/1.0".into(), &"127.0.0.1".into()));
    assert!(found["connected_at"].as_u64() <= found["last_activity"].as_u64(), "{found}");
    assert!(found.get("user").is_none(), "nobody said who it is");
    for _ in 0..50 {
        let (_, again) = call(&server, "GET", &format!("/v1/connections/{}", client.id));
        for time in ["connected_at", "last_activity"] {
            assert_eq!(again[time], found[time], "{time} does not change by itself");
        }
    }
    let elsewhere = "/v1/connections/5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617";
    for method in ["GET", "DELETE"] {
        assert_eq!(call(&server, method, elsewhere).0, 404);
    }
    assert_eq!(call(&server, "PUT", &format!("{elsewhere}/rooms/a")).0, 404);
}

#[test]
fn the_debug_page_tells_connections_in_the_topics_documents_words() {
    let server = Server::start_with(&["--preset=topics"], &[SECRET_VARIABLE]);
    let token = sign(&serde_json::json!({"userId": "user-uuid", "exp": u32::MAX}));
    let headers = [("User-Agent", "the client/1.0"), ("Authorization", &format!("Bearer {token}"))];
    let mut client = Client::ungreeted(server.addr(), "/ws", &headers);
    let id: String =
        client.expect_json(|welcome| welcome["data"]["connectionId"].as_str().unwrap().to_owned());
    client.send_text(r#"{"type":"subscribe","channel":"reports:progress"}"#);
    client.expect_text();
    let (status, mut page) = call(&server, "GET", "/api/v1/debug/websocket/connections");
    assert_eq!(status, 200);
    let entry = &mut page["connections"][0];
    let [activity, connected] = ["/lastActivity", "/metadata/connectedAt"]
        .map(|at| entry.pointer_mut(at).unwrap().take().as_str().unwrap().to_owned());
    // `2024-01-07T10:30:00.000Z` sorts by time.
    assert!((activity.len(), connected.len()) == (24, 24) && activity.ends_with('Z'), "{activity}");
    assert!(connected <= activity, "{connected} {activity}");
    let expected = serde_json::json!({
        "id": id,
        "userId": "user-uuid",
        "channels": ["reports:progress"],
        "channelCount": 1,
        "lastActivity": null,
        "metadata": {"userAgent": "the client/1.0", "ip": "127.0.0.1", "connectedAt": null},
    });
    assert_eq!(page, serde_json::json!({"connections": [expected], "cursor": null}));
}

#[test]
fn pages_hold_every_connection_once() {
    let server = Server::start(&["--shards=2"]);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    clients[..25].iter_mut().for_each(|client| client.subscribe("some"));
    let walk = |path: &str| {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let (status, page) = call(&server, "GET", &format!("{path}limit=7&cursor={cursor}"));
            assert_eq!(status, 200, "{page}");
            let page_ids = page["connections"].as_array().unwrap();
            assert!(page_ids.len() <= 7);
            ids.extend(page_ids.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
            match page["cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return ids,
            }
        }
    };
    let all: HashSet<String> = clients.iter().map(|client| client.id.clone()).collect();
    let members: HashSet<String> = clients[..25].iter().map(|client| client.id.clone()).collect();
    for (path, expected) in [
        ("/v1/connections?", &all),
        ("/api/v1/debug/websocket/connections?", &all),
        ("/v1/connections?room=some&", &members),
        ("/v1/connections?user=nobody&", &HashSet::new()),
        ("/v1/connections?idle_s=3600&", &HashSet::new()),
    ] {
        let ids = walk(path);
        assert_eq!(ids.len(), expected.len(), "{path}");
        assert_eq!(&ids.into_iter().collect::<HashSet<_>>(), expected, "{path}");
    }
    // Whatever cursor somebody makes up.
    for cursor in ["65535-0-0", "0-31-4294967295", "1-255-7"] {
        assert_eq!(call(&server, "GET", &format!("/v1/connections?cursor={cursor}")).0, 200);
    }
}

#[test]
fn a_backend_puts_connections_into_rooms_and_takes_them_out() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let room = format!("/v1/connections/{}/rooms/news", client.id);
    assert_eq!(call(&server, "PUT", &room), (200, serde_json::json!({"members": 1})));
    client.expect(
        r#"{"type":"subscribed","room":"news","data":{"room":"news","client_count":1},"timestamp":"*ms"}"#,
    );
    server.post("/v1/publish", r#"{"room":"news","data":1}"#);
    client.expect(r#"{"type":"message","room":"news","data":1,"timestamp":"*ms"}"#);
    assert_eq!(call(&server, "DELETE", &room), (200, serde_json::json!({"was_member": true})));
    client.expect(r#"{"type":"unsubscribed","room":"news","data":{"room":"news"},"timestamp":"*ms"}"#);
    assert_eq!(call(&server, "DELETE", &room), (200, serde_json::json!({"was_member": false})));
    client.expect(r#"{"type":"unsubscribed","room":"news","data":{"room":"news"},"timestamp":"*ms"}"#);
    assert_eq!(call(&server, "PUT", &format!("/v1/connections/{}/rooms/%00", client.id)).0, 400);
}

#[test]
fn a_refused_join_says_why() {
    let server = Server::start(&["--rooms-per-connection-max=1"]);
    let mut client = server.connect();
    client.subscribe("one");
    let (status, body) = call(&server, "PUT", &format!("/v1/connections/{}/rooms/two", client.id));
    assert_eq!(status, 409, "{body}");
    assert!(body.to_string().contains("too many rooms"), "{body}");
}

#[test]
fn a_connection_is_closed_with_a_reason() {
    let server = Server::start(&[]);
    let (mut one, mut two) = (server.connect(), server.connect());
    assert_eq!(call(&server, "DELETE", &format!("/v1/connections/{}?reason=go+home", one.id)).0, 200);
    assert_eq!(one.expect_close(4440), "go home");
    assert_eq!(call(&server, "DELETE", &format!("/v1/connections/{}", two.id)).0, 200);
    assert!(two.expect_close(4440).contains("disconnected"));
}

#[test]
fn a_cleanup_closes_who_said_nothing_for_long() {
    let server = Server::start(&["--shards=2"]);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    assert_eq!(call(&server, "POST", "/v1/cleanup"), (200, serde_json::json!({"closed": 0})));
    assert_eq!(call(&server, "POST", "/v1/cleanup?idle_s=0"), (200, serde_json::json!({"closed": 20})));
    for client in &mut clients {
        assert_eq!(client.expect_close(4408), "idle for too long: send a message or a ping now and then");
    }
}

#[test]
fn a_cleanup_leaves_those_who_have_said_something() {
    let server = Server::start(&["--shards=2"]);
    let mut idle: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let mut active: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let mut closed = 0;
    crate::common::eventually("the idle are closed", || {
        for client in &mut active {
            client.send_text(r#"{"type":"ping"}"#);
            client.expect_json(|answer| assert_eq!(answer["type"], "pong"));
        }
        closed += call(&server, "POST", "/v1/cleanup?idle_s=3").1["closed"].as_u64().unwrap();
        closed >= 5
    });
    assert_eq!(closed, 5);
    for client in &mut idle {
        client.expect_close(4408);
    }
    for client in &mut active {
        client.send_text(r#"{"type":"ping"}"#);
        client.expect_json(|answer| assert_eq!(answer["type"], "pong", "who is active stays"));
    }
    assert_eq!(server.get("/health").json()["clients"], 5);
}

#[test]
fn the_status_page_is_the_documents() {
    let server = Server::start(&[]);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    clients[..2].iter_mut().for_each(|client| client.subscribe("notifications"));
    clients[2].subscribe("org:company123");
    for path in ["/ws/status", "/api/v1/debug/websocket/channels"] {
        let (status, body) = call(&server, "GET", path);
        assert_eq!(status, 200);
        let expected = serde_json::json!({
            "totalClients": 3, "totalChannels": 2, "channelBreakdown": {"notifications": 2, "org:company123": 1},
        });
        assert_eq!(body["stats"], expected);
        let timestamp = body["timestamp"].as_str().unwrap();
        assert!(
            timestamp.len() == 24 && timestamp.starts_with("20") && timestamp.ends_with('Z'),
            "{timestamp}"
        );
    }
    // Whoever is not of this machine needs the key.
    let remote = request(server.addr(), "GET", "/ws/status", &[("X-Forwarded-For", "192.0.2.1")], b"");
    assert_eq!(remote.status, 401);
}
