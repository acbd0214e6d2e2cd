//! How connections end: evictions, the closing handshake, and what is left to do when all that was owed is out.

use crate::base::{Key, Mutation, mutated};
use crate::model::{CloseReason, DropReason, Eviction};
use crate::shard::conn::{Conn, State};
use crate::shard::life::drain::Drain;
use crate::shard::output::backlog::charge;
use crate::shard::{Now, Shard, Sockets};
use crate::wire;

/// A connection that is evicted as soon as no walk over connections is under way.
#[derive(Debug)]
struct Doomed {
    key: Key,
    /// The bound that it has met.
    bound: DropReason,
    /// What waited for it then.
    backlog_bytes: usize,
}

/// Connections that are being closed, and those that must be.
#[derive(Debug, Default)]
pub(in crate::shard) struct Endings {
    /// Number of connections that are being closed.
    closing: usize,
    /// Connections to evict as soon as no walk over connections is under way.
    doomed: Vec<Doomed>,
    /// Connections to close then for another reason.
    unheeding: Vec<(Key, CloseReason)>,
    /// The end of all, when that has begun.
    pub drain: Option<Drain>,
}

impl Endings {
    /// Whether connections must be evicted.
    pub fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// Whether that is so of this connection.
    pub fn is_doomed(&self, key: Key) -> bool {
        self.doomed.iter().any(|doomed| doomed.key == key)
    }

    /// A connection that was being closed is gone.
    pub fn closed(&mut self) {
        self.closing -= 1;
    }
}

impl Shard {
    /// Ends what can end of a connection that is being closed, if all that it is owed is out.
    #[inline]
    pub(in crate::shard) fn all_sent(&mut self, slot: u32, sockets: &mut impl Sockets) {
        // Most often there is none, and no connection's entry has to be fetched from memory after its write.
        if self.endings.closing > 0 && self.owed.is_clear(slot) {
            self.end_if_closing(slot, sockets);
        }
    }

    fn end_if_closing(&mut self, slot: u32, sockets: &mut impl Sockets) {
        match self.conns.at(slot).map(|conn| conn.state) {
            Some(State::Closing { peer_closed: true, .. }) => self.remove(slot, sockets),
            Some(State::Closing { deaf: true, .. }) => sockets.finish(slot),
            _ => {}
        }
    }

    /// Whether [`Shard::evict_doomed`] has something to do.
    #[inline]
    pub(in crate::shard) fn has_doomed(&self) -> bool {
        self.endings.has_doomed() || !self.endings.unheeding.is_empty()
    }

    /// Closes the connections whose outboxes passed their bound, or that heed no budget.
    pub(in crate::shard) fn evict_doomed(&mut self, now: Now, sockets: &mut impl Sockets) {
        while let Some((key, reason)) = self.endings.unheeding.pop() {
            if self.conns.key(key.slot) == Some(key) {
                self.close(now, key.slot, reason, sockets);
            }
        }
        while let Some(Doomed { key, bound, backlog_bytes }) = self.endings.doomed.pop() {
            // The slot's next tenant has done nothing wrong.
            if self.conns.key(key.slot) == Some(key) {
                self.evict(now, key.slot, Eviction::Full(bound), backlog_bytes, sockets);
            }
        }
    }

    /// Drops the backlog of a connection that has met a bound, and has it evicted as soon as no walk over connections
    /// is under way.
    pub(in crate::shard) fn doom(&mut self, slot: u32, bound: DropReason) {
        let backlog_bytes = self.conns.at(slot).map_or(0, |conn| conn.backlog_bytes());
        self.cut_backlog(slot, bound);
        self.doom_cut(slot, bound, backlog_bytes);
    }

    /// Has a connection closed as soon as no walk over connections is under way.
    pub(in crate::shard) fn doom_for(&mut self, slot: u32, reason: CloseReason) {
        self.endings.unheeding.extend(self.conns.key(slot).map(|key| (key, reason)));
    }

    /// As [`Shard::doom`], for a connection whose backlog of so many bytes is dropped already.
    pub(in crate::shard) fn doom_cut(&mut self, slot: u32, bound: DropReason, backlog_bytes: usize) {
        let key = self.conns.key(slot);
        self.endings.doomed.extend(key.map(|key| Doomed { key, bound, backlog_bytes }));
    }

    /// Cuts a slow consumer off: drops its backlog, which has or had so many bytes, and closes it with 4430.
    pub(in crate::shard) fn evict(
        &mut self,
        now: Now,
        slot: u32,
        cause: Eviction,
        backlog_bytes: usize,
        sockets: &mut impl Sockets,
    ) {
        if self.conns.at(slot).is_none_or(|conn| !conn.is_open()) {
            return;
        }
        self.log_eviction(now, slot, cause, backlog_bytes);
        self.close(now, slot, CloseReason::SlowConsumer, sockets);
    }

    /// Closes a connection with the usual code and text of a reason.
    pub(in crate::shard) fn close(
        &mut self,
        now: Now,
        slot: u32,
        reason: CloseReason,
        sockets: &mut impl Sockets,
    ) {
        self.close_with(now, slot, reason, reason.code(), reason.text(), sockets);
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2): leaves the rooms, says why, and gives the peer
    /// `close_wait` to answer.
    pub(in crate::shard) fn close_with(
        &mut self,
        now: Now,
        slot: u32,
        reason: CloseReason,
        code: u16,
        text: &str,
        sockets: &mut impl Sockets,
    ) {
        let Some(conn) = self.begin_closing(now, slot, reason) else { return };
        // The start of a frame is kept: without it the rest could not be told from the peer's close frame.
        conn.assembler = None;
        let farewell = self.end_talk(slot, reason);
        self.recharge_input(slot);
        if !mutated(Mutation::StayInRooms) {
            self.leave_all(slot);
        }
        // Only an orderly end of the node lets what waits go out first.
        match reason {
            CloseReason::ShuttingDown => {}
            CloseReason::SlowConsumer => self.cut_backlog(slot, DropReason::Outbox),
            _ => self.cut_backlog(slot, DropReason::Closed),
        }
        let entry = self.palette.push_control(|out| wire::write_close(out, code, text));
        let last_words = farewell.into_iter().chain([entry]);
        if self.owed.is_blocked(slot) && self.has_backlog(slot) {
            for last in last_words {
                let frame = self.palette.keep(last);
                self.force_budget(slot, charge(frame.len()));
                if let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) {
                    // Behind all that is left: nothing may come after a close frame.
                    backlog.push(frame, 0);
                }
            }
            sockets.urge(slot);
            self.drain_backlog(now, slot, sockets);
        } else {
            if self.owed.is_blocked(slot) {
                // It was held, with nothing that waits.
                self.owed.clear(slot);
            }
            for last in last_words {
                self.owe(slot, last);
            }
            if reason == CloseReason::PeerClosed {
                sockets.closes_after(slot);
            }
        }
        if self.conns.at(slot).is_some() {
            self.arm(now, slot);
        }
    }

    /// Begins to close a connection that nothing waits for and that is in no room, at the end of the tick.
    pub(in crate::shard) fn close_at_once(&mut self, now: Now, slot: u32, reason: CloseReason) {
        if self.begin_closing(now, slot, reason).is_none() {
            return;
        }
        let entry = self.palette.push_control(|out| wire::write_close(out, reason.code(), reason.text()));
        self.owe(slot, entry);
    }

    /// Counts an open connection as one that is being closed. `None` if it is none.
    fn begin_closing(&mut self, now: Now, slot: u32, reason: CloseReason) -> Option<&mut Conn> {
        let deadline_ds = now.ds().saturating_add(deciseconds(self.config.times.close_wait));
        let conn = self.conns.at_mut(slot).filter(|conn| conn.is_open())?;
        let peer_closed = reason == CloseReason::PeerClosed;
        conn.state = State::Closing { reason, peer_closed, deaf: false, deadline_ds };
        if let Some(terms) = &mut conn.terms {
            terms.look = None;
        }
        self.endings.closing += 1;
        self.metrics.closes.add(reason.index(), 1);
        Some(conn)
    }

    fn has_backlog(&self, slot: u32) -> bool {
        self.conns.at(slot).is_some_and(|conn| conn.backlog.is_some())
    }
}

/// A duration in tenths of a second, rounded up. In 64 bits: every timer that is set asks for several, and a division of
/// 128 bits, such as `as_millis` asks for, is a call.
pub(in crate::shard) fn deciseconds(duration: std::time::Duration) -> u32 {
    let part = u64::from(duration.subsec_nanos().div_ceil(100_000_000));
    u32::try_from(duration.as_secs().saturating_mul(10).saturating_add(part)).unwrap_or(u32::MAX)
}
