//! The protocol of the AegisX platform document: `{"type":T,"data":{...}}`, types in small letters.
//!
//! Client to server: `ping`, `join_channel`, `leave_channel` (`data.channel`), `send_message` (`data.channel`,
//! `data.message`), `subscribe_notifications` (`data.types`). Server to client: `connection`, `pong`, `channel_joined`,
//! `channel_left`, `channel_message`, `notifications_subscribed`, `error`, and the objects of a backend as they are.
//!
//! Beyond the document: `get_presence` (`data.channel`, perhaps `data.limit`), `get_status` and `auth` (`data.token`),
//! which are answered with `presence`, `status` and `authenticated`; `presence_change` and `gap` as in `rooms`; an `id`
//! beside `type` is echoed, and a `send_message` that has one is answered with `published`; in rooms with history
//! messages have an `offset` beside `type`, and a `join_channel` may `data.recover` what was missed.

mod decode;
mod encode;

use super::{DecodeLimits, Dialect, DialectSpec, Rejected};
use crate::base::json_field;
use crate::model::{Answer, Command, Publication};
use crate::wire::Layout;

/// The dialect's line in the table.
pub(super) const SPEC: DialectSpec = DialectSpec {
    name: "tenants",
    codec: &Tenants,
    // In the preset of the name no client may join a room without an owner.
    greeting_room: "public:chat",
    greeting_join: r#"{"type":"join_channel","data":{"channel":"public:chat"}}"#,
    // Beyond those of `rooms`.
    reserved: &["channel_joined", "channel_left", "channel_message", "connection"],
};

/// The dialect `tenants`.
#[derive(Debug, Clone, Copy)]
pub struct Tenants;

impl Dialect for Tenants {
    fn decode<'a>(&self, text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
        decode::decode(text, limits)
    }

    fn delivers_to_sender(&self) -> bool {
        false
    }

    fn data_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        let data = json_field(text, "data")?;
        let from_client = json_field(text, "type") == Some("\"channel_message\"");
        if from_client { json_field(data, "message") } else { Some(data) }
    }

    fn publishes_unjoined(&self) -> bool {
        true
    }

    fn encode_publication(&self, publication: &Publication<'_>, out: &mut Vec<u8>) -> Layout {
        encode::publication(publication, out);
        Layout::Text
    }

    fn encode_answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) -> Layout {
        encode::answer(answer, unix_ms, out);
        Layout::Text
    }
}
