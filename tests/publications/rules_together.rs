//! What the rules of one room mean together: order and recovery where publications are lost, losses and notices of
//! presence where connections are compressed.

use crate::common::losses::{Heard, backlog_of, dropped, slow_client, start};
use crate::common::opcode::{FIN, TEXT};
use crate::common::remembering::{self, Seen, join, recover};
use crate::common::{Client, Frame, Server, eventually, inflate};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// First byte of a compressed text message.
const COMPRESSED: u8 = FIN | TEXT | 0x40;

const OFFER: &str = "permessage-deflate";

/// A client that has its publications compressed.
fn compressing(server: &Server, offer: &str) -> Client {
    Client::connect_with(server.addr(), "/ws", &[("Sec-WebSocket-Extensions", offer)])
}

/// Publishes to a room that a client hears and does not read until more waits for it than its socket may yet take.
fn block(server: &Server, client: &Client, room: &str) {
    let data = "x".repeat(8 * 1024);
    for number in 0..2000 {
        let body = json!({"room": room, "data": {"n": number, "symbol": "s", "p": data}}).to_string();
        server.post("/v1/publish", &body).expect(200, r#"{"delivered":1}"#);
        if backlog_of(server, client).is_some_and(|waiting| waiting["backlog_messages"].as_u64() >= Some(5)) {
            return;
        }
    }
    panic!("its socket takes all");
}

/// What a member hears of one room with history, whose offsets must ascend and miss only what notices tell.
#[derive(Debug)]
struct InOrder {
    offset: u64,
    /// Told by the latest notice and not yet seen to be missing.
    lost: u64,
    /// The last offset before each notice, and what it told.
    gaps: Vec<(u64, u64)>,
}

impl InOrder {
    fn after(offset: u64) -> Self {
        Self { offset, lost: 0, gaps: Vec::new() }
    }

    fn take(&mut self, message: &Value) {
        if message["type"] == "gap" {
            assert_eq!(self.lost, 0, "two notices of one place: {message}");
            self.lost = message["data"]["lost"].as_u64().unwrap();
            self.gaps.push((self.offset, self.lost));
            return;
        }
        assert_eq!(message["type"], "message", "{message}");
        assert_eq!(message["offset"], self.offset + self.lost + 1, "{self:?}");
        (self.offset, self.lost) = (self.offset + self.lost + 1, 0);
    }
}

#[test]
fn a_member_of_a_room_with_history_is_told_what_it_lost_and_can_recover_it() {
    const COUNT: u64 = 330;
    let server = start(&["--outbox-bytes-max=64KiB", "--presence-interval=1h"]);
    let mut slow = slow_client(&server);
    slow.subscribe("ticks:a");
    let seen = join(&mut slow, "log:a");
    block(&server, &slow, "ticks:a");
    let sent = (1..=COUNT).map(|number| remembering::publish(&server, "log:a", &json!(number)));
    assert!(sent.eq(1..=COUNT), "its order goes on whoever loses what");
    let mut heard = InOrder::after(0);
    while heard.offset < COUNT {
        slow.expect_json(|message| {
            if message["room"] == "log:a" && message["type"] != "presence_change" {
                heard.take(&message);
                assert_eq!(message["data"].as_u64().unwrap_or(heard.offset), heard.offset, "{message}");
            }
        });
    }
    assert!(matches!(heard.gaps[..], [(_, lost)] if lost > 10), "{heard:?}");
    // It has a backlog no more, so what it lost fits.
    let (before, _) = heard.gaps[0];
    let (now, recovered) = recover(&mut slow, "log:a", &Seen { offset: before, ..seen.clone() });
    assert_eq!((now, recovered), (Seen { offset: COUNT, ..seen }, true));
    for offset in before + 1..=COUNT {
        assert_eq!(remembering::next(&mut slow), (offset, json!(offset)));
    }
    assert_eq!(remembering::publish(&server, "log:a", &json!(0)), COUNT + 1);
    assert_eq!(remembering::next(&mut slow), (COUNT + 1, json!(0)));
    assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
}

/// Answers overtake publications, but not those that they say the member has.
#[test]
fn what_waits_comes_before_the_answer_to_joining_again() {
    for room in ["log:a", "h:a", "quotes:a"] {
        let server = start(&["--outbox-bytes-max=1MiB"]);
        let mut slow = slow_client(&server);
        slow.subscribe("plain");
        let seen = join(&mut slow, room);
        block(&server, &slow, "plain");
        let publish = |number: u64| remembering::publish(&server, room, &json!({"symbol": number}));
        (1..=50).for_each(|number| assert_eq!(publish(number), number));
        let before = server.metric_sum("fanwire_frames_in_total");
        let recover = json!({"epoch": seen.epoch, "offset": 40});
        slow.send_text(&json!({"type": "subscribe", "room": room}).to_string());
        slow.send_text(&json!({"type": "subscribe", "room": room, "recover": recover}).to_string());
        eventually("both are read", || server.metric_sum("fanwire_frames_in_total") >= before + 2.0);
        assert_eq!(publish(51), 51);
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "51") {
            slow.expect_json(|message| match message["type"].as_str().unwrap() {
                "message" if message["room"] == "plain" => {}
                "message" => heard.push(message["offset"].to_string()),
                "subscribed" => {
                    heard.push(format!("{} {}", message["data"]["offset"], message["data"]["recovered"]));
                }
                other => assert_eq!(other, "presence_change", "{message}"),
            });
        }
        let offsets = |range: std::ops::RangeInclusive<u64>| range.map(|offset| offset.to_string());
        let expected = offsets(1..=50).chain(["50 null".to_owned(), "50 true".to_owned()]);
        let expected: Vec<_> = expected.chain(offsets(41..=51)).collect();
        assert_eq!(heard, expected, "{room}");
    }
}

#[test]
fn the_last_value_and_a_replay_are_answers_and_never_lost() {
    let server = start(&["--outbox-bytes-max=64KiB"]);
    let mut slow = slow_client(&server);
    slow.subscribe("ticks:a");
    block(&server, &slow, "ticks:a");
    for number in 0..20 {
        remembering::publish(&server, "quotes:a", &json!({"symbol": "s", "n": number}));
    }
    let before = server.metric_sum("fanwire_frames_in_total");
    slow.send_text(r#"{"type":"subscribe","room":"quotes:a"}"#);
    eventually("it is read", || server.metric_sum("fanwire_frames_in_total") >= before + 1.0);
    // Newer ones of its key conflate each other, and not the answer.
    for number in 20..40 {
        remembering::publish(&server, "quotes:a", &json!({"symbol": "s", "n": number}));
    }
    let (mut heard, mut lost) = (Vec::new(), 0);
    while heard.last().is_none_or(|last| *last != 40) {
        slow.expect_json(|message| match message["type"].as_str().unwrap() {
            _ if message["room"] != "quotes:a" => {}
            "subscribed" => assert_eq!((heard.len(), &message["data"]["offset"]), (0, &json!(20))),
            // One, or one more if the first is on its way when the last is lost.
            "gap" => lost += message["data"]["lost"].as_u64().unwrap(),
            _ => heard.push(message["offset"].as_u64().unwrap()),
        });
    }
    // Of the 19 between them each is lost or heard.
    assert_eq!(lost + heard.len() as u64, 21, "{heard:?}");
    assert_eq!((heard[0], heard.is_sorted()), (20, true), "{heard:?}");
}

/// A text of that many bytes that compresses to half of them.
fn hex(number: u64, bytes: usize) -> String {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    std::iter::repeat_with(word).take(bytes / 16).collect()
}

/// A message, inflated if it is compressed, and whether it is.
fn message(Frame { head, payload }: Frame) -> (Value, bool) {
    let is_compressed = head == COMPRESSED;
    assert!(is_compressed || head == FIN | TEXT, "{head:#x}");
    let text = if is_compressed { inflate(15, &payload) } else { String::from_utf8(payload).unwrap() };
    (serde_json::from_str(&text).unwrap(), is_compressed)
}

#[test]
fn compressed_publications_are_lost_by_the_same_rules() {
    const COUNT: u64 = 500;
    for (room, reason) in [("ticks:a", "drop_oldest"), ("log:a", "drop_oldest"), ("quotes:a", "conflated")] {
        let server = start(&["--deflate=true", "--outbox-bytes-max=256KiB"]);
        let mut slow =
            Client::connect_with_buffer(server.addr(), 8192, "/ws", &[("Sec-WebSocket-Extensions", OFFER)]);
        let (mut plain, mut healthy) = (server.connect(), compressing(&server, OFFER));
        let members = [&mut slow, &mut plain, &mut healthy];
        members.into_iter().for_each(|client| client.subscribe(room));
        for number in 0..COUNT {
            let symbol = ["A", "B", "C"][number as usize % 3];
            let data = json!({"n": number, "symbol": symbol, "p": hex(number, 24 * 1024)});
            let answer = server.post("/v1/publish", &json!({"room": room, "data": data}).to_string());
            assert_eq!(answer.json()["delivered"], 3);
            // Those who read get each, in their own form.
            for (client, compressed) in [(&mut plain, false), (&mut healthy, true)] {
                let mut heard = message(client.read_frame().unwrap());
                while heard.0["type"] == "presence_change" {
                    heard = message(client.read_frame().unwrap());
                }
                assert_eq!((&heard.0["data"], heard.1), (&data, compressed));
            }
        }
        let (mut heard, mut order, mut compressed) = (Heard::default(), InOrder::after(0), 0);
        while heard.last != Some(COUNT as usize - 1) {
            let (message, is_compressed) = message(slow.read_frame().unwrap());
            if message["type"] == "presence_change" {
                continue;
            }
            assert_eq!(is_compressed, message["type"] == "message", "{}", message["type"]);
            compressed += usize::from(is_compressed);
            heard.take(&message);
            if room == "log:a" {
                order.take(&message);
            }
        }
        assert_eq!(heard.received + heard.lost, COUNT as usize, "{room}: {heard:?}");
        assert!(heard.lost > 10 && compressed == heard.received, "{room}: {heard:?}");
        if room == "quotes:a" {
            // The newest of each key waited until the end.
            assert!(heard.by_symbol.values().all(|number| number + 3 >= COUNT as usize), "{heard:?}");
        }
        assert_eq!(dropped(&server, reason), heard.lost as f64, "{room}");
        assert_eq!(server.metric_sum("fanwire_closes_total"), 0.0);
    }
}

#[test]
fn presence_is_the_same_for_compressed_connections_and_in_rooms_with_history() {
    let server = start(&["--deflate=true", "--deflate-min-bytes=100", "--presence-interval=1h"]);
    let offers = ["permessage-deflate", "permessage-deflate; server_max_window_bits=9"];
    let mut members: Vec<_> = (0..4).map(|_| server.connect()).collect();
    members.extend(offers.into_iter().cycle().take(8).map(|offer| compressing(&server, offer)));
    members.iter_mut().for_each(|member| member.subscribe("log:a"));
    let expected: BTreeSet<_> = members.iter().map(|member| member.id.clone()).collect();

    // Pages of the API walk through the encodings.
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/rooms/log:a/members?limit=3&cursor={cursor}")).json();
        found.extend(page["members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (12, expected.clone()));

    // Some of each encoding leave; who stays is named and nobody else.
    let left: Vec<_> = [10, 7, 4, 1].into_iter().map(|index| members.remove(index)).collect();
    let gone: BTreeSet<_> = left.iter().map(|member| member.id.clone()).collect();
    drop(left);
    eventually("they are gone", || server.get("/v1/rooms/log:a").json()["members"] == 8);
    let mut asks = members.remove(0);
    asks.send_text(r#"{"type":"presence","room":"log:a"}"#);
    let (answer, _) = message(asks.read_frame().unwrap());
    let named = answer["data"]["clients"].as_array().unwrap();
    let named: BTreeSet<_> = named.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(named, &expected - &gone);

    // A room that is kept for its history is one without members.
    drop((members, asks));
    eventually("all are gone", || server.get("/v1/rooms/log:a").json()["members"] == 0);
    let page = server.get("/v1/rooms/log:a/members");
    assert_eq!(page.json(), json!({"room": "log:a", "client_count": 0, "members": [], "cursor": null}));
}

#[test]
fn who_comes_is_told_to_members_of_every_encoding() {
    let server = start(&["--deflate=true", "--deflate-min-bytes=100", "--presence-interval=10ms"]);
    let (mut plain, mut compressed) = (server.connect(), compressing(&server, OFFER));
    let is_told = |client: &mut Client, id: &str, compressed: bool| loop {
        let (notice, is_compressed) = message(client.read_frame().unwrap());
        assert_eq!((&notice["type"], is_compressed), (&json!("presence_change"), compressed), "{notice}");
        if notice["data"]["joined"].as_array().unwrap().contains(&json!(id)) {
            break;
        }
    };
    // Notices are no part of a room's order, and so come wherever a member stands in it.
    remembering::publish(&server, "log:a", &json!(1));
    assert_eq!(join(&mut plain, "log:a").offset, 1);
    let (first, second) = (plain.id.clone(), compressed.id.clone());
    is_told(&mut plain, &first, false);
    assert_eq!(join(&mut compressed, "log:a").offset, 1);
    is_told(&mut compressed, &second, true);
    is_told(&mut plain, &second, false);
}
