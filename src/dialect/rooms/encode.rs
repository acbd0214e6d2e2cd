use super::super::json::{begin, data_field, offset_field};
use super::super::json::{push_id, push_named, push_number, push_string, push_strings};
use crate::base::{Mutation, mutated};
use crate::model::{Answer, CountOf, Publication, RequestId, RoomName};

/// The greeting that the document shows.
const CONNECTED: &str = "Connected to WebSocket server";

/// Appends what a member receives. Keys in the document's order: type, room, data, client_id, offset (in rooms with
/// history), timestamp.
pub(super) fn publication(publication: &Publication<'_>, out: &mut Vec<u8>) {
    begin(publication.event, out);
    if let Some(room) = publication.room {
        room_field(room, out);
    }
    data_field(publication.data.or(publication.whole), out);
    if let Some(sender) = publication.sender {
        out.extend_from_slice(b",\"client_id\":");
        push_id(sender.id, out);
    }
    offset_field(publication.offset, out);
    let second = if mutated(Mutation::SecondsForMillis) { 1000 } else { 1 };
    end(publication.unix_ms / second, out);
}

/// Begins an object whose `type` is known here, in one piece that needs no look for escapes.
macro_rules! begin_as {
    ($kind:literal, $out:expr) => {
        $out.extend_from_slice(concat!("{\"type\":\"", $kind, "\"").as_bytes())
    };
}

/// Appends an answer. Its `id`, where there is one, stands before the timestamp.
pub(super) fn answer(answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) {
    match *answer {
        Answer::Connected { client_id, .. } => {
            begin_as!("connected", out);
            out.extend_from_slice(b",\"data\":{\"client_id\":");
            push_id(client_id, out);
            out.extend_from_slice(b",\"message\":");
            push_string(CONNECTED, out);
            out.push(b'}');
        }
        Answer::Subscribed { room, client_count, position, recovered, id } => {
            begin_as!("subscribed", out);
            room_field(room, out);
            out.extend_from_slice(b",\"data\":{\"room\":");
            push_string(room, out);
            out.extend_from_slice(b",\"client_count\":");
            push_number(client_count.into(), out);
            if let Some(position) = position {
                out.extend_from_slice(b",\"epoch\":");
                push_string(&position.epoch.to_string(), out);
                offset_field(Some(position.offset), out);
            }
            if let Some(recovered) = recovered {
                let field: &[u8] = if recovered { b",\"recovered\":true" } else { b",\"recovered\":false" };
                out.extend_from_slice(field);
            }
            out.push(b'}');
            id_field(id, out);
        }
        Answer::Unsubscribed { room, id } => {
            begin_as!("unsubscribed", out);
            room_field(room, out);
            out.extend_from_slice(b",\"data\":{\"room\":");
            push_string(room, out);
            out.push(b'}');
            id_field(id, out);
        }
        Answer::Published { room, offset, id } => {
            begin_as!("published", out);
            if let Some(room) = room {
                room_field(room, out);
            }
            offset_field(offset, out);
            id_field(id, out);
        }
        Answer::Presence { room, counted, count, named, id } => {
            begin_as!("presence", out);
            room_field(room, out);
            out.extend_from_slice(b",\"data\":{");
            count_field(counted, count, out);
            out.extend_from_slice(match counted {
                CountOf::Connections => b",\"clients\":".as_slice(),
                CountOf::Users => b",\"users\":",
            });
            push_named(named, out);
            out.push(b'}');
            id_field(id, out);
        }
        Answer::PresenceChange { room, counted, joined, left, count } => {
            begin_as!("presence_change", out);
            room_field(room, out);
            out.extend_from_slice(b",\"data\":{\"joined\":");
            push_named(joined.named, out);
            out.extend_from_slice(b",\"left\":");
            push_named(left.named, out);
            out.push(b',');
            count_field(counted, count, out);
            // Only where the list does not tell.
            for (name, changed) in [("joined_count", joined), ("left_count", left)] {
                if changed.count as usize > changed.named.len() {
                    out.push(b',');
                    push_string(name, out);
                    out.push(b':');
                    push_number(changed.count.into(), out);
                }
            }
            out.push(b'}');
        }
        Answer::Gap { room, lost } => {
            begin_as!("gap", out);
            room_field(room, out);
            out.extend_from_slice(b",\"data\":{\"lost\":");
            push_number(lost, out);
            out.push(b'}');
        }
        Answer::Pong { id } => {
            begin_as!("pong", out);
            id_field(id, out);
        }
        Answer::Error { text, id, .. } => {
            begin_as!("error", out);
            out.extend_from_slice(b",\"error\":");
            push_string(text, out);
            id_field(id, out);
        }
        Answer::Status { client_id, user, rooms, active_unix_ms, connected_unix_ms, id } => {
            begin_as!("status", out);
            out.extend_from_slice(b",\"data\":{\"client_id\":");
            push_id(client_id, out);
            user_field(user, out);
            out.extend_from_slice(b",\"rooms\":");
            push_strings(rooms.iter().map(RoomName::as_str), out);
            for (name, number) in [("last_activity", active_unix_ms), ("connected_at", connected_unix_ms)] {
                out.push(b',');
                push_string(name, out);
                out.push(b':');
                push_number(number, out);
            }
            out.push(b'}');
            id_field(id, out);
        }
        Answer::NotificationsJoined { types } => {
            begin_as!("notifications_subscribed", out);
            data_field(Some(types), out);
        }
        Answer::Authenticated { user, id } => {
            begin_as!("authenticated", out);
            user_field(user, out);
            id_field(id, out);
        }
        Answer::IdentityEnds { at_unix_s } => {
            begin_as!("identity_ends", out);
            out.extend_from_slice(b",\"data\":{\"at\":");
            push_number(at_unix_s.saturating_mul(1000), out);
            out.push(b'}');
        }
        Answer::Event { event, data, id } => {
            begin(event, out);
            data_field(data, out);
            id_field(id, out);
        }
    }
    end(unix_ms, out);
}

/// Appends how many members or users are in a room.
fn count_field(counted: CountOf, count: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(match counted {
        CountOf::Connections => b"\"client_count\":".as_slice(),
        CountOf::Users => b"\"user_count\":",
    });
    push_number(count.into(), out);
}

fn room_field(room: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"room\":");
    push_string(room, out);
}

fn user_field(user: Option<&str>, out: &mut Vec<u8>) {
    if let Some(user) = user {
        out.extend_from_slice(b",\"user_id\":");
        push_string(user, out);
    }
}

fn id_field(id: RequestId<'_>, out: &mut Vec<u8>) {
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_bytes());
    }
}

fn end(unix_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"timestamp\":");
    push_number(unix_ms, out);
    out.push(b'}');
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
