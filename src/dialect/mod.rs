//! The protocols that clients speak: each turns received text into a [`Command`], and publications and answers
//! into text. No dialect does I/O, looks at a clock, or knows a connection.
//!
//! A further protocol is one more folder here and one more line in [`DIALECTS`]: names in the configuration, the reserved
//! types, what the server says it speaks, and its greeting follow from there. `tests/sixth` is one in a folder elsewhere,
//! which [`add`] puts behind the table.
//!
//! Where each text is a request by itself, [`Dialect::decode`] reads it, and nothing is kept of a connection between two
//! messages. A dialect in which messages depend on those before, or that has binary messages or a heartbeat of its own,
//! makes a [`Session`] for each connection.

mod attached;
mod channelled;
mod channels;
mod json;
mod object;
#[cfg(test)]
mod properties_tests;
mod request;
mod rooms;
mod session;
mod tenants;
mod topics;
mod whole;

use crate::base::json_field;
use crate::model::{Answer, Command, Compression, DialectId, Publication, Refusal, RequestId};
use crate::wire::Layout;
use std::sync::OnceLock;

pub use attached::{ATTACHMENTS_MAX, Attached, Misplaced};
pub use channels::Channels;
pub use rooms::Rooms;
pub use session::{Heartbeat, Opening, Payload, SESSION_BYTES_MAX, Session, SessionLimits, Step};
pub use tenants::Tenants;
pub use topics::Topics;

/// Bounds on what is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Deepest nesting of arrays and objects, the message's own object counted as 1.
    pub json_depth_max: u32,
}

/// A message that is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// Why.
    pub refusal: Refusal,
    /// The request's `id` where it could be read, to be echoed with the refusal.
    pub id: RequestId<'a>,
}

/// One protocol.
///
/// The encoders only append to `out`, so that a caller can reserve room for a frame header in front of the text
/// and reuse one buffer for many messages, and tell which frames the appended bytes are. They trust `data` to be valid
/// JSON and copy it byte for byte.
pub trait Dialect: Sync {
    /// Reads one text message that is a request by itself. Where there is a [`Session`], only for logs.
    fn decode<'a>(&self, text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>>;

    /// What is kept of a connection that begins; `None`: nothing, each text is a request by itself, and binary messages
    /// close the connection.
    fn begin(&self, _opening: &Opening) -> Option<Box<dyn Session>> {
        None
    }

    /// Whether a client's own messages come back to it, where the endpoint does not say.
    fn delivers_to_sender(&self) -> bool;

    /// The `data` of a publication in the text that members receive for it: one JSON value, if it has any.
    fn data_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        json_field(text, "data")
    }

    /// Whether clients may publish to rooms that they are no members of.
    fn publishes_unjoined(&self) -> bool;

    /// Appends what members receive for `publication`.
    fn encode_publication(&self, publication: &Publication<'_>, out: &mut Vec<u8>) -> Layout;

    /// Appends an answer given at `unix_ms` (Unix time in milliseconds); nothing where the dialect says nothing.
    fn encode_answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>) -> Layout;
}

/// A dialect's line in the table of dialects.
pub struct DialectSpec {
    /// Its name in the configuration, in `Sec-WebSocket-Protocol` (after `fanwire.`), and in reports.
    pub name: &'static str,
    /// What reads and writes its messages.
    pub codec: &'static dyn Dialect,
    /// A room to try it with, and the message that joins it.
    pub greeting_room: &'static str,
    /// See [`DialectSpec::greeting_room`].
    pub greeting_join: &'static str,
    /// Types of messages that only the server sends. No client of any dialect can publish under one: a room has members
    /// of all dialects, and none of them must be sent what looks like an answer of the server.
    pub reserved: &'static [&'static str],
}

/// Every dialect, each at the index that is its id; the native one first.
pub static DIALECTS: [DialectSpec; 4] = [rooms::SPEC, channels::SPEC, topics::SPEC, tenants::SPEC];

/// A dialect that is none of the table's.
static ADDED: OnceLock<&'static DialectSpec> = OnceLock::new();

/// Puts a dialect behind the table's, for this process, before any configuration is read. Returns its id.
///
/// # Panics
/// If another one was added before.
#[doc(hidden)]
pub fn add(spec: &'static DialectSpec) -> DialectId {
    let added = *ADDED.get_or_init(|| spec);
    assert_eq!(added.name, spec.name, "one dialect may be added");
    DialectId(DIALECTS.len() as u8)
}

/// The lines of all dialects, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static DialectSpec> {
    DIALECTS.iter().chain(ADDED.get().copied())
}

/// The line of a dialect.
///
/// # Panics
/// If there is no dialect of this id.
#[inline]
pub fn spec(id: DialectId) -> &'static DialectSpec {
    DIALECTS.get(usize::from(id.0)).unwrap_or_else(|| spec_added(id))
}

#[cold]
fn spec_added(id: DialectId) -> &'static DialectSpec {
    let is_its = usize::from(id.0) == DIALECTS.len();
    let spec = ADDED.get().copied().filter(|_| is_its);
    spec.unwrap_or_else(|| panic!("there is no dialect {}", id.0))
}

/// What reads and writes the messages of a dialect.
///
/// # Panics
/// If there is no dialect of this id.
pub fn dialect(id: DialectId) -> &'static dyn Dialect {
    spec(id).codec
}

/// The dialect called `name`, in exactly this spelling.
pub fn named(name: &str) -> Option<DialectId> {
    names().position(|known| known == name).map(|index| DialectId(index as u8))
}

/// The names of all dialects, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|spec| spec.name)
}

/// The dialects that have an encoding in a mask of encodings, each with those of the mask that are its own.
pub fn dialects_in(mut mask: u32) -> impl Iterator<Item = (DialectId, u32)> {
    std::iter::from_fn(move || {
        let index = mask.trailing_zeros() as usize / Compression::ALL.len();
        let id = DialectId((mask != 0).then_some(index as u8)?);
        let own = mask & id.encodings();
        mask &= !own;
        Some((id, own))
    })
}

// A mask of encodings has bits for so many dialects, with one that is added.
const _: () = assert!((DIALECTS.len() + 1) * Compression::ALL.len() <= crate::model::Encoding::COUNT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoding;

    #[test]
    fn every_dialect_is_found_by_its_name_alone() {
        for (index, entry) in DIALECTS.iter().enumerate() {
            assert_eq!(named(entry.name), Some(DialectId(index as u8)));
        }
        assert_eq!([named("Rooms"), named("")], [None; 2]);
        assert_eq!(spec(DialectId::NATIVE).name, "rooms");
    }

    #[test]
    fn every_greeting_joins_its_room() {
        for entry in &DIALECTS {
            let limits = DecodeLimits { json_depth_max: 32 };
            let command = entry.codec.decode(entry.greeting_join, &limits).unwrap();
            assert!(
                matches!(command, Command::Subscribe { room, .. } if room == entry.greeting_room),
                "{}",
                entry.name
            );
        }
    }

    #[test]
    fn the_dialects_of_a_mask_share_it_out() {
        let [channels, tenants] = ["channels", "tenants"].map(|name| named(name).unwrap());
        let bit = |dialect, compression| Encoding::new(dialect, compression).bit();
        let some = bit(channels, Compression::None) | bit(channels, Compression::Window15);
        let last = bit(tenants, Compression::Window9);
        assert_eq!(dialects_in(some | last).collect::<Vec<_>>(), [(channels, some), (tenants, last)]);
        assert_eq!(dialects_in(0).count(), 0);
        let all = names().map(|name| named(name).unwrap().encodings()).sum();
        assert_eq!(dialects_in(all).count(), DIALECTS.len());
    }
}
