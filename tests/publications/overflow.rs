//! Rooms that may lose publications lose them only to members that do not keep up, and tell each how many it lost.

use crate::common::losses::{Heard, backlog_of, dropped, hear, publish, slow_client, start};
use crate::common::{Client, Json, conversation, eventually};
use std::collections::BTreeMap;

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
fn a_publication_that_no_outbox_holds_is_refused_and_costs_no_member() {
    let server = start(&["--outbox-bytes-max=16KiB"]);
    let mut slow = slow_client(&server);
    slow.subscribe("ticks:a");
    let publish = |bytes: usize| {
        let data = "x".repeat(bytes);
        server.post("/v1/publish", &format!(r#"{{"room":"ticks:a","data":"{data}"}}"#))
    };
    // Each fits beside the rest of one that has begun.
    for _ in 0..600 {
        publish(6 * 1024).expect(200, r#"{"delivered":1}"#);
    }
    // Bodies fit to the outbox where only that is configured.
    assert_eq!(publish(20 * 1024).status, 413);
    publish(6 * 1024).expect(200, r#"{"delivered":1}"#);
    assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
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
