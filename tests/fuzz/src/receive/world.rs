//! A shard, its hub, one connection, and a clock.

use super::outside::{Outside, SLOT};
use super::script::Script;
use fanwire::base::Pattern;
use fanwire::config::{Overflow, RoomPolicy, RoomRule};
use fanwire::hub::Hub;
use fanwire::metrics::ShardMetrics;
use fanwire::model::{ConnectionId, Selector};
use fanwire::shard::{Handlers, LABELS, Mail, Message, Newcomer, Now, Parts, Reading, Request, Route, Shard};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What an outbox may hold beyond its bound: answers and control frames (4 KiB, as the shard has it), a close frame,
/// and the bookkeeping of each.
const RESERVE_BYTES: usize = 4096 + 127 + 3 * 40;

/// What a publication adds to its data: names, ids, times.
const ENVELOPE_BYTES: usize = 1024;

/// How it ended.
#[derive(Debug, PartialEq)]
pub struct Ending {
    /// All that the client got.
    pub bytes: Vec<u8>,
    finished: bool,
    closed: bool,
}

/// See the module.
pub struct World {
    shard: Shard,
    hub: Arc<Hub>,
    metrics: Arc<ShardMetrics>,
    outside: Outside,
    now: Now,
    /// What the handler of `job` has to say, on its way to the connection.
    replies: Arc<Mutex<Vec<(ConnectionId, Message)>>>,
    outbox_bytes_max: usize,
    may_be_held: bool,
}

impl World {
    /// A connection that is open and greeted, at a transport that takes `room` bytes.
    pub fn new(script: &Script<'_>, room: usize) -> Self {
        // Of the two rooms that others publish to, one may lose what it is not in time for.
        let rule = RoomRule {
            pattern: Pattern::parse("b").expect("a pattern"),
            policy: RoomPolicy { overflow: Overflow::DropOldest, ..RoomPolicy::default() },
        };
        let hub = Arc::new(Hub::new(1, 42, &[rule]));
        let metrics = Arc::new(ShardMetrics::new(&LABELS));
        let config = script.config();
        let hears_itself = config.deliver_to_sender;
        let echo_bytes = if script.is_echo() { script.limits().message_bytes_max + 50 } else { 0 };
        let outbox_bytes_max = config.limits.outbox_bytes_max + echo_bytes;
        let may_be_held = script.may_be_held();
        let replies = Arc::new(Mutex::new(Vec::new()));
        let collect = Arc::clone(&replies);
        let handlers = Handlers::default();
        handlers.set(
            "job",
            Arc::new(|request| match request.data() {
                "null" => request.error("nothing to do"),
                data => request.reply("done", &data).expect("a text is JSON"),
            }),
        );
        let shard = Shard::new(Parts {
            index: 0,
            shards: 1,
            hub: hub.clone(),
            config: Arc::new(config),
            metrics: metrics.clone(),
            handlers,
            respond: Arc::new(move |to, message| {
                collect.lock().expect("one thread").push((to, message));
            }),
            post: Arc::new(|_, _| unreachable!("no room remembers")),
            seed: [7; 32],
        });
        let now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };
        let outside = Outside { room, now_us: now.us, ..Outside::default() };
        let mut world = Self { shard, hub, metrics, outside, now, replies, outbox_bytes_max, may_be_held };
        world.hub.admission.admit(None, 0, 0).expect("no limit");
        let route = || Route { endpoint: 0, parameters: vec![("id".to_owned(), "a".to_owned())] };
        let newcomer = Newcomer {
            echo: script.is_echo(),
            hears_itself,
            route: script.is_routed().then(route),
            batch: script.batch(),
            ..Newcomer::default()
        };
        let key = world.shard.open(world.now, newcomer).expect("an empty shard");
        assert_eq!(key.slot, SLOT);
        world.end_tick();
        world
    }

    /// Bytes came. Where they are more than a share, the rest has its turn at once.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        while !self.outside.closed {
            self.shard.receive(self.now, SLOT, &mut bytes, &mut self.outside);
            if self.shard.reading(SLOT) != Some(Reading::Paused) {
                break;
            }
            bytes.clear();
        }
    }

    /// The tick ends as the contract of the shard has it.
    pub fn end_tick(&mut self) {
        self.shard.advance(self.now, &mut self.outside);
        self.shard.flush(self.now, &mut self.outside);
        assert!(self.shard.take_outgoing(0).is_none(), "mail for itself");
        if let Some(deadline_ms) = self.shard.deadline_ms() {
            assert!(deadline_ms + 200 > self.now.ms(), "a deadline that has passed is still to come");
        }
        assert_eq!(self.shard.connections() == 0, self.outside.closed, "forgotten on one side");
    }

    /// Something happens that is no received byte; `event` tells what.
    pub fn event(&mut self, event: u8) {
        let amount = usize::from(event & 0x3F);
        match event >> 6 {
            0 => {}
            1 => {
                self.outside.room = self.outside.room.saturating_add(amount * amount);
                self.writable();
            }
            2 => {
                self.now.us += 500_000 * amount as u64;
                self.now.unix_ms += 500 * amount as u64;
                self.outside.now_us = self.now.us;
            }
            _ => self.ask(event),
        }
    }

    fn ask(&mut self, event: u8) {
        let data = Some(format!("\"{}\"", "x".repeat(usize::from(event) * 8)));
        let publish = |to| Request::Publish {
            to: Box::new(to),
            event: "e".to_owned(),
            data,
            whole: None,
            reply: Box::new(|_| {}),
        };
        let first = self.replies.lock().expect("one thread").pop();
        let request = match (event & 7, first) {
            (0, _) => publish(Selector::all()),
            (1, _) => publish(Selector::room("a")),
            (2, _) => publish(Selector::room("b")),
            (3, _) if event & 8 != 0 => Request::EvictLargestInput,
            (3, _) => Request::EvictLargest,
            (4, _) if event & 0x38 == 0 => Request::Drain(Duration::from_secs(1)),
            (5, Some((to, _))) if event & 0x38 == 0 => {
                Request::Disconnect { to, reason: None, reply: Box::new(|_| {}) }
            }
            (6, _) => Request::Reconfigure(self.shard.config().clone()),
            (_, Some((to, message))) => Request::Send { to, message, reply: Box::new(|_| {}) },
            (_, None) => Request::Slow { limit: 3, reply: Box::new(|slow| assert!(slow.len() <= 1)) },
        };
        self.shard.mail(self.now, Mail::Request(request), &mut self.outside);
    }

    /// The transport takes all from now on.
    pub fn unblock(&mut self) {
        self.outside.room = usize::MAX;
        while self.outside.watched && !self.outside.closed {
            self.writable();
        }
    }

    fn writable(&mut self) {
        if self.outside.watched && !self.outside.closed {
            self.shard.writable(self.now, SLOT, &mut self.outside);
        }
    }

    /// What waits is within its bound, and counted once in each place. `stream_len` bounds what one frame can hold.
    pub fn assert_bounds(&self, stream_len: usize) {
        let held = self.hub.outboxes.bytes();
        assert_eq!(self.metrics.backlog_bytes.get(), held as u64);
        assert_eq!(self.metrics.input_bytes.get(), self.hub.inputs.bytes() as u64);
        // Of a frame that has begun the rest must go out, whatever the bound.
        let frame = stream_len + ENVELOPE_BYTES + 0xFF * 8;
        assert!(held <= self.outbox_bytes_max + RESERVE_BYTES + frame, "{held} bytes wait");
        let blocked = self.metrics.blocked_connections.get();
        // What waits for its time is not blocked.
        assert!(
            blocked == u64::from(held > 0) || self.may_be_held && blocked == 0,
            "{blocked} with {held} bytes"
        );
    }

    /// The transport ends, if it has not yet; nothing may be left.
    pub fn end(mut self) -> Ending {
        let Outside { finished, closed, .. } = self.outside;
        if !closed {
            self.shard.lost(SLOT, &mut self.outside);
        }
        assert!(self.outside.closed);
        self.end_tick();
        assert_eq!(self.hub.outboxes.bytes(), 0, "bytes of the node's budget are lost");
        assert_eq!(self.hub.inputs.bytes(), 0, "bytes of unfinished messages are lost");
        assert_eq!(self.hub.directory.membership_bytes(), 0, "bytes of memberships are lost");
        assert_eq!(self.hub.admission.connections(), 0, "a place is lost");
        assert_eq!(self.hub.echoes.load(std::sync::atomic::Ordering::Relaxed), 0);
        assert!(self.hub.directory.is_empty(), "rooms without members");
        let metrics = &self.metrics;
        let gauges = [&metrics.connections, &metrics.members, &metrics.rooms, &metrics.backlog_bytes];
        assert_eq!(gauges.map(|gauge| gauge.get()), [0; 4]);
        assert_eq!(metrics.blocked_connections.get(), 0);
        assert_eq!(metrics.closes.total(), 1, "each connection ends for one reason");
        assert_eq!(self.shard.deadline_ms(), None, "a timer of nobody");
        Ending { bytes: self.outside.bytes, finished, closed }
    }
}
