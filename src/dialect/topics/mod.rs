//! The protocol of the AegisX service document: `{"type":T,"channel":C}`, types in small letters.
//!
//! Client to server: `subscribe`, `unsubscribe` (with `channel`), `ping`, `get_status`; other types are for the backend
//! or a handler of the embedding program. Server to client: `welcome`, `subscribed`, `unsubscribed`, `pong`, `status`,
//! `error`, and what is published: objects of a backend as they are, with `channel` and `timestamp` where they lack them.
//!
//! Beyond the document: `publish` (with `channel` and `data`), `presence` (with `channel`, and perhaps `limit`), `auth`
//! (with `token`), which are answered with `published` (if the request has an `id`), `presence` and `authenticated`;
//! `presence_change` and `gap` as in `rooms`; an `id` is echoed; in rooms with history messages have an `offset`, and a
//! `subscribe` may `recover` what was missed.

mod decode;
mod encode;

use super::{DecodeLimits, Dialect, DialectSpec, Rejected, channelled};
use crate::model::{Answer, Command, Publication};
use crate::wire::Layout;

/// The dialect's line in the table.
pub(super) const SPEC: DialectSpec = DialectSpec {
    name: "topics",
    codec: &Topics,
    greeting_room: "chat",
    greeting_join: r#"{"type":"subscribe","channel":"chat"}"#,
    // Beyond those of `rooms`.
    reserved: &["health", "initial_data", "welcome"],
};

/// The dialect `topics`.
#[derive(Debug, Clone, Copy)]
pub struct Topics;

impl Dialect for Topics {
    fn decode<'a>(&self, text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>> {
        decode::decode(text, limits)
    }

    fn delivers_to_sender(&self) -> bool {
        true
    }

    fn publishes_unjoined(&self) -> bool {
        true
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
