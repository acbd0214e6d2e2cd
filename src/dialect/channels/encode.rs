use super::super::channelled::words;
use super::super::object::{Object, unknown_type};
use crate::model::{Answer, Refusal, RequestId};

/// What the document's errors name as their channel.
const ERROR_CHANNEL: &str = "error";

/// Appends an answer. Its `id`, where there is one, stands before the timestamp. The document has no greeting.
pub(super) fn answer(answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) {
    match *answer {
        Answer::Connected { .. } => {}
        Answer::Subscribed { room, client_count, position, recovered, id } => {
            message("CHANNEL_JOINED", Some(room), id, unix_ms, out, |data| {
                data.number("members", client_count.into());
                data.position(position, recovered);
            });
        }
        Answer::Unsubscribed { room, id } => {
            message("CHANNEL_LEFT", Some(room), id, unix_ms, out, |_| {});
        }
        Answer::Published { room, offset, id } => {
            message("PUBLISHED", room, id, unix_ms, out, |data| data.number_if("offset", offset));
        }
        Answer::Presence { room, client_count, clients, id } => {
            message("CHANNEL_PRESENCE", Some(room), id, unix_ms, out, |data| {
                data.number("members", client_count.into());
                data.ids("connections", clients);
            });
        }
        Answer::PresenceChange { room, joined, left, client_count } => {
            message("CHANNEL_PRESENCE_CHANGE", Some(room), None, unix_ms, out, |data| {
                data.changed(joined, left);
                data.number("members", client_count.into());
            });
        }
        Answer::Gap { room, lost } => {
            message("CHANNEL_GAP", Some(room), None, unix_ms, out, |data| data.number("lost", lost));
        }
        Answer::Pong { id } => message("PONG", None, id, unix_ms, out, |_| {}),
        Answer::Status { client_id, user, rooms, active_unix_ms, connected_unix_ms, id } => {
            message("STATUS", None, id, unix_ms, out, |data| {
                data.id("connectionId", client_id);
                data.text_or_null("userId", user);
                data.rooms("channels", rooms);
                data.time("lastActivity", active_unix_ms);
                data.time("connectedAt", connected_unix_ms);
            });
        }
        Answer::NotificationsJoined { types } => {
            message("NOTIFICATIONS_SUBSCRIBED", None, None, unix_ms, out, |data| data.raw("types", types));
        }
        Answer::Authenticated { user, id } => {
            message("AUTHENTICATED", None, id, unix_ms, out, |data| data.text_or_null("userId", user));
        }
        Answer::IdentityEnds { at_unix_s } => {
            message("IDENTITY_ENDS", None, None, unix_ms, out, |data| {
                data.time("expiresAt", at_unix_s.saturating_mul(1000));
            });
        }
        Answer::Error { refusal, text, original, id } => {
            message("ERROR", Some(ERROR_CHANNEL), id, unix_ms, out, |data| {
                match refusal {
                    Some(Refusal::UnknownType) => data.text("message", &unknown_type(original)),
                    refusal => data.text("message", refusal.and_then(words).unwrap_or(text)),
                }
                if let Some(original) = original {
                    data.original("originalMessage", original);
                }
            });
        }
        Answer::Event { event, data, id } => {
            let mut object = Object::typed(event, out);
            object.raw_if("data", data);
            object.mark(id);
            object.time("timestamp", unix_ms);
            object.end();
        }
    }
}

/// Appends an answer of this dialect's shape.
fn message(
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
    object.object("data", data);
    object.mark(id);
    object.time("timestamp", unix_ms);
    object.end();
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
