//! Who comes back recovers what it missed, or is told that it cannot; who joins gets the last value.

use crate::common::remembering::{RULES, Seen, join, next, publish, recover, server};
use crate::common::{SILENCE, Server, conversation, conversations, eventually};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Says that it is over when it goes, also by a panic: else those who publish until then would never end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_comes_back_gets_exactly_what_was_missed() {
    const ROUNDS: usize = 30;
    const TRAVELLERS: usize = 3;
    /// How far publishers may be ahead of who has seen least: well within the history.
    const AHEAD_MAX: u64 = 500;
    let server = server();
    let stop = AtomicBool::new(false);
    let places: [AtomicU64; TRAVELLERS] = Default::default();
    let least = || places.iter().map(|place| place.load(Ordering::Relaxed)).min().unwrap();
    let publish_on = || {
        let mut client = server.connect();
        join(&mut client, "h:1");
        let own = client.id.clone();
        while !stop.load(Ordering::Relaxed) {
            client.send_text(r#"{"type":"publish","room":"h:1","data":1}"#);
            // At the pace at which it hears itself, so that nobody becomes a slow consumer.
            let heard = |message: Value| {
                (message["client_id"] == own.as_str()).then(|| message["offset"].as_u64().unwrap())
            };
            let offset = loop {
                if let Some(offset) = client.expect_json(heard) {
                    break offset;
                }
            };
            eventually("the travellers come along", || {
                offset.saturating_sub(least()) < AHEAD_MAX || stop.load(Ordering::Relaxed)
            });
        }
    };
    let travel = &|traveller: usize| {
        let mut client = server.connect();
        let mut seen = join(&mut client, "h:1");
        let mut replayed = 0;
        for round in 0..ROUNDS {
            for _ in 0..(round * 7 + traveller) % 20 {
                let (offset, _) = next(&mut client);
                assert_eq!(offset, seen.offset + 1);
                seen.offset = offset;
                places[traveller].store(offset, Ordering::Relaxed);
            }
            // The end of a connection loses what was on its way: that is what recovery is for.
            drop(client);
            let away = (round * 3 % 10) as u64;
            eventually("so much is missed", || offset(&server, "h:1") >= seen.offset + away);
            client = server.connect();
            let (now, recovered) = recover(&mut client, "h:1", &seen);
            assert!(recovered, "missed {} to {}", seen.offset, now.offset);
            assert_eq!(now.epoch, seen.epoch);
            for offset in seen.offset + 1..=now.offset {
                assert_eq!(next(&mut client).0, offset);
                replayed += 1;
            }
            places[traveller].store(now.offset, Ordering::Relaxed);
            seen = now;
        }
        places[traveller].store(u64::MAX, Ordering::Relaxed);
        replayed
    };
    thread::scope(|scope| {
        let over = Over(&stop);
        (0..3).for_each(|_| drop(scope.spawn(publish_on)));
        let travellers: Vec<_> = (0..TRAVELLERS).map(|it| scope.spawn(move || travel(it))).collect();
        let replayed: Vec<_> = travellers.into_iter().map(|it| it.join()).collect();
        drop(over);
        let replayed: Vec<u64> = replayed.into_iter().map(Result::unwrap).collect();
        assert!(replayed.iter().all(|count| *count > 100), "{replayed:?}");
    });
}

/// Offset of a room's latest message.
fn offset(server: &Server, room: &str) -> u64 {
    server.get(&format!("/v1/rooms/{room}")).json()["history"]["offset"].as_u64().unwrap()
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
fn two_members_and_what_one_of_them_missed() {
    let server = server();
    let (mut ann, mut bob) = (server.connect(), server.connect());
    let seen = join(&mut ann, "h:1");
    join(&mut bob, "h:1");
    drop(ann);
    eventually("she is gone", || server.get("/v1/rooms/h:1").json()["members"] == 1);
    let mut ann = server.connect();
    let mut late = server.connect();
    let recover = format!(r#""recover":{{"epoch":"{}","offset":0}}"#, seen.epoch);
    let script = r#"
        bob> {"type":"publish","room":"h:1","data":{"n": 1}}
        bob< {"type":"message","room":"h:1","data":{"n":1},"client_id":"*uuid","offset":1,"timestamp":"*ms"}
        bob> {"type":"publish","room":"h:1","data":2}
        bob< {"type":"message","room":"h:1","data":2,"client_id":"*uuid","offset":2,"timestamp":"*ms"}
        ann> {"type":"subscribe","room":"h:1",RECOVER,"id":"again"}
        ann< {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":2,"epoch":"*","offset":2,"recovered":true},"id":"again","timestamp":"*ms"}
        ann< {"type":"message","room":"h:1","data":{"n":1},"client_id":"*uuid","offset":1,"timestamp":"*ms"}
        ann< {"type":"message","room":"h:1","data":2,"client_id":"*uuid","offset":2,"timestamp":"*ms"}
        late> {"type":"subscribe","room":"h:1"}
        late< {"type":"subscribed","room":"h:1","data":{"room":"h:1","client_count":3,"epoch":"*","offset":2},"timestamp":"*ms"}
        ann> {"type":"publish","room":"h:1","data":3}
        ann< {"type":"message","room":"h:1","data":3,"client_id":"*uuid","offset":3,"timestamp":"*ms"}
        bob< {"type":"message","room":"h:1","data":3,"client_id":"*uuid","offset":3,"timestamp":"*ms"}
        late< {"type":"message","room":"h:1","data":3,"client_id":"*uuid","offset":3,"timestamp":"*ms"}
        late< nothing
    "#;
    let mut clients = [("ann", &mut ann), ("bob", &mut bob), ("late", &mut late)];
    conversations(&mut clients, &script.replace("RECOVER", &recover));
    assert_eq!(counted(&server, "recovered"), 1.0);
    assert_eq!(counted(&server, "not_recovered"), 0.0);
}

/// Requests to recover that ended so, on all shards.
fn counted(server: &Server, result: &str) -> f64 {
    let sample = |shard| format!("fanwire_recoveries_total{{shard=\"{shard}\",result=\"{result}\"}}");
    (0..4).map(|shard| server.metric(&sample(shard)).expect("four shards")).sum()
}

#[test]
fn all_that_come_back_at_once_recover() {
    const MEMBERS: usize = 60;
    const MISSED: u64 = 100;
    let server = server();
    let mut member = server.connect();
    let seen = join(&mut member, "h:1");
    for number in 1..=MISSED {
        publish(&server, "h:1", &json!(number));
    }
    thread::scope(|scope| {
        let mut publisher = server.connect();
        scope.spawn(move || {
            join(&mut publisher, "h:1");
            for number in MISSED + 1..=2 * MISSED {
                publisher.send_text(&json!({"type":"publish","room":"h:1","data":number}).to_string());
                assert_eq!(next(&mut publisher), (number, json!(number)));
            }
        });
        for _ in 0..MEMBERS {
            let (server, seen) = (&server, &seen);
            scope.spawn(move || {
                let mut client = server.connect();
                assert!(recover(&mut client, "h:1", seen).1);
                (1..=2 * MISSED).for_each(|number| assert_eq!(next(&mut client), (number, json!(number))));
            });
        }
    });
    (1..=2 * MISSED).for_each(|number| assert_eq!(next(&mut member), (number, json!(number))));
    assert_eq!(counted(&server, "recovered"), MEMBERS as f64);
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
        let _over = Over(&stop);
        scope.spawn(|| {
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
    });
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
