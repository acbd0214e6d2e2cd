//! What is owed to a client that does not read keeps its order, and answers go before the publications that wait.

use crate::common::losses::{Heard, backlog_of, publication, publish, slow_client, start};
use crate::common::opcode::{CLOSE, FIN, PING, TEXT};
use crate::common::{eventually, frame};
use serde_json::Value;

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
    slow.send_frame(FIN | CLOSE, &1000_u16.to_be_bytes());
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
