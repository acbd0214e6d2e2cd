//! Every bound a peer can meet ends in a clear word to that peer and harms nobody else.

use crate::common::opcode::{FIN, PONG};
use crate::common::{Client, Server, conversation, eventually, exchange};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn upgrade(server: &Server) -> crate::common::Response {
    exchange(server.addr(), &Client::handshake(&server.addr().to_string(), "/ws", &[]))
}

/// Publishes `count` messages of 32 KiB to `room` and reads each back before the next, so that `publisher` itself is
/// never slow.
fn flood(publisher: &mut Client, room: &str, count: usize) {
    let padding = "x".repeat(32 * 1024);
    for number in 0..count {
        publisher.send_text(&format!(
            r#"{{"type":"publish","room":"{room}","data":{{"n":{number},"p":"{padding}"}}}}"#
        ));
        publisher.expect_json(|message| assert_eq!(message["data"]["n"], number));
    }
}

#[test]
fn a_full_node_refuses_the_upgrade_and_says_when_to_come_again() {
    let server = Server::start(&["--connections-max", "2"]);
    let first = server.connect();
    let _second = server.connect();
    let refusal = upgrade(&server);
    assert_eq!(refusal.status, 503);
    assert!(refusal.body.contains("server is at maximum capacity"), "{}", refusal.body);
    let seconds: u32 = refusal.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(seconds > 0);
    // The API and the health check are no connections in this sense.
    assert_eq!(server.get("/health").body, r#"{"status":"healthy","clients":2,"rooms":0}"#);
    drop(first);
    eventually("the place is free again", || server.get("/health").body.contains("\"clients\":1"));
    server.connect();
}

#[test]
fn a_full_room_refuses_to_be_joined() {
    let server = Server::start(&["--connections-per-room-max", "2"]);
    let (mut a, mut b, mut c) = (server.connect(), server.connect(), server.connect());
    a.subscribe("small");
    b.subscribe("small");
    conversation(
        &mut c,
        r#"
        > {"type":"subscribe","room":"small"}
        < {"type":"error","error":"room is at maximum capacity","timestamp":"*ms"}
        > {"type":"publish","room":"small","data":1}
        < {"type":"error","error":"not subscribed to this room","timestamp":"*ms"}
        > {"type":"subscribe","room":"other"}
        < {"type":"subscribed","room":"other","data":{"room":"other","client_count":1},"timestamp":"*ms"}
        "#,
    );
    // A member that asks again is a member already.
    a.subscribe("small");
    conversation(
        &mut b,
        r#"
        > {"type":"unsubscribe","room":"small"}
        < {"type":"unsubscribed","room":"small","data":{"room":"small"},"timestamp":"*ms"}
        "#,
    );
    c.subscribe("small");
}

#[test]
fn one_connection_may_be_in_so_many_rooms() {
    let server = Server::start(&["--rooms-per-connection-max", "2"]);
    let mut client = server.connect();
    client.subscribe("one");
    client.subscribe("two");
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","room":"three"}
        < {"type":"error","error":"too many rooms for one connection","timestamp":"*ms"}
        > {"type":"unsubscribe","room":"one"}
        < {"type":"unsubscribed","room":"one","data":{"room":"one"},"timestamp":"*ms"}
        "#,
    );
    client.subscribe("three");
}

#[test]
fn one_address_may_have_so_many_connections() {
    let server = Server::start(&["--connections-per-ip-max", "2"]);
    let first = server.connect();
    let _second = server.connect();
    let refusal = upgrade(&server);
    assert_eq!(refusal.status, 503, "{}", refusal.body);
    assert!(refusal.header("retry-after").is_some());
    drop(first);
    eventually("the place is free again", || server.get("/health").body.contains("\"clients\":1"));
    server.connect();
}

#[test]
fn who_sends_too_fast_is_told() {
    let server = Server::start(&["--messages-per-s", "1", "--messages-burst", "3"]);
    let (mut fast, mut other) = (server.connect(), server.connect());
    for _ in 0..3 {
        conversation(
            &mut fast,
            r#"
            > {"type":"ping"}
            < {"type":"pong","timestamp":"*ms"}
            "#,
        );
    }
    fast.send_text(r#"{"type":"ping"}"#);
    fast.expect_json(|answer| assert_eq!(answer["error"], "rate limit exceeded"));
    // The limit is each connection's own.
    conversation(
        &mut other,
        r#"
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*ms"}
        "#,
    );
    // Time heals: one message per second.
    let taken = (0..5).any(|_| {
        std::thread::sleep(Duration::from_millis(1100));
        fast.send_text(r#"{"type":"ping"}"#);
        fast.expect_json(|answer| answer["type"] == "pong")
    });
    assert!(taken, "nothing is taken any more");
}

#[test]
fn a_slow_consumer_is_closed_and_a_healthy_one_loses_nothing() {
    let server = Server::start(&["--outbox-bytes-max", "262144", "--messages-per-s", "0"]);
    let mut slow = Client::connect_with_buffer(server.addr(), 8192, "/ws", &[]);
    slow.subscribe("flood");
    let mut healthy = server.connect();
    healthy.subscribe("flood");
    // What the kernel may hold at its default settings is 4 MiB at the sender; this is three times that.
    flood(&mut healthy, "flood", 400);
    let mut heard = 0;
    let reason = slow.read_until_close(4430, |text| {
        let message: serde_json::Value = serde_json::from_str(text).unwrap();
        // Without a hole up to the end.
        assert_eq!(message["data"]["n"], heard);
        heard += 1;
    });
    assert!(heard < 400);
    assert!(reason.contains("slow consumer"), "{reason}");
    let metrics = server.get("/metrics").body;
    let counted = metrics.lines().any(|line| {
        line.contains("slow_consumer") && !line.starts_with('#') && line.rsplit(' ').next() == Some("1")
    });
    assert!(counted, "{metrics}");
    flood(&mut healthy, "flood", 2);
}

#[test]
fn a_reader_that_pauses_within_its_bound_gets_everything() {
    let server = Server::start(&[
        "--outbox-bytes-max",
        "67108864",
        "--outbox-messages-max",
        "100000",
        "--outboxes-bytes-max",
        "268435456",
        "--write-wait",
        "60s",
        "--messages-per-s",
        "0",
    ]);
    let mut slow = Client::connect_with_buffer(server.addr(), 8192, "/ws", &[]);
    slow.subscribe("flood");
    let mut publisher = server.connect();
    publisher.subscribe("flood");
    flood(&mut publisher, "flood", 400);
    // While it does not read, it is shown to those who ask.
    let shown = server.get("/v1/slow");
    assert!(shown.body.contains(&slow.id), "{}", shown.body);
    assert!(!shown.body.contains(&publisher.id), "{}", shown.body);
    for number in 0..400 {
        slow.expect_json(|message| assert_eq!(message["data"]["n"], number));
    }
    eventually("it is slow no more", || !server.get("/v1/slow").body.contains(&slow.id));
}

#[test]
fn who_answers_no_ping_is_closed() {
    let server = Server::start(&["--ping-interval", "1s", "--pong-wait", "2s"]);
    let start = Instant::now();
    let (mut silent, mut alive) = (server.connect(), server.connect());
    // Reads pings and answers none.
    let silent = std::thread::spawn(move || silent.read_until_close(4408, |_| {}));
    for _ in 0..4 {
        let frame = alive.read_frame().expect("who answers stays");
        assert_eq!(frame.head, 0x89, "a ping");
        alive.send_frame(FIN | PONG, &frame.payload);
    }
    assert!(start.elapsed() >= Duration::from_secs(2), "four pings, one a second: {:?}", start.elapsed());
    assert!(!silent.join().unwrap().is_empty(), "the reason says what to do");
}

#[test]
fn who_says_nothing_is_closed_after_the_idle_timeout() {
    let server = Server::start(&["--idle-timeout", "2s"]);
    let start = Instant::now();
    let mut client = server.connect();
    let told = client.read_until_close(4408, |_| {});
    assert!(start.elapsed() >= Duration::from_millis(1500), "{:?}", start.elapsed());
    assert_eq!(told, "idle for too long: send a message or a ping now and then");
}

#[test]
fn who_pings_is_not_idle() {
    let server = Server::start(&["--idle-timeout", "2s"]);
    let mut client = server.connect();
    let begin = Instant::now();
    let mut pings = 0_u32;
    // Twice the timeout, with nothing but pings.
    while begin.elapsed() < Duration::from_secs(4) {
        client.send_frame(0x89, b"");
        pings += 1;
        assert_eq!(client.read_frame().map(|frame| frame.head), Some(0x8a));
        client.expect_nothing(Duration::from_millis(400));
    }
    assert!(pings >= 5, "{pings}");
    client.read_until_close(4408, |_| {});
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    use std::io::{Read, Write};
    let server = Server::start(&["--handshake-timeout", "1s"]);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"GET /ws HTTP/1.1\r\nHost: ").unwrap();
    stream.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
}
