//! From received bytes to handled messages.

use crate::base::{Mutation, mutated};
use crate::config::Limits;
use crate::dialect::Payload;
use crate::model::{CloseReason, Compression};
use crate::shard::conn::{Conn, Input, State};
use crate::shard::input::echo;
use crate::shard::turn::price;
use crate::shard::{Now, Reading, Shard, Sockets};
use crate::wire::{self, Event, FrameLimits, Header, Opcode, Parsed};

/// Bytes that a connection may send after it began to be closed. Far more than the kernels of both sides keep on the way
/// (on Linux 4 MiB to be sent and 6 MiB received, unless set otherwise), so that a client that stops when it hears of the
/// end is never cut off; and enough for most clients that send a message to its end before they read that it is too long.
pub(in crate::shard) const AFTER_END_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the longest close frame of a client, for which nothing need be counted.
const CLOSE_BYTES_MAX: usize = 6 + 125;

impl Shard {
    /// Bytes came from a peer. They are unmasked in place.
    pub fn receive(&mut self, now: Now, slot: u32, bytes: &mut [u8], sockets: &mut impl Sockets) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.received_ds = now.ds();
        let was_read = conn.reading == Reading::On;
        conn.reading = Reading::On;
        (self.inputs.left, self.inputs.finished) = (conn.has_unfinished(), false);
        self.inputs.goes_on = self.inputs.left && conn.talk().is_some();
        self.turn.next_input();
        let limits = frame_limits(conn, &self.config.limits);
        self.metrics.bytes_in.add(bytes.len() as u64);
        if !conn.is_open() && !self.hears_out(slot, bytes.len(), sockets) {
            return;
        }
        let waits = !was_read && (self.looks_on(now, slot, sockets) || self.talks_on(now, slot, sockets));
        let Some(conn) = self.conns.at_mut(slot) else { return };
        match conn.input.take() {
            // All that has come is kept as it is.
            input if waits => {
                let mut input = input.unwrap_or_default();
                input.add(bytes);
                conn.input = Some(input).filter(|input| !input.buffer.is_empty());
            }
            None => {
                let (used, need) = self.frames(now, slot, &limits, bytes, sockets);
                self.keep_input(slot, &bytes[used..], need);
            }
            Some(mut input) => {
                input.add(bytes);
                let waiting = &mut input.buffer[input.start..];
                if waiting.len() >= input.need {
                    let (used, need) = self.frames(now, slot, &limits, waiting, sockets);
                    if let Some(conn) = self.conns.at_mut(slot) {
                        conn.input = input.without(used, need);
                        self.inputs.left |= conn.input.is_some();
                    }
                } else if let Some(conn) = self.conns.at_mut(slot) {
                    conn.input = Some(input);
                }
            }
        }
        if self.inputs.left {
            let anew = !was_read || (self.inputs.finished && !self.inputs.goes_on);
            self.settle_input(now, slot, anew && !mutated(Mutation::ForgetFinished), sockets);
        }
    }

    /// Counts what has come of a connection that is being closed. Whether it is looked at: not once the peer's close frame
    /// has come, or where its frames begin is not known. One that sends on and on has its transport ended: it was told why,
    /// and waiting for its close frame is a courtesy.
    fn hears_out(&mut self, slot: u32, bytes: usize, sockets: &mut impl Sockets) -> bool {
        self.turn.charge(bytes as u64);
        let Some(conn) = self.conns.at_mut(slot) else { return false };
        if bytes > CLOSE_BYTES_MAX {
            let terms = conn.terms.get_or_insert_default();
            terms.after_end += bytes;
            if terms.after_end > AFTER_END_MAX {
                self.metrics.closing_floods.add(1);
                self.remove(slot, sockets);
                return false;
            }
        }
        !matches!(conn.state, State::Closing { deaf: true, .. } | State::Closing { peer_closed: true, .. })
    }

    /// Keeps the start of a frame until the rest comes.
    fn keep_input(&mut self, slot: u32, rest: &[u8], need: usize) {
        if rest.is_empty() {
            return;
        }
        if let Some(conn) = self.conns.at_mut(slot) {
            self.inputs.left = true;
            conn.input = Some(Box::new(Input { buffer: rest.to_vec(), start: 0, need }));
        }
    }

    /// Handles every whole frame in `bytes`. Returns the bytes used up, and how many the next frame needs.
    fn frames(
        &mut self,
        now: Now,
        slot: u32,
        limits: &FrameLimits,
        bytes: &mut [u8],
        sockets: &mut impl Sockets,
    ) -> (usize, usize) {
        let mut at = 0;
        loop {
            let Some(conn) = self.conns.at_mut(slot) else { return (bytes.len(), 0) };
            let closing = !conn.is_open();
            let rest = &mut bytes[at..];
            if rest.is_empty() {
                return (at, 0);
            }
            let assembled = conn.assembler.as_ref().map_or(0, |under_way| under_way.len());
            let is_alone = conn.assembler.is_none();
            let header = match wire::parse_header(rest, limits, assembled) {
                Ok(Parsed::Frame { header }) => header,
                Ok(Parsed::NeedMore { at_least }) => return (at, at_least),
                Err(error) => {
                    self.protocol_error(now, slot, error, sockets);
                    self.turn_deaf(slot, sockets);
                    return (bytes.len(), 0);
                }
            };
            let end = header.header_len + header.payload_len;
            at += end;
            self.metrics.frames_in.add(1);
            if closing {
                // RFC 6455 section 1.4: after our close frame only the peer's own is of interest. What came in the
                // middle of a message goes on here, and is no continuation of nothing.
                if header.opcode == Opcode::Close {
                    self.peer_closed(slot, sockets);
                    return (bytes.len(), 0);
                }
                self.turn.charge(price::PASSED_OVER);
                if self.is_enough(now, slot, sockets) {
                    return (at, 0);
                }
                continue;
            }
            let payload = &mut rest[header.header_len..end];
            wire::unmask(payload, header.mask);
            if is_alone && header.is_whole_text() {
                self.inputs.finished = true;
                match wire::whole_text(payload) {
                    Ok(event) => self.event(now, slot, event, sockets),
                    Err(error) => self.protocol_error(now, slot, error, sockets),
                }
            } else {
                self.frame(now, slot, &header, payload, limits, sockets);
            }
            if self.palette.is_full() {
                self.write_out(now, sockets);
            }
            if self.pauses(now, slot, header.payload_len, sockets) {
                // The rest is kept as it is.
                return (at, 0);
            }
        }
    }

    /// Handles a frame that is no whole message of plain text, and what has become whole by it. Not inlined, so that those
    /// do not pay for it.
    #[inline(never)]
    fn frame(
        &mut self,
        now: Now,
        slot: u32,
        header: &Header,
        payload: &[u8],
        limits: &FrameLimits,
        sockets: &mut impl Sockets,
    ) {
        let mut assembler = self.conns.at_mut(slot).and_then(|conn| conn.assembler.take());
        let handled = match wire::accept(&mut assembler, header, payload, limits) {
            Ok(Event::Compressed { text, payload }) => {
                self.compressed(now, slot, text, payload, limits, sockets)
            }
            Ok(event) => {
                self.event(now, slot, event, sockets);
                Ok(())
            }
            Err(error) => Err(error),
        };
        match handled {
            Ok(()) => wire::finish(&mut assembler),
            // Only the frame is wrong, not where it ends: the peer's close may follow.
            Err(error) => {
                assembler = None;
                self.protocol_error(now, slot, error, sockets);
                // However wrong, it was the peer's last frame: no other close will come.
                if header.opcode == Opcode::Close {
                    self.peer_closed(slot, sockets);
                }
            }
        }
        match &assembler {
            Some(_) => self.inputs.left = true,
            None => self.inputs.finished = true,
        }
        if let Some(conn) = self.conns.at_mut(slot)
            && conn.is_open()
        {
            conn.assembler = assembler;
        }
    }

    /// Inflates a message and handles it. Not inlined, so that those without compression do not pay for it.
    #[inline(never)]
    fn compressed(
        &mut self,
        now: Now,
        slot: u32,
        text: bool,
        payload: &[u8],
        limits: &FrameLimits,
        sockets: &mut impl Sockets,
    ) -> Result<(), wire::ProtocolError> {
        // Taken out of the shard for as long as the message lies in its buffer.
        let mut inflater = std::mem::take(&mut self.inputs.inflater);
        let inflated = inflater.inflate(text, payload, limits.message_bytes_max);
        // Of one that is refused, all that was inflated until then.
        let work = inflated.as_ref().map_or(limits.message_bytes_max, Event::len) as u64;
        self.turn.charge(work * price::INFLATED);
        let handled = inflated.map(|event| {
            let len = event.len();
            // Only what was whole and right, so that the two tell a ratio.
            self.metrics.inflated_bytes_before.add(payload.len() as u64);
            self.metrics.inflated_bytes_after.add(len as u64);
            self.event(now, slot, event, sockets);
        });
        self.inputs.inflater = inflater;
        handled
    }

    fn event(&mut self, now: Now, slot: u32, event: Event<'_>, sockets: &mut impl Sockets) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        match event {
            Event::Fragment | Event::Pong(_) | Event::Compressed { .. } => {}
            Event::Text(_) | Event::Binary(_) if conn.echo => {
                conn.message_ds = now.ds();
                self.echo(slot, event);
            }
            Event::Text(text) if conn.talk().is_some() => {
                self.talk(now, slot, Payload::Text(text), sockets);
            }
            Event::Binary(bytes) if conn.talk().is_some() => {
                self.talk(now, slot, Payload::Binary(bytes), sockets);
            }
            Event::Text(text) => {
                conn.message_ds = now.ds();
                self.text(now, slot, text, sockets);
            }
            Event::Binary(_) => self.close(now, slot, CloseReason::Unsupported, sockets),
            Event::Ping(payload) => {
                // Unlike a pong, nobody asked for it: `lastPing` of the tenants document.
                conn.message_ds = now.ds();
                let entry = self.palette.push_control(|out| wire::write_pong(out, payload));
                self.owe(slot, entry);
            }
            Event::Close { code, .. } => {
                // RFC 6455 section 5.5.1: the status code is typically echoed; without one, so is ours.
                self.close_with(now, slot, CloseReason::PeerClosed, code.unwrap_or(1000), "", sockets);
            }
        }
        if self.has_doomed() {
            self.evict_doomed(now, sockets);
        }
    }

    /// The peer of a connection that is being closed has sent its own close frame: nothing more is awaited of it.
    fn peer_closed(&mut self, slot: u32, sockets: &mut impl Sockets) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if let State::Closing { peer_closed, .. } = &mut conn.state {
            *peer_closed = true;
            self.all_sent(slot, sockets);
        }
    }

    /// A frame's header was wrong, so nobody knows where the next frame begins. RFC 6455 section 7.1.7: say so in a
    /// close frame, then end the transport. Our side ends at once and input is read on into nothing, since unread
    /// input would turn the end into a reset, which may overtake the close frame.
    pub(super) fn turn_deaf(&mut self, slot: u32, sockets: &mut impl Sockets) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if let State::Closing { deaf, .. } = &mut conn.state {
            *deaf = true;
            self.all_sent(slot, sockets);
        }
    }

    fn protocol_error(
        &mut self,
        now: Now,
        slot: u32,
        error: wire::ProtocolError,
        sockets: &mut impl Sockets,
    ) {
        // What comes after our close frame is the rest of what was refused, or is not looked at.
        let Some(conn) = self.conns.at(slot).filter(|conn| conn.is_open()) else { return };
        self.metrics.protocol_errors.add(1);
        self.log_protocol_error(conn.id, error);
        let reason = match error.close_code() {
            1007 => CloseReason::InvalidUtf8,
            1009 => CloseReason::TooBig,
            _ => CloseReason::ProtocolError,
        };
        self.close_with(now, slot, reason, reason.code(), &error.to_string(), sockets);
    }
}

/// What a connection may send.
fn frame_limits(conn: &Conn, limits: &Limits) -> FrameLimits {
    let compression = conn.compression != Compression::None;
    let (message_bytes_max, fragments_max) = (limits.message_bytes_max, limits.fragments_max);
    let of_all = FrameLimits { message_bytes_max, fragments_max, compression };
    if conn.echo { FrameLimits { compression, ..echo::LIMITS } } else { of_all }
}
