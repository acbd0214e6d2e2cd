//! The network between one client and its shard: bytes that split, stall, and are cut.

use super::frames::Counter;
use fanwire::shard::{Sent, Sockets};
use std::collections::VecDeque;

/// Bytes that an urged transport holds beyond its capacity.
const URGED_BYTES: usize = 16 * 1024;

/// Both directions of one connection's transport.
#[derive(Debug, Default)]
pub struct Pipe {
    /// On its way to the server.
    pub up: VecDeque<u8>,
    /// On its way to the client.
    pub down: VecDeque<u8>,
    /// Bytes that `down` takes before it refuses.
    pub capacity: usize,
    urged: bool,
    watched: bool,
    /// Something changed since the last event, as an edge-triggered poll tells it (epoll(7)).
    edge: bool,
    pub progress: Progress,
    /// What the transport has taken.
    pub taken: Counter,
    /// When a ping was last taken whole.
    pub pinged_us: u64,
    /// What it was like before the present call of the shard.
    pub before: Progress,
    /// Nothing passes any more, and both ends get to know.
    pub cut: bool,
    /// The client has shut its side down: the server reads the end once `up` is empty.
    pub client_closed: bool,
    /// The server will send nothing more, but reads on.
    pub finished: bool,
    /// The server has closed.
    pub server_closed: bool,
}

/// How a transport has taken what it was given.
#[derive(Debug, Default, Clone, Copy)]
pub struct Progress {
    /// Sends that were refused in part or whole.
    pub refusals: u64,
    /// The last send was one of those.
    pub full: bool,
    /// When some bytes were last taken, or refused for the first time after all were taken.
    pub since_us: u64,
    pub frames: u64,
    pub bytes: u64,
}

impl Pipe {
    /// `wrapped`: for the sixth dialect.
    pub fn new(capacity: usize, wrapped: bool) -> Self {
        Self { capacity, taken: Counter::new(wrapped), ..Self::default() }
    }

    fn space(&self) -> usize {
        let capacity = self.capacity + if self.urged { URGED_BYTES } else { 0 };
        capacity.saturating_sub(self.down.len())
    }

    /// Lets `down` hold that much.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.edge |= capacity > self.capacity;
        self.capacity = capacity;
    }

    /// Takes bytes out for the client.
    pub fn read_down(&mut self, bytes: usize) -> impl Iterator<Item = u8> {
        self.edge |= bytes > 0;
        self.down.drain(..bytes.min(self.down.len()))
    }

    /// Whether the server is told now that the transport takes bytes (or that it is broken). Told once for each
    /// change.
    pub fn take_writable_event(&mut self) -> bool {
        let told = self.watched && self.edge && (self.space() > 0 || self.cut);
        self.edge &= !told;
        told
    }

    /// Whether the server has something to read: bytes or the end.
    pub fn is_readable(&self) -> bool {
        !self.up.is_empty() || self.client_closed || self.cut
    }

    /// Breaks the transport. The bytes on their way are lost, but for the first `kept` of those to the client.
    pub fn cut(&mut self, kept: usize) {
        self.cut = true;
        self.edge = true;
        self.up.clear();
        self.down.truncate(kept);
    }
}

/// The transports of one shard, by slot: its way to the outside during one call.
pub struct Wires<'a> {
    pub pipes: &'a mut [Pipe],
    pub table: &'a mut Vec<Option<usize>>,
    pub now_us: u64,
    /// The first thing that the shard did wrong.
    pub wrong: &'a mut Option<String>,
}

impl Wires<'_> {
    fn pipe(&mut self, slot: u32, act: &str) -> Option<&mut Pipe> {
        let index = self.table.get(slot as usize).copied().flatten();
        if index.is_none() {
            self.wrong.get_or_insert_with(|| format!("{act} on slot {slot}, which has no transport"));
        }
        index.map(|index| &mut self.pipes[index])
    }
}

impl Sockets for Wires<'_> {
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent {
        let now_us = self.now_us;
        let Some(pipe) = self.pipe(slot, "send") else { return Sent::Lost };
        if pipe.cut {
            return Sent::Lost;
        }
        if pipe.finished {
            self.wrong.get_or_insert_with(|| format!("sent to slot {slot} after its end was said"));
            return Sent::Lost;
        }
        let taken = bytes.len().min(pipe.space());
        let pings = pipe.taken.pings;
        pipe.down.extend(&bytes[..taken]);
        if let Err(error) = pipe.taken.push(&bytes[..taken]) {
            self.wrong.get_or_insert(format!("sent to slot {slot}: {error}"));
            return Sent::Lost;
        }
        if pipe.taken.pings > pings {
            pipe.pinged_us = now_us;
        }
        let Progress { refusals, full, since_us, .. } = pipe.progress;
        let short = taken < bytes.len();
        pipe.progress = Progress {
            refusals: refusals + u64::from(short),
            full: short,
            since_us: if taken > 0 || !full { now_us } else { since_us },
            frames: pipe.taken.frames,
            bytes: pipe.taken.bytes,
        };
        Sent::Taken(taken)
    }

    fn watch_writable(&mut self, slot: u32, on: bool) {
        if let Some(pipe) = self.pipe(slot, "watch") {
            pipe.watched = on;
            pipe.edge = on;
        }
    }

    fn urge(&mut self, slot: u32) {
        if let Some(pipe) = self.pipe(slot, "urge") {
            pipe.urged = true;
        }
    }

    fn finish(&mut self, slot: u32) {
        if let Some(pipe) = self.pipe(slot, "finish") {
            pipe.finished = true;
        }
    }

    fn close(&mut self, slot: u32) {
        if let Some(pipe) = self.pipe(slot, "close") {
            pipe.server_closed = true;
            self.table[slot as usize] = None;
        }
    }

    fn now_us(&self) -> u64 {
        self.now_us
    }
}
