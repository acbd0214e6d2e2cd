//! permessage-deflate against `miniz_oxide`, an inflater that the server does not have.
//!
//! The first byte chooses window, level and bound. The rest is taken for a message to compress, of which it holds that
//! - what comes out is shorter, and both inflaters make the message of it again;
//! - a bound of one byte less refuses it;
//!
//! and for a compressed message that a peer sends, of which it holds that
//! - it is refused exactly where `miniz_oxide` finds no whole DEFLATE stream, with what section 7.2 of RFC 7692 adds and
//!   allows: the empty block that was left out, and blocks with BFINAL in the middle;
//! - what is read is what `miniz_oxide` reads, and never longer than the bounds;
//! - as text it is the same, where it is UTF-8.

use fanwire::wire::{Deflater, Event, Inflater, ProtocolError};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// What a sender leaves out at the end of a message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// An empty last block (RFC 1951 section 3.2.6).
const LAST: [u8; 2] = [0x03, 0x00];

/// The largest bound that is tried, and so all that `miniz_oxide` has to write to.
const BYTES_MAX: usize = 100_000;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let Some((&choice, payload)) = data.split_first() else { return };
    let window_bits = 9 + choice % 7;
    let level = [1, 3, 6, 9][usize::from(choice >> 6)];
    compress(window_bits, level, payload);
    inflate([10, 1000, 20_000, BYTES_MAX][usize::from(choice >> 4 & 3)], payload);
}

fn compress(window_bits: u8, level: u32, message: &[u8]) {
    let mut deflater = Deflater::default();
    let Some(compressed) = deflater.compress(window_bits, level, message) else { return };
    assert!(compressed.len() < message.len());
    assert_eq!(oracle(compressed).as_deref(), Some(message), "miniz_oxide reads something else");
    let bound = message.len();
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflate(false, compressed, bound), Ok(Event::Binary(message)));
    assert_eq!(inflater.inflate(false, compressed, bound - 1), Err(ProtocolError::TooBig));
}

fn inflate(message_bytes_max: usize, payload: &[u8]) {
    let mut inflater = Inflater::default();
    let ours = match inflater.inflate(false, payload, message_bytes_max) {
        Ok(Event::Binary(bytes)) => Ok(bytes.to_vec()),
        Ok(other) => panic!("{other:?} of a binary message"),
        Err(error) => Err(error),
    };
    let bound = message_bytes_max;
    match (&ours, oracle(payload)) {
        (Ok(ours), Some(theirs)) => assert!(*ours == theirs && ours.len() <= bound, "another message"),
        (Ok(_), None) => panic!("miniz_oxide finds no whole stream, or a very long one"),
        (Err(ProtocolError::InvalidDeflate), theirs) => assert_eq!(theirs, None, "a whole stream is refused"),
        // Whatever comes after the bound is not read, so it may be no DEFLATE.
        (Err(ProtocolError::TooBig), theirs) => {
            assert!(theirs.is_none_or(|theirs| theirs.len() > bound), "refused within the bounds");
        }
        (Err(error), _) => panic!("{error:?}"),
    }
    // The inflater is used again, as a shard does, after whatever came before.
    let again = inflater.inflate(true, payload, message_bytes_max);
    match (ours.as_deref().map(str::from_utf8), again) {
        (Ok(Ok(text)), again) => assert_eq!(again, Ok(Event::Text(text))),
        (Ok(Err(_)), again) => assert_eq!(again, Err(ProtocolError::InvalidUtf8)),
        (Err(error), again) => assert_eq!(again, Err(*error)),
    }
}

/// The message that `payload` stands for; `None` if it is no whole stream or longer than [`BYTES_MAX`].
fn oracle(payload: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (status, used, bytes) = stream(rest);
        if message.len() + bytes.len() > BYTES_MAX {
            return None;
        }
        let is_last = match status {
            TINFLStatus::Done => false,
            TINFLStatus::NeedsMoreInput => true,
            _ => return None,
        };
        message.extend_from_slice(&bytes);
        if is_last {
            // What was left out at the end adds nothing, and a block may begin after it, or it is the last itself.
            let ends_with = |end: &[u8]| {
                let whole = [rest, &TAIL, end].concat();
                let (status, used, all) = stream(&whole);
                status == TINFLStatus::Done && used == whole.len() && all == bytes
            };
            return (ends_with(&LAST) || ends_with(&[])).then_some(message);
        }
        rest = &rest[used..];
    }
    Some(message)
}

/// Inflates one stream: how it ended, the bytes read, and what came of them.
fn stream(input: &[u8]) -> (TINFLStatus, usize, Vec<u8>) {
    let mut out = vec![0; BYTES_MAX + 1];
    let flags =
        inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
    let (status, used, written) = decompress(&mut DecompressorOxide::new(), input, &mut out, 0, flags);
    out.truncate(written);
    (status, used, out)
}
