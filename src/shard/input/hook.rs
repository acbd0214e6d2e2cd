//! What a decider (the backend, callbacks of the embedding program) has a say in. A command that it decides is put aside: its connection is not read while the
//! question is out, so that the order of its messages is kept and each connection has one such command at the most.
//! The command travels with the question and comes back with the verdict; the shard keeps nothing of it.

use crate::config::{Action, HookEvent, HookEvents};
use crate::model::hook::{Decision, HookAnswer, Question, ROOMS_MAX, Subject, Unjoined, Verdict, What};
use crate::model::{
    Answer, CloseReason, Command, ConnectionId, Locator, ORIGINAL_BYTES_MAX, Position, Refusal,
};
use crate::shard::fanout::mail::{Mail, Request};
use crate::shard::input::commands::Asked;
use crate::shard::policy::access::Denial;
use crate::shard::{Now, Reading, Shard, Sockets};

/// Messages of one connection that may be on their way to the backend or to handlers that go on after they return: a
/// client that sends more has to wait, so that one alone does not fill the queue of all.
pub const FORWARDED_MAX: u8 = 16;

/// What came of a question of this shard.
#[derive(Debug)]
pub struct Decided {
    to: ConnectionId,
    question: Question,
    verdict: Verdict,
    recover: Option<Position>,
    /// The message as it came, as much of it as an error shows.
    text: String,
    id: Option<String>,
}

impl Decided {
    /// Bytes of what the client said, in all its copies.
    pub(in crate::shard) fn len_bytes(&self) -> usize {
        self.question.len_bytes() + self.text.len()
    }
}

impl Shard {
    /// Asks about a command, if the decider wants to be asked. `false`: it is to be carried out at once.
    ///
    /// What would be refused anyway is not asked about.
    #[cold]
    pub(super) fn put_aside(&mut self, slot: u32, text: &str, command: &Command<'_>) -> bool {
        let events = self.program.handlers.events();
        let owned = |text: &str| text.to_owned();
        let (what, recover, id) = match command {
            Command::Subscribe { room, recover, id }
                if events.has(HookEvent::Join)
                    && self.membership(slot, room).is_none()
                    && self.allowed(slot, room, Action::Subscribe).is_ok() =>
            {
                (What::Join { room: owned(room), publishes: None }, *recover, *id)
            }
            Command::Publish { room, event, data, id } if self.asks_to_publish(slot, room, events) => {
                let (room, event, data) = (owned(room), owned(event), data.map(owned));
                let what = if events.has(HookEvent::Publish) {
                    What::Publish { room: Some(room), event, data }
                } else {
                    What::Join { room, publishes: Some(Unjoined { event, data }) }
                };
                (what, None, *id)
            }
            Command::Broadcast { event, data, id }
                if events.has(HookEvent::Publish) && self.config.lets_clients_broadcast() =>
            {
                (What::Publish { room: None, event: owned(event), data: data.map(owned) }, None, *id)
            }
            _ => return false,
        };
        self.ask(Asked { slot, text, id }, what, recover);
        self.hold_for_verdict(slot);
        true
    }

    /// Whether the backend has a say in a publish to a room: where it decides about publishing, and where it decides
    /// about joining and the publisher has not joined. Nobody is heard in a room that the backend keeps it out of.
    fn asks_to_publish(&self, slot: u32, room: &str, events: HookEvents) -> bool {
        if self.membership(slot, room).is_some() {
            return events.has(HookEvent::Publish) && self.allowed(slot, room, Action::Publish).is_ok();
        }
        let asks = events.has(HookEvent::Publish) || events.has(HookEvent::Join);
        asks && self.outsider_allowed(slot, room).is_ok()
    }

    /// Hands a message to the backend that nobody here knows. `false`: it does not want to hear of those.
    #[cold]
    pub(super) fn tell_backend(
        &mut self,
        now: Now,
        asked: Asked<'_>,
        event: &str,
        data: Option<&str>,
    ) -> bool {
        if !self.backend_hears_messages() {
            return false;
        }
        let slot = asked.slot;
        let rooms = self.rooms_of(slot);
        let Some(conn) = self.conns.at_mut(slot) else { return true };
        if !conn.forwards_one_more() {
            self.refuse(now, asked, Refusal::RateLimited);
            return true;
        }
        let (event, data) = (event.to_owned(), data.map(str::to_owned));
        self.ask(asked, What::Message { event, data, rooms }, None);
        true
    }

    fn ask(&mut self, asked: Asked<'_>, what: What, recover: Option<Position>) {
        let Asked { slot, text, id } = asked;
        let Some((to, subject)) = self.conns.at(slot).map(|conn| (conn.id, conn.subject())) else { return };
        let Some(decider) = self.program.handlers.decider() else { return };
        let (post, index, id) = (self.mailer.poster(), self.mailer.here(), id.map(str::to_owned));
        let text = text[..text.floor_char_boundary(ORIGINAL_BYTES_MAX)].to_owned();
        let answer: HookAnswer = Box::new(move |question, verdict| {
            let decided = Decided { to, question, verdict, recover, text, id };
            post(index, Mail::Request(Request::Decided(Box::new(decided))));
        });
        decider.ask(Question { subject, what }, answer);
    }

    fn backend_hears_messages(&self) -> bool {
        self.program.handlers.hear(HookEvent::Message)
    }

    /// Whether somebody outside takes a message that no dialect defines.
    pub(super) fn is_heard(&self, slot: u32, event: &str) -> bool {
        self.conns.at(slot).is_some_and(|conn| self.program.handlers.has(event, conn.admin))
            || self.backend_hears_messages()
    }

    /// Tells that a connection has ended.
    #[cold]
    pub(in crate::shard) fn tell_end(&self, subject: Subject, reason: CloseReason) {
        self.tell(subject, What::Disconnect { reason: reason.label() });
    }

    /// Tells that a connection has left a room.
    #[cold]
    pub(in crate::shard) fn tell_leave(&self, slot: u32, room: &str) {
        if let Some(conn) = self.conns.at(slot) {
            self.tell(conn.subject(), What::Leave { room: room.to_owned() });
        }
    }

    fn tell(&self, subject: Subject, what: What) {
        if let Some(decider) =
            self.program.handlers.decider().filter(|_| self.program.handlers.hear(what.event()))
        {
            decider.ask(Question { subject, what }, Box::new(|_, _| {}));
        }
    }

    /// Tells of the connections that are left when the shard ends: nothing else will.
    pub fn tell_ends(&self) {
        for (_, conn) in self.conns.iter().filter(|(_, conn)| !conn.echo) {
            self.tell_end(conn.subject(), conn.closing().unwrap_or(CloseReason::ShuttingDown));
        }
    }

    /// A handler is done with a request of a connection of this shard.
    pub(in crate::shard) fn handled(&mut self, of: ConnectionId) {
        let slot = self.hub.locate(of).map(|locator| locator.slot);
        if let Some(conn) = slot.and_then(|slot| self.conns.at_mut(slot)).filter(|conn| conn.id == of) {
            conn.forwarded = conn.forwarded.saturating_sub(1);
        }
    }

    fn rooms_of(&self, slot: u32) -> Vec<String> {
        let memberships = self.conns.at(slot).into_iter().flat_map(|conn| &conn.memberships);
        let rooms = memberships.take(ROOMS_MAX).filter_map(|membership| self.rooms.get(membership.room));
        rooms.map(|room| room.shared.name.to_string()).collect()
    }

    /// What the backend was asked about is carried out, or refused; then its connection is read again.
    pub(in crate::shard) fn decided(&mut self, now: Now, decided: Decided, sockets: &mut impl Sockets) {
        let Decided { to, question, verdict, recover, text, id } = decided;
        let Some(Locator { slot, .. }) = self.hub.locate(to) else { return };
        // Closing ones too: their close frame is still to be read.
        let Some(conn) = self.conns.at_mut(slot).filter(|conn| conn.id == to) else { return };
        let is_open = conn.is_open();
        if question.what.event() == HookEvent::Message {
            conn.forwarded = conn.forwarded.saturating_sub(1);
        } else {
            self.release_from_verdict(slot);
        }
        if !is_open {
            return;
        }
        let asked = Asked { slot, text: &text, id: id.as_deref() };
        match verdict {
            Verdict::Decided(Decision::Allow { .. }) => self.carry_out(now, asked, question.what, recover),
            Verdict::Decided(Decision::Refuse { reason }) => {
                self.deny(now, asked, Denial { refusal: Refusal::Backend, text: Some(reason.into()) });
            }
            Verdict::Replied(reply) => {
                for message in &reply.messages {
                    let (event, data) = (message.event.as_str(), message.data.as_deref());
                    self.answer(now, slot, &Answer::Event { event, data, id: asked.id });
                }
                if let Some(text) = reply.error {
                    self.deny(now, asked, Denial { refusal: Refusal::Backend, text: Some(text.into()) });
                }
            }
            Verdict::Failed => self.refuse(now, asked, Refusal::BackendFailed),
            Verdict::Unusable => self.refuse(now, asked, Refusal::BackendError),
        }
        self.evict_doomed(now, sockets);
    }

    fn carry_out(&mut self, now: Now, asked: Asked<'_>, what: What, recover: Option<Position>) {
        let Asked { slot, text, id } = asked;
        let command = match &what {
            What::Join { room, publishes: None } => Command::Subscribe { room: room.into(), recover, id },
            What::Join { room, publishes: Some(Unjoined { event, data }) } => {
                Command::Publish { room: room.into(), event: event.into(), data: data.as_deref(), id }
            }
            What::Publish { room: Some(room), event, data } => {
                Command::Publish { room: room.into(), event: event.into(), data: data.as_deref(), id }
            }
            What::Publish { room: None, event, data } => {
                Command::Broadcast { event: event.into(), data: data.as_deref(), id }
            }
            What::Connect { .. } | What::Leave { .. } | What::Disconnect { .. } | What::Message { .. } => {
                return;
            }
        };
        self.allowed_command(now, slot, text, command);
    }

    fn hold_for_verdict(&mut self, slot: u32) {
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.reading = Reading::Held;
            self.turn.holds_now();
        }
    }

    fn release_from_verdict(&mut self, slot: u32) {
        if let Some(key) = self.conns.key(slot)
            && let Some(conn) = self.conns.at_mut(slot)
        {
            conn.reading = Reading::Paused;
            self.turn.release(key);
        }
    }
}
