/// What the shard does to the outside: the only way in which it has effects on connections. `io` carries them out
/// on real sockets, the tests on byte pipes.
pub trait Sockets {
    /// Hands bytes to the transport; says how many it took.
    fn send(&mut self, slot: u32, bytes: &[u8]) -> Sent;
    /// Hands the same bytes to several transports, each of which is there once, as [`Sockets::send`] does one after the
    /// other; adds how it went with each to `sent`, in order.
    fn send_to_each(&mut self, slots: &[u32], bytes: &[u8], sent: &mut Vec<Sent>) {
        sent.extend(slots.iter().map(|slot| self.send(*slot, bytes)));
    }
    /// Asks to be told (by `Shard::writable`) when a transport that refused bytes takes some again.
    fn watch_writable(&mut self, slot: u32, on: bool);
    /// Lets the transport hold what is left to say although it would rather refuse: the last frames before the end.
    fn urge(&mut self, slot: u32);
    /// Tells that the next bytes are the last before the transport is closed, so that both may go as one.
    fn closes_after(&mut self, _slot: u32) {}
    /// Ends our side of the transport: the peer reads to the end, and what it sends is still received.
    fn finish(&mut self, slot: u32);
    /// Closes the transport and forgets the slot.
    fn close(&mut self, slot: u32);
    /// Microseconds of the shard's clock, for the latency of a tick that has just been written.
    fn now_us(&self) -> u64;
}

/// How a send went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The transport took that many bytes (fewer than given: it is blocked).
    Taken(usize),
    /// The transport is broken.
    Lost,
}
