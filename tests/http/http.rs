//! The HTTP side: health, metrics, the API and its key, and the upgrades that are refused.

use crate::common::{Client, KEY, SILENCE, Server, eventually, exchange, request};
use std::net::TcpStream;

#[test]
fn health_counts_clients_and_rooms() {
    let server = Server::start(&[]);
    let empty = server.get("/health");
    assert_eq!((empty.status, empty.body.as_str()), (200, r#"{"status":"healthy","clients":0,"rooms":0}"#));
    assert!(empty.header("content-type").unwrap().starts_with("application/json"));
    let mut a = server.connect();
    let _b = server.connect();
    a.subscribe("one");
    a.subscribe("two");
    assert_eq!(server.get("/health").body, r#"{"status":"healthy","clients":2,"rooms":2}"#);
}

#[test]
fn readiness_and_metrics_are_served() {
    let server = Server::start(&[]);
    server.get("/ready").expect(200, r#"{"ready":true}"#);
    let mut client = server.connect();
    client.subscribe("chat");
    assert_eq!(server.metric("websocket_clients_total"), Some(1.0));
    assert_eq!(server.metric("websocket_rooms_total"), Some(1.0));
    let text = server.get("/metrics").body;
    for name in ["websocket_messages_per_second", "websocket_errors_total"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
}

#[test]
fn publishing_tells_to_how_many() {
    let server = Server::start(&[]);
    let mut members: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for member in &mut members[..3] {
        member.subscribe("news");
    }
    let answer = server.post("/v1/publish", r#"{"room":"news","data":{"n": 1}}"#);
    assert_eq!((answer.status, &answer.json()["delivered"]), (200, &3.into()), "{}", answer.body);
    for member in &mut members[..3] {
        let text = member.expect_text();
        // As the client's own data: byte for byte; no client sent it, so no client_id.
        assert!(
            text.starts_with(r#"{"type":"message","room":"news","data":{"n": 1},"timestamp":"#),
            "{text}"
        );
    }
    let nobody = server.post("/v1/publish", r#"{"room":"nobody","data":1}"#);
    assert_eq!((nobody.status, &nobody.json()["delivered"]), (200, &0.into()));
    let all = server.post("/v1/broadcast", r#"{"data":"all"}"#);
    assert_eq!((all.status, &all.json()["delivered"]), (200, &5.into()), "{}", all.body);
    for member in &mut members {
        member.expect(r#"{"type":"message","data":"all","timestamp":"*ms"}"#);
    }
}

#[test]
fn bad_publishes_are_refused_with_a_reason() {
    let server = Server::start(&[]);
    let too_deep = format!(r#"{{"room":"a","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for body in
        ["", "{", "[]", r#"{"data":1}"#, r#"{"room":"","data":1}"#, r#"{"room":"a\u0000"}"#, &too_deep]
    {
        let answer = server.post("/v1/publish", body);
        let shown: String = body.chars().take(40).collect();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.body);
        assert!(!answer.body.is_empty(), "{shown}");
    }
    let big = format!(r#"{{"room":"a","data":"{}"}}"#, "x".repeat(8 << 20));
    assert_eq!(server.post("/v1/publish", &big).status, 413);
    server.get("/ready").expect(200, r#"{"ready":true}"#);
}

#[test]
fn rooms_stats_and_slow_connections_can_be_asked_for() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.subscribe("only-room");
    let rooms = server.get("/v1/rooms");
    assert_eq!(rooms.status, 200);
    assert!(rooms.json().to_string().contains("\"only-room\""), "{}", rooms.body);
    let stats = server.get("/v1/stats");
    assert_eq!(stats.status, 200);
    assert!(stats.json().is_object(), "{}", stats.body);
    let slow = server.get("/v1/slow");
    assert_eq!(slow.status, 200);
    assert!(!slow.json().is_null(), "{}", slow.body);
}

#[test]
fn stats_tell_percentiles_of_shards_and_node() {
    let server = Server::start(&["--shards=2"]);
    let mut members: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for member in &mut members {
        member.subscribe("news");
    }
    let none = server.get("/v1/stats").json();
    assert_eq!(none["publish_to_write"]["count"], 0, "answers are no publications: {none}");
    assert!(none["turn"]["count"].as_u64().unwrap() > 0, "{none}");
    for n in 0..50 {
        server.post("/v1/publish", &format!(r#"{{"room":"news","data":{n}}}"#));
    }
    for member in &mut members {
        (0..50).for_each(|_| drop(member.expect_text()));
    }
    // At least by each shard with members; `/metrics` counts the same.
    let mut told = serde_json::Value::Null;
    eventually("all writes are counted", || {
        told = server.get("/v1/stats").json();
        let counted = server.metric_sum("fanwire_publish_to_write_seconds_count");
        counted >= 50.0 && told["publish_to_write"]["count"].as_f64() == Some(counted)
    });
    for (shard, told) in told["shards"].as_array().unwrap().iter().enumerate() {
        let name = format!("fanwire_publish_to_write_seconds_count{{shard=\"{shard}\"}}");
        assert_eq!(told["publish_to_write"]["count"].as_f64(), server.metric(&name), "{told}");
    }
    for kind in ["publish_to_write", "turn"] {
        let of = |from: &serde_json::Value, name: &str| from[kind][name].as_u64().unwrap();
        let shards = told["shards"].as_array().unwrap();
        for told in shards.iter().chain([&told]) {
            let names = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
            assert!(names.map(|name| of(told, name)).is_sorted(), "{told}");
            assert_eq!(of(told, "count") == 0, of(told, "max_us") == 0, "{told}");
        }
        assert_eq!(of(&told, "count"), shards.iter().map(|shard| of(shard, "count")).sum::<u64>());
        assert_eq!(of(&told, "max_us"), shards.iter().map(|shard| of(shard, "max_us")).max().unwrap());
    }
}

#[test]
fn with_a_key_the_api_asks_for_it() {
    let server = Server::start_with(&[], &[("FANWIRE_API_KEY", "correct-horse")]);
    let publish = |headers: &[(&str, &str)]| {
        request(server.addr(), "POST", "/v1/publish", headers, br#"{"room":"a","data":1}"#).status
    };
    assert_eq!(publish(&[]), 401);
    assert_eq!(publish(&[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(publish(&[("Authorization", "Bearer correct-hors")]), 401);
    assert_eq!(
        publish(&[("Authorization", "Bearer correct-horse ")]),
        200,
        "white space ends a header's value"
    );
    assert_eq!(publish(&[("Authorization", "Basic correct-horse")]), 401);
    assert_eq!(publish(&[("Authorization", "Bearer correct-horse")]), 200);
    for path in ["/v1/rooms", "/v1/stats", "/v1/slow"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    let broadcast = server.post("/v1/broadcast", r#"{"data":1}"#);
    assert_eq!(broadcast.status, 401);
    // Orchestrators ask without a key.
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/ready").status, 200);
}

#[test]
fn without_a_key_the_api_is_for_this_machine() {
    let server = Server::start(&[]);
    let status = |headers: &[(&str, &str)]| request(server.addr(), "GET", "/v1/rooms", headers, b"").status;
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[("Host", "localhost")]), 200);
    // A browser that was lured by a name that resolves to loopback, and whatever a proxy passes on.
    assert_eq!(status(&[("Host", "rebound.example")]), 401);
    assert_eq!(status(&[("X-Forwarded-For", "192.0.2.1")]), 401);
    assert_eq!(status(&[("Forwarded", "for=192.0.2.1")]), 401);
}

#[test]
fn unknown_paths_and_wrong_methods_are_told_apart() {
    let server = Server::start(&[]);
    let status = |method: &str, path: &str| request(server.addr(), method, path, &[], b"").status;
    assert_eq!(status("GET", "/"), 404);
    assert_eq!(status("GET", "/nothing"), 404);
    assert_eq!(status("GET", "/v1/nothing"), 404);
    assert_eq!(status("GET", "/ws/"), 404);
    for (method, path) in [
        ("POST", "/health"),
        ("DELETE", "/ready"),
        ("POST", "/metrics"),
        ("GET", "/v1/publish"),
        ("PUT", "/v1/broadcast"),
        ("POST", "/v1/rooms"),
        ("POST", "/ws"),
    ] {
        assert_eq!(status(method, path), 405, "{method} {path}");
    }
}

#[test]
fn a_compressed_body_is_refused_as_one() {
    let server = Server::start(&[]);
    let body = br#"{"room":"a","data":1}"#;
    for (coding, status) in [("gzip", 415), ("Identity", 200), ("identity, br", 415)] {
        let headers = [("Content-Encoding", coding)];
        let answer = request(server.addr(), "POST", "/v1/publish", &headers, body);
        assert_eq!(answer.status, status, "{coding:?}: {}", answer.body);
        let accepted = (status == 415).then_some("identity");
        assert_eq!(answer.header("accept-encoding"), accepted, "{coding:?}");
    }
}

#[test]
fn handshakes_that_are_none_are_refused() {
    let server = Server::start(&[]);
    let addr = server.addr();
    let good = format!(
        "GET /ws HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        exchange(addr, good.replacen(from, to, 1).as_bytes())
    };
    assert_eq!(refused(&key, "").status, 400, "no key");
    assert_eq!(refused(&key, &key.repeat(2)).status, 400, "two keys");
    assert_eq!(refused(KEY, "c2hvcnQ=").status, 400, "a key that is not 16 bytes");
    assert_eq!(refused(KEY, "!!!!!!!!!!!!!!!!!!!!!!==").status, 400, "a key that is not base64");
    let version = refused("Version: 13", "Version: 8");
    assert_eq!((version.status, version.header("sec-websocket-version")), (426, Some("13")));
    assert_eq!(refused("GET", "POST").status, 405);
    let plain = refused("Upgrade: websocket\r\nConnection: keep-alive, Upgrade", "Connection: close");
    assert!([400, 426].contains(&plain.status), "{plain:?}");
    // What was left unchanged is accepted, so the changes are what was refused.
    Client::connect(addr);
}

#[test]
fn endless_headers_are_refused() {
    let server = Server::start(&[]);
    let padding = "x".repeat(1000);
    let headers: Vec<_> = (0..100).map(|n| format!("X-Padding-{n}")).collect();
    let headers: Vec<_> = headers.iter().map(|name| (name.as_str(), padding.as_str())).collect();
    let bytes = Client::handshake(&server.addr().to_string(), "/ws", &headers);
    assert!(bytes.len() > 100_000);
    assert_eq!(exchange(server.addr(), &bytes).status, 431);
}

#[test]
fn an_origin_must_be_ours_or_listed() {
    let try_origin = |server: &Server, origin: &str| {
        let bytes = Client::handshake(&server.addr().to_string(), "/ws", &[("Origin", origin)]);
        exchange(server.addr(), &bytes)
    };
    let server = Server::start(&[]);
    for origin in ["http://evil.example", "http://127.0.0.1.evil.example", "null"] {
        let refusal = try_origin(&server, origin);
        assert_eq!(refusal.status, 403, "{origin}");
        assert!(refusal.body.contains("allowed_origins"), "{}", refusal.body);
    }
    Client::connect_with(server.addr(), "/ws", &[("Origin", "http://127.0.0.1:3000")]);

    let server = Server::start(&["--allowed-origins", "https://app.example"]);
    Client::connect_with(server.addr(), "/ws", &[("Origin", "https://app.example")]);
    assert_eq!(try_origin(&server, "https://other.example").status, 403);

    let server = Server::start(&["--allowed-origins", "https://*.app.example,file://"]);
    for origin in ["https://a.b.app.example", "file://"] {
        Client::connect_with(server.addr(), "/ws", &[("Origin", origin)]);
    }
    for origin in ["https://app.example", "https://evilapp.example", "file://a"] {
        assert_eq!(try_origin(&server, origin).status, 403, "{origin}");
    }
    let twice = [("Origin", "file://"), ("Origin", "file://")];
    let bytes = Client::handshake(&server.addr().to_string(), "/ws", &twice);
    assert_eq!(exchange(server.addr(), &bytes).status, 400, "two lines");
}

#[test]
fn a_name_that_leads_to_this_machine_lets_no_page_in() {
    let page = [("Origin", "http://evil.example:8081")];
    let try_host = |server: &Server, host: &str, headers: &[(&str, &str)]| {
        exchange(server.addr(), &Client::handshake(host, "/ws", headers))
    };
    let upgrade = |server: &Server, host: &str, headers: &[(&str, &str)]| {
        Client::upgrade(TcpStream::connect(server.addr()).unwrap(), host, "/ws", headers);
    };
    let server = Server::start(&[]);
    let refused = try_host(&server, "evil.example:8081", &page);
    assert_eq!(refused.status, 403, "{}", refused.body);
    assert!(refused.body.contains("allowed_hosts"), "{}", refused.body);
    // What is no page, and what a proxy on this machine passes on, is none of that.
    upgrade(&server, "evil.example:8081", &[]);
    upgrade(&server, "evil.example:8081", &[page[0], ("X-Forwarded-For", "203.0.113.7")]);
    upgrade(&server, "localhost", &[("Origin", "http://localhost:3000")]);

    let server = Server::start(&["--allowed-hosts=*.example"]);
    upgrade(&server, "evil.example:8081", &page);
    upgrade(&server, "localhost", &[("Origin", "http://localhost:3000")]);
    let forwarded = [("Origin", "http://other.test"), ("X-Forwarded-For", "203.0.113.7")];
    assert_eq!(try_host(&server, "other.test", &forwarded).status, 403, "another host, from anywhere");
    upgrade(&Server::start(&["--allowed-origins=http://evil.example:8081"]), "evil.example:8081", &page);
}

#[test]
fn a_coded_body_is_not_taken_for_what_it_is_not() {
    let server = Server::start(&[]);
    let mut member = server.connect();
    member.subscribe("a");
    let send = |method, path, coding| {
        request(server.addr(), method, path, &[("Content-Encoding", coding)], br#"{"room":"a","data":1}"#)
    };
    for coding in ["gzip", "br", "deflate, gzip", "identity, gzip"] {
        for (method, path) in [
            ("POST", "/v1/publish"),
            ("POST", "/v1/publish/batch"),
            ("POST", "/v1/broadcast"),
            ("PUT", "/v1/rooms/a"),
        ] {
            let answer = send(method, path, coding);
            assert_eq!(answer.status, 415, "{coding} {path} {}", answer.body);
            assert_eq!(answer.json()["error"]["code"], "unsupported_coding");
        }
    }
    member.expect_nothing(SILENCE);
    assert_eq!(send("POST", "/v1/publish", "Identity").json()["delivered"], 1);
    member.expect(r#"{"type":"message","room":"a","data":1,"timestamp":"*ms"}"#);
}
