//! What the server says on standard error: who came, who went and why; never a message.

use crate::common::token::{SECRET_VARIABLE, token_of};
use crate::common::{Client, PATIENCE, Server, eventually};

#[test]
fn json_logs_are_one_object_per_line_with_connection_peer_and_reason() {
    let server = Server::start(&["--log-format=json", "--log-level=debug"]);
    let mut client = server.connect();
    let id = client.id.clone();
    client.subscribe("room");
    client.send_bytes(&[0x81, 0x01, b'a']);
    client.expect_close(1002);
    drop(client);
    let line_with = |words: &[&str]| {
        let output = server.output();
        let line = output.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned)
    };
    eventually("the end is logged", || line_with(&[&id, "disconnected"]).is_some());
    for (words, reason) in
        [([id.as_str(), "\"connected\""], None), ([&id, "disconnected"], Some("protocol_error"))]
    {
        let line: serde_json::Value = serde_json::from_str(&line_with(&words).unwrap()).unwrap();
        assert_eq!(line["connection"], id.as_str());
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["reason"].as_str(), reason, "{line}");
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    let stdout_lines = ["fanwire ", "listening on ", "try: ", "      curl"];
    for line in
        server.output().lines().filter(|line| !stdout_lines.iter().any(|start| line.starts_with(start)))
    {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()),
            "{line}"
        );
    }
}

#[test]
fn a_level_of_info_says_nothing_of_messages_and_connections() {
    let server = Server::start(&[]);
    // One on each stream.
    let is_told = |words: &str| server.output().contains(words);
    eventually("the start is told", || is_told("curl") && is_told("INFO fanwire: listening on"));
    let before = server.output().lines().count();
    for _ in 0..20 {
        let mut client = server.connect();
        client.subscribe("room");
        client.send_text(r#"{"type":"publish","room":"room","data":"do not log this"}"#);
        client.expect_json(|message| assert_eq!(message["data"], "do not log this"));
        client.send_text("do not log this either");
        client.expect_json(|answer| assert_eq!(answer["type"], "error"));
    }
    eventually("all are gone", || server.get("/health").body.contains("\"clients\":0"));
    // But that something is refused, once, and not what.
    let output = server.output();
    let lines: Vec<_> = output.lines().skip(before).collect();
    let [line] = lines[..] else { panic!("{output}") };
    assert!(line.contains("requests refused") && line.contains("invalid_json"), "{line}");
    assert!(!output.contains("do not log this"), "{output}");
}

#[test]
fn refused_requests_are_a_line_for_each_reason_with_room_peer_and_cause() {
    let rules = r#"--access-rules=[{"room":"staff:**","who":"role:staff","text":"staff only"}]"#;
    let server = Server::start(&["--log-format=json", rules]);
    let mut client = server.connect();
    for _ in 0..20 {
        for message in
            [r#"{"type":"subscribe","room":"staff:a"}"#, r#"{"type":"publish","room":"x","data":"secret"}"#]
        {
            client.send_text(message);
            client.expect_json(|answer| assert_eq!(answer["type"], "error", "{answer}"));
        }
    }
    eventually("both are told", || lines_with(&server, "requests refused").len() >= 2);
    let told = lines_with(&server, "requests refused");
    let [join, publish] = &told[..] else { panic!("{told:?}") };
    for (line, reason, cause, kind, room) in [
        (join, "join_denied", "staff only", "subscribe", "staff:a"),
        (publish, "not_subscribed", "not subscribed to this room", "message", "x"),
    ] {
        let fields =
            ["level", "reason", "cause", "type", "room", "connection"].map(|name| line[name].as_str());
        assert_eq!(
            fields,
            [Some("WARN"), Some(reason), Some(cause), Some(kind), Some(room), Some(client.id.as_str())],
            "{line}"
        );
        assert!(
            line["count"] == 1 && line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:"))
        );
    }
    assert!(!server.output().contains("secret"));
}

#[test]
fn evictions_tell_the_bound_and_what_waited() {
    const BOUND: u64 = 262_144;
    let server =
        Server::start(&["--log-format=json", "--messages-per-s=0", "--outbox-bytes-max", &BOUND.to_string()]);
    let mut slow: Vec<_> =
        (0..3).map(|_| Client::connect_with_buffer(server.addr(), 8192, "/ws", &[])).collect();
    slow.iter_mut().for_each(|client| client.subscribe("flood"));
    let data = "x".repeat(50_000);
    let body = format!(r#"{{"room":"flood","event":"e","data":"{data}"}}"#);
    let of_shard =
        |shard| server.metric(&format!("fanwire_closes_total{{shard=\"{shard}\",reason=\"slow_consumer\"}}"));
    let evicted = || (0..2).filter_map(of_shard).sum::<f64>();
    eventually("all are evicted", || {
        server.post("/v1/publish", &body);
        evicted() >= 3.0
    });
    let output = server.output();
    let lines: Vec<_> = output.lines().filter(|line| line.contains("slow consumers evicted")).collect();
    let [line] = lines[..] else { panic!("{output}") };
    let line: serde_json::Value = serde_json::from_str(line).expect("an object");
    assert_eq!(line["bound"], "outbox_bytes_max or outbox_messages_max", "{line}");
    let waited = line["backlog_bytes"].as_u64().unwrap();
    assert!(waited > BOUND / 2 && waited <= BOUND, "{line}");
}

#[test]
fn names_that_a_terminal_obeys_are_escaped_in_both_formats() {
    // C1's "control sequence introducer", a change of direction, and a separator of lines.
    let hostile = "a\u{9b}31m\u{202e}b\u{2028}c";
    for format in ["json", "text"] {
        let server = Server::start(&[&format!("--log-format={format}"), "--log-level=debug"]);
        let mut client = server.connect();
        client.send_text(&serde_json::json!({"type": hostile, "room": hostile}).to_string());
        client.expect_json(|answer| assert_eq!(answer["type"], "error"));
        let line =
            || server.output().lines().find(|line| line.contains("message received")).map(str::to_owned);
        eventually("it is logged", || line().is_some());
        let line = line().unwrap();
        assert!(!line.contains(['\u{9b}', '\u{202e}', '\u{2028}']), "{line:?}");
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["type"], hostile);
        }
    }
}

#[test]
fn the_level_changes_by_a_hangup() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.yaml");
    std::fs::write(&path, "log_level: error\nport: 0\n").unwrap();
    let server = Server::start(&["--config", path.to_str().unwrap()]);
    drop(server.connect());
    // The file's port is not what the flag says, so changing it means nothing; the shards are no flag here.
    std::fs::write(&path, "log_level: debug\nlisten_backlog: 77\n").unwrap();
    server.signal("HUP");
    eventually("what changed is told", || server.output().contains("listen_backlog"));
    let output = server.output();
    assert!(output.contains("changed=[\"log_level\"]"), "{output}");
    let line = output.lines().find(|line| line.contains("listen_backlog")).unwrap();
    assert!(line.contains(" WARN ") && line.contains("keys=[\"listen_backlog\"]"), "{line}");
    let client = server.connect();
    eventually("connections are logged now", || server.output().contains(&client.id));
}

#[test]
fn sweeps_of_idle_connections_are_logged_and_counted() {
    let flags = ["--shards=1", "--log-level=debug", "--idle-timeout=1s", "--cleanup-interval=1s"];
    let server = Server::start(&flags);
    let mut idle = server.connect();
    idle.read_until_close(4408, |_| {});
    eventually("it is counted", || server.metric("fanwire_cleanup_closed_total{shard=\"0\"}") == Some(1.0));
    assert!(server.metric("fanwire_cleanups_total{shard=\"0\"}") >= Some(1.0));
    let line = |line: &str| line.contains(" DEBUG ") && line.contains("idle connections looked for");
    eventually("it is logged", || server.output().lines().any(|l| line(l) && l.contains("closed=1")));
}

#[test]
fn the_start_and_the_end_are_events() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("fanwire.sock");
    let (path, admin) = (socket.to_str().unwrap(), "--admin-listen=127.0.0.1:0");
    let flags = [
        "--log-format=json",
        "--shards=1",
        "--preset=channels",
        "--unix-socket",
        path,
        admin,
        "--drain-timeout=20s",
    ];
    let mut server = Server::start(&flags);
    let mut clients =
        [Client::ungreeted(server.addr(), "/ws", &[]), Client::ungreeted(server.addr(), "/ws", &[])];
    server.signal("TERM");
    for client in &mut clients {
        client.read_until_close(1001, |_| {});
    }
    server.wait(PATIENCE).expect("ends");
    let output = server.output();
    let lines: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let one = |message: &str| lines.iter().find(|line| line["message"] == message).expect("it is logged");
    let started = one("listening");
    assert_eq!(started["address"], server.addr().to_string());
    assert_eq!((&started["version"], &started["shards"]), (&env!("CARGO_PKG_VERSION").into(), &1.into()));
    assert_eq!((&started["preset"], &started["unix_socket"]), (&"channels".into(), &path.into()));
    assert!(started["admin"].as_str().is_some_and(|admin| admin.starts_with("127.0.0.1:")), "{started}");
    assert!(output.contains("the API answers"), "what is open to whom");
    let ended = one("ended");
    assert_eq!(ended["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(ended["connections"], 2, "{ended}");
    assert!(ended["uptime_s"].is_u64(), "{ended}");
}

#[test]
fn the_start_is_logged_beside_the_greeting_too() {
    let server = Server::start(&["--shards=1"]);
    let line = format!("listening version=\"{}\" address={}", env!("CARGO_PKG_VERSION"), server.addr());
    eventually("it is logged", || server.output().contains(&line));
}

#[test]
fn an_error_that_ends_the_server_is_an_event_where_the_log_is_json() {
    let first = Server::start(&[]);
    let port = first.addr().port().to_string();
    let (status, output) = Server::run(&["--log-format=json", "--host=127.0.0.1", "--port", &port], &[]);
    assert_eq!(status.code(), Some(1), "{output}");
    let lines: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let last = lines.last().expect("a line");
    assert_eq!((&last["level"], &last["message"]), (&"ERROR".into(), &"ended by an error".into()), "{last}");
    assert!(last["error"].as_str().is_some_and(|error| error.contains(&port)), "{last}");
}

#[test]
fn a_second_signal_ends_at_once_with_a_line() {
    let mut server = Server::start(&["--log-format=json", "--drain-delay=1h"]);
    server.signal("TERM");
    eventually("the drain has begun", || server.output().contains("draining"));
    server.signal("TERM");
    assert_eq!(server.wait(PATIENCE).expect("ends").code(), Some(1));
    let output = server.output();
    assert!(output.contains("ended at once by a second signal"), "{output}");
}

#[test]
fn the_topics_documents_events_are_logged() {
    let token = token_of("u1", "t1");
    let flags = ["--preset=topics", "--log-format=json", "--log-level=debug"];
    let server = Server::start_with(&flags, &[SECRET_VARIABLE]);
    let _other = Client::ungreeted(server.addr(), "/ws", &[]);
    let mut client = Client::ungreeted(server.addr(), &format!("/ws?token={token}"), &[]);
    let id = client.expect_json(|welcome| welcome["data"]["connectionId"].as_str().unwrap().to_owned());
    let long = "x".repeat(200);
    for message in [
        r#"{"type":"subscribe","channel":"reports:progress"}"#,
        r#"{"type":"publish","channel":"reports:progress","data":"do not log this"}"#,
        &format!(r#"{{"type":"{long}"}}"#),
    ] {
        client.send_text(message);
        client.expect_text();
    }
    client.send_bytes(&[0x81, 0x01, b'a']);
    client.expect_close(1002);
    eventually("the end is logged", || server.output().contains("\"disconnected\""));
    let output = server.output();
    let lines = output.lines().filter(|line| line.contains(&id));
    let lines: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = |word| lines.iter().filter(move |line| line["message"] == word).collect::<Vec<_>>();
    let connected = message("WebSocket connection established")[0];
    let fields = ["level", "userId"].map(|name| connected[name].as_str());
    assert_eq!(fields, [Some("INFO"), Some("u1")], "{connected}");
    assert_eq!(connected["totalConnections"], 2);
    let received: Vec<_> = message("WebSocket message received")
        .into_iter()
        .map(|line| ["level", "messageType", "channel"].map(|name| line[name].as_str()))
        .collect();
    let (level, room) = (Some("DEBUG"), Some("reports:progress"));
    assert_eq!(
        received,
        [[level, Some("subscribe"), room], [level, Some("message"), room], [level, Some(&long[..64]), None]]
    );
    let error = message("WebSocket connection error")[0];
    assert_eq!(
        (&error["level"], &error["error"]),
        (&"ERROR".into(), &"frames of a client must be masked".into())
    );
    for line in [connected, error, message("WebSocket message received")[0]] {
        assert_eq!(line["connectionId"], id.as_str(), "{line}");
    }
    assert!(!output.contains("do not log this") && !output.contains(&token));
}

/// The lines of a server's log with these words, each an object.
fn lines_with(server: &Server, words: &str) -> Vec<serde_json::Value> {
    let output = server.output();
    let lines = output.lines().filter(|line| line.contains(words));
    lines.map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[test]
fn refused_connections_are_a_line_for_each_reason_with_peer_path_and_origin() {
    let server = Server::start_with(&["--log-format=json", "--connections-per-ip-max=1"], &[SECRET_VARIABLE]);
    let foreign = ("Origin", "https://evil.example");
    let good = server.connect();
    for _ in 0..10 {
        for (path, headers, status) in [
            ("/ws", &[foreign][..], 403),
            ("/nothing", &[], 404),
            ("/ws?token=a.secret.b", &[], 401),
            ("/ws", &[], 503),
        ] {
            let mut wanted = vec![("Connection", "Upgrade"), ("Upgrade", "websocket")];
            wanted
                .extend([("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]);
            wanted.extend_from_slice(headers);
            let answer = crate::common::request(server.addr(), "GET", path, &wanted, b"");
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
        }
    }
    let told = |reason: &str| {
        let lines = lines_with(&server, "connections refused");
        let lines: Vec<_> = lines.into_iter().filter(|line| line["reason"] == reason).collect();
        assert!(lines.len() < 2, "{lines:?}");
        lines.into_iter().next()
    };
    for (reason, path, origin) in [
        ("origin", Some("/ws"), Some("https://evil.example")),
        ("path_or_method", Some("/nothing"), None),
        ("unauthorized", Some("/ws"), None),
        ("ip_full", Some("/ws"), None),
    ] {
        eventually(reason, || told(reason).is_some());
        let line = told(reason).unwrap();
        assert_eq!((line["path"].as_str(), line["origin"].as_str()), (path, origin), "{line}");
        assert!(line["level"] == "WARN" && line["count"] == 1, "{line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    let [token] = &lines_with(&server, "tokens refused")[..] else { panic!("{}", server.output()) };
    assert!(token["reason"].is_string() && token["path"] == "/ws", "{token}");
    assert!(!server.output().contains("secret"), "{}", server.output());
    drop(good);
}

#[test]
fn a_missing_proxy_header_is_told_with_its_peer() {
    let server =
        Server::start(&["--log-format=json", "--proxy-protocol=true", "--trusted-proxies=127.0.0.1"]);
    let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    eventually("it is told", || !lines_with(&server, "connections refused").is_empty());
    let line = &lines_with(&server, "connections refused")[0];
    assert_eq!(line["reason"], "proxy_header", "{line}");
    assert_eq!(line["peer"], stream.local_addr().unwrap().to_string().as_str(), "{line}");
    assert!(line["cause"].is_string(), "{line}");
}
