//! The protocols that clients speak: each turns received text into a [`Command`], and publications and answers
//! into text. No dialect does I/O, looks at a clock, or knows a connection.
//!
//! A further protocol is one more folder here and one more line in [`DIALECTS`].

mod channelled;
mod channels;
mod json;
mod object;
#[cfg(test)]
mod properties_tests;
mod request;
mod rooms;
mod tenants;
mod topics;
mod whole;

use crate::base::json_field;
use crate::model::{Answer, Command, Compression, DialectId, Publication, Refusal, RequestId};

pub use channels::Channels;
pub use rooms::Rooms;
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
/// and reuse one buffer for many messages. They trust `data` to be valid JSON and copy it byte for byte.
pub trait Dialect: Sync {
    /// Place in [`DIALECTS`].
    fn id(&self) -> DialectId;

    /// Reads one text message.
    fn decode<'a>(&self, text: &'a str, limits: &DecodeLimits) -> Result<Command<'a>, Rejected<'a>>;

    /// Whether binary messages mean anything here. Where not, they end the connection with close code 1003.
    fn accepts_binary(&self) -> bool;

    /// Whether a client's own messages come back to it, where the endpoint does not say.
    fn delivers_to_sender(&self) -> bool;

    /// The `data` of a publication in the text that members receive for it: one JSON value, if it has any.
    fn data_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        json_field(text, "data")
    }

    /// Whether clients may publish to rooms that they are no members of.
    fn publishes_unjoined(&self) -> bool;

    /// Appends the text that members receive for `publication`.
    fn encode_publication(&self, publication: &Publication<'_>, out: &mut Vec<u8>);

    /// Appends the text of an answer given at `unix_ms` (Unix time in milliseconds); nothing where the dialect says
    /// nothing.
    fn encode_answer(&self, answer: &Answer<'_>, unix_ms: u64, out: &mut Vec<u8>);
}

/// Every dialect, each at the index that is its id.
pub static DIALECTS: [&dyn Dialect; 4] = [&Rooms, &Channels, &Topics, &Tenants];

/// The dialect of an id.
///
/// # Panics
/// If `id` came from elsewhere than [`Dialect::id`].
pub fn dialect(id: DialectId) -> &'static dyn Dialect {
    DIALECTS[usize::from(id.0)]
}

/// The dialects that have an encoding in a mask of encodings, each with those of the mask that are its own.
pub fn dialects_in(mut mask: u32) -> impl Iterator<Item = (&'static dyn Dialect, u32)> {
    std::iter::from_fn(move || {
        let index = mask.trailing_zeros() as usize / Compression::ALL.len();
        // Beyond the last where no bit is left.
        let dialect = *DIALECTS.get(index)?;
        let own = mask & DialectId(index as u8).encodings();
        mask &= !own;
        Some((dialect, own))
    })
}

// A mask of encodings has bits for so many dialects.
const _: () = assert!(DIALECTS.len() * Compression::ALL.len() <= crate::model::Encoding::COUNT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoding;

    #[test]
    fn every_dialect_stands_at_its_id_and_is_found_by_name() {
        for (index, entry) in DIALECTS.into_iter().enumerate() {
            assert_eq!(usize::from(entry.id().0), index);
            assert_eq!(DialectId::by_name(entry.id().name()), Some(entry.id()));
        }
        assert_eq!(DialectId::NAMES, crate::config::DIALECTS);
        assert_eq!([DialectId::by_name("Rooms"), DialectId::by_name("")], [None; 2]);
    }

    #[test]
    fn the_dialects_of_a_mask_share_it_out() {
        let bit = |dialect: DialectId, compression| Encoding::new(dialect, compression).bit();
        let some =
            bit(DialectId::CHANNELS, Compression::None) | bit(DialectId::CHANNELS, Compression::Window15);
        let last = bit(DialectId::TENANTS, Compression::Window9);
        let found: Vec<_> = dialects_in(some | last).map(|(dialect, own)| (dialect.id(), own)).collect();
        assert_eq!(found, [(DialectId::CHANNELS, some), (DialectId::TENANTS, last)]);
        assert_eq!(dialects_in(0).count(), 0);
        let all = DIALECTS.map(|dialect| dialect.id().encodings()).into_iter().sum();
        assert_eq!(dialects_in(all).count(), DIALECTS.len());
    }
}
