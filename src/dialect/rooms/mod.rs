//! The native protocol: JSON objects with a `type`, as the guide of the Go rooms module describes them.
//!
//! Client to server: `subscribe`, `unsubscribe`, `publish` (with `room`), `broadcast`, `ping`, and beyond the document
//! `presence` (with `room`, and with `limit` where fewer than 1,000 ids are wanted); any other type is
//! for a handler of the embedding program. Server to client: `connected`, `subscribed`, `unsubscribed`, `message`,
//! `error`, `pong`, and beyond the document `presence`, `presence_change` and `gap`. Beyond that document a request may
//! carry an `id` (string or number), which its answer echoes; an accepted publish or broadcast with an `id` is answered
//! with `published`. In rooms with history messages have an `offset`, and a `subscribe` may `recover` what was missed.

mod decode;
mod encode;

use super::{DecodeLimits, Dialect, DialectSpec, Rejected};
use crate::model::{Answer, Command, Publication};
use crate::wire::Layout;

/// The dialect's line in the table.
pub(super) const SPEC: DialectSpec = DialectSpec {
    name: "rooms",
    codec: &Rooms,
    greeting_room: "chat",
    greeting_join: r#"{"type":"subscribe","room":"chat"}"#,
    reserved: &[
        "authenticated",
        "connected",
        "error",
        "gap",
        "identity_ends",
        "notifications_subscribed",
        "pong",
        "presence",
        "presence_change",
        "published",
        "status",
        "subscribed",
        "unsubscribed",
    ],
};

/// The dialect `rooms`.
#[derive(Debug, Clone, Copy)]
pub struct Rooms;

impl Dialect for Rooms {
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
        encode::publication(publication, out);
        Layout::Text
    }

    fn encode_answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) -> Layout {
        encode::answer(answer, unix_ms, out);
        Layout::Text
    }
}
