//! The protocol of the Fastify channels document: `{"type":T,"channel":C,"data":D}`, types in capitals.
//!
//! Client to server: `JOIN_CHANNEL`, `LEAVE_CHANNEL` (with `channel`); any other type with a `channel` is published to
//! it under that name, unless it is one that only the server says; and a type without `channel` is for the backend or
//! a handler of the embedding program. Server to client: `CHANNEL_JOINED`, `CHANNEL_LEFT`, `ERROR`, and what is
//! published.
//!
//! Beyond the document: `GET_PRESENCE` (with `channel`, and perhaps `limit`), and without `channel` `PING`,
//! `GET_STATUS` and `AUTH` (with `token`), which are answered with `CHANNEL_PRESENCE`, `PONG`, `STATUS` and
//! `AUTHENTICATED`; `CHANNEL_PRESENCE_CHANGE` and `CHANNEL_GAP` as in `rooms`; an `id` is echoed, and a publication that
//! has one is answered with `PUBLISHED`; in rooms with history messages have an `offset`, and a `JOIN_CHANNEL` may
//! `recover` what was missed.

mod decode;
mod encode;

use super::{DecodeLimits, Dialect, DialectSpec, Rejected, channelled};
use crate::model::{Answer, Command, Publication};
use crate::wire::Layout;

/// The dialect's line in the table.
pub(super) const SPEC: DialectSpec = DialectSpec {
    name: "channels",
    codec: &Channels,
    greeting_room: "chat",
    greeting_join: r#"{"type":"JOIN_CHANNEL","channel":"chat"}"#,
    // `STATUS` is not among them: it is a likely name, and the server's has no channel.
    reserved: &[
        "AUTHENTICATED",
        "CHANNEL_GAP",
        "CHANNEL_JOINED",
        "CHANNEL_LEFT",
        "CHANNEL_PRESENCE",
        "CHANNEL_PRESENCE_CHANGE",
        "ERROR",
        "IDENTITY_ENDS",
        "NOTIFICATIONS_SUBSCRIBED",
        "PONG",
        "PUBLISHED",
    ],
};

/// The dialect `channels`.
#[derive(Debug, Clone, Copy)]
pub struct Channels;

impl Dialect for Channels {
    fn decode<'a>(&self, text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
        decode::decode(text, limits)
    }

    fn delivers_to_sender(&self) -> bool {
        true
    }

    fn publishes_unjoined(&self) -> bool {
        false
    }

    fn encode_publication(&self, publication: &Publication<'_>, out: &mut Vec<u8>) -> Layout {
        channelled::publication(publication, out);
        Layout::Text
    }

    fn encode_answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) -> Layout {
        encode::MANNER.answer(answer, unix_ms, out);
        Layout::Text
    }
}
