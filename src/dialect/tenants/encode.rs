use super::super::json::{begin, data_field, end_at, offset_field, push_id, push_string};
use super::super::object::{Object, unknown_type};
use super::super::whole::{Missing, push_whole};
use crate::model::{Answer, Publication, Refusal, RequestId};

/// Appends what a member receives: from a client the document's `channel_message`, with the keys in its order; from a
/// backend the object that it gave, or one of type and data. In rooms with history an `offset` stands at the end.
pub(super) fn publication(publication: &Publication<'_>, out: &mut Vec<u8>) {
    let Publication { event, room, data, whole, sender, unix_ms, offset } = *publication;
    if let Some(whole) = whole {
        return push_whole(whole, [("offset", offset.map(Missing::Number))], out);
    }
    if let Some(sender) = sender {
        out.extend_from_slice(b"{\"type\":\"channel_message\",\"data\":{");
        if let Some(room) = room {
            out.extend_from_slice(b"\"channel\":");
            push_string(room, out);
            out.push(b',');
        }
        if let Some(data) = data {
            out.extend_from_slice(b"\"message\":");
            out.extend_from_slice(data.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(b"\"sender\":{");
        if let Some(user) = sender.user {
            out.extend_from_slice(b"\"id\":");
            push_string(user, out);
            out.push(b',');
        }
        out.extend_from_slice(b"\"connectionId\":");
        push_id(sender.id, out);
        out.push(b'}');
        end_at(unix_ms, out);
    } else {
        begin(event, out);
        data_field(data, out);
    }
    offset_field(offset, out);
    out.push(b'}');
}

/// Appends an answer. Its `id`, where there is one, stands at the end.
pub(super) fn answer(answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) {
    match *answer {
        Answer::Connected { client_id, .. } => message("connection", None, out, |data| {
            data.id("connectionId", client_id);
            data.time("timestamp", unix_ms);
        }),
        Answer::Pong { id } => message("pong", id, out, |data| data.time("timestamp", unix_ms)),
        Answer::Subscribed { room, position, recovered, id, .. } => {
            message("channel_joined", id, out, |data| {
                data.text("channel", room);
                data.position(position, recovered);
            });
        }
        Answer::Unsubscribed { room, id } => {
            message("channel_left", id, out, |data| data.text("channel", room));
        }
        Answer::NotificationsJoined { types } => {
            message("notifications_subscribed", None, out, |data| data.raw("types", types));
        }
        Answer::Error { refusal, text, original, id } => message("error", id, out, |data| match refusal {
            Some(Refusal::UnknownType) => data.text("error", &unknown_type(original)),
            refusal => data.text("error", refusal.and_then(words).unwrap_or(text)),
        }),
        Answer::Published { room, offset, id } => message("published", id, out, |data| {
            if let Some(room) = room {
                data.text("channel", room);
            }
            data.number_if("offset", offset);
        }),
        Answer::Presence { room, counted, count, named, id } => message("presence", id, out, |data| {
            data.text("channel", room);
            data.members(counted, count);
            data.present(counted, named);
        }),
        Answer::PresenceChange { room, counted, joined, left, count } => {
            message("presence_change", None, out, |data| {
                data.text("channel", room);
                data.changed(joined, left);
                data.members(counted, count);
            });
        }
        Answer::Gap { room, lost } => message("gap", None, out, |data| {
            data.text("channel", room);
            data.number("lost", lost);
        }),
        Answer::Status { client_id, user, rooms, active_unix_ms, connected_unix_ms, id } => {
            message("status", id, out, |data| {
                data.id("connectionId", client_id);
                data.text_or_null("userId", user);
                data.rooms("channels", rooms);
                data.time("lastActivity", active_unix_ms);
                data.time("connectedAt", connected_unix_ms);
            });
        }
        Answer::Authenticated { user, id } => {
            message("authenticated", id, out, |data| data.text_or_null("userId", user));
        }
        Answer::IdentityEnds { at_unix_s } => message("identity_ends", None, out, |data| {
            data.time("expiresAt", at_unix_s.saturating_mul(1000));
        }),
        Answer::Event { event, data, id } => {
            let mut object = Object::typed(event, out);
            object.raw_if("data", data);
            object.mark(id);
            object.end();
        }
    }
}

/// Appends an answer of this dialect's shape.
fn message(kind: &str, id: RequestId<'_>, out: &mut Vec<u8>, data: impl FnOnce(&mut Object<'_>)) {
    let mut object = Object::typed(kind, out);
    object.object("data", data);
    object.mark(id);
    object.end();
}

/// The dialect's own words, where it has some.
const fn words(refusal: Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::InvalidJson | Refusal::TooDeep | Refusal::RoomRequired | Refusal::RoomInvalid => {
            "Invalid message format"
        }
        Refusal::JoinDenied => "Access denied to channel",
        Refusal::Denied | Refusal::NotSubscribed | Refusal::BroadcastDisabled => "Permission denied",
        Refusal::RoomFull
        | Refusal::TooManyRooms
        | Refusal::TooManyRoomsOfUser
        | Refusal::TooManyRoomsOfTenant
        | Refusal::MembershipsFull => "Failed to join channel",
        Refusal::PresenceDisabled => "Presence is not enabled for this channel",
        Refusal::Unauthenticated => "Authentication required",
        Refusal::RateLimited => "Rate limit exceeded",
        Refusal::UserRateLimited => "Rate limit of this user exceeded",
        Refusal::TenantRateLimited => "Rate limit of this tenant exceeded",
        Refusal::Internal => "Internal error",
        Refusal::UnknownType
        | Refusal::ServerFull
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

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
