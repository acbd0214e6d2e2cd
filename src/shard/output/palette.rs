//! A tick's frames, held once, and the lists of them that connections are still to be sent.
//!
//! Every frame is appended to one arena. What a connection is owed in this tick is not a list of its own but the
//! id of a shared list: delivering frame `f` to a connection that is owed list `A` makes it owe `A + f`, and each
//! list remembers its latest extension, so a publication to a room of 100,000 makes one new list, and a delivery is
//! two loads, a compare and a store. At the end of the tick connections that owe the same list are sent the same
//! bytes, straight out of the arena if the list's frames lie side by side there (one room, one burst), else out of a
//! buffer that is put together once per list.

use crate::base::{Mutation, mutated};
use crate::hub::Loss;
use crate::shard::fanout::bundle::{Bundle, Mark, Ready};
use crate::wire::TextAt;
use std::ops::Range;
use std::rc::Rc;

/// Id of a list of frames.
pub type ListId = u32;

/// The list of a connection that is owed nothing.
pub const EMPTY: ListId = 0;

/// Bytes of a tick's frames over which the tick ends early, so that memory and latency stay bounded: as much as the
/// receive buffer holds, so that one read never needs more than two ticks.
pub const TICK_BYTES: usize = 256 * 1024;

/// Lists over which the tick ends early: 24 bytes each, so at most 1.5 MiB.
const TICK_LISTS: usize = 64 * 1024;

/// Frames and lists of the present tick.
#[derive(Debug)]
pub struct Palette {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    lists: Vec<List>,
    assembled: Assembled,
    /// Whether any frame is something else than [`Kind::Plain`].
    has_kinds: bool,
}

#[derive(Debug)]
struct Entry {
    start: usize,
    end: usize,
    /// When its publication was accepted, for the publish-to-write histogram; `None` for what is not counted there.
    accepted_us: Option<u64>,
    /// A copy that outlives the tick, made when the first blocked connection needs it and shared by all that do.
    kept: Option<Rc<Bundle>>,
    kind: Kind,
    text_at: TextAt,
}

/// What a frame is to a connection that cannot take it at once.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A publication that is never lost.
    Plain,
    /// A publication that a member may lose.
    MayBeLost(Tag),
    /// An answer or a control frame.
    Answer,
    /// An answer that may not come before what waits of the room of this id.
    After(u64),
}

/// The room of a publication that a member may lose.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    /// The room's slot on this shard.
    pub local: u32,
    /// Its id.
    pub id: u64,
    /// How.
    pub loss: Loss,
}

#[derive(Debug, Clone, Copy)]
struct List {
    parent: ListId,
    entry: u32,
    bytes: u32,
    frames: u32,
    /// The latest extension: list `memo_list` is this one and entry `memo_entry`.
    memo_entry: u32,
    memo_list: ListId,
}

/// The last list put together, for the next connection that owes the same.
#[derive(Debug, Default)]
struct Assembled {
    list: ListId,
    bytes: Vec<u8>,
    kept: Option<(ListId, Rc<Bundle>)>,
}

const NO_ENTRY: u32 = u32::MAX;

impl List {
    const fn new(parent: ListId, entry: u32, bytes: u32, frames: u32) -> Self {
        Self { parent, entry, bytes, frames, memo_entry: NO_ENTRY, memo_list: EMPTY }
    }
}

impl Default for Palette {
    fn default() -> Self {
        Self {
            arena: Vec::new(),
            entries: Vec::new(),
            lists: vec![List::new(EMPTY, NO_ENTRY, 0, 0)],
            assembled: Assembled::default(),
            has_kinds: false,
        }
    }
}

impl Palette {
    /// Whether the tick should end now.
    pub fn is_full(&self) -> bool {
        self.arena.len() >= TICK_BYTES || self.lists.len() >= TICK_LISTS
    }

    /// Whether the tick should end with the turn.
    pub fn is_half_full(&self) -> bool {
        self.arena.len() >= TICK_BYTES / 2 || self.lists.len() >= TICK_LISTS / 2
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the tick has no frames.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends the frame of a publication that `build` writes (header and payload) and returns its entry.
    /// `accepted_us` is when it was accepted, `None` where that has been counted already.
    pub fn push(&mut self, accepted_us: Option<u64>, build: impl FnOnce(&mut Vec<u8>) -> TextAt) -> u32 {
        self.push_of_kind(Kind::Plain, accepted_us, build)
    }

    /// Appends an answer, as [`Palette::push`] does.
    pub fn push_answer(&mut self, build: impl FnOnce(&mut Vec<u8>) -> TextAt) -> u32 {
        self.has_kinds = true;
        self.push_of_kind(Kind::Answer, None, build)
    }

    /// Appends what has no text to be read: a control frame.
    pub fn push_control(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> u32 {
        self.push_answer(|out| {
            build(out);
            TextAt::None
        })
    }

    fn push_of_kind(
        &mut self,
        kind: Kind,
        accepted_us: Option<u64>,
        build: impl FnOnce(&mut Vec<u8>) -> TextAt,
    ) -> u32 {
        let start = self.arena.len();
        let text_at = build(&mut self.arena);
        self.entries.push(Entry { start, end: self.arena.len(), accepted_us, kept: None, kind, text_at });
        self.entries.len() as u32 - 1
    }

    /// Takes the last entry out again, which no list has.
    pub fn pop(&mut self, entry: u32) {
        debug_assert_eq!(entry as usize + 1, self.entries.len());
        if let Some(Entry { start, .. }) = self.entries.pop() {
            self.arena.truncate(start);
        }
    }

    /// When the publication of an entry was accepted, in microseconds; 0 for what is none.
    pub fn entry_accepted_us(&self, entry: u32) -> u64 {
        self.entries[entry as usize].accepted_us.unwrap_or(0)
    }

    /// The bytes of a frame.
    pub fn frame(&self, entry: u32) -> &[u8] {
        self.message(entry).bytes
    }

    /// The bytes of a frame, and where its text begins.
    pub fn message(&self, entry: u32) -> Ready<'_> {
        let Entry { start, end, text_at, .. } = self.entries[entry as usize];
        Ready { bytes: &self.arena[start..end], text_at }
    }

    /// Says what a frame is, if that is more than how it was pushed tells.
    pub fn set_kind(&mut self, entry: u32, kind: Kind) {
        self.entries[entry as usize].kind = kind;
        self.has_kinds = true;
    }

    /// What a frame is.
    pub fn kind(&self, entry: u32) -> Kind {
        self.entries[entry as usize].kind
    }

    /// Whether a list has publications alone, none of which may be lost.
    pub fn is_plain(&self, list: ListId) -> bool {
        !self.has_kinds || self.back_from(list).all(|entry| matches!(self.kind(entry), Kind::Plain))
    }

    /// The frames of a list, in order.
    pub fn entries(&self, list: ListId) -> Vec<u32> {
        let mut entries: Vec<u32> = self.back_from(list).collect();
        entries.reverse();
        entries
    }

    /// The frames of a list, the last one first.
    fn back_from(&self, list: ListId) -> impl Iterator<Item = u32> + '_ {
        let parents = |at: &ListId| Some(self.lists[*at as usize].parent).filter(|parent| *parent != EMPTY);
        std::iter::successors(Some(list), parents).map(|at| self.lists[at as usize].entry)
    }

    /// A frame's bytes in a form that outlives the tick.
    pub fn keep(&mut self, entry: u32) -> Rc<Bundle> {
        let Entry { start, end, kept, text_at, .. } = &mut self.entries[entry as usize];
        kept.get_or_insert_with(|| Rc::new(Bundle::one(&self.arena[*start..*end], *text_at))).clone()
    }

    /// The list that is `list` and then `entry`.
    #[inline]
    pub fn extend(&mut self, list: ListId, entry: u32) -> ListId {
        let from = self.lists[list as usize];
        if from.memo_entry == entry { from.memo_list } else { self.extend_new(list, entry) }
    }

    #[cold]
    fn extend_new(&mut self, list: ListId, entry: u32) -> ListId {
        let extended = self.lists.len() as ListId;
        let from = &mut self.lists[list as usize];
        from.memo_entry = entry;
        from.memo_list = extended;
        let frame = &self.entries[entry as usize];
        let (bytes, frames) = (from.bytes + (frame.end - frame.start) as u32, from.frames + 1);
        self.lists.push(List::new(list, entry, bytes, frames));
        extended
    }

    /// Number of frames in a list.
    pub fn frames(&self, list: ListId) -> u32 {
        self.lists[list as usize].frames
    }

    /// The last frame of a list.
    pub fn last(&self, list: ListId) -> u32 {
        self.lists[list as usize].entry
    }

    /// Number of bytes in a list.
    pub fn list_bytes(&self, list: ListId) -> usize {
        self.lists[list as usize].bytes as usize
    }

    /// All bytes of a list, in order.
    pub fn bytes(&mut self, list: ListId) -> &[u8] {
        let List { parent, entry, bytes, .. } = self.lists[list as usize];
        if parent == EMPTY {
            return self.frame(entry);
        }
        if self.assembled.list != list {
            self.assembled.list = list;
            match self.side_by_side(list) {
                Some(range) => {
                    // An empty buffer says that the arena itself is to be used.
                    self.assembled.bytes.clear();
                    return &self.arena[range];
                }
                None => self.assemble(list, bytes as usize),
            }
        }
        if self.assembled.bytes.is_empty() {
            let end = self.entries[entry as usize].end;
            return &self.arena[end - bytes as usize..end];
        }
        &self.assembled.bytes
    }

    /// All bytes of a list in a form that outlives the tick.
    pub fn keep_list(&mut self, list: ListId) -> Rc<Bundle> {
        let List { parent, entry, .. } = self.lists[list as usize];
        if parent == EMPTY {
            return self.keep(entry);
        }
        match &self.assembled.kept {
            Some((kept, bundle)) if *kept == list => bundle.clone(),
            _ => {
                let mut end = 0;
                let mark = |entry: u32| {
                    let Entry { start, end: to, text_at, .. } = self.entries[entry as usize];
                    end += (to - start) as u32;
                    Mark { end, text_at }
                };
                let marks = self.entries(list).into_iter().map(mark).collect();
                let bundle = Rc::new(Bundle::new(self.bytes(list), marks));
                self.assembled.kept = Some((list, bundle.clone()));
                bundle
            }
        }
    }

    /// Times at which the publications among these frames were accepted.
    pub fn accepted_us(&self, entries: Range<usize>) -> impl Iterator<Item = u64> + '_ {
        self.entries[entries].iter().filter_map(|entry| entry.accepted_us)
    }

    /// Ends the tick: forgets its frames and lists, keeps the memory of a usual tick.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.arena.shrink_to(2 * TICK_BYTES);
        self.entries.clear();
        self.entries.shrink_to(16 * 1024);
        self.has_kinds = false;
        self.lists.truncate(1);
        self.lists.shrink_to(16 * 1024);
        if !mutated(Mutation::KeepMemo) {
            self.lists[0].memo_entry = NO_ENTRY;
        }
        self.assembled.list = EMPTY;
        self.assembled.kept = None;
        self.assembled.bytes.clear();
        self.assembled.bytes.shrink_to(2 * TICK_BYTES);
    }

    /// Where in the arena a list's frames lie, if they lie there in order with nothing between.
    fn side_by_side(&self, list: ListId) -> Option<Range<usize>> {
        let end = self.entries[self.lists[list as usize].entry as usize].end;
        let mut start = end;
        let mut at = list;
        while at != EMPTY {
            let List { parent, entry, .. } = self.lists[at as usize];
            let frame = &self.entries[entry as usize];
            if frame.end != start && !mutated(Mutation::IgnoreGaps) {
                return None;
            }
            start = frame.start;
            at = parent;
        }
        Some(start..end)
    }

    fn assemble(&mut self, list: ListId, bytes: usize) {
        let buffer = &mut self.assembled.bytes;
        buffer.clear();
        buffer.resize(bytes, 0);
        let (mut at, mut end) = (list, bytes);
        while at != EMPTY {
            let List { parent, entry, .. } = self.lists[at as usize];
            let frame = &self.entries[entry as usize];
            let start = end - (frame.end - frame.start);
            buffer[start..end].copy_from_slice(&self.arena[frame.start..frame.end]);
            (at, end) = (parent, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(palette: &mut Palette, text: &str) -> u32 {
        palette.push_control(|out| out.extend_from_slice(text.as_bytes()))
    }

    #[test]
    fn connections_owed_the_same_share_a_list() {
        let mut palette = Palette::default();
        let a = push(&mut palette, "aa");
        let owed: Vec<_> = (0..3).map(|_| palette.extend(EMPTY, a)).collect();
        assert_eq!(owed, [1, 1, 1]);
        let b = push(&mut palette, "b");
        let both = palette.extend(owed[0], b);
        assert_eq!(palette.extend(owed[1], b), both);
        assert_eq!(palette.bytes(both), b"aab");
        assert_eq!(palette.bytes(owed[2]), b"aa");
        assert_eq!(palette.frames(both), 2);
    }

    #[test]
    fn lists_with_gaps_are_put_together_in_order() {
        let mut palette = Palette::default();
        let [a, b, c] = ["one", "two", "three"].map(|text| push(&mut palette, text));
        let first = palette.extend(EMPTY, a);
        let gap = palette.extend(first, c);
        let next = palette.extend(first, b);
        for _ in 0..2 {
            assert_eq!(palette.bytes(gap), b"onethree");
            assert_eq!(palette.bytes(next), b"onetwo");
            assert_eq!(palette.keep_list(gap).bytes(), b"onethree");
            assert_eq!(palette.keep_list(gap).message_at(3), 3..8);
            assert_eq!(palette.bytes(next), b"onetwo");
        }
    }

    #[test]
    fn nothing_of_a_tick_is_left_after_it() {
        let mut palette = Palette::default();
        let a = push(&mut palette, "a");
        palette.extend(EMPTY, a);
        palette.clear();
        assert!(palette.is_empty());
        let b = push(&mut palette, "b");
        let list = palette.extend(EMPTY, b);
        assert_eq!(palette.bytes(list), b"b");
    }
}
