//! The connections of `/echo`: what comes goes back, as test suites for WebSocket servers expect it.
//!
//! An echo connection is an ordinary one, with the same frames, outbox and closing, that speaks no protocol: it is
//! told nothing that it did not say itself, no greeting, no publication and no ping, and the rate limits, which are
//! answered with words, do not apply. It is bounded in its own way, since the suites send more than a client should.

use crate::shard::Shard;
use crate::shard::output::backlog::charge;
use crate::wire::{self, Event, FrameLimits, Opcode};

/// What the Autobahn Testsuite sends at the most: 16 MiB in a message (case 9.1.6), and 4 MiB in fragments of 64 bytes
/// (case 9.3.1), which are 65,536 and the empty frame with which it ends them.
pub(super) const LIMITS: FrameLimits =
    FrameLimits { message_bytes_max: 16 * 1024 * 1024, fragments_max: 65_536 + 1, compression: false };

/// Room in the outbox of an echo connection beside `outbox_bytes_max`: one largest message and its header.
pub(in crate::shard) const OUTBOX_BYTES: usize = charge(LIMITS.message_bytes_max + 10);

impl Shard {
    /// Sends a message back.
    pub(in crate::shard) fn echo(&mut self, slot: u32, message: Event<'_>) {
        let (opcode, payload) = match message {
            Event::Text(text) => (Opcode::Text, text.as_bytes()),
            Event::Binary(bytes) => (Opcode::Binary, bytes),
            _ => return,
        };
        let Some(conn) = self.conns.at(slot) else { return };
        let Self { palette, encoder, config, .. } = self;
        let window = conn.compression.window_bits();
        let worth_it = window != 0 && payload.len() >= config.deflate.min_bytes;
        let compressed =
            if worth_it { encoder.deflater.compress(window, config.deflate.level, payload) } else { None };
        // Nothing makes arrays of echoes, so none has to be known as a text.
        let entry = palette.push_control(|out| match compressed {
            Some(compressed) => drop(wire::compressed_frame(out, opcode, compressed)),
            None => {
                wire::frame_in_place(out, opcode, |out| out.extend_from_slice(payload));
            }
        });
        self.owe(slot, entry);
    }
}
