//! Rooms that remember: one order for all, recovery of what was missed, last values, reads over HTTP, bounds.

mod common;

use common::{Client, SILENCE, Server, conversation, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Rooms `h:*` have a history of 1000 messages, `v:*` a last value, `hv:*` both; others neither.
const RULES: &str = r#"--room-rules=[
    {"pattern":"h:*","history_messages":1000},
    {"pattern":"v:*","last_value":true},
    {"pattern":"hv:*","history_messages":3,"last_value":true},
    {"pattern":"few:*","history_messages":3},
    {"pattern":"short:*","history_messages":1000,"history_ttl":"1s"},
    {"pattern":"small:*","history_messages":1000,"history_bytes":"1KiB"}
]"#;

fn server() -> Server {
    Server::start(&["--shards=4", RULES])
}

/// A place in a room's order.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    epoch: String,
    offset: u64,
}

/// Joins; where the order stands.
fn join(client: &mut Client, room: &str) -> Seen {
    client.send_text(&json!({"type": "subscribe", "room": room}).to_string());
    let (seen, recovered) = joined(client);
    assert_eq!(recovered, None);
    seen
}

/// Joins and asks for what was missed; where the order stands and whether it could be told.
fn recover(client: &mut Client, room: &str, seen: &Seen) -> (Seen, bool) {
    let recover = json!({"epoch": seen.epoch, "offset": seen.offset});
    client.send_text(&json!({"type": "subscribe", "room": room, "recover": recover}).to_string());
    let (seen, recovered) = joined(client);
    (seen, recovered.expect("recovery was asked"))
}

fn joined(client: &mut Client) -> (Seen, Option<bool>) {
    client.expect_json(|answer| {
        assert_eq!(answer["type"], "subscribed", "{answer}");
        let data = &answer["data"];
        let epoch = data["epoch"].as_str().unwrap_or_default().to_owned();
        let seen = Seen { epoch, offset: data["offset"].as_u64().unwrap_or_default() };
        (seen, data.get("recovered").map(|recovered| recovered.as_bool().unwrap()))
    })
}

/// Publishes by the API; the offset.
fn publish(server: &Server, room: &str, data: &Value) -> u64 {
    let answer = server.post("/v1/publish", &json!({"room": room, "data": data}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["offset"].as_u64().unwrap_or_default()
}

/// The next message: its offset and data.
fn next(client: &mut Client) -> (u64, Value) {
    client.expect_json(|message| {
        assert_eq!(message["type"], "message", "{message}");
        (message["offset"].as_u64().unwrap_or_default(), message["data"].clone())
    })
}

/// The messages that a history keeps: their offsets.
fn kept(server: &Server, room: &str, query: &str) -> Vec<u64> {
    let answer = server.get(&format!("/v1/rooms/{room}/messages{query}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let page = answer.json();
    let messages = page["messages"].as_array().unwrap().iter();
    messages.map(|message| message["offset"].as_u64().unwrap()).collect()
}

#[test]
fn messages_have_offsets_and_answers_tell_them() {
    let server = server();
    let mut client = server.connect();
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","room":"h:1","id":1}
        < {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":1,"epoch":"*","offset":0},"id":1,"timestamp":"*ms"}
        > {"type":"publish","room":"h:1","data":{"a": 1}}
        < {"type":"message","room":"h:1","data":{"a":1},"client_id":"*uuid","offset":1,"timestamp":"*ms"}
        > {"type":"publish","room":"h:1","data":2,"id":"q"}
        < {"type":"published","room":"h:1","offset":2,"id":"q","timestamp":"*ms"}
        < {"type":"message","room":"h:1","data":2,"client_id":"*uuid","offset":2,"timestamp":"*ms"}
        > {"type":"subscribe","room":"h:1"}
        < {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":1,"epoch":"*","offset":2},"timestamp":"*ms"}
        > {"type":"unsubscribe","room":"h:1"}
        < {"type":"unsubscribed","room":"h:1","data":{"room":"h:1"},"timestamp":"*ms"}
        "#,
    );
    server
        .post("/v1/publish", r#"{"room":"h:1","data":3}"#)
        .expect(200, r#"{"delivered":0,"offset":3,"epoch":"*"}"#);
    // A room without history stays as the document has it.
    conversation(
        &mut client,
        r#"
        > {"type":"subscribe","room":"plain"}
        < {"type":"subscribed","room":"plain","data":{"room":"plain","client_count":1},"timestamp":"*ms"}
        > {"type":"publish","room":"plain","data":1}
        < {"type":"message","room":"plain","data":1,"client_id":"*uuid","timestamp":"*ms"}
        "#,
    );
    server.post("/v1/publish", r#"{"room":"plain","data":3}"#).expect(200, r#"{"delivered":1}"#);
}

#[test]
fn all_members_see_one_order_under_many_publishers() {
    const PUBLISHERS: u64 = 6;
    const EACH: u64 = 300;
    let server = server();
    let mut members: Vec<_> = (0..16).map(|_| server.connect()).collect();
    for member in &mut members {
        join(member, "h:1");
    }
    let spread =
        (0..4).filter(|shard| server.metric(&format!("fanwire_members{{shard=\"{shard}\"}}")) > Some(0.0));
    assert!(spread.count() > 1, "the members are on several shards");
    let orders: Vec<Vec<Value>> = thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let server = &server;
            scope.spawn(move || {
                if publisher == 0 {
                    for number in 0..EACH {
                        publish(server, "h:1", &json!([publisher, number]));
                    }
                    return;
                }
                let mut client = server.connect();
                join(&mut client, "h:1");
                for number in 0..EACH {
                    let data = json!([publisher, number]);
                    client.send_text(&json!({"type": "publish", "room": "h:1", "data": data}).to_string());
                }
                // Its own come back in the order in which they were sent.
                let mut own = 0;
                while own < EACH {
                    let (_, data) = next(&mut client);
                    if data[0] == publisher {
                        assert_eq!(data[1], own);
                        own += 1;
                    }
                }
            });
        }
        let readers: Vec<_> = members
            .iter_mut()
            .map(|member| {
                scope.spawn(move || {
                    let read = |offset| {
                        let (got, data) = next(member);
                        assert_eq!(got, offset, "no gap and nothing twice");
                        data
                    };
                    (1..=PUBLISHERS * EACH).map(read).collect()
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(orders.iter().all(|order| *order == orders[0]), "one order for all");
    for publisher in 0..PUBLISHERS {
        let numbers = orders[0].iter().filter(|data| data[0] == publisher).map(|data| data[1].as_u64());
        assert!(numbers.eq((0..EACH).map(Some)), "each publisher's own order");
    }
}

#[test]
fn who_comes_back_gets_exactly_what_was_missed() {
    const ROUNDS: usize = 40;
    let server = server();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let publishers: Vec<_> = (0..3)
            .map(|_| {
                let (server, stop) = (&server, &stop);
                scope.spawn(move || {
                    let mut client = server.connect();
                    join(&mut client, "h:1");
                    let (own, mut number) = (client.id.clone(), 0);
                    while !stop.load(Ordering::Relaxed) {
                        client.send_text(&json!({"type":"publish","room":"h:1","data":number}).to_string());
                        number += 1;
                        // At the pace at which it hears itself, so that nobody becomes a slow consumer.
                        while client.expect_json(|message| message["client_id"] != own.as_str()) {}
                    }
                })
            })
            .collect();
        let travellers: Vec<_> = (0..3_usize)
            .map(|traveller| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect();
                    let mut seen = join(&mut client, "h:1");
                    let mut replayed = 0;
                    for round in 0..ROUNDS {
                        for _ in 0..(round * 7 + traveller) % 20 {
                            let (offset, _) = next(&mut client);
                            assert_eq!(offset, seen.offset + 1);
                            seen.offset = offset;
                        }
                        // The end of a connection loses what was on its way: that is what recovery is for.
                        drop(client);
                        thread::sleep(Duration::from_millis((round as u64 * 3) % 10));
                        client = server.connect();
                        let (now, recovered) = recover(&mut client, "h:1", &seen);
                        assert!(recovered, "missed {} to {}", seen.offset, now.offset);
                        assert_eq!(now.epoch, seen.epoch);
                        for offset in seen.offset + 1..=now.offset {
                            assert_eq!(next(&mut client).0, offset);
                            replayed += 1;
                        }
                        seen = now;
                    }
                    replayed
                })
            })
            .collect();
        let replayed: Vec<u64> = travellers.into_iter().map(|it| it.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        publishers.into_iter().for_each(|it| it.join().unwrap());
        assert!(replayed.iter().all(|count| *count > 0), "{replayed:?}");
    });
}

#[test]
fn replayed_messages_are_as_they_were() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    let seen = join(&mut a, "h:1");
    join(&mut b, "h:1");
    b.send_text(r#"{"type":"publish","room":"h:1","data":{ "z":1.0, "a":"\u00e9" }}"#);
    b.send_text(r#"{"type":"publish","room":"h:1"}"#);
    let live = [a.expect_text(), a.expect_text()];
    let answer = server.post("/v1/publish", r#"{"room":"h:1","event":"note","data":null}"#);
    assert_eq!(answer.json()["epoch"], seen.epoch.as_str());
    let live = [&live[0], &live[1], &a.expect_text()].map(String::clone);
    assert!(live[2].starts_with(r#"{"type":"note","room":"h:1","data":null,"offset":3,"timestamp":"#));
    drop(a);
    thread::sleep(Duration::from_millis(5));
    let mut c = server.connect();
    let (now, recovered) = recover(&mut c, "h:1", &seen);
    assert_eq!((now.offset, recovered), (3, true));
    assert_eq!([c.expect_text(), c.expect_text(), c.expect_text()], live);
    c.expect_nothing(SILENCE);
    let (_, recovered) = recover(&mut c, "h:1", &now);
    assert!(recovered, "nothing was missed");
    c.expect_nothing(SILENCE);
    // A member may ask again: what follows the answer is what it says that it has not seen.
    let (_, recovered) = recover(&mut c, "h:1", &Seen { offset: 2, ..now });
    assert!(recovered);
    assert_eq!(c.expect_text(), live[2]);
    publish(&server, "h:1", &json!(4));
    assert_eq!(next(&mut c), (4, json!(4)));
}

#[test]
fn what_cannot_be_recovered_is_said_and_only_live_follows() {
    let server = server();
    let mut client = server.connect();
    let seen = join(&mut client, "few:1");
    for number in 1..=5 {
        assert_eq!(publish(&server, "few:1", &json!(number)), number);
        assert_eq!(next(&mut client).0, number);
    }
    let at = |epoch: &str, offset| Seen { epoch: epoch.to_owned(), offset };
    for (seen, fine) in [
        (at(&seen.epoch, 5), true),
        (at(&seen.epoch, 2), true),
        (at(&seen.epoch, 1), false),
        (at(&seen.epoch, 6), false),
        (at(&seen.epoch, u64::MAX), false),
        (at("0000000000000000", 5), false),
        (at("", 5), false),
        (at("no epoch \u{0}", 5), false),
    ] {
        let mut client = server.connect();
        let (now, recovered) = recover(&mut client, "few:1", &seen);
        assert_eq!((recovered, now.offset), (fine, 5), "{seen:?}");
        let replayed = if fine { 5 - seen.offset } else { 0 };
        for offset in 6 - replayed..6 {
            assert_eq!(next(&mut client).0, offset, "{seen:?}");
        }
        client.expect_nothing(SILENCE / 4);
    }
    let mut other = server.connect();
    assert!(!recover(&mut other, "few:1", &at(&seen.epoch, 0)).1);
    publish(&server, "few:1", &json!(6));
    assert_eq!(next(&mut other), (6, json!(6)), "live");
    // A room without history cannot recover anything, and says no more than that.
    other.send_text(r#"{"type":"subscribe","room":"plain","recover":{"epoch":"e","offset":0}}"#);
    other.expect(
        r#"{"type":"subscribed","room":"plain","data":{"room":"plain","client_count":1,"recovered":false},"timestamp":"*ms"}"#,
    );
}

#[test]
fn a_recover_of_a_wrong_shape_is_no_request() {
    let server = server();
    let mut client = server.connect();
    for wrong in [
        "1",
        "true",
        r#""e""#,
        "[]",
        r#"["e",1]"#,
        "{}",
        r#"{"epoch":"e"}"#,
        r#"{"offset":1}"#,
        r#"{"epoch":1,"offset":1}"#,
        r#"{"epoch":null,"offset":1}"#,
        r#"{"epoch":"e","offset":"1"}"#,
        r#"{"epoch":"e","offset":-1}"#,
        r#"{"epoch":"e","offset":1.5}"#,
        r#"{"epoch":"e","offset":18446744073709551616}"#,
        r#"{"epoch":"e","offset":null}"#,
        r#"{"epoch":"e","offset":1,"offset":2}"#,
    ] {
        client.send_text(&format!(r#"{{"type":"subscribe","room":"h:1","recover":{wrong},"id":7}}"#));
        client.expect(r#"{"type":"error","error":"invalid JSON format","id":7,"timestamp":"*ms"}"#);
    }
    assert_eq!(server.get("/v1/rooms/h:1").status, 404, "nobody has joined");
    // Elsewhere it is a field like any other; null asks for nothing.
    conversation(
        &mut client,
        r#"
        > {"type":"ping","recover":1}
        < {"type":"pong","timestamp":"*ms"}
        > {"type":"subscribe","room":"h:1","recover":null}
        < {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":1,"epoch":"*","offset":0},"timestamp":"*ms"}
        "#,
    );
}

#[test]
fn histories_are_bounded_by_count_age_and_bytes() {
    let server = server();
    for number in 1..=5 {
        publish(&server, "few:1", &json!(number));
    }
    assert_eq!(kept(&server, "few:1", ""), [3, 4, 5]);
    let began = Instant::now();
    publish(&server, "short:1", &json!(1));
    if began.elapsed() < Duration::from_millis(500) {
        assert_eq!(kept(&server, "short:1", ""), [1]);
    }
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(server.get("/v1/rooms/short:1/messages").json()["messages"], json!([]));
    let padding = "x".repeat(200);
    for _ in 0..20 {
        publish(&server, "small:1", &json!(padding));
    }
    let offsets = kept(&server, "small:1", "");
    assert!((2..=5).contains(&offsets.len()) && offsets.last() == Some(&20), "{offsets:?}");
    publish(&server, "small:1", &json!("x".repeat(2000)));
    let info = server.get("/v1/rooms/small:1").json();
    assert_eq!((&info["history"]["messages"], &info["history"]["offset"]), (&json!(0), &json!(21)), "{info}");
    // Of the room whose messages are too old nothing is left once nobody has used it for that long.
    eventually("it is forgotten", || {
        thread::sleep(Duration::from_millis(1500));
        server.get("/v1/rooms/short:1").status == 404
    });
}

#[test]
fn a_history_outlives_its_last_member() {
    let server = server();
    let mut client = server.connect();
    let seen = join(&mut client, "h:1");
    drop(client);
    eventually("the member is gone", || server.get("/health").json()["clients"] == 0);
    assert_eq!(server.get("/health").json()["rooms"], 0);
    assert_eq!(server.get("/v1/rooms").json()["rooms"], json!([]));
    let info = server.get("/v1/rooms/h:1").json();
    assert_eq!((&info["members"], &info["history"]["epoch"]), (&json!(0), &json!(seen.epoch)));
    publish(&server, "h:1", &json!("while nobody was there"));
    let mut client = server.connect();
    let (_, recovered) = recover(&mut client, "h:1", &seen);
    assert!(recovered);
    assert_eq!(next(&mut client), (1, json!("while nobody was there")));
}

#[test]
fn the_last_value_follows_the_answer() {
    let server = server();
    let mut client = server.connect();
    client.subscribe("v:1");
    client.expect_nothing(SILENCE / 4);
    server.post("/v1/publish", r#"{"room":"v:1","data":1}"#).expect(200, r#"{"delivered":1}"#);
    client.send_text(r#"{"type":"publish","room":"v:1","data":2}"#);
    client.expect(r#"{"type":"message","room":"v:1","data":1,"timestamp":"*ms"}"#);
    let live = client.expect_text();
    for _ in 0..2 {
        // Also where nobody has been there in between.
        let mut other = server.connect();
        other.subscribe("v:1");
        assert_eq!(other.expect_text(), live);
        other.expect_nothing(SILENCE / 4);
        other.subscribe("v:1");
        other.expect_nothing(SILENCE / 4);
        client.send_text(r#"{"type":"unsubscribe","room":"v:1"}"#);
        while !client.expect_text().contains("unsubscribed") {}
        drop(other);
        eventually("nobody is there", || server.get("/v1/rooms").json()["rooms"] == json!([]));
    }
    assert_eq!(server.get("/v1/rooms/v:1/messages").status, 404, "that is no history");
    // With a history as well: after the answer without recovery, and not where recovery was asked.
    let seen = join(&mut client, "hv:1");
    for number in 1..=5 {
        publish(&server, "hv:1", &json!(number));
    }
    let mut other = server.connect();
    assert_eq!(join(&mut other, "hv:1").offset, 5);
    assert_eq!(next(&mut other), (5, json!(5)));
    other.expect_nothing(SILENCE / 4);
    let mut other = server.connect();
    assert!(!recover(&mut other, "hv:1", &seen).1);
    other.expect_nothing(SILENCE / 4);
}

#[test]
fn a_snapshot_and_what_follows_have_no_gap() {
    let server = server();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = server.connect();
            client.subscribe("v:1");
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                client.send_text(&json!({"type":"publish","room":"v:1","data":number}).to_string());
                assert_eq!(next(&mut client).1, number);
                number += 1;
            }
        });
        for _ in 0..100 {
            let mut client = server.connect();
            client.subscribe("v:1");
            let first = next(&mut client).1.as_u64().unwrap();
            for number in first + 1..first + 5 {
                assert_eq!(next(&mut client).1, number);
            }
        }
        stop.store(true, Ordering::Relaxed);
        publisher.join().unwrap();
    });
}

#[test]
fn histories_are_read_over_http() {
    let server = server();
    let mut client = server.connect();
    let seen = join(&mut client, "h:a b");
    client.send_text(r#"{"type":"publish","room":"h:a b","data":{ "n" : 1.0 }}"#);
    client.expect_text();
    for number in 2..=10 {
        publish(&server, "h:a b", &json!(number));
    }
    let page = server.get("/v1/rooms/h:a%20b/messages?offset=0&limit=2");
    page.expect(
        200,
        &format!(
            r#"{{"room":"h:a b","epoch":"{}","offset":10,"messages":[
            {{"offset":1,"event":"message","data":{{"n":1.0}},"client_id":"{}","timestamp":"*ms"}},
            {{"offset":2,"event":"message","data":2,"timestamp":"*ms"}}]}}"#,
            seen.epoch, client.id
        ),
    );
    assert!(page.body.contains(r#""data":{ "n" : 1.0 },"#), "{}", page.body);
    for (query, offsets) in [
        ("", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..]),
        ("?limit=3", &[8, 9, 10]),
        ("?offset=8", &[9, 10]),
        ("?offset=3&limit=2", &[4, 5]),
        ("?offset=10", &[]),
        ("?offset=99999", &[]),
    ] {
        assert_eq!(kept(&server, "h:a%20b", query), offsets, "{query}");
    }
    let info = server.get("/v1/rooms/h:a%20b").json();
    assert_eq!(info["history"]["messages"], 10, "{info}");
    for path in ["plain", "nobody", "h:nobody"] {
        client.subscribe("plain");
        assert_eq!(server.get(&format!("/v1/rooms/{path}/messages")).status, 404, "{path}");
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?offset=-1", "?offset=x", "?after=1"] {
        assert_eq!(server.get(&format!("/v1/rooms/h:a%20b/messages{query}")).status, 400, "{query}");
    }
}

#[test]
fn a_page_is_bounded_in_bytes() {
    let server = server();
    let large = json!("x".repeat(300_000));
    for _ in 0..3 {
        publish(&server, "h:1", &large);
    }
    let small =
        Server::start(&[r#"--room-rules=[{"pattern":"**","history_messages":9,"history_bytes":"8MiB"}]"#]);
    for _ in 0..8 {
        publish(&small, "r", &large);
    }
    assert_eq!(kept(&small, "r", "?offset=0"), [1, 2, 3]);
    assert_eq!(kept(&small, "r", "?offset=3"), [4, 5, 6]);
    assert_eq!(kept(&small, "r", ""), [6, 7, 8]);
}

#[test]
fn a_replay_that_does_not_fit_the_outbox_is_refused() {
    let server =
        Server::start(&["--shards=1", "--outbox-bytes-max=64KiB", "--outbox-messages-max=100", RULES]);
    let mut client = server.connect();
    let seen = join(&mut client, "h:1");
    let data = json!("x".repeat(1000));
    for _ in 0..70 {
        publish(&server, "h:1", &data);
        next(&mut client);
    }
    let at = |offset| Seen { offset, ..seen.clone() };
    let mut other = server.connect();
    assert_eq!(recover(&mut other, "h:1", &at(0)), (at(70), false), "too many bytes");
    let (_, recovered) = recover(&mut other, "h:1", &at(50));
    assert!(recovered);
    (51..=70).for_each(|offset| assert_eq!(next(&mut other).0, offset));
    for _ in 0..90 {
        publish(&server, "h:1", &json!(1));
    }
    (71..=160).for_each(|offset| assert_eq!(next(&mut other).0, offset));
    assert_eq!(recover(&mut other, "h:1", &at(70)), (at(160), false), "too many messages");
    assert_eq!(server.metric_sum("fanwire_dropped_frames_total"), 0.0);
}

#[test]
fn all_histories_together_are_bounded() {
    const BOUND: f64 = 1024.0 * 1024.0;
    let server = Server::start(&[
        "--history-bytes-max=1MiB",
        r#"--room-rules=[{"pattern":"h:*","history_messages":100,"history_bytes":"256KiB"}]"#,
    ]);
    let mut member = server.connect();
    join(&mut member, "h:member");
    let memory_before = resident_bytes(&server);
    let data = json!("x".repeat(4000));
    for number in 0..3000 {
        publish(&server, &format!("h:{number}"), &data);
        if number % 500 == 0 {
            assert!(server.metric_sum("fanwire_history_bytes") <= BOUND);
        }
    }
    // 12 MB were published, and as many rooms as that made.
    let grown = resident_bytes(&server).saturating_sub(memory_before);
    assert!(grown < 8 << 20, "{grown}");
    let (bytes, rooms) =
        (server.metric_sum("fanwire_history_bytes"), server.metric_sum("fanwire_history_rooms"));
    assert!(bytes > BOUND / 2.0 && bytes <= BOUND, "{bytes}");
    assert!((100.0..=BOUND / 5000.0 + 1.0).contains(&rooms), "{rooms}");
    assert_eq!(kept(&server, "h:2999", ""), [1], "the last is kept");
    assert_eq!(server.get("/v1/rooms/h:0/messages").status, 404, "the first is forgotten");
    // The member's room was never filled, and never forgotten.
    assert_eq!(publish(&server, "h:member", &json!(1)), 1);
    assert_eq!(next(&mut member), (1, json!(1)));
    let seen = Seen { epoch: "0000000000000001".to_owned(), offset: 1 };
    let (now, recovered) = recover(&mut server.connect(), "h:0", &seen);
    assert_eq!((now.offset, recovered), (0, false), "forgotten: another epoch");
}

fn resident_bytes(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}

#[test]
fn own_messages_may_stay_away_and_are_numbered_all_the_same() {
    let server = Server::start(&["--deliver-to-sender=false", "--shards=4", RULES]);
    let mut members: BTreeMap<usize, Client> = (0..6).map(|index| (index, server.connect())).collect();
    members.values_mut().for_each(|member| drop(join(member, "h:1")));
    for (sender, offset) in [(0, 1), (3, 2), (0, 3)] {
        let member = members.get_mut(&sender).unwrap();
        member.send_text(r#"{"type":"publish","room":"h:1","data":1,"id":1}"#);
        member.expect(&format!(
            r#"{{"type":"published","room":"h:1","offset":{offset},"id":1,"timestamp":"*ms"}}"#
        ));
        for (index, member) in &mut members {
            if *index != sender {
                assert_eq!(next(member).0, offset);
            }
        }
    }
    members.values_mut().for_each(|member| member.expect_nothing(SILENCE / 10));
}

#[test]
fn a_rule_over_the_nodes_bound_stops_the_start() {
    let rules = r#"--room-rules=[{"pattern":"a","history_messages":1,"history_bytes":"2MiB"}]"#;
    let (status, output) = Server::run(&["--history-bytes-max=1MiB", rules], &[]);
    assert!(!status.success() && output.contains("history_bytes_max"), "{output}");
}
