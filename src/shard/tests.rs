//! The shard between sockets that take as much as a test says. What `tests/simulation` has found stands here once
//! more, each by itself.

use super::{Handlers, LABELS, Mail, Newcomer, Now, Parts, Request, Sent, Shard, Sockets};
use crate::config::{AccessDefault, Config};
use crate::hub::Hub;
use crate::metrics::ShardMetrics;
use crate::model::{CloseReason, Draft, Selector};
use std::sync::Arc;
use std::time::Duration;

#[path = "policy/accounts_tests.rs"]
mod accounts;
#[path = "policy/users_tests.rs"]
mod users;

const NOW: Now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };

/// A transport: what it has taken, and how many bytes more it takes.
#[derive(Default)]
struct Wire {
    taken: Vec<u8>,
    space: usize,
    broken: bool,
    closed: bool,
}

#[derive(Default)]
struct Wires(Vec<Wire>);

impl Sockets for Wires {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let wire = &mut self.0[slot as usize];
        if wire.broken {
            return Sent::Lost;
        }
        let taken = bytes.len().min(wire.space);
        wire.space -= taken;
        wire.taken.extend(&bytes[..taken]);
        Sent::Taken(taken)
    }

    fn watch_writable(&mut self, _slot: u32, _on: bool) {}

    fn urge(&mut self, _slot: u32) {}

    fn finish(&mut self, _slot: u32) {}

    fn close(&mut self, slot: u32) {
        self.0[slot as usize].closed = true;
    }

    fn now_us(&self) -> u64 {
        NOW.us
    }
}

struct World {
    shard: Shard,
    wires: Wires,
    hub: Arc<Hub>,
    metrics: Arc<ShardMetrics>,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let hub = Arc::new(Hub::new(1, 0, &[]));
        let metrics = Arc::new(ShardMetrics::new(&LABELS));
        let shard = Shard::new(Parts {
            index: 0,
            shards: 1,
            hub: hub.clone(),
            config: Arc::new(config),
            metrics: metrics.clone(),
            handlers: Handlers::default(),
            respond: Arc::new(|_, _| {}),
            post: Arc::new(|_, _| unreachable!("no room remembers")),
            seed: [1; 32],
        });
        Self { shard, wires: Wires::default(), hub, metrics }
    }

    /// A member of `room` that has read all it was told, and takes so many bytes more.
    fn member(&mut self, space: usize) -> u32 {
        let slot = self.connect();
        self.say(slot, r#"{"type":"subscribe","room":"room"}"#);
        self.flush();
        self.wires.0[slot as usize].taken.clear();
        self.wires.0[slot as usize].space = space;
        slot
    }

    fn connect(&mut self) -> u32 {
        let newcomer = Newcomer::default();
        self.hub.admission.admit(None, 0, 0).unwrap();
        let slot = self.shard.open(NOW, newcomer).unwrap().slot;
        self.wires.0.resize_with(self.wires.0.len().max(slot as usize + 1), Wire::default);
        self.wires.0[slot as usize] = Wire { space: usize::MAX, ..Wire::default() };
        slot
    }

    fn say(&mut self, slot: u32, text: &str) {
        self.receive(slot, &mut frame(0x81, text.as_bytes()));
    }

    fn receive(&mut self, slot: u32, bytes: &mut [u8]) {
        self.shard.receive(NOW, slot, bytes, &mut self.wires);
    }

    /// A publication of the embedding program with so many bytes of data.
    fn publish(&mut self, bytes: usize) {
        let data = Some(format!("\"{}\"", "x".repeat(bytes)));
        self.shard.outside_publish(NOW, &Selector::room("room"), &Draft::new("message", data.as_deref()));
    }

    fn flush(&mut self) {
        self.shard.flush(NOW, &mut self.wires);
    }

    fn mail(&mut self, request: Request) {
        self.shard.mail(NOW, Mail::Request(request), &mut self.wires);
    }

    /// Tells the shard that a transport takes bytes again.
    fn writable(&mut self, slot: u32) {
        self.wires.0[slot as usize].space = usize::MAX;
        self.shard.writable(NOW, slot, &mut self.wires);
    }

    fn closing(&self, slot: u32) -> Option<CloseReason> {
        self.shard.inspect(slot).and_then(|seen| seen.closing)
    }

    /// The close code at the end of what a transport has taken.
    fn close_code(&self, slot: u32) -> Option<u16> {
        let frames = frames(&self.wires.0[slot as usize].taken);
        frames.last().filter(|frame| frame[0] == 0x88).map(|frame| u16::from_be_bytes([frame[2], frame[3]]))
    }
}

/// A client's frame of up to 65,535 bytes, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    let mut frame = match len {
        0..126 => vec![first, 0x80 | len as u8],
        _ => [&[first, 0x80 | 126], &len.to_be_bytes()[..]].concat(),
    };
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The whole frames at the start of what a server sent.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while bytes.len() >= 4 {
        let len = match bytes[1] {
            126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            len => 2 + usize::from(len),
        };
        let Some((frame, rest)) = bytes.split_at_checked(len) else { break };
        frames.push(frame);
        bytes = rest;
    }
    frames
}

#[test]
fn a_begun_frame_larger_than_what_the_node_has_left_stalls_no_shard() {
    let mut world = World::new(|config| config.limits.outboxes_bytes_max = 20 * 1024);
    // Takes the start of a frame that fills the node's bound but for a little.
    let large = world.member(10);
    world.publish(20_000);
    world.flush();
    let small = world.member(0);
    world.publish(300);
    world.flush();
    // One eviction cannot make room, so both go, largest first.
    assert_eq!(world.closing(large), Some(CloseReason::SlowConsumer));
    assert_eq!(world.closing(small), Some(CloseReason::SlowConsumer));
    world.writable(large);
    assert_eq!(world.close_code(large), Some(4430));
    assert_eq!(
        frames(&world.wires.0[large as usize].taken).len(),
        2,
        "the frame that had begun, and the close"
    );
}

#[test]
fn another_shards_need_evicts_whoever_can_still_be_evicted() {
    let mut world = World::new(|_| {});
    let large = world.member(10);
    let small = world.member(10);
    world.publish(20_000);
    world.flush();
    world.mail(Request::EvictLargest);
    let first = if world.closing(large).is_some() { large } else { small };
    let other = large + small - first;
    assert_eq!(world.closing(other), None);
    // The one that is being closed holds as much as the other, but has nothing left to give.
    world.mail(Request::EvictLargest);
    assert_eq!(world.closing(other), Some(CloseReason::SlowConsumer));
}

#[test]
fn nothing_is_written_after_what_was_cut() {
    let mut world = World::new(|config| config.limits.outbox_bytes_max = 1000);
    let slow = world.member(0);
    world.publish(600);
    world.flush();
    // The first does not fit and costs the backlog; the second would fit into what that leaves.
    world.publish(600);
    world.publish(10);
    world.writable(slow);
    let taken = &world.wires.0[slow as usize].taken;
    assert_eq!(frames(taken).len(), 1, "{}", String::from_utf8_lossy(taken));
    assert_eq!(world.close_code(slow), Some(4430));
    assert_eq!(world.metrics.drops.total(), 3);
}

#[test]
fn who_passes_a_bound_during_the_writes_is_evicted_before_the_tick_ends() {
    let mut world = World::new(|config| config.limits.outbox_bytes_max = 1000);
    let slow = world.member(0);
    let last = world.member(usize::MAX);
    world.publish(2000);
    // The last entry of the dirty list is one that needs no write any more.
    world.shard.lost(last, &mut world.wires);
    world.flush();
    assert_eq!(world.closing(slow), Some(CloseReason::SlowConsumer));
}

#[test]
fn a_slots_next_tenant_does_not_pay_for_the_one_before() {
    let mut world = World::new(|config| config.limits.outbox_bytes_max = 1000);
    let slow = world.member(0);
    world.publish(600);
    world.flush();
    world.publish(600);
    world.shard.lost(slow, &mut world.wires);
    let next = world.connect();
    assert_eq!(next, slow, "the slot is used again");
    world.flush();
    assert_eq!(world.closing(next), None);
    assert_eq!(world.metrics.drops.total(), 2);
}

#[test]
fn what_a_lost_connection_was_owed_is_counted_as_dropped() {
    let mut world = World::new(|_| {});
    let member = world.member(usize::MAX);
    let delivered = world.metrics.deliveries.get();
    world.publish(10);
    world.publish(10);
    world.wires.0[member as usize].broken = true;
    world.flush();
    assert!(world.wires.0[member as usize].closed);
    assert_eq!((world.metrics.deliveries.get(), world.metrics.drops.total()), (delivered, 2));
}

#[test]
fn the_close_frame_of_a_peer_is_found_behind_a_message_under_way() {
    let mut world = World::new(|_| {});
    let member = world.member(usize::MAX);
    let message = [frame(0x01, b"{\"type\":"), frame(0x80, b"\"ping\"}")].concat();
    let (mut begin, mut rest) = (message[..20].to_vec(), message[20..].to_vec());
    world.receive(member, &mut begin);
    let to = world.shard.inspect(member).unwrap().id;
    world.mail(Request::Disconnect { to, reason: None, reply: Box::new(|found| assert!(found)) });
    world.flush();
    world.receive(member, &mut rest);
    assert_eq!(world.closing(member), Some(CloseReason::Disconnected));
    world.receive(member, &mut frame(0x88, &4440u16.to_be_bytes()));
    assert!(world.wires.0[member as usize].closed);
    assert_eq!(world.close_code(member), Some(4440));
    assert_eq!(world.metrics.protocol_errors.get(), 0);
}

#[test]
fn a_change_of_the_rules_reviews_memberships_in_steps() {
    let mut world = World::new(|_| {});
    let members: Vec<u32> = (0..3000).map(|_| world.member(usize::MAX)).collect();
    let mut config = Config::clone(world.shard.config());
    config.access.default = AccessDefault::Deny;
    world.mail(Request::Reconfigure(Arc::new(config)));
    let first = members[0];
    world.say(first, r#"{"type":"publish","room":"room"}"#);
    let mut steps = 0;
    while world.shard.has_more() {
        world.shard.advance(NOW, &mut world.wires);
        world.flush();
        steps += 1;
    }
    assert_eq!(steps, 2, "4,096 memberships and connections at a time");
    for slot in members {
        let text = String::from_utf8_lossy(&world.wires.0[slot as usize].taken);
        let told = [r#""type":"unsubscribed""#, r#""error":"access denied to this room""#];
        assert!(told.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(text.contains("permission denied"), slot == first, "{text}");
        assert!(!text.contains(r#""type":"message""#), "{text}");
    }
    assert_eq!(world.metrics.members.get(), 0);
    // The same rules again: who the connections are is looked at, and no membership.
    let same = Arc::clone(world.shard.config());
    world.mail(Request::Reconfigure(same));
    world.shard.advance(NOW, &mut world.wires);
    assert!(!world.shard.has_more(), "3,000 connections are one step");
}

#[test]
fn sweeps_close_what_has_idled_and_nothing_else() {
    // The times at which connections that came 1 s after the start are closed, in s.
    let closed = |idle_s: u64, cleanup_s: u64, until_s: u64| {
        let mut world = World::new(|config| {
            config.times.ping_interval = Duration::ZERO;
            config.times.idle_timeout = Duration::from_secs(idle_s);
            config.times.cleanup_interval = Duration::from_secs(cleanup_s);
        });
        let (slot, other) = (world.connect(), world.connect());
        let mut closed_s = None;
        for s in 1..=until_s {
            let now = Now { us: s * 1_000_000 + 200_000, unix_ms: NOW.unix_ms };
            // One that says something each second never idles.
            world.shard.receive(now, other, &mut frame(0x81, br#"{"type":"ping"}"#), &mut world.wires);
            world.shard.advance(now, &mut world.wires);
            world.shard.flush(now, &mut world.wires);
            if world.closing(slot) == Some(CloseReason::Idle) && closed_s.is_none() {
                closed_s = Some(s);
            }
        }
        assert_eq!(world.closing(other), None);
        (closed_s, world.metrics.cleanups.get(), world.metrics.cleanup_closed.get())
    };
    assert_eq!(closed(5, 0, 9), (Some(6), 0, 0), "without sweeps when it is due");
    assert_eq!(closed(5, 4, 9), (Some(8), 2, 1), "with the first sweep after that");
    assert_eq!(closed(5, 60, 11), (Some(10), 2, 1), "sweeps are no further apart than idle_timeout");
    assert_eq!(closed(0, 4, 9), (None, 0, 0), "nothing to look for");
}

#[test]
fn an_orderly_end_keeps_its_close_frame_within_the_bounds() {
    let mut world = World::new(|config| config.limits.outbox_bytes_max = 1000);
    let member = world.member(0);
    // Passes the bound even with the reserve of a connection that is being closed.
    world.publish(6000);
    world.mail(Request::Drain(Duration::ZERO));
    world.shard.advance(NOW, &mut world.wires);
    world.flush();
    let seen = world.shard.inspect(member).unwrap();
    assert_eq!(seen.closing, Some(CloseReason::ShuttingDown));
    assert!(seen.backlog_bytes < 1000, "{} bytes", seen.backlog_bytes);
    world.writable(member);
    assert_eq!(world.close_code(member), Some(1001));
    assert_eq!(world.metrics.drops.total(), 1);
}

#[test]
fn a_drain_closes_connections_evenly_over_its_time() {
    // How many are closed when, of so many, over so long.
    let closed = |members: u32, over: Duration| {
        let mut world = World::new(|_| {});
        (0..members).for_each(|_| _ = world.connect());
        world.mail(Request::Drain(over));
        let mut now = NOW;
        let mut closed = Vec::new();
        while let Some(due_ms) = world.shard.deadline_ms().filter(|_| closed.last() != Some(&members)) {
            now.us = now.us.max(due_ms * 1000);
            world.shard.advance(now, &mut world.wires);
            closed.push((0..members).filter(|slot| world.closing(*slot).is_some()).count() as u32);
        }
        assert_eq!(closed.last(), Some(&members));
        (closed, Duration::from_micros(now.us - NOW.us))
    };
    let (steps, took) = closed(600, Duration::from_secs(4));
    let evenly: Vec<u32> = (1..=60).map(|step| step * 10).collect();
    assert_eq!((steps, took), (evenly, Duration::from_millis(2950)), "three quarters of the time");
    let (steps, took) = closed(90, Duration::from_secs(4));
    assert_eq!((steps[..4].to_vec(), took), (vec![1, 3, 4, 6], Duration::from_millis(2950)));
    // So few that one in each step is no herd.
    assert_eq!(closed(3, Duration::from_secs(60)), (vec![1, 2, 3], Duration::from_millis(100)));
    assert_eq!(closed(100, Duration::ZERO), (vec![100], Duration::ZERO));
}

#[test]
fn one_turn_of_a_drain_is_bounded() {
    let mut world = World::new(|_| {});
    (0..10_000).for_each(|_| _ = world.connect());
    world.mail(Request::Drain(Duration::ZERO));
    let mut turns = 0;
    while world.shard.deadline_ms().is_some_and(|due_ms| due_ms <= NOW.ms()) {
        world.shard.advance(NOW, &mut world.wires);
        turns += 1;
        let closing = (0..10_000).filter(|slot| world.closing(*slot).is_some()).count();
        assert_eq!(closing, (turns * 4096).min(10_000));
    }
    assert_eq!(turns, 3);
}
