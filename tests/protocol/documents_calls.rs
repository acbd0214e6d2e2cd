//! The server-side calls of the three documents, made over HTTP with the documents' own names and messages, as their
//! clients hear them. What the handle does under the same names is in tests/operations/embedding.rs.

use crate::common::token::{SECRET_VARIABLE, path_of};
use crate::common::{
    Client, Document, Program, Server, at_port, conversation, eventually, find_program, left_out,
};
use serde_json::{Value, json};
use std::process::Command;

fn start(preset: &str) -> Server {
    // The other documents name users without their tenants.
    let tenants = if preset == "tenants" { "company123,t1,t2" } else { "" };
    let environment = [SECRET_VARIABLE, ("FANWIRE_TENANTS", tenants)];
    Server::start_with(&[&format!("--preset={preset}")], &environment)
}

/// A client with a token.
fn connect(server: &Server, user: &str, tenant: &str) -> Client {
    Client::ungreeted(server.addr(), &path_of("/ws", user, tenant), &[])
}

/// The same, greeted with its id.
fn greeted(server: &Server, user: &str, tenant: &str) -> (Client, String) {
    let mut client = connect(server, user, tenant);
    let id = client.expect_json(|greeting| greeting["data"]["connectionId"].as_str().unwrap().to_owned());
    (client, id)
}

fn say(client: &mut Client, message: &str, answer: &str) {
    conversation(client, &format!("> {message}\n< {answer}"));
}

/// Publishes; how many connections were reached.
fn publish(server: &Server, body: &Value) -> u64 {
    let answer = server.post("/v1/publish", &body.to_string());
    answer.json()["delivered"].as_u64().unwrap_or_else(|| panic!("{}", answer.body))
}

/// What a code block of shell prints.
fn run_shell(code: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(code).output().expect("there is a shell");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_channels_documents_curl_commands_run() {
    if find_program("curl").is_none() {
        return left_out("documents_calls::curl", "curl");
    }
    let server = start("channels");
    let mut member = connect(&server, "u1", "company123");
    let mut other = connect(&server, "u2", "t1");
    let joined =
        r#"{"type":"CHANNEL_JOINED","channel":"notifications","data":{"members":"*"},"timestamp":"*iso"}"#;
    for client in [&mut member, &mut other] {
        say(client, r#"{"type":"JOIN_CHANNEL","channel":"notifications"}"#, joined);
    }
    let document = Document::read("channels-fastify");
    let both = at_port(document.code("### Custom Broadcast Endpoint", 0), &server);
    let (to_channel, to_organization) = both.split_once("# Send message to organization").unwrap();
    let delivered = |code| serde_json::from_str::<Value>(&run_shell(code)).unwrap()["delivered"].clone();
    assert_eq!(delivered(to_channel), 2);
    for client in [&mut member, &mut other] {
        client.expect(
            r#"{"type":"SYSTEM_ALERT","channel":"notifications","data":{"message":"System maintenance in 10 minutes"},"timestamp":"*iso"}"#,
        );
    }
    assert_eq!(delivered(to_organization), 1);
    member.expect(
        r#"{"type":"ORG_ANNOUNCEMENT","data":{"message":"New policy update available"},"timestamp":"*iso"}"#,
    );
    conversation(&mut other, "< nothing");
    let status = run_shell(&at_port(document.code("### Get WebSocket Statistics", 0), &server));
    let stats = serde_json::from_str::<Value>(&status).unwrap()["stats"].clone();
    let expected = json!({"totalClients": 2, "totalChannels": 1, "channelBreakdown": {"notifications": 2}});
    assert_eq!(stats, expected);
}

#[test]
fn the_channels_documents_manager_and_event_bus_reach_clients() {
    let server = start("channels");
    let mut member = connect(&server, "u1", "company123");
    let mut other = connect(&server, "u1", "t1");
    for channel in ["org:company123", "job-updates"] {
        say(
            &mut member,
            &json!({"type": "JOIN_CHANNEL", "channel": channel}).to_string(),
            &format!(
                r#"{{"type":"CHANNEL_JOINED","channel":"{channel}","data":{{"members":1}},"timestamp":"*iso"}}"#
            ),
        );
    }
    // broadcastToChannel
    let job = json!({"jobId": "j", "status": "completed"});
    let message = json!({"type": "JOB_PROCESSED", "data": job});
    assert_eq!(publish(&server, &json!({"room": "org:company123", "message": message})), 1);
    member.expect_json(|got| {
        assert_eq!((&got["type"], &got["data"]), (&"JOB_PROCESSED".into(), &job));
        assert_eq!(got["channel"], "org:company123");
    });
    // broadcastToFiltered: the message names a channel that nobody has joined.
    let message = json!({"type": "JOB_NOTIFICATION", "channel": "notifications", "data": {"jobId": "j"}});
    assert_eq!(publish(&server, &json!({"tenant": "company123", "message": message})), 1);
    member.expect_json(|got| {
        assert_eq!((&got["type"], &got["channel"]), (&"JOB_NOTIFICATION".into(), &"notifications".into()));
    });
    // eventBus.publish: the message has its own time.
    let time = "2024-01-15T10:30:00.000Z";
    let message =
        json!({"type": "JOB_UPDATE", "channel": "job-updates", "data": {"jobId": "j"}, "timestamp": time});
    assert_eq!(publish(&server, &json!({"room": "job-updates", "message": message})), 1);
    member.expect_json(|got| assert_eq!(got, message));
    // `userId` alone, and with a channel.
    for (channel, reached) in [(None, 2), (Some("job-updates"), 1)] {
        let mut body = json!({"userId": "u1", "type": "T", "data": reached});
        if let Some(channel) = channel {
            body["channel"] = channel.into();
        }
        assert_eq!(server.post("/v1/broadcast", &body.to_string()).json()["delivered"], reached);
        member.expect_json(|got| assert_eq!((&got["type"], &got["data"]), (&"T".into(), &reached.into())));
    }
    other.expect_json(|got| assert_eq!(got["data"], 2));
    conversation(&mut other, "< nothing");
}

#[test]
fn the_topics_documents_manager_reaches_clients() {
    let server = start("topics");
    let (mut member, id) = greeted(&server, "user-uuid", "t1");
    let (mut other, other_id) = greeted(&server, "u2", "t1");
    for client in [&mut member, &mut other] {
        let subscribed = r#"{"type":"subscribed","channel":"reports:system","timestamp":"*iso"}"#;
        say(client, r#"{"type":"subscribe","channel":"reports:system"}"#, subscribed);
    }
    let message =
        json!({"type": "maintenance_notice", "message": "System maintenance in 30 minutes", "level": "info"});
    let heard = r#"{"type":"maintenance_notice","message":"System maintenance in 30 minutes","level":"info","timestamp":"*iso","channel":"reports:system"}"#;
    assert_eq!(publish(&server, &json!({"room": "reports:system", "message": message})), 2);
    member.expect_text();
    other.expect_text();
    // excludeConnection
    let but_one = json!({"room": "reports:system", "message": message, "except": [other_id]});
    assert_eq!(publish(&server, &but_one), 1);
    same_fields(&mut member, heard);
    // sendToUser, sendToConnection
    let message = json!({"type": "user_notification", "message": "Your report is ready for download"});
    assert_eq!(publish(&server, &json!({"user": "user-uuid", "message": message})), 1);
    same_fields(
        &mut member,
        r#"{"type":"user_notification","message":"Your report is ready for download","timestamp":"*iso"}"#,
    );
    let message = json!({"type": "direct_message", "message": "Connection-specific message"});
    assert_eq!(publish(&server, &json!({"connection": id, "message": message})), 1);
    same_fields(
        &mut member,
        r#"{"type":"direct_message","message":"Connection-specific message","timestamp":"*iso"}"#,
    );
    conversation(&mut other, "< nothing");
    // getConnectionsByChannel, getConnectionsByUser, getActiveConnections
    let ids = |query: &str| {
        let page = server.get(&format!("/v1/connections?{query}")).json();
        let mut ids: Vec<_> =
            page["connections"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    let mut all = vec![Value::from(id.as_str()), other_id.into()];
    all.sort_by_key(Value::to_string);
    assert_eq!(ids("room=reports%3Asystem"), all);
    assert_eq!(ids("user=user-uuid"), [Value::from(id)]);
    assert_eq!(server.get("/ws/status").json()["stats"]["totalClients"], 2);
}

/// The next message has these fields, in whatever order.
fn same_fields(client: &mut Client, template: &str) {
    let mut got: Value = client.expect_json(|got| got);
    let mut template: Value = serde_json::from_str(template).unwrap();
    // The server's own time; tests/protocol/topics.rs looks at it.
    assert!(got["timestamp"].take().is_string());
    template["timestamp"].take();
    assert_eq!(got, template);
}

#[test]
fn the_topics_documents_debug_commands_run() {
    let Some(node) = find_program("node") else { return left_out("documents_calls::fetch", "node") };
    let server = start("topics");
    let (mut member, id) = greeted(&server, "u", "t1");
    let subscribed = r#"{"type":"subscribed","channel":"reports:system","timestamp":"*iso"}"#;
    say(&mut member, r#"{"type":"subscribe","channel":"reports:system"}"#, subscribed);
    let document = Document::read("topics-aegisx-service");
    for (heading, expected) in [
        ("#### Check Active Connections", [id.as_str(), "userId: 'u'"]),
        ("#### Monitor Channel Subscriptions", ["totalChannels: 1", "'reports:system': 1"]),
    ] {
        // A page's addresses are within its origin, which node has none of.
        let origin = format!("fetch('http://localhost:{}/", server.addr().port());
        let code = document.code(heading, 0).replace("fetch('/", &origin);
        let mut client = Program::start(Command::new(&node).args(["-e", &code]));
        expected.iter().for_each(|text| client.expect(text));
    }
}

#[test]
fn the_tenants_documents_calls_reach_clients() {
    let server = start("tenants");
    let (mut admin, admin_id) = greeted(&server, "u1", "t1");
    let (mut user, _) = greeted(&server, "u2", "t1");
    let (mut stranger, _) = greeted(&server, "u2", "t2");
    let joined = r#"{"type":"channel_joined","data":{"channel":"tenant:t1:admin"}}"#;
    say(&mut admin, r#"{"type":"join_channel","data":{"channel":"tenant:t1:admin"}}"#, joined);
    // UserService.createUser: sendToChannel
    let created = json!({"type": "user_created", "data": {"user": {"id": "n", "email": "e", "name": "N"}}});
    let to_channel = json!({"room": "tenant:t1:admin", "message": created});
    assert_eq!(publish(&server, &to_channel), 1);
    admin.expect(r#"{"data":{"user":{"email":"e","id":"n","name":"N"}},"type":"user_created"}"#);
    // UserService.updateUserStatus: notifyUser
    let notification = json!({"type": "status_updated", "data": {"status": "active"}});
    let notify = json!({"user": "u2", "tenant": "t1", "event": "notification", "data": notification});
    assert_eq!(publish(&server, &notify), 1);
    user.expect(r#"{"type":"notification","data":{"data":{"status":"active"},"type":"status_updated"}}"#);
    // broadcastToTenant and broadcastToChannel with excludeConnectionId, sendToUser, globalBroadcast
    for (round, (fields, hears)) in [
        (json!({"tenant": "t1"}), [true, true, false]),
        (json!({"tenant": "t1", "except": [admin_id]}), [false, true, false]),
        (json!({"room": "tenant:t1:admin", "except": [admin_id]}), [false, false, false]),
        (json!({"user": "u2", "tenant": "t2"}), [false, false, true]),
        (json!({"all": true}), [true, true, true]),
    ]
    .into_iter()
    .enumerate()
    {
        // Each round has a number: a copy too many shows as the one that comes next.
        let mut body = fields;
        body["message"] = json!({"type": "news", "data": round});
        assert_eq!(publish(&server, &body), hears.iter().filter(|hears| **hears).count() as u64, "{body}");
        for (client, hears) in [&mut admin, &mut user, &mut stranger].into_iter().zip(hears) {
            if hears {
                client.expect(&format!(r#"{{"data":{round},"type":"news"}}"#));
            }
        }
    }
    for client in [&mut admin, &mut user, &mut stranger] {
        conversation(client, "< nothing");
    }
    // getConnectionStats
    let stats = server.get("/v1/stats/connections");
    let expected = json!({"total": 3, "byTenant": {"t1": 2, "t2": 1}, "byChannel": {"tenant:t1:admin": 1}});
    assert_eq!(stats.json(), expected);
    // removeConnection: whoever goes is counted nowhere.
    drop(admin);
    let expected = json!({"total": 2, "byTenant": {"t1": 1, "t2": 1}, "byChannel": {}});
    eventually("it is forgotten", || server.get("/v1/stats/connections").json() == expected);
}
