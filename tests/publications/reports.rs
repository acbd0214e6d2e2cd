//! The route endpoints of the `topics` document (tests/documents/topics-aegisx-service.md): report progress, live data,
//! notifications and the health check.

use crate::common::token::{SECRET_VARIABLE, now_unix_s, sign};
use crate::common::{Client, SILENCE, Server, conversation, crowd_size, eventually, request};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const WELCOME: &str = r#"{"type":"welcome","data":{"connectionId":"*uuid","userId":null,"serverTime":"*iso","availableChannels":["reports:progress","reports:data-updates","system:notifications","user:alerts"]}}"#;

fn start(preset: &str) -> Server {
    Server::start_with(&[&format!("--preset={preset}")], &[SECRET_VARIABLE])
}

fn connect(server: &Server, path: &str) -> Client {
    let mut client = Client::ungreeted(server.addr(), path, &[]);
    client.expect(WELCOME);
    client
}

fn publish(server: &Server, room: &str, event: &str, data: &Value) -> u64 {
    let body = json!({"room": room, "event": event, "data": data}).to_string();
    server.post("/v1/publish", &body).json()["delivered"].as_u64().unwrap()
}

fn token(user: &str) -> String {
    sign(&json!({"userId": user, "exp": now_unix_s() + 600}))
}

/// The status and body of an upgrade that is refused.
fn refused(server: &Server, path: &str) -> (u16, String) {
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", crate::common::KEY),
    ];
    let response = request(server.addr(), "GET", path, &upgrade, b"");
    (response.status, response.body)
}

#[test]
fn the_progress_of_a_report_is_followed() {
    for preset in ["topics", "none"] {
        let server = start(preset);
        let mut client = connect(&server, "/api/v1/reports/progress/report-uuid");
        // Nothing is known of the report yet.
        conversation(
            &mut client,
            r#"
            > {"type":"request_update"}
            < {"type":"request_update","data":{"sent":0},"timestamp":"*iso"}
            > {"type":"request_update","id":"first"}
            < {"type":"request_update","data":{"sent":0},"id":"first","timestamp":"*iso"}
            < nothing
            "#,
        );
        let status = json!({"reportId": "report-uuid", "status": "running", "progress": 75});
        assert_eq!(publish(&server, "reports:progress:report-uuid", "report_status", &status), 1);
        let message = r#"{"type":"report_status","channel":"reports:progress:report-uuid","data":{"progress":75,"reportId":"report-uuid","status":"running"},"timestamp":"*iso"}"#;
        client.expect(message);
        assert_eq!(publish(&server, "reports:progress:other", "report_status", &status), 0);
        client.send_text(r#"{"type":"request_update"}"#);
        client.expect(message);
        client.send_text(r#"{"type":"request_update","id":2}"#);
        client.expect(message);
        client.expect(r#"{"type":"request_update","data":{"sent":1},"id":2,"timestamp":"*iso"}"#);
        // Who comes later sees where it stands.
        connect(&server, "/api/v1/reports/progress/report-uuid").expect(message);
        conversation(
            &mut client,
            r#"
            > {"type":"subscribe_template","templateId":"template-uuid"}
            < {"type":"subscribed","channel":"reports:data:template-uuid","data":{"epoch":"*","offset":0},"timestamp":"*iso"}
            > {"type":"subscribe_template"}
            < {"type":"error","message":"Channel is required","timestamp":"*iso"}
            > {"type":"subscribe_template","templateId":7}
            < {"type":"error","message":"Channel is required","timestamp":"*iso"}
            > {"type":"subscribe_template","templateId":"a\u0007"}
            < {"type":"error","message":"Invalid channel: at most 255 bytes and no control characters","timestamp":"*iso"}
            > {"type":"cancel_report"}
            < {"type":"error","message":"Unknown message type: cancel_report","timestamp":"*iso"}
            > {"type":"update_interval","interval":1000}
            < {"type":"error","message":"Unknown message type: update_interval","timestamp":"*iso"}
            < nothing
            "#,
        );
        assert_eq!(publish(&server, "reports:data:template-uuid", "data_update", &json!(1)), 1);
        client.expect(r#"{"type":"data_update","channel":"reports:data:template-uuid","data":1,"offset":1,"timestamp":"*iso"}"#);
    }
}

#[test]
fn a_stream_begins_with_what_was_and_keeps_to_filter_and_pace() {
    let server = start("topics");
    let mut client = connect(&server, "/api/v1/reports/stream/template-uuid");
    client.expect(r#"{"type":"initial_data","data":[],"timestamp":"*iso"}"#);
    let room = "reports:data:template-uuid";
    for value in [95, 100] {
        publish(&server, room, "data_update", &json!({"status": "active", "value": value}));
        client.expect_text();
    }
    let mut late = connect(&server, "/api/v1/reports/stream/template-uuid");
    late.expect(r#"{"type":"initial_data","data":[{"status":"active","value":100},{"status":"active","value":95}],"timestamp":"*iso"}"#);
    late.send_text(r#"{"type":"apply_filter","filter":{"status":"active","department":"sales"},"id":1}"#);
    late.expect(r#"{"type":"apply_filter","data":{"filter":{"status":"active","department":"sales"}},"id":1,"timestamp":"*iso"}"#);
    for (status, department) in [("active", "law"), ("idle", "sales"), ("active", "sales")] {
        publish(&server, room, "data_update", &json!({"status": status, "department": department}));
        client.expect_text();
    }
    late.expect(r#"{"type":"data_update","channel":"reports:data:template-uuid","data":{"department":"sales","status":"active"},"offset":5,"timestamp":"*iso"}"#);
    assert_eq!(server.metric_sum("fanwire_filter_evaluations_total"), 3.0);
    // The pace: the first at once, then the newest after the interval.
    client.send_text(r#"{"type":"update_interval","interval":1000,"id":2}"#);
    client.expect(r#"{"type":"update_interval","data":{"interval":1000},"id":2,"timestamp":"*iso"}"#);
    let begin = Instant::now();
    for value in 0..20 {
        publish(&server, room, "data_update", &json!({"value": value}));
    }
    let mut values = Vec::new();
    while values.last() != Some(&19) {
        client.expect_json(|message| values.push(message["data"]["value"].as_u64().unwrap()));
    }
    assert!(values.len() <= 2 + begin.elapsed().as_secs() as usize, "{values:?}");
    assert!(values.is_sorted() && (values.len() == 1 || begin.elapsed() >= Duration::from_millis(900)));
    conversation(
        &mut client,
        r#"
        > {"type":"update_interval","interval":99}
        < {"type":"error","message":"interval must be a number of milliseconds: 100 to 3600000, or 0 for all updates","timestamp":"*iso"}
        > {"type":"update_interval"}
        < {"type":"error","message":"interval must be a number of milliseconds: 100 to 3600000, or 0 for all updates","timestamp":"*iso"}
        > {"type":"apply_filter","filter":{"a":{"b":1}}}
        < {"type":"error","message":"filter must be an object of at most 16 fields whose values are strings, numbers, booleans or null","timestamp":"*iso"}
        "#,
    );
}

#[test]
fn each_filter_is_evaluated_once_for_a_publication_whichever_shards_have_it() {
    const PUBLICATIONS: usize = 200;
    let server = Server::start(&["--preset=topics", "--shards=4"]);
    let mut clients: Vec<Client> = (0..crowd_size(1000))
        .map(|_| Client::ungreeted(server.addr(), "/api/v1/reports/stream/t", &[]))
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(WELCOME);
        client.expect(r#"{"type":"initial_data","data":[],"timestamp":"*iso"}"#);
        let field = format!("field{}", number % 10);
        client.send_text(&json!({"type": "apply_filter", "filter": {field: true}, "id": 1}).to_string());
        client.expect_json(|answer| {
            assert_eq!((&answer["type"], &answer["id"]), (&json!("apply_filter"), &json!(1)))
        });
    }
    let text = server.get("/metrics").body;
    let shards: Vec<&str> = text.lines().filter(|line| line.starts_with("fanwire_connections{")).collect();
    assert!(shards.iter().filter(|line| !line.ends_with(" 0")).count() > 1, "{shards:?}");
    // The last one is for all: who has it has been sent, or not, all before it.
    let message = |number: usize| {
        let fits = |field: usize| number == PUBLICATIONS - 1 || number % 10 == field;
        let fields = (0..10).map(|field| (format!("field{field}"), json!(fits(field))));
        let mut data: serde_json::Map<_, _> = fields.collect();
        data.insert("number".to_owned(), json!(number));
        json!({"room": "reports:data:t", "event": "data_update", "data": data})
    };
    let batch: Vec<Value> = (0..PUBLICATIONS).map(message).collect();
    assert_eq!(server.post("/v1/publish/batch", &json!(batch).to_string()).status, 200);
    for (number, client) in clients.iter_mut().enumerate() {
        let wanted =
            (0..PUBLICATIONS - 1).filter(|value| value % 10 == number % 10).chain([PUBLICATIONS - 1]);
        for value in wanted {
            client.expect_json(|message| assert_eq!(message["data"]["number"], value, "{number}"));
        }
    }
    let evaluations = server.metric_sum("fanwire_filter_evaluations_total");
    assert_eq!(evaluations, 10.0 * PUBLICATIONS as f64);
}

#[test]
fn filters_on_a_history_again_and_again_are_refused_in_the_end_and_harm_nobody() {
    let server = start("topics");
    let room = "reports:data:t";
    let row: serde_json::Map<String, Value> = (0..400).map(|n| (format!("field{n}"), json!(n))).collect();
    for _ in 0..100 {
        publish(&server, room, "data_update", &Value::Object(row.clone()));
    }
    let mut client = connect(&server, "/api/v1/reports/stream/t");
    client.expect_text();
    client.send_text(&format!(r#"{{"type":"subscribe","channel":"{room}"}}"#));
    let epoch = client.expect_json(|joined| joined["data"]["epoch"].as_str().unwrap().to_owned());
    // All in one write: the server takes them in parts.
    let pair = |number: u32| {
        let recover = json!({"epoch": epoch, "offset": 0});
        let filter = json!({"type": "apply_filter", "filter": {"none": number}});
        [filter, json!({"type": "subscribe", "channel": room, "recover": recover})]
    };
    let frames: Vec<u8> = (0..200)
        .flat_map(pair)
        .flat_map(|text| crate::common::frame(0x81, text.to_string().as_bytes()))
        .collect();
    client.send_bytes(&frames);
    let error = "rate limit of replays exceeded: ask for less of the past, or try again in some seconds";
    client.read_until_close(4429, |text| {
        let answer: Value = serde_json::from_str(text).unwrap();
        // Nothing of the past passes the filter.
        let expected = if answer["type"] == "error" {
            answer["message"] == error
        } else {
            answer["data"]["recovered"] == true
        };
        assert!(expected, "{text}");
    });
    let sum = |name: &str, label: &str| -> f64 {
        (0..2).filter_map(|shard| server.metric(&format!("{name}{{shard=\"{shard}\",{label}}}"))).sum()
    };
    // 16 MiB of a history of some 580 KB, and then 32 refusals.
    let recovered = sum("fanwire_recoveries_total", "result=\"recovered\"");
    assert!((10.0..40.0).contains(&recovered), "{recovered} recovered");
    assert_eq!(sum("fanwire_spent_budgets_total", "budget=\"replay\""), 32.0);
    // Another client gets all of it.
    let mut other = connect(&server, "/api/v1/reports/stream/t");
    other.expect_json(|past| assert_eq!(past["data"].as_array().unwrap().len(), 100));
}

#[test]
fn no_client_makes_up_where_a_report_stands_or_what_a_stream_showed() {
    let server = start("topics");
    let status = json!({"progress": 75});
    publish(&server, "reports:progress:r", "report_status", &status);
    publish(&server, "reports:data:t", "data_update", &json!(1));
    let mut liar = connect(&server, "/ws");
    for room in ["reports:progress:r", "reports:data:t", "reports:data:a:b"] {
        liar.send_text(&json!({"type": "publish", "channel": room, "data": "made up"}).to_string());
        liar.expect(r#"{"type":"error","message":"Permission denied","timestamp":"*iso"}"#);
    }
    let mut client = connect(&server, "/api/v1/reports/progress/r");
    client.expect_json(|last| assert_eq!(last["data"], status));
    let mut client = connect(&server, "/api/v1/reports/stream/t");
    client.expect(r#"{"type":"initial_data","data":[1],"timestamp":"*iso"}"#);
}

#[test]
fn notifications_come_from_the_documents_channels() {
    let server = start("topics");
    let path = format!("/api/v1/reports/notifications?token={}", token("u1"));
    let mut known = Client::ungreeted(server.addr(), &path, &[]);
    known.expect_json(|welcome| assert_eq!(welcome["data"]["userId"], "u1"));
    let mut unknown = connect(&server, "/api/v1/reports/notifications");
    for (room, event) in [
        ("reports:system", "system_alert"),
        ("reports:maintenance", "maintenance_notice"),
        ("reports:alerts", "system_alert"),
    ] {
        assert_eq!(publish(&server, room, event, &json!({"level": "warning"})), 2, "{room}");
        for client in [&mut known, &mut unknown] {
            client.expect(&format!(
                r#"{{"type":"{event}","channel":"{room}","data":{{"level":"warning"}},"timestamp":"*iso"}}"#
            ));
        }
    }
    assert_eq!(publish(&server, "user:u1:reports", "done", &json!(1)), 1);
    known.expect(r#"{"type":"done","channel":"user:u1:reports","data":1,"timestamp":"*iso"}"#);
    assert_eq!(publish(&server, "user:{user}:reports", "done", &json!(1)), 0);
    unknown.expect_nothing(SILENCE);
}

#[test]
fn a_health_check_is_answered_and_closed() {
    for preset in ["topics", "none"] {
        let server = start(preset);
        let mut client = Client::ungreeted(server.addr(), "/ws/health?batch=100", &[]);
        client.expect(r#"{"type":"health","status":"ok","timestamp":"*iso"}"#);
        client.expect_close(1000);
        eventually("it is gone", || server.metric_sum("fanwire_connections") == 0.0);
        assert_eq!(server.metric_sum("fanwire_closes_total{"), 0.0);
        assert_eq!(server.metric_sum("fanwire_closes_total"), 1.0);
    }
    let server = start("rooms");
    assert_eq!(refused(&server, "/ws/health").0, 404);
    assert_eq!(refused(&server, "/api/v1/reports/notifications").0, 404);
}

#[test]
fn hostile_paths_name_no_rooms_of_others() {
    let server = start("topics");
    for (path, status) in [
        ("/api/v1/reports/progress/", 404),
        ("/api/v1/reports/progress", 404),
        ("/api/v1/reports/progress/a/b", 404),
        ("/api/v1/reports/progress/%ff", 400),
        ("/api/v1/reports/progress/%2", 400),
        ("/api/v1/reports/progress/a?batch=0", 400),
    ] {
        assert_eq!(refused(&server, path).0, status, "{path}");
    }
    let long = format!("/api/v1/reports/progress/{}", "x".repeat(256));
    assert_eq!(refused(&server, &long).0, 400);
    // These are no names of rooms, or too long with what stands before: the connection is in none.
    for parameter in ["%00", "%0a%0d", &"x".repeat(250), "%C2%85"] {
        let mut client = connect(&server, &format!("/api/v1/reports/progress/{parameter}"));
        client.send_text(r#"{"type":"get_status"}"#);
        client.expect_json(|status| assert_eq!(status["data"]["channels"], json!([]), "{parameter:.9}"));
        client.send_text(r#"{"type":"request_update"}"#);
        client.expect(r#"{"type":"request_update","data":{"sent":0},"timestamp":"*iso"}"#);
    }
    let mut client = connect(&server, "/api/v1/reports/progress/a%2Fb%20%C3%A9%7Buser%7D");
    client.send_text(r#"{"type":"get_status"}"#);
    client.expect_json(|status| {
        assert_eq!(status["data"]["channels"], json!(["reports:progress:a/b \u{e9}{user}"]));
    });
}

#[test]
fn rooms_named_by_parameters_and_messages_obey_the_rules() {
    let endpoints = r#"[{"path":"/of/{id}","dialect":"topics","rooms":["user:{id}:reports"],
        "snapshot":{"room":"user:{id}:reports"},"messages":{"follow":{"join":"user:{to}:reports"},"again":"snapshot"}}]"#;
    let rules = r#"[{"pattern":"user:*:reports","last_value":true}]"#;
    let server = Server::start_with(
        &["--preset=topics", "--endpoints", endpoints, "--room-rules", rules],
        &[SECRET_VARIABLE],
    );
    publish(&server, "user:u1:reports", "done", &json!("secret"));
    let denied =
        r#"{"type":"error","message":"Authentication required for user channels","timestamp":"*iso"}"#;
    let path = format!("/of/u1?token={}", token("u2"));
    for path in ["/of/u1", path.as_str()] {
        let mut client = Client::ungreeted(server.addr(), path, &[]);
        client.expect_text();
        client.send_text(r#"{"type":"again"}"#);
        client.expect(denied);
        client.send_text(r#"{"type":"follow","to":"u1"}"#);
        client.expect(denied);
        assert_eq!(publish(&server, "user:u1:reports", "done", &json!("secret")), 0);
        client.expect_nothing(SILENCE);
    }
    let mut own = Client::ungreeted(server.addr(), &format!("/of/u1?token={}", token("u1")), &[]);
    own.expect_text();
    own.expect(r#"{"type":"done","channel":"user:u1:reports","data":"secret","timestamp":"*iso"}"#);
}

#[test]
fn every_dialect_sends_batches() {
    let server = start("none");
    for (dialect, join, message) in [
        (
            "rooms",
            r#"{"type":"subscribe","room":"r"}"#,
            r#"{"type":"message","room":"r","data":1,"timestamp":"*ms"}"#,
        ),
        (
            "channels",
            r#"{"type":"JOIN_CHANNEL","channel":"r"}"#,
            r#"{"type":"message","channel":"r","data":1,"timestamp":"*iso"}"#,
        ),
        (
            "topics",
            r#"{"type":"subscribe","channel":"r"}"#,
            r#"{"type":"message","channel":"r","data":1,"timestamp":"*iso"}"#,
        ),
        ("tenants", r#"{"type":"join_channel","data":{"channel":"r"}}"#, r#"{"type":"message","data":1}"#),
    ] {
        let protocol = format!("fanwire.{dialect}");
        let mut client =
            Client::ungreeted(server.addr(), "/ws?batch=300", &[("Sec-WebSocket-Protocol", &protocol)]);
        // `channels` greets nobody.
        if dialect != "channels" {
            client.expect_json(|greeting| {
                assert_eq!(greeting.as_array().map(Vec::len), Some(1), "{greeting}");
            });
        }
        client.send_text(join);
        client.expect_json(|joined| assert_eq!(joined.as_array().map(Vec::len), Some(1), "{joined}"));
        for _ in 0..3 {
            assert_eq!(publish(&server, "r", "message", &json!(1)), 1);
        }
        client.expect(&format!("[{message},{message},{message}]"));
        client.send_text("nonsense");
        client.expect_json(|error| assert_eq!(error.as_array().map(Vec::len), Some(1), "{error}"));
        drop(client);
        eventually("it has left", || publish(&server, "r", "message", &json!(1)) == 0);
    }
    for wrong in ["0", "1001", "x", "", "1&batch=2", "-1", "1.5"] {
        let (status, body) = refused(&server, &format!("/ws?batch={wrong}"));
        assert!(status == 400 && body.contains("1 to 1000"), "{wrong}: {status} {body}");
    }
}
