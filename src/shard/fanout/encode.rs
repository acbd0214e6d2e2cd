//! One text for many connections in every encoding that is wanted, each built once, however many have it: a
//! publication, or a notice to all members of a room.

use crate::base::{Mutation, mutated};
use crate::model::{Compression, DialectId, Encoding};
use crate::shard::{Now, Shard};
use crate::wire::{self, Deflater, Layout};
use smallvec::SmallVec;

/// Bytes of a text that is kept for the next one: more than publications have, but for a few.
const KEPT_BYTES: usize = 256 * 1024;

/// What a shard compresses with, shared by all its connections.
#[derive(Debug, Default)]
pub(in crate::shard) struct Encoder {
    /// A text before it is compressed.
    text: Vec<u8>,
    pub deflater: Deflater,
}

/// The frames of one text: entries of the palette, each with the mask of the encodings that it is for.
pub(in crate::shard) type Frames = SmallVec<[(u32, u32); Compression::ALL.len()]>;

impl Shard {
    /// Puts what `write` writes in a dialect into the palette, in the encodings of the dialect that are in the mask
    /// `wanted`.
    pub(in crate::shard) fn encode(
        &mut self,
        now: Now,
        dialect: DialectId,
        wanted: u32,
        write: impl FnOnce(&mut Vec<u8>) -> Layout,
    ) -> Frames {
        self.metrics.encoded_texts.add(1);
        let plain = Encoding::new(dialect, Compression::None).bit();
        if wanted & !plain == 0 {
            let entry = self.palette.push(Some(now.us), |out| wire::message(out, write));
            return Frames::from_slice(&[(entry, wanted)]);
        }
        let Self { palette, encoder: Encoder { text, deflater }, metrics, config, .. } = self;
        text.clear();
        text.shrink_to(KEPT_BYTES);
        if let Layout::Frames(parts) = write(text) {
            let entry = palette.push(Some(now.us), |out| wire::frames(out, text, &parts));
            return Frames::from_slice(&[(entry, wanted)]);
        }
        let mut frames = Frames::new();
        let mut uncompressed = wanted;
        if text.len() >= config.deflate.min_bytes && !mutated(Mutation::NeverCompress) {
            for (window, encodings) in by_window(dialect, wanted, text.len()) {
                let Some(compressed) = deflater.compress(window, config.deflate.level, text) else {
                    continue;
                };
                metrics.deflated_bytes_before.add(text.len() as u64);
                metrics.deflated_bytes_after.add(compressed.len() as u64);
                let entry = palette.push(Some(now.us), |out| wire::compressed_text_frame(out, compressed));
                frames.push((entry, encodings));
                uncompressed &= !encodings;
            }
        }
        // What is too short, or gets no shorter, is the same for all.
        if uncompressed != 0 {
            let entry =
                palette.push(Some(now.us), |out| wire::text_frame(out, |out| out.extend_from_slice(text)));
            frames.push((entry, uncompressed));
        }
        frames
    }
}

/// The compressed encodings among `wanted`, by the window to compress with. One that holds the whole message is as
/// good as the largest, because nothing refers back beyond the message's start: these share one frame.
fn by_window(dialect: DialectId, wanted: u32, len: usize) -> impl Iterator<Item = (u8, u32)> {
    let mut masks = [0; Compression::ALL.len()];
    for compression in &Compression::ALL[1..] {
        let holds_all = len <= 1 << compression.window_bits();
        let window = if holds_all { Compression::Window15 } else { *compression };
        masks[window as usize] |= wanted & Encoding::new(dialect, *compression).bit();
    }
    let windows = Compression::ALL.into_iter().map(Compression::window_bits);
    windows.zip(masks).filter(|(_, encodings)| *encodings != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(wanted: &[Compression], len: usize) -> Vec<(u8, u32)> {
        let bit = |compression: &Compression| Encoding::new(DialectId::NATIVE, *compression).bit();
        by_window(DialectId::NATIVE, wanted.iter().map(bit).sum(), len).collect()
    }

    #[test]
    fn windows_that_hold_the_message_share_a_frame() {
        let [none, small, middle, large] =
            Compression::ALL.map(|c| Encoding::new(DialectId::NATIVE, c).bit());
        assert_eq!(none, 1);
        let all = Compression::ALL;
        assert_eq!(masks(&all, 512), [(15, small | middle | large)]);
        assert_eq!(masks(&all, 513), [(9, small), (15, middle | large)]);
        assert_eq!(masks(&all, 4096), [(9, small), (15, middle | large)]);
        assert_eq!(masks(&all, 4097), [(9, small), (12, middle), (15, large)]);
        assert_eq!(masks(&[Compression::Window9], 512), [(15, small)]);
        assert_eq!(masks(&[Compression::None], 512), []);
    }
}
