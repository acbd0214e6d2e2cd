//! Compressing and inflating whole messages (RFC 7692 section 7.2). No state is carried from one message to the next,
//! in neither direction, so that one [`Deflater`] and one [`Inflater`] serve all connections of a shard.

use super::frame::ProtocolError;
use super::message::{Event, text as utf8};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a flush ends with and what is left out on the wire (RFC 7692 section 7.2.1): an empty stored block, whose
/// header's three bits stand before it.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Bytes of a buffer that are kept for the next message. Larger ones are given back, for large messages are rare.
const KEPT_BYTES: usize = 256 * 1024;

/// Windows that a [`Deflater`] can have, as base-2 logarithms: those of zlib.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_MAX: u8 = 15;

/// Compresses messages, each for itself.
#[derive(Debug, Default)]
pub struct Deflater {
    level: u32,
    /// By window, made when first needed: each holds some 300 KiB.
    states: [Option<Compress>; (WINDOW_BITS_MAX - WINDOW_BITS_MIN + 1) as usize],
    out: Vec<u8>,
}

impl Deflater {
    /// Compresses `payload` for a window of 2^`window_bits` bytes (9 to 15) at a level of zlib (1 to 9). `None` if
    /// that makes it no smaller.
    ///
    /// # Panics
    /// If the window is none of those.
    pub fn compress(&mut self, window_bits: u8, level: u32, payload: &[u8]) -> Option<&[u8]> {
        if self.level != level {
            *self = Self { level, ..Self::default() };
        }
        let state = self.states[usize::from(window_bits - WINDOW_BITS_MIN)].get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::new(level), false, window_bits)
        });
        state.reset();
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        // No room for more than the payload itself: if that does not do, it is not worth it.
        self.out.reserve(payload.len() + TAIL.len());
        let status = state.compress_vec(payload, &mut self.out, FlushCompress::Sync);
        let whole = status.is_ok() && state.total_in() == payload.len() as u64;
        let compressed = self.out.strip_suffix(&TAIL).filter(|_| whole)?;
        (compressed.len() < payload.len()).then_some(compressed)
    }
}

/// Inflates messages, each for itself.
#[derive(Debug, Default)]
pub struct Inflater {
    /// Made when first needed: it holds some 40 KiB.
    state: Option<Decompress>,
    out: Vec<u8>,
}

impl Inflater {
    /// The message that a compressed one stands for; `text` says which kind it is.
    ///
    /// # Errors
    /// If it is no DEFLATE, is larger than `message_bytes_max`, or is text that is not UTF-8. It is inflated piece by
    /// piece, so that no more work is done than up to the bound, and no more memory used than that and what is kept,
    /// 256 KiB. How well it is compressed does not matter: honest messages that repeat one pattern reach what DEFLATE
    /// can do, 1032 to 1.
    pub fn inflate(
        &mut self,
        text: bool,
        payload: &[u8],
        message_bytes_max: usize,
    ) -> Result<Event<'_>, ProtocolError> {
        self.run(payload, message_bytes_max)?;
        if text { utf8(&self.out).map(Event::Text) } else { Ok(Event::Binary(&self.out)) }
    }

    /// The text that was compressed by a [`Deflater`] of this process, however long it is. `None` if it was not.
    pub fn inflate_own(&mut self, payload: &[u8]) -> Option<&str> {
        self.run(payload, isize::MAX as usize).ok()?;
        std::str::from_utf8(&self.out).ok()
    }

    fn run(&mut self, payload: &[u8], bound: usize) -> Result<(), ProtocolError> {
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES);
        // A sender whose zlib had nothing to flush sends nothing at all; section 7.2.3.6 has one byte for it.
        if !payload.is_empty() {
            let state = self.state.get_or_insert_with(|| Decompress::new(false));
            state.reset(false);
            let mut run = Run { state, out: &mut self.out, bound };
            run.message(payload)?;
        }
        Ok(())
    }
}

/// One message being inflated.
struct Run<'a> {
    state: &'a mut Decompress,
    out: &'a mut Vec<u8>,
    bound: usize,
}

impl Run<'_> {
    fn message(&mut self, payload: &[u8]) -> Result<(), ProtocolError> {
        // A block with BFINAL may be the last (section 7.2.3.4); zlib then ends, with what follows to be read anew.
        let ended = self.feed(payload)?;
        if ended {
            return Ok(());
        }
        // The message is whole if the tail adds nothing and a block may begin after it: an empty last block (RFC 1951
        // section 3.2.6) must then end the stream. zlib knows this by itself, but does not tell through flate2.
        let len = self.out.len();
        self.feed(&TAIL)?;
        let ended = self.feed(&[0x03, 0x00])?;
        if ended && self.out.len() == len { Ok(()) } else { Err(ProtocolError::InvalidDeflate) }
    }

    /// Inflates `input` to its end. Returns whether a last block ended just there.
    fn feed(&mut self, mut input: &[u8]) -> Result<bool, ProtocolError> {
        loop {
            if self.out.len() == self.out.capacity() {
                // One byte beyond the bound is enough to see that it is passed.
                let more = self.out.len().max(4096).min(self.bound + 1 - self.out.len());
                self.out.reserve_exact(more);
            }
            let before = self.state.total_in();
            let status = self.state.decompress_vec(input, self.out, FlushDecompress::None);
            let used = self.state.total_in() - before;
            input = &input[used as usize..];
            if self.out.len() > self.bound {
                return Err(ProtocolError::TooBig);
            }
            match status {
                Ok(Status::StreamEnd) => {
                    self.state.reset(false);
                    if input.is_empty() {
                        return Ok(true);
                    }
                }
                // Room left means that all that the input stands for is out.
                Ok(Status::Ok | Status::BufError) if self.out.len() < self.out.capacity() => {
                    return if input.is_empty() { Ok(false) } else { Err(ProtocolError::InvalidDeflate) };
                }
                Ok(Status::Ok | Status::BufError) => {}
                Err(_) => return Err(ProtocolError::InvalidDeflate),
            }
        }
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
