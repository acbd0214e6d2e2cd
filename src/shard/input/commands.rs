//! What clients ask for.

use crate::base::{Mutation, Rate, mutated};
use crate::config::{Action, HookEvent};
use crate::dialect::{DecodeLimits, Rejected, dialect};
use crate::hub::NoPlace;
use crate::model::{
    Answer, Audience, CloseReason, Command, Identity, ORIGINAL_BYTES_MAX, Publication, Refusal, RequestId,
    Sender,
};
use crate::shard::conn::Authenticates;
use crate::shard::fanout::accept::{Origin, Outgoing, Recipients};
use crate::shard::fanout::recovery::Joined;
use crate::shard::input::handlers::{CustomRequest, Registered, UnderWay};
use crate::shard::input::look::Wanted;
use crate::shard::output::palette::Kind;
use crate::shard::policy::access::Denial;
use crate::shard::turn::price;
use crate::shard::{Now, Shard, Sockets};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Requests refused in a row by a rate limit after which the connection is closed with 4429.
pub(super) const STRIKES_MAX: u8 = 32;

/// What a client has asked: enough to refuse it.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Asked<'a> {
    pub slot: u32,
    /// The message as it came.
    pub text: &'a str,
    /// Echoed.
    pub id: RequestId<'a>,
}

impl Shard {
    /// One text message of an open connection.
    pub(in crate::shard) fn text(&mut self, now: Now, slot: u32, text: &str, sockets: &mut impl Sockets) {
        if let Err(refusal) = self.within_rates(now, slot, text.len()) {
            return self.strike(now, slot, text, refusal, sockets);
        }
        let Some(conn) = self.conns.at(slot) else { return };
        let limits = DecodeLimits { json_depth_max: self.config.limits.json_depth_max };
        match dialect(conn.dialect).decode(text, &limits) {
            Ok(command) => self.command(now, slot, text, command),
            Err(Rejected { refusal, id }) => self.refuse(now, Asked { slot, text, id }, refusal),
        }
    }

    #[inline]
    pub(in crate::shard) fn within_rates(
        &mut self,
        now: Now,
        slot: u32,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        if limits.messages_per_s == 0 && limits.bytes_per_s == 0 && self.policy.holdings.is_empty() {
            return Ok(());
        }
        self.within_own_rates(now, slot, bytes)?;
        // What is refused already costs the others nothing.
        self.within_shared_rates(now, slot)
    }

    fn within_own_rates(&mut self, now: Now, slot: u32, bytes: usize) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let Some(conn) = self.conns.at_mut(slot) else { return Err(Refusal::Internal) };
        let messages = rate(limits.messages_per_s, limits.messages_burst);
        let volume = rate(limits.bytes_per_s, limits.bytes_burst);
        let now_ns = now.us * 1000;
        let since_ns = self.timers.unseen_since_us(now) * 1000;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let within = conn.messages.check_since(&messages, 1, now_ns, since_ns)
            && conn.bytes.check_since(&volume, bytes, now_ns, since_ns);
        if within || mutated(Mutation::IgnoreRate) { Ok(()) } else { Err(Refusal::RateLimited) }
    }

    pub(in crate::shard) fn strike(
        &mut self,
        now: Now,
        slot: u32,
        text: &str,
        refusal: Refusal,
        sockets: &mut impl Sockets,
    ) {
        self.metrics.rate_limited.add(1);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.strikes += 1;
        if conn.strikes >= STRIKES_MAX {
            self.log_refusal(now, slot, None, &refusal.into());
            self.close(now, slot, CloseReason::RateLimited, sockets);
        } else {
            self.refuse(now, Asked { slot, text, id: None }, refusal);
        }
    }

    pub(in crate::shard) fn refuse(&mut self, now: Now, asked: Asked<'_>, refusal: Refusal) {
        self.deny(now, asked, refusal.into());
    }

    /// Refuses a request, in the words of the rule that speaks against it where it has some.
    pub(in crate::shard) fn deny(&mut self, now: Now, asked: Asked<'_>, denial: Denial) {
        self.note_refusal(now, asked.slot, Some(asked.text), &denial);
        let Asked { slot, text, id } = asked;
        let id = if mutated(Mutation::ForgetId) { None } else { id };
        let original = Some(&text[..text.floor_char_boundary(ORIGINAL_BYTES_MAX)]);
        let (refusal, text) = denial.words();
        self.answer(now, slot, &Answer::Error { refusal, text, original, id });
    }

    pub(in crate::shard) fn command(&mut self, now: Now, slot: u32, text: &str, command: Command<'_>) {
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.strikes = 0;
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.log_command(slot, &command);
        }
        if self.program.handlers.decider().is_some() && self.put_aside(slot, text, &command) {
            return;
        }
        self.allowed_command(now, slot, text, command);
    }

    /// Carries out what nobody else has to be asked about any more.
    #[inline]
    pub(super) fn allowed_command(&mut self, now: Now, slot: u32, text: &str, command: Command<'_>) {
        match command {
            Command::Subscribe { room, recover, id } => {
                let asked = Asked { slot, text, id };
                if let Some(seen) = recover {
                    if let Err(denial) = self.may_ask_past(now, slot) {
                        return self.deny(now, asked, denial);
                    }
                    if self.looks_first(now, asked, &room, Wanted::After(seen)) {
                        return;
                    }
                }
                match self.subscribe(now, slot, &room) {
                    Ok(joined) => self.welcome(now, slot, &room, joined, recover, id),
                    Err(denial) => self.deny(now, asked, denial),
                }
            }
            Command::Unsubscribe { room, id } => {
                self.leave_and_tell(now, slot, &room, id);
            }
            Command::Publish { room, event, data, id } => {
                self.client_publish(now, Asked { slot, text, id }, &room, &event, data);
            }
            Command::Broadcast { event, data, id } => {
                self.client_broadcast(now, Asked { slot, text, id }, &event, data);
            }
            Command::Presence { room, limit, id } => {
                self.presence(now, Asked { slot, text, id }, &room, limit);
            }
            Command::Ping { id } => self.answer(now, slot, &Answer::Pong { id }),
            Command::Status { id } => self.status(now, slot, id),
            Command::Notifications { types, raw } => {
                self.notifications(now, Asked { slot, text, id: None }, &types, raw);
            }
            Command::Authenticate { token, id } => {
                let asked = Asked { slot, text, id };
                match self.conns.at(slot) {
                    Some(conn) if conn.authenticates != Authenticates::Never => {
                        self.authenticate(now, asked, &token)
                    }
                    // Shown to its sender alone, but a token all the same.
                    _ => self.refuse(now, Asked { text: "", ..asked }, Refusal::UnknownType),
                }
            }
            Command::Custom { event, data, id } => {
                let asked = Asked { slot, text, id };
                if !self.acted(now, asked, &event) {
                    self.custom(now, asked, &event, data);
                }
            }
        }
    }

    /// Makes a connection a member, if the rules let it. Joining twice counts once.
    pub(in crate::shard) fn subscribe(&mut self, now: Now, slot: u32, room: &str) -> Result<Joined, Denial> {
        self.allowed(slot, room, Action::Subscribe)?;
        self.turn.charge(price::REQUEST);
        let conn = self.conns.at(slot).ok_or(Refusal::Internal)?;
        let place = self.rooms.place(room);
        if let Some(local) = place.slot
            && conn.memberships.iter().any(|membership| membership.room == local)
        {
            let client_count = self.rooms.get(local).ok_or(Refusal::Internal)?.shared.members();
            return Ok(Joined { local, client_count, was_member: true });
        }
        let limits = &self.config.limits;
        if limits.rooms_per_connection_max != 0
            && conn.memberships.len() >= limits.rooms_per_connection_max as usize
        {
            return Err(Refusal::TooManyRooms.into());
        }
        let back = conn.memberships.len() as u32;
        self.join_accounts(slot)?;
        let joined = self
            .rooms
            .join_at(&self.hub.directory, place, limits.connections_per_room_max, conn.encoding(), slot, back)
            .map_err(|full| match full {
                NoPlace::Room => Refusal::RoomFull,
                NoPlace::Node => Refusal::MembershipsFull,
            });
        let (membership, client_count) = joined.inspect_err(|_| self.leave_accounts(slot, 1))?;
        let client_count = client_count + u32::from(mutated(Mutation::MiscountMembers));
        self.conns.at_mut(slot).ok_or(Refusal::Internal)?.memberships.push(membership);
        self.note_join(slot, membership);
        if let Some(room) = self.rooms.get(membership.room) {
            room.shared.activity.joined(now.unix_ms);
        }
        self.metrics.members.add(1);
        self.metrics.rooms.set(self.rooms.len() as u64);
        Ok(Joined { local: membership.room, client_count, was_member: false })
    }

    /// Ends a membership, if there is one. Returns the room's id.
    pub(in crate::shard) fn unsubscribe(&mut self, slot: u32, room: &str) -> Option<u64> {
        let index = self.membership(slot, room)?;
        let id = self.rooms.get(self.conns.at(slot)?.memberships[index].room)?.shared.id;
        let conn = self.conns.at_mut(slot)?;
        let encoding = conn.encoding();
        let left = conn.memberships.swap_remove(index);
        let moved = conn.memberships.get(index).copied();
        if let Some(moved) = moved
            && !mutated(Mutation::ForgetMovedMembership)
        {
            self.rooms.set_back(encoding, moved, index as u32);
        }
        self.wide.leave(left.room, slot);
        self.leave_accounts(slot, 1);
        self.leave_room(encoding, left);
        if self.program.handlers.hear(HookEvent::Leave) {
            self.tell_leave(slot, room);
        }
        Some(id)
    }

    /// Ends a membership, if there is one, and tells that it has ended. Whether there was one.
    pub(in crate::shard) fn leave_and_tell(
        &mut self,
        now: Now,
        slot: u32,
        room: &str,
        id: RequestId<'_>,
    ) -> bool {
        let left = self.unsubscribe(slot, room);
        self.answer_of_kind(now, slot, &Answer::Unsubscribed { room, id }, left.map(Kind::After));
        left.is_some()
    }

    /// Index of a connection's membership of a room.
    pub(in crate::shard) fn membership(&self, slot: u32, room: &str) -> Option<usize> {
        let room = self.rooms.find(room)?;
        self.conns.at(slot)?.memberships.iter().position(|membership| membership.room == room)
    }

    fn client_publish(&mut self, now: Now, asked: Asked<'_>, room: &str, event: &str, data: Option<&str>) {
        let Asked { slot, id, .. } = asked;
        let member_of = self.membership(slot, room).and_then(|index| {
            let conn = self.conns.at(slot)?;
            Some(conn.memberships[index].room)
        });
        let allowed = match member_of {
            Some(local) => self.member_allowed(slot, local, Action::Publish),
            None => self.outsider_allowed(slot, room),
        };
        if let Err(denial) = allowed {
            return self.deny(now, asked, denial);
        }
        let Some(conn) = self.conns.at(slot) else { return };
        let known = member_of.and_then(|local| Some(Arc::clone(&self.rooms.get(local)?.shared)));
        let identity = conn.identity.clone();
        let sender = Some(Sender { id: conn.id, user: user_of(&identity) });
        let publication = said(now, event, Some(room), data, sender);
        let to = Recipients::Room { name: room, known };
        let published = self.accept(now, Outgoing { to, publication, origin: Origin::Client { slot } });
        if published.is_refused {
            return self.refuse(now, asked, Refusal::NoOrder);
        }
        if id.is_some() {
            let offset = published.position.map(|position| position.offset);
            self.answer(now, slot, &Answer::Published { room: Some(room), offset, id });
        }
    }

    fn client_broadcast(&mut self, now: Now, asked: Asked<'_>, event: &str, data: Option<&str>) {
        if !self.config.lets_clients_broadcast() {
            return self.refuse(now, asked, Refusal::BroadcastDisabled);
        }
        let Asked { slot, id, .. } = asked;
        let Some(conn) = self.conns.at(slot) else { return };
        let identity = conn.identity.clone();
        let sender = Some(Sender { id: conn.id, user: user_of(&identity) });
        let publication = said(now, event, None, data, sender);
        // A broadcast crosses no tenant's border, in neither direction.
        let to = match identity.as_ref().and_then(|identity| identity.tenant.as_deref()) {
            Some(tenant) => Recipients::Audience(Audience::Tenant, tenant),
            None => Recipients::Tenantless,
        };
        self.accept(now, Outgoing { to, publication, origin: Origin::Client { slot } });
        if id.is_some() {
            self.answer(now, slot, &Answer::Published { room: None, offset: None, id });
        }
    }

    pub(super) fn custom(&mut self, now: Now, asked: Asked<'_>, event: &str, data: Option<&str>) {
        let Asked { slot, id, .. } = asked;
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let Some(Registered { handler, goes_on, panics_told }) = self.program.handlers.get(event, conn.admin)
        else {
            if !self.tell_backend(now, asked, event, data) {
                self.refuse(now, asked, Refusal::UnknownType);
            }
            return;
        };
        if goes_on && !conn.forwards_one_more() {
            return self.refuse(now, asked, Refusal::RateLimited);
        }
        let client = conn.id;
        let under_way = || UnderWay { of: client, shard: self.mailer.here(), post: self.mailer.poster() };
        let request = CustomRequest {
            client,
            identity: conn.identity.clone(),
            event: event.to_owned(),
            data: data.map(str::to_owned),
            id: id.map(str::to_owned),
            respond: self.program.respond.clone(),
            under_way: goes_on.then(under_way),
        };
        if catch_unwind(AssertUnwindSafe(|| handler(request))).is_err() {
            if let Some(count) = panics_told.happened(now.ms()) {
                tracing::error!(event, count, connection = %client, "a custom handler panicked");
            }
            self.refuse(now, asked, Refusal::Internal);
        }
    }
}

/// What a client publishes.
fn said<'a>(
    now: Now,
    event: &'a str,
    room: Option<&'a str>,
    data: Option<&'a str>,
    sender: Option<Sender<'a>>,
) -> Publication<'a> {
    Publication { event, room, data, whole: None, sender, unix_ms: now.unix_ms, offset: None }
}

/// The user of a connection, where it is known.
pub(super) fn user_of(identity: &Option<Arc<Identity>>) -> Option<&str> {
    identity.as_ref()?.user.as_deref()
}

/// The rate of two settings; a burst of 0 stands for one second's worth.
pub(in crate::shard) fn rate(per_s: u32, burst: u32) -> Rate {
    Rate { per_s, burst: if burst == 0 { per_s } else { burst } }
}
