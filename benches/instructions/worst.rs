//! The dearest inputs of one connection: what the longest part of 256 KiB costs before others have their turn.
//!
//! Each is held to [`MOST`], which stands for 20 ms of a processor: 2 million instructions a millisecond, which is what a
//! core of 2 GHz does that finishes one instruction a cycle, as small rented machines do. Cores of today do two to four
//! times as many.

use crate::cases::Case;
use crate::measured;
use crate::world::{NOW, World, frame, spoken};
use fanwire::auth::token::{KeyTexts, TokenDesk, TokenPolicy};
use fanwire::base::Pattern;
use fanwire::config::{Config, Overflow, RoomPolicy, RoomRule, Secret, Tokens};
use fanwire::model::{Compression, Draft, Identity, NOTIFICATION_TYPES_MAX, Selector};
use fanwire::shard::{Newcomer, Reading, Route};
use fanwire::wire::Deflater;
use std::sync::Arc;

/// Instructions of the longest part of an input.
pub const MOST: f64 = 40_000_000.0;

/// Bytes that a driver reads at once.
const READ_BYTES: usize = 256 * 1024;

/// The endpoint of the default configuration that has filters and snapshots, and a room of its history.
const STREAM: &str = "/api/v1/reports/stream/{templateId}";
const ROOM: &str = "reports:data:x";

const fn worst(name: &'static str, run: fn()) -> Case {
    Case { name, units: 1, unit: "part of an input", run }
}

pub const CASES: &[Case] = &[
    worst("worst_filters", || past(100, 80, &["filter", "recover"])),
    worst("worst_first_look", || past(20_000, 3, &["filter", "recover"])),
    worst("worst_first_look_at_one", || past(56_000, 1, &["filter", "recover"])),
    worst("worst_publish_to_filters", publish_to_filters),
    worst("worst_recover", || past(100, 80, &["recover"])),
    worst("worst_snapshot", || past(100, 80, &["again"])),
    worst("worst_filter_fields", || one(&filter_of_many_fields())),
    worst("worst_filter_nested", || {
        one(&format!(r#"{{"type":"apply_filter","filter":{{"a":{}}}}}"#, deep(4000)))
    }),
    worst("worst_status", status),
    worst("worst_joins", || {
        one_of(&[r#"{"type":"subscribe","room":"r"}"#, r#"{"type":"unsubscribe","room":"r"}"#]);
    }),
    worst("worst_pings", || one_of(&[r#"{"type":"ping"}"#])),
    worst("worst_unknown", || one_of(&[r#"{"type":"what"}"#])),
    worst("worst_tokens", tokens),
    worst("worst_inflated", inflated),
    worst("worst_depth_rooms", || {
        said("rooms", &format!(r#"{{"type":"publish","room":"r","data":{}}}"#, deep(8000)));
    }),
    worst("worst_depth_channels", || {
        said("channels", &format!(r#"{{"type":"message","channel":"r","data":{}}}"#, deep(8000)));
    }),
    worst("worst_depth_topics", || {
        said("topics", &format!(r#"{{"type":"publish","channel":"r","data":{}}}"#, deep(8000)));
    }),
    worst("worst_depth_tenants", || {
        let data = format!(r#"{{"channel":"r","message":{}}}"#, deep(8000));
        said("tenants", &format!(r#"{{"type":"send_message","data":{data}}}"#));
    }),
    worst("worst_notifications", notifications),
    worst("worst_losses", losses),
];

/// An array of so many arrays, each as deep as may be.
fn deep(count: usize) -> String {
    let one = format!("{}{}", "[".repeat(28), "]".repeat(28));
    format!("[{}]", vec![one; count].join(","))
}

fn filter_of_many_fields() -> String {
    let fields: Vec<String> = (0..40_000).map(|field| format!("\"{field:x}\":1")).collect();
    format!(r#"{{"type":"apply_filter","filter":{{{}}}}}"#, fields.join(","))
}

/// Without budgets, so that nothing ends an input before its time.
fn config() -> Config {
    let policy = RoomPolicy { overflow: Overflow::DropOldest, ..RoomPolicy::default() };
    let lossy = RoomRule { pattern: Pattern::parse("lossy:*").expect("a pattern"), policy };
    let mut config = Config::default();
    config.room_rules.push(lossy);
    (config.limits.replay_bytes_per_s, config.limits.auths_per_s) = (0, 0);
    config
}

/// Frames by turns, as many as one read brings.
fn input(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for next in frames.iter().cycle() {
        if bytes.len() + next.len() > READ_BYTES && !bytes.is_empty() {
            break;
        }
        bytes.extend(next);
    }
    bytes
}

/// Measures the first part of an input.
fn first_part(world: &mut World, slot: u32, frames: &[Vec<u8>]) {
    world.flush();
    let mut bytes = input(frames);
    measured(|| world.shard.receive(NOW, slot, &mut bytes, &mut world.sink));
}

/// Measures a later part of an input: what is looked at first is warm, and the rest has been kept.
fn later_part(world: &mut World, slot: u32, frames: &[Vec<u8>]) {
    world.receive(slot, &mut input(frames));
    world.flush();
    if world.shard.reading(slot) != Some(Reading::Paused) {
        return first_part(world, slot, frames);
    }
    measured(|| world.shard.receive(NOW, slot, &mut [], &mut world.sink));
}

/// Of short requests by turns.
fn one_of(texts: &[&str]) {
    let mut world = World::of(config());
    let slot = world.connect();
    let frames: Vec<_> = texts.iter().map(|text| frame(text)).collect();
    later_part(&mut world, slot, &frames);
}

fn by_endpoint(world: &mut World) -> u32 {
    let mut endpoints = world.shard.config().endpoints.iter();
    let endpoint = endpoints.position(|endpoint| endpoint.path.to_string() == STREAM).expect("the endpoint");
    let route = Some(Route { endpoint, parameters: vec![("templateId".to_owned(), "x".to_owned())] });
    let newcomer = Newcomer { dialect: spoken("topics"), route, ..Newcomer::default() };
    world.shard.open(NOW, newcomer).expect("a slot").slot
}

/// Of one long message at an endpoint that has filters.
fn one(text: &str) {
    let mut world = World::of(config());
    let slot = by_endpoint(&mut world);
    first_part(&mut world, slot, &[frame(text)]);
}

fn said(dialect: &str, text: &str) {
    let mut world = World::of(config());
    let slot = world
        .shard
        .open(NOW, Newcomer { dialect: spoken(dialect), ..Newcomer::default() })
        .expect("a slot")
        .slot;
    first_part(&mut world, slot, &[frame(text)]);
}

/// Asks for a history of so many messages with so many fields each, which no filter has looked at.
fn past(fields: usize, messages: usize, asks: &[&str]) {
    let mut world = World::of(config());
    let slot = by_endpoint(&mut world);
    world.receive(slot, &mut frame(&format!(r#"{{"type":"subscribe","channel":"{ROOM}"}}"#)));
    let fields: Vec<String> = (0..fields).map(|field| format!("\"{field:x}\":1")).collect();
    let data = format!("{{{}}}", fields.join(","));
    for _ in 0..messages {
        world.shard.outside_publish(NOW, &Selector::room(ROOM), &Draft::new("data_update", Some(&data)));
    }
    world.flush();
    let room = world.hub.directory.get(ROOM).expect("it has a member");
    let log = room.log.as_ref().expect("it remembers");
    let epoch = log.lock(NOW.ms()).expect("it is there").position().epoch;
    let frames: Vec<Vec<u8>> = (0..1000)
        .flat_map(|number| {
            asks.iter().map(move |ask| match *ask {
                "filter" => format!(r#"{{"type":"apply_filter","filter":{{"none":{number}}}}}"#),
                "recover" => format!(
                    r#"{{"type":"subscribe","channel":"{ROOM}","recover":{{"epoch":"{epoch}","offset":0}}}}"#
                ),
                _ => r#"{"type":"request_update"}"#.to_owned(),
            })
        })
        .map(|text| frame(&text))
        .collect();
    first_part(&mut world, slot, &frames);
}

/// A message of as many fields as fit it, to a member that has a filter.
fn publish_to_filters() {
    let mut world = World::of(config());
    let slot = by_endpoint(&mut world);
    world.receive(slot, &mut frame(&format!(r#"{{"type":"subscribe","channel":"{ROOM}"}}"#)));
    world.receive(slot, &mut frame(r#"{"type":"apply_filter","filter":{"none":1}}"#));
    world.flush();
    let fields: Vec<String> = (0..56_000).map(|field| format!("\"{field:x}\":1")).collect();
    let text = format!(r#"{{"type":"publish","channel":"{ROOM}","data":{{{}}}}}"#, fields.join(","));
    let sender = by_endpoint(&mut world);
    measured(|| {
        world.receive(sender, &mut frame(&text));
        world.flush();
    });
}

fn status() {
    let mut world = World::of(config());
    let slot = world.connect();
    for number in 0..1000 {
        world.receive(slot, &mut frame(&format!(r#"{{"type":"subscribe","room":"{number:0250}"}}"#)));
    }
    later_part(&mut world, slot, &[frame(r#"{"type":"status"}"#)]);
}

/// A signature on P-256 that is wrong, of a token that names no key.
fn tokens() {
    let mut world = World::of(config());
    let tokens =
        Tokens { secret: Secret::new("a secret of more than thirty-two bytes"), ..Tokens::default() };
    let texts = KeyTexts { pem: None, jwks: Some(include_str!("../../tests/tokens/jwks.json")) };
    let policy = TokenPolicy::new(&tokens, texts).expect("good keys");
    world.shard.set_tokens(Arc::new(TokenDesk::new(policy)));
    let newcomer = Newcomer { may_authenticate: true, ..Newcomer::default() };
    let slot = world.shard.open(NOW, newcomer).expect("a slot").slot;
    let token = format!("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{}", "A".repeat(86));
    later_part(&mut world, slot, &[frame(&format!(r#"{{"type":"auth","token":"{token}"}}"#))]);
}

fn inflated() {
    let mut world = World::of(config());
    let compression = Compression::Window15;
    let slot = world.shard.open(NOW, Newcomer { compression, ..Newcomer::default() }).expect("a slot").slot;
    let text = format!(r#"{{"type":"what","data":"{}"}}"#, "x".repeat(500_000));
    let mut deflater = Deflater::default();
    let payload = deflater.compress(15, 9, text.as_bytes()).expect("it gets smaller");
    let mut bytes = vec![0xC1, 0xFE];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    later_part(&mut world, slot, &[bytes]);
}

fn notifications() {
    let mut world = World::of(config());
    let identity = Identity { user: Some("u".into()), tenant: Some("t".into()), ..Identity::default() };
    let newcomer =
        Newcomer { dialect: spoken("tenants"), identity: Some(Arc::new(identity)), ..Newcomer::default() };
    let slot = world.shard.open(NOW, newcomer).expect("a slot").slot;
    let types: Vec<String> = (0..NOTIFICATION_TYPES_MAX).map(|number| format!("\"{number}\"")).collect();
    let text = format!(r#"{{"type":"subscribe_notifications","data":{{"types":[{}]}}}}"#, types.join(","));
    first_part(&mut world, slot, &[frame(&text)]);
}

/// A long message to members that do not read, each of which must lose hundreds of short ones of as many rooms for it.
fn losses() {
    const ROOMS: usize = 400;
    let mut world = World::of(config());
    for _ in 0..50 {
        let slot = world.connect();
        for room in 0..ROOMS {
            world.receive(slot, &mut frame(&format!(r#"{{"type":"subscribe","room":"lossy:{room}"}}"#)));
        }
        world.flush();
    }
    world.sink.takes = false;
    let publish = |world: &mut World, room: usize, data_bytes: usize| {
        let (room, data) = (format!("lossy:{room}"), format!("\"{}\"", "x".repeat(data_bytes - 2)));
        world.shard.outside_publish(NOW, &Selector::room(&room), &Draft::new("message", Some(&data)));
    };
    for room in 0..2 * ROOMS {
        publish(&mut world, room % ROOMS, 1000);
        world.flush();
    }
    measured(|| {
        publish(&mut world, 0, 480_000);
        world.flush();
    });
}
