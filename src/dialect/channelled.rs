//! The shape of publications that `channels` and `topics` share.

use super::json::push_time;
use super::json::{push_number, push_string};
use super::whole::{Missing, push_whole};
use crate::model::Publication;

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
    out.extend_from_slice(b"{\"type\":");
    push_string(event, out);
    if let Some(room) = room {
        out.extend_from_slice(b",\"channel\":");
        push_string(room, out);
    }
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
    if let Some(offset) = offset {
        out.extend_from_slice(b",\"offset\":");
        push_number(offset, out);
    }
    out.extend_from_slice(b",\"timestamp\":");
    push_time(unix_ms, out);
    out.push(b'}');
}
