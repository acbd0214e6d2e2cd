//! Shards without sockets, for the cases.

use fanwire::config::Config;
use fanwire::hub::Hub;
use fanwire::metrics::ShardMetrics;
use fanwire::model::{DialectId, Identity};
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
    /// Of the members that were asked for by dialect.
    dialects: Vec<&'static str>,
    pub hub: Arc<Hub>,
    pub shard: Shard,
    pub sink: Sink,
}

impl World {
    pub fn new() -> Self {
        Self::of(Config::default())
    }

    pub fn of(config: Config) -> Self {
        let config = Arc::new(config);
        let hub = Arc::new(Hub::new(1, 0, &config.room_rules));
        let parts = Parts {
            index: 0,
            shards: 1,
            hub: hub.clone(),
            config,
            metrics: Arc::new(ShardMetrics::new(&LABELS)),
            handlers: Handlers::default(),
            respond: Arc::new(|_, _| {}),
            post: Arc::new(|_, _| {}),
            seed: [1; 32],
        };
        Self { dialects: Vec::new(), hub, shard: Shard::new(parts), sink: Sink { takes: true } }
    }

    /// A world whose `room` has so many members, with nothing left to write.
    pub fn with_members(members: u32) -> Self {
        let mut world = Self::new();
        world.join(members);
        world
    }

    /// So many further members come into `room`.
    pub fn join(&mut self, members: u32) {
        for number in 0..members {
            let slot = self.connect();
            self.receive(slot, &mut frame(r#"{"type":"subscribe","room":"room"}"#));
            // As ticks do, so that what they have to write has a bound.
            if number % 1000 == 0 {
                self.flush();
            }
        }
        self.flush();
    }

    /// The same with members that speak these dialects by turns.
    pub fn with_members_of(dialects: &[&'static str], members: usize) -> Self {
        let mut world = Self::new();
        for dialect in dialects.iter().cycle().take(members) {
            let newcomer = Newcomer { dialect: spoken(dialect), ..Newcomer::default() };
            let slot = world.shard.open(NOW, newcomer).expect("a slot").slot;
            world.dialects.push(*dialect);
            world.receive(slot, &mut frame(&join_text(dialect)));
        }
        world.flush();
        world
    }

    /// A publication as the first member says it.
    pub fn publish_of_first(&self, data_bytes: usize) -> Vec<u8> {
        frame(&publish_text(self.dialects[0], data_bytes))
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

/// The dialect of this name.
pub fn spoken(name: &str) -> DialectId {
    fanwire::dialect::named(name).expect("a dialect")
}

/// What a client says to join `room`.
fn join_text(dialect: &str) -> String {
    match dialect {
        "channels" => r#"{"type":"JOIN_CHANNEL","channel":"room"}"#,
        "topics" => r#"{"type":"subscribe","channel":"room"}"#,
        "tenants" => r#"{"type":"join_channel","data":{"channel":"room"}}"#,
        _ => r#"{"type":"subscribe","room":"room"}"#,
    }
    .to_owned()
}

/// What a client says to publish to `room` so many bytes of data.
pub fn publish_text(dialect: &str, data_bytes: usize) -> String {
    let data = format!("\"{}\"", "x".repeat(data_bytes - 2));
    match dialect {
        "channels" => format!(r#"{{"type":"message","channel":"room","data":{data}}}"#),
        "topics" => format!(r#"{{"type":"publish","channel":"room","data":{data}}}"#),
        "tenants" => {
            format!(r#"{{"type":"send_message","data":{{"channel":"room","message":{data}}}}}"#)
        }
        _ => format!(r#"{{"type":"publish","room":"room","data":{data}}}"#),
    }
}

/// A publication to `room` with so many bytes of data.
pub fn publish(data_bytes: usize) -> Vec<u8> {
    frame(&publish_text("rooms", data_bytes))
}
