//! The shape of messages that `channels` and `topics` share.

use super::json::{begin, data_field, end_at, offset_field, push_string};
use super::object::{Object, unknown_type};
use super::request::{self, Fields};
use super::whole::{Missing, push_whole};
use super::{DecodeLimits, Rejected};
use crate::base::{Mutation, mutated};
use crate::model::{Answer, Publication, Refusal, RequestId};
use std::borrow::Cow;

/// The known fields of a message, in this order: `id`, `type`, `channel`, `data`, `recover`, `limit`, `token`.
#[inline(always)]
pub(super) fn fields<'a>(text: &'a str, limits: &DecodeLimits) -> Result<Fields<'a, 7>, Rejected<'a>> {
    request::fields(text, limits, place)
}

/// Where each known field stands.
#[inline(always)]
fn place(key: &[u8]) -> Option<usize> {
    Some(match key {
        b"id" => request::ID,
        b"type" => 1,
        b"channel" => 2,
        b"data" => 3,
        b"recover" => 4,
        b"limit" => 5,
        b"token" => 6,
        _ => return None,
    })
}

/// Appends what a member receives. Keys in the document's order: type, channel, data, offset (in rooms with history),
/// timestamp. An object of a backend keeps its own and gets what of these it lacks at its end.
pub(super) fn publication(publication: &Publication<'_>, out: &mut Vec<u8>) {
    let Publication { event, room, data, whole, unix_ms, offset, .. } = *publication;
    if let Some(whole) = whole {
        let fields = [
            ("type", Some(Missing::Text(event))),
            ("channel", room.map(Missing::Text)),
            ("offset", offset.map(Missing::Number)),
            ("timestamp", Some(Missing::Time(unix_ms))),
        ];
        return push_whole(whole, fields, out);
    }
    begin(event, out);
    if let Some(room) = room {
        out.extend_from_slice(b",\"channel\":");
        push_string(room, out);
    }
    data_field(data, out);
    offset_field(offset, out);
    end_at(unix_ms, out);
}

/// How one of the two answers: the types, and what else they have differently.
pub(super) struct Manner {
    /// Type of the greeting, where there is one.
    pub connected: Option<&'static str>,
    pub subscribed: &'static str,
    pub unsubscribed: &'static str,
    pub published: &'static str,
    pub presence: &'static str,
    pub presence_change: &'static str,
    pub gap: &'static str,
    pub pong: &'static str,
    pub status: &'static str,
    pub notifications_joined: &'static str,
    pub authenticated: &'static str,
    pub identity_ends: &'static str,
    pub error: &'static str,
    /// What errors name as their channel, where they are messages with `data` that shows what was refused; where not,
    /// the words stand beside the type.
    pub error_channel: Option<&'static str>,
    /// Whether who joins is told how many the members are.
    pub counts_who_joins: bool,
    /// Whether an answer without data has an empty object in its place.
    pub has_empty_data: bool,
}

impl Manner {
    /// Appends an answer. Its `id`, where there is one, stands before the timestamp. The greeting has neither: it tells
    /// the server's time.
    pub fn answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) {
        match *answer {
            Answer::Connected { client_id, user, available } => {
                let Some(kind) = self.connected else { return };
                let mut object = Object::typed(kind, out);
                object.object("data", |data| {
                    data.id("connectionId", client_id);
                    data.text_or_null("userId", user);
                    data.time("serverTime", unix_ms);
                    data.texts("availableChannels", available.iter().map(String::as_str));
                });
                object.end();
            }
            Answer::Subscribed { room, client_count, position, recovered, id } => {
                self.message(self.subscribed, Some(room), id, unix_ms, out, |data| {
                    data.number_if("members", self.counts_who_joins.then_some(client_count.into()));
                    data.position(position, recovered);
                });
            }
            Answer::Unsubscribed { room, id } => {
                self.message(self.unsubscribed, Some(room), id, unix_ms, out, |_| {});
            }
            Answer::Published { room, offset, id } => {
                self.message(self.published, room, id, unix_ms, out, |data| data.number_if("offset", offset));
            }
            Answer::Presence { room, counted, count, named, id } => {
                self.message(self.presence, Some(room), id, unix_ms, out, |data| {
                    data.members(counted, count);
                    data.present(counted, named);
                });
            }
            Answer::PresenceChange { room, counted, joined, left, count } => {
                self.message(self.presence_change, Some(room), None, unix_ms, out, |data| {
                    data.changed(joined, left);
                    data.members(counted, count);
                });
            }
            Answer::Gap { room, lost } => {
                self.message(self.gap, Some(room), None, unix_ms, out, |data| data.number("lost", lost));
            }
            Answer::Pong { id } => self.message(self.pong, None, id, unix_ms, out, |_| {}),
            Answer::Status { client_id, user, rooms, active_unix_ms, connected_unix_ms, id } => {
                self.message(self.status, None, id, unix_ms, out, |data| {
                    data.id("connectionId", client_id);
                    data.text_or_null("userId", user);
                    data.rooms("channels", rooms);
                    data.time("lastActivity", active_unix_ms);
                    data.time("connectedAt", connected_unix_ms);
                });
            }
            Answer::NotificationsJoined { types } => {
                self.message(self.notifications_joined, None, None, unix_ms, out, |data| {
                    data.raw("types", types);
                });
            }
            Answer::Authenticated { user, id } => {
                self.message(self.authenticated, None, id, unix_ms, out, |data| {
                    data.text_or_null("userId", user);
                });
            }
            Answer::IdentityEnds { at_unix_s } => {
                self.message(self.identity_ends, None, None, unix_ms, out, |data| {
                    data.time("expiresAt", at_unix_s.saturating_mul(1000));
                });
            }
            Answer::Error { refusal, text, original, id } => {
                let text = match refusal {
                    Some(Refusal::UnknownType) => Cow::Owned(unknown_type(original)),
                    refusal => Cow::Borrowed(refusal.and_then(words).unwrap_or(text)),
                };
                let Some(channel) = self.error_channel else {
                    let mut object = Object::typed(self.error, out);
                    object.text("message", &text);
                    return end(object, id, unix_ms);
                };
                self.message(self.error, Some(channel), id, unix_ms, out, |data| {
                    data.text("message", &text);
                    if let Some(original) = original.filter(|_| !mutated(Mutation::HideOriginal)) {
                        data.original("originalMessage", original);
                    }
                });
            }
            Answer::Event { event, data, id } => {
                let mut object = Object::typed(event, out);
                object.raw_if("data", data);
                end(object, id, unix_ms);
            }
        }
    }

    /// Appends an answer that has the shape of what is published.
    fn message(
        &self,
        kind: &str,
        channel: Option<&str>,
        id: RequestId<'_>,
        unix_ms: u64,
        out: &mut Vec<u8>,
        data: impl FnOnce(&mut Object<'_>),
    ) {
        let mut object = Object::typed(kind, out);
        if let Some(channel) = channel {
            object.text("channel", channel);
        }
        if self.has_empty_data {
            object.object("data", data);
        } else {
            object.object_if_any("data", data);
        }
        end(object, id, unix_ms);
    }
}

/// Ends an answer with what stands last in all but the greeting.
fn end(mut object: Object<'_>, id: RequestId<'_>, unix_ms: u64) {
    object.mark(id);
    object.time("timestamp", unix_ms);
    object.end();
}

/// The two dialects' own words, where they have some.
pub(super) const fn words(refusal: Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::InvalidJson => "Invalid message format",
        Refusal::TooDeep => "Invalid message format: nested too deep",
        Refusal::RoomRequired => "Channel is required",
        Refusal::RoomInvalid => "Invalid channel: at most 255 bytes and no control characters",
        Refusal::NotSubscribed => "Not a member of this channel",
        Refusal::RoomFull => "Channel is full",
        Refusal::TooManyRooms => "Too many channels for one connection",
        Refusal::PresenceDisabled => "Presence is not enabled for this channel",
        Refusal::JoinDenied => "Access denied to channel",
        Refusal::Denied => "Permission denied",
        Refusal::Unauthenticated => "Authentication required",
        Refusal::TooManyRoomsOfUser => "Too many channels for one user",
        Refusal::TooManyRoomsOfTenant => "Too many channels for one tenant",
        Refusal::MembershipsFull => "The server holds too many channels: try again later",
        Refusal::RateLimited => "Rate limit exceeded",
        Refusal::UserRateLimited => "Rate limit of this user exceeded",
        Refusal::TenantRateLimited => "Rate limit of this tenant exceeded",
        Refusal::Internal => "Internal error",
        Refusal::UnknownType
        | Refusal::ServerFull
        | Refusal::BroadcastDisabled
        | Refusal::Backend
        | Refusal::BackendFailed
        | Refusal::BackendError
        | Refusal::UserFull
        | Refusal::TenantFull
        | Refusal::UserOutboxFull
        | Refusal::TenantOutboxFull
        | Refusal::NoOrder => return None,
    })
}
