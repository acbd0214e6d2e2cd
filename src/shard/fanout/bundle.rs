//! Messages ready to be sent, in a form that outlives the tick.

use crate::wire::TextAt;
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

/// One message that is ready to be sent, where it lies.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Ready<'a> {
    pub bytes: &'a [u8],
    /// Where its text begins.
    pub text_at: TextAt,
}

impl Ready<'_> {
    /// Appends the message; returns where its text begins, as what builds a message does.
    pub fn append(self, out: &mut Vec<u8>) -> TextAt {
        out.extend_from_slice(self.bytes);
        self.text_at
    }
}

/// Messages side by side. A message is what is sent, lost, replaced and counted as one: a frame, or several frames that
/// belong together.
///
/// Shared by all connections that wait for it. It knows where its messages end, so that nothing has to read the bytes
/// again, whatever framing they have.
#[derive(Debug)]
pub(in crate::shard) struct Bundle {
    bytes: Box<[u8]>,
    marks: SmallVec<[Mark; 1]>,
}

/// A message of a bundle.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Mark {
    /// Where it ends; it begins where the one before ends. Bundles are bounded by an outbox or a tick, far below 4 GiB.
    pub end: u32,
    /// Where its text begins, within the message.
    pub text_at: TextAt,
}

impl Bundle {
    /// One message.
    pub fn one(bytes: impl Into<Box<[u8]>>, text_at: TextAt) -> Self {
        let bytes = bytes.into();
        Self { marks: smallvec![Mark { end: bytes.len() as u32, text_at }], bytes }
    }

    /// Messages that end at these marks, the last of them with the bytes. None of them is empty.
    pub fn new(bytes: impl Into<Box<[u8]>>, marks: SmallVec<[Mark; 1]>) -> Self {
        let bytes = bytes.into();
        debug_assert_eq!(marks.last().map(|mark| mark.end as usize), Some(bytes.len()));
        debug_assert!(marks.windows(2).all(|pair| pair[0].end < pair[1].end));
        Self { bytes, marks }
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Number of messages of which something lies after `offset`.
    pub fn left_after(&self, offset: usize) -> u32 {
        (self.marks.len() - self.index_at(offset)) as u32
    }

    /// The message that holds the byte at `offset`, which is below the length.
    pub fn message_at(&self, offset: usize) -> Range<usize> {
        self.range(self.index_at(offset))
    }

    /// The messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = (Range<usize>, TextAt)> + '_ {
        self.marks.iter().enumerate().map(|(index, mark)| (self.range(index), mark.text_at))
    }

    /// A copy of the message that holds the byte at `offset`, and of all that follow it if `and_more`.
    pub fn copy_from(&self, offset: usize, and_more: bool) -> Self {
        let index = self.index_at(offset);
        let start = self.range(index).start;
        let marks = &self.marks[index..if and_more { self.marks.len() } else { index + 1 }];
        let end = marks.last().map_or(start, |mark| mark.end as usize);
        let moved = |mark: &Mark| Mark { end: mark.end - start as u32, ..*mark };
        Self { bytes: self.bytes[start..end].into(), marks: marks.iter().map(moved).collect() }
    }

    fn index_at(&self, offset: usize) -> usize {
        // As nearly always: a socket that is blocked takes nothing.
        if offset == 0 {
            return 0;
        }
        self.marks.partition_point(|mark| mark.end as usize <= offset)
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.marks[before].end as usize);
        start..self.marks[index].end as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_are_found_by_their_bytes(lens in prop::collection::vec(1..300usize, 1..20)) {
            // Each byte says which message it belongs to.
            let bytes: Vec<u8> = lens.iter().enumerate().flat_map(|(at, len)| vec![at as u8; *len]).collect();
            let ends = lens.iter().scan(0, |end, len| { *end += *len as u32; Some(*end) });
            let bundle = Bundle::new(bytes.clone(), ends.map(|end| Mark { end, text_at: TextAt::None }).collect());
            prop_assert_eq!(bundle.messages().count(), lens.len());
            for (offset, at) in bytes.iter().enumerate() {
                let message = bundle.message_at(offset);
                prop_assert!(message.contains(&offset));
                prop_assert_eq!(&bytes[message.clone()], &vec![*at; lens[usize::from(*at)]][..]);
                let begun = offset == message.start;
                prop_assert_eq!(bundle.left_after(offset), (lens.len() - usize::from(*at)) as u32, "{}", begun);
                let (one, more) = (bundle.copy_from(offset, false), bundle.copy_from(offset, true));
                prop_assert_eq!(one.bytes(), &bytes[message.clone()]);
                prop_assert_eq!(more.bytes(), &bytes[message.start..]);
                prop_assert_eq!(more.left_after(0), bundle.left_after(offset));
                prop_assert_eq!(one.left_after(one.len()), 0);
            }
        }
    }
}
