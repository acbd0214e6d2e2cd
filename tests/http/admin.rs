//! What admins may ask by `/ws/admin`, and who is one.

use crate::common::token::{SECRET_VARIABLE, sign};
use crate::common::{Client, KEY, Server, conversation, request};
use serde_json::{Value, json};
use std::net::TcpStream;

fn server() -> Server {
    Server::start_with(&["--shards=2"], &[SECRET_VARIABLE])
}

fn token(roles: &[&str]) -> String {
    sign(&json!({"userId": "u1", "tenantId": "t1", "roles": roles, "exp": 4_102_444_800_u64}))
}

fn connect(server: &Server, path: &str, greeting: &str) -> Client {
    let path = format!("{path}?token={}", token(&["admin"]));
    let stream = TcpStream::connect(server.addr()).unwrap();
    let mut client = Client::upgrade(stream, "localhost", &path, &[]);
    client.expect_json(|message: Value| assert_eq!(message["type"], greeting));
    client
}

fn admin(server: &Server) -> Client {
    connect(server, "/ws/admin", "connection")
}

#[test]
fn only_admins_come_in() {
    let server = server();
    let upgrade = |headers: &[(&str, &str)]| {
        let always = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        request(server.addr(), "GET", "/ws/admin", &[&always, headers].concat(), b"").status
    };
    assert_eq!(upgrade(&[]), 401);
    assert_eq!(upgrade(&[("Authorization", "Bearer no.token.at-all")]), 401);
    for roles in [&[][..], &["Admin"], &["administrator", "user"]] {
        assert_eq!(upgrade(&[("Authorization", &format!("Bearer {}", token(roles)))]), 403, "{roles:?}");
    }
    admin(&server);
}

#[test]
fn an_admin_sees_the_node() {
    let server = server();
    let mut admin = admin(&server);
    let mut members: Vec<_> = (0..3).map(|_| server.connect()).collect();
    members.iter_mut().for_each(|member| member.subscribe("chat"));
    admin.send_text(r#"{"type":"get_stats"}"#);
    admin.expect_json(|answer: Value| {
        assert_eq!(answer["type"], "stats");
        let data = &answer["data"];
        assert_eq!((&data["totalClients"], &data["channelBreakdown"]), (&json!(4), &json!({"chat": 3})));
        assert_eq!(data["byTenant"], json!({"t1": 1}));
        assert_eq!((&data["total"], &data["byChannel"]), (&json!(4), &json!({"chat": 3})));
        assert_eq!((&data["clients"], data["shards"].as_array().map(Vec::len)), (&json!(4), Some(2)));
    });
    admin.send_text(r#"{"type":"list_connections","data":{"room":"chat","limit":10}}"#);
    admin.expect_json(|answer: Value| {
        assert_eq!((&answer["type"], &answer["data"]["cursor"]), (&json!("connections"), &Value::Null));
        let mut ids: Vec<_> =
            answer["data"]["connections"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
        let mut expected: Vec<_> = members.iter().map(|member| json!(member.id)).collect();
        ids.sort_by_key(Value::to_string);
        expected.sort_by_key(Value::to_string);
        assert_eq!(ids, expected);
    });
    admin.send_text(r#"{"type":"list_connections"}"#);
    admin.expect_json(|answer: Value| {
        assert_eq!(answer["data"]["connections"].as_array().map(Vec::len), Some(4))
    });
}

#[test]
fn an_admin_acts_on_the_node() {
    let server = server();
    let mut admin = admin(&server);
    let (mut goes, mut stays) = (server.connect(), server.connect());
    admin.send_text(
        &json!({"type": "disconnect", "data": {"connectionId": goes.id, "reason": "enough"}}).to_string(),
    );
    assert_eq!(goes.expect_close(4440), "enough");
    let id = goes.id.clone();
    admin.expect_json(|answer: Value| {
        assert_eq!(answer, json!({"type": "disconnected", "data": {"connectionId": id, "closed": true}}));
    });
    admin.send_text(&json!({"type": "disconnect", "data": {"connectionId": "nobody"}}).to_string());
    admin.expect_json(|answer: Value| assert_eq!(answer["data"]["closed"], false));
    admin.send_text(r#"{"type":"broadcast","data":{"message":{"type":"notice","data":{ "at" : 7 }}}}"#);
    stays.expect(r#"{"type":"notice","data":{"at":7},"timestamp":"*ms"}"#);
    // It hears it too, before or after the answer.
    let mut heard = [(); 2].map(|()| admin.expect_json(|message: Value| message["type"].to_string()));
    heard.sort();
    assert_eq!(heard, ["\"broadcasted\"", "\"notice\""]);
}

#[test]
fn others_are_told_that_there_is_no_such_message() {
    let server = server();
    let mut client = connect(&server, "/ws", "connected");
    conversation(
        &mut client,
        r#"
        > {"type":"get_stats"}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        > {"type":"disconnect","data":{"connectionId":"x"}}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        "#,
    );
}

#[test]
fn what_is_wrong_is_told() {
    let server = server();
    let mut admin = admin(&server);
    for (text, what) in [
        (r#"{"type":"disconnect"}"#, "data is not as it should be"),
        (r#"{"type":"disconnect","data":{"connectionId":7}}"#, "data is not as it should be"),
        (r#"{"type":"disconnect","data":{"connectionId":"x","why":"y"}}"#, "unknown field"),
        (r#"{"type":"list_connections","data":{"cursor":"x"}}"#, "cursor"),
        (r#"{"type":"list_connections","data":[]}"#, "must be an object"),
        (r#"{"type":"list_connections","data":"x"}"#, "must be an object"),
        (r#"{"type":"broadcast","data":7}"#, "must be an object"),
        (r#"{"type":"broadcast","data":{"message":{"data":1}}}"#, "type"),
        (r#"{"type":"get_everything"}"#, "Unknown message type: get_everything"),
    ] {
        admin.send_text(text);
        admin.expect_json(|answer: Value| {
            assert_eq!(answer["type"], "error", "{text}");
            let error = answer["data"]["error"].as_str().unwrap_or_default();
            assert!(error.contains(what), "{text}: {error}");
            assert!(!error.contains("struct"), "how the code names it is nobody's business: {error}");
        });
    }
    let long = json!({"type": "disconnect", "data": {"connectionId": "x", "reason": "x".repeat(124)}});
    admin.send_text(&long.to_string());
    admin.expect_json(|answer: Value| assert_eq!(answer["data"]["error"], "reason is longer than 123 bytes"));
}
