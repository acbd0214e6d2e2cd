//! `/metrics` counts what happened, by shard and by reason, and no more.

use crate::common::{Client, Response, Server, conversation, eventually, exchange, request};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

/// The samples of a labelled counter that are not zero: label value to the sum over all shards.
fn counted(server: &Server, name: &str) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in server.get("/metrics").body.lines() {
        let Some(rest) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')) else { continue };
        let (labels, value) = rest.split_once("} ").unwrap();
        let label = labels.rsplit_once("=\"").unwrap().1.trim_end_matches('"');
        let value: f64 = value.parse().unwrap();
        if value > 0.0 {
            *counted.entry(label.to_owned()).or_default() += value as u64;
        }
    }
    counted
}

fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.into_iter().map(|(label, count)| (label.to_owned(), count)).collect()
}

/// `/metrics` as it is given to a client with these headers.
fn in_form(server: &Server, headers: &[(&str, &str)]) -> Response {
    request(server.addr(), "GET", "/metrics", headers, b"")
}

#[test]
fn the_page_has_the_form_that_is_asked_for() {
    let server = Server::start(&[]);
    let open = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let page = in_form(&server, &[("Accept", open)]);
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(page.body.contains("# TYPE fanwire_publications counter\n") && page.body.ends_with("# EOF\n"));
    for headers in [&[("Accept", "text/plain;version=0.0.4")][..], &[("Accept", "*/*")], &[]] {
        let page = in_form(&server, headers);
        assert_eq!(
            page.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8"),
            "{headers:?}"
        );
        assert_eq!(page.header("vary"), Some("Accept, Accept-Encoding"));
        assert!(page.body.contains("# TYPE fanwire_publications_total counter\n"), "{}", page.body);
        assert!(!page.body.contains("# EOF"), "{}", page.body);
    }
}

#[test]
fn every_sample_of_the_text_form_has_help_and_a_type() {
    let page = in_form(&Server::start(&[]), &[]).body;
    let named = |mark| -> BTreeSet<_> {
        let lines = page.lines().filter_map(|line| line.strip_prefix(mark));
        lines.filter_map(|line| line.split(' ').next()).collect()
    };
    let (helps, types) = (named("# HELP "), named("# TYPE "));
    let mut samples = 0;
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = family.filter(|family| types.contains(family)).unwrap_or(name);
        assert!(helps.contains(family) && types.contains(family), "{line}");
        samples += 1;
    }
    assert!(samples > 100, "{page}");
}

#[test]
fn the_page_is_compressed_for_those_that_ask_for_it() {
    let server = Server::start(&[]);
    let bytes =
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let (head, body) = answer.split_at(body);
    assert!(String::from_utf8_lossy(head).contains("content-encoding: gzip\r\n"));
    let mut page = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut page).unwrap();
    assert!(page.contains("\nwebsocket_clients_total 0") && page.len() > 4 * body.len(), "{page}");
}

#[test]
fn a_page_that_is_asked_for_again_and_again_is_still_the_newest() {
    let server = Server::start(&["--shards=1"]);
    for _ in 0..300 {
        assert_eq!(in_form(&server, &[]).status, 200);
    }
    let _client = server.connect();
    eventually("it is counted", || server.metric("websocket_clients_total") == Some(1.0));
}

#[test]
fn the_documents_four_names_are_there() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.subscribe("room");
    assert_eq!(server.metric("websocket_clients_total"), Some(1.0));
    assert_eq!(server.metric("websocket_rooms_total"), Some(1.0));
    assert!(server.metric("websocket_messages_per_second").is_some());
    assert_eq!(server.metric("websocket_errors_total"), Some(0.0));
    client.send_text("no JSON");
    client.expect_json(|answer| assert_eq!(answer["type"], "error"));
    assert_eq!(server.metric("websocket_errors_total"), Some(1.0));
}

#[test]
fn every_series_stands_for_every_shard() {
    let server = Server::start(&["--shards=3"]);
    let text = in_form(&server, &[("Accept", "application/openmetrics-text; version=1.0.0")]).body;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE fanwire_"));
    let families: Vec<_> = types.map(|line| line.split(' ').next().unwrap()).collect();
    // Of the whole node, not of a shard.
    let node = [
        "uptime_seconds",
        "membership_bytes",
        "history_bytes",
        "history_rooms",
        "history_evictions",
        "history_share_evictions",
        "log_lines_lost",
        "idempotency_evictions",
        "jwks_fetches",
        "jwks_fetch_failures",
        "users",
        "tenants",
    ];
    for family in families.iter().filter(|family| !node.contains(family)) {
        for shard in 0..3 {
            let label = format!("shard=\"{shard}\"");
            let found = text
                .lines()
                .any(|line| line.starts_with(&format!("fanwire_{family}")) && line.contains(&label));
            assert!(found, "{family} of shard {shard}");
        }
    }
    for family in [
        "connections",
        "rooms",
        "publications",
        "deliveries",
        "bytes_in",
        "bytes_out",
        "mailbox_items",
        "mailbox_bytes",
        "mailbox_age_seconds",
        "tick_seconds",
        "publish_to_write_seconds",
        "closes",
        "dropped_frames",
        "accepts",
        "handshake_failures",
        "token_failures",
        "recoveries",
        "membership_bytes",
        "history_bytes",
        "history_rooms",
        "history_evictions",
        "history_share_evictions",
    ] {
        assert!(families.contains(&family), "{family}");
    }
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends with a mark");
}

#[test]
fn traffic_is_counted_once() {
    let server = Server::start(&["--shards=2"]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.subscribe("room");
    b.subscribe("room");
    let before = ["publications", "deliveries", "frames_in", "bytes_in", "bytes_out"]
        .map(|name| server.metric_sum(&format!("fanwire_{name}_total")));
    let text = r#"{"type":"publish","room":"room","data":1}"#;
    a.send_text(text);
    let mut sizes = 0;
    for client in [&mut a, &mut b] {
        // Header of two or four bytes, no mask.
        let len = client.expect_text().len();
        sizes += len + if len < 126 { 2 } else { 4 };
    }
    let expected = [1.0, 2.0, 1.0, (text.len() + 6) as f64, sizes as f64];
    eventually("all is counted", || server.metric_sum("fanwire_deliveries_total") - before[1] == 2.0);
    let names = ["publications", "deliveries", "frames_in", "bytes_in", "bytes_out"];
    for ((name, before), expected) in names.into_iter().zip(before).zip(expected) {
        assert_eq!(server.metric_sum(&format!("fanwire_{name}_total")) - before, expected, "{name}");
    }
    assert_eq!(
        server.metric_sum("fanwire_publish_to_write_seconds_count"),
        if same_shard(&server) { 1.0 } else { 2.0 }
    );
}

/// Whether all members are on one shard: a publication is written once by each shard that has members.
fn same_shard(server: &Server) -> bool {
    (0..2).any(|shard| server.metric(&format!("fanwire_members{{shard=\"{shard}\"}}")) == Some(2.0))
}

#[test]
fn closes_are_counted_by_reason() {
    let server = Server::start(&["--message-bytes-max=200"]);
    // What each client sends, and the code that it gets.
    let cases: [(&[u8], u16); 5] = [
        (&crate::common::frame(0x88, &1000_u16.to_be_bytes()), 1000),
        (&[0x81, 0x01, b'a'], 1002),
        (&crate::common::frame(0x82, b"binary"), 1003),
        (&crate::common::frame(0x81, b"\xff"), 1007),
        (&crate::common::frame(0x81, &[b' '; 201]), 1009),
    ];
    for (bytes, code) in cases {
        let mut client = server.connect();
        client.send_bytes(bytes);
        client.expect_close(code);
    }
    drop(server.connect());
    let expected = counts([
        ("invalid_utf8", 1),
        ("peer_closed", 1),
        ("protocol_error", 1),
        ("too_big", 1),
        ("transport_lost", 1),
        ("unsupported", 1),
    ]);
    eventually("all are counted", || counted(&server, "fanwire_closes_total").values().sum::<u64>() == 6);
    assert_eq!(counted(&server, "fanwire_closes_total"), expected);
    assert_eq!(server.metric_sum("fanwire_protocol_errors_total"), 3.0);
}

#[test]
fn refusals_are_counted_by_kind() {
    let server = Server::start(&["--connections-per-room-max=1"]);
    let (mut a, mut b) = (server.connect(), server.connect());
    a.subscribe("room");
    conversation(
        &mut b,
        r#"
        > {"type":"subscribe","room":"room"}
        < {"type":"error","error":"room is at maximum capacity","timestamp":"*ms"}
        > {"type":"publish","room":"room","data":1}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        > {"type":"publish","room":"room","data":1}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        > {"type":"dance"}
        < {"type":"error","error":"unknown message type","timestamp":"*ms"}
        > dance
        < {"type":"error","error":"invalid JSON format","timestamp":"*ms"}
        "#,
    );
    let expected =
        counts([("invalid_json", 1), ("not_subscribed", 2), ("room_full", 1), ("unknown_type", 1)]);
    assert_eq!(counted(&server, "fanwire_refusals_total"), expected);
}

#[test]
fn failed_handshakes_are_counted_by_reason() {
    let server = Server::start(&["--connections-per-ip-max=1", "--handshake-timeout=1s"]);
    let addr = server.addr();
    let _only = server.connect();
    let host = addr.to_string();
    let status = |path: &str, headers: &[(&str, &str)]| {
        exchange(addr, &Client::handshake(&host, path, headers)).status
    };
    assert_eq!(status("/ws", &[]), 503);
    assert_eq!(status("/ws", &[("Origin", "https://elsewhere.example")]), 403);
    assert_eq!(status("/ws", &[("Sec-WebSocket-Protocol", "fanwire.nothing")]), 400);
    assert_eq!(status("/nothing", &[]), 404);
    assert_eq!(
        request(addr, "GET", "/ws", &[("Upgrade", "websocket"), ("Connection", "Upgrade")], b"").status,
        426
    );
    // Sends nothing at all.
    let mut silent = std::net::TcpStream::connect(addr).unwrap();
    silent.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    std::io::Read::read_to_end(&mut silent, &mut Vec::new()).unwrap();
    let expected = counts([
        ("ip_full", 1),
        ("origin", 1),
        ("path_or_method", 1),
        ("subprotocol", 1),
        ("timeout", 1),
        ("version", 1),
    ]);
    eventually("all are counted", || counted(&server, "fanwire_handshake_failures_total") == expected);
}
