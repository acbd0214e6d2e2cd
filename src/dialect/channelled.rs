//! The shape of messages that `channels` and `topics` share.

use super::json::{begin, data_field, end_at, offset_field, push_string};
use super::request::{self, Fields};
use super::whole::{Missing, push_whole};
use super::{DecodeLimits, Rejected};
use crate::model::{Publication, Refusal};

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

/// The dialects' own words, where they have some.
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
        Refusal::RateLimited => "Rate limit exceeded",
        Refusal::UserRateLimited => "Rate limit of this user exceeded",
        Refusal::TenantRateLimited => "Rate limit of this tenant exceeded",
        Refusal::Internal => "Internal error",
        Refusal::UnknownType
        | Refusal::ServerFull
        | Refusal::BroadcastDisabled
        | Refusal::Backend
        | Refusal::BackendFailed
        | Refusal::UserFull
        | Refusal::TenantFull => return None,
    })
}
