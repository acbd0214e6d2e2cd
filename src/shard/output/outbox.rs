//! What connections are owed: answers, the writes at a tick's end, and backlogs.

use crate::base::{Mutation, mutated};
use crate::dialect::dialect;
use crate::model::{Answer, DropReason};
use crate::shard::output::backlog::{Backlog, charge};
use crate::shard::output::owed::Next;
use crate::shard::output::palette::{Kind, ListId};
use crate::shard::{Now, Sent, Shard, Sockets};
use crate::wire;

/// The most bytes that are written of a backlog at one event, so that one fast drain does not hold up the tick.
const DRAIN_BYTES: usize = 1024 * 1024;

impl Shard {
    /// Says something to one connection, in its dialect.
    pub(in crate::shard) fn answer(&mut self, now: Now, slot: u32, answer: &Answer<'_>) {
        self.answer_of_kind(now, slot, answer, None);
    }

    /// As [`Shard::answer`]; `kind` is what the frame is if that is more than an answer.
    pub(in crate::shard) fn answer_of_kind(
        &mut self,
        now: Now,
        slot: u32,
        answer: &Answer<'_>,
        kind: Option<Kind>,
    ) {
        let Some(conn) = self.conns.at(slot).filter(|conn| !conn.echo) else { return };
        let dialect = dialect(conn.dialect);
        let entry = self
            .palette
            .push_answer(|out| wire::message(out, |out| dialect.encode_answer(answer, now.unix_ms, out)));
        // The dialect says nothing.
        if self.palette.frame(entry).len() <= wire::EMPTY_FRAME_BYTES {
            return self.palette.pop(entry);
        }
        self.turn.charge(self.palette.frame(entry).len() as u64);
        if let Some(kind) = kind {
            self.palette.set_kind(entry, kind);
            if let Kind::After(room) = kind
                && self.owed.is_blocked(slot)
            {
                self.hasten(now, slot, room);
            }
        }
        self.owe(slot, entry);
    }

    /// Adds an answer or a control frame of the palette to what a connection is owed.
    pub(in crate::shard) fn owe(&mut self, slot: u32, entry: u32) {
        if mutated(Mutation::WritePastBacklog) && self.owed.is_blocked(slot) {
            self.owed.clear(slot);
        }
        if !self.owed.change(slot, |list| self.palette.extend(list, entry)) {
            self.answer_blocked(slot, entry);
        }
    }

    /// Ends the turn: one write for each of the next connections that are owed something, members of wide rooms among
    /// them. The tick ends when there are none left, and at the latest when its memory is half full.
    pub fn flush(&mut self, now: Now, sockets: &mut impl Sockets) {
        let all = !self.wide.is_empty() || self.palette.is_half_full() || self.owed.is_long();
        if !self.wide.is_empty() {
            self.step_wide();
        }
        let owed = self.owed.unwritten();
        self.write(now, if all { usize::MAX } else { self.turn.steps.turn_writes }, sockets);
        self.turn.next(self.owed.unwritten().min(owed), owed);
    }

    /// Ends the tick in the middle of a turn: one write for each connection that is owed something.
    pub(in crate::shard) fn write_out(&mut self, now: Now, sockets: &mut impl Sockets) {
        self.turn.written(self.owed.unwritten());
        self.write(now, usize::MAX, sockets);
    }

    fn write(&mut self, now: Now, writes_max: usize, sockets: &mut impl Sockets) {
        self.owed.mark(self.palette.len());
        let (mut writes, mut frames_out, mut bytes_out) = (0, 0, 0);
        // Evictions and ends of connections on the way add to what is owed.
        loop {
            let (list, run) = match self.owed.next(writes_max - writes) {
                Some(Next::Run(list, run)) => (list, run),
                Some(Next::Blocked(slot)) => {
                    self.drain_noted(now, slot, sockets);
                    continue;
                }
                None if !self.endings.has_doomed() => break,
                None => {
                    self.evict_doomed(now, sockets);
                    continue;
                }
            };
            writes += run.len();
            let mut sent = std::mem::take(&mut self.owed.sent);
            let bytes = self.palette.bytes(list);
            let len = bytes.len();
            sockets.send_to_each(self.owed.of(run.clone()), bytes, &mut sent);
            for (at, sent) in (run.start..).zip(sent.drain(..)) {
                let slot = self.owed.at(at);
                // What becomes of one of them owes the others nothing yet: evictions, notices of presence and ends of
                // other connections wait for the end of the run.
                debug_assert!(self.owed.is_clear(slot));
                match sent {
                    Sent::Taken(taken) if taken == len => {
                        frames_out += u64::from(self.palette.frames(list));
                        bytes_out += taken as u64;
                        self.all_sent(slot, sockets);
                    }
                    Sent::Taken(taken) => {
                        bytes_out += taken as u64;
                        let left = self.block(now, slot, list, taken, sockets);
                        frames_out += u64::from(self.palette.frames(list) - left);
                    }
                    Sent::Lost => {
                        // Removal counts what was owed.
                        self.owed.restore(slot, list);
                        self.remove(slot, sockets);
                    }
                }
            }
            self.owed.sent = sent;
        }
        self.metrics.writes.add(writes as u64);
        self.metrics.deliveries.add(frames_out);
        self.metrics.bytes_out.add(bytes_out);
        self.tell_latency(sockets);
        if self.owed.end_tick() && !self.palette.is_empty() {
            self.palette.clear();
        }
        self.state_largest(now);
        for reply in self.turn.canaries.drain(..) {
            reply(());
        }
    }

    /// Notes how long the publications took whose last write is over.
    fn tell_latency(&mut self, sockets: &impl Sockets) {
        let over = self.owed.over();
        if !over.is_empty() {
            let written_us = sockets.now_us();
            let note = |accepted_us: u64, times: u32| {
                let us = written_us.saturating_sub(accepted_us);
                self.metrics.publish_to_write_seconds.observe_ns_times(us * 1000, times.into());
                self.metrics.recent_publish_to_write.record_us(written_us, us, times);
            };
            // Those of one turn were accepted at one time, and stand beside each other.
            let (mut since_us, mut times) = (0, 0);
            for accepted_us in self.palette.accepted_us(over) {
                if accepted_us != since_us && times > 0 {
                    note(since_us, times);
                    times = 0;
                }
                since_us = accepted_us;
                times += 1;
            }
            if times > 0 {
                note(since_us, times);
            }
        }
    }

    /// The socket took only the first `taken` bytes of a list: the rest becomes the backlog, or the connection is
    /// evicted. Returns the number of frames that were not wholly taken.
    fn block(&mut self, now: Now, slot: u32, list: ListId, taken: usize, sockets: &mut impl Sockets) -> u32 {
        let Some(conn) = self.conns.at_mut(slot) else { return 0 };
        let closing = !conn.is_open();
        conn.backlog = Some(Box::new(Backlog::new(now.ms(), self.blocked.add(slot))));
        if !mutated(Mutation::ForgetBlocked) {
            self.owed.block(slot);
        }
        self.metrics.blocked_connections.add(1);
        sockets.watch_writable(slot, true);
        let frames = if closing || self.palette.is_plain(list) {
            self.wait_for_all(slot, list, taken, closing)
        } else {
            self.wait_for_each(now, slot, list, taken)
        };
        self.arm(now, slot);
        frames
    }

    /// As [`Shard::wait_for_each`], of a list of plain publications, or of a connection that is told no more: one
    /// chunk, shared by all connections that owe it.
    fn wait_for_all(&mut self, slot: u32, list: ListId, taken: usize, closing: bool) -> u32 {
        let bundle = self.palette.keep_list(list);
        let cost = charge(bundle.len() - taken);
        let left = bundle.left_after(taken);
        let fits = self.room_in_backlog(slot, cost, left, closing);
        let close = self.palette.last(list);
        let close = (closing && fits.is_err()).then(|| self.palette.keep(close));
        let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) else { return 0 };
        backlog.push(bundle, taken);
        if let Err(drop) = fits {
            let waited = backlog.bytes();
            let (mut dropped, _) = backlog.cut();
            // The last thing that a closing connection is owed is our close frame: that one still goes out.
            if let Some(close) = close.filter(|_| dropped > 0) {
                backlog.push(close, 0);
                dropped -= 1;
            }
            let kept = backlog.bytes();
            self.metrics.drops.add(drop.index(), u64::from(dropped));
            self.force_budget(slot, kept);
            if !closing {
                self.doom_cut(slot, drop, waited);
            }
        }
        left
    }

    /// A transport that had refused bytes takes some again.
    pub fn writable(&mut self, now: Now, slot: u32, sockets: &mut impl Sockets) {
        // Nothing may be sent to a connection after what was cut out of its backlog.
        self.evict_doomed(now, sockets);
        self.drain_backlog(now, slot, sockets);
    }

    /// Sends what waits for a connection, as far as its transport takes it.
    pub(in crate::shard) fn drain_backlog(&mut self, now: Now, slot: u32, sockets: &mut impl Sockets) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let (dialect, has_terms) = (conn.dialect, conn.terms.is_some());
        let Some(mut backlog) = conn.backlog.take() else {
            if self.owed.is_blocked(slot) {
                self.drained(slot, sockets);
            }
            return;
        };
        let held = has_terms && self.let_out(now, slot, &mut backlog);
        let (mut frames_before, mut delivered, mut written) = (backlog.frames(), 0, 0);
        let (mut lost, mut refused) = (false, false);
        let (mut given, mut gathered) = (0, Vec::new());
        while written < DRAIN_BYTES {
            if held && !backlog.has_ahead() {
                delivered += frames_before - backlog.frames();
                self.let_out(now, slot, &mut backlog);
                frames_before = backlog.frames();
                if !backlog.has_ahead() {
                    break;
                }
            }
            frames_before += self.tell_gap(now, slot, dialect, &mut backlog);
            let Some(bytes) = backlog.next(!held, &mut gathered) else { break };
            let len = bytes.len();
            match sockets.send(slot, bytes) {
                Sent::Taken(taken) => {
                    written += taken;
                    given += backlog.advance_all(taken, now.ms());
                    if taken < len {
                        refused = true;
                        break;
                    }
                }
                Sent::Lost => {
                    lost = true;
                    break;
                }
            }
        }
        self.give_budget(slot, given);
        self.metrics.bytes_out.add(written as u64);
        self.metrics.deliveries.add(u64::from(delivered + frames_before - backlog.frames()));
        let empty = backlog.is_empty();
        let waits = !empty && (!held || backlog.has_ahead());
        if waits && written >= DRAIN_BYTES {
            // The transport may take more at once and then tells nothing: ask again.
            sockets.watch_writable(slot, true);
            refused = true;
        }
        let was_refused = backlog.refused;
        backlog.refused = waits && (refused || was_refused);
        let is_refused = backlog.refused;
        if is_refused && !was_refused {
            (backlog.since_ms, backlog.progress_ms) = (now.ms(), now.ms());
        }
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.backlog = Some(backlog);
        }
        match (was_refused, is_refused) {
            (false, true) => {
                self.metrics.blocked_connections.add(1);
                sockets.watch_writable(slot, true);
                self.arm(now, slot);
            }
            (true, false) => {
                self.metrics.blocked_connections.sub(1);
                sockets.watch_writable(slot, false);
            }
            _ => {}
        }
        if lost {
            self.remove(slot, sockets);
        } else if empty {
            self.discard_backlog(slot);
            self.drained(slot, sockets);
        }
    }

    /// All that a connection was owed is out.
    fn drained(&mut self, slot: u32, sockets: &mut impl Sockets) {
        let Some(conn) = self.conns.at(slot) else { return };
        if conn.holds() {
            self.owed.block(slot);
        } else {
            self.owed.clear(slot);
        }
        self.all_sent(slot, sockets);
    }

    /// Takes a connection off the blocked list. Returns the frames and bytes that its backlog still held; the
    /// bytes are the caller's to give back.
    pub(in crate::shard) fn discard_backlog(&mut self, slot: u32) -> (u32, usize) {
        let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.take()) else {
            return (0, 0);
        };
        self.owed.clear(slot);
        self.metrics.blocked_connections.sub(u64::from(backlog.refused));
        if let Some(moved) = self.blocked.remove(backlog.index)
            && let Some(other) = self.conns.at_mut(moved).and_then(|conn| conn.backlog.as_mut())
        {
            other.index = backlog.index;
        }
        if self.blocked.is_empty() {
            self.hub.outboxes.set_largest(self.mailer.here(), 0);
        }
        (backlog.frames(), backlog.bytes())
    }

    /// Drops the frames of a backlog that the peer has seen nothing of.
    pub(in crate::shard) fn cut_backlog(&mut self, slot: u32, reason: DropReason) {
        let Some(backlog) = self.conns.at_mut(slot).and_then(|conn| conn.backlog.as_mut()) else { return };
        let (dropped, bytes) = backlog.cut();
        self.give_budget(slot, bytes);
        let dropped = if mutated(Mutation::ForgetCutFrames) { 0 } else { dropped };
        self.metrics.drops.add(reason.index(), u64::from(dropped));
    }
}
