//! Shards without sockets, for the cases.

use fanwire::config::Config;
use fanwire::hub::Hub;
use fanwire::metrics::ShardMetrics;
use fanwire::model::Identity;
use fanwire::shard::{Handlers, LABELS, Newcomer, Now, Parts, Sent, Shard, Sockets};
use std::sync::Arc;

/// What the shards count by.
/// The time of every call.
pub const NOW: Now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };

/// Sockets that take everything, or nothing.
pub struct Sink {
    pub takes: bool,
}

impl Sockets for Sink {
    fn send(&mut self, _slot: u32, bytes: &[u8]) -> Sent {
        Sent::Taken(if self.takes { std::hint::black_box(bytes).len() } else { 0 })
    }

    fn watch_writable(&mut self, _slot: u32, _on: bool) {}

    fn urge(&mut self, _slot: u32) {}

    fn finish(&mut self, _slot: u32) {}

    fn close(&mut self, _slot: u32) {}

    fn now_us(&self) -> u64 {
        NOW.us
    }
}

/// One shard of a node with one.
pub struct World {
    pub shard: Shard,
    pub sink: Sink,
}

impl World {
    pub fn new() -> Self {
        Self::of(Config::default())
    }

    pub fn of(config: Config) -> Self {
        let config = Arc::new(config);
        let parts = Parts {
            index: 0,
            shards: 1,
            hub: Arc::new(Hub::new(1, 0, &[])),
            config,
            metrics: Arc::new(ShardMetrics::new(&LABELS)),
            handlers: Handlers::default(),
            respond: Arc::new(|_, _| {}),
            post: Arc::new(|_, _| {}),
            seed: 1,
        };
        Self { shard: Shard::new(parts), sink: Sink { takes: true } }
    }

    /// A world whose `room` has so many members, with nothing left to write.
    pub fn with_members(members: u32) -> Self {
        let mut world = Self::new();
        for _ in 0..members {
            let slot = world.connect();
            world.receive(slot, &mut frame(r#"{"type":"subscribe","room":"room"}"#));
        }
        world.flush();
        world
    }

    pub fn connect(&mut self) -> u32 {
        self.connect_as(None)
    }

    /// A connection of a user of the tenant `t`.
    pub fn connect_as(&mut self, user: Option<&str>) -> u32 {
        let identity = |user: &str| {
            let (user, tenant) = (Some(user.into()), Some("t".into()));
            Arc::new(Identity { user, tenant, ..Identity::default() })
        };
        let newcomer = Newcomer { identity: user.map(identity), ..Newcomer::default() };
        self.shard.open(NOW, newcomer).expect("a slot").slot
    }

    pub fn receive(&mut self, slot: u32, bytes: &mut [u8]) {
        self.shard.receive(NOW, slot, bytes, &mut self.sink);
    }

    pub fn flush(&mut self) {
        self.shard.flush(NOW, &mut self.sink);
    }
}

/// A masked text frame.
pub fn frame(text: &str) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![0x81];
    match text.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A publication to `room` with so many bytes of data.
pub fn publish(data_bytes: usize) -> Vec<u8> {
    frame(&format!(r#"{{"type":"publish","room":"room","data":"{}"}}"#, "x".repeat(data_bytes - 2)))
}
