//! Connections whose dialect keeps a state: their messages, their heartbeat, their first and last words.
//!
//! The state lies with the connection's terms, so that connections of other dialects pay nothing for it. What it holds of
//! a message that has not come whole counts as unfinished input. A request is carried out step by step: where a step has
//! to wait (for the backend, for a room that is behind), so do those after it, and the input behind them.

use super::commands::Asked;
use crate::base::{Mutation, mutated};
use crate::dialect::{
    DecodeLimits, Opening, Payload, Rejected, SESSION_BYTES_MAX, Session, SessionLimits, Step, dialect,
};
use crate::model::{CloseReason, ORIGINAL_BYTES_MAX, Refusal};
use crate::shard::conn::Conn;
use crate::shard::life::closing::deciseconds;
use crate::shard::{Now, Reading, Shard, Sockets};
use crate::wire::{self, Opcode, TextAt};

/// What a session may hold beside twice the bytes of a message: places of binary messages.
const HELD_SPARE_BYTES: usize = 4096;

/// A connection's state in its dialect.
#[derive(Debug)]
pub(in crate::shard) struct Talk {
    session: Box<dyn Session>,
    beat: Option<Beat>,
    /// Bytes of messages of which no step has come yet.
    unpaid_bytes: usize,
    /// Steps of the last message are still to be asked for.
    more: bool,
}

/// A heartbeat. Times are tenths of a second of the shard's clock.
#[derive(Debug, Clone, Copy)]
struct Beat {
    interval_ds: u32,
    timeout_ds: u32,
    /// When the last beat was sent or, where none is under way, answered.
    since_ds: u32,
    /// Whether the last beat is not answered yet.
    is_under_way: bool,
}

/// What a beat that is due asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum BeatDue {
    Beat,
    Close,
}

/// Why no further step of a message is carried out.
enum Stop {
    Close(CloseReason, &'static str),
    /// A rate limit; and what an error shows as the message.
    Strike(Refusal, String),
}

impl Talk {
    /// Memory held of a message that has not come whole, or whose steps wait.
    pub fn held_bytes(&self) -> usize {
        self.session.held_bytes()
    }

    /// When the heartbeat is due next, in tenths of a second, for a shard that last slept until `awake_ds`.
    fn beat_due_ds(&self, awake_ds: u32) -> Option<u32> {
        let beat = self.beat?;
        Some(match beat.is_under_way {
            true => beat.since_ds.max(awake_ds).saturating_add(beat.timeout_ds),
            false => beat.since_ds.saturating_add(beat.interval_ds),
        })
    }
}

impl Conn {
    /// Its state in its dialect, if that keeps any.
    #[inline]
    pub fn talk(&self) -> Option<&Talk> {
        self.terms.as_ref()?.talk.as_deref()
    }

    /// Whether its dialect has a heartbeat of its own.
    pub fn beats(&self) -> bool {
        self.talk().is_some_and(|talk| talk.beat.is_some())
    }

    /// When its heartbeat is due next, in tenths of a second.
    pub fn beat_due_ds(&self, awake_ds: u32) -> Option<u32> {
        self.talk()?.beat_due_ds(awake_ds)
    }
}

impl Shard {
    /// Begins the state of a connection whose dialect keeps one, and says what that says first.
    pub(in crate::shard) fn begin_talk(&mut self, now: Now, slot: u32) {
        let times = &self.config.times;
        let (ping_interval, pong_wait) = (times.ping_interval, times.pong_wait);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let opening = Opening { id: conn.id, ping_interval, pong_wait };
        let Some(session) = dialect(conn.dialect).begin(&opening) else { return };
        debug_assert!(size_of_val(&*session) <= SESSION_BYTES_MAX, "a state is small");
        let beat = session.heartbeat().map(|heartbeat| Beat {
            interval_ds: deciseconds(heartbeat.interval),
            timeout_ds: deciseconds(heartbeat.timeout),
            since_ds: now.ds(),
            is_under_way: false,
        });
        let mut talk = Box::new(Talk { session, beat, unpaid_bytes: 0, more: false });
        if let Some(payload) = talk.session.open() {
            self.say(slot, payload);
        }
        self.put_talk_back(slot, talk);
    }

    /// One message of a connection with a state.
    #[inline(never)]
    pub(in crate::shard) fn talk(
        &mut self,
        now: Now,
        slot: u32,
        message: Payload<'_>,
        sockets: &mut impl Sockets,
    ) {
        let Some(mut talk) = self.take_talk(slot) else { return };
        talk.unpaid_bytes = talk.unpaid_bytes.saturating_add(message.len());
        self.steps(now, slot, talk, Some(message), sockets);
    }

    /// Goes on with the steps of the last message, if there are any. Whether the rest of what the client has sent must
    /// wait.
    pub(in crate::shard) fn talks_on(&mut self, now: Now, slot: u32, sockets: &mut impl Sockets) -> bool {
        let more = self.conns.at(slot).and_then(Conn::talk).is_some_and(|talk| talk.more);
        if more && let Some(talk) = self.take_talk(slot) {
            self.steps(now, slot, talk, None, sockets);
            self.evict_doomed(now, sockets);
            if self.palette.is_full() {
                self.write_out(now, sockets);
            }
            return self.pauses(now, slot, 0, sockets);
        }
        false
    }

    /// Carries out the steps of `message`, or those that were left of the one before.
    fn steps(
        &mut self,
        now: Now,
        slot: u32,
        mut talk: Box<Talk>,
        message: Option<Payload<'_>>,
        sockets: &mut impl Sockets,
    ) {
        let limits = SessionLimits {
            decode: DecodeLimits { json_depth_max: self.config.limits.json_depth_max },
            message_bytes_max: self.config.limits.message_bytes_max,
        };
        let is_new = message.is_some();
        let (mut stop, mut asks, mut lives) = (None, false, false);
        let Talk { session, beat, unpaid_bytes, more } = &mut *talk;
        let mut step = match message {
            Some(message) => session.receive(message, &limits),
            None => session.next(&limits),
        };
        *more = false;
        while let Some(current) = step {
            if matches!(current, Step::Alive) && beat.is_some_and(|beat| beat.is_under_way) {
                lives = true;
                *unpaid_bytes = 0;
                if let Some(beat) = beat.as_mut().filter(|_| !mutated(Mutation::ForgetHeartbeat)) {
                    (beat.is_under_way, beat.since_ds) = (false, now.ds());
                }
            } else {
                // The first one pays for the message, each request behind it for itself.
                let is_request = matches!(current, Step::Command { .. } | Step::Refused { .. });
                let is_first = !std::mem::replace(&mut asks, true);
                let pays = is_first && is_new || is_request;
                let bytes = std::mem::take(unpaid_bytes);
                let paid = if pays { self.within_rates(now, slot, bytes) } else { Ok(()) };
                stop = self.step(now, slot, current, paid);
                if stop.is_some() {
                    break;
                }
                // The reader counts a message once. Each further step counts as much, so that a message of many has no
                // longer a turn than many messages; the reader is told as well.
                if !is_first && self.pauses(now, slot, 0, sockets) {
                    self.turn.holds_now();
                }
                // What has to wait has its connection paused or held.
                if self.conns.at(slot).is_none_or(|conn| !conn.is_open() || conn.reading != Reading::On) {
                    *more = true;
                    break;
                }
            }
            step = session.next(&limits);
        }
        // What follows a request that is over the rate goes with it.
        while matches!(stop, Some(Stop::Strike(..))) && session.next(&limits).is_some() {}
        let held = session.held_bytes();
        if stop.is_none() && !asks && !lives && held == 0 && is_new {
            // What the dialect has no word for is a message all the same.
            let bytes = std::mem::take(unpaid_bytes);
            let paid = self.within_rates(now, slot, bytes);
            stop = paid.err().map(|refusal| Stop::Strike(refusal, String::new()));
        }
        if stop.is_none() && held > 2 * limits.message_bytes_max + HELD_SPARE_BYTES {
            stop = Some(Stop::Close(CloseReason::TooBig, CloseReason::TooBig.text()));
        }
        *more &= held > 0;
        if held > 0 {
            self.inputs.left = true;
        } else {
            self.inputs.goes_on = false;
        }
        self.put_talk_back(slot, talk);
        if lives {
            // The next beat can be due before the timeout of the one that is answered.
            self.arm(now, slot);
        }
        if (asks || !lives && held == 0)
            && let Some(conn) = self.conns.at_mut(slot)
        {
            conn.message_ds = now.ds();
        }
        match stop {
            Some(Stop::Close(reason, text)) => {
                if matches!(reason, CloseReason::ProtocolError | CloseReason::TooBig) {
                    self.metrics.protocol_errors.add(1);
                }
                self.close_with(now, slot, reason, reason.code(), text, sockets);
            }
            Some(Stop::Strike(refusal, text)) => self.strike(now, slot, &text, refusal, sockets),
            None => {}
        }
    }

    /// Carries out one step that is `paid` for.
    fn step(&mut self, now: Now, slot: u32, step: Step<'_>, paid: Result<(), Refusal>) -> Option<Stop> {
        match (step, paid) {
            (Step::Close { reason, text }, _) => return Some(Stop::Close(reason, text)),
            (Step::Command { text, .. } | Step::Refused { text, .. }, Err(refusal)) => {
                let shown = &text[..text.floor_char_boundary(ORIGINAL_BYTES_MAX)];
                return Some(Stop::Strike(refusal, shown.to_owned()));
            }
            (_, Err(refusal)) => return Some(Stop::Strike(refusal, String::new())),
            (Step::Command { command, text }, Ok(())) => self.command(now, slot, text, command),
            (Step::Refused { rejected: Rejected { refusal, id }, text }, Ok(())) => {
                self.refuse(now, Asked { slot, text, id }, refusal);
            }
            (Step::Say(payload), Ok(())) => self.say(slot, payload),
            // Nothing was asked.
            (Step::Alive, Ok(())) => {}
        }
        None
    }

    /// Whether a connection's heartbeat is due, and for what.
    pub(in crate::shard) fn beat_due(&self, now: Now, conn: &Conn, awake_ds: u32) -> Option<BeatDue> {
        let talk = conn.talk()?;
        let is_due = talk.beat_due_ds(awake_ds).is_some_and(|due_ds| now.ds() >= due_ds);
        let is_under_way = talk.beat.is_some_and(|beat| beat.is_under_way);
        is_due.then_some(if is_under_way { BeatDue::Close } else { BeatDue::Beat })
    }

    /// Says what the heartbeat says.
    pub(in crate::shard) fn beat(&mut self, now: Now, slot: u32) {
        let Some(mut talk) = self.take_talk(slot) else { return };
        let payload = talk.session.beat();
        let is_under_way = payload.is_some();
        if let Some(payload) = payload {
            self.say(slot, payload);
        }
        if let Some(beat) = &mut talk.beat {
            (beat.is_under_way, beat.since_ds) = (is_under_way, now.ds());
        }
        self.put_talk_back(slot, talk);
    }

    /// Ends the state of a connection that is being closed. Returns the entry of its last words, if there are any.
    pub(in crate::shard) fn end_talk(&mut self, slot: u32, reason: CloseReason) -> Option<u32> {
        let mut talk = self.take_talk(slot)?;
        if matches!(reason, CloseReason::PeerClosed | CloseReason::SlowConsumer) {
            return None;
        }
        let payload = talk.session.farewell(reason)?;
        Some(self.push_payload(payload))
    }

    /// Says something as it stands. It is no text of the dialect's that could be put into an array.
    fn say(&mut self, slot: u32, payload: Payload<'_>) {
        let entry = self.push_payload(payload);
        self.turn.charge(self.palette.frame(entry).len() as u64);
        self.owe(slot, entry);
    }

    fn push_payload(&mut self, payload: Payload<'_>) -> u32 {
        let (opcode, bytes) = match payload {
            Payload::Text(text) => (Opcode::Text, text.as_bytes()),
            Payload::Binary(bytes) => (Opcode::Binary, bytes),
        };
        self.palette.push_answer(|out| {
            wire::frame_in_place(out, opcode, |out| out.extend_from_slice(bytes));
            TextAt::None
        })
    }

    /// Takes a state out for as long as it is used, so that all else can be used with it.
    fn take_talk(&mut self, slot: u32) -> Option<Box<Talk>> {
        self.conns.at_mut(slot)?.terms.as_mut()?.talk.take()
    }

    /// Puts it back, unless the connection has begun to close: nothing more is taken in then.
    fn put_talk_back(&mut self, slot: u32, talk: Box<Talk>) {
        if let Some(conn) = self.conns.at_mut(slot).filter(|conn| conn.is_open()) {
            conn.terms.get_or_insert_default().talk = Some(talk);
        }
    }
}
