use super::super::channelled::words;
use super::super::object::{Object, unknown_type};
use crate::model::{Answer, Refusal, RequestId};

/// Appends an answer. Its `id`, where there is one, stands before the timestamp. The greeting has neither: it tells the
/// server's time.
pub(super) fn answer(answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) {
    match *answer {
        Answer::Connected { client_id, user, available } => {
            let mut object = Object::typed("welcome", out);
            object.object("data", |data| {
                data.id("connectionId", client_id);
                data.text_or_null("userId", user);
                data.time("serverTime", unix_ms);
                data.texts("availableChannels", available.iter().map(String::as_str));
            });
            object.end();
        }
        Answer::Subscribed { room, position, recovered, id, .. } => {
            message("subscribed", Some(room), id, unix_ms, out, |data| data.position(position, recovered));
        }
        Answer::Unsubscribed { room, id } => {
            message("unsubscribed", Some(room), id, unix_ms, out, |_| {});
        }
        Answer::Published { room, offset, id } => {
            message("published", room, id, unix_ms, out, |data| data.number_if("offset", offset));
        }
        Answer::Presence { room, client_count, clients, id } => {
            message("presence", Some(room), id, unix_ms, out, |data| {
                data.number("members", client_count.into());
                data.ids("connections", clients);
            });
        }
        Answer::PresenceChange { room, joined, left, client_count } => {
            message("presence_change", Some(room), None, unix_ms, out, |data| {
                data.changed(joined, left);
                data.number("members", client_count.into());
            });
        }
        Answer::Gap { room, lost } => {
            message("gap", Some(room), None, unix_ms, out, |data| data.number("lost", lost));
        }
        Answer::Pong { id } => message("pong", None, id, unix_ms, out, |_| {}),
        Answer::Status { client_id, user, rooms, active_unix_ms, connected_unix_ms, id } => {
            message("status", None, id, unix_ms, out, |data| {
                data.id("connectionId", client_id);
                data.text_or_null("userId", user);
                data.rooms("channels", rooms);
                data.time("lastActivity", active_unix_ms);
                data.time("connectedAt", connected_unix_ms);
            });
        }
        Answer::NotificationsJoined { types } => {
            message("notifications_subscribed", None, None, unix_ms, out, |data| data.raw("types", types));
        }
        Answer::Authenticated { user, id } => {
            message("authenticated", None, id, unix_ms, out, |data| data.text_or_null("userId", user));
        }
        Answer::IdentityEnds { at_unix_s } => {
            message("identity_ends", None, None, unix_ms, out, |data| {
                data.time("expiresAt", at_unix_s.saturating_mul(1000));
            });
        }
        Answer::Error { refusal, text, original, id } => {
            let mut object = Object::typed("error", out);
            match refusal {
                Some(Refusal::UnknownType) => object.text("message", &unknown_type(original)),
                refusal => object.text("message", refusal.and_then(words).unwrap_or(text)),
            }
            object.mark(id);
            object.time("timestamp", unix_ms);
            object.end();
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

/// Appends an answer of this dialect's shape, without `data` where it has none.
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
    object.object_if_any("data", data);
    object.mark(id);
    object.time("timestamp", unix_ms);
    object.end();
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
