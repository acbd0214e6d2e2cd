//! What one connection's input can cost the others: counted in work, as time depends on the machine.

use super::input::receive::AFTER_END_MAX;
use super::output::hold::world_tests::{Heard, Pipes, World};
use super::turn::{INPUT_MAX, INPUT_US, MESSAGE_MAX};
use super::{Newcomer, Now, Reading, Request, Sent, Sockets};
use crate::config::Config;
use crate::model::CloseReason;
use crate::wire::Deflater;
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;

/// Bytes that a driver reads at once.
const READ_BYTES: usize = 256 * 1024;

/// A client's frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len();
    let mut frame = match len {
        0..126 => vec![first, 0x80 | len as u8],
        126..65_536 => [&[first, 0xFE][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[first, 0xFF][..], &(len as u64).to_be_bytes()].concat(),
    };
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The texts one after the other and again from the first, as often as they fit one read; and how many these are.
fn input(texts: &[String]) -> (Vec<u8>, usize) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for text in texts.iter().cycle() {
        let next = frame(0x81, text.as_bytes());
        if bytes.len() + next.len() > READ_BYTES && count > 0 {
            break;
        }
        bytes.extend(next);
        count += 1;
    }
    (bytes, count)
}

/// Takes an input in as a driver does, others between its parts; the work of each part.
fn take(world: &mut World, slot: u32, bytes: Vec<u8>) -> Vec<u64> {
    take_with(world, slot, bytes, |_| {})
}

/// As [`take`], with what the others do between two parts.
fn take_with(
    world: &mut World,
    slot: u32,
    mut bytes: Vec<u8>,
    mut between: impl FnMut(&mut World),
) -> Vec<u64> {
    let now = world.now();
    world.shard.receive(now, slot, &mut bytes, &mut world.pipes);
    let mut parts = vec![world.shard.input_work()];
    while world.shard.reading(slot) == Some(Reading::Paused) {
        world.tick();
        between(world);
        world.shard.receive(now, slot, &mut [], &mut world.pipes);
        parts.push(world.shard.input_work());
    }
    world.tick();
    parts
}

/// A world without budgets, with a connection that has joined a room whose history is full of objects of that many
/// fields; and where that began.
fn with_past(fields: usize, messages: usize) -> (World, u32, Value) {
    let mut world = World::new(|config| {
        config.limits.replay_bytes_per_s = 0;
        config.limits.auths_per_s = 0;
    });
    let slot = world.connect(Newcomer { may_authenticate: true, ..World::by(0) });
    world.say(slot, &json!({"type": "subscribe", "room": "past:x"}));
    world.tick();
    let position = world.texts(slot).pop().unwrap()["data"].clone();
    let begin = json!({"epoch": position["epoch"], "offset": 0});
    for number in 0..messages {
        let data: serde_json::Map<String, Value> =
            (0..fields).map(|field| (format!("{field:x}"), json!(number))).collect();
        world.publish("past:x", &Value::Object(data));
    }
    world.tick();
    world.texts(slot);
    (world, slot, begin)
}

/// Holds every part of an input to the bound.
fn check(kind: &str, parts: &[u64], dearest: u64) {
    let most = parts.iter().max().unwrap();
    assert!(*most <= INPUT_MAX + dearest, "{kind}: {most} at once, {} parts", parts.len());
    let all: u64 = parts.iter().sum();
    assert!(parts.len() as u64 >= all / (INPUT_MAX + dearest), "{kind}");
}

#[test]
fn new_filters_on_a_full_history_are_paused_and_all_are_answered() {
    let (mut world, slot, begin) = with_past(100, 80);
    let texts: Vec<String> = (0..2000)
        .flat_map(|number| {
            let filter = json!({"type": "filter", "filter": {"no": number}}).to_string();
            let recover = json!({"type": "subscribe", "room": "past:x", "recover": begin});
            [filter, recover.to_string()]
        })
        .collect();
    let (bytes, count) = input(&texts);
    let parts = take(&mut world, slot, bytes);
    // Each publication is read once, by the first filter, and then costs a look.
    check("filters", &parts, 4 * 1024 * 1024);
    assert!(parts.len() > 10, "{} parts", parts.len());
    let answers = world.texts(slot);
    assert_eq!(answers.len(), count / 2);
    assert!(answers.iter().all(|answer| answer["data"]["recovered"] == true));
    // The same as snapshots.
    let (bytes, count) = input(&[json!({"type": "again"}).to_string()]);
    let parts = take(&mut world, slot, bytes);
    check("snapshots", &parts, 256 * 1024);
    assert!(parts.len() > 10, "{} parts", parts.len());
    assert_eq!(world.texts(slot).len(), count);
}

/// The work of reading as many fields, beside their text.
const fn of_fields(fields: u64) -> u64 {
    256 * fields
}

#[test]
fn a_first_look_at_a_full_history_is_divided_between_turns() {
    for ask in ["recover", "snapshot"] {
        // A history of as many fields as fit the outbox, which no filter has looked at.
        let (mut world, slot, begin) = with_past(1500, 25);
        world.say(slot, &json!({"type": "filter", "filter": {"0": 3}}));
        let recover = json!({"type": "subscribe", "room": "past:x", "recover": begin, "id": 7});
        let again = json!({"type": "again", "id": 7});
        let ask = if ask == "recover" { recover } else { again };
        let ping = json!({"type": "ping"});
        let bytes = [&ask, &ping].map(|message| frame(0x81, message.to_string().as_bytes())).concat();
        let other = world.plain();
        let mut pongs = 0;
        let parts = take_with(&mut world, slot, bytes, |world| {
            // The others have their turn meanwhile.
            world.say(other, &ping);
            world.tick();
            pongs += world.texts(other).iter().filter(|text| text["type"] == "pong").count();
        });
        check("a first look", &parts, of_fields(1500) + 256 * 1024);
        assert!(parts.len() > 4 && pongs == parts.len() - 1, "{} parts, {pongs} pongs", parts.len());
        assert!(parts.iter().sum::<u64>() > of_fields(1500 * 25), "not all was read: {parts:?}");
        // What was asked for is told as ever, and then what was asked for after it.
        let texts = world.texts(slot);
        let types: Vec<&str> = texts.iter().map(|text| text["type"].as_str().unwrap()).collect();
        if ask["type"] == "again" {
            assert_eq!(types, ["initial_data", "pong"], "{ask}");
            assert_eq!(texts[0]["data"].as_array().unwrap().len(), 1, "{ask}");
            assert_eq!((&texts[0]["data"][0]["0"], &texts[0]["id"]), (&json!(3), &json!(7)));
        } else {
            assert_eq!(types, ["subscribed", "message", "pong"], "{ask}");
            assert_eq!((&texts[0]["data"]["recovered"], &texts[0]["id"]), (&json!(true), &json!(7)));
            assert_eq!(texts[1]["data"]["0"], 3);
        }
        // Nothing is read twice.
        world.say(slot, &json!({"type": "filter", "filter": {"0": 4}}));
        let parts = take(&mut world, slot, frame(0x81, ask.to_string().as_bytes()));
        assert!(parts.len() == 1 && parts[0] < 256 * 1024, "read again: {parts:?}");
    }
}

#[test]
fn what_comes_during_a_first_look_is_neither_lost_nor_told_twice() {
    for is_member in [true, false] {
        let (mut world, slot, begin) = with_past(1500, 25);
        if !is_member {
            world.say(slot, &json!({"type": "unsubscribe", "room": "past:x"}));
        }
        world.say(slot, &json!({"type": "filter", "filter": {"pass": true}}));
        world.tick();
        world.texts(slot);
        let ask = json!({"type": "subscribe", "room": "past:x", "recover": begin}).to_string();
        let mut number = 0;
        let parts = take_with(&mut world, slot, frame(0x81, ask.as_bytes()), |world| {
            for _ in 0..2 {
                number += 1;
                world.publish("past:x", &json!({"pass": true, "number": number}));
            }
            world.publish("past:x", &json!({"pass": false}));
            world.tick();
        });
        assert!(parts.len() > 4, "{} parts", parts.len());
        world.publish("past:x", &json!({"pass": true, "number": number + 1}));
        world.tick();
        let texts = world.texts(slot);
        let joined = texts.iter().position(|text| text["type"] == "subscribed").unwrap();
        assert_eq!(texts[joined]["data"]["recovered"], true);
        let numbers = |texts: &[Value]| -> Vec<u64> {
            let messages = texts.iter().filter(|text| text["type"] == "message");
            messages.map(|text| text["data"]["number"].as_u64().unwrap()).collect()
        };
        let all: Vec<u64> = (1..=number + 1).collect();
        // A member has heard them as they came; its recovery tells them all once more, from where it asked to begin.
        let before = if is_member { (1..=number).collect() } else { Vec::new() };
        assert_eq!(numbers(&texts[..joined]), before, "member: {is_member}");
        assert_eq!(numbers(&texts[joined..]), all, "member: {is_member}");
    }
}

#[test]
fn a_first_look_ends_although_more_and_more_is_published() {
    let (mut world, slot, _) = with_past(1500, 40);
    world.say(slot, &json!({"type": "filter", "filter": {"no": 1}}));
    let parts = take_with(&mut world, slot, frame(0x81, br#"{"type":"again"}"#), |world| {
        let fields = (0..1500).map(|field| (format!("{field:x}"), json!(0)));
        let data = Value::Object(fields.collect());
        (0..12).for_each(|_| world.publish("past:x", &data));
    });
    // It waits for 64, then it is carried out, and then nothing is left.
    assert_eq!(parts.len(), 66);
    assert_eq!(world.texts(slot).pop().unwrap()["type"], "initial_data");
    // The next one has as many parts again.
    let parts = take(&mut world, slot, frame(0x81, br#"{"type":"again"}"#));
    check("the next one", &parts, of_fields(1500) + 256 * 1024);
}

#[test]
fn a_connection_that_ends_during_its_first_look_is_told_nothing_of_it() {
    let (mut world, slot, begin) = with_past(1500, 25);
    world.say(slot, &json!({"type": "filter", "filter": {"no": 1}}));
    let id = world.shard.inspect(slot).unwrap().id;
    let ask = json!({"type": "subscribe", "room": "past:x", "recover": begin, "id": "x".repeat(100)});
    world.say(slot, &ask);
    assert_eq!(world.shard.reading(slot), Some(Reading::Paused));
    let held = world.shard.inspect(slot).unwrap().input_charge;
    assert!(held > ask.to_string().len(), "what waits is charged: {held}");
    // What is sent meanwhile waits behind it.
    world.say(slot, &json!({"type": "ping"}));
    assert!(world.shard.inspect(slot).unwrap().input_charge > held);
    world.request(Request::Disconnect { to: id, reason: None, reply: Box::new(|_| {}) });
    let parts = take(&mut world, slot, Vec::new());
    assert!(parts[0] < 64 * 1024, "it is read for no longer: {parts:?}");
    assert_eq!(world.heard(slot), [Heard::Control(0x88)]);
    assert_eq!(world.metrics.input_bytes.get(), 0);
}

#[test]
fn the_dearest_message_has_a_bound() {
    // Three publications of as many fields as a message can have, which no filter has looked at: each part reads one.
    let (mut world, slot, begin) = with_past(20_000, 3);
    world.say(slot, &json!({"type": "filter", "filter": {"no": 1}}));
    let (bytes, _) = input(&[json!({"type": "subscribe", "room": "past:x", "recover": begin}).to_string()]);
    let parts = take(&mut world, slot, bytes);
    check("first looks", &parts, MESSAGE_MAX);
    let read = parts.iter().filter(|part| **part > of_fields(20_000)).count();
    assert_eq!(read, 3, "{parts:?}");
    assert!(parts.iter().all(|part| *part < of_fields(40_000)), "{parts:?}");
    assert!(parts[4] <= INPUT_MAX + 64 * 1024, "read again: {}", parts[4]);
}

#[test]
fn what_a_connection_sends_after_its_end_is_paid_for_and_bounded() {
    let mut world = World::new(|_| {});
    let slot = world.plain();
    // What is binary is refused, and all that comes after it is passed over.
    let empty = frame(0x81, b"");
    let bytes = [frame(0x82, b"x"), empty.repeat(READ_BYTES / empty.len())].concat();
    let parts = take(&mut world, slot, bytes);
    assert_eq!(world.closing(slot), Some(CloseReason::Unsupported));
    check("frames after the end", &parts, 512 * 1024);
    assert!(parts.len() > 2, "{} parts", parts.len());
    // The start of a frame whose end does not come, then as much as the kernels could have had on the way.
    for deaf in [false, true] {
        let slot = world.plain();
        world.frame(slot, 0x82, b"x");
        if deaf {
            // Reserved bits: nobody knows where the next frame begins.
            world.frame(slot, 0xF1, b"");
        }
        let filler = frame(0x82, &vec![0; READ_BYTES - 14]);
        let floods = world.metrics.closing_floods.get();
        for _ in 0..AFTER_END_MAX / READ_BYTES - 4 {
            take(&mut world, slot, filler.clone());
        }
        assert_eq!(world.closing(slot), Some(CloseReason::Unsupported), "a MiB before, deaf: {deaf}");
        for _ in 0..8 {
            take(&mut world, slot, filler.clone());
        }
        assert_eq!(world.shard.reading(slot), None, "a MiB after, deaf: {deaf}");
        assert_eq!(world.metrics.closing_floods.get(), floods + 1);
    }
    // One that answers with its own close frame, after all that was on its way, ends in order.
    let slot = world.plain();
    world.frame(slot, 0x82, b"x");
    take(&mut world, slot, frame(0x82, &vec![0; READ_BYTES - 14]));
    world.frame(slot, 0x88, &1003_u16.to_be_bytes());
    world.tick();
    assert_eq!((world.shard.reading(slot), world.metrics.closing_floods.get()), (None, 2));
    assert_eq!(world.metrics.input_bytes.get(), 0);
}

#[test]
fn every_kind_of_request_has_its_share() {
    let (mut world, slot, _) = with_past(1, 1);
    for room in 0..900 {
        let room = format!("{room:0250}");
        world.say(slot, &json!({"type": "subscribe", "room": room}));
    }
    world.tick();
    world.texts(slot);
    let many: Vec<String> = (0..40_000).map(|field| format!("\"{field:x}\":1")).collect();
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let cases = [
        ("status", vec![json!({"type": "status"})]),
        ("presence", vec![json!({"type": "presence", "room": "past:x"})]),
        (
            "joins",
            vec![json!({"type": "subscribe", "room": "r"}), json!({"type": "unsubscribe", "room": "r"})],
        ),
        ("tokens", vec![json!({"type": "auth", "token": "a.b.c"})]),
        ("filters", vec![json!({"type": "filter", "filter": {"a": 1}})]),
        ("unknown", vec![json!({"type": "what"})]),
        ("pings", vec![json!({"type": "ping"})]),
    ];
    for (kind, messages) in cases {
        let texts: Vec<String> = messages.iter().map(Value::to_string).collect();
        let parts = take(&mut world, slot, input(&texts).0);
        check(kind, &parts, 3 * 1024 * 1024);
        assert!(parts.len() > 2, "{kind} is not paused");
        assert!(world.closing(slot).is_none(), "{kind}");
        world.texts(slot);
    }
    let long = [
        format!(r#"{{"type":"filter","filter":{{{}}}}}"#, many.join(",")),
        format!(r#"{{"type":"filter","filter":{{"a":[{}]}}}}"#, vec![deep; 1500].join(",")),
        format!(r#"{{"type":"publish","room":"past:x","data":{{{}}}}}"#, many.join(",")),
    ];
    for text in long {
        let bytes = frame(0x81, text.as_bytes());
        assert!(bytes.len() > 170_000);
        let parts = take(&mut world, slot, bytes);
        check(&text[..40], &parts, 1024 * 1024);
    }
    assert!(world.closing(slot).is_none());
}

#[test]
fn inflated_bytes_are_what_is_charged() {
    let mut world = World::new(|_| {});
    let slot = world.connect(World::deflated(World::by(0)));
    let text = json!({"type": "what", "data": "x".repeat(500_000)}).to_string();
    let mut deflater = Deflater::default();
    let payload = deflater.compress(15, 9, text.as_bytes()).unwrap();
    let one = frame(0xC1, payload);
    assert!(one.len() < 2000, "{}", one.len());
    let count = READ_BYTES / one.len();
    let parts = take(&mut world, slot, one.repeat(count));
    check("deflate", &parts, 4 * 1024 * 1024);
    // Of the shard's share, one such message takes the most.
    assert!(parts.len() >= count / 2, "{} parts for {count} messages", parts.len());
    assert_eq!(world.closing(slot), None);
}

/// Transports of a machine on which each look at the clock finds it a millisecond later.
struct Slow<'p> {
    pipes: &'p mut Pipes,
    now_us: Cell<u64>,
}

impl Sockets for Slow<'_> {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        self.pipes.send(slot, bytes)
    }

    fn watch_writable(&mut self, slot: u32, on: bool) {
        self.pipes.watch_writable(slot, on);
    }

    fn urge(&mut self, slot: u32) {
        self.pipes.urge(slot);
    }

    fn finish(&mut self, slot: u32) {
        self.pipes.finish(slot);
    }

    fn close(&mut self, slot: u32) {
        self.pipes.close(slot);
    }

    fn now_us(&self) -> u64 {
        self.now_us.update(|us| us + 1000);
        self.now_us.get()
    }
}

#[test]
fn a_turn_that_is_late_reads_no_further() {
    let mut world = World::new(|_| {});
    let slot = world.plain();
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    let now: Now = world.now();
    // The turn began to read when half of its time was over already.
    world.shard.begin_input(now.us - INPUT_US / 2);
    let mut slow = Slow { pipes: &mut world.pipes, now_us: Cell::new(now.us) };
    world.shard.receive(now, slot, &mut ping.repeat(1000), &mut slow);
    assert_eq!(world.shard.reading(slot), Some(Reading::Paused));
    world.tick();
    let first = world.texts(slot).len();
    assert!((16..=16 * 6).contains(&first), "{first} messages in half of a turn");
    // The next turn has all of its time.
    let mut slow = Slow { pipes: &mut world.pipes, now_us: Cell::new(now.us) };
    world.shard.receive(now, slot, &mut [], &mut slow);
    world.tick();
    let second = world.texts(slot).len();
    assert!((first + 1..=16 * 11).contains(&second), "{second} messages in a whole turn");
    take(&mut world, slot, Vec::new());
    assert_eq!(world.texts(slot).len(), 1000 - first - second);
}

#[test]
fn the_past_is_paid_for_and_an_end_is_made_with_those_who_do_not_heed_it() {
    let (mut world, slot, begin) = with_past(100, 80);
    let mut config = Config::clone(world.shard.config());
    (config.limits.replay_bytes_per_s, config.limits.replay_bytes_burst) = (100_000, 1_000_000);
    world.request(Request::Reconfigure(Arc::new(config)));
    let ask = |world: &mut World, message: &Value| {
        take(world, slot, frame(0x81, message.to_string().as_bytes()));
        world.texts(slot).remove(0)
    };
    let recover = json!({"type": "subscribe", "room": "past:x", "recover": begin, "id": 1});
    let again = json!({"type": "again"});
    ask(&mut world, &json!({"type": "filter", "filter": {"no": 1}, "id": 1}));
    let mut passed = 0;
    let refused = loop {
        let answer = ask(&mut world, &recover);
        if answer["type"] == "error" {
            break answer;
        }
        assert_eq!(answer["data"]["recovered"], true);
        passed += 1;
    };
    assert!((2..20).contains(&passed), "{passed} passed");
    let text = "rate limit of replays exceeded: ask for less of the past, or try again in some seconds";
    assert_eq!((&refused["error"], &refused["id"]), (&json!(text), &json!(1)));
    assert_eq!(ask(&mut world, &again)["error"], text);
    // Other requests are not touched by it, and the debt comes in.
    assert_eq!(ask(&mut world, &json!({"type": "subscribe", "room": "r"}))["type"], "subscribed");
    world.pass(2000);
    assert_eq!(ask(&mut world, &again)["type"], "initial_data");
    world.pass(20_000);
    let strikes = (0..200).take_while(|_| {
        world.say(slot, &again);
        world.closing(slot).is_none()
    });
    assert!((32..60).contains(&strikes.count()), "31 refusals, and what passed before them");
    assert_eq!(world.closing(slot), Some(CloseReason::RateLimited));
    assert_eq!(world.metrics.budgets.total(), 2 + 32);
}

#[test]
fn attempts_to_authenticate_are_few() {
    let mut world = World::new(|_| {});
    let slot = world.connect(Newcomer { may_authenticate: true, ..Newcomer::default() });
    world.texts(slot);
    let auth = json!({"type": "auth", "token": "a.b.c", "id": 7});
    let errors = |world: &mut World, count: usize| {
        (0..count).for_each(|_| world.say(slot, &auth));
        world.tick();
        world.texts(slot).iter().map(|error| error["error"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let limited = "rate limit of authentication exceeded: try again in some seconds";
    let first = errors(&mut world, 7);
    assert!(first[..5].iter().all(|error| error != limited), "{first:?}");
    assert_eq!(first[5..], [limited, limited]);
    world.pass(1100);
    let second = errors(&mut world, 2);
    assert!(second[0] != limited && second[1] == limited, "{second:?}");
    // Pings between them do not help.
    let ping = json!({"type": "ping"});
    for _ in 0..31 {
        assert_eq!(world.closing(slot), None);
        world.say(slot, &ping);
        world.say(slot, &auth);
    }
    assert_eq!(world.closing(slot), Some(CloseReason::RateLimited));
    world.tick();
    assert!(matches!(world.heard(slot).last(), Some(Heard::Control(0x88))));
}
