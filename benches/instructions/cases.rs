//! What is counted. Each case sets its world up, does its work once to be warm, and once measured.

use crate::measured;
use crate::world::{NOW, World, frame, publish, publish_text, spoken};
use fanwire::auth::Access;
use fanwire::base::Pattern;
use fanwire::config::{
    AccessDefault, AccessRule, AccessTable, Action, Actions, Config, PresenceMode, RoomPolicy, RoomRule, Who,
};
use fanwire::dialect::{self, Channels, DecodeLimits, Dialect, Rooms, Tenants, Topics};
use fanwire::io::mailbox::{Mailbox, Wake};
use fanwire::model::{ConnectionId, Draft, Identity, Publication, Selector, Sender};
use fanwire::shard::{Newcomer, Origin, Reading, Tally};
use fanwire::wire::{FrameLimits, Opcode, Parsed, accept, frame_in_place, parse_header, unmask};
use std::hint::black_box;
use std::sync::Arc;

/// One thing to count.
pub struct Case {
    pub name: &'static str,
    /// Units of work in one pass.
    pub units: u32,
    /// What a unit is.
    pub unit: &'static str,
    pub run: fn(),
}

const fn case(name: &'static str, units: u32, unit: &'static str, run: fn()) -> Case {
    Case { name, units, unit, run }
}

/// Frames in one pass of the frame cases.
const FRAMES: u32 = 100;

/// Publications in one pass of the publish cases: a tick's worth.
const TICK: u32 = 16;

/// Messages in one pass of the dialects' cases.
const MESSAGES: u32 = 100;

/// What a backend publishes as an object.
const WHOLE: &str =
    r#"{"type":"maintenance_notice","message":"System maintenance in 30 minutes","level":"info"}"#;

/// Items in one pass of the mailbox case.
const ITEMS: u32 = 1000;

/// Rules of the access case: a large table, all of whose rooms begin alike.
const RULES: usize = 100;

pub const CASES: &[Case] = &[
    case("parse_frame_16", FRAMES, "frame", || parse(16)),
    case("parse_frame_125", FRAMES, "frame", || parse(125)),
    case("parse_frame_1000", FRAMES, "frame", || parse(1000)),
    case("parse_frame_64000", FRAMES, "frame", || parse(64_000)),
    case("build_frame_100", FRAMES, "frame", || build(100)),
    case("build_frame_1000", FRAMES, "frame", || build(1000)),
    case("publish_to_1", TICK, "delivery", || publish_to(1)),
    case("publish_to_100", TICK * 100, "delivery", || publish_to(100)),
    case("publish_to_10000", TICK * 10_000, "delivery", || publish_to(10_000)),
    case("publish_to_user", TICK, "publication", || publish_to_user(Selector::user("u50000"))),
    case("publish_to_user_of_tenant", TICK, "publication", || {
        publish_to_user(Selector { tenant: Some("t".into()), ..Selector::user("u50000") });
    }),
    case("mailbox_push_drain", ITEMS, "item", mailbox),
    case("join_leave", 100, "cycle", join_leave),
    case("join_without_rules", 100, "join", || join(AccessTable::open())),
    case("join_with_rules", 100, "join", || join(AccessTable::protected())),
    case("presence_of_100", 100, "cycle", || presence(100)),
    case("presence_of_100000", 100, "cycle", || presence(100_000)),
    case("outbox_append_flush", TICK * 100, "frame", outbox),
    case("connect_disconnect", 100, "cycle", connect_disconnect),
    case("decode_rooms", MESSAGES, "message", || decode("rooms")),
    case("decode_channels", MESSAGES, "message", || decode("channels")),
    case("decode_topics", MESSAGES, "message", || decode("topics")),
    case("decode_tenants", MESSAGES, "message", || decode("tenants")),
    case("encode_rooms", MESSAGES, "publication", || encode(&Rooms, None)),
    case("encode_channels", MESSAGES, "publication", || encode(&Channels, None)),
    case("encode_topics", MESSAGES, "publication", || encode(&Topics, None)),
    case("encode_topics_whole", MESSAGES, "publication", || encode(&Topics, Some(WHOLE))),
    case("encode_tenants", MESSAGES, "publication", || encode(&Tenants, None)),
    case("publish_to_10000_channels", TICK * 10_000, "delivery", || publish_in("channels")),
    case("publish_to_10000_topics", TICK * 10_000, "delivery", || publish_in("topics")),
    case("publish_to_10000_tenants", TICK * 10_000, "delivery", || publish_in("tenants")),
    case("publish_to_10000_mixed", TICK * 10_000, "delivery", publish_in_all),
    case("access_own_tenant", 100, "check", || {
        access(&AccessTable::protected(), "tenant:acme-corporation:general")
    }),
    case("access_no_rule", 100, "check", || {
        access(&AccessTable::protected(), "chat:acme-corporation:general")
    }),
    case("access_last_of_100", 100, "check", || {
        access(&many_rules(), "app:service-99:acme-corporation:general")
    }),
];

fn parse(payload_bytes: usize) {
    let limits = FrameLimits { message_bytes_max: 1 << 20, fragments_max: 16, compression: false };
    let frames = frame(&"x".repeat(payload_bytes)).repeat(FRAMES as usize);
    let pass = |mut bytes: Vec<u8>| {
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            let Ok(Parsed::Frame { header }) = parse_header(rest, &limits, 0) else { panic!("whole frames") };
            let (frame, tail) = rest.split_at_mut(header.header_len + header.payload_len);
            let payload = &mut frame[header.header_len..];
            unmask(payload, header.mask);
            black_box(accept(&mut None, &header, payload, &limits).expect("text"));
            rest = tail;
        }
    };
    pass(frames.clone());
    let copy = frames.clone();
    measured(|| pass(copy));
}

fn build(payload_bytes: usize) {
    let payload = "x".repeat(payload_bytes);
    let mut out = Vec::new();
    let mut pass = || {
        out.clear();
        for _ in 0..FRAMES {
            frame_in_place(&mut out, Opcode::Text, |out| {
                out.extend_from_slice(black_box(payload.as_bytes()))
            });
        }
    };
    pass();
    measured(pass);
}

fn publish_to(members: u32) {
    let mut world = World::with_members(members);
    let burst = publish(100).repeat(TICK as usize);
    let pass = |world: &mut World, mut burst: Vec<u8>| {
        world.receive(0, &mut burst);
        world.flush();
        // Very many members are written to over several ticks.
        while world.shard.has_more() {
            world.flush();
        }
    };
    pass(&mut world, burst.clone());
    measured(|| pass(&mut world, burst));
}

/// One of 100,000 connections is reached, each of which is another user's, all of one tenant.
fn publish_to_user(to: Selector<'_>) {
    let mut world = World::new();
    for user in 0..100_000 {
        world.connect_as(Some(&format!("u{user}")));
    }
    world.flush();
    let draft = Draft::new("note", Some("[1]"));
    let pass = |world: &mut World| {
        for _ in 0..TICK {
            let tally = Arc::new(Tally::new(Box::new(|delivered| assert_eq!(delivered, 1))));
            world.shard.publish_selected(NOW, Origin::Api, &to, &draft, &tally);
        }
        world.flush();
    };
    pass(&mut world);
    measured(|| pass(&mut world));
}

fn publish_in(dialect: &'static str) {
    publish_in_world(World::with_members_of(&[dialect], 10_000));
}

/// A quarter of the members of each dialect.
fn publish_in_all() {
    let dialects: Vec<_> = dialect::names().collect();
    publish_in_world(World::with_members_of(&dialects, 10_000));
}

/// The first member publishes, with 100 bytes of data as in `publish_to_10000`.
fn publish_in_world(mut world: World) {
    let burst = world.publish_of_first(100).repeat(TICK as usize);
    let pass = |world: &mut World, mut burst: Vec<u8>| {
        world.receive(0, &mut burst);
        world.flush();
        while world.shard.has_more() {
            world.flush();
        }
    };
    pass(&mut world, burst.clone());
    measured(|| pass(&mut world, burst));
}

fn decode(name: &str) {
    let (dialect, text) = (dialect::dialect(spoken(name)), publish_text(name, 100));
    let limits = DecodeLimits { json_depth_max: 32 };
    let pass = || {
        for _ in 0..MESSAGES {
            black_box(dialect.decode(black_box(&text), &limits).expect("a command"));
        }
    };
    pass();
    measured(pass);
}

fn encode(dialect: &dyn Dialect, whole: Option<&str>) {
    let data = format!("\"{}\"", "x".repeat(98));
    let id = ConnectionId::parse("5f64a9c2-8b1d-4e3f-a0b1-c2d3e4f50617").expect("an id");
    let sender = whole.is_none().then_some(Sender { id, user: Some("user-1") });
    let unix_ms = crate::world::NOW.unix_ms;
    let publication = Publication {
        event: "message",
        room: Some("room"),
        data: Some(&data),
        whole,
        sender,
        unix_ms,
        offset: None,
    };
    let mut out = Vec::with_capacity(4096);
    let mut pass = || {
        for _ in 0..MESSAGES {
            out.clear();
            dialect.encode_publication(black_box(&publication), &mut out);
            black_box(&out);
        }
    };
    pass();
    measured(pass);
}

struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

fn mailbox() {
    let mailbox = Mailbox::new(NoWake);
    let pass = || {
        for item in 0..ITEMS {
            mailbox.push(item, 100);
        }
        let mut sum = 0;
        mailbox.drain(ITEMS as usize, |item| sum += item);
        black_box(sum);
    };
    pass();
    measured(pass);
}

fn join_leave() {
    let mut world = World::with_members(100);
    let slot = world.connect();
    let join = frame(r#"{"type":"subscribe","room":"room"}"#);
    let leave = frame(r#"{"type":"unsubscribe","room":"room"}"#);
    in_parts(&mut world, slot, &[join, leave].concat());
}

/// One comes into a room that tells who is there, asks for one name, and leaves: the same in a room of any size.
fn presence(members: u32) {
    let policy = RoomPolicy { presence: PresenceMode::Ids, ..RoomPolicy::default() };
    let rule = RoomRule { pattern: Pattern::parse("room").expect("a pattern"), policy };
    let mut world = World::of(Config { room_rules: vec![rule], ..Config::default() });
    world.join(members);
    let slot = world.connect();
    let texts = [
        r#"{"type":"subscribe","room":"room"}"#,
        r#"{"type":"presence","room":"room","limit":1}"#,
        r#"{"type":"unsubscribe","room":"room"}"#,
    ];
    in_parts(&mut world, slot, &texts.map(frame).concat());
}

/// Measures a hundred cycles, ten to a read: a connection has no more of a turn before others have theirs.
fn in_parts(world: &mut World, slot: u32, cycle: &[u8]) {
    let pass = |world: &mut World, mut parts: Vec<Vec<u8>>| {
        for part in &mut parts {
            world.receive(slot, part);
            assert!(world.shard.reading(slot) == Some(Reading::On), "not all of a part was taken in");
        }
        world.flush();
    };
    let parts = vec![cycle.repeat(10); 10];
    pass(world, parts.clone());
    measured(|| pass(world, parts));
}

/// Joins of a tenant's room by its own users.
fn join(access: AccessTable) {
    let mut world = World::of(Config { access, ..Config::default() });
    let subscribe = frame(r#"{"type":"subscribe","room":"tenant:acme:general"}"#);
    let identity = Arc::new(Identity { tenant: Some("acme".into()), ..Identity::default() });
    let newcomer = || Newcomer { identity: Some(identity.clone()), ..Newcomer::default() };
    let pass = |world: &mut World, slots: &[u32], frames: &mut [Vec<u8>]| {
        for (slot, frame) in slots.iter().zip(frames) {
            world.receive(*slot, frame);
        }
        world.flush();
    };
    let mut slots = || -> Vec<u32> {
        (0..100).map(|_| world.shard.open(crate::world::NOW, newcomer()).expect("a slot").slot).collect()
    };
    let (first, second) = (slots(), slots());
    world.flush();
    pass(&mut world, &first, &mut vec![subscribe.clone(); 100]);
    let mut frames = vec![subscribe; 100];
    measured(|| pass(&mut world, &second, &mut frames));
    let joined = world.shard.inspect(second[0]).expect("it is connected").rooms;
    assert_eq!(joined, 1);
}

fn outbox() {
    let mut world = World::with_members(101);
    let burst = publish(100).repeat(TICK as usize);
    let pass = |world: &mut World, mut burst: Vec<u8>| {
        // All members refuse their bytes, keep a backlog, and then take it.
        world.sink.takes = false;
        world.receive(0, &mut burst[..]);
        world.flush();
        world.sink.takes = true;
        for slot in 0..101 {
            world.shard.writable(crate::world::NOW, slot, &mut world.sink);
        }
    };
    pass(&mut world, burst.clone());
    measured(|| pass(&mut world, burst));
}

fn connect_disconnect() {
    let mut world = World::with_members(100);
    let pass = |world: &mut World| {
        for _ in 0..100 {
            let slot = world.connect();
            world.receive(slot, &mut frame(r#"{"type":"subscribe","room":"room"}"#));
            world.flush();
            world.shard.lost(slot, &mut world.sink);
        }
    };
    pass(&mut world);
    measured(|| pass(&mut world));
}

fn many_rules() -> AccessTable {
    let rule = |number| {
        let text = format!("app:service-{number}:{{tenant}}:**");
        let pattern = Pattern::parse_capturing(&text, &AccessRule::CAPTURES).expect("a pattern");
        AccessRule { pattern, who: vec![Who::Any], allow: Actions::ALL, text: None }
    };
    AccessTable { rules: (0..RULES).map(rule).collect(), default: AccessDefault::Deny }
}

fn access(table: &AccessTable, room: &str) {
    let access = Access::new(table);
    let identity = Identity {
        user: Some("a-user".into()),
        tenant: Some("acme-corporation".into()),
        ..Identity::default()
    };
    let pass = || {
        for _ in 0..100 {
            let checked = access.check(black_box(Some(&identity)), black_box(room), Action::Subscribe);
            black_box(checked).expect("allowed");
        }
    };
    pass();
    measured(pass);
}
