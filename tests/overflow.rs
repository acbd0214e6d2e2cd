//! Rooms that may lose publications lose them only to members that do not keep up, tell each how many it lost, and
//! let answers through.

mod common;

use common::opcode::{FIN, PING, TEXT};
use common::{Client, Json, Server, conversation, eventually, frame};
use serde_json::Value;
use std::collections::BTreeMap;

const RULES: &str = r#"--room-rules=[{"pattern":"ticks:*","overflow":"drop_oldest"},
    {"pattern":"prices:*","overflow":"conflate","conflate_key":"symbol"},
    {"pattern":"latest:*","overflow":"conflate"}]"#;

/// A server with those rules, which is patient with who reads nothing for as long as a busy machine takes.
fn start(flags: &[&str]) -> Server {
    Server::start(&[&[RULES, "--write-wait=10m"], flags].concat())
}

/// A client whose kernel buffers hardly anything.
fn slow_client(server: &Server) -> Client {
    Client::connect_with_buffer(server.addr(), 8192)
}

/// A publication's text, of `bytes` and some.
fn publication(room: &str, number: usize, symbol: &str, bytes: usize) -> String {
    let padding = "x".repeat(bytes);
    format!(
        r#"{{"type":"publish","room":"{room}","data":{{"p":"{padding}","symbol":"{symbol}","n":{number}}}}}"#
    )
}

/// Publishes and reads it back, so that the publisher, a member, keeps up and sees each.
fn publish(publisher: &mut Client, room: &str, number: usize, symbol: &str, bytes: usize) {
    publisher.send_text(&publication(room, number, symbol, bytes));
    publisher.expect_json(|message| {
        assert_eq!((&message["room"], &message["data"]["n"]), (&room.into(), &number.into()));
    });
}

/// What one member heard of one room, publications numbered from 0.
#[derive(Debug, Default)]
struct Heard {
    received: usize,
    lost: usize,
    last: Option<usize>,
    notices: usize,
    by_symbol: BTreeMap<String, usize>,
}

impl Heard {
    /// Takes a message of the room in; the order must be that of publishing.
    fn take(&mut self, message: &Value) {
        if message["type"] == "gap" {
            let lost = message["data"]["lost"].as_u64().unwrap() as usize;
            assert!(lost > 0 && message["timestamp"].is_u64(), "{message}");
            self.lost += lost;
            self.notices += 1;
            return;
        }
        let number = message["data"]["n"].as_u64().unwrap() as usize;
        assert!(self.last < Some(number), "{number} after {:?}", self.last);
        self.last = Some(number);
        self.received += 1;
        self.by_symbol.insert(message["data"]["symbol"].as_str().unwrap().to_owned(), number);
    }

    /// As `take`, and a notice tells exactly what is missing between its neighbours.
    fn take_exactly(&mut self, message: &Value) {
        self.take(message);
        if message["type"] == "message" {
            assert_eq!(self.last, Some(self.received + self.lost - 1), "{self:?}");
        }
    }
}

/// Reads a room up to its publication `last`.
fn hear(client: &mut Client, room: &str, last: usize) -> Heard {
    let mut heard = Heard::default();
    while heard.last != Some(last) {
        client.expect_json(|message| {
            assert_eq!(message["room"], room, "{message}");
            heard.take_exactly(&message);
        });
    }
    heard
}

fn backlog_of(server: &Server, client: &Client) -> Option<Value> {
    let slow = server.get("/v1/slow").json();
    slow["slow"].as_array().unwrap().iter().find(|entry| entry["client_id"] == client.id.as_str()).cloned()
}

fn dropped(server: &Server, reason: &str) -> f64 {
    let by_shard = |shard| {
        server.metric(&format!(r#"fanwire_dropped_frames_total{{shard="{shard}",reason="{reason}"}}"#))
    };
    by_shard(0).unwrap() + by_shard(1).unwrap()
}

#[test]
fn the_oldest_are_dropped_and_the_count_adds_up() {
    const BOUND: u64 = 256 * 1024;
    let server = start(&["--outbox-bytes-max=256KiB"]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    slow.subscribe("ticks:a");
    healthy.subscribe("ticks:a");
    for number in 0..600 {
        publish(&mut healthy, "ticks:a", number, "s", 16 * 1024);
        if number % 50 == 49 {
            assert!(server.metric_sum("fanwire_backlog_bytes") <= BOUND as f64);
        }
    }
    let waiting = backlog_of(&server, &slow).expect("it is blocked");
    assert!(waiting["backlog_bytes"].as_u64().unwrap() <= BOUND, "{waiting}");
    let heard = hear(&mut slow, "ticks:a", 599);
    assert_eq!(heard.received + heard.lost, 600, "{heard:?}");
    assert!(heard.lost > 300 && heard.received >= 14, "{heard:?}");
    assert_eq!(dropped(&server, "drop_oldest"), heard.lost as f64);
    eventually("nothing waits", || server.metric_sum("fanwire_backlog_bytes") == 0.0);
    // It keeps up again, and so loses nothing more.
    for number in 600..620 {
        publish(&mut healthy, "ticks:a", number, "s", 16 * 1024);
        slow.expect_json(|message| assert_eq!(message["data"]["n"], number));
    }
    assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
}

#[test]
fn who_stops_reading_is_told_what_it_lost_and_goes_on() {
    let server = start(&["--outbox-bytes-max=64KiB"]);
    let (mut slow, data) = (slow_client(&server), "x".repeat(8 * 1024));
    slow.subscribe("ticks:a");
    for number in 0..200 {
        let body = format!(r#"{{"room":"ticks:a","data":{{"n":{number},"symbol":"s","p":"{data}"}}}}"#);
        server.post("/v1/publish", &body).expect(200, r#"{"delivered":1}"#);
    }
    let (mut heard, mut notice) = (Heard::default(), String::new());
    while heard.last != Some(199) {
        let text = slow.expect_text();
        heard.take_exactly(&serde_json::from_str(&text).unwrap());
        if text.contains(r#""type":"gap""#) {
            notice = text;
        }
    }
    assert_eq!((heard.notices, heard.received + heard.lost), (1, 200), "{heard:?}");
    let lost = dropped(&server, "drop_oldest");
    assert!(lost > 100.0, "{lost} dropped");
    let told = format!(r#"{{"type":"gap","room":"ticks:a","data":{{"lost":{lost}}},"timestamp":"*ms"}}"#);
    assert_eq!(Json::parse(&notice).differs(&Json::parse(&told)), None, "{notice}");
    conversation(
        &mut slow,
        r#"
        > {"type":"publish","room":"ticks:a","data":200}
        < {"type":"message","room":"ticks:a","data":200,"client_id":"*uuid","timestamp":"*ms"}
        > {"type":"ping"}
        < {"type":"pong","timestamp":"*ms"}
        < nothing
        "#,
    );
}

/// What a client that reads nothing meanwhile gets for rounds of requests: answers in the order of the requests, and
/// of the room what belongs between its `subscribed` and its `unsubscribed`.
fn rounds_without_reading(room: &str) {
    const ROUNDS: usize = 100;
    const PUBLICATIONS: usize = 5;
    let server = start(&["--messages-per-s=0", "--bytes-per-s=0", "--outbox-bytes-max=1MiB"]);
    let mut client = slow_client(&server);
    for round in 0..ROUNDS {
        let number = |at: usize| round * PUBLICATIONS + at;
        let mut texts = vec![format!(r#"{{"type":"subscribe","room":"{room}","id":{round}}}"#)];
        let marked = |text: String| format!(r#"{{"id":{round},{}"#, &text[1..]);
        texts.extend((0..PUBLICATIONS).map(|at| marked(publication(room, number(at), "s", 1024))));
        texts.extend([
            format!(r#"{{"type":"unsubscribe","room":"{room}","id":{round}}}"#),
            format!(r#"{{"type":"ping","id":{round}}}"#),
        ]);
        let frames: Vec<u8> = texts.iter().flat_map(|text| frame(FIN | TEXT, text.as_bytes())).collect();
        client.send_bytes(&frames);
    }
    let mut heard = Heard::default();
    for round in 0..ROUNDS {
        let published = ["published"; PUBLICATIONS];
        let answers = [&["subscribed"], &published[..], &["unsubscribed", "pong"]].concat();
        let mut next = 0;
        while next < answers.len() {
            client.expect_json(|message| match message["type"].as_str().unwrap() {
                "message" | "gap" => {
                    let is_in = (1..PUBLICATIONS + 2).contains(&next);
                    assert!(is_in, "{room}: of a room that it is not in: {message}");
                    heard.take(&message);
                }
                answer => {
                    assert_eq!((answer, &message["id"]), (answers[next], &round.into()), "{room}");
                    next += 1;
                }
            });
            if next == PUBLICATIONS + 2 {
                assert_eq!(heard.received + heard.lost, (round + 1) * PUBLICATIONS, "{room}");
            }
        }
    }
    assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
    assert!(room != "plain" || heard.lost == 0);
}

#[test]
fn what_comes_while_nothing_is_read_keeps_its_order() {
    ["plain", "ticks:a", "prices:x"].into_iter().for_each(rounds_without_reading);
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    const PINGS: usize = 8000;
    let server = start(&[
        "--messages-per-s=0",
        "--bytes-per-s=0",
        "--outbox-bytes-max=8MiB",
        "--outbox-messages-max=100000",
    ]);
    let mut client = slow_client(&server);
    let padding = "x".repeat(100);
    let ping = |number| format!(r#"{{"type":"ping","id":"{padding}{number}"}}"#);
    let frames: Vec<u8> = (0..PINGS).flat_map(|number| frame(FIN | TEXT, ping(number).as_bytes())).collect();
    client.send_bytes(&frames);
    for number in 0..PINGS {
        client.expect_json(|message| {
            assert_eq!(
                (&message["type"], &message["id"]),
                (&"pong".into(), &format!("{padding}{number}").into())
            );
        });
    }
}

#[test]
fn a_reader_that_is_slow_and_not_stopped_is_told_again_and_again() {
    let server = start(&["--outbox-bytes-max=128KiB"]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    slow.subscribe("ticks:a");
    healthy.subscribe("ticks:a");
    let mut heard = Heard::default();
    for number in 0..600 {
        publish(&mut healthy, "ticks:a", number, "s", 16 * 1024);
        if number % 4 == 3 {
            slow.expect_json(|message| heard.take_exactly(&message));
        }
    }
    while heard.last != Some(599) {
        slow.expect_json(|message| heard.take_exactly(&message));
    }
    assert_eq!(heard.received + heard.lost, 600, "{heard:?}");
    assert!(heard.notices > 3, "{heard:?}");
}

#[test]
fn the_newest_of_each_key_waits_and_who_keeps_up_sees_all() {
    let server = start(&[]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    slow.subscribe("prices:x");
    healthy.subscribe("prices:x");
    let symbols = ["A", "B", r"\u0041B", "Ü", "long name"];
    let mut seen = 0;
    for number in 0..2000 {
        publish(&mut healthy, "prices:x", number, symbols[number % 5], 8 * 1024);
        if number % 100 == 99
            && let Some(waiting) = backlog_of(&server, &slow)
        {
            // One of each key, and the one that has begun.
            assert!(waiting["backlog_messages"].as_u64().unwrap() <= 6, "{waiting}");
            seen += 1;
        }
    }
    assert!(seen > 5);
    let mut heard = Heard::default();
    while heard.by_symbol.values().filter(|number| **number >= 1995).count() < 5 {
        slow.expect_json(|message| heard.take(&message));
    }
    assert_eq!(heard.received + heard.lost, 2000, "{heard:?}");
    assert_eq!(dropped(&server, "conflated"), heard.lost as f64);
    assert_eq!(dropped(&server, "drop_oldest"), 0.0);
    // A few publications that fit into its socket: it keeps up, and sees each.
    for number in 2000..2050 {
        publish(&mut healthy, "prices:x", number, "A", 10);
        slow.expect_json(|message| assert_eq!(message["data"]["n"], number));
    }
}

#[test]
fn without_a_key_the_newest_alone_waits() {
    let server = start(&[]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    slow.subscribe("latest:x");
    healthy.subscribe("latest:x");
    for number in 0..1000 {
        publish(&mut healthy, "latest:x", number, "s", 8 * 1024);
    }
    let waiting = backlog_of(&server, &slow).expect("it is blocked");
    assert!(waiting["backlog_messages"].as_u64().unwrap() <= 2, "{waiting}");
    let heard = hear(&mut slow, "latest:x", 999);
    assert_eq!(heard.received + heard.lost, 1000, "{heard:?}");
}

#[test]
fn what_lacks_the_key_is_dropped_only_as_the_oldest() {
    let server = start(&["--outbox-bytes-max=64KiB"]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    slow.subscribe("prices:x");
    healthy.subscribe("prices:x");
    let padding = "x".repeat(8 * 1024);
    for number in 0..1000 {
        let data = format!(r#"{{"n":{number},"p":{{"symbol":"{padding}"}}}}"#);
        healthy.send_text(&format!(r#"{{"type":"publish","room":"prices:x","data":{data}}}"#));
        healthy.expect_json(|message| assert_eq!(message["data"]["n"], number));
    }
    let (mut received, mut lost, mut last) = (0, 0, 0);
    while last != 999 {
        slow.expect_json(|message| {
            last = message["data"]["n"].as_u64().unwrap_or(last);
            received += u64::from(message["type"] == "message");
            lost += message["data"]["lost"].as_u64().unwrap_or(0);
        });
    }
    assert_eq!(received + lost, 1000);
    assert_eq!((dropped(&server, "drop_oldest"), dropped(&server, "conflated")), (lost as f64, 0.0));
}

#[test]
fn other_rooms_lose_nothing() {
    let server = start(&["--outbox-bytes-max=512KiB"]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    for room in ["ticks:a", "ticks:b", "plain"] {
        slow.subscribe(room);
        healthy.subscribe(room);
    }
    for number in 0..600 {
        publish(&mut healthy, "ticks:a", number, "s", 8 * 1024);
        if number % 30 == 0 {
            publish(&mut healthy, "plain", number / 30, "s", 8 * 1024);
            publish(&mut healthy, "ticks:b", number / 30, "s", 100);
        }
    }
    let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
    while heard.get("ticks:a").is_none_or(|a| a.last != Some(599)) {
        slow.expect_json(|message| {
            heard.entry(message["room"].as_str().unwrap().to_owned()).or_default().take_exactly(&message);
        });
    }
    assert_eq!((heard["plain"].received, heard["plain"].lost), (20, 0));
    assert_eq!((heard["ticks:b"].received, heard["ticks:b"].lost), (20, 0));
    assert_eq!(heard["ticks:a"].received + heard["ticks:a"].lost, 600);
    assert!(heard["ticks:a"].lost > 100, "{heard:?}");
}

#[test]
fn answers_and_pongs_do_not_wait_for_publications() {
    for room in ["ticks:a", "plain"] {
        let server = start(&["--outbox-bytes-max=8MiB"]);
        let (mut slow, mut healthy) = (slow_client(&server), server.connect());
        slow.subscribe(room);
        healthy.subscribe(room);
        for number in 0..1000 {
            publish(&mut healthy, room, number, "s", 4 * 1024);
        }
        assert!(backlog_of(&server, &slow).expect("it is blocked")["backlog_messages"].as_u64() > Some(200));
        let before = server.metric_sum("fanwire_frames_in_total");
        slow.send_frame(FIN | PING, b"are you there");
        for request in
            [r#"{"type":"ping","id":1}"#, r#"{"type":"subscribe","room":"other","id":2}"#, "no JSON"]
        {
            slow.send_text(request);
        }
        eventually("the requests are read", || server.metric_sum("fanwire_frames_in_total") >= before + 4.0);
        let (mut heard, mut answers, mut after) = (Heard::default(), Vec::new(), 0);
        while heard.last != Some(999) {
            let frame = slow.read_frame().expect("it is open");
            if frame.head == 0x8A {
                assert_eq!(frame.payload, b"are you there");
                answers.push("PONG".to_owned());
                continue;
            }
            let message: Value = serde_json::from_slice(&frame.payload).unwrap();
            if message["type"] == "message" {
                heard.take_exactly(&message);
                after += usize::from(answers.len() == 4);
            } else {
                answers.push(message["type"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(answers, ["PONG", "pong", "subscribed", "error"]);
        // All but what was in the kernel already.
        assert!(after > 200, "{after} publications after the answers");
        assert_eq!((heard.received, heard.lost), (1000, 0));
    }
}

#[test]
fn a_close_does_not_wait_for_publications() {
    let server = start(&[]);
    let (mut slow, mut healthy) = (slow_client(&server), server.connect());
    slow.subscribe("ticks:a");
    healthy.subscribe("ticks:a");
    for number in 0..400 {
        publish(&mut healthy, "ticks:a", number, "s", 16 * 1024);
    }
    slow.send_frame(FIN | common::opcode::CLOSE, &1000_u16.to_be_bytes());
    let mut last = 0;
    loop {
        let frame = slow.read_frame().expect("a close frame comes before the end");
        if frame.head == 0x88 {
            break;
        }
        let message: Value = serde_json::from_slice(&frame.payload).unwrap();
        last = message["data"]["n"].as_u64().unwrap_or(last);
    }
    assert!(last < 350, "what waited is not sent before it: {last}");
}

#[test]
fn nothing_of_a_room_comes_after_unsubscribed() {
    for room in ["ticks:a", "prices:x", "plain"] {
        let server = start(&["--outbox-bytes-max=2MiB", "--outbox-messages-max=300"]);
        let (mut slow, mut healthy) = (slow_client(&server), server.connect());
        for room in [room, "ticks:other"] {
            slow.subscribe(room);
            healthy.subscribe(room);
        }
        let count = 200;
        for number in 0..count {
            publish(&mut healthy, room, number, ["A", "B"][number % 2], 8 * 1024);
            publish(&mut healthy, "ticks:other", number, "s", 100);
        }
        let before = server.metric_sum("fanwire_frames_in_total");
        slow.send_text(&format!(r#"{{"type":"unsubscribe","room":"{room}"}}"#));
        slow.send_text(&format!(r#"{{"type":"subscribe","room":"{room}"}}"#));
        eventually("both are read", || server.metric_sum("fanwire_frames_in_total") >= before + 2.0);
        publish(&mut healthy, room, count, "A", 10);
        let (mut heard, mut other, mut answers) = (Heard::default(), Heard::default(), 0);
        while other.last != Some(count - 1) || heard.last != Some(count) {
            slow.expect_json(|message| match (message["type"].as_str().unwrap(), answers) {
                ("unsubscribed", 0) => {
                    assert_eq!(heard.received + heard.lost, count, "{room}: {heard:?}");
                    answers = 1;
                }
                ("subscribed", 1) => answers = 2,
                _ if message["room"] == "ticks:other" => other.take_exactly(&message),
                _ => heard.take(&message),
            });
        }
        assert_eq!((answers, heard.received + heard.lost), (2, count + 1), "{room}");
        assert_eq!(other.received + other.lost, count, "{room}");
        if room == "plain" {
            assert_eq!(heard.lost, 0);
        }
    }
}

#[test]
fn who_has_no_place_for_a_single_one_is_closed() {
    let server = start(&["--outbox-bytes-max=16KiB"]);
    let mut slow = slow_client(&server);
    slow.subscribe("ticks:a");
    let publish = |bytes: usize| {
        let data = "x".repeat(bytes);
        server.post("/v1/publish", &format!(r#"{{"room":"ticks:a","data":"{data}"}}"#)).json()["delivered"]
            == 1
    };
    // Each fits beside the rest of one that has begun.
    for _ in 0..600 {
        assert!(publish(6 * 1024));
    }
    assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
    // What the kernel takes a part of is no more than the outbox holds; what it takes nothing of is.
    eventually("it is closed", || !publish(20 * 1024));
    slow.read_until_close(4430, |_| {});
    assert_eq!(server.metric_sum("fanwire_closes_total"), 1.0);
}

#[test]
fn the_nodes_bound_closes_nobody_who_may_lose_some() {
    const BOUND: f64 = 1024.0 * 1024.0;
    let server = start(&["--outboxes-bytes-max=1MiB", "--outbox-bytes-max=600KiB"]);
    let mut slow: Vec<_> = (0..6).map(|_| slow_client(&server)).collect();
    let mut healthy = server.connect();
    healthy.subscribe("ticks:a");
    slow.iter_mut().for_each(|slow| slow.subscribe("ticks:a"));
    for number in 0..600 {
        publish(&mut healthy, "ticks:a", number, "s", 8 * 1024);
        if number % 20 == 19 {
            assert!(server.metric_sum("fanwire_backlog_bytes") <= BOUND);
        }
    }
    // Answers find a place as well.
    for slow in &mut slow {
        slow.send_text(r#"{"type":"ping"}"#);
    }
    let before = |slow: &mut Client| {
        let (mut heard, mut pongs) = (Heard::default(), 0);
        while heard.last != Some(599) {
            slow.expect_json(|message| match message["type"].as_str() {
                Some("pong") => pongs += 1,
                _ => heard.take_exactly(&message),
            });
        }
        assert_eq!((heard.received + heard.lost, pongs), (600, 1), "{heard:?}");
        heard.lost
    };
    let lost: usize = slow.iter_mut().map(before).sum();
    assert_eq!(dropped(&server, "drop_oldest"), lost as f64);
    assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
}

#[test]
fn publications_over_http_are_lost_by_the_same_rules() {
    let server = start(&[]);
    let mut slow = slow_client(&server);
    slow.subscribe("prices:x");
    let padding = "x".repeat(8 * 1024);
    for number in 0..600 {
        let data = format!(r#"{{"n":{number},"symbol":"s","p":"{padding}"}}"#);
        let answer = server.post("/v1/publish", &format!(r#"{{"room":"prices:x","data":{data}}}"#));
        answer.expect(200, r#"{"delivered":1}"#);
    }
    let heard = hear(&mut slow, "prices:x", 599);
    assert_eq!(heard.received + heard.lost, 600, "{heard:?}");
    assert!(heard.lost > 100, "{heard:?}");
}
