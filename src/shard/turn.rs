//! How much one turn takes in, so that its end is never far.
//!
//! Work is counted in bytes, as if all of it were copying: each kind is charged about what it costs beside the copying
//! of a byte, by what is looked at and not by what came. When the turn's share of mail, or of all, is spent, the rest
//! waits: mail here, input with the connection that sent it. What waits has its turn before anything new of the same
//! sender.
//!
//! One connection's input has a share of its own, [`INPUT_MAX`]: when that is spent, or when the turn has read for
//! [`INPUT_US`], the connection is paused in the middle of its input and goes behind all others. So what one connection
//! sends costs the others a wait of one share and of its last message, whatever that is; `MESSAGE_MAX` says how dear
//! a message can be.

use super::fanout::mail::{Mail, Reply};
use super::fanout::tally::Tally;
use super::fanout::wide::{STEP_MEMBERS, WAITING_BYTES_MAX, WIDE_MEMBERS};
use super::{Now, Shard, Sockets};
use crate::base::{Key, Mutation, mutated};
use crate::hub::RoomShared;
use crate::model::Selector;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a turn takes in at the most, but for the last message that it takes: writes to 8,192 connections, or 32,768
/// messages that go nowhere, some tens of milliseconds either way.
const WORK_MAX: u64 = 64 * 1024 * 1024;

/// A connection that is to be written to.
const WRITE: u64 = 8 * 1024;

/// A message from a client.
const MESSAGE: u64 = 2 * 1024;

/// Work for one connection's input before others have their turn, but for the last message: 256 cheap messages, about a
/// quarter of a millisecond.
pub const INPUT_MAX: u64 = 512 * 1024;

/// Work between two looks at the clock while input is taken in. Nothing that is dear is charged less, so at most some
/// sixteen cheap messages pass between two looks.
const LOOK: u64 = 32 * 1024;

/// Time after which a turn takes in no further message, in microseconds since it began to read: work is counted, but
/// only roughly, and the processor is not always the shard's alone.
pub const INPUT_US: u64 = 10_000;

/// Most that one message of the default `message_bytes_max` is charged. Each kind stays below it by a bound of its own:
/// text and its inflated form by their bytes, the past by the space in the outbox, tokens by their number of tries.
#[cfg(test)]
pub const MESSAGE_MAX: u64 = 40 * 1024 * 1024;

/// What kinds of work are charged beside the bytes that they copy.
pub(super) mod price {
    /// A publication of a history that is held against a filter by the hashes of its fields.
    pub const LOOKED_AT: u64 = 256;
    /// A publication of a history that is encoded again.
    pub const ENCODED: u64 = 1024;
    /// A field of a publication, hashed when the first filter asks.
    pub const FIELD: u64 = 256;
    /// A byte that is inflated: the inflating, and that it is looked at again as text.
    pub const INFLATED: u64 = 4;
    /// A token that is checked: four signatures on P-256, some 250 us, or two by RSA keys of 8192 bits.
    pub const TOKEN: u64 = 1024 * 1024;
    /// A frame of a connection that is being closed, which is passed over.
    pub const PASSED_OVER: u64 = 128;
    /// A membership that is held against the rules.
    pub const REVIEWED: u64 = 1024;
    /// A membership that begins or ends, a list of members, a filter that is set: some thousand instructions.
    pub const REQUEST: u64 = 6 * 1024;
}

/// A frame owed to a connection, beside its bytes.
const DELIVERY: u64 = 64;

/// Connections that a turn writes to while more are owed something. What comes meanwhile is read before the next of
/// them are written to, and goes out to them in the same call: a message to many is on its way to all for the time of
/// one round of writes, not for what is left of a round and then a whole one.
const TURN_WRITES: usize = 256;

/// How far a turn goes. No configuration: other values are for tests, in which thousands of members would be too many.
#[derive(Debug, Clone, Copy)]
pub struct StepLimits {
    /// Members on one shard from which on a publication is walked; see `wide`.
    pub members_min: usize,
    /// Members of wide rooms that a turn comes to at the most.
    pub step_members: usize,
    /// Bytes that wait for one wide room over which its publishers are not read.
    pub waiting_bytes_max: usize,
    /// Connections that a turn writes to while more are owed something, unless the tick has to end.
    pub turn_writes: usize,
    /// Work for one connection's input before others have their turn, but for the last message.
    pub input_max: u64,
}

impl Default for StepLimits {
    fn default() -> Self {
        Self {
            members_min: WIDE_MEMBERS,
            step_members: STEP_MEMBERS,
            waiting_bytes_max: WAITING_BYTES_MAX,
            turn_writes: TURN_WRITES,
            input_max: INPUT_MAX,
        }
    }
}

/// Whether what a connection sends is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As it comes.
    On,
    /// The turn is full: [`Shard::receive`] is to be called again without new bytes, after others had their turn.
    Paused,
    /// It publishes to a room that is behind, or the backend is asked about its message: not before [`Shard::take_released`] tells of it.
    Held,
}

/// What the present turn has taken in, and what waits for the next one.
#[derive(Default)]
pub(super) struct Turn {
    /// How far each turn goes.
    pub steps: StepLimits,
    work: u64,
    /// Work for the input that is being taken in, and at how much of it the clock is looked at next.
    input: u64,
    look_at: u64,
    /// When the turn began to read, in microseconds of the shard's clock, if that was told.
    reads_since_us: Option<u64>,
    /// The connection whose message is being handled has been held.
    holds: bool,
    mail: VecDeque<Mail>,
    held: Vec<Held>,
    /// Connections that the backend has decided about.
    released: Vec<Key>,
    /// Answers to the embedding program about publications to rooms that are behind.
    answers: Vec<(Option<Arc<RoomShared>>, Arc<Tally>)>,
    /// Told when the turn's writes are over.
    pub canaries: Vec<Reply<()>>,
}

#[derive(Debug)]
struct Held {
    key: Key,
    /// What it waits for; `None` for all wide rooms of the node.
    room: Option<Arc<RoomShared>>,
}

impl Turn {
    /// Begins the next turn, which begins with what this one leaves: `left` connections of the `owed` that it found are
    /// still to be written to.
    pub fn next(&mut self, left: usize, owed: usize) {
        self.work = self.work * left as u64 / owed.max(1) as u64;
        self.reads_since_us = None;
    }

    /// The input of another connection is taken in from now on.
    pub fn next_input(&mut self) {
        (self.input, self.look_at) = (0, LOOK.min(self.steps.input_max));
    }

    /// Counts work that is done for the input that is being taken in.
    #[inline]
    pub fn charge(&mut self, work: u64) {
        self.work += work;
        self.input += work;
    }

    /// Work for the input that was taken in last.
    pub fn input(&self) -> u64 {
        self.input
    }

    /// Whether the input that is being taken in has had its share, or the turn its time.
    #[cold]
    fn has_had_its_share(&mut self, now: Now, clock_us: u64) -> bool {
        self.look_at = self.input + LOOK;
        let is_late = clock_us.saturating_sub(self.reads_since_us.unwrap_or(now.us)) >= INPUT_US;
        !mutated(Mutation::ForgetPause) && (self.input >= self.steps.input_max || is_late)
    }

    /// The connection whose message is being handled is not to be read on.
    pub fn holds_now(&mut self) {
        self.holds = true;
    }

    /// A connection may be read again.
    pub fn release(&mut self, key: Key) {
        self.released.push(key);
    }

    /// A publication was owed to `members` connections.
    pub fn delivered(&mut self, members: usize, bytes: usize) {
        self.work += members as u64 * (DELIVERY + bytes as u64);
    }

    /// Connections are written to in the middle of the turn.
    pub fn written(&mut self, connections: usize) {
        self.work += connections as u64 * WRITE;
    }

    /// Whether the turn's share of mail is spent, with so many connections to write to at its end.
    pub fn mail_is_over(&self, dirty: usize) -> bool {
        self.spent(dirty) >= WORK_MAX / 2
    }

    fn spent(&self, dirty: usize) -> u64 {
        self.work + dirty as u64 * WRITE
    }

    pub fn has_put_off(&self) -> bool {
        !self.mail.is_empty()
    }

    /// Keeps mail for the next turn, behind what is kept already.
    pub fn put_off(&mut self, mail: Mail) {
        self.mail.push_back(mail);
    }

    /// Keeps the rest of mail for the next turn, before all that is kept.
    pub fn put_back(&mut self, mail: Mail) {
        self.mail.push_front(mail);
    }
}

impl Shard {
    /// Has turns go as far as `limits` says. For tests: the server knows the default alone.
    #[doc(hidden)]
    pub fn set_step_limits(&mut self, limits: StepLimits) {
        self.turn.steps = limits;
    }

    /// Whether the turn has taken in all that it should: what is there must wait for the next one.
    #[inline]
    pub fn is_sated(&self) -> bool {
        self.turn.spent(self.owed.unwritten()) >= WORK_MAX
    }

    /// Whether the turn has taken in all the mail that it should. One that goes on takes input first.
    pub fn is_sated_with_mail(&self) -> bool {
        self.turn.has_put_off() || self.turn.mail_is_over(self.owed.unwritten())
    }

    /// The turn begins to read, at `clock_us` of the shard's clock; without it the time of each call counts.
    pub fn begin_input(&mut self, clock_us: u64) {
        self.turn.reads_since_us = Some(clock_us);
    }

    /// Has a connection whose input was paused outside of a turn's reading read on in the next one.
    pub fn read_on(&mut self, slot: u32) {
        let key = self.conns.key(slot).filter(|_| self.reading(slot) == Some(Reading::Paused));
        self.turn.released.extend(key);
    }

    /// Whether connections may be read again that [`Shard::take_released`] has not told of.
    pub fn has_released(&self) -> bool {
        !self.turn.released.is_empty()
    }

    /// Work that the input which was taken in last has cost. For tests and benches.
    #[doc(hidden)]
    pub fn input_work(&self) -> u64 {
        self.turn.input()
    }

    /// Whether another turn is due at once, although nothing new has come.
    pub fn has_more(&self) -> bool {
        self.turn.has_put_off()
            || !self.wide.is_empty()
            || self.owed.is_under_way()
            || self.policy.gate.has_review()
    }

    /// Handles the mail that earlier turns have put off. To be called before a turn takes new mail.
    pub fn resume_mail(&mut self, now: Now, sockets: &mut impl Sockets) {
        while let Some(mail) = self.turn.mail.pop_front() {
            if !self.take_mail(now, mail, sockets) || self.turn.mail_is_over(self.owed.unwritten()) {
                break;
            }
        }
    }

    /// Whether a connection's input is taken in. `None` if there is no such connection.
    pub fn reading(&self, slot: u32) -> Option<Reading> {
        self.conns.at(slot).map(|conn| conn.reading)
    }

    /// Moves the connections that are held no more to `released`: each may be read again.
    pub fn take_released(&mut self, released: &mut Vec<Key>) {
        let Self { turn, conns, hub, .. } = self;
        // One that has been held anew by what was decided stays so.
        let is_paused = |key: &Key| conns.get(*key).is_some_and(|conn| conn.reading == Reading::Paused);
        released.extend(turn.released.drain(..).filter(is_paused));
        let waiting_bytes_max = turn.steps.waiting_bytes_max;
        let is_behind = |room: &Option<Arc<RoomShared>>| {
            let waiting = room.as_ref().map_or(&hub.waiting, |room| &room.waiting);
            waiting.load(Ordering::Relaxed) > waiting_bytes_max
        };
        turn.answers.retain(|(room, _)| is_behind(room));
        turn.held.retain(|Held { key, room }| {
            let is_held = is_behind(room);
            if !is_held && let Some(conn) = conns.get_mut(*key) {
                conn.reading = Reading::Paused;
                released.push(*key);
            }
            is_held
        });
    }

    /// Bytes of publications that wait for the members of wide rooms, on all shards.
    pub fn waiting_bytes(&self) -> usize {
        self.hub.waiting.load(Ordering::Relaxed)
    }

    /// Whether so much waits for the members of a wide room, or of all together, that no client should publish more there.
    pub fn is_behind(&self, to: &Selector<'_>) -> bool {
        // Nothing waits anywhere: no room is looked for.
        self.waiting_bytes() > self.turn.steps.waiting_bytes_max
            && (to.is_all() || self.room_behind(to).is_some())
    }

    /// A room among those that a selector names for whose members so much waits.
    fn room_behind(&self, to: &Selector<'_>) -> Option<Arc<RoomShared>> {
        let most = self.turn.steps.waiting_bytes_max;
        let is_behind = |room: &Arc<RoomShared>| room.waiting.load(Ordering::Relaxed) > most;
        self.named(to)?.into_iter().find(is_behind)
    }

    /// Whether a connection waits for [`Shard::take_released`].
    pub fn has_held(&self) -> bool {
        !self.turn.held.is_empty() || !self.turn.answers.is_empty()
    }

    /// Has the embedding program told what became of a publication not before the room that it goes to is behind no
    /// more, so that a client that waits for answers publishes no faster than the members are written to.
    pub(super) fn hold_answer(&mut self, to: &Selector<'_>, tally: Arc<Tally>) {
        if self.is_behind(to) {
            let room = self.room_behind(to);
            self.turn.answers.push((room, tally));
        }
    }

    /// Has what a connection sends wait until its room, or all wide rooms, have caught up.
    #[cold]
    pub(super) fn hold(&mut self, slot: u32, room: Option<Arc<RoomShared>>) {
        if let Some(key) = self.conns.key(slot)
            && let Some(conn) = self.conns.at_mut(slot)
            && conn.reading != Reading::Held
        {
            conn.reading = Reading::Held;
            self.turn.holds = true;
            self.turn.held.push(Held { key, room });
        }
    }

    /// Counts a message, and tells whether its sender's next one must wait.
    #[inline]
    pub(super) fn pauses(&mut self, now: Now, slot: u32, bytes: usize, sockets: &impl Sockets) -> bool {
        self.turn.charge(MESSAGE + bytes as u64);
        self.is_enough(now, slot, sockets)
    }

    /// Whether what follows of the input that is being taken in must wait. If so, its connection is paused or held.
    #[inline]
    pub(super) fn is_enough(&mut self, now: Now, slot: u32, sockets: &impl Sockets) -> bool {
        let is_due = self.turn.input >= self.turn.look_at;
        let is_over = (is_due && self.turn.has_had_its_share(now, sockets.now_us())) || self.is_sated();
        if !is_over && !self.turn.holds {
            return false;
        }
        self.turn.holds = false;
        let Some(conn) = self.conns.at_mut(slot) else { return false };
        if is_over && conn.reading == Reading::On {
            conn.reading = Reading::Paused;
        }
        conn.reading != Reading::On
    }
}
